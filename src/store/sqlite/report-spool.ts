// The spool in an SQLite file of its own. SQLite because it is there (bun:sqlite), keeps its promise through a kill and
// through a power cut (synchronous = FULL: one sync of the disk for each `put`), and replaces a row by its key.
//
// One process has the file: the lock is exclusive and held while it is open, and ends with the process however that ends.
// A second report service on the same data folder is told so and runs without a spool. A file that SQLite cannot read is
// renamed and another begun: the rows of a whole outage may be lost then, reports of today are not.
import { Database } from "bun:sqlite";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { isPort } from "../../core/endpoint.ts";
import type { ReportSpool, SpooledRow } from "../report-spool.ts";

/** SQLite's primary result codes for a file that is not what it should be: an error in SQL, corrupt, not a database. */
const DAMAGED = new Set([1, 11, 26]);
const BUSY = 5;
const PAGE_BYTES = 4096;
const INSTANCE = /^([0-9a-f]{16})?$/;

const CREATE = `CREATE TABLE IF NOT EXISTS report (
  modid INTEGER NOT NULL, cmdid INTEGER NOT NULL, ip INTEGER NOT NULL, port INTEGER NOT NULL, instance TEXT NOT NULL,
  source INTEGER NOT NULL, caller INTEGER NOT NULL, succ INTEGER NOT NULL, err INTEGER NOT NULL,
  overload INTEGER NOT NULL, ts INTEGER NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (modid, cmdid, ip, port, instance, source)) STRICT, WITHOUT ROWID`;

// Of totals the newest stays, in whatever order they are put; of windows the last.
const PUT = `INSERT INTO report (modid, cmdid, ip, port, instance, source, caller, succ, err, overload, ts, seq)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
  ON CONFLICT DO UPDATE SET caller = excluded.caller, succ = excluded.succ, err = excluded.err,
  overload = excluded.overload, ts = excluded.ts, seq = excluded.seq WHERE instance = '' OR excluded.seq >= seq`;

type Columns = [number, number, number, number, string, number, number, number, number, number, number];

export class SqliteReportSpool implements ReportSpool {
  readonly #path: string;
  readonly #maxBytes: number;
  #database: Database | undefined;
  damaged = 0;

  /** Nothing is opened yet. `maxBytes`: of the file; SQLite's log beside it comes to a few MiB more. */
  constructor(path: string, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
  }

  load(): SpooledRow[] {
    return this.#orPutAside(() => {
      const database = this.#opened();
      const [verdict] = database.query("PRAGMA quick_check(1)").values()[0] as [string];
      if (verdict !== "ok") throw Object.assign(new Error(`quick_check says ${verdict}`), { errno: 11 });
      const rows = database
        .query("SELECT modid, cmdid, ip, port, instance, caller, succ, err, overload, ts, seq FROM report")
        .values() as Columns[];
      return rows
        .map(([modid, cmdid, ip, port, instance, caller, succ, err, overload, ts, seq]) => ({
          modid: modid | 0,
          cmdid: cmdid | 0,
          ip: ip | 0,
          port,
          instance,
          caller: caller | 0,
          succ: succ >>> 0,
          err: err >>> 0,
          overload: overload !== 0,
          ts: ts >>> 0,
          seq,
        }))
        .filter(({ port, instance, seq }) => isPort(port) && INSTANCE.test(instance) && Number.isSafeInteger(seq));
    });
  }

  put(rows: readonly SpooledRow[]): void {
    this.#orPutAside(() => {
      const database = this.#opened();
      const statement = database.query(PUT);
      database.transaction(() => {
        for (const row of rows) {
          statement.run(
            row.modid,
            row.cmdid,
            row.ip,
            row.port,
            row.instance,
            row.instance === "" ? row.caller : 0,
            row.caller,
            row.succ,
            row.err,
            row.overload ? 1 : 0,
            row.ts,
            row.seq,
          );
        }
      })();
    });
  }

  clear(): void {
    this.#orPutAside(() => {
      const database = this.#opened();
      database.run("DELETE FROM report");
      database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    });
  }

  get rows(): number {
    return this.#number("SELECT COUNT(*) FROM report");
  }

  get bytes(): number {
    return this.#number("PRAGMA page_count") * PAGE_BYTES;
  }

  close(): void {
    this.#database?.close();
    this.#database = undefined;
  }

  #number(sql: string): number {
    try {
      return (this.#database?.query(sql).values()[0]?.[0] as number | undefined) ?? 0;
    } catch {
      // The next `put` says what is wrong.
      return 0;
    }
  }

  #opened(): Database {
    if (this.#database !== undefined) return this.#database;
    mkdirSync(dirname(this.#path), { recursive: true });
    const database = new Database(this.#path, { create: true, readwrite: true, strict: true });
    try {
      database.run("PRAGMA busy_timeout = 0");
      database.run("PRAGMA locking_mode = EXCLUSIVE");
      database.run(`PRAGMA page_size = ${PAGE_BYTES}`);
      database.run("PRAGMA journal_mode = WAL");
      database.run("PRAGMA synchronous = FULL");
      database.run("PRAGMA journal_size_limit = 1048576");
      database.run(`PRAGMA max_page_count = ${Math.ceil(this.#maxBytes / PAGE_BYTES)}`);
      database.run(CREATE);
    } catch (error) {
      database.close();
      throw error;
    }
    this.#database = database;
    return database;
  }

  /** @throws Error that names the file */
  #orPutAside<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const code = ((error as { errno?: number }).errno ?? 0) & 0xff;
      const { message } = error as Error;
      if (code === BUSY) {
        throw new Error(
          `the spool ${this.#path} is used by another process; give each report service a data.dir of its own`,
          { cause: error },
        );
      }
      if (!DAMAGED.has(code)) throw new Error(`the spool ${this.#path}: ${message}`, { cause: error });
      this.#putAside();
      throw new Error(
        `the spool ${this.#path} was damaged (${message}); it is ${this.#path}.damaged now and another is begun`,
        { cause: error },
      );
    }
  }

  #putAside(): void {
    this.damaged++;
    this.close();
    // One is kept, for whoever wants to look; they are not to fill the disk.
    renameSync(this.#path, `${this.#path}.damaged`);
    for (const beside of ["-wal", "-shm"]) rmSync(this.#path + beside, { force: true });
  }
}
