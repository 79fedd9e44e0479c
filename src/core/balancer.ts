// What every policy looks like from outside. A balancer serves one module in one shard; it owns one object per host and
// hands that object out, so that a pick allocates nothing and a report finds its host by one map lookup. Time and
// chance come in as arguments: a policy can be driven through an hour in a millisecond, from a seed.
//
// Picks that have no host are values too. Two of them (`RESOLVING`, `UNKNOWN`) arise before there is a balancer; the
// wire tells them apart from shedding only (retcode 3 against 1).
import type { Host } from "./assignment.ts";
import type { Endpoint } from "./endpoint.ts";
import type { PackedHosts } from "./packed-hosts.ts";

/** A host as a balancer keeps it. Owners may keep a number of their own with it in `tag`. */
export interface BalancedHost {
  readonly kind: "host";
  readonly ip: number;
  readonly port: number;
  /** The owner's (an agent's shard keeps the host's place in the statistics here). -1: none yet. */
  tag: number;
  /** False while the host is held out of the ordinary picks. */
  readonly available: boolean;
}

/** Every host is held out, and this call is one too many. Wire: retcode 1. */
export const SHEDDING = Object.freeze({ kind: "shedding" });
/** The route is asked for and not known yet. Wire: retcode 3. */
export const RESOLVING = Object.freeze({ kind: "resolving" });
/** The dns service says that there is no such module. Wire: retcode 3. */
export const UNKNOWN = Object.freeze({ kind: "unknown" });

export type PickResult = BalancedHost | typeof SHEDDING | typeof RESOLVING | typeof UNKNOWN;

/** Uniform in [0, 1). */
export type Random = () => number;

/** What a balancer thinks of a host, for people. */
export interface HostVerdict {
  readonly ip: number;
  readonly port: number;
  readonly weight: number;
  readonly zone: string;
  readonly verdict: "available" | "ejected";
  /** In words: which rule, which numbers. */
  readonly reason: string;
  /** When the verdict was reached, on the clock that `nowMs` is read from. */
  readonly sinceMs: number;
  readonly succ: number;
  readonly err: number;
  /** Picks that were not reported yet, where the policy counts them. */
  readonly inFlight?: number;
  /** How long a call is expected to take, where the policy estimates that and a call has ended. */
  readonly latencyMs?: number;
}

export interface Balancer {
  /** Chooses a host, or SHEDDING. O(1) or O(log hosts), no allocation. `keyHash`: of the caller's stickiness key, or 0. */
  pick(nowMs: number, random: Random, keyHash: number): BalancedHost | typeof SHEDDING;
  /** The host at an endpoint, if it is in the route. */
  find(ip: number, port: number): BalancedHost | undefined;
  /** A call to `host` ended. `latencyUs`: what it took, 0 when the caller did not say. */
  report(host: BalancedHost, succeeded: boolean, latencyUs: number, nowMs: number): void;
  /** Takes a new route. Hosts that stay keep their state. Returns the hosts that left. */
  update(hosts: readonly Host[] | PackedHosts, nowMs: number): readonly BalancedHost[];
  /** What it picks by is being made anew, a stretch now and then with picks. Absent: never. */
  readonly isUnfinished?: boolean;
  /** Another stretch, of 0.1 ms: an owner that calls this every few milliseconds has it made also when nobody picks. */
  goOn?(): void;
  hosts(): Iterable<BalancedHost>;
  /** Of all hosts, or of those of `some` that are in the route, in that order. */
  describe(nowMs: number, some?: readonly Endpoint[]): readonly HostVerdict[];
}
