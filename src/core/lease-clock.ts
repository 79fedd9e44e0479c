// The time that leases run by.
//
// A wall clock may be set, and goes on while everything is down: by it, a restart of all dns processes that takes longer
// than a ttl would expire everybody, and so would an operator who corrects the time. What a lease promises is "I was heard
// of within ttl *while somebody listened*". So leases have a clock of their own, a row in the database that all dns
// instances share: its *owner* moves it on by as much time as went by for the owner; every other watches, and takes over
// when it stood still. While nobody serves, or the database is away, it stands, and no lease ages.
//
// The row has a tick that every move increases, and a move is conditional on the tick that was seen: of two who think
// that they are the owner, one moves and the other learns. So nothing has to be held, and a process that was stopped for
// a minute and wakes up as "owner" does no harm.
//
// It never runs faster than real time: every move adds what went by, on one monotonic clock, since an instant at which
// the value that is moved on was there already. It may run slower (a gap in which nobody can prove that somebody served
// is not counted), and then leases live a little longer. Pure: `observe` is told what is in the row and what time it is.

/** Between two looks, and so between two moves. */
export const LEASE_TICK_MS = 250;
/** The clock stood still for this long: its owner is gone or stuck. */
export const TAKE_OVER_MS = 600;
/**
 * A step that is longer was no service: the process was stopped, or everything is very slow. It counts as one ordinary
 * step, so that nobody expires over it and a system that is always slow still ages its leases.
 */
export const MAX_STEP_MS = 1_000;

export interface LeaseClockRow {
  readonly clockMs: number;
  readonly tick: number;
}

/** `advance`: move the row on by `byMs` if its tick is still `tick`; then say how that went ({@link LeaseClock.moved}). */
export type LeaseClockStep =
  | { readonly kind: "wait" }
  | { readonly kind: "advance"; readonly tick: number; readonly byMs: number };

const WAIT: LeaseClockStep = { kind: "wait" };

export class LeaseClock {
  #row: LeaseClockRow | undefined;
  /** An instant at which the row's value was there already and up to date: what went by since may be added. */
  #sinceMs = 0;
  /** When the row was first seen as it is. */
  #seenAtMs = 0;
  /** When it was looked at last; before that look it may have been older. */
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  /** The last look that showed an older row, or the move by which we made it what it is. */
  #movedAfterMs = 0;
  #isOwner = false;
  /** Somebody was seen moving it while we watched without a gap. */
  #watched = false;
  #pending: { readonly atMs: number; readonly byMs: number } | undefined;

  /** This instance moved it last. */
  get isOwner(): boolean {
    return this.#isOwner;
  }

  /** As last seen. */
  get row(): LeaseClockRow | undefined {
    return this.#row;
  }

  /** Milliseconds since the last look, on the caller's clock. */
  age(nowMs: number): number {
    return nowMs - this.#lookedAtMs;
  }

  /**
   * The row as it was read, `nowMs` being the time after reading. `idle`: there is no lease at all, so the clock need not
   * move.
   */
  observe(row: LeaseClockRow, nowMs: number, idle = false): LeaseClockStep {
    const gap = nowMs - this.#lookedAtMs > MAX_STEP_MS || this.#row === undefined;
    const moved = this.#row === undefined || this.#row.tick !== row.tick || this.#row.clockMs !== row.clockMs;
    const pending = this.#pending;
    this.#pending = undefined;
    if (moved) {
      this.#isOwner = false;
      this.#watched = !gap;
      this.#movedAfterMs = gap ? nowMs : this.#lookedAtMs;
      this.#seenAtMs = nowMs;
      this.#sinceMs = nowMs;
      this.#row = row;
    } else if (pending !== undefined || idle) {
      // The last move failed without a word, or there was nothing to count: from here on.
      this.#sinceMs = nowMs;
      this.#movedAfterMs = nowMs;
      this.#seenAtMs = nowMs;
    }
    this.#lookedAtMs = nowMs;
    if (idle || moved) return WAIT;
    if (this.#isOwner) return this.#step(row, nowMs, gap);
    if (nowMs - this.#seenAtMs < TAKE_OVER_MS) return WAIT;
    // While it stood we served; but only if somebody had moved it before our eyes do we know since when it stood.
    if (!this.#watched) this.#sinceMs = nowMs;
    return this.#step(row, nowMs, gap);
  }

  #step({ tick }: LeaseClockRow, nowMs: number, gap: boolean): LeaseClockStep {
    const elapsed = nowMs - this.#sinceMs;
    const byMs = Math.floor(gap || elapsed > MAX_STEP_MS ? Math.min(elapsed, LEASE_TICK_MS) : elapsed);
    this.#pending = { atMs: nowMs, byMs };
    return { kind: "advance", tick, byMs };
  }

  /** The move that `observe` asked for was made (true), or somebody else had moved it (false). */
  moved(made: boolean): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined || this.#row === undefined) return;
    if (!made) {
      // Who it was and what it is now, the next look tells.
      this.#isOwner = false;
      return;
    }
    this.#row = { clockMs: this.#row.clockMs + pending.byMs, tick: this.#row.tick + 1 };
    this.#isOwner = true;
    this.#watched = true;
    // Fractions of a millisecond are kept for the next step.
    const counted = pending.byMs;
    const exact = pending.atMs - this.#sinceMs;
    this.#sinceMs = exact - counted < 1 ? this.#sinceMs + counted : pending.atMs;
    this.#movedAfterMs = this.#sinceMs;
    this.#seenAtMs = pending.atMs;
  }

  /** The database did not answer: time that goes by until it does is not counted. */
  lost(): void {
    this.#lookedAtMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * The clock as it would stand if it moved without steps: never behind what it stands at, at most a take-over ahead. An
   * expiry is counted from here, so that the steps cost no holder part of its time. undefined: never seen.
   */
  running(nowMs: number): number | undefined {
    if (this.#row === undefined) return undefined;
    const ahead = Math.min(Math.max(0, nowMs - this.#movedAfterMs), TAKE_OVER_MS + 2 * LEASE_TICK_MS);
    return this.#row.clockMs + Math.ceil(ahead);
  }

  /**
   * The most the clock can stand at, also where the row has not been seen for long: `running` ends soon after it was seen
   * moving, while others may have moved it on ever since. (It may be a step more, where a move took long to arrive.)
   * undefined: never seen.
   */
  latest(nowMs: number): number | undefined {
    if (this.#row === undefined) return undefined;
    return this.#row.clockMs + Math.ceil(Math.max(0, nowMs - this.#movedAfterMs));
  }
}
