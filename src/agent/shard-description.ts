// What a person is shown of a module. To tell it takes 1.4 us a host, which in a module of 5,000 would hold up callers for
// 7 ms; so a shard tells some hosts at a time, in the order of their addresses, and answers callers in between. A host
// that is in the route from the first piece to the last is told once, whatever else comes and goes meanwhile.
import type { Balancer, HostVerdict } from "../core/balancer.ts";
import type { CallStatistics } from "../core/call-statistics.ts";
import type { Endpoint } from "../core/endpoint.ts";
import type { ModuleKey } from "../core/module-key.ts";
import type { PackedHosts } from "../core/packed-hosts.ts";
import type { PolicyChoice, PolicyName } from "../core/policies.ts";

/** Hosts in a turn: 0.15 ms. */
export const DESCRIBED_AT_ONCE = 100;

export interface HostDescription extends HostVerdict {
  readonly forMs: number;
  readonly totalSucc: number;
  readonly totalErr: number;
}

export interface ModuleDescription {
  readonly state: "resolving" | "known" | "unknown";
  readonly revision: number;
  readonly ageMs: number;
  /** In effect: the module's own, or the agent's default. */
  readonly policy: PolicyName;
  /** What the module has other than the agent. */
  readonly policyParameters: PolicyChoice["parameters"];
  readonly hosts: readonly HostDescription[];
}

/** Some hosts of a module. */
export interface DescriptionPiece {
  readonly description: ModuleDescription;
  /** There are hosts after these. */
  readonly more: boolean;
}

/** What it is made of. */
export interface Described extends ModuleKey {
  readonly hosts: PackedHosts;
  readonly balancer: Balancer | undefined;
}

/** Up to `limit` hosts after `after`, or from the first on. */
export function describeHosts(
  { modid, cmdid, hosts, balancer }: Described,
  statistics: CallStatistics,
  after: Endpoint | undefined,
  limit: number,
  nowMs: number,
): { readonly hosts: readonly HostDescription[]; readonly more: boolean } {
  const route = hosts.sorted();
  const from = after === undefined ? 0 : route.countUpTo(after.ip, after.port);
  const some: Endpoint[] = [];
  for (let index = from; index < route.length && some.length < limit; index++) some.push(route.host(index));
  const described = (balancer?.describe(nowMs, some) ?? []).map((host) => {
    const totals = statistics.totals(statistics.find(modid, cmdid, host.ip, host.port));
    return { ...host, forMs: nowMs - host.sinceMs, totalSucc: totals.succ, totalErr: totals.err };
  });
  return { hosts: described, more: from + some.length < route.length };
}
