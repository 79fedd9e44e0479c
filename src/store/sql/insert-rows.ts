// Many rows in few statements. Numbers go into the text as they are (they are integers, checked here), so that a
// statement of thousands of rows carries parameters for its texts only: binding them one by one cost more than the rest.
import type { SqlSession, SqlValue } from "./sql-database.ts";

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

/** `head` is all before VALUES, `tail` all after the rows. Returns the sum of the affected rows. */
export async function insertRows(
  session: SqlSession,
  head: string,
  rows: Iterable<readonly SqlValue[]>,
  tail = "",
): Promise<number> {
  let affected = 0;
  let texts: string[] = [];
  let params: string[] = [];
  let size = 0;
  const flush = async () => {
    if (texts.length === 0) return;
    affected += await session.run(`${head} VALUES ${texts.join(",")} ${tail}`, params);
    texts = [];
    params = [];
    size = 0;
  };
  for (const row of rows) {
    let text = "(";
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
    texts.push(`${text})`);
    size += text.length;
    if (texts.length >= MAX_ROWS || size >= MAX_TEXT) await flush();
  }
  await flush();
  return affected;
}

/** At most `size` items at a time. */
export function* chunks<T>(items: readonly T[], size: number): IterableIterator<readonly T[]> {
  for (let i = 0; i < items.length; i += size) yield items.slice(i, i + size);
}
