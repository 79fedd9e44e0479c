// Where an agent's routes come from: one TCP connection to some dns server, and the modules wanted over it.
//
// What is wanted is a set, not a queue: a module stays in it from the first caller's request until it is given up, and
// whenever a connection opens, everything in the set is asked for (which also subscribes to its changes). So nothing can
// be lost between connections. With each request goes the revision that is held, so that ten thousand routes that did not
// change are not sent again. A server that takes requests and answers none in time is as bad as a dead one: the connection
// is dropped and the next address tried.
//
// A server may lag behind the one before it, or be on the wrong database. So a route is never replaced by an older one,
// and that hosts are gone is believed only within what core/vanish-guard.ts allows.
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import { VanishGuard } from "../core/vanish-guard.ts";
import type { TcpClient } from "../net/tcp-client.ts";
import {
  HEADER_BYTES,
  MSG_GET_ROUTE_REQUEST,
  MSG_GET_ROUTE_RESPONSE,
  MSG_UNWATCH_ROUTE_REQUEST,
  sealFrame,
} from "../wire/frame.ts";
import {
  decodeGetRouteResponse,
  encodeGetRouteRequest,
  GET_ROUTE_REQUEST_BYTES,
  type GetRouteResponse,
} from "../wire/route-codec.ts";
import { HeldRoute } from "./held-route.ts";

export interface RouteSourceOptions {
  readonly responseTimeoutMs: () => number;
  /** With nothing else to ask for, a route is asked for this often: is the server still there? */
  readonly probeIntervalMs: () => number;
  /** Of the hosts held, how many may vanish within half a minute without being said to be meant to: 0 to 1. */
  readonly maxVanishShare: () => number;
  readonly maxModules: number;
  readonly nowMs: () => number;
  /** A route that holds from now on. Revision 0: not told, or one that came back and whose revision says nothing. */
  readonly onRoute: (route: HeldRoute) => void;
  /** Routes are kept that the server says have lost their hosts; undefined: none any more. */
  readonly onAlarm?: (alarm: RouteAlarm | undefined) => void;
}

/** Routes kept against what the server says. */
export interface RouteAlarm {
  readonly modules: number;
  readonly hosts: number;
  /** The first few of the modules. */
  readonly first: readonly ModuleKey[];
}

/** For people: what the server says of a route that is kept. */
export interface KeptDescription {
  /** Hosts there would be, had the server been believed. */
  readonly told: number;
  readonly forMs: number;
}

interface Wanted extends ModuleKey {
  /** When it was asked for and not answered yet; -1: no request is under way. */
  askedAtMs: number;
  heardAtMs: number;
  /** The newest that was believed; older ones are ignored. 0: none. */
  revision: number;
}

const NAMED_IN_ALARM = 5;

export class RouteSource {
  readonly #wanted = new ModuleMap<Wanted>();
  /** To be asked for as soon as the connection takes it. */
  readonly #toAsk = new Set<Wanted>();
  /** Asked for, oldest first. */
  readonly #underWay = new Set<Wanted>();
  /** Those of which this connection's server knows something older than what is held. */
  readonly #ahead = new Set<Wanted>();
  readonly #guard = new VanishGuard<HeldRoute>();
  #isAlarmed = false;
  readonly #options: RouteSourceOptions;
  #client: TcpClient | undefined;
  #connected = false;
  #heardAtMs = Number.NEGATIVE_INFINITY;
  #probedAtMs = Number.NEGATIVE_INFINITY;
  readonly counts = {
    asked: 0,
    routes: 0,
    unchanged: 0,
    kept: 0,
    takenBack: 0,
    stale: 0,
    unasked: 0,
    malformed: 0,
    ignoredPolicyParts: 0,
    unknownFrames: 0,
    refused: 0,
    silences: 0,
  };

  constructor(options: RouteSourceOptions) {
    this.#options = options;
  }

  /** The connection to use; its callbacks are to be wired to the `on…` methods here. */
  attach(client: TcpClient): void {
    this.#client = client;
  }

  get connected(): boolean {
    return this.#connected;
  }

  get size(): number {
    return this.#wanted.size;
  }

  /** Modules of which the server connected to knows an older route than is held: it lags, or is the wrong one. */
  get ahead(): number {
    return this.#ahead.size;
  }

