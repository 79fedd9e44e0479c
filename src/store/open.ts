// Opens the database a URL names. The two dialects are imported when they are needed: bun:sqlite exists on Bun alone,
// and a process on MySQL runs on any JavaScript server runtime.
import type { Database, DatabaseOptions } from "./database.ts";
import { parseDatabaseUrl } from "./database-url.ts";

/**
 * A MySQL server need not be up yet; an SQLite file is created when it does not exist.
 * @throws DatabaseUrlError when the URL is malformed
 * @throws StoreUnavailable when an SQLite file cannot be opened
 */
export async function openDatabase(url: string, options: DatabaseOptions = {}): Promise<Database> {
  const target = parseDatabaseUrl(url);
  if (target.dialect === "mysql") {
    const { openMysql } = await import("./mysql/open.ts");
    return openMysql(target, options);
  }
  const { openSqlite } = await import("./sqlite/open.ts");
  return openSqlite(target.path, options);
}
