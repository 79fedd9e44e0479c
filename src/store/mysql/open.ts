// The database on a MySQL-protocol server. Portable: the migration, which reads files, is loaded when it is asked for.
import type { Database, DatabaseOptions } from "../database.ts";
import type { MysqlTarget } from "../database-url.ts";
import { SqlLeaseStore } from "../sql/lease-store.ts";
import { SqlReportStore } from "../sql/report-store.ts";
import { SqlRouteStore } from "../sql/route-store.ts";
import { MysqlDatabase } from "./mysql-database.ts";
import { MysqlTokenStore } from "./token-store.ts";

/** Connects when it is first used: the server need not be up. */
export async function openMysql(target: MysqlTarget, options: DatabaseOptions = {}): Promise<Database> {
  const database = new MysqlDatabase(target, {
    connections: options.connections ?? 8,
    connectTimeoutMs: options.connectTimeoutMs ?? 2_000,
    queryTimeoutMs: options.queryTimeoutMs ?? 5_000,
    onMove: options.onMove,
    scanTimeoutMs: options.scanTimeoutMs ?? 60_000,
    tlsCa: options.tlsCa,
  });
  return {
    dialect: "mysql",
    routes: new SqlRouteStore(database),
    leases: new SqlLeaseStore(database),
    tokens: new MysqlTokenStore(database),
    reports: new SqlReportStore(database, options.now ?? Date.now),
    async migrate() {
      const { migrateMysql } = await import("./migrate.ts");
      await migrateMysql(database);
    },
    async ping() {
      await database.read((session) => session.rows("SELECT 1"));
    },
    close: () => database.close(),
  };
}
