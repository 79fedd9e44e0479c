// Passive ejection as Envoy and gRPC document it. Both sweep every 10 s, eject for 30 s times how often the host was
// ejected lately, and never more than 10 % of the hosts; they differ in how they count those 10 %, and in what makes an
// outlier besides a success rate far below the others'.
//
// Envoy: "Outlier detection" in its architecture overview, and config.cluster.v3.OutlierDetection for the defaults.
// gRPC: proposal A50, "gRPC xDS: outlier detection support".
import type { Random } from "../../../src/core/balancer.ts";
import { RivalHost } from "./rival.ts";

/** Names and defaults as the two document them; shares as percentages, times in ms. */
export interface OutlierDetection {
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionMs: number;
  readonly maxEjectionPercent: number;
  /** True: a host is ejected while fewer than the maximum are, so one may go over (gRPC). */
  readonly mayOvershoot: boolean;
  /** Failures in a row that eject at once; 0: no such rule. */
  readonly consecutive: number;
  readonly successRate: { readonly deviations: number; readonly minimumHosts: number; readonly requestVolume: number };
  readonly failurePercentage:
    | { readonly threshold: number; readonly minimumHosts: number; readonly requestVolume: number }
    | undefined;
}

export const ENVOY_DEFAULTS: OutlierDetection = {
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  // Of fewer than ten hosts, 10 % is none. (`always_eject_one_host` exists, and is off by default.)
  maxEjectionPercent: 10,
  mayOvershoot: false,
  consecutive: 5,
  successRate: { deviations: 1.9, minimumHosts: 5, requestVolume: 100 },
  // The rule exists, and `enforcing_failure_percentage` is 0 by default.
  failurePercentage: undefined,
};

export const GRPC_DEFAULTS: OutlierDetection = {
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  maxEjectionPercent: 10,
  mayOvershoot: true,
  // A50 has no rule of consecutive failures.
  consecutive: 0,
  successRate: { deviations: 1.9, minimumHosts: 5, requestVolume: 100 },
  failurePercentage: { threshold: 85, minimumHosts: 5, requestVolume: 50 },
};

export class JudgedHost extends RivalHost {
  succ = 0;
  err = 0;
  consecutive = 0;
  ejectedAtMs = 0;
  /** How often it was ejected, one less for every sweep in health. */
  multiplier = 0;
}

export class OutlierDetector {
  #nextSweepMs: number | undefined;
  #ejected = 0;

  constructor(private readonly rules: OutlierDetection) {}

  /** Sets the phase of the sweeps: trouble must not always begin just after one. */
  start(nowMs: number, random: Random): void {
    this.#nextSweepMs ??= nowMs + random() * this.rules.intervalMs;
  }

  /** Sweeps when it is time. To be called before hosts are looked at. */
  tick(hosts: readonly JudgedHost[], nowMs: number): void {
    if (this.#nextSweepMs === undefined) return;
    while (nowMs >= this.#nextSweepMs) {
      this.#sweep(hosts, this.#nextSweepMs);
      this.#nextSweepMs += this.rules.intervalMs;
    }
  }

  count(hosts: readonly JudgedHost[], host: JudgedHost, succeeded: boolean, nowMs: number): void {
    if (succeeded) {
      host.succ++;
      host.consecutive = 0;
      return;
    }
    host.err++;
    host.consecutive++;
    if (this.rules.consecutive > 0 && host.consecutive >= this.rules.consecutive) {
      host.consecutive = 0;
      this.#eject(hosts, host, nowMs);
    }
  }

  #eject(hosts: readonly JudgedHost[], host: JudgedHost, nowMs: number): void {
    if (!host.available) return;
    const { maxEjectionPercent, mayOvershoot } = this.rules;
    this.#ejected = hosts.reduce((sum, { available }) => sum + (available ? 0 : 1), 0);
    const percent = (100 * (this.#ejected + (mayOvershoot ? 0 : 1))) / hosts.length;
    if (mayOvershoot ? percent >= maxEjectionPercent : percent > maxEjectionPercent) return;
    host.available = false;
    host.ejectedAtMs = nowMs;
    host.multiplier++;
  }

  #sweep(hosts: readonly JudgedHost[], nowMs: number): void {
    const { successRate, failurePercentage, baseEjectionMs, maxEjectionMs } = this.rules;
    const rated = hosts.filter((host) => host.available && host.succ + host.err >= successRate.requestVolume);
    if (rated.length >= successRate.minimumHosts) {
      const rates = rated.map(({ succ, err }) => succ / (succ + err));
      const mean = rates.reduce((sum, rate) => sum + rate, 0) / rates.length;
      const variance = rates.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / rates.length;
      const least = mean - successRate.deviations * Math.sqrt(variance);
      for (const [index, host] of rated.entries()) if (rates[index]! < least) this.#eject(hosts, host, nowMs);
    }
    if (failurePercentage !== undefined) {
      const { threshold, minimumHosts, requestVolume } = failurePercentage;
      const counted = hosts.filter((host) => host.available && host.succ + host.err >= requestVolume);
      if (counted.length >= minimumHosts) {
        for (const host of counted) {
          if ((100 * host.err) / (host.succ + host.err) > threshold) this.#eject(hosts, host, nowMs);
        }
      }
    }
    for (const host of hosts) {
      host.succ = 0;
      host.err = 0;
      if (host.available) {
        if (host.multiplier > 0) host.multiplier--;
      } else {
        const forMs = Math.min(baseEjectionMs * host.multiplier, Math.max(baseEjectionMs, maxEjectionMs));
        if (nowMs >= host.ejectedAtMs + forMs) {
          host.available = true;
          host.consecutive = 0;
        }
      }
    }
  }
}
