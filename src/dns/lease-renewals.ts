// Heartbeats. Each says "still here" of one lease, and there may be ten thousand a second, so a heartbeat is not a write:
// it is noted, answered, and written a moment later together with all others.
//
// What may be answered before it is written? Whatever could wait for two seconds more without the lease ending: then
// nothing is lost if the database answers late, and if it does not answer for so long, heartbeats are refused with 503
// and another instance may do better. A lease that is closer to its end than that is written before it is answered; so
// an answer is never given for a lease that is gone meanwhile, unless this process dies in between (and then the next
// heartbeat, within the ttl, finds it on another instance).
//
// What is known here of a lease is a memory, not the truth: a heartbeat of an id that is not known looks it up, and a
// write that does not find its row forgets it.

import type { Lease } from "../core/lease.ts";
import type { ModuleKey } from "../core/module-key.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { LeaseStore } from "../store/lease-store.ts";
import { StoreUnavailable } from "../store/route-store.ts";
import type { LeaseTime } from "./lease-time.ts";

/** How late a renewal may be written, and so how long the database may be silent before heartbeats are refused. */
export const WRITE_LATE_MS = 2_000;
/**
 * How long a heartbeat that must be written first may wait for that. Its lease is near its end: whoever sent it has to hear
 * soon that this instance cannot write, or there is no time left to ask another.
 */
const WAIT_LATE_MS = 500;
/** A lease is written at most so often, unless somebody waits for it. */
const WRITE_EVERY_MS = 1_000;
/** Renewals are dated this exactly. */
const AGE_STEP_MS = 250;
/** A registration elsewhere may have changed ttl or module: what is remembered is read again this often. */
const READ_AGAIN_MS = 10_000;
const FORGET_AFTER_MS = 5_000;
/** Heartbeats that wait for a look-up or a write. */
const MAX_WAITING = 20_000;
/** Rows in one go of a round, so that a round with a hundred thousand holds nobody up for long. */
const MAX_ROUND = 10_000;

export type HeartbeatAnswer =
  | { readonly outcome: "renewed"; readonly ttlMs: number }
  | { readonly outcome: "gone" }
  | { readonly outcome: "forbidden"; readonly module: ModuleKey }
  | { readonly outcome: "late"; readonly why: string };

interface Known extends ModuleKey {
  readonly id: string;
  ttlMs: number;
  /** On the lease clock; not later than what the database has. */
  expiresMs: number;
  heardAtMs: number;
  writtenAtMs: number;
  readAtMs: number;
}

type Written = "renewed" | "gone" | "late";

export interface LeaseRenewalsOptions {
  readonly store: LeaseStore;
  readonly time: LeaseTime;
  readonly clock: Clock;
  readonly log: Log;
  /** Leases remembered at most. */
  readonly max: () => number;
  readonly writesAtOnce: boolean;
}

export class LeaseRenewals {
  readonly #options: LeaseRenewalsOptions;
  readonly #known = new Map<string, Known>();
  /** Heard of since they were written last. */
  readonly #owed = new Map<string, Known>();
  /** Those whose heartbeat waits until it is written. */
  #waiting = new Map<string, ((written: Written) => void)[]>();
  #lookups = new Map<string, ((lease: Lease | undefined) => void)[]>();
  #lookupFailures: ((error: unknown) => void)[] = [];
  #lookingUp = false;
  #writing: Promise<void> | undefined;
  #startedAtMs: number | undefined;
  #failingSinceMs: number | undefined;
  #forgotAtMs = Number.NEGATIVE_INFINITY;
  /** Heartbeats by outcome. */
  readonly outcomes = { renewed: 0, gone: 0, forbidden: 0, late: 0 };
  readonly counts = { written: 0, writes: 0, failures: 0, lookups: 0, vanished: 0 };

  constructor(options: LeaseRenewalsOptions) {
    this.#options = options;
  }

  /** Leases that are remembered. */
  get known(): number {
    return this.#known.size;
  }

  /** Leases with a heartbeat that is not written yet. */
  get owed(): number {
    return this.#owed.size;
  }

  isKnown(id: string): boolean {
    return this.#known.has(id);
  }

  /** A lease was granted or renewed in the database just now, by a change of this instance. */
  granted(lease: Lease): void {
    this.#remember(lease, this.#options.clock.nowMs());
  }

  ended(id: string): void {
    this.#known.delete(id);
    this.#owed.delete(id);
    this.#settle([id], "gone");
  }

  /** `may`: whether the caller's token covers the lease's module. @throws StoreUnavailable when it cannot be looked up */
  async heartbeat(id: string, may: (modid: number, cmdid: number) => boolean): Promise<HeartbeatAnswer> {
    const answer = await this.#heartbeat(id, may);
    this.outcomes[answer.outcome]++;
    return answer;
  }

