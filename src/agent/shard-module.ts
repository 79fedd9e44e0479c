// A module as a shard keeps it, whether it is known already or not, and the requests that wait for its route.
import type { Balancer } from "../core/balancer.ts";
import { PackedHosts } from "../core/packed-hosts.ts";
import { NO_CHOICE } from "../core/policies.ts";
import type { ModuleDescription } from "./shard-description.ts";

/** A request that waits for a route. `settle` is called once: the route came, or the time is up. */
export interface Waiter {
  settle(nowMs: number): void;
}

export interface Waiting {
  readonly module: Module;
  waiter: Waiter | undefined;
}

/** Who waits for most modules; not to be added to. */
export const NOBODY: Waiting[] = [];

export class Module {
  state: ModuleDescription["state"] = "resolving";
  balancer: Balancer | undefined;
  /** The settings that the balancer has: which of the shard's it was last brought to. */
  settings = 0;
  hosts = PackedHosts.NONE;
  policy = NO_CHOICE;
  revision = 0;
  waiting = NOBODY;
  /** Those of `waiting` that are not settled. */
  unsettled = 0;
  /** Until when a request may wait for the first answer. */
  waitUntilMs: number;
  /** When the route was last heard of. */
  heardAtMs: number;
  askedAtMs: number;
  usedAtMs: number;

  constructor(
    readonly modid: number,
    readonly cmdid: number,
    nowMs: number,
    resolveTimeoutMs: number,
  ) {
    this.waitUntilMs = nowMs + resolveTimeoutMs;
    this.heardAtMs = nowMs;
    this.askedAtMs = nowMs;
    this.usedAtMs = nowMs;
  }
}
