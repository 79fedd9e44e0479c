// Brings a database's tables up to date, from the SQL files that drizzle-kit generated.
//
// drizzle's own runner assumes that it runs alone and that a migration happens as a whole. Neither holds: several
// instances start at once on one new database, and a MySQL server commits every ALTER by itself, so a process that dies
// half-way leaves half a migration. A lock would have to hold over a whole cluster and outlive its holder. Instead every
// statement may run twice: what says "exists already" was done, by us before or by another right now. That obliges
// whoever writes a migration to write statements for which it is true.
import { fileURLToPath } from "node:url";
import { readMigrationFiles } from "drizzle-orm/migrator";
import type { SqlDialect, SqlSession } from "./sql-database.ts";

const ATTEMPTS = 10;
const PAUSE_MS = 50;

export interface MigrationOptions {
  /** Where drizzle-kit put the SQL files of this dialect. */
  readonly folder: URL;
  /** Creates drizzle's journal table where it is missing. */
  readonly journal: string;
  readonly isDoneAlready: (error: unknown) => boolean;
  /** A deadlock, with another instance that migrates. */
  readonly isRepeatable: (error: unknown) => boolean;
}

async function runStatement(session: SqlSession, sql: string, options: MigrationOptions): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await session.run(sql);
      return;
    } catch (error) {
      if (options.isDoneAlready(error)) return;
      if (attempt >= ATTEMPTS || !options.isRepeatable(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * attempt * (0.5 + Math.random())));
    }
  }
}

export async function runMigrations(
  session: SqlSession,
  dialect: SqlDialect,
  options: MigrationOptions,
): Promise<void> {
  const migrations = readMigrationFiles({ migrationsFolder: fileURLToPath(options.folder).replace(/[\\/]$/, "") });
  await runStatement(session, options.journal, options);
  const journal = await session.rows<[number | null]>("SELECT MAX(created_at) FROM __drizzle_migrations");
  const last = journal[0]?.[0] ?? -1;
  for (const { sql, hash, folderMillis } of migrations) {
    if (folderMillis <= last) continue;
    for (const statement of sql) if (statement.trim() !== "") await runStatement(session, statement, options);
    await runStatement(
      session,
      `INSERT INTO __drizzle_migrations (hash, created_at) SELECT '${hash}', ${folderMillis} FROM (SELECT 1 AS one) AS once` +
        ` WHERE NOT EXISTS (SELECT 1 FROM __drizzle_migrations WHERE created_at = ${folderMillis})`,
      options,
    );
  }
  await runStatement(session, `${dialect.insertIgnore} INTO RouteVersion (id, version) VALUES (1, 0)`, options);
  for (const table of ["lars_state", "lars_lease_clock"]) {
    await runStatement(session, `${dialect.insertIgnore} INTO ${table} (id) VALUES (1)`, options);
  }
}
