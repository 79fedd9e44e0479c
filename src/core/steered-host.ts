// A host as all policies but `lars` know it: what is in flight there, how long its calls take, how they went lately, and
// whether it is ejected.
//
// In flight are picks that were not reported. Reports get lost and callers die, so a pick counts for a lease only. Picks
// are kept as times in a ring, oldest first; a report takes the oldest away. Which call a report belongs to is not known,
// but need not be: whatever the matching, the time from pick to report has the right mean (Little's law). While never more
// than one was in flight there is no ring: it is the latest pick, whose time is known anyhow.
import type { BalancedHost, Random } from "./balancer.ts";
import { CallWindow } from "./call-window.ts";

const INITIAL_LEASES = 4;
/** Of a host that never had two picks in flight: an agent knows many more hosts than are busy. */
const NONE = new Float64Array(0);
/** More in flight at one host are not told apart: it is full by any measure. */
export const MAX_LEASES = 65_536;

/** A pick counts as lost when it is this many estimates old and the host reports others meanwhile … */
const LEASE_ESTIMATES = 4;
const MIN_LEASE_MS = 250;
/**
 * … but of the lowest estimate where reports get lost: a lost one shifts what all later ones are matched with, so the
 * estimate itself grows with every loss until picks are given up.
 */
const MIN_LOSSY_LEASE_MS = 60;
/** … or, while the host does not report, at this age. It may hang, and then its calls are in flight indeed. */
const SILENT_LEASE_ESTIMATES = 20;
const MIN_SILENT_LEASE_MS = 3000;

/** What a pick may look at besides the hosts. One per balancer, reused; valid during the call. */
export interface PickContext {
  nowMs: number;
  random: Random;
  /** Of the caller's stickiness key; 0: none. */
  keyHash: number;
  /** Picks of the whole module that are not reported yet. */
  inFlight: number;
  /** The longest that any pick counts as in flight. */
  maxLeaseMs: number;
  /** Some of the module's picks are never reported. */
  lossy: boolean;
}

export class SteeredHost implements BalancedHost {
  readonly kind = "host";
  tag = -1;
  hasLeft = false;

  /** Latency estimate in ms; 0: no call has ended yet. */
  estimateMs = 0;
  /** The lowest the estimate has been lately. */
  leastMs = 0;
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
  /** When the first of them was reported. */
  failingSinceMs = 0;
  consecutiveSuccesses = 0;
  /** Readmitted, and not trusted again yet: one failure ejects it anew. */
  onProbation = false;
  /** The share ramps up from `rampFromMs` to `rampToMs`. */
  rampFromMs = 0;
  rampToMs = 0;
  sinceMs: number;
  reason = "in the route";
  readonly window: CallWindow;

  /** When a report last came. */
  reportedAtMs = Number.NEGATIVE_INFINITY;
  #leases = NONE;
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

  /** A pick was handed out. Returns by how much more is in flight. */
  take(nowMs: number): number {
    if (this.#leases === NONE && this.inFlight === 0) {
      this.pickedAtMs = nowMs;
      this.inFlight = 1;
      return 1;
    }
    if (this.inFlight >= this.#leases.length) {
      if (this.inFlight === MAX_LEASES) {
        this.pickedAtMs = nowMs;
        return 0;
      }
      this.#grow();
    }
    this.pickedAtMs = nowMs;
    this.#leases[(this.#head + this.inFlight) & (this.#leases.length - 1)] = nowMs;
    this.inFlight++;
    return 1;
  }

  /** A report came: takes the oldest pick away and returns its age in ms; -1: none was in flight. */
  release(nowMs: number): number {
    this.reportedAtMs = nowMs;
    if (this.inFlight === 0) return -1;
    const age = Math.max(0, nowMs - this.#oldestAtMs());
    this.#dropOldest();
    return age;
  }

  /** As release, but takes the latest pick away. */
  releaseLatest(nowMs: number): number {
    this.reportedAtMs = nowMs;
    if (this.inFlight === 0) return -1;
    this.inFlight--;
    if (this.#leases === NONE) return Math.max(0, nowMs - this.pickedAtMs);
    return Math.max(0, nowMs - this.#leases[(this.#head + this.inFlight) & (this.#leases.length - 1)]!);
  }

  /** Gives up picks whose reports are lost. To be called before what is in flight is looked at. Amortised O(1). */
  settle(context: PickContext): void {
    if (this.inFlight === 0) return;
    const { nowMs } = context;
    if (this.estimateMs === 0) {
      // How long calls take here is not known at all; a shorter lease could be over before the first one ends.
      this.#giveUp(context, context.maxLeaseMs);
      return;
    }
    // It reported lately, or was asked nothing since it did.
    const responds =
      this.pickedAtMs <= this.reportedAtMs || nowMs - this.reportedAtMs < Math.max(MIN_LEASE_MS, 2 * this.estimateMs);
    const leaseMs = Math.min(
      context.maxLeaseMs,
      responds
        ? context.lossy
          ? Math.max(MIN_LOSSY_LEASE_MS, LEASE_ESTIMATES * this.leastMs)
          : Math.max(MIN_LEASE_MS, LEASE_ESTIMATES * this.estimateMs)
        : Math.max(MIN_SILENT_LEASE_MS, SILENT_LEASE_ESTIMATES * this.estimateMs),
    );
    this.#giveUp(context, leaseMs);
  }

  #giveUp(context: PickContext, leaseMs: number): void {
    while (this.inFlight > 0 && context.nowMs - this.#oldestAtMs() > leaseMs) {
      this.#dropOldest();
      context.inFlight--;
    }
  }

  /** Something must be in flight. */
  #oldestAtMs(): number {
    return this.#leases === NONE ? this.pickedAtMs : this.#leases[this.#head]!;
  }

  #dropOldest(): void {
    if (this.#leases !== NONE) this.#head = (this.#head + 1) & (this.#leases.length - 1);
    this.inFlight--;
  }

  /** Gives up all picks: what was sent to a host before it was ejected or readmitted says nothing about it now. */
  forgetPicks(): void {
    this.inFlight = 0;
  }

  /** Age of the oldest pick in flight, in ms; 0: none is. */
  oldestMs(nowMs: number): number {
    return this.inFlight === 0 ? 0 : nowMs - this.#oldestAtMs();
  }

  /** From 0.1 to 1 while its share ramps up, 1 otherwise. */
  ramp(nowMs: number): number {
    if (nowMs >= this.rampToMs) return 1;
    return 0.1 + 0.9 * Math.max(0, (nowMs - this.rampFromMs) / (this.rampToMs - this.rampFromMs));
  }

  #grow(): void {
    const old = this.#leases;
    const grown = new Float64Array(Math.max(INITIAL_LEASES, old.length * 2));
    if (old === NONE) grown[0] = this.pickedAtMs;
    else for (let i = 0; i < this.inFlight; i++) grown[i] = old[(this.#head + i) & (old.length - 1)]!;
    this.#leases = grown;
    this.#head = 0;
  }
}
