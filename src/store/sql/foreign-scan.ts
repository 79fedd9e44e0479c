// Finds what old tools did: where the original's tables differ from ours. A tool that deletes a row leaves no other sign
// than the row's absence, so the whole of RouteData is compared. The database does the coarse part (two anti-joins name
// the modules that may differ, of the whole table or of the blocks that table-sums.ts names), the exact comparison happens
// here, by the rules that hold everywhere else.
//
// What a row written by hand means when it is not quite right:
// - a port outside 1..65535 or a state that is none of ours: no host. Skipped and counted, because to guess "up" might
//   put a host into service that somebody meant to take out.
// - a weight outside its range: the nearest weight within it. The row names a host, and which one is clear.
// - a zone longer than its limit: no zone. To serve without a preference is right, to drop the host is not.
// Several rows of one endpoint are one host, the one with the lowest id.
import {
  diffHosts,
  HOST_STATES,
  type Host,
  type HostState,
  isEmptyDiff,
  MAX_NAME_LENGTH,
  MAX_WEIGHT,
  MAX_ZONE_LENGTH,
  MIN_WEIGHT,
  normalizeHosts,
} from "../../core/assignment.ts";
import { isPort } from "../../core/endpoint.ts";
import { type ModuleKey, ModuleMap } from "../../core/module-key.ts";
import type { NameContent, NameScope, RouteContent } from "../../core/route-change.ts";
import type { Foreign, NameKey } from "../route-store.ts";
import { chunks } from "./insert-rows.ts";
import { MAX_TERMS, moduleCondition } from "./module-condition.ts";
import { MANY_MODULES, readHosts } from "./route-rows.ts";
import type { SqlSession } from "./sql-database.ts";
import {
  type Blocks,
  blockCondition,
  type DifferingParts,
  differingModules,
  EVERYTHING,
  NAME_TABLES,
} from "./table-sums.ts";

const PAGE = 20_000;
const UTF8 = new TextEncoder();

type DataRow = [
  id: number,
  modid: number,
  cmdid: number,
  serverip: number,
  serverport: number,
  weight: number,
  zone: string,
  state: string,
];

/** The host a RouteData row means; undefined when it means none. */
export function hostOfRow(
  ip: unknown,
  port: unknown,
  weight: unknown,
  zone: unknown,
  state: unknown,
): Host | undefined {
  if (typeof ip !== "number" || !Number.isInteger(ip) || ip < 0 || ip > 0xffff_ffff) return undefined;
  if (typeof port !== "number" || !isPort(port)) return undefined;
  if (!HOST_STATES.includes(state as HostState)) return undefined;
  const share = typeof weight === "number" && Number.isFinite(weight) ? Math.round(weight) : MIN_WEIGHT;
  return {
    ip: ip | 0,
    port,
    weight: Math.min(MAX_WEIGHT, Math.max(MIN_WEIGHT, share)),
    zone: typeof zone === "string" && UTF8.encode(zone).length <= MAX_ZONE_LENGTH ? zone : "",
    state: state as HostState,
  };
}

function isId(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff;
}

/** As signed keys, each once; what is no module is left out. */
export function distinctModules(rows: Iterable<readonly [modid: number, cmdid: number]>): ModuleKey[] {
  const found = new ModuleMap<ModuleKey>();
  for (const [modid, cmdid] of rows) {
    if (isId(modid) && isId(cmdid)) found.set(modid | 0, cmdid | 0, { modid: modid | 0, cmdid: cmdid | 0 });
  }
  return [...found.values()];
}

/** Modules in which a row of one side has no equal on the other. May name a module that is the same after all. */
async function candidates(session: SqlSession, blocks: Blocks): Promise<ModuleKey[]> {
  if (blocks !== "all" && blocks.length === 0) return [];
  const equal =
    "h.modid = d.modid AND h.cmdid = d.cmdid AND h.ip = d.serverip AND h.port = d.serverport" +
    " AND h.weight = d.weight AND h.zone = d.zone AND h.state = d.state";
  const within = (alias: string) => (blocks === "all" ? "" : ` AND ${blockCondition(blocks, alias)}`);
  const added = await session.rows<[number, number]>(
    `SELECT DISTINCT d.modid, d.cmdid FROM RouteData d LEFT JOIN lars_host h ON ${equal} WHERE h.modid IS NULL${within("d.")}`,
    [],
    true,
  );
  const gone = await session.rows<[number, number]>(
    `SELECT DISTINCT h.modid, h.cmdid FROM lars_host h LEFT JOIN RouteData d ON ${equal} WHERE d.id IS NULL${within("h.")}`,
    [],
    true,
  );
  return distinctModules([...added, ...gone]);
}

