// A ReportStore in memory that a test holds up, breaks and looks into.
import { advanceCursor, type CallCursor } from "../../src/core/call-totals.ts";
import type { ReportStore, RunningTotal, StatusFilter, StatusRow, WindowCount } from "../../src/store/report-store.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";

export class MemoryReportStore implements ReportStore {
  readonly #rows = new Map<string, StatusRow>();
  readonly #cursors = new Map<string, CallCursor>();
  failure: Error | undefined;
  /** `apply` waits for this before it does anything. */
  gate: Promise<void> = Promise.resolve();
  /** Rows of each batch that was applied. */
  readonly batches: number[] = [];
  attempts = 0;

  away(): void {
    this.failure = new StoreUnavailable("connection refused");
  }
  back(): void {
    this.failure = undefined;
  }
  /** Holds up `apply`; the returned function lets it go on. */
  hold(): () => void {
    let release = (): void => {};
    this.gate = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }
  /** "1.1 9:80 from 7: 3/1" for each row. */
  get texts(): string[] {
    return [...this.#rows.values()]
      .map(
        ({ modid, cmdid, ip, port, caller, succ, err }) =>
          `${modid}.${cmdid} ${ip}:${port} from ${caller}: ${succ}/${err}`,
      )
      .sort();
  }

  async apply(totals: readonly RunningTotal[], windows: readonly WindowCount[]): Promise<void> {
    this.attempts++;
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
    for (const row of totals) {
      const at = `${row.instance} ${keyOf(row)}`;
      const added = advanceCursor(this.#cursors.get(at), row);
      if (added === undefined) continue;
      this.#cursors.set(at, row);
      const held = this.#rows.get(keyOf(row));
      this.#put(row, (held?.succ ?? 0) + added.succ, (held?.err ?? 0) + added.err);
    }
    for (const row of windows) {
      const held = this.#rows.get(keyOf(row));
      if (row.late !== true || held === undefined || held.ts <= row.ts) this.#put(row, row.succ, row.err);
    }
    this.batches.push(totals.length + windows.length);
  }

  #put(row: WindowCount, succ: number, err: number): void {
    const { modid, cmdid, ip, port, caller, overload, ts } = row;
    this.#rows.set(keyOf(row), { modid, cmdid, ip, port, caller, overload, ts, succ, err });
  }

  async status({ modid, cmdid, limit, after }: StatusFilter): Promise<readonly StatusRow[]> {
    if (this.failure !== undefined) throw this.failure;
    const key = (row: StatusRow): number[] => [row.modid, row.cmdid, row.ip, row.port, row.caller].map((n) => n >>> 0);
    const compare = (a: readonly number[], b: readonly number[]): number => {
      const i = a.findIndex((part, at) => part !== b[at]);
      return i < 0 ? 0 : a[i]! - b[i]!;
    };
    return [...this.#rows.values()]
      .filter((row) => (modid === undefined || row.modid === modid) && (cmdid === undefined || row.cmdid === cmdid))
      .sort((a, b) => compare(key(a), key(b)))
      .filter((row) => after === undefined || compare(key(row), after) > 0)
      .slice(0, limit);
  }

  async pruneCursors(): Promise<number> {
    return 0;
  }
}

function keyOf({ modid, cmdid, ip, port, caller }: WindowCount): string {
  return `${modid} ${cmdid} ${ip} ${port} ${caller}`;
}
