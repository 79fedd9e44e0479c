// The port of src/store/sql/sql-database.ts on a MySQL-protocol server. Runs on any JavaScript server runtime: it needs
// mysql2 and nothing else.
//
// A cluster fails a transaction in ways a single server does not: it refuses at COMMIT what met another node's write
// (nothing was made: once more), and a node may go down under it. Before COMMIT was sent nothing can have been made: once
// more, on whatever node then serves. When the answer to COMMIT is lost, it was made or not; the repetition looks first,
// in a transaction that conflicts with the lost one, so that the two cannot both be made.
import type { Connection } from "mysql2/promise";
import { describeTarget, type MysqlTarget } from "../database-url.ts";
import type { OnConflict, SqlDatabase, SqlDialect, SqlSession, SqlValue, WasMade } from "../sql/sql-database.ts";
import { ConnectionPool, type PoolOptions } from "./connection-pool.ts";
import {
  breaksConnection,
  isDuplicateKey,
  isNodeFailure,
  isOutOfRange,
  isRepeatable,
  isTimeout,
  leavesCommitOpen,
  toStoreError,
} from "./failure.ts";
import { MysqlSession } from "./mysql-session.ts";

/**
 * Grows by itself with each attempt; jittered, so that those who met do not meet again. In milliseconds. How long to go on
 * is a matter of time and not of attempts: while instances move between nodes one after the other, their writers meet
 * at two nodes, and one of two is refused each time.
 */
const BACKOFF_MS = 10;
const MAX_BACKOFF_MS = 250;

export const MYSQL: SqlDialect = {
  forUpdate: " FOR UPDATE",
  insertIgnore: "INSERT IGNORE",
  hasRowSums: true,
  // VALUES() is deprecated on MySQL 8, but MariaDB does not know the alias that replaces it.
  onConflict: (_key: readonly string[], columns: OnConflict) =>
    `ON DUPLICATE KEY UPDATE ${Object.entries(columns)
      .map(([column, how]) =>
        how === "add" ? `${column} = ${column} + VALUES(${column})` : `${column} = VALUES(${column})`,
      )
      .join(", ")}`,
  isDuplicateKey,
  isOutOfRange,
};

export interface MysqlOptions extends PoolOptions {
  readonly scanTimeoutMs: number;
}

/** What happened to one attempt. `open`: the result that may have been committed although the COMMIT failed. */
type Attempt<T> =
  | { readonly done: true; readonly result: T }
  | { readonly done: false; readonly error: unknown; readonly again: boolean; readonly open?: { readonly result: T } };

export class MysqlDatabase implements SqlDatabase {
  readonly dialect = MYSQL;
  readonly #pool: ConnectionPool;
  readonly #options: MysqlOptions;
  readonly #where: string;
  #packs = false;

  constructor(target: MysqlTarget, options: MysqlOptions) {
    this.#pool = new ConnectionPool(target, options);
    this.#options = options;
    this.#where = describeTarget(target);
  }

  get packsTransactions(): boolean {
    return this.#packs;
  }

