// How many rows go into one transaction: as many as the database stores in a target time. Few, and the commit (a sync of
// its log) costs more than the rows; many, and rows are locked and answers wait for long. Which number that is depends on
// the database, its disk and what else it does, and changes while we run, so it is found as TCP finds its window: a bit
// more after every batch that was full and in time, much less after one that was late.

export interface BatchSizeLimits {
  /** What one transaction should take at most. */
  readonly targetMs: number;
  /** Rows. */
  readonly max: number;
}

const MIN_ROWS = 100;
const FIRST_ROWS = 1000;
const STEP_ROWS = 250;
/** One slow moment of the database (a checkpoint, a busy machine) is not to undo minutes of finding out. */
const MOST_BACK = 0.5;

export class BatchSize {
  readonly #limits: () => BatchSizeLimits;
  #rows = FIRST_ROWS;

  constructor(limits: () => BatchSizeLimits) {
    this.#limits = limits;
  }

  get rows(): number {
    const { max } = this.#limits();
    return Math.max(1, Math.min(max, Math.floor(this.#rows)));
  }

  /** A batch of `rows` was stored in `ms`. */
  stored(rows: number, ms: number): void {
    const { targetMs, max } = this.#limits();
    const size = this.rows;
    if (ms > targetMs) {
      // A small batch that was late says nothing about how large one may be.
      if (rows * 2 >= size) this.#rows = Math.max(MIN_ROWS, size * Math.max(MOST_BACK, targetMs / ms));
    } else if (rows >= size) {
      this.#rows = Math.min(max, size + STEP_ROWS);
    }
  }

  /** Perhaps because it was too large. */
  failed(): void {
    this.#rows = Math.max(MIN_ROWS, this.rows * MOST_BACK);
  }
}
