// A service that crashes and restarts in a circle registers, vanishes and registers again, and each time every agent is
// told. The record must say what is, and does; but agents gain nothing from a host that will be gone in a second. So a
// leased host that came back often is left out of what is pushed until it has stayed for a while: the first coming back
// is pushed at once (it is what a deployment looks like), the circle is not.
//
// A host comes back when it may be picked and might not before. The last host a module has is never left out: to try a
// flapping host is better than to have none. Pure: told of every route that changed, and of the time.
//
// Bounded by what flaps: a host is remembered for a minute after it came back last.
import { type Host, hostKey, hostOfKey, sameHosts } from "./assignment.ts";
import { ModuleMap } from "./module-key.ts";
import { sameChoice } from "./policy-choice.ts";
import type { RouteRecord } from "./route-change.ts";

export interface FlapLimits {
  /** A host that came back so often ... */
  readonly times: number;
  /** ... within this time ... */
  readonly withinMs: number;
  /** ... is left out until it has been there for so long. */
  readonly steadyMs: number;
}

export const FLAP_LIMITS: FlapLimits = { times: 3, withinMs: 60_000, steadyMs: 10_000 };

/** Hosts remembered for flapping at most; of further ones every change is pushed. */
const MAX_HOSTS = 100_000;

interface Flap {
  /** When it came back, the latest last; `times` of them at most. */
  readonly backAtMs: number[];
  /** When it came or went last. */
  lastMs: number;
}

interface Watched {
  /** The leased hosts that left of late, by endpoint. */
  readonly flaps: Map<number, Flap>;
  route: RouteRecord;
  /** What is shown of `route`; the same array while nothing of it changes. */
  shown: readonly Host[];
  /** Of `route`'s hosts. */
  leased: number;
  notUp: number;
  leftOut: number;
}

function isLeasedAndUp(host: Host | undefined): boolean {
  return host?.leased === true && host.state === "up";
}

function isNotUp(host: Host | undefined): boolean {
  return host !== undefined && host.state !== "up";
}

function count({ hosts }: RouteRecord, matches: (host: Host) => boolean): number {
  let found = 0;
  for (const host of hosts) if (matches(host)) found++;
  return found;
}

/** The hosts that may be picked. `draining` and `down` leave by not being sent, which old agents understand too. */
export function pickable(route: RouteRecord): readonly Host[] {
  return route.hosts.every(({ state }) => state === "up")
    ? route.hosts
    : route.hosts.filter(({ state }) => state === "up");
}

export class FlapDamping {
  readonly #limits: FlapLimits;
  /** Modules with leased hosts. */
  readonly #watched = new ModuleMap<Watched>();
  #remembered = 0;
  #leftOut = 0;

  constructor(limits: FlapLimits = FLAP_LIMITS) {
    this.#limits = limits;
  }

  /** Hosts that are left out now. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Hosts that are remembered because they left of late. */
  get remembered(): number {
    return this.#remembered;
  }

  /**
   * To be told of every change of a route; true when those who watch it must be told too. A change that only concerns
   * hosts that are left out is none for them. `touched`: keys of hosts, of which no other changed; a module of a thousand
   * hosts is then not looked through for one of them.
   */
  onRoute(route: RouteRecord, nowMs: number, touched?: Iterable<number>): boolean {
    const { modid, cmdid } = route;
    const watched = this.#watched.get(modid, cmdid);
    if (watched === undefined) {
      // What is there when it is first seen did not come back.
      const leased = count(route, (host) => host.leased === true);
      if (leased > 0) {
        const notUp = count(route, isNotUp);
        this.#watched.set(modid, cmdid, { flaps: new Map(), route, shown: pickable(route), leased, notUp, leftOut: 0 });
      }
      return true;
    }
    const { route: before, shown: shownBefore, leftOut: leftOutBefore } = watched;
    const isNoted = touched !== undefined && this.#noteTouched(watched, route.hosts, touched, nowMs);
    if (!isNoted) this.#noteAll(watched, route.hosts, nowMs);
    watched.route = route;
    this.#show(watched, nowMs);
    const spares =
      leftOutBefore + watched.leftOut > 0 &&
      sameHosts(shownBefore, watched.shown) &&
      sameChoice(before.policy, route.policy) &&
      before.vanishedFrom === route.vanishedFrom;
    if (watched.flaps.size === 0 && watched.leased === 0) this.#watched.delete(modid, cmdid);
    return !spares;
  }

  /** What is pushed of a route: the hosts that may be picked, but those that are left out. */
  shown(route: RouteRecord): readonly Host[] {
    const watched = this.#watched.get(route.modid, route.cmdid);
    return watched?.route === route ? watched.shown : pickable(route);
  }

