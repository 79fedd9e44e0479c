// Slows down whoever guesses tokens. Every caller (see client-address.ts) has a bucket of attempts that a wrong token
// takes from and time refills; while it is empty, no token that this caller shows is looked at, or an answer could tell
// a right guess from a wrong one. Except tokens that the caller had success with before: who shares an address with
// somebody who guesses goes on to work.
//
// An attempt is taken before it is looked at and given back when it was right, so guesses made at once count as well as
// guesses in a row. The table is bounded: full buckets leave it, and when it is full of others, new callers share one
// bucket. Dropping the oldest instead would hand a fresh bucket to everybody with enough addresses.
//
// Pure: time comes in, monotonic milliseconds.

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

interface Bucket {
  left: number;
  atMs: number;
  readonly burst: number;
  readonly refillMs: number;
}

function refill(bucket: Bucket, nowMs: number): void {
  if (nowMs <= bucket.atMs) return;
  bucket.left = Math.min(bucket.burst, bucket.left + (nowMs - bucket.atMs) / bucket.refillMs);
  bucket.atMs = nowMs;
}

export class AttemptLimit {
  readonly #options: AttemptLimitOptions;
  /** In the order of the last attempt taken, so those that are full again are in front. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #shared: Bucket;
  /** Pairs of caller and token hash that had success, in the order of their use. */
  readonly #proven = new Set<string>();

  constructor(options: AttemptLimitOptions) {
    this.#options = options;
    const burst = options.burst * SHARED_FACTOR;
    this.#shared = { left: burst, atMs: Number.NEGATIVE_INFINITY, burst, refillMs: options.refillMs / SHARED_FACTOR };
  }

  /** Callers that have attempts taken. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Milliseconds until this caller's tokens are looked at again; 0: now. */
  waitMs(caller: string, nowMs: number): number {
    const bucket = this.#bucketOf(caller, nowMs);
    if (bucket === undefined) return 0;
    refill(bucket, nowMs);
    return bucket.left >= 1 ? 0 : Math.ceil((1 - bucket.left) * bucket.refillMs);
  }

  /** Takes an attempt. */
  take(caller: string, nowMs: number): void {
    const bucket = this.#bucketOf(caller, nowMs) ?? this.#fresh(nowMs);
    refill(bucket, nowMs);
    bucket.left = Math.max(0, bucket.left - 1);
    if (bucket === this.#shared) return;
    this.#buckets.delete(caller);
    this.#buckets.set(caller, bucket);
  }

  /** Gives an attempt back: what was tried was right. */
  giveBack(caller: string, nowMs: number): void {
    const bucket = this.#bucketOf(caller, nowMs);
    if (bucket === undefined) return;
    refill(bucket, nowMs);
    bucket.left = Math.min(bucket.burst, bucket.left + 1);
    if (bucket !== this.#shared && bucket.left >= bucket.burst) this.#buckets.delete(caller);
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

  /** undefined: the caller has taken nothing, and there is room for it. */
  #bucketOf(caller: string, nowMs: number): Bucket | undefined {
    const own = this.#buckets.get(caller);
    if (own !== undefined) return own;
    if (this.#buckets.size < this.#options.maxCallers) return undefined;
    for (const [oldest, bucket] of this.#buckets) {
      refill(bucket, nowMs);
      if (bucket.left < bucket.burst) break;
      this.#buckets.delete(oldest);
    }
    return this.#buckets.size < this.#options.maxCallers ? undefined : this.#shared;
  }

  #fresh(nowMs: number): Bucket {
    const { burst, refillMs } = this.#options;
    return { left: burst, atMs: nowMs, burst, refillMs };
  }
}
