// Slows down whoever guesses tokens. Every caller (see client-address.ts) has a bucket of attempts that a wrong token
// takes from and time refills; while it is empty, no token that this caller shows is looked at, or an answer could tell
// a right guess from a wrong one. Except tokens that the caller had success with before: who shares an address with
// somebody who guesses goes on to work.
//
// An attempt is taken before it is looked at and given back when it was right, so guesses made at once count as well as
// guesses in a row. The table is bounded: full buckets leave it, and when it is full of others, new callers share one
// bucket. Dropping the oldest instead would hand a fresh bucket to everybody with enough addresses.
//
// A bucket is one number, the time at which it will be full again (the generic cell rate algorithm): each attempt moves it
// on by the time one takes to come back. Pure: time comes in, monotonic milliseconds.

export interface AttemptLimitOptions {
  /** Wrong tokens in a row before a caller has to wait. */
  readonly burst: number;
  /** Milliseconds until one more may be tried. */
  readonly refillMs: number;
  /** Callers with attempts taken, and pairs of a caller and its token, that are remembered. */
  readonly maxCallers: number;
}

/** The bucket of those who find the table full is so much larger and faster. */
const SHARED_FACTOR = 10;

export class AttemptLimit {
  readonly #options: AttemptLimitOptions;
  /** Caller -> when its bucket is full again. In the order of the last attempt taken, so old ones are in front. */
  readonly #fullAtMs = new Map<string, number>();
  #sharedFullAtMs = Number.NEGATIVE_INFINITY;
  /** Pairs of caller and token hash that had success, in the order of their use. */
  readonly #proven = new Set<string>();

  constructor(options: AttemptLimitOptions) {
    this.#options = options;
  }

  /** Callers that have attempts taken. */
  get size(): number {
    return this.#fullAtMs.size;
  }

  /** Milliseconds until this caller's tokens are looked at again; 0: now. */
  waitMs(caller: string, nowMs: number): number {
    const { burst, refillMs } = this.#options;
    const own = this.#fullAtMs.get(caller);
    if (own !== undefined) return Math.max(0, own - nowMs - (burst - 1) * refillMs);
    if (this.#hasRoom(nowMs)) return 0;
    const sharedBurst = burst * SHARED_FACTOR;
    return Math.max(0, this.#sharedFullAtMs - nowMs - ((sharedBurst - 1) * refillMs) / SHARED_FACTOR);
  }

  /** Takes an attempt. */
  take(caller: string, nowMs: number): void {
    const { burst, refillMs } = this.#options;
    const longestMs = burst * refillMs;
    const own = this.#fullAtMs.get(caller);
    if (own === undefined && !this.#hasRoom(nowMs)) {
      const fullAtMs = Math.max(this.#sharedFullAtMs, nowMs) + refillMs / SHARED_FACTOR;
      this.#sharedFullAtMs = Math.min(fullAtMs, nowMs + longestMs);
      return;
    }
    this.#fullAtMs.delete(caller);
    this.#fullAtMs.set(caller, Math.min(Math.max(own ?? nowMs, nowMs) + refillMs, nowMs + longestMs));
  }

  /** Gives an attempt back: what was tried was right. */
  giveBack(caller: string, nowMs: number): void {
    const own = this.#fullAtMs.get(caller);
    if (own === undefined) this.#sharedFullAtMs -= this.#options.refillMs / SHARED_FACTOR;
    else if (own - this.#options.refillMs <= nowMs) this.#fullAtMs.delete(caller);
    else this.#fullAtMs.set(caller, own - this.#options.refillMs);
  }

  /** This caller had success with the token of this hash. */
  prove(caller: string, hash: string): void {
    const pair = `${caller} ${hash}`;
    this.#proven.delete(pair);
    if (this.#proven.size >= this.#options.maxCallers) this.#proven.delete(this.#proven.values().next().value!);
    this.#proven.add(pair);
  }

  isProven(caller: string, hash: string): boolean {
    return this.#proven.has(`${caller} ${hash}`);
  }

  /** The token counts no more. */
  disprove(caller: string, hash: string): void {
    this.#proven.delete(`${caller} ${hash}`);
  }

  /** Whether another caller can have a bucket of its own; those that are full again go first. */
  #hasRoom(nowMs: number): boolean {
    if (this.#fullAtMs.size < this.#options.maxCallers) return true;
    for (const [oldest, fullAtMs] of this.#fullAtMs) {
      if (fullAtMs > nowMs) break;
      this.#fullAtMs.delete(oldest);
    }
    return this.#fullAtMs.size < this.#options.maxCallers;
  }
}