  /** Hosts are left out of what is pushed of this route. */
  isPartial(route: RouteRecord): boolean {
    const watched = this.#watched.get(route.modid, route.cmdid);
    return watched?.route === route && watched.leftOut > 0;
  }

  /** Forgets what is long ago. The routes of which more is to be shown now, as hosts have been there for long enough. */
  release(nowMs: number): readonly RouteRecord[] {
    const released: RouteRecord[] = [];
    if (this.#remembered === 0) return released;
    for (const watched of [...this.#watched.values()]) {
      const { flaps, route, shown } = watched;
      if (flaps.size === 0) continue;
      for (const [key, { lastMs }] of flaps) {
        if (nowMs - lastMs <= this.#limits.withinMs) continue;
        flaps.delete(key);
        this.#remembered--;
      }
      this.#show(watched, nowMs);
      if (!sameHosts(shown, watched.shown)) released.push(route);
      if (flaps.size === 0 && watched.leased === 0) this.#watched.delete(route.modid, route.cmdid);
    }
    return released;
  }

  /** What became of the hosts that may have changed, by their keys. False: there were others. */
  #noteTouched(watched: Watched, now: readonly Host[], touched: Iterable<number>, nowMs: number): boolean {
    const before = watched.route.hosts;
    const pairs: [Host | undefined, Host | undefined][] = [];
    let { length } = before;
    for (const key of touched) {
      const was = hostOfKey(before, key);
      const is = hostOfKey(now, key);
      if (was === is) continue;
      pairs.push([was, is]);
      length += Number(was === undefined) - Number(is === undefined);
    }
    if (length !== now.length) return false;
    for (const [was, is] of pairs) this.#noteHost(watched, was, is, nowMs);
    return true;
  }

  /** Walks both sorted lists side by side: finds what changed when nobody says what. */
  #noteAll(watched: Watched, now: readonly Host[], nowMs: number): void {
    const before = watched.route.hosts;
    for (let i = 0, j = 0; i < before.length || j < now.length; ) {
      const was = before[i];
      const is = now[j];
      if (was === is) {
        i++;
        j++;
        continue;
      }
      const order = was === undefined ? 1 : is === undefined ? -1 : hostKey(was) - hostKey(is);
      if (order <= 0) i++;
      if (order >= 0) j++;
      this.#noteHost(watched, order <= 0 ? was : undefined, order >= 0 ? is : undefined, nowMs);
    }
  }

  /** A host as it was and is; undefined: not there. */
  #noteHost(watched: Watched, was: Host | undefined, is: Host | undefined, nowMs: number): void {
    watched.leased += Number(is?.leased === true) - Number(was?.leased === true);
    watched.notUp += Number(isNotUp(is)) - Number(isNotUp(was));
    const wasThere = isLeasedAndUp(was);
    const isThere = isLeasedAndUp(is);
    if (wasThere && !isThere) this.#left(watched.flaps, hostKey(was!), nowMs);
    else if (isThere && !wasThere) this.#came(watched.flaps, hostKey(is!), nowMs);
  }

  #left(flaps: Map<number, Flap>, key: number, nowMs: number): void {
    const flap = flaps.get(key);
    if (flap !== undefined) flap.lastMs = nowMs;
    else if (this.#remembered < MAX_HOSTS) {
      this.#remembered++;
      flaps.set(key, { backAtMs: [], lastMs: nowMs });
    }
  }

  #came(flaps: Map<number, Flap>, key: number, nowMs: number): void {
    const flap = flaps.get(key);
    // One that was never seen leaving did not come back: it came.
    if (flap === undefined) return;
    flap.lastMs = nowMs;
    flap.backAtMs.push(nowMs);
    if (flap.backAtMs.length > this.#limits.times) flap.backAtMs.shift();
  }

  #isLeftOut(flap: Flap | undefined, nowMs: number): boolean {
    const { times, withinMs, steadyMs } = this.#limits;
    const first = flap?.backAtMs.at(-times);
    const last = flap?.backAtMs.at(-1);
    return first !== undefined && last !== undefined && last - first <= withinMs && nowMs - last < steadyMs;
  }

  #show(watched: Watched, nowMs: number): void {
    const all = watched.notUp === 0 ? watched.route.hosts : pickable(watched.route);
    const kept =
      watched.flaps.size === 0
        ? all
        : all.filter((host) => host.leased !== true || !this.#isLeftOut(watched.flaps.get(hostKey(host)), nowMs));
    watched.shown = kept.length === 0 || kept.length === all.length ? all : kept;
    this.#leftOut -= watched.leftOut;
    watched.leftOut = all.length - watched.shown.length;
    this.#leftOut += watched.leftOut;
  }
}
