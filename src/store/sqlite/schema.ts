// The tables in an SQLite file, row for row those of src/store/mysql/schema.ts (which says what they are for), so that
// one implementation of the store serves both. SQLite's integers have 64 bits; numbers are unsigned where MySQL's are,
// which keeps the sort order the same. drizzle-kit generates drizzle/sqlite from this file.
import { index, integer, primaryKey, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import type * as mysql from "../mysql/schema.ts";

const rowId = () => integer().primaryKey({ autoIncrement: true });
const uint = () => integer().notNull();

export const routeData = sqliteTable(
  "RouteData",
  {
    id: rowId(),
    modid: uint(),
    cmdid: uint(),
    serverip: uint(),
    serverport: uint(),
    weight: uint().default(100),
    zone: text().notNull().default(""),
    state: text().notNull().default("up"),
  },
  (t) => [index("lars_route_data_endpoint").on(t.modid, t.cmdid, t.serverip, t.serverport)],
);

export const routeVersion = sqliteTable("RouteVersion", { id: rowId(), version: uint() });

export const routeChange = sqliteTable("RouteChange", { id: rowId(), modid: uint(), cmdid: uint(), version: uint() });

export const serverCallStatus = sqliteTable(
  "ServerCallStatus",
  {
    modid: uint(),
    cmdid: uint(),
    ip: uint(),
    port: uint(),
    caller: uint(),
    succCnt: integer("succ_cnt").notNull(),
    errCnt: integer("err_cnt").notNull(),
    ts: uint(),
    overload: text().notNull(),
  },
  (t) => [primaryKey({ columns: [t.modid, t.cmdid, t.ip, t.port, t.caller] })],
);

export const modIdConfig = sqliteTable(
  "ModIDConfig",
  { id: rowId(), modid: uint(), content: text().notNull() },
  (t) => [index("lars_modid").on(t.modid)],
);

export const cmdIdConfig = sqliteTable(
  "CmdIDConfig",
  { id: rowId(), cmdid: uint(), content: text().notNull() },
  (t) => [index("lars_cmdid").on(t.cmdid)],
);

export const larsState = sqliteTable("lars_state", {
  id: integer().primaryKey(),
  revision: uint().default(0),
  routeVersion: integer("route_version").notNull().default(0),
  routeChangeId: integer("route_change_id").notNull().default(0),
  foreignPending: integer("foreign_pending").notNull().default(0),
  scannedAtMs: integer("scanned_at_ms").notNull().default(0),
  foreignMarks: integer("foreign_marks").notNull().default(0),
  lookedMarks: integer("looked_marks").notNull().default(0),
  lastWrite: integer("last_write").notNull().default(0),
  forgottenRevision: integer("forgotten_revision").notNull().default(0),
});

export const larsRoute = sqliteTable(
  "lars_route",
  {
    modid: uint(),
    cmdid: uint(),
    name: text().notNull().default(""),
    revision: uint(),
    policy: text().notNull().default(""),
    policyParameters: text("policy_parameters").notNull().default(""),
    vanishedFrom: integer("vanished_from").notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.modid, t.cmdid] }), index("lars_route_revision").on(t.revision)],
);

export const larsHost = sqliteTable(
  "lars_host",
  {
    modid: uint(),
    cmdid: uint(),
    ip: uint(),
    port: uint(),
    weight: uint(),
    zone: text().notNull(),
    state: text().notNull(),
    leased: integer().notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.modid, t.cmdid, t.ip, t.port] })],
);

export const larsName = sqliteTable(
  "lars_name",
  { scope: text().notNull(), id: uint(), name: text().notNull(), revision: uint() },
  (t) => [primaryKey({ columns: [t.scope, t.id] }), index("lars_name_revision").on(t.revision)],
);

export const larsChange = sqliteTable("lars_change", {
  revision: integer().primaryKey(),
  atMs: integer("at_ms").notNull(),
  who: text().notNull(),
  action: text().notNull(),
  requestId: text("request_id").notNull(),
  items: text(),
});

export const larsChangeItem = sqliteTable(
  "lars_change_item",
  { revision: uint(), position: uint(), detail: text().notNull() },
  (t) => [primaryKey({ columns: [t.revision, t.position] })],
);

export const larsToken = sqliteTable("lars_token", {
  id: text().primaryKey(),
  name: text().notNull(),
  role: text().notNull(),
  sha256: text().notNull(),
  createdAtMs: integer("created_at_ms").notNull(),
  modules: text().notNull().default(""),
  lastUsedMs: integer("last_used_ms").notNull().default(0),
});

export const larsRegistration = sqliteTable(
  "lars_registration",
  {
    id: text().primaryKey(),
    modid: uint(),
    cmdid: uint(),
    ip: uint(),
    port: uint(),
    weight: uint(),
    zone: text().notNull(),
    state: text().notNull(),
    ttlMs: integer("ttl_ms").notNull(),
    expiresMs: integer("expires_ms").notNull(),
    registeredAtMs: integer("registered_at_ms").notNull(),
    who: text().notNull(),
  },
  (t) => [
    index("lars_registration_endpoint").on(t.modid, t.cmdid, t.ip, t.port),
    index("lars_registration_expires").on(t.expiresMs),
  ],
);

export const larsLeaseClock = sqliteTable("lars_lease_clock", {
  id: integer().primaryKey(),
  clockMs: integer("clock_ms").notNull().default(0),
  tick: integer().notNull().default(0),
  owner: text().notNull().default(""),
});

export const larsAgentInstance = sqliteTable(
  "lars_agent_instance",
  {
    id: rowId(),
    instance: text().notNull(),
    caller: uint(),
    lastSeenMs: integer("last_seen_ms").notNull(),
    prunedAtMs: integer("pruned_at_ms").notNull().default(0),
  },
  (t) => [unique("lars_agent_instance_instance").on(t.instance), index("lars_agent_instance_seen").on(t.lastSeenMs)],
);

export const larsCallCursor = sqliteTable(
  "lars_call_cursor",
  {
    instanceId: integer("instance_id").notNull(),
    modid: uint(),
    cmdid: uint(),
    ip: uint(),
    port: uint(),
    seq: uint(),
    succ: uint(),
    err: uint(),
  },
  (t) => [primaryKey({ columns: [t.instanceId, t.modid, t.cmdid, t.ip, t.port] })],
);

type Tables = {
  routeData: typeof routeData;
  routeVersion: typeof routeVersion;
  routeChange: typeof routeChange;
  serverCallStatus: typeof serverCallStatus;
  modIdConfig: typeof modIdConfig;
  cmdIdConfig: typeof cmdIdConfig;
  larsState: typeof larsState;
  larsRoute: typeof larsRoute;
  larsHost: typeof larsHost;
  larsName: typeof larsName;
  larsChange: typeof larsChange;
  larsChangeItem: typeof larsChangeItem;
  larsToken: typeof larsToken;
  larsRegistration: typeof larsRegistration;
  larsLeaseClock: typeof larsLeaseClock;
  larsAgentInstance: typeof larsAgentInstance;
  larsCallCursor: typeof larsCallCursor;
};
type Rows<T> = { -readonly [K in keyof T]: T[K] extends { $inferSelect: infer Row } ? Row : never };
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;

/** Does not compile when the two dialects disagree about a table, a column or a column's type. */
const sameRowsAsMysql: Same<Rows<Tables>, Rows<typeof mysql>> = true;
void sameRowsAsMysql;
