// The port of src/store/sql/sql-database.ts on a MySQL-protocol server. Runs on any JavaScript server runtime: it needs
// mysql2 and nothing else.
import type { Connection, ResultSetHeader } from "mysql2/promise";
import { describeTarget, type MysqlTarget } from "../database-url.ts";
import type { OnConflict, SqlDatabase, SqlDialect, SqlRow, SqlSession, SqlValue } from "../sql/sql-database.ts";
import { ConnectionPool, type PoolOptions } from "./connection-pool.ts";
import { breaksConnection, isDuplicateKey, isRepeatable, toStoreError } from "./failure.ts";

const ATTEMPTS = 8;
/** Grows by itself with each attempt; jittered, so that those who met do not meet again. In milliseconds. */
const BACKOFF_MS = 10;

export const MYSQL: SqlDialect = {
  forUpdate: " FOR UPDATE",
  insertIgnore: "INSERT IGNORE",
  // VALUES() is deprecated on MySQL 8, but MariaDB does not know the alias that replaces it.
  onConflict: (_key: readonly string[], columns: OnConflict) =>
    `ON DUPLICATE KEY UPDATE ${Object.entries(columns)
      .map(([column, how]) =>
        how === "add" ? `${column} = ${column} + VALUES(${column})` : `${column} = VALUES(${column})`,
      )
      .join(", ")}`,
  isDuplicateKey,
};

export interface MysqlOptions extends PoolOptions {
  readonly scanTimeoutMs: number;
}

function sessionOn(connection: Connection, timeout: number, scanTimeout: number): SqlSession {
  return {
    async rows<Row extends SqlRow>(sql: string, params: readonly SqlValue[] = [], scan = false): Promise<Row[]> {
      const [rows] = await connection.query({
        sql,
        values: params as SqlValue[],
        rowsAsArray: true,
        timeout: scan ? scanTimeout : timeout,
      });
      return rows as unknown as Row[];
    },
    async run(sql: string, params: readonly SqlValue[] = []): Promise<number> {
      const [result] = await connection.query({ sql, values: params as SqlValue[], timeout });
      return (result as ResultSetHeader).affectedRows;
    },
  };
}

export class MysqlDatabase implements SqlDatabase {
  readonly dialect = MYSQL;
  readonly #pool: ConnectionPool;
  readonly #options: MysqlOptions;
  readonly #where: string;

  constructor(target: MysqlTarget, options: MysqlOptions) {
    this.#pool = new ConnectionPool(target, options);
    this.#options = options;
    this.#where = describeTarget(target);
  }

  read<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#use((_connection, session) => work(session));
  }

  snapshot<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#use(async (connection, session) => {
      await this.#say(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      await this.#say(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
      const result = await work(session);
      await this.#say(connection, "COMMIT");
      return result;
    });
  }

  async transaction<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    const deadline = performance.now() + 2 * this.#options.queryTimeoutMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#use(
          async (connection, session) => {
            await this.#say(connection, "START TRANSACTION");
            const result = await work(session);
            await this.#say(connection, "COMMIT");
            return result;
          },
          attempt < ATTEMPTS && performance.now() < deadline,
        );
      } catch (error) {
        if (attempt >= ATTEMPTS || !isRepeatable(error)) throw error;
        const pause = BACKOFF_MS * attempt * (0.5 + Math.random());
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  /** Statements on a connection of their own, each of which may take `timeoutMs`. */
  async dedicated<T>(timeoutMs: number, work: (session: SqlSession) => Promise<T>): Promise<T> {
    let connection: Connection | undefined;
    try {
      connection = await this.#pool.dedicated();
      return await work(sessionOn(connection, timeoutMs, timeoutMs));
    } catch (error) {
      throw toStoreError(error, this.#where);
    } finally {
      connection?.destroy();
    }
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  #say(connection: Connection, sql: string): Promise<unknown> {
    return connection.query({ sql, timeout: this.#options.queryTimeoutMs });
  }

  /** `repeats`: an error that asks for a repetition is thrown as it is. */
  async #use<T>(work: (connection: Connection, session: SqlSession) => Promise<T>, repeats = false): Promise<T> {
    const connection = await this.#pool.acquire();
    const { queryTimeoutMs, scanTimeoutMs } = this.#options;
    try {
      const result = await work(connection, sessionOn(connection, queryTimeoutMs, scanTimeoutMs));
      this.#pool.release(connection, false);
      return result;
    } catch (error) {
      const storeError = repeats && isRepeatable(error) ? error : toStoreError(error, this.#where);
      // ROLLBACK is also right where no transaction is open. Where it fails, so has the connection.
      const broken =
        breaksConnection(error) ||
        (await this.#say(connection, "ROLLBACK").then(
          () => false,
          () => true,
        ));
      this.#pool.release(connection, broken);
      throw storeError;
    }
  }
}
