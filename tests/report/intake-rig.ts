// An intake over a store in memory, with a clock and timers that a test moves.
import { Intake } from "../../src/report/intake.ts";
import type { OfferedRow } from "../../src/report/waiting-rows.ts";
import type { ReportSpool } from "../../src/store/report-spool.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryReportStore } from "../support/memory-report-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

export const FLUSH_MS = 200;

export class IntakeRig {
  readonly store: MemoryReportStore;
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly intake: Intake;

  constructor(
    options: {
      maxRows?: number;
      batchRows?: number;
      writers?: number;
      spool?: ReportSpool;
      store?: MemoryReportStore;
    } = {},
  ) {
    this.store = options.store ?? new MemoryReportStore();
    this.intake = new Intake({
      store: this.store,
      spool: options.spool,
      writers: options.writers ?? 1,
      batchTargetMs: () => 200,
      clock: this.clock,
      setTimer: (delayMs, run) => this.clock.setTimer(delayMs, run),
      log: this.log,
      random: () => 0.999,
      maxRows: options.maxRows ?? 100,
      batchRows: () => options.batchRows ?? 10,
      flushIntervalMs: () => FLUSH_MS,
    });
  }
  /** Moves time on and lets promises settle. */
  async wait(ms: number): Promise<this> {
    await this.clock.advanceAsync(ms);
    return this;
  }
  async turn(): Promise<this> {
    await settle();
    return this;
  }
}

/** Totals of host `ip` by agent `agent`. */
export function total(ip: number, succ: number, seq: number, agent = 1): OfferedRow {
  const counts = { succ, err: 0, overload: false, ts: 0 };
  return { modid: 1, cmdid: 1, ip, port: 80, caller: agent, ...counts, instanceHigh: 0, instanceLow: agent, seq };
}

/** What a C++ agent sends. */
export function windowOf(ip: number, succ: number, agent = 1): OfferedRow {
  return { ...total(ip, succ, 0, agent), instanceLow: 0 };
}
