// Lets go of the rows of modules that were removed long ago. A removed module keeps its row, whose revision is how readers
// learn of the removal; without an end to that, modules that come and go would fill table and memory for ever. So the
// oldest go, and the state row says up to which revision that may have happened: who was last there before is given
// everything instead of a difference.
//
// Which they are is known to who asks (the replica has them all); that they are still as they were is checked here, under
// the lock that all writers stand in line for, by their revision: it moves with whatever is changed of a module.
import type { RemovedModule } from "../route-store.ts";
import { chunks } from "./insert-rows.ts";
import { MAX_TERMS } from "./module-condition.ts";
import type { SqlDialect, SqlSession } from "./sql-database.ts";

const IS_REMOVED =
  "name = '' AND policy = '' AND policy_parameters = '' AND vanished_from = 0 AND NOT EXISTS" +
  " (SELECT 1 FROM lars_host h WHERE h.modid = lars_route.modid AND h.cmdid = lars_route.cmdid)";

/** As RouteStore.forget. */
export async function forgetRemoved(
  session: SqlSession,
  dialect: SqlDialect,
  removed: readonly RemovedModule[],
): Promise<boolean> {
  const newest = removed.reduce((most, { revision }) => Math.max(most, revision), 0);
  const states = await session.rows<[number, number]>(
    `SELECT revision, forgotten_revision FROM lars_state WHERE id = 1${dialect.forUpdate}`,
  );
  const [now, forgotten] = states[0] ?? [0, 0];
  if (now < newest) return false;
  for (const part of chunks(removed, MAX_TERMS)) {
    const asTheyWere = part.map(
      ({ modid, cmdid, revision }) => `(modid = ${modid >>> 0} AND cmdid = ${cmdid >>> 0} AND revision = ${revision})`,
    );
    await session.post(`DELETE FROM lars_route WHERE (${asTheyWere.join(" OR ")}) AND ${IS_REMOVED}`);
  }
  if (forgotten < newest) await session.post(`UPDATE lars_state SET forgotten_revision = ${newest} WHERE id = 1`);
  return true;
}
