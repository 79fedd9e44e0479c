// What a registration, its end and the expiry of many do to routes and leases, as values. The counterpart of
// route-change.ts, apart from it because a lease touches one host of a route, never its list: a module of a thousand
// hosts is not compared with itself for each of them, and what else is going on in the route (an old tool's edit that
// nobody has adopted yet, a mark that too many hosts vanished) is left alone.
//
// A host that an operator entered is never touched: the lease is granted and runs, the host stays as it is and stays when
// the lease ends. A leased host follows what its holders say *anew*: a weight, a zone or a state that a registration says
// as before leaves what an operator has set since. `down` is the operator's word and outlives all that holders say.
import { type Host, hostKey, hostOfKey, hostPosition } from "./assignment.ts";
import { endpointKey } from "./endpoint.ts";
import { type Lease, type LeaseState, type LeaseTable, type LeaseTerms, type Place, placeKey } from "./lease.ts";
import { formatModuleKey, type ModuleKey, ModuleMap } from "./module-key.ts";
import { NO_CHOICE } from "./policies.ts";
import type { Refusal, RouteEdit, RouteRecord } from "./route-change.ts";

/** Whether the caller's token covers a module. Absent: whoever asks may. */
type MayRegister = (modid: number, cmdid: number) => boolean;

export type LeaseChange =
  | ({ readonly action: "register"; readonly may?: MayRegister } & LeaseTerms)
  | { readonly action: "deregister"; readonly id: string; readonly may?: MayRegister }
  /**
   * Those of `ids` whose time was over at `clockMs` of the lease clock and that were not renewed since, or whose host is
   * not there; and leased hosts at `places` that nobody holds.
   */
  | {
      readonly action: "expire";
      readonly ids: readonly string[];
      readonly clockMs: number;
      readonly places?: readonly Place[];
    };

export interface LeasePlan {
  readonly ok: true;
  readonly routes: readonly RouteEdit[];
  readonly put: readonly Lease[];
  readonly removed: readonly string[];
}

export interface LeaseMoment {
  /** The lease clock, in milliseconds. */
  readonly leaseMs: number;
  /** Unix milliseconds. */
  readonly wallMs: number;
  readonly who: string;
}

/** Looked up for every change: what is needed of the routes. */
export interface RouteLookup {
  route(modid: number, cmdid: number): RouteRecord | undefined;
}

export function hostAt(route: RouteRecord | undefined, ip: number, port: number): Host | undefined {
  return route === undefined ? undefined : hostOfKey(route.hosts, endpointKey(ip, port));
}

/** Edits of single hosts, gathered by module. */
class HostEdits {
  readonly #modules = new ModuleMap<{ added: Host[]; changed: Host[]; removed: Host[] }>();

  constructor(private readonly routes: RouteLookup) {}

  of(key: ModuleKey): { added: Host[]; changed: Host[]; removed: Host[] } {
    let diff = this.#modules.get(key.modid, key.cmdid);
    if (diff === undefined) {
      diff = { added: [], changed: [], removed: [] };
      this.#modules.set(key.modid, key.cmdid, diff);
    }
    return diff;
  }

  edits(): RouteEdit[] {
    const edits: RouteEdit[] = [];
    for (const [{ modid, cmdid }, diff] of this.#modules.entries()) {
      const before = this.routes.route(modid, cmdid);
      for (const part of [diff.added, diff.changed, diff.removed]) part.sort((a, b) => hostKey(a) - hostKey(b));
      const hosts = applied(before?.hosts ?? [], diff);
      // A lease is no word on whether the hosts that vanished were meant to; only their number is.
      const vanishedFrom = before?.vanishedFrom;
      edits.push({
        modid,
        cmdid,
        before,
        name: before?.name ?? "",
        policy: before?.policy ?? NO_CHOICE,
        hosts,
        diff,
        ...(vanishedFrom === undefined || hosts.length >= vanishedFrom ? {} : { vanishedFrom }),
      });
    }
    return edits;
  }
}

