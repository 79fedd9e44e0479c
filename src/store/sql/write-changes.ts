// What changes that go together say to the database, in as few statements as there are tables (change-batch.ts).
import type { CommittedChange } from "../route-store.ts";
import { netChange } from "./change-batch.ts";
import { appendToLog } from "./change-log.ts";
import { writeNameConfig, writeNames, writeRouteChange, writeRouteData, writeRoutes } from "./route-write.ts";
import type { SqlDialect, SqlSession } from "./sql-database.ts";

/**
 * `changes` in the order of their revisions. Returns how many rows of RouteChange that makes. `added`: called when so many
 * rows were added to RouteData.
 */
export async function writeChanges(
  session: SqlSession,
  dialect: SqlDialect,
  changes: readonly CommittedChange[],
  added?: (rows: number) => Promise<void>,
): Promise<number> {
  if (changes.length === 0) return 0;
  const net = netChange(changes);
  await appendToLog(session, changes);
  await writeRoutes(session, dialect, net);
  await writeRouteData(session, net.data);
  await added?.(net.data.added.length);
  const marks = await writeRouteChange(session, net);
  for (const { revision, names, action } of changes) {
    if (names.length === 0) continue;
    await writeNames(session, dialect, revision, names);
    if (action !== "adopt") await writeNameConfig(session, names);
  }
  return marks;
}
