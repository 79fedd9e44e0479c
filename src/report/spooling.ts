// When what waits is copied to the spool, and when the copy is given up. The spool is a copy of the lanes: what changed
// since the last time is added, what is replaced there is replaced here. Once every row that was ever copied is in the
// database the copy is emptied as a whole; to remove rows one by one would cost as much as to put them there, and what is
// replayed for want of it does no harm (report-spool.ts).
//
// A disk that is full and a file that is damaged are said once, counted, and change nothing else: then nothing is durable
// until the database is back, as if there were no spool.
import type { SetTimer } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { ReportSpool } from "../store/report-spool.ts";
import type { Lane } from "./lane.ts";
import { laneOf } from "./lane-choice.ts";

export interface SpoolingOptions {
  readonly spool: ReportSpool | undefined;
  readonly lanes: readonly Lane[];
  readonly setTimer: SetTimer;
  readonly log: Log;
  /** More is in the spool than before. */
  readonly onSaved: () => void;
}

const OPEN_AGAIN_MS = 5000;
/** How often what nobody waits for (TCP) is saved: agents that live tell it again anyway, and rows change all the time. */
export const SAVE_INTERVAL_MS = 1000;
/** Rows of one transaction: a turn of the event loop waits for it. */
const PUT_ROWS = 2000;

export class Spooling {
  readonly #options: SpoolingOptions;
  #open = false;
  #saving: Promise<boolean> | undefined;
  #after: Promise<boolean> | undefined;
  #cancelTimer: (() => void) | undefined;
  #cancelOpening: (() => void) | undefined;
  /** Something was put since the spool was empty. */
  #holds = false;
  #failure: string | undefined;
  readonly counts = { saves: 0, rows: 0, replayed: 0, cleared: 0, failures: 0 };

  constructor(options: SpoolingOptions) {
    this.#options = options;
  }

  get exists(): boolean {
    return this.#options.spool !== undefined;
  }

  /** Why the last attempt failed; undefined when it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  get rows(): number {
    return this.#open ? this.#options.spool!.rows : 0;
  }

  get bytes(): number {
    return this.#open ? this.#options.spool!.bytes : 0;
  }

  get damaged(): number {
    return this.#options.spool?.damaged ?? 0;
  }

  /** Opens the file; what it holds waits again. False: there is none, or it does not serve now. */
  open(): boolean {
    const { spool } = this.#options;
    if (this.#open || spool === undefined) return this.#open;
    const damagedBefore = spool.damaged;
    // A damaged file is put aside, and another begun at the second attempt. One that another process has still (the one
    // before, as it ends) may hold rows that nobody else will store.
    const load = (): boolean => this.#attempt(() => this.#load(spool));
    if (load() || (spool.damaged > damagedBefore && load())) return true;
    this.#cancelOpening ??= this.#options.setTimer(OPEN_AGAIN_MS, () => {
      this.#cancelOpening = undefined;
      this.open();
    });
    return false;
  }

  #load(spool: ReportSpool): void {
    const { lanes, log } = this.#options;
    const kept = spool.load();
    this.#open = true;
    // What came before the file could be opened is not in it.
    const isFirst = lanes.every((lane) => lane.size === 0);
    for (const row of kept) {
      const instanceHigh = Number.parseInt(row.instance.slice(0, 8) || "0", 16);
      const instanceLow = Number.parseInt(row.instance.slice(8) || "0", 16);
      lanes[laneOf({ instanceHigh, instanceLow, caller: row.caller }, lanes.length)]!.rows.restore(row);
    }
    for (const lane of lanes) {
      if (isFirst) lane.spooledChange = lane.rows.lastChange;
      lane.spooledNumber = lane.rows.lastNumber;
      if (lane.size > 0) lane.schedule();
    }
    this.#holds = kept.length > 0;
    this.counts.replayed += kept.length;
    if (kept.length > 0) log.info("reports of the last run wait in the spool", { rows: kept.length });
  }

  /** Saves what will have changed by then. */
  saveWithin(delayMs: number): void {
    if (!this.exists) return;
    this.#cancelTimer ??= this.#options.setTimer(delayMs, () => {
      this.#cancelTimer = undefined;
      void this.save();
    });
  }

  /** Copies what is not in the spool as it is now. True: all that waits is. */
  save(): Promise<boolean> {
    if (this.#saving === undefined) {
      this.#saving = this.#save().finally(() => {
        this.#saving = undefined;
      });
      return this.#saving;
    }
    // All that ask meanwhile share the one that comes after.
    this.#after ??= this.#saving.then(() => {
      this.#after = undefined;
      return this.save();
    });
    return this.#after;
  }

  async #save(): Promise<boolean> {
    const { spool, lanes, onSaved } = this.#options;
    if (spool === undefined || !this.open()) return false;
    const copied = lanes.map((lane) => ({ lane, change: lane.rows.lastChange, number: lane.rows.lastNumber }));
    const rows = lanes.flatMap((lane) => lane.unspooled());
    for (let from = 0; from < rows.length; from += PUT_ROWS) {
      if (from > 0) await this.#turn();
      const damagedBefore = spool.damaged;
      this.#holds = true;
      const part = rows.slice(from, from + PUT_ROWS);
      if (!this.#attempt(() => spool.put(part))) {
        // The damaged file is put aside, and with it all that was in it.
        if (spool.damaged > damagedBefore) for (const { lane } of copied) lane.spooledChange = 0;
        return false;
      }
      this.counts.rows += part.length;
    }
    if (rows.length > 0) this.counts.saves++;
    for (const { lane, change, number } of copied) {
      lane.spooledChange = Math.max(lane.spooledChange, change);
      lane.spooledNumber = Math.max(lane.spooledNumber, number);
    }
    onSaved();
    return true;
  }

  /** To be called when something was stored. */
  clearWhenStored(): void {
    const { spool, lanes } = this.#options;
    if (!this.#holds || this.#saving !== undefined || !this.#open) return;
    if (lanes.some((lane) => lane.failing || lane.storedUpTo < lane.spooledNumber)) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#attempt(() => spool!.clear())) {
      this.#holds = false;
      this.counts.cleared++;
    }
  }

  /** Sets no timer more. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#cancelOpening?.();
    this.#cancelOpening = undefined;
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.setTimer(0, resolve);
    });
  }

  #attempt(work: () => void): boolean {
    try {
      work();
    } catch (error) {
      this.counts.failures++;
      const text = error instanceof Error ? error.message : String(error);
      if (text !== this.#failure) {
        this.#options.log.error("the spool does not serve; nothing is durable until the database is back", { error });
      }
      this.#failure = text;
      return false;
    }
    if (this.#failure !== undefined) this.#options.log.info("the spool serves again");
    this.#failure = undefined;
    return true;
  }
}
