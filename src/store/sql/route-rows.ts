// Reads our own route tables: what is committed, at which revision. A start reads everything (a million hosts), a poll a
// handful of modules; both must be one consistent state, so the caller provides the snapshot. Large results are read in
// pages in key order: one giant result would stand in memory twice and block the connection past its time-out.
//
// A start is a million rows on the way to a million objects, so what each row costs is said once: routes and hosts come in
// the same order and are put together in one pass, without a map between; what nearly every row says (state, weight, no
// zone, no lease) comes as NULL and costs no text; and zones are shared. Lists are not frozen: freezing costs as much as
// reading them.
import { DEFAULT_WEIGHT, HOST_STATES, type Host, type HostState } from "../../core/assignment.ts";
import { type ModuleKey, ModuleMap } from "../../core/module-key.ts";
import type { NameRecord, NameScope, RouteRecord } from "../../core/route-change.ts";
import type { RouteDelta } from "../route-store.ts";
import { chunks } from "./insert-rows.ts";
import { MAX_TERMS, moduleCondition } from "./module-condition.ts";
import { policyOfColumns } from "./policy-column.ts";
import type { SqlSession } from "./sql-database.ts";

const PAGE = 20_000;
/** Beyond so many modules the whole table is read in pages instead of module by module. */
export const MANY_MODULES = 2_000;

type RouteRow = [
  modid: number,
  cmdid: number,
  name: string,
  revision: number,
  policy: string,
  parameters: string,
  vanishedFrom: number,
];
/** NULL: as most are. */
type HostRow = [
  modid: number,
  cmdid: number,
  ip: number,
  port: number,
  weight: number | null,
  zone: string | null,
  state: string | null,
  leased: number | null,
];

const HOST_COLUMNS =
  `modid, cmdid, ip, port, NULLIF(weight, ${DEFAULT_WEIGHT}), NULLIF(zone, ''), NULLIF(state, 'up'),` +
  " NULLIF(leased, 0)";
const HOST_ORDER = "ORDER BY modid, cmdid, ip, port";

async function readRoutes(session: SqlSession, revision: number): Promise<RouteRow[]> {
  const columns = "SELECT modid, cmdid, name, revision, policy, policy_parameters, vanished_from FROM lars_route";
  if (revision > 0) return session.rows<RouteRow>(`${columns} WHERE revision > ?`, [revision]);
  const all: RouteRow[] = [];
  let after = "";
  for (;;) {
    const page = await session.rows<RouteRow>(`${columns}${after} ORDER BY modid, cmdid LIMIT ${PAGE}`);
    for (const row of page) all.push(row);
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return all;
    after = ` WHERE modid > ${last[0]} OR (modid = ${last[0]} AND cmdid > ${last[1]})`;
  }
}

/** Makes hosts of rows; one for each read, since it shares what they have in common. */
class HostReader {
  readonly #zones = new Map<string, string>();

  host([, , ip, port, weight, zone, state, leased]: HostRow): Host {
    const host = {
      ip: ip | 0,
      port,
      weight: weight ?? DEFAULT_WEIGHT,
      zone: zone === null ? "" : this.#zone(zone),
      state: state === null ? "up" : (HOST_STATES.find((known) => known === state) ?? (state as HostState)),
    };
    return leased === null ? host : { ...host, leased: true };
  }

  #zone(zone: string): string {
    const shared = this.#zones.get(zone);
    if (shared !== undefined) return shared;
    this.#zones.set(zone, zone);
    return zone;
  }
}

/** All hosts there are, in key order. */
async function* hostPages(session: SqlSession): AsyncIterableIterator<readonly HostRow[]> {
  let after = "";
  for (;;) {
    const page = await session.rows<HostRow>(
      `SELECT ${HOST_COLUMNS} FROM lars_host${after} ${HOST_ORDER} LIMIT ${PAGE}`,
    );
    yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    const [modid, cmdid, ip, port] = last;
    // The first comparison alone lets the server start at the key; the rest skips what the last page had.
    after =
      ` WHERE modid >= ${modid} AND (modid > ${modid} OR (modid = ${modid} AND (cmdid > ${cmdid} OR (cmdid = ${cmdid}` +
      ` AND (ip > ${ip} OR (ip = ${ip} AND port > ${port}))))))`;
  }
}

/**
 * Puts every host into the list of its module. `keys` and `lists` go together, the keys in the tables' order (modid and
 * cmdid unsigned); hosts of other modules are left out.
 */
