// Migrates a database on a MySQL-protocol server. Apart from open.ts, because it reads files.
import { runMigrations } from "../sql/migrate.ts";
import { makeTablesAdoptable } from "./adoptable-tables.ts";
import { isRepeatable, rootError } from "./failure.ts";
import { MYSQL, type MysqlDatabase } from "./mysql-database.ts";

/** An ALTER rewrites the whole of an old table. */
const STATEMENT_TIMEOUT_MS = 30 * 60_000;

/** Table exists, column exists, key name exists, nothing there to drop, a row of that key exists. */
const DONE_ALREADY = new Set([1050, 1060, 1061, 1091]);

/** A cluster stops whatever stands in the way of a table being altered, also another's altering of it. */
const INTERRUPTED = 1317;

function errnoOf(error: unknown): number {
  return (rootError(error) as { errno?: number }).errno ?? 0;
}

/** @throws UnfitTables when an existing table cannot be worked with on this server */
export function migrateMysql(database: MysqlDatabase): Promise<void> {
  return database.dedicated(STATEMENT_TIMEOUT_MS, async (session) => {
    await makeTablesAdoptable(session);
    await runMigrations(session, MYSQL, {
      folder: new URL("../../../drizzle/mysql/", import.meta.url),
      journal:
        "CREATE TABLE IF NOT EXISTS `__drizzle_migrations` (`id` serial PRIMARY KEY, `hash` text NOT NULL, `created_at` bigint) ENGINE=InnoDB",
      isDoneAlready: (error) => DONE_ALREADY.has(errnoOf(error)),
      isRepeatable: (error) => isRepeatable(error) || errnoOf(error) === INTERRUPTED,
    });
  });
}