  /** Modules whose hosts are kept although the server says that they are gone. */
  get keptModules(): number {
    return this.#guard.keptModules;
  }

  get keptHosts(): number {
    return this.#guard.keptHosts;
  }

  kept(modid: number, cmdid: number): KeptDescription | undefined {
    const kept = this.#guard.kept(modid, cmdid);
    return kept && { told: kept.told, forMs: this.#options.nowMs() - kept.sinceMs };
  }

  /** Milliseconds since any dns server was heard of; Infinity: never. */
  silenceMs(): number {
    return this.#options.nowMs() - this.#heardAtMs;
  }

  /** Takes up a route that is known already, as a snapshot has it. */
  resume(route: HeldRoute): void {
    const wanted = this.#admit(route.modid, route.cmdid);
    if (wanted === undefined) return;
    wanted.revision = route.revision;
    this.#guard.hold(route);
    this.#askFor(wanted);
  }

  want(modid: number, cmdid: number): void {
    const wanted = this.#admit(modid, cmdid);
    if (wanted !== undefined) this.#askFor(wanted);
  }

  /** undefined: so many are wanted already that there is no room for another. */
  #admit(modid: number, cmdid: number): Wanted | undefined {
    const known = this.#wanted.get(modid, cmdid);
    if (known !== undefined) return known;
    if (this.#wanted.size >= this.#options.maxModules) {
      this.counts.refused++;
      return undefined;
    }
    const wanted = { modid, cmdid, askedAtMs: -1, heardAtMs: Number.NEGATIVE_INFINITY, revision: 0 };
    this.#wanted.set(modid, cmdid, wanted);
    return wanted;
  }