function applied(
  before: readonly Host[],
  diff: { readonly added: readonly Host[]; readonly changed: readonly Host[]; readonly removed: readonly Host[] },
): readonly Host[] {
  const [added] = diff.added;
  if (added !== undefined && diff.added.length === 1 && diff.changed.length + diff.removed.length === 0) {
    return withHost(before, added);
  }
  const gone = new Set(diff.removed.map(hostKey));
  const hosts = gone.size === 0 ? before.slice() : before.filter((host) => !gone.has(hostKey(host)));
  for (const host of diff.changed) hosts[hostPosition(hosts, hostKey(host))] = host;
  for (const host of diff.added) hosts.splice(hostPosition(hosts, hostKey(host)), 0, host);
  // Not frozen: to freeze the list of a large module costs a hundred times what copying it does.
  return hosts;
}

/** Most changes: one pass into a list of the right length, where a copy and a splice would allocate twice. */
function withHost(before: readonly Host[], host: Host): readonly Host[] {
  const at = hostPosition(before, hostKey(host));
  const hosts = new Array<Host>(before.length + 1);
  for (let i = 0; i < at; i++) hosts[i] = before[i]!;
  hosts[at] = host;
  for (let i = at; i < before.length; i++) hosts[i + 1] = before[i]!;
  return hosts;
}

/** What the leases of a place say together: `up` while one of them does; undefined when there are none. */
function stateOf(leases: Iterable<Lease>): LeaseState | undefined {
  let state: LeaseState | undefined;
  for (const lease of leases) {
    if (lease.state === "up") return "up";
    state = lease.state;
  }
  return state;
}

/** The host after its leases say `after` together where they said `before`. */
function follow(host: Host, before: LeaseState | undefined, after: LeaseState | undefined): Host {
  if (after === undefined || after === before || host.state === "down" || host.state === after) return host;
  return { ...host, state: after };
}

/** The lease is out of `leases` already: what that does to the host it held. */
function leave(routes: RouteLookup, leases: LeaseTable, edits: HostEdits, lease: Lease): void {
  const host = hostAt(routes.route(lease.modid, lease.cmdid), lease.ip, lease.port);
  if (host?.leased !== true) return;
  const left = [...leases.at(lease)];
  if (left.length === 0) {
    edits.of(lease).removed.push(host);
    return;
  }
  const after = follow(host, stateOf([...left, lease]), stateOf(left));
  if (after !== host) edits.of(lease).changed.push(after);
}

function planRegister(
  routes: RouteLookup,
  leases: LeaseTable,
  change: Extract<LeaseChange, { action: "register" }>,
  { leaseMs, wallMs, who }: LeaseMoment,
): LeasePlan | ({ ok: false } & Refusal) {
  const { may, id, modid, cmdid, ip, port, weight, zone, state, ttlMs } = change;
  const before = leases.get(id);
  if (may !== undefined && before !== undefined && !may(before.modid, before.cmdid)) {
    return forbidden(before);
  }
  const expiresMs = leaseMs + ttlMs;
  const lease = { id, modid, cmdid, ip, port, weight, zone, state, ttlMs, expiresMs, registeredAtMs: wallMs, who };
  const edits = new HostEdits(routes);
  const stays = before !== undefined && placeKey(before) === placeKey(lease);
  if (before !== undefined && !stays) {
    leases.remove(before.id);
    leave(routes, leases, edits, before);
  }
  const host = hostAt(routes.route(lease.modid, lease.cmdid), lease.ip, lease.port);
  const stateBefore = stateOf(leases.at(lease));
  leases.put(lease);
  if (host === undefined) {
    edits.of(lease).added.push({ ip, port, weight, zone, state, leased: true });
  } else if (host.leased === true) {
    const said = stays ? before : undefined;
    const after = follow(
      {
        ...host,
        weight: said?.weight === lease.weight ? host.weight : lease.weight,
        zone: said?.zone === lease.zone ? host.zone : lease.zone,
      },
      stateBefore,
      stateOf(leases.at(lease)),
    );
    if (after.weight !== host.weight || after.zone !== host.zone || after.state !== host.state) {
      edits.of(lease).changed.push(after);
    }
  }
  return { ok: true, routes: edits.edits(), put: [lease], removed: [] };
}

