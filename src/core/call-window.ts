// How calls went lately: successes and failures of the last so many seconds, in a few buckets that are reused as time
// goes on. O(1) per call, no allocation, and what is too old is forgotten in steps of a sixth of the window.

const BUCKETS = 6;
/** Of a window that has counted nothing: an agent knows many more hosts than are called. */
const NONE = new Int32Array(0);

export class CallWindow {
  /** Successes of each bucket, then failures. */
  #counts = NONE;
  #bucketMs: number;
  /** Number of the newest bucket since time zero; the array is a ring over it. */
  #newest = 0;
  /** Sums over all buckets, as of the last `advance`. */
  succ = 0;
  err = 0;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / BUCKETS;
  }

  /** Forgets what has become too old. Time that goes backwards is taken for no time. */
  advance(nowMs: number): void {
    this.#advanceTo(Math.floor(nowMs / this.#bucketMs));
  }

  #advanceTo(bucket: number): void {
    if (bucket <= this.#newest) return;
    const counts = this.#counts;
    const steps = counts === NONE ? 0 : Math.min(bucket - this.#newest, BUCKETS);
    for (let i = 1; i <= steps; i++) {
      const at = (this.#newest + i) % BUCKETS;
      this.succ -= counts[at]!;
      this.err -= counts[at + BUCKETS]!;
      counts[at] = 0;
      counts[at + BUCKETS] = 0;
    }
    // A pause longer than the window cleared the whole ring, wherever it now begins.
    this.#newest = bucket;
  }

  add(succeeded: boolean, nowMs: number): void {
    this.advance(nowMs);
    this.#count(succeeded);
  }

  /** Counts a call where `whole`, a window of the same length, has just counted it. */
  addBeside(whole: CallWindow, succeeded: boolean): void {
    this.#advanceTo(whole.#newest);
    this.#count(succeeded);
  }

  #count(succeeded: boolean): void {
    if (this.#counts === NONE) this.#counts = new Int32Array(2 * BUCKETS);
    const at = this.#newest % BUCKETS;
    if (succeeded) {
      this.#counts[at]! += 1;
      this.succ += 1;
    } else {
      this.#counts[at + BUCKETS]! += 1;
      this.err += 1;
    }
  }

  /** Takes another window's calls out of this one, which holds them; both have the same length. */
  remove(other: CallWindow, nowMs: number): void {
    this.advance(nowMs);
    // As far as this one, whatever the clock says now: a bucket of the one must be the same seconds as that of the other.
    other.#advanceTo(this.#newest);
    // What was counted there was counted here too: where that is nothing, there is nothing to take out.
    for (let i = 0; i < other.#counts.length; i++) this.#counts[i]! -= other.#counts[i]!;
    this.succ -= other.succ;
    this.err -= other.err;
  }

  clear(): void {
    this.#counts.fill(0);
    this.succ = 0;
    this.err = 0;
  }

  /** Begins anew with another length. */
  resize(windowMs: number): void {
    this.clear();
    this.#bucketMs = windowMs / BUCKETS;
    this.#newest = 0;
  }

  get calls(): number {
    return this.succ + this.err;
  }
}
