// What the store's contract suites need from a dialect, and the few lines a dns service has around a store: a view of
// the routes to plan against, a change committed, foreign changes adopted.
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { ModuleMap } from "../../src/core/module-key.ts";
import {
  type NameRecord,
  type NameScope,
  nextRevision,
  planChange,
  type RouteChange,
  type RouteRecord,
  type RouteView,
} from "../../src/core/route-change.ts";
import type { Database, DatabaseOptions } from "../../src/store/database.ts";
import type { RouteDelta, RouteStore, RouteTransaction } from "../../src/store/route-store.ts";

/** An empty database of its own for one test. */
export interface TestDatabase {
  open(options?: DatabaseOptions): Promise<Database>;
  /** Plain SQL as an old tool writes it, each statement on its own. Returns the last one's rows. */
  sql(...statements: string[]): Promise<unknown[][]>;
}

export type MakeDatabase = () => Promise<TestDatabase>;

export class Replica implements RouteView {
  revision = 0;
  readonly #routes = new ModuleMap<RouteRecord>();
  readonly #names = new Map<string, NameRecord>();

  apply(delta: RouteDelta): this {
    this.revision = delta.revision;
    for (const route of delta.routes) this.#routes.set(route.modid, route.cmdid, route);
    for (const name of delta.names) this.#names.set(`${name.scope} ${name.id}`, name);
    return this;
  }
  route(modid: number, cmdid: number): RouteRecord | undefined {
    return this.#routes.get(modid, cmdid);
  }
  tag(modid: number, cmdid: number): string | undefined {
    return this.route(modid, cmdid)?.revision.toString();
  }
  name(scope: NameScope, id: number): string {
    return this.#names.get(`${scope} ${id}`)?.name ?? "";
  }
  routes(): Iterable<RouteRecord> {
    return this.#routes.values();
  }
  names(): Iterable<NameRecord> {
    return this.#names.values();
  }
  hosts(modid: number, cmdid: number): readonly Host[] | undefined {
    return this.route(modid, cmdid)?.hosts;
  }
}

export const NOW_MS = 1_700_000_000_000;

async function appendPlanned(tx: RouteTransaction, change: RouteChange, nowMs: number): Promise<void> {
  const view = new Replica().apply(await tx.readSince(0));
  const plan = planChange(view, change);
  if (!plan.ok) throw new Error(plan.detail);
  if (plan.routes.length + plan.names.length === 0) return;
  await tx.append({
    revision: nextRevision(tx.revision, nowMs),
    atMs: nowMs,
    who: change.action === "adopt" ? "sql" : "test",
    action: change.action,
    requestId: "r1",
    ...("of" in change ? { of: change.of } : {}),
    routes: plan.routes,
    names: plan.names,
  });
}

/** Commits one change. Returns the revision afterwards. */
export function commit(store: RouteStore, change: RouteChange, nowMs = NOW_MS): Promise<number> {
  return store.write(async (tx) => {
    await appendPlanned(tx, change, nowMs);
    return tx.revision;
  });
}

/** Compares the whole table, as the dns service does when RouteVersion moved. Returns how many modules and names differed. */
export function adopt(store: RouteStore, nowMs = NOW_MS, maxVanishShare = 1): Promise<number> {
  return store.write(async (tx) => {
    const foreign = await tx.findForeign();
    await appendPlanned(tx, { action: "adopt", routes: foreign.routes, names: foreign.names, maxVanishShare }, nowMs);
    await tx.settleForeign();
    return foreign.routes.length + foreign.names.length;
  });
}

/** The same without the lock, but for what the look found. `between`: what others do between the two. */
export async function adoptByLook(
  store: RouteStore,
  between?: () => Promise<unknown>,
  nowMs = NOW_MS,
): Promise<number> {
  const { foreign: found, mark } = await store.look();
  await between?.();
  return store.write(async (tx) => {
    const { routes, names } = await tx.findForeign(found.routes, found.names);
    await appendPlanned(tx, { action: "adopt", routes, names, maxVanishShare: 1 }, nowMs);
    await tx.settleForeign(mark);
    return routes.length + names.length;
  });
}

export async function readAll(store: RouteStore): Promise<Replica> {
  return new Replica().apply(await store.readSince(0));
}

/** 10.0.0.n:8000. */
export function host(n: number, options: Partial<Omit<Host, "ip" | "port">> = {}): Host {
  return makeHost(0x0a00_0000 + n, 8000, options);
}

export function rowOf({ ip, port }: Host, modid: number, cmdid: number): string {
  return `(${modid >>> 0}, ${cmdid >>> 0}, ${ip >>> 0}, ${port})`;
}

/** As old tools write: without our columns. */
export function oldInsert(modid: number, cmdid: number, ...hosts: readonly Host[]): string {
  const rows = hosts.map((h) => rowOf(h, modid, cmdid)).join(",");
  return `INSERT INTO RouteData (modid, cmdid, serverip, serverport) VALUES ${rows}`;
}

export function oldDelete(modid: number, cmdid: number, { ip, port }: Host): string {
  return `DELETE FROM RouteData WHERE modid = ${modid >>> 0} AND cmdid = ${cmdid >>> 0} AND serverip = ${ip >>> 0} AND serverport = ${port}`;
}

export function oldVersion(version: number | bigint): string {
  return `UPDATE RouteVersion SET version = ${version} WHERE id = 1`;
}

export async function scalar(database: TestDatabase, sql: string): Promise<unknown> {
  return (await database.sql(sql))[0]?.[0];
}