function forbidden({ id, ...key }: { readonly id: string } & ModuleKey): { ok: false } & Refusal {
  return {
    ok: false,
    reason: "forbidden",
    detail: `registration ${id} is of module ${formatModuleKey(key)}, which this token does not cover; use one that does`,
  };
}

function planEnd(
  routes: RouteLookup,
  leases: LeaseTable,
  ended: readonly Lease[],
  unheld: readonly Place[] = [],
): LeasePlan {
  const edits = new HostEdits(routes);
  // First all of them, so that the last of a place is recognized; then once for each place.
  for (const { id } of ended) leases.remove(id);
  const places = new Map<string, Lease[]>();
  for (const lease of ended) {
    const key = placeKey(lease);
    const there = places.get(key);
    if (there === undefined) places.set(key, [lease]);
    else there.push(lease);
  }
  for (const [first, ...others] of places.values()) {
    const said = stateOf([first!, ...others]);
    leave(routes, leases, edits, said === undefined ? first! : { ...first!, state: said });
  }
  for (const place of unheld) {
    const host = hostAt(routes.route(place.modid, place.cmdid), place.ip, place.port);
    const isHeld = places.has(placeKey(place)) || !isEmpty(leases.at(place));
    if (host?.leased === true && !isHeld) edits.of(place).removed.push(host);
  }
  return { ok: true, routes: edits.edits(), put: [], removed: ended.map(({ id }) => id) };
}

function isEmpty(items: Iterable<unknown>): boolean {
  for (const _ of items) return false;
  return true;
}

export function noRegistration(id: string): string {
  return `there is no registration ${id} (any more); register again`;
}

/**
 * What `change` does. `leases` must hold all leases of the ids and places that it and its leases name, and is brought to
 * what is there afterwards; on a refusal it stays as it was.
 */
export function planLeaseChange(
  routes: RouteLookup,
  leases: LeaseTable,
  change: LeaseChange,
  moment: LeaseMoment,
): LeasePlan | ({ readonly ok: false } & Refusal) {
  switch (change.action) {
    case "register":
      return planRegister(routes, leases, change, moment);
    case "deregister": {
      const lease = leases.get(change.id);
      if (lease === undefined) return { ok: false, reason: "not-found", detail: noRegistration(change.id) };
      if (change.may !== undefined && !change.may(lease.modid, lease.cmdid)) return forbidden(lease);
      return planEnd(routes, leases, [lease]);
    }
    case "expire": {
      const isOver = (lease: Lease) =>
        lease.expiresMs <= change.clockMs ||
        hostAt(routes.route(lease.modid, lease.cmdid), lease.ip, lease.port) === undefined;
      const named = [...new Set(change.ids)].flatMap((id) => leases.get(id) ?? []);
      return planEnd(routes, leases, named.filter(isOver), change.places);
    }
  }
}

/**
 * The leases that end because their host left its route by another hand than theirs, as `edits` say. They are taken out
 * of `leases`, which must hold those of the places.
 */
export function endedBy(edits: readonly RouteEdit[], leases: LeaseTable): readonly string[] {
  return leftPlaces(edits).flatMap((place) => {
    const ids = Array.from(leases.at(place), ({ id }) => id);
    for (const id of ids) leases.remove(id);
    return ids;
  });
}

/** Beyond so many, only leased hosts are looked at: of the others, few are held, and strays are found later. */
const MANY_PLACES = 2_000;

/** Where hosts left their route that may be held. */
export function leftPlaces(edits: readonly RouteEdit[]): readonly Place[] {
  let left = 0;
  for (const { diff } of edits) left += diff.removed.length;
  const places: Place[] = [];
  for (const { modid, cmdid, diff } of edits) {
    for (const { ip, port, leased } of diff.removed) {
      if (leased === true || left <= MANY_PLACES) places.push({ modid, cmdid, ip, port });
    }
  }
  return places;
}
