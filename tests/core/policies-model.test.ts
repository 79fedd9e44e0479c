// Every steered policy through random histories of picks, reports (late, doubled, lost), route updates and time, against
// what must hold whatever happens. The models are as naive as can be: lists of times, sets of addresses.
// LARS_FUZZ_SEED chooses other histories, LARS_FUZZ_COUNT how many steps in all.

import { expect, test } from "bun:test";
import { SHEDDING } from "../../src/core/balancer.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import type { SteeredBalancer } from "../../src/core/balancer-steered.ts";
import { makeBalancer } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING, type PolicyName, type SteeringParameters } from "../../src/core/policies.ts";
import type { SteeredHost } from "../../src/core/steered-host.ts";
import { type FuzzRandom, fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { PORT, route, type SceneHost } from "./steered-scene.ts";

const SEED = fuzzSeed();
const STEERED = ["adaptive", "round_robin", "random", "least_request", "consistent_hash"] as const;
const STEPS = 1000;
const HISTORIES = Math.ceil(fuzzCount(50_000) / STEPS / STEERED.length);
/** Any so many successes in a row of hosts that are not ejected mean that there is no panic. */
const CALM_AFTER = 10;

interface ModelHost {
  readonly host: SteeredHost;
  failShare: number;
  /** Of picks that may still be in flight. */
  picks: number[];
}

class History {
  readonly random: FuzzRandom;
  readonly balancer: SteeredBalancer;
  readonly steering: SteeringParameters;
  /** Shorter than any lease that is derived from latency, so that it is the one that counts. */
  readonly leaseMs: number;
  readonly model = new Map<number, ModelHost>();
  nowMs: number;
  /** Successes in a row of hosts that are not ejected. */
  successes = 0;
  step = 0;
  /** While it never steps back, what is in flight is known exactly; else there are bounds. */
  readonly clockStepsBack: boolean;

  constructor(
    readonly policy: PolicyName,
    readonly seed: number,
  ) {
    this.random = makeFuzzRandom(seed);
    this.nowMs = this.random.int(0, 1e7);
    this.clockStepsBack = this.random.float() < 0.3;
    // Below what the configuration allows, which the balancer need not know.
    this.leaseMs = this.random.pick([20, 40, 55]);
    this.steering = {
      ...DEFAULT_STEERING,
      pick_lease: this.leaseMs / 1000,
      base_ejection: this.random.pick([0.1, 1, 5]),
      slow_start: this.random.pick([0, 0.5, 3]),
      success_window: this.random.pick([1, 30]),
      consecutive_failures: this.random.pick([1, 3, 5]),
    };
    const zone = this.random.pick(["", "a", "c"]);
    this.balancer = makeBalancer({ policy, lars: LARS_DEFAULTS, steering: this.steering, zone }) as SteeredBalancer;
    this.update();
  }

  fail(what: string): never {
    throw new Error(`${this.policy}, seed ${this.seed}, step ${this.step}: ${what}`);
  }

  update(): void {
    const { random } = this;
    const ips = new Set<number>();
    for (let wanted = random.pick([0, 1, 2, 5, 9]); ips.size < wanted; ) ips.add(random.int(1, 12));
    const hosts: SceneHost[] = [...ips].map((ip) => ({
      ip,
      weight: random.pick([1, 50, 100, 10_000]),
      zone: random.pick(["", "a", "b"]),
    }));
    const estimates = [...this.model.values()].flatMap(({ host }) =>
      host.ejected || host.estimateMs === 0 ? [] : host.estimateMs,
    );
    const typicalMs = estimates.length === 0 ? 0 : estimates.reduce((sum, ms) => sum + ms, 0) / estimates.length;
    const left = this.balancer.update(route(hosts), this.nowMs).map(({ ip }) => ip);
    const hadHosts = this.model.size > 0;
    const gone = [...this.model.keys()].filter((ip) => !ips.has(ip));
    if (left.sort().join() !== gone.sort().join()) this.fail(`hosts ${left} left, not ${gone}`);
    for (const ip of gone) this.model.delete(ip);
    for (const ip of ips) {
      const host = this.balancer.find(ip, PORT) ?? this.fail(`host ${ip} is not found`);
      const known = this.model.get(ip);
      if (known === undefined && hadHosts) {
        const differs = Math.abs(host.estimateMs - typicalMs);
        if (differs > 1e-6 * (1 + typicalMs)) this.fail(`host ${ip} joined at ${host.estimateMs} ms, not ${typicalMs}`);
      }
      if (known === undefined) this.model.set(ip, { host, failShare: random.pick([0, 0, 0.02, 0.3, 1]), picks: [] });
      else if (known.host !== host) this.fail(`host ${ip} lost its state`);
    }
    // When nobody else is left, those that are ejected are tried, until somebody answers again.
    if ([...this.model.values()].every(({ host }) => host.ejected)) this.successes = 0;
  }

  pick(): void {
    const { nowMs } = this;
    const before = new Map<SteeredHost, boolean>();
    let someAvailable = false;
    for (const { host } of this.model.values()) {
      const isDue = nowMs >= host.probeAtMs && (host.probeUntilMs === 0 || nowMs >= host.probeUntilMs);
      before.set(host, !host.ejected || isDue);
      if (!host.ejected) someAvailable = true;
    }
    const picked = this.balancer.pick(nowMs, this.random.float, this.random.pick([0, 1, 77, 4_000_000_000]));
    if (picked === SHEDDING) {
      if (this.model.size > 0) this.fail("a call was shed although there are hosts");
      return;
    }
    const host = picked as SteeredHost;
    const known = this.model.get(host.ip);
    if (known?.host !== host) this.fail(`host ${host.ip} was picked, which is not in the route`);
    const mayBe = before.get(host)!;
    if (!mayBe && someAvailable && this.successes >= CALM_AFTER) {
      this.fail(`host ${host.ip} was picked, which is ejected and not due for a probe, while others answer`);
    }
    this.expire(known);
    known.picks.push(nowMs);
    this.checkInFlight(known);
  }

  report(known: ModelHost): void {
    const { host } = known;
    const { nowMs } = this;
    const wasEjected = host.ejected;
    const succeeded = this.random.float() >= known.failShare;
    const isProbe = host.probeUntilMs > 0;
    // The first report that is timed takes the latest pick away, all others the oldest.
    const isFirst = host.estimateMs === 0;
    this.balancer.report(host, succeeded, this.random.pick([0, 1000, 50_000]), nowMs);
    if (!wasEjected) this.successes = succeeded ? this.successes + 1 : 0;
    if (wasEjected && !host.ejected && !succeeded) this.fail(`host ${host.ip} was readmitted by a failure`);
    const onlyEjected = [...this.model.values()].every((other) => other === known || other.host.ejected);
    const calm = this.successes >= CALM_AFTER && !onlyEjected;
    if (wasEjected && !host.ejected && !isProbe && calm) this.fail(`host ${host.ip} was readmitted without a probe`);
    if (!wasEjected && host.ejected) {
      if (succeeded) this.fail(`host ${host.ip} was ejected by a success`);
      if (onlyEjected) this.fail(`host ${host.ip} was ejected although no other is left`);
    }
    if (wasEjected !== host.ejected) known.picks = [];
    else {
      this.expire(known);
      if (isFirst) known.picks.pop();
      else known.picks.shift();
    }
    this.checkInFlight(known);
  }

  /** Of a host that was just picked or reported. */
  checkInFlight({ host, picks }: ModelHost): void {
    const right = this.clockStepsBack ? host.inFlight <= picks.length : host.inFlight === picks.length;
    if (!right) this.fail(`${host.inFlight} in flight at host ${host.ip}, not ${picks.length}`);
  }

  expire(known: ModelHost): void {
    if (!this.clockStepsBack) known.picks = known.picks.filter((pickedMs) => this.nowMs - pickedMs <= this.leaseMs);
  }

  check(): void {
    let inFlight = 0;
    for (const { host } of this.model.values()) {
      inFlight += host.inFlight;
      if (host.inFlight < 0) this.fail(`${host.inFlight} in flight at host ${host.ip}`);
      const { succ, err } = host.window;
      if (succ < 0 || err < 0) this.fail(`host ${host.ip} counts ${succ} successes, ${err} failures`);
      if (!(host.estimateMs >= 0 && host.estimateMs < 1e9)) this.fail(`an estimate of ${host.estimateMs} ms`);
    }
    if (inFlight !== this.balancer.inFlight)
      this.fail(`${this.balancer.inFlight} in flight, the hosts have ${inFlight}`);
  }

  run(): void {
    const { random } = this;
    for (this.step = 0; this.step < STEPS; this.step++) {
      const dice = random.int(0, 999);
      const hosts = [...this.model.values()];
      if (dice < 8) this.update();
      else if (dice < 18) this.nowMs += random.int(0, 12_000);
      else if (dice < 30 && hosts.length > 0) random.pick(hosts).failShare = random.pick([0, 0, 0.1, 0.5, 1]);
      else if (dice < 34) this.balancer.configure({ ...this.steering, min_calls: random.int(1, 20) });
      else if (dice < 37 && this.clockStepsBack) this.nowMs = Math.max(0, this.nowMs - random.int(0, 3000));
      else if (dice < 500 && hosts.length > 0) this.report(random.pick(hosts));
      else this.pick();
      this.nowMs += random.pick([0, 0, 1, 5, 20]);
      this.check();
    }
    this.drain();
  }

  /** After the leases, and a look at every host, nothing is in flight that was not picked just now. */
  drain(): void {
    this.nowMs += 4_000_000;
    if (this.model.size === 0) return;
    for (const { host } of this.model.values()) this.balancer.report(host, true, 0, this.nowMs);
    if (this.balancer.inFlight !== 0) this.fail(`${this.balancer.inFlight} in flight for ever`);
  }
}

test.each(STEERED)(
  `%s keeps its promises in ${HISTORIES} random histories of ${STEPS} steps (seed ${SEED})`,
  (policy) => {
    for (let history = 0; history < HISTORIES; history++) new History(policy, SEED + history).run();
  },
);

/** Fewer would not meet each of its limits. */
const CAPPED_HISTORIES = 30;

test(`the cap on ejections for a low share holds in ${CAPPED_HISTORIES} random histories (seed ${SEED})`, () => {
  let ejections = 0;
  for (let history = 0; history < CAPPED_HISTORIES; history++) {
    const random = makeFuzzRandom(SEED + history);
    const max_ejected_share = random.pick([0, 0.1, 0.3, 0.5]);
    const steering = { ...DEFAULT_STEERING, consecutive_failures: 1000, max_ejected_share, base_ejection: 1 };
    const settings = { policy: "round_robin", lars: LARS_DEFAULTS, steering, zone: "" } as const;
    const balancer = makeBalancer(settings) as SteeredBalancer;
    const size = random.int(2, 12);
    const cap = Math.max(1, Math.floor(size * max_ejected_share));
    let nowMs = 1000;
    balancer.update(route(Array.from({ length: size }, (_, i) => i + 1)), nowMs);
    const failShares = Array.from({ length: size + 1 }, () => random.pick([0, 0, 0.2, 0.5, 0.9]));
    for (let step = 0; step < 800; step++) {
      nowMs += 20;
      const host = balancer.pick(nowMs, random.float, 0);
      if (host.kind !== "host") throw new Error("shed");
      balancer.report(host, random.float() >= failShares[host.ip]!, 0, nowMs);
      const out = [...balancer.hosts()].filter(({ ejected }) => ejected).length;
      if (out > cap) throw new Error(`seed ${SEED + history}, step ${step}: ${out} of ${size} are out, allowed ${cap}`);
      ejections = Math.max(ejections, out);
    }
  }
  expect(ejections).toBeGreaterThan(3);
});
