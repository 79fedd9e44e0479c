// An intake over a store in memory, with a clock and timers that a test moves.
import { Intake, type Report } from "../../src/report/intake.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryReportStore } from "../support/memory-report-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

export const FLUSH_MS = 200;

export class IntakeRig {
  readonly store = new MemoryReportStore();
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly intake: Intake;

  constructor(options: { maxRows?: number; batchRows?: number } = {}) {
    this.intake = new Intake({
      store: this.store,
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
export function total(ip: number, succ: number, seq: number, agent = 1): Report {
  const instance = agent.toString(16).padStart(16, "0");
  const row = { modid: 1, cmdid: 1, ip, port: 80, caller: agent, succ, err: 0, overload: false, ts: 0, instance, seq };
  return { kind: "total", row };
}

/** What a C++ agent sends. */
export function windowOf(ip: number, succ: number, agent = 1): Report {
  return {
    kind: "window",
    row: { modid: 1, cmdid: 1, ip, port: 80, caller: agent, succ, err: 0, overload: false, ts: 0 },
  };
}
