// Leases outside of the writers' line: the lease clock, renewals, and what people ask. Only expires_ms is ever written
// here, and only forward, so that two instances that renew one lease in any order leave the later of both.
import type { Lease, Place } from "../../core/lease.ts";
import type { LeaseClockReading, LeaseQuery, LeaseStore, Strays } from "../lease-store.ts";
import { idConditions, leasesById, readLeases } from "./lease-rows.ts";
import type { SqlDatabase } from "./sql-database.ts";

export class SqlLeaseStore implements LeaseStore {
  readonly #database: SqlDatabase;

  constructor(database: SqlDatabase) {
    this.#database = database;
  }

  async clock(): Promise<LeaseClockReading> {
    const rows = await this.#database.read((session) =>
      session.rows<[number, number, number | null]>(
        "SELECT clock_ms, tick, (SELECT MIN(expires_ms) FROM lars_registration) FROM lars_lease_clock WHERE id = 1",
      ),
    );
    const row = rows[0];
    if (row === undefined)
      throw new Error("lars_lease_clock has no row: the database was not migrated; migrate it first");
    const [clockMs, tick, earliest] = row;
    return { clockMs, tick, earliestMs: earliest ?? undefined };
  }

  async advance(tick: number, byMs: number, owner: string): Promise<boolean> {
    const moved = await this.#database.statement(
      "UPDATE lars_lease_clock SET clock_ms = clock_ms + ?, tick = tick + 1, owner = ? WHERE id = 1 AND tick = ?",
      [Math.floor(byMs), owner, tick],
    );
    return moved === 1;
  }

  async renew(ids: readonly string[], fromMs: number): Promise<number> {
    const from = Math.floor(fromMs);
    let found = 0;
    // Each by itself: an instance that is cut off between a statement and its COMMIT would keep everybody else from
    // renewing these leases until they are over.
    for (const [condition, params] of idConditions(ids)) {
      found += await this.#database.statement(
        "UPDATE lars_registration SET expires_ms = CASE WHEN expires_ms < ttl_ms + ? THEN ttl_ms + ? ELSE expires_ms END" +
          ` WHERE ${condition}`,
        [from, from, ...params],
      );
    }
    return found;
  }

  find(ids: readonly string[]): Promise<readonly Lease[]> {
    return this.#database.read((session) => leasesById(session, ids));
  }

  async over(clockMs: number, limit: number): Promise<readonly string[]> {
    const rows = await this.#database.read((session) =>
      session.rows<[string]>(
        `SELECT id FROM lars_registration WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ${Math.floor(limit)}`,
        [Math.floor(clockMs)],
      ),
    );
    return rows.map(([id]) => id);
  }

  list({ modid, cmdid, after, limit }: LeaseQuery): Promise<readonly Lease[]> {
    const terms = ["id > ?"];
    const params: (string | number)[] = [after ?? ""];
    if (modid !== undefined) {
      terms.push("modid = ?");
      params.push(modid >>> 0);
    }
    if (cmdid !== undefined) {
      terms.push("cmdid = ?");
      params.push(cmdid >>> 0);
    }
    const condition = `WHERE ${terms.join(" AND ")} ORDER BY id LIMIT ${Math.floor(limit)}`;
    return this.#database.read((session) => readLeases(session, condition, params));
  }

  strays(limit: number): Promise<Strays> {
    const most = Math.floor(limit);
    const on = "r.modid = h.modid AND r.cmdid = h.cmdid AND r.ip = h.ip AND r.port = h.port";
    return this.#database.snapshot(async (session) => {
      const hosts = await session.rows<[number, number, number, number]>(
        `SELECT h.modid, h.cmdid, h.ip, h.port FROM lars_host h LEFT JOIN lars_registration r ON ${on}` +
          ` WHERE h.leased = 1 AND r.id IS NULL LIMIT ${most}`,
        [],
        true,
      );
      const ids = await session.rows<[string]>(
        `SELECT r.id FROM lars_registration r LEFT JOIN lars_host h ON ${on} WHERE h.ip IS NULL LIMIT ${most}`,
        [],
        true,
      );
      const count = await session.rows<[number]>("SELECT COUNT(*) FROM lars_registration", [], true);
      const places: Place[] = hosts.map(([modid, cmdid, ip, port]) => ({
        modid: modid | 0,
        cmdid: cmdid | 0,
        ip: ip | 0,
        port,
      }));
      return { hosts: places, ids: ids.map(([id]) => id), count: count[0]?.[0] ?? 0 };
    });
  }
}
