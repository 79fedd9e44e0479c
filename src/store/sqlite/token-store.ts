// Access tokens in SQLite.
import { asc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/sqlite-proxy";
import { formatModulePatterns, parseModulePatterns } from "../../core/module-pattern.ts";
import type { TokenRecord, TokenStore } from "../route-store.ts";
import type { SqlDatabase, SqlSession, SqlValue } from "../sql/sql-database.ts";
import { larsToken } from "./schema.ts";

function query(session: SqlSession) {
  return drizzle(async (sql, params: SqlValue[], method) => {
    if (method !== "run") return { rows: await session.rows(sql, params) };
    await session.run(sql, params);
    return { rows: [] };
  });
}

export class SqliteTokenStore implements TokenStore {
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  async list(): Promise<readonly TokenRecord[]> {
    const rows = await this.#database.read((session) =>
      query(session).select().from(larsToken).orderBy(asc(larsToken.id)),
    );
    return rows.map(({ modules, lastUsedMs, role, ...row }) => ({
      ...row,
      role: role as TokenRecord["role"],
      modules: parseModulePatterns(modules),
      lastUsedAtMs: lastUsedMs === 0 ? undefined : lastUsedMs,
    }));
  }

  async insert(token: TokenRecord): Promise<boolean> {
    const { modules, lastUsedAtMs, ...columns } = token;
    const row = { ...columns, modules: formatModulePatterns(modules), lastUsedMs: lastUsedAtMs ?? 0 };
    try {
      await this.#database.transaction((session) => query(session).insert(larsToken).values(row));
      return true;
    } catch (error) {
      if (this.#database.dialect.isDuplicateKey(error)) return false;
      throw error;
    }
  }
}