async function fillInOrder(session: SqlSession, keys: readonly ModuleKey[], lists: readonly Host[][]): Promise<void> {
  const reader = new HostReader();
  let at = 0;
  for await (const page of hostPages(session)) {
    for (const row of page) {
      const [modid, cmdid] = row;
      while (at < keys.length && isBefore(keys[at]!, modid, cmdid)) at++;
      const key = keys[at];
      if (key === undefined) return;
      if (key.modid >>> 0 === modid && key.cmdid >>> 0 === cmdid) lists[at]!.push(reader.host(row));
    }
  }
}

function isBefore(key: ModuleKey, modid: number, cmdid: number): boolean {
  const own = key.modid >>> 0;
  return own < modid || (own === modid && key.cmdid >>> 0 < cmdid);
}

function compareUnsigned(a: ModuleKey, b: ModuleKey): number {
  return (a.modid >>> 0) - (b.modid >>> 0) || (a.cmdid >>> 0) - (b.cmdid >>> 0);
}

/** The committed hosts of each of `keys` (an empty list for a module without), normalized. */
export async function readHosts(session: SqlSession, keys: readonly ModuleKey[]): Promise<ModuleMap<Host[]>> {
  const map = new ModuleMap<Host[]>();
  for (const { modid, cmdid } of keys) map.set(modid, cmdid, []);
  if (keys.length > MANY_MODULES) {
    const sorted = [...map.entries()].sort(([a], [b]) => compareUnsigned(a, b));
    await fillInOrder(
      session,
      sorted.map(([key]) => key),
      sorted.map(([, list]) => list),
    );
    return map;
  }
  const reader = new HostReader();
  for (const part of chunks(keys, MAX_TERMS)) {
    const rows = await session.rows<HostRow>(
      `SELECT ${HOST_COLUMNS} FROM lars_host WHERE ${moduleCondition(part)} ${HOST_ORDER}`,
    );
    for (const row of rows) map.get(row[0] | 0, row[1] | 0)?.push(reader.host(row));
  }
  return map;
}

function recordOf(row: RouteRow, hosts: Host[]): RouteRecord {
  const [modid, cmdid, name, revision, policy, parameters, vanishedFrom] = row;
  const record = {
    modid: modid | 0,
    cmdid: cmdid | 0,
    name,
    policy: policyOfColumns(policy, parameters),
    revision,
    hosts,
  };
  return vanishedFrom === 0 ? record : { ...record, vanishedFrom };
}

async function readRecords(session: SqlSession, revision: number): Promise<RouteRecord[]> {
  const rows = await readRoutes(session, revision);
  if (rows.length <= MANY_MODULES) {
    const keys = rows.map(([modid, cmdid]) => ({ modid: modid | 0, cmdid: cmdid | 0 }));
    const hosts = await readHosts(session, keys);
    return rows.map((row) => recordOf(row, hosts.get(row[0] | 0, row[1] | 0) ?? []));
  }
  const lists: Host[][] = [];
  const records: RouteRecord[] = [];
  rows.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (const row of rows) {
    const hosts: Host[] = [];
    lists.push(hosts);
    records.push(recordOf(row, hosts));
  }
  await fillInOrder(session, records, lists);
  return records;
}

/**
 * Everything committed after `revision`, or everything where a removal after it may be forgotten. The session must be a
 * snapshot or hold the write lock.
 */
export async function readDelta(session: SqlSession, revision: number): Promise<RouteDelta> {
  const states = await session.rows<[number, number]>(
    "SELECT revision, forgotten_revision FROM lars_state WHERE id = 1",
  );
  const [now, forgotten] = states[0] ?? [0, 0];
  const isWhole = revision > 0 && revision < forgotten;
  const since = isWhole ? 0 : revision;
  const routes = await readRecords(session, since);
  const nameRows = await session.rows<[NameScope, number, string, number]>(
    "SELECT scope, id, name, revision FROM lars_name WHERE revision > ? ORDER BY scope, id",
    [since],
  );
  const names: NameRecord[] = nameRows.map(([scope, id, name, nameRevision]) => ({
    scope,
    id: id | 0,
    name,
    revision: nameRevision,
  }));
  return {
    ...{ revision: now, routes, names },
    ...(forgotten === 0 ? {} : { forgotten }),
    ...(isWhole ? { whole: true } : {}),
  };
}
