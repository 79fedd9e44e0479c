// A route as the agent's main thread keeps it: for the snapshot, for a shard that starts anew, and to judge what a dns
// service says next. It keeps ten thousand of them and looks at none, so their hosts are packed, and stay so on their way
// to a shard. The book of routes and the route source hold the same one.
import { PackedHosts } from "../core/packed-hosts.ts";
import type { PolicyChoice } from "../core/policies.ts";
import type { GuardedRoute } from "../core/vanish-guard.ts";
import type { RouteUpdate } from "./shard-modules.ts";

/** Frozen. No hosts: there is no such module. */
export class HeldRoute implements GuardedRoute {
  readonly modid: number;
  readonly cmdid: number;
  readonly revision: number;
  readonly hosts: PackedHosts;
  readonly policy: PolicyChoice;
  /** Hosts of this revision were left out of what the dns service sent. */
  readonly partial: boolean;

  private constructor(
    { modid, cmdid, policy, partial }: RouteUpdate | HeldRoute,
    revision: number,
    hosts: PackedHosts,
  ) {
    this.modid = modid;
    this.cmdid = cmdid;
    this.revision = revision;
    this.hosts = hosts;
    this.policy = policy;
    this.partial = partial ?? false;
  }

  static of(route: RouteUpdate): HeldRoute {
    // Sorted here, so that a shard need not: to compare two routes is then one pass.
    return new HeldRoute(route, route.revision, PackedHosts.of(route.hosts).sorted());
  }

  withRevision(revision: number): HeldRoute {
    return revision === this.revision ? this : new HeldRoute(this, revision, this.hosts);
  }

  /** As a shard is told it. */
  update(): RouteUpdate {
    const { modid, cmdid, revision, hosts, policy, partial } = this;
    return { modid, cmdid, revision, hosts: hosts.toMessage(), policy, ...(partial ? { partial } : {}) };
  }
}
