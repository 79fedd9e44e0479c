// Policy `adaptive`: of two hosts drawn in proportion to weight, the one where a call would be over sooner.
//
// The expected cost of a call is the host's latency estimate times the calls it would share the host with, for its
// weight (Finagle's and brpc's peak-EWMA balancers judge by the same product). What makes the difference is in the
// details:
// - Equal hosts must get equal shares although their estimates differ by noise, so estimates within a band of each other
//   count as equal and only calls in flight decide.
// - A host that stops answering shows first in calls that should be back by now: the age of the oldest one in flight
//   stands in for the estimate once it is well beyond it. No report is needed, so callers' time-outs need not pass.
// - A host that loses every comparison would never be measured again, and would stay out for ever after it recovered. So
//   one that was not picked for a while is picked when it is drawn, as often as costs a small share of all calls at the
//   most, and a good result is believed soon.
import type { PickContext, Picker } from "./picker.ts";
import { heldBack } from "./picker.ts";
import type { SteeredHost } from "./steered-host.ts";
import { WeightedSampler } from "./weighted-sampler.ts";

/** Estimates within this factor of each other are equal. Callers' noise is within it, a real difference soon beyond. */
const BAND = 1.4;
/** The oldest call in flight counts as a sign when it is this many estimates old. */
const OVERDUE = 1.5;
/** Fewer in flight may be a lost report. */
const OVERDUE_IN_FLIGHT = 3;
/** A host that was not picked for this long is picked when drawn. */
const REFRESH_MS = 1000;
/** Such picks together take at most this share of all. */
const REFRESH_SHARE = 0.004;
/** Below this, latencies are not told apart. */
const FLOOR_MS = 0.5;
/** How often a second host other than the first is drawn for. */
const DRAWS = 3;

export class AdaptivePicker implements Picker {
  #hosts: readonly SteeredHost[] = [];
  readonly #sampler = new WeightedSampler();
  #refreshAllowance = 1;

  rebuild(hosts: readonly SteeredHost[]): void {
    this.#hosts = hosts;
    this.#sampler.build(hosts.length, (i) => hosts[i]!.weight);
  }

  pick(context: PickContext): SteeredHost {
    const hosts = this.#hosts;
    this.#refreshAllowance = Math.min(2, this.#refreshAllowance + REFRESH_SHARE);
    const first = hosts[this.#sampler.draw(context.random)]!;
    if (hosts.length === 1) return first;
    let second = hosts[this.#sampler.draw(context.random)]!;
    for (let i = 1; i < DRAWS && second === first; i++) second = hosts[this.#sampler.draw(context.random)]!;
    const better = this.#better(first, second, context.nowMs);
    const worse = better === first ? second : first;
    if (worse !== better && this.#needsRefresh(worse, context.nowMs)) {
      this.#refreshAllowance -= 1;
      return worse;
    }
    return heldBack(better, context) ? worse : better;
  }

  #needsRefresh(host: SteeredHost, nowMs: number): boolean {
    return this.#refreshAllowance >= 1 && host.inFlight === 0 && nowMs - host.pickedAtMs > REFRESH_MS;
  }

  #better(first: SteeredHost, second: SteeredHost, nowMs: number): SteeredHost {
    let a = effectiveMs(first, nowMs);
    let b = effectiveMs(second, nowMs);
    if (a < b * BAND && b < a * BAND) {
      a = 1;
      b = 1;
    }
    const costA = a * (first.inFlight / first.weight + 1 / first.weight);
    const costB = b * (second.inFlight / second.weight + 1 / second.weight);
    if (a === b && first.inFlight * second.weight === second.inFlight * first.weight) return first;
    return costB < costA ? second : first;
  }
}

/** The estimate, or how long the oldest call is out when that says more. */
function effectiveMs(host: SteeredHost, nowMs: number): number {
  const estimate = Math.max(host.estimateMs, FLOOR_MS) + host.penaltyMs;
  if (host.inFlight < OVERDUE_IN_FLIGHT) return estimate;
  const oldest = host.oldestMs(nowMs);
  return oldest > OVERDUE * estimate ? oldest : estimate;
}
