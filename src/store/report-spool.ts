// Where reports wait on disk while the database is away, so that what was acknowledged outlives the process. The spool is
// a copy of what waits in memory, never read while the process runs: it holds the newest row of each key, like memory
// does, and so is bounded by the number of keys and not by the length of the outage. What is replayed after a restart may
// have been stored already; cursors make that harmless for totals, and `late` (report-store.ts) for windows.

export interface SpooledRow {
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: number;
  readonly port: number;
  readonly caller: number;
  readonly succ: number;
  readonly err: number;
  readonly overload: boolean;
  readonly ts: number;
  /** 16 hex digits; "" for a C++ agent's window. */
  readonly instance: string;
  readonly seq: number;
}

/** Every method throws Error when the disk does not serve (full, read-only, damaged); what was kept before stays kept. */
export interface ReportSpool {
  /** What was kept when the process ended. Opens the file; to be called before the others. */
  load(): SpooledRow[];
  /** Durable when it returns, all of them or none. A row replaces the one with its key. */
  put(rows: readonly SpooledRow[]): void;
  /** Everything that was put is in the database. */
  clear(): void;
  /** Rows in the file. */
  readonly rows: number;
  /** The file's size. */
  readonly bytes: number;
  /** A file that could not be read was put aside, once or more, since the process began. */
  readonly damaged: number;
  close(): void;
}
