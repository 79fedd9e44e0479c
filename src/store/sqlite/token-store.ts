// Access tokens in SQLite.
import { asc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/sqlite-proxy";
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
    return rows.map((row) => ({ ...row, role: row.role as TokenRecord["role"] }));
  }

  async insert(token: TokenRecord): Promise<boolean> {
    const { id, name, role, sha256, createdAtMs } = token;
    try {
      await this.#database.transaction((session) =>
        query(session).insert(larsToken).values({ id, name, role, sha256, createdAtMs }),
      );
      return true;
    } catch (error) {
      if (this.#database.dialect.isDuplicateKey(error)) return false;
      throw error;
    }
  }
}
