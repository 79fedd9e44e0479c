// Envoy with its defaults: ROUND_ROBIN or LEAST_REQUEST over the hosts that outlier detection leaves, and everything when
// fewer than half are left (healthy_panic_threshold 50 %). Sources: Envoy's "Supported load balancers", "Panic threshold"
// and "Outlier detection" pages. gRPC's round robin under A50 outlier detection differs by its rules and by having no
// panic threshold other than "all are ejected". Not modelled: retries, circuit breakers, active health checks, zones.
import type { Host } from "../../../src/core/assignment.ts";
import { type BalancedHost, type Random, SHEDDING } from "../../../src/core/balancer.ts";
import type { BalancerFactory } from "../engine.ts";
import {
  ENVOY_DEFAULTS,
  GRPC_DEFAULTS,
  JudgedHost,
  type OutlierDetection,
  OutlierDetector,
} from "./outlier-detection.ts";
import { Rival } from "./rival.ts";

interface Options {
  readonly rules: OutlierDetection;
  readonly choice: "round robin" | "least request";
  /** All hosts are used when a smaller share than this is healthy. */
  readonly panicBelow: number;
}

class OutlierRival extends Rival<JudgedHost> {
  readonly #detector: OutlierDetector;
  #next = 0;

  constructor(private readonly options: Options) {
    super();
    this.#detector = new OutlierDetector(options.rules);
  }

  protected makeHost({ ip, port, weight }: Host): JudgedHost {
    return new JudgedHost(ip, port, weight);
  }

  pick(nowMs: number, random: Random): JudgedHost | typeof SHEDDING {
    const list = this.list;
    if (list.length === 0) return SHEDDING;
    this.#detector.start(nowMs, random);
    this.#detector.tick(list, nowMs);
    let healthy = 0;
    for (const host of list) if (host.available) healthy++;
    const panic = healthy === 0 || healthy / list.length < this.options.panicBelow;
    const host = this.options.choice === "round robin" ? this.#rotate(panic, random) : this.#lesser(panic, random);
    host.inFlight++;
    return host;
  }

  #rotate(panic: boolean, random: Random): JudgedHost {
    const list = this.list;
    // Every worker begins somewhere else.
    if (this.#next === 0) this.#next = 1 + Math.floor(random() * list.length);
    for (;;) {
      const host = list[this.#next++ % list.length]!;
      if (panic || host.available) return host;
    }
  }

  /** The less busy of two chosen at random, which may be the same one (choice_count 2). */
  #lesser(panic: boolean, random: Random): JudgedHost {
    const one = this.#any(panic, random);
    const other = this.#any(panic, random);
    return other.inFlight < one.inFlight ? other : one;
  }

  #any(panic: boolean, random: Random): JudgedHost {
    for (;;) {
      const host = this.list[Math.floor(random() * this.list.length)]!;
      if (panic || host.available) return host;
    }
  }

  report(reported: BalancedHost, succeeded: boolean, _latencyUs: number, nowMs: number): void {
    const host = reported as JudgedHost;
    host.inFlight--;
    this.#detector.tick(this.list, nowMs);
    this.#detector.count(this.list, host, succeeded, nowMs);
  }
}

export const envoyRoundRobin: BalancerFactory = () =>
  new OutlierRival({ rules: ENVOY_DEFAULTS, choice: "round robin", panicBelow: 0.5 });

export const envoyLeastRequest: BalancerFactory = () =>
  new OutlierRival({ rules: ENVOY_DEFAULTS, choice: "least request", panicBelow: 0.5 });

/** What Envoy's users set once 10 % of their few hosts turned out to be none: the rest stays as it is. */
export const envoyLeastRequestHalf: BalancerFactory = () =>
  new OutlierRival({ rules: { ...ENVOY_DEFAULTS, maxEjectionPercent: 50 }, choice: "least request", panicBelow: 0.5 });

export const grpcRoundRobin: BalancerFactory = () =>
  new OutlierRival({ rules: GRPC_DEFAULTS, choice: "round robin", panicBelow: 0 });