  /** As {@link heartbeat}, without waiting: the lease's ttl; undefined, and nothing was done, when that is not possible. */
  renewed(id: string, may: (modid: number, cmdid: number) => boolean): number | undefined {
    const known = this.#known.get(id);
    if (known === undefined || !may(known.modid, known.cmdid)) return undefined;
    const nowMs = this.#options.clock.nowMs();
    if (this.#blockedMs(nowMs) >= WRITE_LATE_MS || !this.#mayWait(known)) return undefined;
    known.heardAtMs = nowMs;
    this.#owed.set(id, known);
    this.outcomes.renewed++;
    return known.ttlMs;
  }

  /** A renewal of it may be written after it was answered. */
  #mayWait({ expiresMs }: Known): boolean {
    const { time, writesAtOnce } = this.#options;
    return !writesAtOnce && expiresMs - (time.latest() ?? Number.POSITIVE_INFINITY) > WRITE_LATE_MS;
  }

  async #heartbeat(id: string, may: (modid: number, cmdid: number) => boolean): Promise<HeartbeatAnswer> {
    const { clock, max } = this.#options;
    let known = this.#known.get(id);
    if (known === undefined) {
      const lease = await this.#lookUp(id);
      if (lease === undefined) return { outcome: "gone" };
      if (this.#known.size >= max()) {
        return { outcome: "late", why: `this instance remembers ${max()} registrations, its limit, already` };
      }
      known = this.#known.get(id) ?? this.#remember(lease, clock.nowMs());
    }
    const { modid, cmdid, ttlMs } = known;
    if (!may(modid, cmdid)) return { outcome: "forbidden", module: { modid, cmdid } };
    const nowMs = clock.nowMs();
    known.heardAtMs = nowMs;
    this.#owed.set(id, known);
    if (this.#blockedMs(nowMs) >= WRITE_LATE_MS) return this.#late();
    if (this.#mayWait(known)) return { outcome: "renewed", ttlMs };
    if (this.#waiting.size >= MAX_WAITING || this.#blockedMs(nowMs) >= WAIT_LATE_MS) return this.#late();
    const written = new Promise<Written>((resolve) => {
      const others = this.#waiting.get(id);
      if (others === undefined) this.#waiting.set(id, [resolve]);
      else others.push(resolve);
    });
    void this.write();
    const outcome = await written;
    return outcome === "late" ? this.#late() : outcome === "gone" ? { outcome } : { outcome, ttlMs: known.ttlMs };
  }

  #late(): HeartbeatAnswer {
    return { outcome: "late", why: "renewals cannot be written now: the database does not answer this instance" };
  }

  /** Nothing could be written for so long that heartbeats near their lease's end are refused. */
  get isBlocked(): boolean {
    return this.#blockedMs(this.#options.clock.nowMs()) >= WAIT_LATE_MS;
  }

  /** For how long nothing could be written. */
  #blockedMs(nowMs: number): number {
    const since = this.#failingSinceMs ?? this.#startedAtMs;
    return since === undefined ? 0 : nowMs - since;
  }

