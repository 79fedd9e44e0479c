// How late the driver was, and how long picks took: counts in steps of 50 µs, so that half a million values cost nothing
// to keep and a percentile is a walk over an array. A reader can judge figures in milliseconds only with these beside.

const STEP_MS = 0.05;
const STEPS = 40_000;

export interface Times {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class Histogram {
  readonly #counts = new Uint32Array(STEPS + 1);
  #count = 0;
  #maxMs = 0;

  /** Values beyond 2 s count as 2 s, but for the maximum. */
  record(ms: number): void {
    this.#counts[Math.min(STEPS, Math.max(0, Math.floor(ms / STEP_MS)))]!++;
    this.#count++;
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  /** The upper end of the step that share `p` of the values stays below; 0 without values. */
  percentile(p: number): number {
    let left = Math.ceil(p * this.#count);
    for (let step = 0; step <= STEPS && this.#count > 0; step++) {
      left -= this.#counts[step]!;
      if (left <= 0) return Math.min(this.#maxMs, (step + 1) * STEP_MS);
    }
    return 0;
  }

  times(): Times {
    return { count: this.#count, p50Ms: this.percentile(0.5), p99Ms: this.percentile(0.99), maxMs: this.#maxMs };
  }
}
