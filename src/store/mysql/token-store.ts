// Access tokens on MySQL.
import { and, asc, eq, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/mysql-proxy";
import { formatModulePatterns, parseModulePatterns } from "../../core/module-pattern.ts";
import type { TokenRecord, TokenStore, TokenUse } from "../route-store.ts";
import type { SqlDatabase, SqlSession, SqlValue } from "../sql/sql-database.ts";
import { larsToken } from "./schema.ts";

function query(session: SqlSession) {
  return drizzle(async (sql, params: SqlValue[], method) =>
    method === "all"
      ? { rows: await session.rows(sql, params) }
      : { rows: [{ affectedRows: await session.run(sql, params), insertId: 0 }] },
  );
}

export class MysqlTokenStore implements TokenStore {
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

  async remove(id: string, keepAdmin: boolean): Promise<"removed" | "missing" | "last-admin"> {
    return await this.#database.transaction(async (session) => {
      const admins = await query(session)
        .select({ id: larsToken.id })
        .from(larsToken)
        .where(eq(larsToken.role, "admin"))
        .orderBy(asc(larsToken.id))
        .for("update");
      if (keepAdmin && admins.length === 1 && admins[0]!.id === id) return "last-admin";
      const found = await query(session)
        .select({ id: larsToken.id })
        .from(larsToken)
        .where(eq(larsToken.id, id))
        .for("update");
      if (found.length === 0) return "missing";
      await query(session).delete(larsToken).where(eq(larsToken.id, id));
      return "removed";
    });
  }

  async noteUses(uses: readonly TokenUse[]): Promise<void> {
    if (uses.length === 0) return;
    // In one order everywhere, so that instances that write at once wait for each other instead of dead-locking.
    const ordered = [...uses].sort((a, b) => (a.id < b.id ? -1 : 1));
    await this.#database.transaction(async (session) => {
      for (const { id, atMs } of ordered) {
        await query(session)
          .update(larsToken)
          .set({ lastUsedMs: atMs })
          .where(and(eq(larsToken.id, id), lt(larsToken.lastUsedMs, atMs)));
      }
    });
  }
}