  /** To be called a few times a second: writes what is due, forgets who is not heard of, refuses who waited too long. */
  tick(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    if (this.#blockedMs(nowMs) >= WAIT_LATE_MS) this.#settle([...this.#waiting.keys()], "late");
    if (nowMs - this.#forgotAtMs >= FORGET_AFTER_MS) {
      this.#forgotAtMs = nowMs;
      for (const [id, { heardAtMs, ttlMs }] of this.#known) {
        if (nowMs - heardAtMs > ttlMs + FORGET_AFTER_MS) this.ended(id);
      }
    }
    return this.write();
  }

  /** Writes what is due; what comes meanwhile goes with the next round, at once if somebody waits for it. Never throws. */
  write(): Promise<void> {
    this.#writing ??= this.#rounds().finally(() => {
      this.#writing = undefined;
      this.#startedAtMs = undefined;
    });
    return this.#writing;
  }

  async #rounds(): Promise<void> {
    // Others that are about to come in this turn of the loop go along.
    await Promise.resolve();
    do {
      // Nobody is kept waiting by what failed before.
      if (this.#owed.size === 0) this.#failingSinceMs = undefined;
      const due = this.#due();
      if (due.length === 0) return;
      this.#startedAtMs = this.#options.clock.nowMs();
      try {
        await this.#writeRound(due);
        this.#failingSinceMs = undefined;
      } catch (error) {
        this.counts.failures++;
        this.#failingSinceMs ??= this.#startedAtMs;
        for (const known of due) if (this.#known.get(known.id) === known) this.#owed.set(known.id, known);
        // Who waits is told now: another instance may reach the database.
        this.#settle([...this.#waiting.keys()], "late");
        if (!(error instanceof StoreUnavailable)) this.#options.log.error("writing renewals failed", { error });
        return;
      }
    } while (this.#waiting.size > 0);
  }

  /** Takes them out of what is owed. */
  #due(): Known[] {
    const nowMs = this.#options.clock.nowMs();
    const due: Known[] = [];
    for (const [id, known] of this.#owed) {
      if (nowMs - known.writtenAtMs < WRITE_EVERY_MS && !this.#waiting.has(id)) continue;
      due.push(known);
      if (due.length >= MAX_ROUND) break;
    }
    for (const { id } of due) this.#owed.delete(id);
    return due;
  }

  async #writeRound(due: readonly Known[]): Promise<void> {
    const { store, time, clock } = this.#options;
    const fromMs = await time.now();
    const nowMs = clock.nowMs();
    // One that waited for its turn counts from when it was heard, or who heartbeats often would live longer than it asked.
    const byAge = new Map<number, Known[]>();
    for (const known of due) {
      const steps = Math.floor((nowMs - known.heardAtMs) / AGE_STEP_MS);
      const age = steps * AGE_STEP_MS > WRITE_EVERY_MS ? 0 : steps;
      const alike = byAge.get(age);
      if (alike === undefined) byAge.set(age, [known]);
      else alike.push(known);
    }
    for (const [age, alike] of byAge) {
      const dated = fromMs - age * AGE_STEP_MS;
      const ids = alike.map(({ id }) => id);
      const found = await store.renew(ids, dated);
      this.counts.writes++;
      this.counts.written += found;
      for (const known of alike) {
        known.writtenAtMs = nowMs;
        known.expiresMs = Math.max(known.expiresMs, Math.floor(dated) + known.ttlMs);
      }
      const doubtful =
        found < ids.length ? ids : alike.filter(({ readAtMs }) => nowMs - readAtMs > READ_AGAIN_MS).map(({ id }) => id);
      if (doubtful.length > 0) await this.#readAgain(doubtful, nowMs);
      this.#settle(ids, "renewed");
    }
  }

  async #readAgain(ids: readonly string[], nowMs: number): Promise<void> {
    const found = new Map((await this.#options.store.find(ids)).map((lease) => [lease.id, lease]));
    for (const id of ids) {
      const lease = found.get(id);
      if (lease !== undefined) {
        this.#refresh(id, lease, nowMs);
        continue;
      }
      this.counts.vanished++;
      this.ended(id);
    }
  }

  #refresh(id: string, { modid, cmdid, ttlMs, expiresMs }: Lease, nowMs: number): void {
    const known = this.#known.get(id);
    if (known !== undefined) Object.assign(known, { modid, cmdid, ttlMs, expiresMs, readAtMs: nowMs });
  }

  #settle(ids: readonly string[], written: Written): void {
    for (const id of ids) {
      const waiting = this.#waiting.get(id);
      if (waiting === undefined) continue;
      this.#waiting.delete(id);
      for (const resolve of waiting) resolve(written);
    }
  }

  #remember({ id, modid, cmdid, ttlMs, expiresMs }: Lease, nowMs: number): Known {
    const known: Known = {
      ...{ id, modid, cmdid, ttlMs, expiresMs },
      heardAtMs: nowMs,
      writtenAtMs: Number.NEGATIVE_INFINITY,
      readAtMs: nowMs,
    };
    if (this.#known.size < this.#options.max() || this.#known.has(id)) this.#known.set(id, known);
    return known;
  }

  /** Those that come while one look-up is under way share the next. */
  #lookUp(id: string): Promise<Lease | undefined> {
    if (this.#lookups.size >= MAX_WAITING) {
      return Promise.reject(new StoreUnavailable(`${MAX_WAITING} registrations are being looked up already`));
    }
    const found = new Promise<Lease | undefined>((resolve, reject) => {
      const others = this.#lookups.get(id);
      if (others === undefined) this.#lookups.set(id, [resolve]);
      else others.push(resolve);
      this.#lookupFailures.push(reject);
    });
    void this.#lookUpAll();
    return found;
  }

  async #lookUpAll(): Promise<void> {
    if (this.#lookingUp) return;
    this.#lookingUp = true;
    await Promise.resolve();
    while (this.#lookups.size > 0) {
      const [asked, failures] = [this.#lookups, this.#lookupFailures];
      this.#lookups = new Map();
      this.#lookupFailures = [];
      this.counts.lookups++;
      try {
        const found = new Map((await this.#options.store.find([...asked.keys()])).map((lease) => [lease.id, lease]));
        for (const [id, resolves] of asked) for (const resolve of resolves) resolve(found.get(id));
      } catch (error) {
        for (const reject of failures) reject(error);
      }
    }
    this.#lookingUp = false;
  }
}
