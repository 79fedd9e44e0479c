// Takes over, inside a write, what old tools did by plain SQL: as one change of its own, before the changes that are
// being written, so that those do not undo it.
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { RouteChange, RouteRecord } from "../core/route-change.ts";
import type { Foreign, RouteTransaction } from "../store/route-store.ts";

type AdoptChange = Extract<RouteChange, { action: "adopt" }>;

/** A route that was taken over, and how it was. */
export interface AdoptedRoute {
  readonly before: Pick<RouteRecord, "hosts" | "vanishedFrom"> | undefined;
  readonly after: Pick<RouteRecord, "hosts" | "vanishedFrom">;
}

export interface Adopted {
  readonly foreign: Foreign;
  /** The whole table was compared. */
  readonly whole: boolean;
  /** undefined: nothing was adopted. */
  readonly revision: number | undefined;
  readonly routes: readonly AdoptedRoute[];
}

export interface AdoptionContext {
  readonly tx: RouteTransaction;
  /** The routes as the write sees them; `write` moves them on. */
  readonly routes: { route(modid: number, cmdid: number): RouteRecord | undefined };
  readonly write: (
    change: AdoptChange,
  ) => Promise<{ readonly ok: boolean; readonly revision?: number; readonly changed?: boolean }>;
  readonly maxVanishShare: number;
}

const NOTHING: Foreign = { routes: [], names: [], badRows: 0 };

/** Of `modules`, or of the whole table when undefined. */
export async function adoptForeign(
  { tx, routes, write, maxVanishShare }: AdoptionContext,
  modules: readonly ModuleKey[] | undefined,
): Promise<Adopted> {
  let foreign = modules?.length === 0 ? NOTHING : await tx.findForeign(modules);
  let whole = modules === undefined;
  // A module that is nearly gone may be the first that is seen of a table that is: what is meant can be told from the
  // whole only.
  const isNearlyGone = ({ modid, cmdid, hosts }: Foreign["routes"][number]): boolean =>
    2 * hosts.length < (routes.route(modid, cmdid)?.hosts.length ?? 0);
  if (!whole && foreign.routes.some(isNearlyGone)) {
    foreign = await tx.findForeign();
    whole = true;
  }
  const before = foreign.routes.map(({ modid, cmdid }) => routes.route(modid, cmdid));
  let revision: number | undefined;
  if (foreign.routes.length > 0 || foreign.names.length > 0) {
    const { routes: found, names } = foreign;
    const result = await write({ action: "adopt", routes: found, names, maxVanishShare });
    if (result.changed === true) revision = result.revision;
  }
  if (whole) await tx.settleForeign();
  const adopted = foreign.routes.flatMap(({ modid, cmdid }, i) => {
    const after = routes.route(modid, cmdid);
    return after === undefined || after === before[i] ? [] : [{ before: before[i], after }];
  });
  return { foreign, whole, revision, routes: adopted };
}

/** Whether a change is to be planned against the whole table as old tools left it, names included. */
export function concernsAll(change: RouteChange): boolean {
  return change.action === "import" || (change.action === "revert" && change.names.length > 0);
}

/** The modules that changes touch, and `others`, each once. */
export function touchedModules(changes: Iterable<RouteChange>, others: Iterable<ModuleKey> = []): readonly ModuleKey[] {
  const touched = new ModuleMap<ModuleKey>();
  for (const { modid, cmdid } of others) touched.set(modid, cmdid, { modid, cmdid });
  for (const change of changes) {
    const keys = "modid" in change ? [change] : change.action === "revert" ? change.routes : [];
    for (const { modid, cmdid } of keys) touched.set(modid, cmdid, { modid, cmdid });
  }
  return [...touched.values()];
}
