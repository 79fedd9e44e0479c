// What the stores need of a database, and no more. The two dialects agree about nearly all the SQL the stores speak, so
// the stores are written once, against this port, in plain SQL; what differs (how to upsert, how to lock, how a
// transaction begins) stands behind it. A query builder's tables belong to one dialect each and would have meant every
// rule twice.

export type SqlValue = string | number;
export type SqlRow = readonly unknown[];

export interface SqlStatement {
  readonly sql: string;
  readonly params?: readonly SqlValue[];
}

export interface SqlSession {
  /** A query's rows, each an array in column order. `scan`: it looks at a whole table and may take longer. */
  rows<Row extends SqlRow>(sql: string, params?: readonly SqlValue[], scan?: boolean): Promise<Row[]>;
  /** The rows of several queries, asked one after another, in one round trip where there are any. */
  rowsOfAll(queries: readonly SqlStatement[]): Promise<SqlRow[][]>;
  /** A statement. Returns how many rows it inserted, deleted or found to update (even if nothing in them changed). */
  run(sql: string, params?: readonly SqlValue[]): Promise<number>;
  /**
   * A statement whose outcome nobody waits for: it goes with the next one that somebody does wait for, before it, and at
   * the latest with the COMMIT. Nothing of it fails silently: what comes after it fails in its place. What it says is
   * kept until then, so callers with very much to say await.
   */
  post(sql: string, params?: readonly SqlValue[]): Promise<void>;
  /**
   * As {@link post}, for what comes before anything else and is to take effect before the database has read the rest: a
   * lock for which others stand in line. `begun`: called when the database has begun with it, where that is told before
   * the end.
   */
  lead(sql: string, begun?: () => void): Promise<void>;
}

/** `set` replaces the column by the new row's value, `add` adds the new row's value to it. */
export type OnConflict = Readonly<Record<string, "set" | "add">>;

export interface SqlDialect {
  /** Appended to a SELECT whose rows are to stay as they are until the commit. */
  readonly forUpdate: string;
  readonly insertIgnore: string;
  /** It can mix a row's columns into a number and add those up, as table-sums.ts needs it. */
  readonly hasRowSums: boolean;
  /** Appended to an INSERT: what to do with a row whose key exists. */
  onConflict(key: readonly string[], columns: OnConflict): string;
  isDuplicateKey(error: unknown): boolean;
  /** A number came out larger than numbers are. */
  isOutOfRange(error: unknown): boolean;
}

/**
 * Whether an attempt that returned `result`, and whose COMMIT went unanswered, was made. Called at the beginning of the
 * transaction that repeats it. It must write something that the attempt wrote too: then, once this transaction commits,
 * the attempt cannot be made any more, on whatever node of a cluster it may still be waiting.
 */
export type WasMade<T> = (session: SqlSession, result: T) => Promise<boolean>;

export interface SqlDatabase {
  readonly dialect: SqlDialect;
  /** A transaction that only posts is one round trip; as far as is known. */
  readonly packsTransactions: boolean;
  /** Single statements, each on its own. */
  read<T>(work: (session: SqlSession) => Promise<T>): Promise<T>;
  /** Queries that all see one state of the database. */
  snapshot<T>(work: (session: SqlSession) => Promise<T>): Promise<T>;
  /**
   * Commits when `work` resolves, rolls back and rethrows when it throws. Repeats the whole of it after a deadlock and
   * when the node it ran on failed before the commit; with `wasMade`, also when it failed during the commit.
   * @throws StoreUnavailable; when that happened during the commit, it may have been made all the same
   */
  transaction<T>(work: (session: SqlSession) => Promise<T>, wasMade?: WasMade<T>): Promise<T>;
  /**
   * One statement that commits by itself: there is no moment at which its rows are locked and the database waits for
   * us, who may be cut off. Repeated after a deadlock and when the node failed, though not when it is only slow; it may have
   * been made by then, so it must come to the same when it is made twice. Returns how many rows it inserted, deleted or found to update.
   * @throws StoreUnavailable; it may have been made all the same
   */
  statement(sql: string, params?: readonly SqlValue[]): Promise<number>;
}
