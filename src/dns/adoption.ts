// Takes over, inside a write, what old tools did by plain SQL: as one change of its own, before the changes that are
// being written, so that those do not undo it.
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { RouteChange, RouteRecord } from "../core/route-change.ts";
import type { Foreign, Look, RouteTransaction } from "../store/route-store.ts";

type AdoptChange = Extract<RouteChange, { action: "adopt" }>;

/** A route that was taken over, and how it was. */
export interface AdoptedRoute {
  readonly before: Pick<RouteRecord, "hosts" | "vanishedFrom"> | undefined;
  readonly after: Pick<RouteRecord, "hosts" | "vanishedFrom">;
}

export interface Adopted {
  readonly foreign: Foreign;
  /** The whole table was compared under the lock. */
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

/** What to adopt: all there is, compared under the lock, or part of it. */
export type AdoptionScope =
  | "whole"
  | {
      /** What is being written: to be planned against what old tools made of it. */
      readonly touched: readonly ModuleKey[];
      /** What was found in the whole table shortly before, without the lock. */
      readonly look: Look | undefined;
    };

/**
 * A module that is nearly gone may be the first that is seen of a table that is: what is meant can be told from the
 * whole only. So the write is to be begun again, after a look at the whole.
 */
export class LookFirst extends Error {
  override name = "LookFirst";
}

const NOTHING: Foreign = { routes: [], names: [], badRows: 0 };

/** @throws LookFirst */
export async function adoptForeign(
  { tx, routes, write, maxVanishShare }: AdoptionContext,
  scope: AdoptionScope,
): Promise<Adopted> {
  const foreign = await findInScope(tx, routes, scope);
  const before = foreign.routes.map(({ modid, cmdid }) => routes.route(modid, cmdid));
  let revision: number | undefined;
  if (foreign.routes.length > 0 || foreign.names.length > 0) {
    const { routes: found, names } = foreign;
    const result = await write({ action: "adopt", routes: found, names, maxVanishShare });
    if (result.changed === true) revision = result.revision;
  }
  if (scope === "whole") await tx.settleForeign();
  else if (scope.look !== undefined) await tx.settleForeign(scope.look.mark);
  const adopted = foreign.routes.flatMap(({ modid, cmdid }, i) => {
    const after = routes.route(modid, cmdid);
    return after === undefined || after === before[i] ? [] : [{ before: before[i], after }];
  });
  return { foreign, whole: scope === "whole", revision, routes: adopted };
}

async function findInScope(
  tx: RouteTransaction,
  routes: AdoptionContext["routes"],
  scope: AdoptionScope,
): Promise<Foreign> {
  if (scope === "whole") return await tx.findForeign();
  const { touched, look } = scope;
  const modules = distinct(touched, await tx.namedByOthers(), look?.foreign.routes);
  const names = look?.foreign.names ?? [];
  const foreign = modules.length + names.length === 0 ? NOTHING : await tx.findForeign(modules, names);
  if (look !== undefined) return foreign;
  const isNearlyGone = ({ modid, cmdid, hosts }: ModuleKey & { readonly hosts: readonly unknown[] }): boolean =>
    2 * hosts.length < (routes.route(modid, cmdid)?.hosts.length ?? 0);
  const gone = foreign.routes.filter(isNearlyGone);
  if (gone.length === 0) return foreign;
  if (gone.some((route) => touched.some(({ modid, cmdid }) => modid === route.modid && cmdid === route.cmdid))) {
    throw new LookFirst("a module that is being written lost most of its hosts by plain SQL");
  }
  // Nobody waits for these: the look that the mark leads to finds them.
  return { ...foreign, routes: foreign.routes.filter((route) => !gone.includes(route)) };
}

function distinct(...lists: readonly (readonly ModuleKey[] | undefined)[]): readonly ModuleKey[] {
  const keys = new ModuleMap<ModuleKey>();
  for (const list of lists) for (const { modid, cmdid } of list ?? []) keys.set(modid, cmdid, { modid, cmdid });
  return [...keys.values()];
}

/** Whether a change is to be planned against the whole table as old tools left it, names included. */
export function concernsAll(change: RouteChange): boolean {
  return change.action === "import" || (change.action === "revert" && change.names.length > 0);
}

/** The modules that changes touch. */
export function touchedModules(changes: Iterable<RouteChange>): readonly ModuleKey[] {
  const touched: ModuleKey[] = [];
  for (const change of changes) {
    if ("modid" in change) touched.push(change);
    else if (change.action === "revert") touched.push(...change.routes);
  }
  return touched;
}
