// The rows of lars_registration: read and written many at a time, because leases come in crowds (everything restarts at
// once) and each statement is a round trip under the writers' lock.
import { type Lease, type LeaseState, type Place, placeKey } from "../../core/lease.ts";
import { chunks, postRows } from "./insert-rows.ts";
import { endpointCondition, MAX_TERMS } from "./module-condition.ts";
import type { OnConflict, SqlDialect, SqlRow, SqlSession, SqlStatement } from "./sql-database.ts";

const MAX_IDS = 1_000;
const COLUMNS = "id, modid, cmdid, ip, port, weight, zone, state, ttl_ms, expires_ms, registered_at_ms, who";

type LeaseRow = [
  id: string,
  modid: number,
  cmdid: number,
  ip: number,
  port: number,
  weight: number,
  zone: string,
  state: LeaseState,
  ttlMs: number,
  expiresMs: number,
  registeredAtMs: number,
  who: string,
];

function leaseOf(row: LeaseRow): Lease {
  const [id, modid, cmdid, ip, port, weight, zone, state, ttlMs, expiresMs, registeredAtMs, who] = row;
  return {
    id,
    modid: modid | 0,
    cmdid: cmdid | 0,
    ip: ip | 0,
    port,
    weight,
    zone,
    state,
    ttlMs,
    expiresMs,
    registeredAtMs,
    who,
  };
}

const SELECT = `SELECT ${COLUMNS} FROM lars_registration`;

/** `condition`: all after FROM lars_registration. */
export async function readLeases(
  session: SqlSession,
  condition: string,
  params: readonly (string | number)[] = [],
): Promise<Lease[]> {
  return (await session.rows<LeaseRow>(`${SELECT} ${condition}`, params)).map(leaseOf);
}

async function readAll(session: SqlSession, queries: readonly SqlStatement[]): Promise<SqlRow[]> {
  return queries.length === 0 ? [] : (await session.rowsOfAll(queries)).flat();
}

export function leasesOf(rows: readonly SqlRow[]): Lease[] {
  return (rows as unknown as LeaseRow[]).map(leaseOf);
}

/** "id IN (?,?,…)" for each so many of `ids`. */
export function* idConditions(ids: readonly string[]): IterableIterator<[string, readonly string[]]> {
  for (const part of chunks(ids, MAX_IDS)) yield [`id IN (${part.map(() => "?").join(",")})`, part];
}

export function queriesById(ids: readonly string[], lock: string): SqlStatement[] {
  return Array.from(idConditions(ids), ([condition, params]) => ({
    sql: `${SELECT} WHERE ${condition}${lock}`,
    params,
  }));
}

export async function leasesById(session: SqlSession, ids: readonly string[], lock = ""): Promise<Lease[]> {
  return leasesOf(await readAll(session, queriesById(ids, lock)));
}

export function queriesAt(places: readonly Place[]): SqlStatement[] {
  return Array.from(chunks(places, MAX_TERMS), (part) => ({
    sql: `${SELECT} WHERE ${endpointCondition(part, "ip", "port")}`,
  }));
}

export async function leasesAt(session: SqlSession, places: readonly Place[]): Promise<Lease[]> {
  return leasesOf(await readAll(session, queriesAt(places)));
}

/** Of `places`, those with a row in RouteData; as often as there are rows, since DISTINCT makes a table for itself. */
export function queriesForeignAt(places: readonly Place[]): SqlStatement[] {
  return Array.from(chunks(places, MAX_TERMS), (part) => ({
    sql: `SELECT modid, cmdid, serverip, serverport FROM RouteData WHERE ${endpointCondition(part, "serverip", "serverport")}`,
  }));
}

export function placesOf(rows: readonly SqlRow[]): Place[] {
  return (rows as unknown as [number, number, number, number][]).map(([modid, cmdid, ip, port]) => ({
    modid: modid | 0,
    cmdid: cmdid | 0,
    ip: ip | 0,
    port,
  }));
}

export async function foreignRowsAt(session: SqlSession, places: readonly Place[]): Promise<Place[]> {
  const found = placesOf(await readAll(session, queriesForeignAt(places)));
  return [...new Map(found.map((place) => [placeKey(place), place])).values()];
}

const REPLACED: OnConflict = {
  modid: "set",
  cmdid: "set",
  ip: "set",
  port: "set",
  weight: "set",
  zone: "set",
  state: "set",
  ttl_ms: "set",
  expires_ms: "set",
  registered_at_ms: "set",
  who: "set",
};

/** `areNew`: a lease of `put` that is there already is an error. */
export async function writeLeases(
  session: SqlSession,
  dialect: SqlDialect,
  put: readonly Lease[],
  removed: readonly string[],
  areNew = false,
): Promise<void> {
  for (const [condition, params] of idConditions(removed)) {
    await session.post(`DELETE FROM lars_registration WHERE ${condition}`, params);
  }
  await postRows(
    session,
    `INSERT INTO lars_registration (${COLUMNS})`,
    put.map((lease) => [
      lease.id,
      lease.modid >>> 0,
      lease.cmdid >>> 0,
      lease.ip >>> 0,
      lease.port,
      lease.weight,
      lease.zone,
      lease.state,
      lease.ttlMs,
      Math.floor(lease.expiresMs),
      Math.floor(lease.registeredAtMs),
      lease.who.slice(0, 255),
    ]),
    areNew ? "" : dialect.onConflict(["id"], REPLACED),
  );
}
