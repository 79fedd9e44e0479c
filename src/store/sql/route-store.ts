// The route store on any SQL database behind the port of sql-database.ts. What is written how is said in the files this
// one puts together: route-transaction.ts (the lock and foreign marks), route-rows.ts, foreign-scan.ts, change-log.ts.
import type { WantedLeases } from "../lease-store.ts";
import {
  type ChangeLogEntry,
  type Head,
  type Look,
  NotForeseen,
  type RemovedModule,
  type RouteDelta,
  type RouteStore,
  type RouteTransaction,
} from "../route-store.ts";
import { readLog } from "./change-log.ts";
import { findForeign } from "./foreign-scan.ts";
import { ForeseenTransaction } from "./foreseen-transaction.ts";
import { forgetRemoved } from "./forget-removed.ts";
import { PlannedStatements } from "./planned-statements.ts";
import { readDelta } from "./route-rows.ts";
import { SqlRouteTransaction } from "./route-transaction.ts";
import type { SqlDatabase } from "./sql-database.ts";
import { EVERYTHING, TableSums } from "./table-sums.ts";
import type { Stand } from "./write-line.ts";

/** Deleted per transaction, so that pruning a long log never holds a lock for long. */
const PRUNE_STEP = 1_000;

export class SqlRouteStore implements RouteStore {
  readonly #database: SqlDatabase;
  readonly #sums = new TableSums();
  /** How our last write leaves things; undefined: that is not known. */
  #stand: Stand | undefined;
  /** The last write ahead stands in line for the lock, or is over. */
  #inLine: Promise<void> = Promise.resolve();

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  head(): Promise<Head> {
    return this.#database.read(async (session) => {
      const rows = await session.rows<[number, number, number, number, number, number]>(
        "SELECT s.revision, s.foreign_pending," +
          " CASE WHEN s.route_version <> COALESCE((SELECT v.version FROM RouteVersion v WHERE v.id = 1), 0)" +
          " OR s.route_change_id <> COALESCE((SELECT MAX(c.id) FROM RouteChange c), 0) THEN 1 ELSE 0 END," +
          " s.foreign_marks, s.looked_marks, s.scanned_at_ms FROM lars_state s WHERE s.id = 1",
      );
      const [revision, pending, moved, marks, lookedMarks, lookedAtMs] = rows[0] ?? [0, 0, 0, 0, 0, 0];
      const unnoticed = moved !== 0;
      return { revision, foreignMoved: unnoticed || pending !== 0, unnoticed, marks, lookedMarks, lookedAtMs };
    });
  }

  readSince(revision: number): Promise<RouteDelta> {
    return this.#database.snapshot((session) => readDelta(session, revision));
  }

  async write<T>(work: (tx: RouteTransaction) => Promise<T>, wanted?: WantedLeases): Promise<T> {
    const { result, stand } = await this.#database.transaction(
      async (session) => {
        const tx = await SqlRouteTransaction.begin(session, this.#database.dialect, wanted);
        const result = await work(tx);
        const stand = await tx.finish();
        return { result, stand, written: tx.written };
      },
      (session, { written }) => SqlRouteTransaction.wasMade(session, written),
    );
    this.#stand = stand;
    return result;
  }

  get foresees(): boolean {
    return this.#database.packsTransactions;
  }

  async writeAhead<T>(
    revision: number,
    work: (tx: RouteTransaction) => Promise<T>,
    sent: () => void,
    overtook: () => Promise<boolean>,
  ): Promise<{ readonly result: T } | undefined> {
    const { dialect } = this.#database;
    const stand = this.#stand;
    if (stand?.revision !== revision) return undefined;
    const { promise, resolve: begun } = Promise.withResolvers<void>();
    // What it leaves is known only when it was planned: until then nobody goes by what was before.
    this.#stand = undefined;
    try {
      const plan = new PlannedStatements();
      const tx = await ForeseenTransaction.begin(plan, dialect, stand);
      const result = await work(tx);
      this.#stand = await tx.finish();
      const before = this.#inLine;
      this.#inLine = promise;
      sent();
      for (let again = false; ; again = true) {
        try {
          return await this.#database.transaction(
            async (session) => {
              // Sent a moment later by another connection, it could be in line before the one it was planned on.
              await before;
              await plan.postTo(session, begun);
              return { result, written: tx.written };
            },
            (session, { written }) => SqlRouteTransaction.wasMade(session, written),
          );
        } catch (error) {
          // It was not as foreseen, or not yet.
          if (again || !dialect.isOutOfRange(error) || !(await overtook())) throw error;
        }
      }
    } catch (error) {
      this.#stand = undefined;
      if (error instanceof NotForeseen || dialect.isDuplicateKey(error) || dialect.isOutOfRange(error))
        return undefined;
      throw error;
    } finally {
      begun();
    }
  }

  look(likely = false): Promise<Look> {
    const { hasRowSums } = this.#database.dialect;
    return this.#database.snapshot(async (session) => {
      const rows = await session.rows<[number, number, number, string | null, number | null]>(
        "SELECT s.revision, s.forgotten_revision, s.foreign_marks, (SELECT CAST(v.version AS CHAR) FROM RouteVersion v WHERE v.id = 1)," +
          " (SELECT MAX(c.id) FROM RouteChange c) FROM lars_state s WHERE s.id = 1",
      );
      const [revision, forgotten, marks, routeVersion, routeChangeId] = rows[0] ?? [0, 0, 0, null, null];
      const parts = hasRowSums ? await this.#sums.differing(session, { revision, forgotten }, likely) : EVERYTHING;
      return {
        foreign: await findForeign(session, parts),
        mark: { marks, routeVersion: routeVersion ?? "0", routeChangeId: routeChangeId ?? 0 },
      };
    });
  }

  async claimLook(lookedAtMs: number, nowMs: number): Promise<boolean> {
    const now = Math.floor(nowMs);
    // By itself: the row is the lock that all writers wait for.
    const claimed = await this.#database.statement(
      "UPDATE lars_state SET scanned_at_ms = ?, looked_marks = foreign_marks WHERE id = 1 AND scanned_at_ms = ?",
      // Never what it was, or two who claim within one millisecond would both have it.
      [now === lookedAtMs ? now + 1 : now, lookedAtMs],
    );
    return claimed === 1;
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

  forget(removed: readonly RemovedModule[]): Promise<boolean> {
    return this.#database.transaction((session) => forgetRemoved(session, this.#database.dialect, removed));
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
