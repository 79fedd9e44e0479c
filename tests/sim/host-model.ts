// A simulated host: how long it takes, how many calls it serves at a time, and what is wrong with it when.
//
// All calls are known when they are sent: a queue served in order by `servers` workers has its finishing time fixed at
// arrival, and faults are a schedule. So a call costs the engine one event, and nothing is ever cancelled.
import type { Prng } from "./prng.ts";

/** How long an undisturbed call takes, in ms. `normal` is cut off at a tenth of its mean. */
export type LatencyModel =
  | { readonly kind: "constant"; readonly ms: number }
  | { readonly kind: "normal"; readonly ms: number; readonly deviationMs: number }
  | { readonly kind: "exponential"; readonly ms: number };

/**
 * What is wrong with a host from `fromMs` until `untilMs` (default: to the end).
 * - `refuse`: the process is gone; calls fail after about 1 ms, and those in progress when it went fail with it.
 * - `hang`: the cable is cut; nothing is answered, nor are the calls in progress.
 * - `fail`: answers with a failure, after the usual time, with probability `share`.
 * - `slow`: takes `factor` times as long. `latency`: takes what `latency` says instead.
 * - `flap`: `refuse` for the first `downMs` of every `periodMs`.
 */
export type Fault = { readonly fromMs: number; readonly untilMs?: number } & (
  | { readonly kind: "refuse" }
  | { readonly kind: "hang" }
  | { readonly kind: "fail"; readonly share: number }
  | { readonly kind: "slow"; readonly factor: number }
  | { readonly kind: "latency"; readonly latency: LatencyModel }
  | { readonly kind: "flap"; readonly periodMs: number; readonly downMs: number }
);

export interface HostSpec {
  readonly latency: LatencyModel;
  /** Calls served at a time; more wait in order. Default: any number. */
  readonly servers?: number;
  /** A call that would have to wait longer than this is refused. Default: none is. */
  readonly maxWaitMs?: number;
  readonly faults?: readonly Fault[];
  /** Its fair part of the calls, relative to the others'. Default 1. */
  readonly fairShare?: number;
  /** Its weight in the route. Default 100. */
  readonly weight?: number;
}

const REFUSAL_MS = 1;

function draw(model: LatencyModel, prng: Prng): number {
  switch (model.kind) {
    case "constant":
      return model.ms;
    case "normal":
      return Math.max(model.ms / 10, model.ms + model.deviationMs * prng.normal());
    case "exponential":
      return model.ms * prng.exponential();
  }
}

/** When a call ends, in ms after it was sent (Infinity: never), and whether it succeeds. */
export interface Answer {
  afterMs: number;
  succeeded: boolean;
}

export class SimulatedHost {
  readonly #faults: readonly Fault[];
  readonly #freeAtMs: Float64Array | undefined;

  constructor(private readonly spec: HostSpec) {
    this.#faults = spec.faults ?? [];
    if (spec.servers !== undefined) this.#freeAtMs = new Float64Array(spec.servers);
  }

  /** Serves a call that arrives at `nowMs`; fills `answer` and returns it. Calls arrive in order. */
  serve(nowMs: number, prng: Prng, answer: Answer): Answer {
    let model = this.spec.latency;
    let factor = 1;
    let succeeded = true;
    for (const fault of this.#faults) {
      if (nowMs < fault.fromMs || nowMs >= (fault.untilMs ?? Number.POSITIVE_INFINITY)) continue;
      switch (fault.kind) {
        case "refuse":
          return refuse(answer);
        case "flap":
          if ((nowMs - fault.fromMs) % fault.periodMs < fault.downMs) return refuse(answer);
          break;
        case "hang":
          answer.afterMs = Number.POSITIVE_INFINITY;
          answer.succeeded = false;
          return answer;
        case "fail":
          if (prng.next() < fault.share) succeeded = false;
          break;
        case "slow":
          factor *= fault.factor;
          break;
        case "latency":
          model = fault.latency;
          break;
      }
    }
    const serviceMs = draw(model, prng) * factor;
    const waitMs = this.#wait(nowMs, serviceMs);
    if (waitMs > (this.spec.maxWaitMs ?? Number.POSITIVE_INFINITY)) return refuse(answer);
    answer.afterMs = waitMs + serviceMs;
    answer.succeeded = succeeded;
    this.#interrupt(nowMs, answer);
    return answer;
  }

  /** How long the call waits for a worker; takes the worker unless the wait is too long. */
  #wait(nowMs: number, serviceMs: number): number {
    const free = this.#freeAtMs;
    if (free === undefined) return 0;
    let worker = 0;
    for (let i = 1; i < free.length; i++) if (free[i]! < free[worker]!) worker = i;
    const startMs = Math.max(nowMs, free[worker]!);
    const waitMs = startMs - nowMs;
    if (waitMs <= (this.spec.maxWaitMs ?? Number.POSITIVE_INFINITY)) free[worker] = startMs + serviceMs;
    return waitMs;
  }

  /** A host that dies takes the calls it is working on with it. */
  #interrupt(nowMs: number, answer: Answer): void {
    for (const fault of this.#faults) {
      if (fault.kind !== "refuse" && fault.kind !== "hang" && fault.kind !== "flap") continue;
      let fromMs = fault.fromMs;
      if (fault.kind === "flap" && nowMs >= fromMs) {
        fromMs += (Math.floor((nowMs - fromMs) / fault.periodMs) + 1) * fault.periodMs;
        if (fromMs >= (fault.untilMs ?? Number.POSITIVE_INFINITY)) continue;
      }
      if (fromMs <= nowMs || fromMs >= nowMs + answer.afterMs) continue;
      answer.succeeded = false;
      answer.afterMs = fault.kind === "hang" ? Number.POSITIVE_INFINITY : fromMs - nowMs + REFUSAL_MS;
    }
  }
}

function refuse(answer: Answer): Answer {
  answer.afterMs = REFUSAL_MS;
  answer.succeeded = false;
  return answer;
}
