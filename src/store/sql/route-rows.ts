// Reads our own route tables: what is committed, at which revision. A start reads everything (a million hosts), a poll a
// handful of modules; both must be one consistent state, so the caller provides the snapshot. Large results are read in
// pages in key order: one giant result would stand in memory twice and block the connection past its time-out.
import type { Host, HostState } from "../../core/assignment.ts";
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
type HostRow = [
  modid: number,
  cmdid: number,
  ip: number,
  port: number,
  weight: number,
  zone: string,
  state: string,
  leased: number,
];

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

function addHosts(map: ModuleMap<Host[]>, rows: readonly HostRow[]): void {
  for (const [modid, cmdid, ip, port, weight, zone, state, leased] of rows) {
    const host = { ip: ip | 0, port, weight, zone, state: state as HostState };
    map.get(modid | 0, cmdid | 0)?.push(leased === 0 ? host : { ...host, leased: true });
  }
}

/** The committed hosts of each of `keys` (an empty list for a module without), normalized. */
export async function readHosts(session: SqlSession, keys: readonly ModuleKey[]): Promise<ModuleMap<Host[]>> {
  const map = new ModuleMap<Host[]>();
  for (const { modid, cmdid } of keys) map.set(modid, cmdid, []);
  const columns = "SELECT modid, cmdid, ip, port, weight, zone, state, leased FROM lars_host";
  const order = "ORDER BY modid, cmdid, ip, port";
  if (keys.length <= MANY_MODULES) {
    for (const part of chunks(keys, MAX_TERMS)) {
      addHosts(map, await session.rows<HostRow>(`${columns} WHERE ${moduleCondition(part)} ${order}`));
    }
    return map;
  }
  let after = "";
  for (;;) {
    const page = await session.rows<HostRow>(`${columns}${after} ${order} LIMIT ${PAGE}`);
    addHosts(map, page);
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return map;
    const [modid, cmdid, ip, port] = last;
    // The first comparison alone lets the server start at the key; the rest skips what the last page had.
    after =
      ` WHERE modid >= ${modid} AND (modid > ${modid} OR (modid = ${modid} AND (cmdid > ${cmdid} OR (cmdid = ${cmdid}` +
      ` AND (ip > ${ip} OR (ip = ${ip} AND port > ${port}))))))`;
  }
}

/** Everything committed after `revision`. The session must be a snapshot or hold the write lock. */
export async function readDelta(session: SqlSession, revision: number): Promise<RouteDelta> {
  const state = await session.rows<[number]>("SELECT revision FROM lars_state WHERE id = 1");
  const routeRows = await readRoutes(session, revision);
  const keys = routeRows.map(([modid, cmdid]) => ({ modid: modid | 0, cmdid: cmdid | 0 }));
  const hosts = await readHosts(session, keys);
  const routes: RouteRecord[] = routeRows.map(
    ([modid, cmdid, name, routeRevision, policy, parameters, vanishedFrom]) => ({
      modid: modid | 0,
      cmdid: cmdid | 0,
      name,
      policy: policyOfColumns(policy, parameters),
      revision: routeRevision,
      hosts: Object.freeze(hosts.get(modid | 0, cmdid | 0) ?? []),
      ...(vanishedFrom === 0 ? {} : { vanishedFrom }),
    }),
  );
  const nameRows = await session.rows<[NameScope, number, string, number]>(
    "SELECT scope, id, name, revision FROM lars_name WHERE revision > ? ORDER BY scope, id",
    [revision],
  );
  const names: NameRecord[] = nameRows.map(([scope, id, name, nameRevision]) => ({
    scope,
    id: id | 0,
    name,
    revision: nameRevision,
  }));
  return { revision: state[0]?.[0] ?? 0, routes, names };
}