  #askFor(wanted: Wanted): void {
    if (wanted.askedAtMs < 0) this.#toAsk.add(wanted);
    this.#ask();
  }

  forget(modid: number, cmdid: number): void {
    const wanted = this.#wanted.get(modid, cmdid);
    if (wanted === undefined) return;
    this.#wanted.delete(modid, cmdid);
    this.#toAsk.delete(wanted);
    this.#underWay.delete(wanted);
    this.#ahead.delete(wanted);
    this.#guard.forget(modid, cmdid);
    if (this.#connected) this.#send(MSG_UNWATCH_ROUTE_REQUEST, modid, cmdid, 0);
  }

  /** Asks for the routes that are kept: what may be believed has changed. */
  askKept(): void {
    for (const { modid, cmdid } of this.#guard.keptRoutes()) this.want(modid, cmdid);
  }

  #ask(): void {
    if (!this.#connected) return;
    const nowMs = this.#options.nowMs();
    for (const wanted of this.#toAsk) {
      // Full, or not taken: `onDrain` goes on from here. A request sent twice is answered twice, no more.
      const { modid, cmdid } = wanted;
      if (!this.#send(MSG_GET_ROUTE_REQUEST, modid, cmdid, this.#heldRevision(modid, cmdid))) return;
      this.#toAsk.delete(wanted);
      wanted.askedAtMs = nowMs;
      this.#underWay.add(wanted);
      this.counts.asked++;
    }
  }

  /** What the server need not tell again. 0: nothing is held, or not all of it, or not what the server says. */
  #heldRevision(modid: number, cmdid: number): number {
    const held = this.#guard.held(modid, cmdid);
    if (held === undefined || held.partial || this.#guard.kept(modid, cmdid) !== undefined) return 0;
    return held.revision;
  }

  /** False: the connection is full now, or did not take it. */
  #send(msgid: number, modid: number, cmdid: number, revision: number): boolean {
    const bytes = new Uint8Array(HEADER_BYTES + GET_ROUTE_REQUEST_BYTES);
    const end = sealFrame(bytes, 0, msgid, encodeGetRouteRequest(bytes, HEADER_BYTES, modid, cmdid, revision));
    return this.#client?.send(bytes.subarray(0, end)) ?? false;
  }

  onOpen(): void {
    this.#connected = true;
    for (const wanted of this.#underWay) wanted.askedAtMs = -1;
    this.#underWay.clear();
    this.#ahead.clear();
    for (const wanted of this.#wanted.values()) this.#toAsk.add(wanted);
    this.#ask();
  }

  onDrain(): void {
    this.#ask();
  }

  onClose(): void {
    this.#connected = false;
  }

  onFrame(msgid: number, body: Uint8Array): void {
    this.#heardAtMs = this.#options.nowMs();
    if (msgid !== MSG_GET_ROUTE_RESPONSE) {
      this.counts.unknownFrames++;
      return;
    }
    const route = decodeGetRouteResponse(body, 0, body.length);
    // All hosts unusable is a fault of the data, not the end of the module.
    if (route === undefined || (route.hosts.length === 0 && route.badHosts > 0 && !route.unchanged)) {
      this.counts.malformed++;
      return;
    }
    const wanted = this.#wanted.get(route.modid, route.cmdid);
    if (wanted === undefined) {
      this.counts.unasked++;
      return;
    }
    this.#underWay.delete(wanted);
    wanted.askedAtMs = -1;
    wanted.heardAtMs = this.#heardAtMs;
    if (route.revision !== 0 && route.revision < wanted.revision) {
      this.counts.stale++;
      this.#ahead.add(wanted);
      return;
    }
    this.#ahead.delete(wanted);
    if (route.unchanged) this.#takeUnchanged(route);
    else this.#take(route, wanted);
  }

  #takeUnchanged({ modid, cmdid, revision }: GetRouteResponse): void {
    const held = this.#guard.held(modid, cmdid);
    if (held === undefined || held.revision !== revision) {
      this.counts.malformed++;
      return;
    }
    this.counts.unchanged++;
    this.#guard.settle(modid, cmdid);
    this.#options.onRoute(held);
  }

  #take(answer: GetRouteResponse, wanted: Wanted): void {
    const { modid, cmdid, revision, hosts, policy, meant, partial } = answer;
    this.counts.ignoredPolicyParts += answer.badPolicy;
    const route = HeldRoute.of({ modid, cmdid, revision, hosts, policy, partial });
    const judgement = this.#guard.judge(route, meant, this.#options.maxVanishShare(), this.#heardAtMs);
    if (!judgement.believed) {
      this.counts.kept++;
      for (const back of judgement.takenBack) this.#takeBack(back);
      return;
    }
    this.counts.routes++;
    // Whoever never knew a module gives its own newest revision, which says nothing about the module's.
    const isNamed = hosts.length > 0 || meant;
    if (isNamed || revision === 0) wanted.revision = revision;
    this.#options.onRoute(isNamed ? route : route.withRevision(0));
  }

  #takeBack(route: HeldRoute): void {
    this.counts.takenBack++;
    const wanted = this.#wanted.get(route.modid, route.cmdid);
    if (wanted !== undefined) wanted.revision = route.revision;
    // What it replaces may have a newer revision.
    this.#options.onRoute(route.withRevision(0));
  }

  #watchAlarm(): void {
    const isAlarmed = this.#guard.keptModules > 0;
    if (isAlarmed === this.#isAlarmed) return;
    this.#isAlarmed = isAlarmed;
    if (!isAlarmed) {
      this.#options.onAlarm?.(undefined);
      return;
    }
    const first: ModuleKey[] = [];
    for (const { modid, cmdid } of this.#guard.keptRoutes()) {
      if (first.push({ modid, cmdid }) === NAMED_IN_ALARM) break;
    }
    this.#options.onAlarm?.({ modules: this.#guard.keptModules, hosts: this.#guard.keptHosts, first });
  }

  /** To be called a few times a second: raises and ends the alarm, and notices a server that does not answer. */
  tick(): void {
    this.#watchAlarm();
    if (!this.#connected) return;
    const nowMs = this.#options.nowMs();
    const [oldest] = this.#underWay;
    if (oldest !== undefined) {
      const silentMs = nowMs - Math.max(oldest.askedAtMs, this.#heardAtMs);
      if (silentMs > this.#options.responseTimeoutMs()) {
        this.counts.silences++;
        this.#client?.reconnect(`no answer for ${Math.round(silentMs)} ms`);
      }
      return;
    }
    if (nowMs - Math.max(this.#heardAtMs, this.#probedAtMs) < this.#options.probeIntervalMs()) return;
    this.#probedAtMs = nowMs;
    const [first] = this.#wanted.values();
    if (first !== undefined) this.want(first.modid, first.cmdid);
  }
}
