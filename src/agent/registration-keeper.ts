// All registrations of this agent: puts their events, checks, calls to the dns service and the file on disk together.
// What each one needs is its own to know (`Registration`); this asks all of them at every tick, and the one concerned at
// every event. A tick over a thousand is some microseconds.
//
// Whoever changes one is answered when there is something to say: a PUT once the dns service answered, or it is clear
// that this takes longer; a DELETE once the host is gone.
import type { Log } from "../platform/log.ts";
import { checkHealth } from "./health-check.ts";
import { HealthCheckRounds } from "./health-check-rounds.ts";
import {
  REGISTRATION_STATES,
  Registration,
  type RegistrationSpec,
  type RegistrationState,
  type RegistryAnswer,
  type RegistryCall,
} from "./registration.ts";
import type { RegistrationFile } from "./registration-file.ts";

export interface RegistrationKeeperOptions {
  readonly call: (call: RegistryCall, spec: RegistrationSpec) => Promise<RegistryAnswer>;
  readonly file: Pick<RegistrationFile, "path" | "load" | "save">;
  readonly max: () => number;
  readonly drainGraceMs: () => number;
  readonly forgetAfterMs: () => number;
  readonly log: Log;
  readonly nowMs: () => number;
  /** 0 <= random() < 1 */
  readonly random: () => number;
  readonly check?: typeof checkHealth;
}

/** What came of a PUT or a DELETE within the time its caller waits. */
export type RegistrationOutcome =
  /** There are as many as there may be. */
  | { readonly outcome: "full" }
  /** The agent ends. */
  | { readonly outcome: "ending" }
  | { readonly outcome: "done"; readonly revision: number | undefined; readonly changed: boolean | undefined }
  | { readonly outcome: "refused"; readonly status: number; readonly detail: string }
  /** Kept; the agent goes on by itself. */
  | { readonly outcome: "kept"; readonly view: RegistrationView };

export interface RegistrationView {
  readonly spec: RegistrationSpec;
  readonly state: RegistrationState;
  readonly sinceMs: number;
  readonly lastError: string;
  readonly leaseRemainingMs: number;
}

/** A tick later than this means that the process stood still. */
const STALLED_MS = 1000;
/** For the answers of the dns service at the end, besides the grace. */
const STOP_MARGIN_MS = 2000;
/** At the end of the process all steps together have 10 s. */
const MAX_STOP_GRACE_MS = 5000;

type Waiter = (outcome: RegistrationOutcome) => void;

interface Entry {
  readonly registration: Registration;
  /** Of the last PUT. */
  putWaiter: { readonly spec: RegistrationSpec; readonly settle: Waiter } | undefined;
  /** All DELETEs share one. */
  gone: PromiseWithResolvers<RegistrationOutcome> | undefined;
  /** Of the last removal that the dns service confirmed. */
  removal: { revision: number | undefined; changed: boolean | undefined };
}

export class RegistrationKeeper {
  readonly counts = { saves: 0, saveFailures: 0, restored: 0, refusedFull: 0, forgotten: 0, stalls: 0 };
  readonly rounds: HealthCheckRounds;
  readonly #options: RegistrationKeeperOptions;
  readonly #entries = new Map<string, Entry>();
  #ending = false;
  #awakeAtMs: number | undefined;
  #dirty = false;
  #saving: Promise<void> | undefined;
  #saveAfterMs = Number.NEGATIVE_INFINITY;

