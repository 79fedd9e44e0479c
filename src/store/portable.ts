// The database for a process that is no Bun process: a fetch handler on Node, Deno or a serverless platform. SQLite is
// Bun's own and stays out; the tables are made beforehand (a dns or report process does it as it starts).
import type { Database, DatabaseOptions } from "./database.ts";
import { DatabaseUrlError, parseDatabaseUrl } from "./database-url.ts";
import { openMysql } from "./mysql/open.ts";

/** @throws DatabaseUrlError when the URL is malformed or names an SQLite file */
export async function openPortableDatabase(url: string, options: DatabaseOptions = {}): Promise<Database> {
  const target = parseDatabaseUrl(url);
  if (target.dialect === "sqlite") {
    throw new DatabaseUrlError(
      "a fetch handler needs a mysql:// database: an SQLite file has one machine's Bun processes only",
    );
  }
  return await openMysql(target, options);
}
