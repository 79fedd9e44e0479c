// The route store on any SQL database behind the port of sql-database.ts. What is written how is said in the files this
// one puts together: route-transaction.ts (the lock and foreign marks), route-rows.ts, foreign-scan.ts, change-log.ts.
import type { WantedLeases } from "../lease-store.ts";
import type { ChangeLogEntry, Foreign, Head, RouteDelta, RouteStore, RouteTransaction } from "../route-store.ts";
import { readLog } from "./change-log.ts";
import { findForeign } from "./foreign-scan.ts";
import { readDelta } from "./route-rows.ts";
import { SqlRouteTransaction } from "./route-transaction.ts";
import type { SqlDatabase } from "./sql-database.ts";

/** Deleted per transaction, so that pruning a long log never holds a lock for long. */
const PRUNE_STEP = 1_000;

export class SqlRouteStore implements RouteStore {
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  head(): Promise<Head> {
    return this.#database.read(async (session) => {
      const rows = await session.rows<[number, number]>(
        "SELECT s.revision, CASE WHEN s.foreign_pending <> 0" +
          " OR s.route_version <> COALESCE((SELECT v.version FROM RouteVersion v WHERE v.id = 1), 0)" +
          " OR s.route_change_id <> COALESCE((SELECT MAX(c.id) FROM RouteChange c), 0) THEN 1 ELSE 0 END" +
          " FROM lars_state s WHERE s.id = 1",
      );
      const row = rows[0];
      return row === undefined
        ? { revision: 0, foreignMoved: false }
        : { revision: row[0], foreignMoved: row[1] !== 0 };
    });
  }

  readSince(revision: number): Promise<RouteDelta> {
    return this.#database.snapshot((session) => readDelta(session, revision));
  }

  async write<T>(work: (tx: RouteTransaction) => Promise<T>, wanted?: WantedLeases): Promise<T> {
    const { result } = await this.#database.transaction(
      async (session) => {
        const tx = await SqlRouteTransaction.begin(session, this.#database.dialect, wanted);
        const result = await work(tx);
        await tx.finish();
        return { result, written: tx.written };
      },
      (session, { written }) => SqlRouteTransaction.wasMade(session, written),
    );
    return result;
  }

  findForeign(): Promise<Foreign> {
    return this.#database.snapshot((session) => findForeign(session, undefined));
  }

  async claimFullScan(intervalMs: number, nowMs: number): Promise<boolean> {
    const now = Math.floor(nowMs);
    const interval = Math.floor(intervalMs);
    // A time of the last scan that lies ahead is another instance's clock; far ahead, it was set wrong and is ignored.
    const due = "id = 1 AND (scanned_at_ms <= ? OR scanned_at_ms > ?)";
    const params = [now - interval, now + interval];
    // Most calls find that it is not due. They must not stand in the writers' line to learn that.
    const rows = await this.#database.read((session) => session.rows(`SELECT 1 FROM lars_state WHERE ${due}`, params));
    if (rows.length === 0) return false;
    return this.#database.transaction(
      async (session) =>
        (await session.run(`UPDATE lars_state SET scanned_at_ms = ? WHERE ${due}`, [now, ...params])) === 1,
    );
  }

  changes(after: number, limit: number): Promise<readonly ChangeLogEntry[]> {
    return this.#database.snapshot((session) => readLog(session, after, limit));
  }

  async prune(keep: number): Promise<number> {
    const rows = Math.max(0, Math.floor(keep));
    const log = await this.#pruneTable("lars_change", "revision", rows);
    // RouteChange keeps its newest row in any case: that it is the one we remember says that nobody added another.
    const marks = await this.#pruneTable("RouteChange", "id", Math.max(1, rows));
    return log + marks;
  }

  async #pruneTable(table: "lars_change" | "RouteChange", key: string, keep: number): Promise<number> {
    const oldest = await this.#database.read((session) =>
      session.rows<[number]>(`SELECT ${key} FROM ${table} ORDER BY ${key} DESC LIMIT 1 OFFSET ${keep}`),
    );
    const last = oldest[0]?.[0];
    if (last === undefined) return 0;
    let pruned = 0;
    for (;;) {
      const step = await this.#database.transaction(async (session) => {
        const some = await session.rows<[number]>(
          `SELECT ${key} FROM ${table} WHERE ${key} <= ? ORDER BY ${key} LIMIT ${PRUNE_STEP}`,
          [last],
        );
        const upTo = some.at(-1)?.[0];
        if (upTo === undefined) return 0;
        if (table === "lars_change") await session.run("DELETE FROM lars_change_item WHERE revision <= ?", [upTo]);
        return session.run(`DELETE FROM ${table} WHERE ${key} <= ?`, [upTo]);
      });
      pruned += step;
      if (step < PRUNE_STEP) return pruned;
    }
  }
}
