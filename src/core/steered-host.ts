// A host as all policies but `lars` know it: what is in flight there, how long its calls take, how they went lately, and
// whether it is ejected.
//
// In flight are picks that were not reported. Reports get lost and callers die, so a pick counts for a lease only. Picks
// are kept as times in a ring, oldest first; a report takes the oldest away. Which call a report belongs to is not known,
// but need not be: whatever the matching, the time from pick to report has the right mean (Little's law).
import type { BalancedHost } from "./balancer.ts";
import { CallWindow } from "./call-window.ts";

const INITIAL_LEASES = 8;
/** More in flight at one host are not told apart: it is full by any measure. */
export const MAX_LEASES = 65_536;

export class SteeredHost implements BalancedHost {
  readonly kind = "host";
  tag = -1;
  /** Place in the sampler it is in; its owner's business. */
  index = -1;

  /** Latency estimate in ms; 0: no call has ended yet. */
  estimateMs = 0;
  estimatedAtMs = 0;
  /** Share of calls that fail lately, and what that adds to the estimate, in ms, where the others do better. */
  failureShare = 0;
  penaltyMs = 0;
  pickedAtMs = Number.NEGATIVE_INFINITY;

  ejected = false;
  /** How often in a row, which doubles the pause between probes. */
  ejections = 0;
  probeAtMs = 0;
  /** Until when a probe that was sent counts as under way; 0: none is. */
  probeUntilMs = 0;
  consecutiveFailures = 0;
  consecutiveSuccesses = 0;
  /** Readmitted, and not trusted again yet: one failure ejects it anew. */
  onProbation = false;
  /** The share ramps up from `rampFromMs` to `rampToMs`. */
  rampFromMs = 0;
  rampToMs = 0;
  sinceMs: number;
  reason = "in the route";
  readonly window: CallWindow;

  #leases = new Float64Array(INITIAL_LEASES);
  #head = 0;
  inFlight = 0;

  constructor(
    readonly ip: number,
    readonly port: number,
    public weight: number,
    public zone: string,
    windowMs: number,
    nowMs: number,
  ) {
    this.window = new CallWindow(windowMs);
    this.sinceMs = nowMs;
    this.estimatedAtMs = nowMs;
  }

  get available(): boolean {
    return !this.ejected;
  }

  /** A pick was handed out. */
  take(nowMs: number): void {
    this.pickedAtMs = nowMs;
    if (this.inFlight === this.#leases.length) {
      if (this.inFlight === MAX_LEASES) return;
      this.#grow();
    }
    this.#leases[(this.#head + this.inFlight) & (this.#leases.length - 1)] = nowMs;
    this.inFlight++;
  }

  /** A report came: takes the oldest pick away and returns its age in ms; -1: none was in flight. */
  release(nowMs: number): number {
    if (this.inFlight === 0) return -1;
    const age = Math.max(0, nowMs - this.#leases[this.#head]!);
    this.#head = (this.#head + 1) & (this.#leases.length - 1);
    this.inFlight--;
    return age;
  }

  /** Gives up picks older than `leaseMs`. Amortised O(1): every pick is given up once. */
  expire(leaseMs: number, nowMs: number): void {
    while (this.inFlight > 0 && nowMs - this.#leases[this.#head]! > leaseMs) {
      this.#head = (this.#head + 1) & (this.#leases.length - 1);
      this.inFlight--;
    }
  }

  /** Age of the oldest pick in flight, in ms; 0: none is. */
  oldestMs(nowMs: number): number {
    return this.inFlight === 0 ? 0 : nowMs - this.#leases[this.#head]!;
  }

  /** From 0.1 to 1 while its share ramps up, 1 otherwise. */
  ramp(nowMs: number): number {
    if (nowMs >= this.rampToMs) return 1;
    return 0.1 + 0.9 * Math.max(0, (nowMs - this.rampFromMs) / (this.rampToMs - this.rampFromMs));
  }

  #grow(): void {
    const old = this.#leases;
    const grown = new Float64Array(old.length * 2);
    for (let i = 0; i < this.inFlight; i++) grown[i] = old[(this.#head + i) & (old.length - 1)]!;
    this.#leases = grown;
    this.#head = 0;
  }
}
