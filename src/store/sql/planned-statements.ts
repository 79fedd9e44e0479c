// What a transaction will say, kept until it is said. A plan that was made without the lock is a list of statements and
// nothing else: so it can be sent again as it is, where it came too early and the database refused it.
import { NotForeseen } from "../route-store.ts";
import type { SqlSession, SqlStatement, SqlValue } from "./sql-database.ts";

function refuse(): never {
  throw new NotForeseen("what is in the tables must be read under the lock");
}

/** A session that keeps what is posted. It can be asked nothing. */
export class PlannedStatements implements SqlSession {
  readonly #leading: string[] = [];
  readonly #statements: SqlStatement[] = [];

  rows(): never {
    refuse();
  }

  rowsOfAll(): never {
    refuse();
  }

  run(): never {
    refuse();
  }

  async lead(sql: string): Promise<void> {
    this.#leading.push(sql);
  }

  async post(sql: string, params?: readonly SqlValue[]): Promise<void> {
    this.#statements.push(params === undefined ? { sql } : { sql, params });
  }

  /** As often as is needed. `begun`: as {@link SqlSession.lead} says. */
  async postTo(session: SqlSession, begun: () => void): Promise<void> {
    for (const sql of this.#leading) await session.lead(sql, begun);
    for (const { sql, params } of this.#statements) await session.post(sql, params);
  }
}
