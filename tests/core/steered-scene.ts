// A module under a steered policy, written as a sequence: who is picked, how calls went, how time passes. Hosts are named
// by the last number of their address. Chance stands (almost) still at 0.5 unless a test brings its own, so that
// `round_robin` goes round in the order of the route and pauses have no jitter to speak of.

import { type Host, makeHost } from "../../src/core/assignment.ts";
import { type Random, SHEDDING } from "../../src/core/balancer.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import type { SteeredBalancer } from "../../src/core/balancer-steered.ts";
import { makeBalancer } from "../../src/core/make-balancer.ts";
import type { HostSet } from "../../src/core/picker.ts";
import { DEFAULT_STEERING, type PolicyName, type SteeringParameters } from "../../src/core/policies.ts";
import type { SteeredHost } from "../../src/core/steered-host.ts";

export const PORT = 80;

export interface SceneOptions {
  readonly policy?: Exclude<PolicyName, "lars">;
  readonly steering?: Partial<SteeringParameters>;
  readonly zone?: string;
  readonly random?: Random;
}

/** A host of a scene: its number, or its number with a weight or zone. */
export type SceneHost = number | ({ readonly ip: number } & Partial<Pick<Host, "weight" | "zone">>);

export const route = (hosts: readonly SceneHost[]): Host[] =>
  hosts.map((host) => (typeof host === "number" ? makeHost(host, PORT) : makeHost(host.ip, PORT, host)));

/** Hosts as a picker is given them. */
export const setOf = (hosts: readonly SteeredHost[]): HostSet => ({
  length: hosts.length,
  at: (i) => hosts[i]!,
  ipAt: (i) => hosts[i]!.ip,
  portAt: (i) => hosts[i]!.port,
  weightAt: (i) => hosts[i]!.weight,
});

export class Scene {
  /** Not 0: "never" must not look like "just now". */
  nowMs = 1_000_000;
  random: Random;
  readonly steering: SteeringParameters;
  readonly balancer: SteeredBalancer;

  constructor(hosts: readonly SceneHost[], options: SceneOptions = {}) {
    let drawn = 0;
    this.random = options.random ?? (() => 0.5 + drawn++ * 1e-9);
    this.steering = { ...DEFAULT_STEERING, ...options.steering };
    this.balancer = makeBalancer({
      policy: options.policy ?? "round_robin",
      lars: LARS_DEFAULTS,
      steering: this.steering,
      zone: options.zone ?? "",
    }) as SteeredBalancer;
    this.update(hosts);
  }

  update(hosts: readonly SceneHost[]): this {
    this.balancer.update(route(hosts), this.nowMs);
    return this;
  }

  host(ip: number): SteeredHost {
    const host = this.balancer.find(ip, PORT);
    if (host === undefined) throw new Error(`host ${ip} is not in the route`);
    return host;
  }

  /** The number of the host that is picked; 0 when the call is shed. */
  pick(keyHash = 0): number {
    const picked = this.balancer.pick(this.nowMs, this.random, keyHash);
    return picked === SHEDDING ? 0 : (picked as SteeredHost).ip;
  }

  /** So many picks that nobody reports. "-": shed. */
  picks(count: number): string {
    return Array.from({ length: count }, () => this.pick() || "-").join(" ");
  }

  /** Outcomes of calls to one host, "+" and "x". */
  report(ip: number, outcomes: string, latencyMs = 0): this {
    for (const outcome of outcomes) {
      this.balancer.report(this.host(ip), outcome === "+", latencyMs * 1000, this.nowMs);
    }
    return this;
  }

  /** So many picks, each reported at once; hosts in `failing` fail. Returns whom they went to. */
  calls(count: number, failing: readonly number[] = [], latencyMs = 0): string {
    return Array.from({ length: count }, () => {
      const ip = this.pick();
      if (ip !== 0) this.report(ip, failing.includes(ip) ? "x" : "+", latencyMs);
      return ip || "-";
    }).join(" ");
  }

  /** Calls at a steady pace for so long, each reported at once. Returns how many went to each host (0: shed). */
  traffic(seconds: number, perSecond: number, failing: readonly number[] = [], latencyMs = 0): Map<number, number> {
    const counts = new Map<number, number>();
    const gapMs = 1000 / perSecond;
    const calls = Math.round(seconds * perSecond);
    for (let i = 0; i < calls; i++) {
      this.nowMs += gapMs;
      const ip = this.pick();
      counts.set(ip, (counts.get(ip) ?? 0) + 1);
      if (ip !== 0) this.report(ip, failing.includes(ip) ? "x" : "+", latencyMs);
    }
    return counts;
  }

  wait(seconds: number): this {
    this.nowMs += seconds * 1000;
    return this;
  }

  get ejected(): number[] {
    return [...this.balancer.hosts()].filter(({ available }) => !available).map(({ ip }) => ip);
  }

  verdict(ip: number) {
    return this.balancer.describe(this.nowMs).find((host) => host.ip === ip)!;
  }

  /** Lets time pass until the host's probe is due. */
  waitForProbe(ip: number): this {
    return this.wait(Math.max(0, this.pauseOf(ip)));
  }

  /** In how many seconds the next probe is due, for an ejected host. */
  pauseOf(ip: number): number {
    return (this.host(ip).probeAtMs - this.nowMs) / 1000;
  }
}
