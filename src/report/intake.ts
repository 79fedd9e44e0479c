// What agents report on its way to the database. Reports of one host by one agent are totals (or a C++ agent's latest
// window), so only the newest counts: they are coalesced by key, and what waits is bounded by the number of different
// keys, however long the database is away and however often agents repeat themselves. Beyond the bound a report is
// refused and counted; an agent sends its totals again, so refusing delays numbers and loses none.
import { backoffDelay } from "../core/backoff.ts";
import { type Clock, type SetTimer, systemTimer } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { ReportStore, RunningTotal, WindowCount } from "../store/report-store.ts";

export interface IntakeOptions {
  readonly store: ReportStore;
  readonly clock: Clock;
  readonly setTimer?: SetTimer;
  readonly log: Log;
  readonly random: () => number;
  readonly maxRows: number;
  /** Rows of one transaction. */
  readonly batchRows: () => number;
  /** The longest a row waits for others to share its transaction. */
  readonly flushIntervalMs: () => number;
}

export type Report =
  | { readonly kind: "total"; readonly row: RunningTotal }
  | { readonly kind: "window"; readonly row: WindowCount };

interface Waiting {
  readonly number: number;
  readonly report: Report;
}

interface DurableWaiter {
  readonly number: number;
  settle(durable: boolean): void;
}

function keyOf({ kind, row }: Report): string {
  const source = kind === "total" ? row.instance : row.caller;
  return `${row.modid} ${row.cmdid} ${row.ip} ${row.port} ${source}`;
}

/** Whether `next` says something later than `held`. Windows carry seconds only: the one that arrives later wins. */
function isNewer(held: Report, next: Report): boolean {
  return held.kind === "window" || next.kind === "window" || next.row.seq > held.row.seq;
}

export class Intake {
  readonly #options: IntakeOptions;
  /** In the order of arrival: a row keeps its place when a newer one replaces it. */
  #waiting = new Map<string, Waiting>();
  #underWay = 0;
  #number = 0;
  readonly #durableWaiters = new Set<DurableWaiter>();
  readonly #setTimer: SetTimer;
  #flushing: Promise<void> | undefined;
  /** Cancels the next flush. */
  #cancelTimer: (() => void) | undefined;
  #failures = 0;
  #failure: string | undefined;
  readonly counts = { offered: 0, coalesced: 0, stale: 0, refused: 0, stored: 0, batches: 0, failures: 0 };

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#setTimer = options.setTimer ?? systemTimer;
  }

  /** Callers of `durable` that wait. */
  get awaited(): number {
    return this.#durableWaiters.size;
  }

  /** Rows that wait or are being written. */
  get size(): number {
    return this.#waiting.size + this.#underWay;
  }

  /** Why the last write failed; undefined when it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Sources that can be asked to wait (TCP) should be, from here on. */
  get crowded(): boolean {
    return this.size >= this.#options.maxRows * 0.75;
  }

  /** False: no room; the report is not taken. */
  offer(report: Report): boolean {
    this.counts.offered++;
    const key = keyOf(report);
    const held = this.#waiting.get(key);
    if (held !== undefined) {
      if (isNewer(held.report, report)) {
        this.counts.coalesced++;
        this.#waiting.set(key, { number: held.number, report });
      } else {
        this.counts.stale++;
      }
      return true;
    }
    if (this.size >= this.#options.maxRows) {
      this.counts.refused++;
      return false;
    }
    this.#waiting.set(key, { number: ++this.#number, report });
    this.#schedule();
    return true;
  }

  /** True once everything taken so far is in the database; false when it is not after `timeoutMs`. */
  durable(timeoutMs: number): Promise<boolean> {
    if (this.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter: DurableWaiter = {
        number: this.#number,
        settle: (durable) => {
          cancel();
          this.#durableWaiters.delete(waiter);
          resolve(durable);
        },
      };
      const cancel = this.#setTimer(timeoutMs, () => waiter.settle(false));
      this.#durableWaiters.add(waiter);
      void this.flush();
    });
  }

  #schedule(): void {
    if (this.#failures > 0) return;
    if (this.#waiting.size >= this.#options.batchRows()) {
      void this.flush();
      return;
    }
    this.#flushIn(this.#options.flushIntervalMs());
  }

  #flushIn(delayMs: number): void {
    this.#cancelTimer ??= this.#setTimer(delayMs, () => {
      // Here and not in `flush`, which may find one under way that this timer was set during.
      this.#cancelTimer = undefined;
      void this.flush();
    });
  }

  /** Writes until nothing waits or a write fails (then it is tried again later). One at a time. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
      if (this.#waiting.size > 0) this.#retryLater();
    });
    return this.#flushing;
  }

  async #flush(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    while (this.#waiting.size > 0) if (!(await this.#writeBatch())) return;
  }

  async #writeBatch(): Promise<boolean> {
    const { store, log } = this.#options;
    const batch = this.#takeBatch();
    const totals: RunningTotal[] = [];
    const windows: WindowCount[] = [];
    for (const { report } of batch.values()) {
      if (report.kind === "total") totals.push(report.row);
      else windows.push(report.row);
    }
    this.#underWay = batch.size;
    try {
      await store.apply(totals, windows);
    } catch (error) {
      this.counts.failures++;
      this.#failures++;
      const text = error instanceof Error ? error.message : String(error);
      if (text !== this.#failure)
        log.error("storing reports failed; they are kept and tried again", { error, rows: this.size });
      this.#failure = text;
      this.#putBack(batch);
      return false;
    } finally {
      this.#underWay = 0;
    }
    if (this.#failures > 0) log.info("reports are stored again", { waiting: this.#waiting.size });
    this.#failures = 0;
    this.#failure = undefined;
    this.counts.batches++;
    this.counts.stored += batch.size;
    this.#settle();
    return true;
  }

  #takeBatch(): Map<string, Waiting> {
    const batch = new Map<string, Waiting>();
    const most = this.#options.batchRows();
    for (const [key, waiting] of this.#waiting) {
      if (batch.size === most) break;
      batch.set(key, waiting);
      this.#waiting.delete(key);
    }
    return batch;
  }

  /** A failed batch goes back to the front; rows that were superseded meanwhile give their place to the newer ones. */
  #putBack(batch: Map<string, Waiting>): void {
    const merged = batch;
    for (const [key, waiting] of this.#waiting) {
      const earlier = merged.get(key);
      if (earlier === undefined) merged.set(key, waiting);
      else if (isNewer(earlier.report, waiting.report))
        merged.set(key, { number: earlier.number, report: waiting.report });
    }
    this.#waiting = merged;
  }

  #settle(): void {
    const [first] = this.#waiting.values();
    const durableUpTo = first === undefined ? this.#number : first.number - 1;
    for (const waiter of [...this.#durableWaiters]) if (waiter.number <= durableUpTo) waiter.settle(true);
  }

  #retryLater(): void {
    const delayMs =
      this.#failures === 0
        ? this.#options.flushIntervalMs()
        : backoffDelay(this.#failures, { baseMs: 100, maxMs: 3000 }, this.#options.random());
    this.#flushIn(delayMs);
  }

  /** Writes what waits, trying for `timeoutMs`. Returns how many rows could not be written. */
  async stop(timeoutMs: number): Promise<number> {
    const deadlineMs = this.#options.clock.nowMs() + timeoutMs;
    for (;;) {
      await this.flush();
      if (this.#waiting.size === 0 || this.#options.clock.nowMs() >= deadlineMs) break;
      await new Promise<void>((resolve) => {
        this.#setTimer(100, resolve);
      });
    }
    this.#cancelTimer?.();
    return this.#waiting.size;
  }
}
