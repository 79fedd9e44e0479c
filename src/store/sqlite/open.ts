// The database in an SQLite file, embedded: no server to run, one machine's processes share it.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Database, DatabaseOptions } from "../database.ts";
import { StoreUnavailable } from "../route-store.ts";
import { SqlLeaseStore } from "../sql/lease-store.ts";
import { runMigrations } from "../sql/migrate.ts";
import { SqlReportStore } from "../sql/report-store.ts";
import { SqlRouteStore } from "../sql/route-store.ts";
import { SQLITE, SqliteDatabase } from "./sqlite-database.ts";
import { SqliteTokenStore } from "./token-store.ts";

/**
 * Creates the file, and the folders to it, when they do not exist.
 * @throws StoreUnavailable when it cannot be opened
 */
export async function openSqlite(path: string, options: Pick<DatabaseOptions, "now"> = {}): Promise<Database> {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (cause) {
    throw new StoreUnavailable(`the folder of the database file ${path} cannot be made: ${(cause as Error).message}`, {
      cause,
    });
  }
  const database = new SqliteDatabase(path);
  return {
    dialect: "sqlite",
    routes: new SqlRouteStore(database),
    leases: new SqlLeaseStore(database),
    tokens: new SqliteTokenStore(database),
    reports: new SqlReportStore(database, options.now ?? Date.now),
    async migrate() {
      await database.transaction((session) =>
        runMigrations(session, SQLITE, {
          folder: new URL("../../../drizzle/sqlite/", import.meta.url),
          journal:
            "CREATE TABLE IF NOT EXISTS `__drizzle_migrations` (`id` integer PRIMARY KEY AUTOINCREMENT, `hash` text NOT NULL, `created_at` numeric)",
          isDoneAlready: (error) => /already exists|duplicate column name/.test((error as Error).message),
          isRepeatable: () => false,
        }),
      );
    },
    async ping() {
      await database.read((session) => session.rows("SELECT 1"));
    },
    close: () => database.close(),
  };
}
