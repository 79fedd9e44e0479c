// One service that registers itself through this agent: what is true of it here (its health, or its owner's heartbeats),
// what the dns service knows of it, and the one call that would bring the two closer.
//
// Events only move facts; `due` compares them and names the next call. So there is no list of steps that a lost answer,
// a restart or a second PUT could tear apart: whatever happened, the next comparison says what is missing. One call is
// under way at a time, and one that failed is tried again after a growing, jittered pause, for ever: the dns service
// ends a lease by itself, but only the agent can know that a service is well again.
//
// The dns service may hold more than it confirmed (an answer can get lost), so `mayHold` is true from the moment a
// registration is sent until a removal was confirmed. Time is an argument everywhere, in monotonic milliseconds.
import { type BackoffLimits, backoffDelay } from "../core/backoff.ts";

export interface HealthCheckSpec {
  /** A path makes it an HTTP check; undefined: a TCP connection is enough. */
  readonly path: string | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Passes in a row that make a failing service healthy again. The first ever needs one. */
  readonly rise: number;
  /** Failures in a row that make it fail. */
  readonly fall: number;
}

export interface RegistrationSpec {
  readonly id: string;
  /** Signed 32 bits, as ip is. */
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: number;
  readonly port: number;
  /** undefined: the dns service's default. */
  readonly weight: number | undefined;
  readonly zone: string | undefined;
  readonly ttlSeconds: number;
  /** undefined: the service heartbeats the agent instead. */
  readonly check: HealthCheckSpec | undefined;
}

/** What to ask of the dns service. `drain` is a registration with the state "draining". */
export type RegistryCall = "register" | "renew" | "drain" | "deregister";

export type RegistryAnswer =
  | { readonly outcome: "done"; readonly revision?: number; readonly changed?: boolean }
  /** It knows no such registration. */
  | { readonly outcome: "gone" }
  /** It will not take this, now or later. */
  | { readonly outcome: "refused"; readonly status: number; readonly detail: string }
  /** Nobody could say; try again. */
  | { readonly outcome: "away"; readonly reason: string };

/** "waiting": healthy, and no dns service has confirmed it. "refused": a dns service will not have it. */
export const REGISTRATION_STATES = ["starting", "passing", "failing", "draining", "waiting", "refused"] as const;
export type RegistrationState = (typeof REGISTRATION_STATES)[number];

/** What outlives the process. */
export interface KeptRegistration {
  readonly spec: RegistrationSpec;
  readonly mayHold: boolean;
  readonly draining: boolean;
}

const RETRY: BackoffLimits = { baseMs: 200, maxMs: 2000 };
/** Chance may say "at once", again and again; an answer of "nobody there" can be as quick. */
const MIN_RETRY_MS = 20;
/** Permission may be given later, by people. */
const REFUSED_RETRY_MS = 30_000;

type Health = "unknown" | "up" | "down";

export class Registration {
  #spec: RegistrationSpec;
  #health: Health = "unknown";
  /** Check results in a row that speak against #health. */
  #streak = 0;
  /** The check passed, or the owner spoke, since this process began. */
  #seen = false;
  /** Read from disk, where the last moments before the end may be missing: to be registered anew once seen. */
  #doubtful = false;
  #heardAtMs: number;
  #sinceMs: number;
  #mayHold = false;
  /** The spec the dns service confirmed last; undefined: none. */
  #confirmed: RegistrationSpec | undefined;
  #leaseEndsMs = Number.NEGATIVE_INFINITY;
  #renewAtMs = 0;
  #retryAtMs = Number.NEGATIVE_INFINITY;
  #attempts = 0;
  #refused = false;
  #calling: { readonly call: RegistryCall; readonly spec: RegistrationSpec; readonly sentAtMs: number } | undefined;
  #leaving: { readonly sinceMs: number; readonly graceMs: number; readonly forget: boolean } | undefined;
  /** When "draining" was confirmed. */
  #drainedAtMs: number | undefined;
  /** When it was removed without having been draining. */
  #goneAtMs: number | undefined;
  #lastError = "";
  #forgotten = false;

  constructor(spec: RegistrationSpec, nowMs: number) {
    this.#spec = spec;
    this.#heardAtMs = nowMs;
    this.#sinceMs = nowMs;
    // Whoever registers without a check is alive: it just said so.
    if (spec.check === undefined) this.#heard();
  }

  /**
   * As read from disk. A lease that may still run is renewed at once, before any check: the service did not stop
   * because its agent did. What exactly the dns service holds is made sure of when the service was seen.
   */
  static restored(kept: KeptRegistration, graceMs: number, nowMs: number): Registration {
    const registration = new Registration(kept.spec, nowMs);
    registration.#seen = false;
    registration.#mayHold = kept.mayHold;
    registration.#doubtful = kept.mayHold;
    registration.#health = kept.mayHold ? "up" : "unknown";
    if (kept.mayHold) registration.#confirmed = kept.spec;
    if (kept.draining) registration.leave(graceMs, nowMs);
    return registration;
  }

  get spec(): RegistrationSpec {
    return this.#spec;
  }

