// A spool in memory that a test breaks and hands on to the next run of a service.
import type { ReportSpool, SpooledRow } from "../../src/store/report-spool.ts";

export class MemoryReportSpool implements ReportSpool {
  #kept = new Map<string, SpooledRow>();
  /** Thrown by every call. */
  failure: Error | undefined;
  damaged = 0;
  /** Rows of each put. */
  readonly puts: number[] = [];
  clears = 0;

  full(): void {
    this.failure = new Error("disk full");
  }
  /** The next call finds it damaged; it is empty then. */
  damage(): void {
    this.#broken = true;
  }
  #broken = false;

  /** The disk for the next run. What the run before still does to it, killed as it is, happens nowhere. */
  handOver(): MemoryReportSpool {
    const next = new MemoryReportSpool();
    next.#kept = this.#kept;
    next.failure = this.failure;
    next.#broken = this.#broken;
    this.#kept = new Map();
    this.failure = new Error("killed");
    return next;
  }

  #check(): void {
    if (this.failure !== undefined) throw this.failure;
    if (!this.#broken) return;
    this.#broken = false;
    this.damaged++;
    this.#kept.clear();
    throw new Error("was damaged");
  }

  load(): SpooledRow[] {
    this.#check();
    return [...this.#kept.values()];
  }

  put(rows: readonly SpooledRow[]): void {
    this.#check();
    this.puts.push(rows.length);
    for (const row of rows) {
      const key = [row.modid, row.cmdid, row.ip, row.port, row.instance || row.caller].join(" ");
      const held = this.#kept.get(key);
      if (held === undefined || row.instance === "" || row.seq >= held.seq) this.#kept.set(key, row);
    }
  }

  clear(): void {
    this.#check();
    this.clears++;
    this.#kept.clear();
  }

  get rows(): number {
    return this.#kept.size;
  }
  get bytes(): number {
    return this.#kept.size * 100;
  }
  close(): void {}
}
