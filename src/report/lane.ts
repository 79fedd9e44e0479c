// One line of rows to the database: batches one after the other, in the order of arrival, and again what failed. Several
// lanes write at once; which lane a row takes follows from its agent, so two batches under way never wait for each other's
// agents.
import { backoffDelay } from "../core/backoff.ts";
import type { Clock, SetTimer } from "../platform/clock.ts";
import type { ReportStore, RunningTotal, WindowCount } from "../store/report-store.ts";
import type { BatchSize } from "./batch-size.ts";
import { type TakenRow, WaitingRows } from "./waiting-rows.ts";

export interface LaneOptions {
  readonly store: ReportStore;
  readonly clock: Clock;
  readonly setTimer: SetTimer;
  readonly random: () => number;
  readonly batchSize: BatchSize;
  /** The longest a row waits for others to share its transaction. */
  readonly flushIntervalMs: () => number;
  /** After every batch. */
  readonly onStored: (rows: number, ms: number) => void;
  readonly onFailed: (error: unknown) => void;
}

export class Lane {
  readonly #options: LaneOptions;
  readonly rows: WaitingRows;
  #underWay: readonly TakenRow[] = [];
  #flushing: Promise<void> | undefined;
  /** Cancels the next flush. */
  #cancelTimer: (() => void) | undefined;
  #failures = 0;
  /** Up to this place rows are written without waiting for more. */
  #wanted = 0;
  /** Up to here everything is in the spool: the last change, and the last place in line. */
  spooledChange = 0;
  spooledNumber = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.rows = new WaitingRows(Math.floor(options.random() * 0x1_0000_0000));
  }

  /** Rows that wait or are being written. */
  get size(): number {
    return this.rows.size + this.#underWay.length;
  }

  /** The last write failed. */
  get failing(): boolean {
    return this.#failures > 0;
  }

  /** Every row up to this place is in the database. */
  get storedUpTo(): number {
    const first = this.#underWay[0]?.number ?? this.rows.firstNumber;
    return first === undefined ? this.rows.lastNumber : first - 1;
  }

  /** What is not in the spool as it is now, oldest first; what is being written is not in the database yet. */
  unspooled(): TakenRow[] {
    const since = this.spooledChange;
    return [...this.#underWay.filter(({ change }) => change > since), ...this.rows.changedSince(since)];
  }

  /** To be called when a row was added. */
  schedule(): void {
    if (this.#failures > 0) return;
    if (this.rows.size >= this.#options.batchSize.rows) void this.flush();
    else this.#flushIn(this.#options.flushIntervalMs());
  }

  /**
   * Writes all that waits now, unless a write fails (then it is tried again later). One batch at a time. What comes
   * meanwhile waits its own while, or few rows that are told again and again would keep the database busy for nothing.
   */
  flush(): Promise<void> {
    this.#wanted = this.rows.lastNumber;
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
      if (this.rows.size > 0) this.#retryLater();
    });
    return this.#flushing;
  }

  /** Sets no timer more. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #flushIn(delayMs: number): void {
    this.#cancelTimer ??= this.#options.setTimer(delayMs, () => {
      // Here and not in `flush`, which may find one under way that this timer was set during.
      this.#cancelTimer = undefined;
      void this.flush();
    });
  }

  async #flush(): Promise<void> {
    this.stop();
    for (;;) {
      const first = this.rows.firstNumber;
      if (first === undefined) return;
      if (first > this.#wanted && this.rows.size < this.#options.batchSize.rows) return;
      if (!(await this.#writeBatch())) return;
    }
  }

  async #writeBatch(): Promise<boolean> {
    const { store, clock, batchSize, onStored, onFailed } = this.#options;
    const batch = this.rows.take(batchSize.rows);
    const totals: RunningTotal[] = [];
    const windows: WindowCount[] = [];
    for (const row of batch) {
      if (row.instance === "") windows.push(row);
      else totals.push(row);
    }
    this.#underWay = batch;
    const startedMs = clock.nowMs();
    try {
      await store.apply(totals, windows);
    } catch (error) {
      this.#underWay = [];
      this.rows.putBack(batch);
      this.#failures++;
      batchSize.failed();
      onFailed(error);
      return false;
    }
    this.#underWay = [];
    this.#failures = 0;
    const ms = clock.nowMs() - startedMs;
    batchSize.stored(batch.length, ms);
    onStored(batch.length, ms);
    return true;
  }

  #retryLater(): void {
    const delayMs =
      this.#failures === 0
        ? this.#options.flushIntervalMs()
        : backoffDelay(this.#failures, { baseMs: 100, maxMs: 3000 }, this.#options.random());
    this.#flushIn(delayMs);
  }
}