/** RouteData's rows of `keys`, by id. */
async function* readData(session: SqlSession, keys: readonly ModuleKey[]): AsyncIterableIterator<DataRow[]> {
  const columns = "SELECT id, modid, cmdid, serverip, serverport, weight, zone, state FROM RouteData";
  if (keys.length <= MANY_MODULES) {
    for (const part of chunks(keys, MAX_TERMS)) {
      yield await session.rows<DataRow>(`${columns} WHERE ${moduleCondition(part)} ORDER BY id`, [], true);
    }
    return;
  }
  let after = -1;
  for (;;) {
    const page = await session.rows<DataRow>(`${columns} WHERE id > ? ORDER BY id LIMIT ${PAGE}`, [after]);
    yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    after = last[0];
  }
}

async function differingRoutes(session: SqlSession, keys: readonly ModuleKey[]): Promise<[RouteContent[], number]> {
  const theirs = new ModuleMap<Host[]>();
  for (const { modid, cmdid } of keys) theirs.set(modid, cmdid, []);
  let badRows = 0;
  for await (const page of readData(session, keys)) {
    for (const [, modid, cmdid, ip, port, weight, zone, state] of page) {
      const hosts = theirs.get(modid | 0, cmdid | 0);
      if (hosts === undefined) continue;
      const host = hostOfRow(ip, port, weight, zone, state);
      if (host === undefined) badRows++;
      else hosts.push(host);
    }
  }
  // RouteData does not know leases: a leased host that is there as it should be is no difference.
  const ours = await readHosts(session, keys);
  const unleased = (hosts: readonly Host[]) => hosts.map(({ leased: _, ...host }) => host);
  const routes: RouteContent[] = [];
  for (const [{ modid, cmdid }, rows] of theirs.entries()) {
    const hosts = normalizeHosts(rows);
    if (!isEmptyDiff(diffHosts(unleased(ours.get(modid, cmdid) ?? []), hosts))) routes.push({ modid, cmdid, hosts });
  }
  return [routes, badRows];
}

/** As a char(255) column gives it back: MySQL drops trailing spaces, SQLite keeps whatever was put in. */
export function nameOfContent(content: unknown): string {
  const text = String(content ?? "");
  const cut = text.length <= MAX_NAME_LENGTH ? text : [...text].slice(0, MAX_NAME_LENGTH).join("");
  return cut.replace(/ +$/, "");
}

async function differingNames(
  session: SqlSession,
  scope: NameScope,
  only?: ReadonlySet<number>,
): Promise<NameContent[]> {
  const theirs = new Map<number, string>();
  // The original's readers fill a map row by row, so the last row of an id is the one that counts.
  for (const [id, content] of await session.rows<[number, unknown]>(
    `SELECT ${scope}, content FROM ${NAME_TABLES[scope]}${only === undefined ? "" : ` WHERE ${scope} IN (${[...unsigned(only)]})`} ORDER BY id`,
  )) {
    if (isId(id)) theirs.set(id | 0, nameOfContent(content));
  }
  const found: NameContent[] = [];
  for (const [id, name] of await session.rows<[number, string]>(
    `SELECT id, name FROM lars_name WHERE scope = ?${only === undefined ? "" : ` AND id IN (${[...unsigned(only)]})`}`,
    [scope],
  )) {
    const now = theirs.get(id | 0) ?? "";
    theirs.delete(id | 0);
    if (now !== nameOfContent(name)) found.push({ scope, id: id | 0, name: now });
  }
  for (const [id, name] of theirs) if (name !== "") found.push({ scope, id, name });
  return found;
}

const SCOPES: readonly NameScope[] = ["modid", "cmdid"];

function* unsigned(ids: Iterable<number>): IterableIterator<number> {
  for (const id of ids) yield id >>> 0;
}

/** Of the whole table, or of those parts of it that may differ. */
export async function findForeign(session: SqlSession, parts: DifferingParts = EVERYTHING): Promise<Foreign> {
  const [routes, badRows] = await differingRoutes(session, await candidates(session, parts.blocks));
  const names: NameContent[] = [];
  for (const scope of SCOPES) if (parts.names.includes(scope)) names.push(...(await differingNames(session, scope)));
  return { routes, names, badRows };
}

/** Of these modules and names. `bySums`: the database can add rows up, so that those of equal modules need not be read. */
export async function findForeignOf(
  session: SqlSession,
  modules: readonly ModuleKey[],
  names: readonly NameKey[],
  bySums: boolean,
): Promise<Foreign> {
  const differing: ModuleKey[] = bySums && modules.length <= MANY_MODULES ? [] : [...modules];
  if (differing.length < modules.length) {
    for (const part of chunks(modules, MAX_TERMS)) differing.push(...(await differingModules(session, part)));
  }
  const [routes, badRows] = await differingRoutes(session, differing);
  const found: NameContent[] = [];
  for (const scope of SCOPES) {
    const ids = names.filter((name) => name.scope === scope).map(({ id }) => id);
    for (const part of chunks(ids, MAX_TERMS)) found.push(...(await differingNames(session, scope, new Set(part))));
  }
  return { routes, names: found, badRows };
}
