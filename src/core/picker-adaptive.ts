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
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";
import { WeightedSampler } from "./weighted-sampler.ts";

/** Estimates within this factor of each other are equal. Callers' noise is within it, a real difference soon beyond. */
const BAND = 1.4;
/** The oldest call in flight counts as a sign when it is this many estimates old. */
const OVERDUE = 1.5;
/** Fewer in flight may be a lost report. */
const OVERDUE_IN_FLIGHT = 3;
/** A host that was not picked for this long is picked when drawn; sooner when it is not that much slower … */
const REFRESH_MS = 1000;
const MUCH_SLOWER = 8;
/** … as long as such picks together take at most this share of all … */
const REFRESH_SHARE = 0.004;
/** … and after this long whatever the share: a quiet caller must learn that a host is fast again. */
const REFRESH_ANYWAY_MS = 8000;
/** Below this, latencies are not told apart. */
const FLOOR_MS = 1;
/** How often a second host other than the first is drawn for. */
const DRAWS = 3;

export class AdaptivePicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  readonly #sampler = new WeightedSampler();
  /** Worth of refreshing picks that is left, in picks of a host that is much slower. */
  #refreshAllowance = 1;

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    this.#sampler.build(hosts.length, (i) => hosts.weightAt(i));
  }

  pick(context: PickContext): SteeredHost {
    const hosts = this.#hosts;
    this.#refreshAllowance = Math.min(2, this.#refreshAllowance + REFRESH_SHARE);
    const first = hosts.at(this.#sampler.draw(context.random));
    if (hosts.length === 1) return first;
    let second = hosts.at(this.#sampler.draw(context.random));
    for (let i = 1; i < DRAWS && second === first; i++) second = hosts.at(this.#sampler.draw(context.random));
    first.settle(context);
    second.settle(context);
    const firstMs = effectiveMs(first, context.nowMs);
    const secondMs = effectiveMs(second, context.nowMs);
    const secondIsBetter = isBetter(second, secondMs, first, firstMs);
    const better = secondIsBetter ? second : first;
    const worse = secondIsBetter ? first : second;
    if (worse === better) return better;
    const ratio = secondIsBetter ? firstMs / secondMs : secondMs / firstMs;
    if (this.#takeRefresh(worse, ratio, context.nowMs)) return worse;
    return heldBack(better, context) ? worse : better;
  }

  /** Whether the worse host is picked all the same, to learn how it does now. Calls under way make it wait longer. */
  #takeRefresh(host: SteeredHost, ratio: number, nowMs: number): boolean {
    const idleMs = (nowMs - host.pickedAtMs) / (1 + host.inFlight);
    if (ratio < BAND) return false;
    const price = Math.min(1, (ratio - 1) / MUCH_SLOWER);
    if (idleMs <= REFRESH_MS * price) return false;
    if (idleMs <= REFRESH_ANYWAY_MS && this.#refreshAllowance < price) return false;
    this.#refreshAllowance = Math.max(0, this.#refreshAllowance - price);
    return true;
  }
}

/** Whether a call at `host` would be over sooner than at `other`. */
function isBetter(host: SteeredHost, hostMs: number, other: SteeredHost, otherMs: number): boolean {
  const alike = hostMs < otherMs * BAND && otherMs < hostMs * BAND;
  const cost = (alike ? 1 : hostMs) * ((host.inFlight + 1) / host.weight);
  const otherCost = (alike ? 1 : otherMs) * ((other.inFlight + 1) / other.weight);
  // Equal load keeps the first draw, so that an idle module's shares are its weights.
  if (alike && host.inFlight * other.weight === other.inFlight * host.weight) return false;
  return cost < otherCost;
}

/** The estimate, or how long the oldest call is out when that says more. */
function effectiveMs(host: SteeredHost, nowMs: number): number {
  const estimate = Math.max(host.estimateMs, FLOOR_MS) + host.penaltyMs;
  if (host.inFlight < OVERDUE_IN_FLIGHT) return estimate;
  const oldest = host.oldestMs(nowMs);
  return oldest > OVERDUE * estimate ? oldest : estimate;
}
