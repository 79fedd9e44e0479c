// Many rows in few statements. Numbers go into the text as they are (they are integers, checked here), so that a
// statement of thousands of rows carries parameters for its texts only: binding them one by one cost more than the rest.
import type { SqlSession, SqlStatement, SqlValue } from "./sql-database.ts";

const MAX_ROWS = 5_000;
/** A server refuses a packet above its max_allowed_packet, 16 MiB at the least. In characters. */
const MAX_TEXT = 1_000_000;

/** A number as SQL text. Everything these tables hold is an integer; anything else is a bug upstream. */
function integer(value: number): string {
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(`expected an integer for SQL, got ${value}`);
  }
  return String(value);
}

/** `head` is all before VALUES, `tail` all after the rows. */
function* insertStatements(
  head: string,
  rows: Iterable<readonly SqlValue[]>,
  tail: string,
): IterableIterator<Required<SqlStatement>> {
  let text = "";
  let params: string[] = [];
  let count = 0;
  let size = 0;
  for (const row of rows) {
    const start = text.length;
    text += count === 0 ? "(" : ",(";
    for (let i = 0; i < row.length; i++) {
      const value = row[i]!;
      if (i > 0) text += ",";
      if (typeof value === "string") {
        text += "?";
        params.push(value);
        size += value.length;
      } else {
        text += integer(value);
      }
    }
    text += ")";
    count++;
    size += text.length - start;
    if (count < MAX_ROWS && size < MAX_TEXT) continue;
    yield { sql: `${head} VALUES ${text} ${tail}`, params };
    text = "";
    params = [];
    count = 0;
    size = 0;
  }
  if (count > 0) yield { sql: `${head} VALUES ${text} ${tail}`, params };
}

/** Returns the sum of the affected rows. */
export async function insertRows(
  session: SqlSession,
  head: string,
  rows: Iterable<readonly SqlValue[]>,
  tail = "",
): Promise<number> {
  let affected = 0;
  for (const { sql, params } of insertStatements(head, rows, tail)) affected += await session.run(sql, params);
  return affected;
}

/** As {@link insertRows}, without waiting ({@link SqlSession.post}). */
export async function postRows(
  session: SqlSession,
  head: string,
  rows: Iterable<readonly SqlValue[]>,
  tail = "",
): Promise<void> {
  for (const { sql, params } of insertStatements(head, rows, tail)) await session.post(sql, params);
}

/** At most `size` items at a time. */
export function* chunks<T>(items: readonly T[], size: number): IterableIterator<readonly T[]> {
  for (let i = 0; i < items.length; i += size) yield items.slice(i, i + size);
}