  read<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#reading(work);
  }

  snapshot<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#reading(async (session) => {
      session.prepare("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      session.prepare("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
      const result = await work(session);
      await session.say("COMMIT");
      return result;
    });
  }

  async transaction<T>(work: (session: SqlSession) => Promise<T>, wasMade?: WasMade<T>): Promise<T> {
    /** Of attempts whose COMMIT went unanswered. */
    const open: T[] = [];
    return this.#repeating(2 * this.#options.queryTimeoutMs, open, async () => {
      const outcome = await this.#attempt(open, work, wasMade);
      if (!outcome.done && outcome.open !== undefined) open.push(outcome.open.result);
      return outcome;
    });
  }

  statement(sql: string, params?: readonly SqlValue[]): Promise<number> {
    return this.#reading((session) => session.run(sql, params), true);
  }

  /** Statements on a connection of their own, each of which may take `timeoutMs`. */
  async dedicated<T>(timeoutMs: number, work: (session: SqlSession) => Promise<T>): Promise<T> {
    let connection: Connection | undefined;
    try {
      connection = await this.#pool.dedicated();
      return await work(new MysqlSession(connection, timeoutMs, timeoutMs, "file"));
    } catch (error) {
      throw toStoreError(error, this.#where);
    } finally {
      connection?.destroy();
    }
  }

  /** host:port of the node in use; undefined: none is. */
  get node(): string | undefined {
    return this.#pool.node;
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  /** Tries until it is done, may not be repeated, or took too long. `open` not empty: waits for a connection too. */
  async #repeating<T>(forMs: number, open: readonly unknown[], attempt: () => Promise<Attempt<T>>): Promise<T> {
    const deadlineMs = performance.now() + forMs;
    for (let count = 1; ; count++) {
      let outcome: Attempt<T>;
      try {
        outcome = await attempt();
      } catch (error) {
        // There is no connection. Who asks waits for one only to learn what became of a COMMIT.
        outcome = { done: false, error, again: open.length > 0 };
      }
      if (outcome.done) return outcome.result;
      if (!outcome.again || performance.now() >= deadlineMs) throw toStoreError(outcome.error, this.#where);
      const pause = Math.min(BACKOFF_MS * count, MAX_BACKOFF_MS) * (0.5 + Math.random());
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** `mayWriteTwice`: what it wrote does not keep it from being repeated. */
  #reading<T>(work: (session: MysqlSession) => Promise<T>, mayWriteTwice = false): Promise<T> {
    return this.#repeating(this.#options.queryTimeoutMs, [], async () => {
      let wrote = false;
      const outcome = await this.#use(async (session) => {
        try {
          const result = await work(session);
          await session.flush();
          return result;
        } finally {
          wrote = session.wrote;
        }
      });
      if (outcome.done) return outcome;
      const { error, onCurrent } = outcome;
      // A query that takes too long does so wherever it runs, unless it was the node. A write may have waited for a lock.
      const again = (isNodeFailure(error) && !(isTimeout(error) && onCurrent)) || isRepeatable(error);
      return { done: false, error, again: again && (mayWriteTwice || !wrote) };
    });
  }

  async #attempt<T>(
    open: readonly T[],
    work: (session: SqlSession) => Promise<T>,
    wasMade: WasMade<T> | undefined,
  ): Promise<Attempt<T>> {
    let committing: { readonly result: T } | undefined;
    const outcome = await this.#use(async (session) => {
      session.prepare("START TRANSACTION");
      for (const earlier of open) {
        if (await wasMade!(session, earlier)) {
          await session.say("ROLLBACK");
          return earlier;
        }
      }
      const result = await work(session);
      // What was posted goes with it; whether it failed there or at the COMMIT cannot be told.
      committing = { result };
      await session.say("COMMIT");
      return result;
    });
    if (outcome.done) return outcome;
    const { error } = outcome;
    if (committing === undefined || !leavesCommitOpen(error)) {
      return { done: false, error, again: isNodeFailure(error) || isRepeatable(error) };
    }
    return { done: false, error, again: wasMade !== undefined, ...(wasMade === undefined ? {} : { open: committing }) };
  }

  /** @throws StoreUnavailable when there is no connection; what the work failed with is in the answer */
  async #use<T>(
    work: (session: MysqlSession) => Promise<T>,
  ): Promise<{ done: true; result: T } | { done: false; error: unknown; onCurrent: boolean }> {
    const connection = await this.#pool.acquire();
    const { queryTimeoutMs, scanTimeoutMs } = this.#options;
    const { replicates, takesBlocks } = this.#pool.stateOf(connection);
    this.#packs = !replicates;
    const packets = replicates ? "apart" : takesBlocks ? "block" : "together";
    const session = new MysqlSession(connection, queryTimeoutMs, scanTimeoutMs, packets);
    try {
      const result = await work(session);
      this.#pool.release(connection, false);
      return { done: true, result };
    } catch (error) {
      session.forget();
      // ROLLBACK is also right where no transaction is open. Where it fails, so has the connection.
      const broken =
        breaksConnection(error) ||
        (await session.say("ROLLBACK").then(
          () => false,
          () => true,
        ));
      this.#pool.release(connection, broken, error);
      return { done: false, error, onCurrent: this.#pool.leadsToCurrent(connection) };
    }
  }
}