  get mayHold(): boolean {
    return this.#mayHold;
  }

  /** It is being taken away for good. */
  get leaving(): boolean {
    return this.#leaving?.forget === true;
  }

  get kept(): KeptRegistration {
    return { spec: this.#spec, mayHold: this.#mayHold, draining: this.leaving };
  }

  /**
   * It was to leave, the dns service holds nothing of it any more, and it was draining or gone for the grace: no caller
   * is on its way to it.
   */
  left(nowMs: number): boolean {
    const leaving = this.#leaving;
    if (leaving === undefined || this.#mayHold || this.#calling !== undefined) return false;
    const outSinceMs = this.#drainedAtMs ?? this.#goneAtMs;
    return outSinceMs === undefined || nowMs - outSinceMs >= leaving.graceMs;
  }

  state(nowMs: number): RegistrationState {
    if (this.#leaving !== undefined) return "draining";
    if (this.#refused) return "refused";
    if (this.#health === "down") return "failing";
    if (this.#health === "unknown") return "starting";
    return this.#confirmed === this.#spec && nowMs < this.#leaseEndsMs ? "passing" : "waiting";
  }

  /** When its health last changed (or its owner began to take it away). */
  get sinceMs(): number {
    return this.#leaving?.sinceMs ?? this.#sinceMs;
  }

  get lastError(): string {
    return this.#lastError;
  }

  /** Of the lease, as far as was confirmed; 0 when none is known of. */
  leaseRemainingMs(nowMs: number): number {
    return this.#mayHold ? Math.max(0, this.#leaseEndsMs - nowMs) : 0;
  }

  /** A second PUT. Health that was found at the same address still holds; a service that failed begins afresh. */
  replace(spec: RegistrationSpec, nowMs: number): void {
    const before = this.#spec;
    this.#spec = spec;
    this.#leaving = undefined;
    this.#drainedAtMs = undefined;
    this.#goneAtMs = undefined;
    this.#refused = false;
    this.#retryAtMs = nowMs;
    this.#attempts = 0;
    this.#lastError = "";
    const moved = before.ip !== spec.ip || before.port !== spec.port;
    const otherKind = (before.check === undefined) !== (spec.check === undefined);
    if (moved || otherKind || this.#health !== "up") this.#judge("unknown", nowMs);
    if (spec.check === undefined) this.heartbeat(nowMs);
  }

  checked(passed: boolean, error: string, nowMs: number): void {
    const check = this.#spec.check;
    if (check === undefined || this.#leaving !== undefined) return;
    if (passed) {
      this.#wasSeen();
      if (this.#health === "up") this.#streak = 0;
      else if (this.#health === "unknown" || ++this.#streak >= check.rise) this.#judge("up", nowMs);
      return;
    }
    this.#lastError = error;
    if (this.#health === "down") this.#streak = 0;
    else if (++this.#streak >= check.fall) this.#judge("down", nowMs);
  }

  /** Of the service itself. One that comes while it is being forgotten for want of them is in time. */
  heartbeat(nowMs: number): void {
    this.#heardAtMs = nowMs;
    if (this.#spec.check !== undefined) return;
    this.#heard();
  }

  /** This process stood still for so long, and with it the ears for heartbeats. */
  stalled(forMs: number): void {
    this.#heardAtMs += forMs;
  }

  /** Takes it away: draining, then after `graceMs` of that gone. */
  leave(graceMs: number, nowMs: number): void {
    if (this.#leaving?.forget) return;
    this.#leaving = { sinceMs: nowMs, graceMs, forget: true };
    this.#retryAtMs = nowMs;
    this.#attempts = 0;
  }

  /** As leave, for an agent that ends: the registration is kept on disk and comes back with the next agent. */
  pause(graceMs: number, nowMs: number): void {
    if (this.#leaving !== undefined) return;
    this.#leaving = { sinceMs: nowMs, graceMs, forget: false };
    this.#retryAtMs = nowMs;
    this.#attempts = 0;
  }

  /** Whether nothing remains to remember: its owner fell silent, or it has not been well for `ms` and will not be. */
  isForgotten(ms: number, nowMs: number): boolean {
    const hopeless = this.#leaving === undefined && !this.#mayHold && this.#health !== "up";
    if (hopeless && nowMs - this.#sinceMs >= ms) this.#forgotten = true;
    return this.#forgotten;
  }

  /** The call to make now, if any. Whoever asks makes it, and says what came of it through `answered`. */
  due(nowMs: number): RegistryCall | undefined {
    this.#lapse(nowMs);
    if (this.#calling !== undefined || nowMs < this.#retryAtMs) return undefined;
    const call = this.#missing(nowMs);
    if (call === undefined) return undefined;
    this.#calling = { call, spec: this.#spec, sentAtMs: nowMs };
    if (call === "register" || call === "drain") this.#mayHold = true;
    // Its answer may get lost, so from now on nothing is sure to be as it was.
    if (call === "drain" || call === "deregister") this.#confirmed = undefined;
    return call;
  }

  /** @param random01 drawn by the caller, 0 <= random01 < 1 */
  answered(call: RegistryCall, answer: RegistryAnswer, nowMs: number, random01: number): void {
    const made = this.#calling;
    if (made === undefined || made.call !== call) return;
    this.#calling = undefined;
    switch (answer.outcome) {
      case "done":
        this.#done(made, nowMs, random01);
        break;
      case "gone":
        this.#gone(call, nowMs);
        break;
      case "refused":
        this.#wasRefused(made, answer, nowMs, random01);
        break;
      case "away":
        this.#lastError = answer.reason;
        this.#retryAtMs = nowMs + Math.max(MIN_RETRY_MS, backoffDelay(this.#attempts++, RETRY, random01));
    }
  }

  #missing(nowMs: number): RegistryCall | undefined {
    const { check } = this.#spec;
    const leaving = this.#leaving;
    if (leaving !== undefined) {
      if (!this.#mayHold) return undefined;
      // Draining that nobody heard of within the grace is not worth more waiting.
      const waitedMs = nowMs - (this.#drainedAtMs ?? leaving.sinceMs);
      if (waitedMs >= leaving.graceMs) return "deregister";
      if (this.#drainedAtMs === undefined) return "drain";
      return nowMs >= this.#renewAtMs ? "renew" : undefined;
    }
    if (this.#health === "up") {
      if (this.#confirmed === undefined || this.#confirmed !== this.#spec) return "register";
      return nowMs >= this.#renewAtMs ? "renew" : undefined;
    }
    // Not known yet: what the dns service holds is of an earlier address, and its lease runs out by itself.
    if (this.#health === "unknown" && check !== undefined) return undefined;
    return this.#mayHold ? "deregister" : undefined;
  }

  #done(
    { call, spec, sentAtMs }: { call: RegistryCall; spec: RegistrationSpec; sentAtMs: number },
    nowMs: number,
    random01: number,
  ): void {
    this.#attempts = 0;
    this.#refused = false;
    if (this.#health === "up") this.#lastError = "";
    if (call === "deregister") {
      this.#mayHold = false;
      if (this.#leaving !== undefined) this.#goneAtMs ??= nowMs;
      return;
    }
    if (call === "register") {
      this.#confirmed = spec;
      this.#drainedAtMs = undefined;
    }
    if (call === "drain" && this.#leaving !== undefined) this.#drainedAtMs = nowMs;
    this.#leaseEndsMs = sentAtMs + spec.ttlSeconds * 1000;
    // Two more tries fit before the lease ends; the jitter keeps what began together from staying together.
    this.#renewAtMs = sentAtMs + ((spec.ttlSeconds * 1000) / 3) * (0.8 + 0.2 * random01);
  }

  #gone(call: RegistryCall, nowMs: number): void {
    if (this.#leaving !== undefined) this.#goneAtMs ??= nowMs;
    this.#confirmed = undefined;
    this.#mayHold = false;
    this.#attempts = 0;
    this.#leaseEndsMs = Number.NEGATIVE_INFINITY;
    // Remembered by the disk only: the lease ended while no agent ran, so the service may have too.
    if (call === "renew" && !this.#seen && this.#spec.check !== undefined) this.#health = "unknown";
  }

  #wasRefused(
    { call }: { call: RegistryCall },
    answer: { readonly status: number; readonly detail: string },
    nowMs: number,
    random01: number,
  ): void {
    this.#lastError = `the dns service refuses it (${answer.status}): ${answer.detail}`;
    // A removal that is refused leaves the lease to end by itself; a registration that is, began none.
    if (call === "register" || call === "renew") this.#refused = true;
    if (this.#confirmed === undefined) this.#mayHold = false;
    this.#retryAtMs = nowMs + REFUSED_RETRY_MS * (1 + random01);
  }

  #judge(health: Health, nowMs: number): void {
    this.#streak = 0;
    if (health === this.#health) return;
    this.#health = health;
    this.#sinceMs = nowMs;
    // News is worth a try at once, whatever the pause after the last failure.
    this.#retryAtMs = nowMs;
    this.#attempts = 0;
    if (health === "up") this.#lastError = "";
    if (health === "down") this.#refused = false;
  }

  #wasSeen(): void {
    this.#seen = true;
    if (!this.#doubtful) return;
    this.#doubtful = false;
    this.#confirmed = undefined;
  }

  #heard(): void {
    this.#wasSeen();
    if (this.#health !== "up") this.#judge("up", this.#heardAtMs);
  }

  /** Without a check: an owner that was not heard for a TTL is gone, and its registration with it. */
  #lapse(nowMs: number): void {
    if (this.#spec.check !== undefined || this.#leaving !== undefined) return;
    const silentMs = nowMs - this.#heardAtMs;
    if (silentMs < this.#spec.ttlSeconds * 1000) return;
    if (this.#health !== "down") {
      this.#judge("down", nowMs);
      this.#lastError = `no heartbeat for ${Math.round(silentMs / 1000)} s, the TTL is ${this.#spec.ttlSeconds} s`;
    }
    if (!this.#mayHold && this.#calling === undefined) this.#forgotten = true;
  }
}
