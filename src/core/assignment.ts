// An assignment is a module's route at a revision: which hosts serve it. It is a frozen snapshot; a change makes a new
// one. Hosts are kept sorted by endpoint and without duplicates, so that equal routes are equal arrays whatever order
// (or how often) the database named them.
import { type Endpoint, endpointKey } from "./endpoint.ts";
import type { ModuleKey } from "./module-key.ts";

/** `draining`: no new picks, at once. `down`: out of service. Neither leaves the dns service over the wire. */
export const HOST_STATES = ["up", "draining", "down"] as const;
export type HostState = (typeof HOST_STATES)[number];

/** Relative share of picks. The wire omits the default. */
export const DEFAULT_WEIGHT = 100;
export const MIN_WEIGHT = 1;
export const MAX_WEIGHT = 10_000;
/** In UTF-8 bytes. */
export const MAX_ZONE_LENGTH = 64;
/** In characters: what the original's char(255) columns hold. */
export const MAX_NAME_LENGTH = 255;

/** One host of a route, as an operator describes it. `zone` "" means none. */
export interface Host extends Endpoint {
  readonly weight: number;
  readonly zone: string;
  readonly state: HostState;
  /** It is there because of a lease and leaves with the last one. Absent: an operator entered it. */
  readonly leased?: true;
}

/** A module's hosts at a revision. Frozen; hosts sorted by endpoint, each endpoint once. */
export interface Assignment extends ModuleKey {
  readonly revision: number;
  readonly hosts: readonly Host[];
}

export function makeHost(ip: number, port: number, options: Partial<Omit<Host, "ip" | "port">> = {}): Host {
  return {
    ip: ip | 0,
    port,
    weight: options.weight ?? DEFAULT_WEIGHT,
    zone: options.zone ?? "",
    state: options.state ?? "up",
    ...(options.leased === true ? { leased: true } : {}),
  };
}

export function hostKey(host: Endpoint): number {
  return endpointKey(host.ip, host.port);
}

/** Sorted by endpoint, the first of equal endpoints kept (old databases hold duplicates; they mean one host). */
export function normalizeHosts(hosts: Iterable<Host>): readonly Host[] {
  const byEndpoint = new Map<number, Host>();
  for (const host of hosts) {
    const key = hostKey(host);
    if (!byEndpoint.has(key)) byEndpoint.set(key, host);
  }
  return Object.freeze([...byEndpoint.values()].sort((a, b) => hostKey(a) - hostKey(b)));
}

export function sameHost(a: Host, b: Host): boolean {
  return (
    a.ip === b.ip &&
    a.port === b.port &&
    a.weight === b.weight &&
    a.zone === b.zone &&
    a.state === b.state &&
    a.leased === b.leased
  );
}

/** Index of the first host of a normalized list whose key is not below `key`. */
export function hostPosition(hosts: readonly Host[], key: number): number {
  let low = 0;
  let high = hosts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (hostKey(hosts[middle]!) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The host of a normalized list that has this key. */
export function hostOfKey(hosts: readonly Host[], key: number): Host | undefined {
  const host = hosts[hostPosition(hosts, key)];
  return host !== undefined && hostKey(host) === key ? host : undefined;
}

/** Equal hosts in the same order. */
export function sameHosts(a: readonly Host[], b: readonly Host[]): boolean {
  return a.length === b.length && a.every((host, i) => sameHost(host, b[i]!));
}

/** What turns one normalized host list into another. `changed` holds the new values. */
export interface HostDiff {
  readonly added: readonly Host[];
  readonly changed: readonly Host[];
  readonly removed: readonly Host[];
}

/** Both lists normalized (sorted, unique). O(n + m). */
export function diffHosts(before: readonly Host[], after: readonly Host[]): HostDiff {
  const added: Host[] = [];
  const changed: Host[] = [];
  const removed: Host[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const old = before[i];
    const now = after[j];
    const order = old === undefined ? 1 : now === undefined ? -1 : hostKey(old) - hostKey(now);
    if (order < 0) {
      removed.push(old!);
      i++;
    } else if (order > 0) {
      added.push(now!);
      j++;
    } else {
      if (!sameHost(old!, now!)) changed.push(now!);
      i++;
      j++;
    }
  }
  return { added, changed, removed };
}

export function isEmptyDiff(diff: HostDiff): boolean {
  return diff.added.length === 0 && diff.changed.length === 0 && diff.removed.length === 0;
}
