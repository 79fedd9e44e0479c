// The tables on a MySQL-protocol server (MariaDB 10.11+, MySQL 8.4+). drizzle-kit generates drizzle/mysql from this file.
//
// The first six are the original's, with its names and columns: old tools read and write them by plain SQL, so whatever
// we add there has a default and nothing is unique that was not. The lars_ tables are ours. drizzle has no schema that
// two dialects share; src/store/sqlite/schema.ts says the same again, and a type there fails to compile when the two
// disagree about a row. modid, cmdid and addresses are unsigned in SQL (ServerCallStatus' modid and cmdid are signed,
// as they were).
import { bigint, char, customType, index, int, mysqlTable, primaryKey, tinyint, unique } from "drizzle-orm/mysql-core";

/** Text that is compared byte by byte, whatever the server's or an old table's default is. */
const textOf = customType<{ data: string; config: { length: number }; configRequired: true }>({
  dataType: ({ length }) => `varchar(${length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
});
const text = (length: number, name?: string) => (name === undefined ? textOf({ length }) : textOf(name, { length }));

/** A name for people, as old tools search it: any character, upper and lower case alike. */
const content = customType<{ data: string }>({
  dataType: () => "char(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
});

/** One log item may name every host of a large module. */
const json = customType<{ data: string }>({
  dataType: () => "mediumtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
});

const uint = (name?: string) => (name === undefined ? int({ unsigned: true }) : int(name, { unsigned: true }));
const ubigint = (name?: string) =>
  name === undefined ? bigint({ mode: "number", unsigned: true }) : bigint(name, { mode: "number", unsigned: true });

export const routeData = mysqlTable(
  "RouteData",
  {
    id: uint().autoincrement().primaryKey(),
    modid: uint().notNull(),
    cmdid: uint().notNull(),
    serverip: uint().notNull(),
    serverport: uint().notNull(),
    weight: uint().notNull().default(100),
    zone: text(64).notNull().default(""),
    state: text(8).notNull().default("up"),
  },
  (t) => [index("lars_route_data_endpoint").on(t.modid, t.cmdid, t.serverip, t.serverport)],
);

export const routeVersion = mysqlTable("RouteVersion", {
  id: uint().autoincrement().primaryKey(),
  version: uint().notNull(),
});

export const routeChange = mysqlTable("RouteChange", {
  id: uint().autoincrement().primaryKey(),
  modid: uint().notNull(),
  cmdid: uint().notNull(),
  version: ubigint().notNull(),
});

export const serverCallStatus = mysqlTable(
  "ServerCallStatus",
  {
    modid: int().notNull(),
    cmdid: int().notNull(),
    ip: uint().notNull(),
    port: uint().notNull(),
    caller: uint().notNull(),
    succCnt: ubigint("succ_cnt").notNull(),
    errCnt: ubigint("err_cnt").notNull(),
    ts: bigint({ mode: "number" }).notNull(),
    overload: char({ length: 1 }).notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.modid, t.cmdid, t.ip, t.port, t.caller] }),
    index("mlb_index").on(t.modid, t.cmdid, t.ip, t.port, t.caller),
  ],
);

export const modIdConfig = mysqlTable(
  "ModIDConfig",
  { id: uint().autoincrement().primaryKey(), modid: uint().notNull(), content: content().notNull() },
  (t) => [index("lars_modid").on(t.modid)],
);

export const cmdIdConfig = mysqlTable(
  "CmdIDConfig",
  { id: uint().autoincrement().primaryKey(), cmdid: uint().notNull(), content: content().notNull() },
  (t) => [index("lars_cmdid").on(t.cmdid)],
);

/** One row, id 1: the write lock, the last revision, and how RouteVersion and RouteChange stood when we last wrote. */
export const larsState = mysqlTable("lars_state", {
  id: uint().primaryKey(),
  revision: ubigint().notNull().default(0),
  routeVersion: ubigint("route_version").notNull().default(0),
  routeChangeId: ubigint("route_change_id").notNull().default(0),
  /** 1: a foreign mark was seen by a writer that did not adopt it. */
  foreignPending: tinyint("foreign_pending").notNull().default(0),
  scannedAtMs: ubigint("scanned_at_ms").notNull().default(0),
  /** How many foreign marks writers have seen, and how many when the last look at the whole table began. */
  foreignMarks: ubigint("foreign_marks").notNull().default(0),
  lookedMarks: ubigint("looked_marks").notNull().default(0),
  /** Drawn anew for each write: tells which one was the last. */
  lastWrite: ubigint("last_write").notNull().default(0),
  /** Rows of lars_route of modules that were removed at this revision or before may be gone. */
  forgottenRevision: ubigint("forgotten_revision").notNull().default(0),
});

/** A removed module keeps its row, without name and hosts: its revision is how readers learn of the removal. The oldest go. */
export const larsRoute = mysqlTable(
  "lars_route",
  {
    modid: uint().notNull(),
    cmdid: uint().notNull(),
    name: text(255).notNull().default(""),
    revision: ubigint().notNull(),
    policy: text(32).notNull().default(""),
    /** JSON: parameter name -> number. */
    policyParameters: text(2048, "policy_parameters").notNull().default(""),
    /** Above 0: hosts the route had before so many vanished at once by plain SQL that nobody may have meant it. */
    vanishedFrom: uint("vanished_from").notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.modid, t.cmdid] }), index("lars_route_revision").on(t.revision)],
);

export const larsHost = mysqlTable(
  "lars_host",
  {
    modid: uint().notNull(),
    cmdid: uint().notNull(),
    ip: uint().notNull(),
    port: uint().notNull(),
    weight: uint().notNull(),
    zone: text(64).notNull(),
    state: text(8).notNull(),
    /** 1: it is there because of a lease and goes with the last one. */
    leased: tinyint().notNull().default(0),
  },
  (t) => [primaryKey({ columns: [t.modid, t.cmdid, t.ip, t.port] })],
);

export const larsName = mysqlTable(
  "lars_name",
  { scope: text(8).notNull(), id: uint().notNull(), name: text(255).notNull(), revision: ubigint().notNull() },
  (t) => [primaryKey({ columns: [t.scope, t.id] }), index("lars_name_revision").on(t.revision)],
);

export const larsChange = mysqlTable("lars_change", {
  revision: ubigint().primaryKey(),
  atMs: ubigint("at_ms").notNull(),
  who: text(255).notNull(),
  action: text(32).notNull(),
  requestId: text(255, "request_id").notNull(),
  /** All items as one JSON array, where that is short; NULL or "": they are rows of lars_change_item. */
  items: json(),
});

export const larsChangeItem = mysqlTable(
  "lars_change_item",
  { revision: ubigint().notNull(), position: uint().notNull(), detail: json().notNull() },
  (t) => [primaryKey({ columns: [t.revision, t.position] })],
);

export const larsToken = mysqlTable("lars_token", {
  id: text(64).primaryKey(),
  name: text(255).notNull(),
  role: text(16).notNull(),
  sha256: text(64).notNull(),
  createdAtMs: ubigint("created_at_ms").notNull(),
  /** Comma-separated "modid.cmdid" or "modid.*": what a registrar's token is limited to. */
  modules: text(2048).notNull().default(""),
  lastUsedMs: ubigint("last_used_ms").notNull().default(0),
});

/** Who registered which host until when. `expires_ms` is a time of the lease clock. */
export const larsRegistration = mysqlTable(
  "lars_registration",
  {
    id: text(255).primaryKey(),
    modid: uint().notNull(),
    cmdid: uint().notNull(),
    ip: uint().notNull(),
    port: uint().notNull(),
    weight: uint().notNull(),
    zone: text(64).notNull(),
    state: text(8).notNull(),
    ttlMs: ubigint("ttl_ms").notNull(),
    expiresMs: ubigint("expires_ms").notNull(),
    registeredAtMs: ubigint("registered_at_ms").notNull(),
    who: text(255).notNull(),
  },
  (t) => [
    index("lars_registration_endpoint").on(t.modid, t.cmdid, t.ip, t.port),
    index("lars_registration_expires").on(t.expiresMs),
  ],
);

/** One row, id 1: the time that leases run by. It passes only while some dns instance serves. */
export const larsLeaseClock = mysqlTable("lars_lease_clock", {
  id: uint().primaryKey(),
  clockMs: ubigint("clock_ms").notNull().default(0),
  /** Counts the advances, so that only one instance makes each. */
  tick: ubigint().notNull().default(0),
  owner: text(64).notNull().default(""),
});

export const larsAgentInstance = mysqlTable(
  "lars_agent_instance",
  {
    id: ubigint().autoincrement().primaryKey(),
    instance: text(16).notNull(),
    caller: uint().notNull(),
    lastSeenMs: ubigint("last_seen_ms").notNull(),
    /** When its cursors were forgotten; 0: they are all there. */
    prunedAtMs: ubigint("pruned_at_ms").notNull().default(0),
  },
  (t) => [unique("lars_agent_instance_instance").on(t.instance), index("lars_agent_instance_seen").on(t.lastSeenMs)],
);

export const larsCallCursor = mysqlTable(
  "lars_call_cursor",
  {
    instanceId: ubigint("instance_id").notNull(),
    modid: uint().notNull(),
    cmdid: uint().notNull(),
    ip: uint().notNull(),
    port: uint().notNull(),
    seq: ubigint().notNull(),
    succ: uint().notNull(),
    err: uint().notNull(),
  },
  (t) => [primaryKey({ columns: [t.instanceId, t.modid, t.cmdid, t.ip, t.port] })],
);