  constructor(options: RegistrationKeeperOptions) {
    this.#options = options;
    this.rounds = new HealthCheckRounds({
      check: options.check ?? checkHealth,
      onResult: (id, result) => {
        const entry = this.#entries.get(id);
        if (entry === undefined) return;
        entry.registration.checked(result.passed, result.passed ? "" : result.reason, options.nowMs());
        this.#pursue(id, entry);
        // It will take longer than its caller should wait: until the service is well.
        if (!result.passed) this.#tellKept(entry);
      },
      nowMs: options.nowMs,
      random: options.random,
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  states(): Readonly<Record<RegistrationState, number>> {
    const counted = Object.fromEntries(REGISTRATION_STATES.map((state) => [state, 0])) as Record<
      RegistrationState,
      number
    >;
    const nowMs = this.#options.nowMs();
    for (const { registration } of this.#entries.values()) counted[registration.state(nowMs)]++;
    return counted;
  }

  list(): readonly RegistrationView[] {
    return [...this.#entries.keys()].sort().map((id) => this.#view(this.#entries.get(id)!));
  }

  get(id: string): RegistrationView | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : this.#view(entry);
  }

  /** Reads the file; one that cannot be used is logged and put aside, and the agent begins without. */
  async load(): Promise<void> {
    const { file, log, nowMs, max, drainGraceMs } = this.#options;
    const load = await file.load();
    if (load.outcome === "bad")
      log.error("the file of registrations is not usable; starting without", { path: file.path, reason: load.reason });
    if (load.outcome !== "loaded") return;
    for (const kept of load.registrations.slice(0, max())) {
      this.#add(Registration.restored(kept, drainGraceMs(), nowMs()), true);
      this.counts.restored++;
    }
    const beyond = load.registrations.length - this.counts.restored;
    if (beyond > 0)
      log.error("more registrations in the file than registrations.max; the rest is left out", { beyond });
    log.info("registrations read from disk", { path: file.path, registrations: this.counts.restored });
  }

  /** Resolves within `waitMs` or soon after; the file is written by then. */
  async put(spec: RegistrationSpec, waitMs: number): Promise<RegistrationOutcome> {
    const { nowMs, max } = this.#options;
    if (this.#ending) return { outcome: "ending" };
    let entry = this.#entries.get(spec.id);
    const before = entry?.registration.spec;
    if (entry === undefined) {
      if (this.#entries.size >= max()) {
        this.counts.refusedFull++;
        return { outcome: "full" };
      }
      entry = this.#add(new Registration(spec, nowMs()), false);
    } else {
      entry.registration.replace(spec, nowMs());
      entry.gone?.resolve(this.#kept(entry));
      entry.gone = undefined;
      this.#plan(entry, false);
    }
    const { id } = spec;
    const { promise, resolve } = Promise.withResolvers<RegistrationOutcome>();
    this.#tellKept(entry);
    entry.putWaiter = { spec, settle: resolve };
    this.#touch();
    this.#pursue(id, entry);
    this.rounds.start(id);
    const outcome = await within(promise, waitMs, () => this.#kept(entry));
    if (outcome.outcome === "refused" && this.#entries.get(id) === entry && entry.registration.spec === spec) {
      // What was refused is not kept trying behind its caller's back; what was there before goes on.
      if (before === undefined) this.#remove(id, entry);
      else {
        entry.registration.replace(before, nowMs());
        this.#plan(entry, false);
        this.#pursue(id, entry);
      }
      this.#touch();
    }
    await this.save();
    return outcome;
  }

  /** undefined: there is no such registration; register again. */
  heartbeat(id: string): { readonly ttlSeconds: number } | undefined {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    entry.registration.heartbeat(this.#options.nowMs());
    this.#pursue(id, entry);
    return { ttlSeconds: entry.registration.spec.ttlSeconds };
  }

  /** Drains, then removes. undefined: there is no such registration. */
  async delete(id: string, waitMs: number): Promise<RegistrationOutcome | undefined> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return undefined;
    const { nowMs, drainGraceMs } = this.#options;
    entry.registration.leave(drainGraceMs(), nowMs());
    this.rounds.delete(id);
    entry.gone ??= Promise.withResolvers();
    const { promise } = entry.gone;
    this.#tellKept(entry);
    this.#touch();
    this.#pursue(id, entry);
    const outcome = await within(promise, waitMs, () => this.#kept(entry));
    await this.save();
    return outcome;
  }

  /** Every 100 ms or so. */
  tick(): void {
    const { nowMs: now, forgetAfterMs, log } = this.#options;
    const nowMs = now();
    for (const [id, entry] of this.#entries) {
      this.#pursue(id, entry);
      if (entry.registration.isForgotten(forgetAfterMs(), nowMs)) {
        this.counts.forgotten++;
        log.info("registration forgotten", { id, why: entry.registration.lastError });
        this.#remove(id, entry);
      }
    }
    this.rounds.tick();
    if (this.#dirty && nowMs >= this.#saveAfterMs) void this.save();
  }

  /**
   * The end of this process: all are drained at once and then removed, and stay in the file for the next agent. Returns
   * within the grace and two seconds; what is not confirmed by then ends with its lease.
   */
  async drainAll(): Promise<void> {
    const { nowMs, drainGraceMs, log } = this.#options;
    this.#ending = true;
    const graceMs = Math.min(drainGraceMs(), MAX_STOP_GRACE_MS);
    const deadlineMs = nowMs() + graceMs + STOP_MARGIN_MS;
    if (this.#entries.size === 0) return;
    log.info("draining registrations", { registrations: this.#entries.size, graceMs });
    for (const [id, entry] of this.#entries) {
      this.rounds.delete(id);
      entry.registration.pause(graceMs, nowMs());
      this.#pursue(id, entry);
    }
    const waiting = () => [...this.#entries.values()].filter(({ registration }) => !registration.left(nowMs())).length;
    while (waiting() > 0 && nowMs() < deadlineMs) await Bun.sleep(20);
    if (waiting() > 0) log.warn("registrations were not removed in time; their leases run out", { left: waiting() });
    await this.save();
  }

  /** Never throws: a full disk is logged, counted and tried again. */
  save(): Promise<void> {
    this.#saving ??= this.#save().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #save(): Promise<void> {
    const { file, log, nowMs } = this.#options;
    // What changed while it was written is written too: whoever waits for this wants its own change on disk.
    while (this.#dirty) {
      this.#dirty = false;
      try {
        await file.save([...this.#entries.values()].map(({ registration }) => registration.kept));
        this.counts.saves++;
      } catch (error) {
        this.#dirty = true;
        this.#saveAfterMs = nowMs() + 1000;
        this.counts.saveFailures++;
        log.error("the registrations were not written to disk; the last file is kept", { path: file.path, error });
        return;
      }
    }
  }

  #touch(): void {
    this.#dirty = true;
  }

  #add(registration: Registration, spread: boolean): Entry {
    const entry: Entry = {
      registration,
      putWaiter: undefined,
      gone: undefined,
      removal: { revision: undefined, changed: undefined },
    };
    this.#entries.set(registration.spec.id, entry);
    this.#plan(entry, spread);
    return entry;
  }

  #plan({ registration }: Entry, spread: boolean): void {
    const { id, ip, port, check } = registration.spec;
    if (check === undefined || registration.leaving) this.rounds.delete(id);
    else this.rounds.set(id, { ip, port, ...check }, spread);
  }

  /** Makes the call that is due, if one is, and the next, until none is. */
  #pursue(id: string, entry: Entry): void {
    const { registration } = entry;
    const { mayHold } = registration;
    const nowMs = this.#options.nowMs();
    this.#noticeStall(nowMs);
    const call = registration.due(nowMs);
    if (registration.mayHold !== mayHold) this.#touch();
    if (call !== undefined) void this.#make(id, entry, call);
    else if (registration.left(nowMs) && registration.leaving) this.#remove(id, entry);
  }

  #noticeStall(nowMs: number): void {
    const stalledMs = nowMs - (this.#awakeAtMs ?? nowMs);
    this.#awakeAtMs = nowMs;
    if (stalledMs < STALLED_MS) return;
    this.counts.stalls++;
    for (const { registration } of this.#entries.values()) registration.stalled(stalledMs);
  }

  async #make(id: string, entry: Entry, call: RegistryCall): Promise<void> {
    const { nowMs, random, log } = this.#options;
    const { registration } = entry;
    const { spec } = registration;
    const before = registration.state(nowMs());
    const { mayHold } = registration;
    const answer = await this.#options.call(call, spec);
    registration.answered(call, answer, nowMs(), random());
    if (registration.mayHold !== mayHold) this.#touch();
    const state = registration.state(nowMs());
    if (call !== "renew" || state !== before || answer.outcome === "refused")
      log.info(`registration: ${call}`, { id, answer: answer.outcome, state, why: registration.lastError });
    if (call === "deregister" && answer.outcome === "done")
      entry.removal = { revision: answer.revision, changed: answer.changed };
    this.#tellPut(entry, call, spec, answer);
    if (this.#entries.get(id) === entry) this.#pursue(id, entry);
  }

  #tellPut(entry: Entry, call: RegistryCall, spec: RegistrationSpec, answer: RegistryAnswer): void {
    const waiter = entry.putWaiter;
    if (waiter === undefined) return;
    if (answer.outcome === "away") {
      this.#tellKept(entry);
      return;
    }
    if (call !== "register" || waiter.spec !== spec || answer.outcome === "gone") return;
    entry.putWaiter = undefined;
    if (answer.outcome === "refused") waiter.settle(answer);
    else waiter.settle({ outcome: "done", revision: answer.revision, changed: answer.changed });
  }

  #tellKept(entry: Entry): void {
    const waiter = entry.putWaiter;
    entry.putWaiter = undefined;
    waiter?.settle(this.#kept(entry));
  }

  #kept(entry: Entry): RegistrationOutcome {
    return { outcome: "kept", view: this.#view(entry) };
  }

  #view({ registration }: Entry): RegistrationView {
    const nowMs = this.#options.nowMs();
    return {
      spec: registration.spec,
      state: registration.state(nowMs),
      sinceMs: registration.sinceMs,
      lastError: registration.lastError,
      leaseRemainingMs: registration.leaseRemainingMs(nowMs),
    };
  }

  #remove(id: string, entry: Entry): void {
    if (this.#entries.get(id) !== entry) return;
    this.#entries.delete(id);
    this.rounds.delete(id);
    this.#touch();
    this.#tellKept(entry);
    entry.gone?.resolve({ outcome: "done", ...entry.removal });
  }
}

async function within<T>(promise: Promise<T>, ms: number, late: () => T): Promise<T> {
  let timer: Timer | undefined;
  const waited = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(late()), ms);
  });
  try {
    return await Promise.race([promise, waited]);
  } finally {
    clearTimeout(timer);
  }
}
