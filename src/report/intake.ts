// What agents report on its way to the database. Reports of one host by one agent are totals (or a C++ agent's latest
// window), so only the newest counts: they are coalesced by key, and what waits is bounded by the number of different
// keys, however long the database is away and however often agents repeat themselves. Beyond the bound a report over HTTP
// is refused, counted, and its caller told. Agents over TCP are told nothing, so theirs are never refused: from three
// quarters of the bound on they are made to wait (status-frames.ts), and the last quarter is left to HTTP.
//
// While the database is away, or slow when somebody waits, what waits is copied to a spool on disk where there is one:
// then it is durable too, and is stored when the database is back, even if that is after a restart.
import { type Clock, type SetTimer, systemTimer } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { ReportSpool } from "../store/report-spool.ts";
import type { ReportStore } from "../store/report-store.ts";
import { BatchSize } from "./batch-size.ts";
import { Lane } from "./lane.ts";
import { laneOf } from "./lane-choice.ts";
import { SAVE_INTERVAL_MS, Spooling } from "./spooling.ts";
import type { OfferedRow } from "./waiting-rows.ts";

export interface IntakeOptions {
  readonly store: ReportStore;
  /** Absent: what waits is lost with the process, and nothing is durable while the database is away. */
  readonly spool?: ReportSpool | undefined;
  readonly clock: Clock;
  readonly setTimer?: SetTimer;
  readonly log: Log;
  readonly random: () => number;
  readonly maxRows: number;
  /** Rows of one transaction at most. */
  readonly batchRows: () => number;
  /** What one transaction should take at most; batches become as large as that allows. */
  readonly batchTargetMs: () => number;
  /** The longest a row waits for others to share its transaction. */
  readonly flushIntervalMs: () => number;
  /** Transactions at once. Default 1. */
  readonly writers?: number;
}

/**
 * What becomes of a row with a new key when there is no room: it is refused and counted; its source keeps it and offers it
 * again (and has less room); or it is taken as long as there is twice the room, and then refused.
 */
export type WhenFull = "refuse" | "wait" | "take";

/** Of all room, what sources have that can wait. */
const PATIENT_SHARE = 0.75;

interface DurableWaiter {
  /** Of each lane: the last place in line, and the last change. */
  readonly numbers: readonly number[];
  readonly changes: readonly number[];
  settle(durable: boolean): void;
}

/** How long a caller waits for the database before what it waits for goes to the spool. */
const SPOOL_AFTER_MS = 1000;

