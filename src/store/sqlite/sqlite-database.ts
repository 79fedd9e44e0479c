// The port of src/store/sql/sql-database.ts on an SQLite file, which several processes share (dns and report).
//
// Two connections, one that writes and one that reads: in WAL mode a reader then never sees, and never waits for, a
// transaction that is open. Each is used by one caller at a time. SQLite waits for another process's lock by blocking
// the thread, and if the lock is held by this very thread (another store, awaiting something) that wait never ends; so
// the writer asks for its lock without waiting and comes back later instead.
import { Database, type SQLQueryBindings } from "bun:sqlite";
import { StoreUnavailable } from "../route-store.ts";
import type { OnConflict, SqlDatabase, SqlDialect, SqlRow, SqlSession, SqlValue } from "../sql/sql-database.ts";
import { Mutex } from "./mutex.ts";

/** How long to wait for another process's transaction. */
const BUSY_TIMEOUT_MS = 5_000;
const MAX_PAUSE_MS = 20;
/** Statements up to this length are worth keeping prepared: they come again word for word. */
const CACHED_LENGTH = 400;

const SQLITE_BUSY = 5;
/** SQLite's primary result codes that say the file does not serve now: busy, locked, read-only, I/O, full, cannot open. */
const UNAVAILABLE = new Set([5, 6, 8, 10, 13, 14]);

function errnoOf(error: unknown): number {
  const errno = (rootError(error) as { errno?: unknown }).errno;
  return typeof errno === "number" ? errno : 0;
}

function rootError(error: unknown): unknown {
  let root = error;
  while (root instanceof Error && !(root instanceof StoreUnavailable) && root.cause instanceof Error) root = root.cause;
  return root;
}

/** SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE. */
function isDuplicateKey(error: unknown): boolean {
  return errnoOf(error) === 1555 || errnoOf(error) === 2067;
}

export const SQLITE: SqlDialect = {
  forUpdate: "",
  insertIgnore: "INSERT OR IGNORE",
  hasRowSums: false,
  onConflict: (key: readonly string[], columns: OnConflict) =>
    `ON CONFLICT (${key.join(", ")}) DO UPDATE SET ${Object.entries(columns)
      .map(([column, how]) =>
        how === "add" ? `${column} = ${column} + excluded.${column}` : `${column} = excluded.${column}`,
      )
      .join(", ")}`,
  isDuplicateKey,
  isOutOfRange: () => false,
};

function toStoreError(error: unknown, path: string): unknown {
  const root = rootError(error);
  if (root instanceof StoreUnavailable || !UNAVAILABLE.has(errnoOf(root) & 0xff)) return root;
  return new StoreUnavailable(`the database file ${path} does not serve: ${(root as Error).message}`, { cause: root });
}

function sessionOn(database: Database): SqlSession {
  const session: SqlSession = {
    async rows<Row extends SqlRow>(sql: string, params: readonly SqlValue[] = []): Promise<Row[]> {
      if (sql.length <= CACHED_LENGTH)
        return database.query(sql).values(...(params as SQLQueryBindings[])) as unknown as Row[];
      using statement = database.prepare(sql);
      return statement.values(...(params as SQLQueryBindings[])) as unknown as Row[];
    },
    async run(sql: string, params: readonly SqlValue[] = []): Promise<number> {
      if (sql.length <= CACHED_LENGTH) return database.query(sql).run(...(params as SQLQueryBindings[])).changes;
      using statement = database.prepare(sql);
      return statement.run(...(params as SQLQueryBindings[])).changes;
    },
    // There is no way to save.
    async rowsOfAll(queries) {
      const all: SqlRow[][] = [];
      for (const { sql, params } of queries) all.push(await session.rows(sql, params));
      return all;
    },
    async post(sql, params) {
      await session.run(sql, params);
    },
    async lead(sql) {
      await session.run(sql);
    },
  };
  return session;
}

export class SqliteDatabase implements SqlDatabase {
  readonly dialect = SQLITE;
  /** There is no way to save. */
  readonly packsTransactions = false;
  readonly #path: string;
  readonly #writer: Database;
  readonly #reader: Database;
  readonly #writing = new Mutex();
  readonly #reading = new Mutex();
  #closed = false;

  /** @throws StoreUnavailable when the file cannot be opened */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#writer = openFile(path);
      this.#writer.run("PRAGMA synchronous = FULL");
      this.#writer.run("PRAGMA busy_timeout = 0");
      this.#reader = openFile(path);
      this.#reader.run("PRAGMA query_only = ON");
    } catch (error) {
      throw toStoreError(error, path);
    }
  }

  read<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#reading.run(() => this.#guard(() => work(sessionOn(this.#reader))));
  }

  snapshot<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#reading.run(() => this.#guard(() => inTransaction(this.#reader, "BEGIN", work)));
  }

  transaction<T>(work: (session: SqlSession) => Promise<T>): Promise<T> {
    return this.#writing.run(() =>
      this.#guard(async () => {
        await this.#lock();
        return inTransaction(this.#writer, undefined, work);
      }),
    );
  }

  statement(sql: string, params?: readonly SqlValue[]): Promise<number> {
    return this.transaction((session) => session.run(sql, params));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#reading.run(async () => this.#reader.close());
    await this.#writing.run(async () => this.#writer.close());
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new StoreUnavailable("the database was closed");
    try {
      return await work();
    } catch (error) {
      throw toStoreError(error, this.#path);
    }
  }

  async #lock(): Promise<void> {
    const deadline = performance.now() + BUSY_TIMEOUT_MS;
    for (let pause = 1; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
      try {
        this.#writer.run("BEGIN IMMEDIATE");
        return;
      } catch (error) {
        if ((errnoOf(error) & 0xff) !== SQLITE_BUSY || performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
      }
    }
  }
}

function openFile(path: string): Database {
  const database = new Database(path, { create: true, readwrite: true, strict: true });
  database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  useWal(database);
  return database;
}

/** Of processes that open a new file at once, one changes its mode; SQLite tells the others "locked" without waiting. */
function useWal(database: Database): void {
  const deadline = performance.now() + BUSY_TIMEOUT_MS;
  for (;;) {
    try {
      database.run("PRAGMA journal_mode = WAL");
      return;
    } catch (error) {
      if ((errnoOf(error) & 0xff) !== SQLITE_BUSY || performance.now() >= deadline) throw error;
      // Nothing else is going on: the file is being opened.
      Bun.sleepSync(1 + Math.random() * MAX_PAUSE_MS);
    }
  }
}

async function inTransaction<T>(
  database: Database,
  begin: string | undefined,
  work: (session: SqlSession) => Promise<T>,
): Promise<T> {
  if (begin !== undefined) database.run(begin);
  try {
    const result = await work(sessionOn(database));
    database.run("COMMIT");
    return result;
  } catch (error) {
    if (database.inTransaction) database.run("ROLLBACK");
    throw error;
  }
}