export class Intake {
  readonly #options: IntakeOptions;
  readonly #setTimer: SetTimer;
  readonly #lanes: readonly Lane[];
  readonly #batchSize: BatchSize;
  readonly #spooling: Spooling;
  readonly #durableWaiters = new Set<DurableWaiter>();
  #failure: string | undefined;
  /** Totals of what is said in metrics. */
  readonly counts = { offered: 0, coalesced: 0, stale: 0, refused: 0, stored: 0, batches: 0, failures: 0 };
  #storingMs = 0;
  #lastBatchMs = 0;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#setTimer = options.setTimer ?? systemTimer;
    this.#batchSize = new BatchSize(() => ({ targetMs: options.batchTargetMs(), max: options.batchRows() }));
    this.#lanes = Array.from(
      { length: Math.max(1, options.writers ?? 1) },
      () =>
        new Lane({
          store: options.store,
          clock: options.clock,
          setTimer: this.#setTimer,
          random: options.random,
          batchSize: this.#batchSize,
          flushIntervalMs: options.flushIntervalMs,
          onStored: (rows, ms) => this.#onStored(rows, ms),
          onFailed: (error) => this.#onFailed(error),
        }),
    );
    this.#spooling = new Spooling({
      spool: options.spool,
      lanes: this.#lanes,
      setTimer: this.#setTimer,
      log: options.log,
      onSaved: () => this.#settle(),
    });
  }

  /** Callers of `durable` that wait. */
  get awaited(): number {
    return this.#durableWaiters.size;
  }

  /** Rows that wait or are being written. */
  get size(): number {
    let size = 0;
    for (const lane of this.#lanes) size += lane.size;
    return size;
  }

  /** Why the last write failed; undefined when it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Rows of a batch as it is now chosen; milliseconds of all batches, and of the last. */
  get batches(): { readonly rows: number; readonly totalMs: number; readonly lastMs: number } {
    return { rows: this.#batchSize.rows, totalMs: this.#storingMs, lastMs: this.#lastBatchMs };
  }

  get spool(): Spooling {
    return this.#spooling;
  }

  /** There is no room for new keys of sources that can wait (TCP). */
  get crowded(): boolean {
    return this.size >= this.#options.maxRows * PATIENT_SHARE;
  }

  /** What the process that ran before left in the spool waits again. To be called before the first offer. */
  restore(): void {
    this.#spooling.open();
  }

  /**
   * False: no room; the report is not taken. `row` is read during the call only. `isLate`: it has waited, and a newer
   * window of its agent may have come by another way.
   */
  offer(row: Readonly<OfferedRow>, whenFull: WhenFull = "refuse", isLate = false): boolean {
    const lane = this.#lanes[laneOf(row, this.#lanes.length)]!;
    const away = this.#failure !== undefined;
    const offered = lane.rows.offer(row, this.#hasRoom(whenFull), away || isLate);
    if (offered === "full" && whenFull === "wait") return false;
    this.counts.offered++;
    switch (offered) {
      case "full":
        this.counts.refused++;
        return false;
      case "stale":
        this.counts.stale++;
        return true;
      case "replaced":
        this.counts.coalesced++;
        break;
      case "added":
        lane.schedule();
    }
    if (away) this.#spooling.saveWithin(SAVE_INTERVAL_MS);
    return true;
  }

  #hasRoom(whenFull: WhenFull): boolean {
    switch (whenFull) {
      case "refuse":
        return this.size < this.#options.maxRows;
      case "wait":
        return !this.crowded;
      case "take":
        return this.size < this.#options.maxRows * 2;
    }
  }

  /** True once everything taken so far is in the database or the spool; false when it is not after `timeoutMs`. */
  durable(timeoutMs: number): Promise<boolean> {
    if (this.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter: DurableWaiter = {
        numbers: this.#lanes.map(({ rows }) => rows.lastNumber),
        changes: this.#lanes.map(({ rows }) => rows.lastChange),
        settle: (durable) => {
          cancel();
          cancelSpooling?.();
          this.#durableWaiters.delete(waiter);
          resolve(durable);
        },
      };
      const cancel = this.#setTimer(timeoutMs, () => waiter.settle(false));
      const cancelSpooling = this.#spooling.exists
        ? this.#setTimer(this.#failure === undefined ? SPOOL_AFTER_MS : 0, () => void this.#spooling.save())
        : undefined;
      this.#durableWaiters.add(waiter);
      void this.flush();
    });
  }

  async flush(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.flush()));
  }

  #onStored(rows: number, ms: number): void {
    this.counts.batches++;
    this.counts.stored += rows;
    this.#storingMs += ms;
    this.#lastBatchMs = ms;
    if (this.#failure !== undefined && !this.#lanes.some((lane) => lane.failing)) {
      this.#options.log.info("reports are stored again", { waiting: this.size });
      this.#failure = undefined;
    }
    this.#settle();
    this.#spooling.clearWhenStored();
  }

  #onFailed(error: unknown): void {
    this.counts.failures++;
    const text = error instanceof Error ? error.message : String(error);
    if (text !== this.#failure) {
      this.#options.log.error("storing reports failed; they are kept and tried again", { error, rows: this.size });
    }
    this.#failure = text;
    this.#spooling.saveWithin(0);
  }

  #settle(): void {
    for (const waiter of [...this.#durableWaiters]) {
      const durable = this.#lanes.every(
        (lane, i) => lane.storedUpTo >= waiter.numbers[i]! || lane.spooledChange >= waiter.changes[i]!,
      );
      if (durable) waiter.settle(true);
    }
  }

  /** Writes what waits, trying for `timeoutMs`, and less where there is a spool. Returns how many rows are in neither. */
  async stop(timeoutMs: number): Promise<number> {
    const { clock } = this.#options;
    const deadlineMs = clock.nowMs() + timeoutMs;
    for (;;) {
      const leftMs = deadlineMs - clock.nowMs();
      await this.#flushWithin(this.#spooling.exists ? Math.min(leftMs, SPOOL_AFTER_MS) : leftMs);
      if (this.size === 0 || (await this.#spooling.save()) || clock.nowMs() >= deadlineMs) break;
      await this.#pause(100);
    }
    for (const lane of this.#lanes) lane.stop();
    this.#spooling.stop();
    if (this.size === 0) return 0;
    const left = this.#lanes.reduce((sum, lane) => sum + lane.unspooled().length, 0);
    if (left < this.size) this.#options.log.info("reports wait in the spool", { rows: this.size - left });
    return left;
  }

  #flushWithin(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#setTimer(ms, resolve);
      void this.flush().then(() => {
        cancel();
        resolve();
      });
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#setTimer(ms, resolve);
    });
  }
}
