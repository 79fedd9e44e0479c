// Puts a committed change into the route tables: ours always, the original's unless the change was found there. Only
// what differs is written, in as few statements as there are kinds of difference, so that one host of a module with a
// thousand costs one row and an import of a million costs a thousand statements.
import type { Endpoint } from "../../core/endpoint.ts";
import type { ModuleKey } from "../../core/module-key.ts";
import type { NameEdit, NameScope } from "../../core/route-change.ts";
import type { HostOfModule, HostWrites, NetChange } from "./change-batch.ts";
import { chunks, insertRows, postRows } from "./insert-rows.ts";
import { endpointCondition, MAX_TERMS } from "./module-condition.ts";
import { policyColumns } from "./policy-column.ts";
import type { SqlDialect, SqlSession, SqlValue } from "./sql-database.ts";

function hostValues({ modid, cmdid, ip, port, weight, zone, state }: HostOfModule): SqlValue[] {
  return [modid >>> 0, cmdid >>> 0, ip >>> 0, port, weight, zone, state];
}

async function deleteHosts(
  session: SqlSession,
  table: string,
  hosts: readonly (ModuleKey & Endpoint)[],
): Promise<void> {
  const [ip, port] = table === "RouteData" ? ["serverip", "serverport"] : ["ip", "port"];
  for (const part of chunks(hosts, MAX_TERMS)) {
    await session.post(`DELETE FROM ${table} WHERE ${endpointCondition(part, ip!, port!)}`);
  }
}

/** Routes and hosts of our own tables. */
export async function writeRoutes(
  session: SqlSession,
  dialect: SqlDialect,
  { routes, hosts }: NetChange,
): Promise<void> {
  await postRows(
    session,
    "INSERT INTO lars_route (modid, cmdid, name, revision, policy, policy_parameters, vanished_from)",
    routes.map(({ edit: { modid, cmdid, name, policy, vanishedFrom = 0 }, revision }) => [
      modid >>> 0,
      cmdid >>> 0,
      name,
      revision,
      ...policyColumns(policy),
      vanishedFrom,
    ]),
    dialect.onConflict(["modid", "cmdid"], {
      name: "set",
      revision: "set",
      policy: "set",
      policy_parameters: "set",
      vanished_from: "set",
    }),
  );
  await deleteHosts(session, "lars_host", hosts.removed);
  await postRows(
    session,
    "INSERT INTO lars_host (modid, cmdid, ip, port, weight, zone, state, leased)",
    [...hosts.changed, ...hosts.added].map((host) => [...hostValues(host), host.leased === true ? 1 : 0]),
    dialect.onConflict(["modid", "cmdid", "ip", "port"], { weight: "set", zone: "set", state: "set", leased: "set" }),
  );
}

/** The original's RouteData. All rows of an endpoint are treated alike: duplicates mean one host. */
export async function writeRouteData(session: SqlSession, { added, changed, removed }: HostWrites): Promise<void> {
  await deleteHosts(session, "RouteData", removed);
  const alike = new Map<string, HostOfModule[]>();
  for (const host of changed) {
    const values = JSON.stringify([host.weight, host.zone, host.state]);
    const group = alike.get(values);
    if (group === undefined) alike.set(values, [host]);
    else group.push(host);
  }
  for (const group of alike.values()) {
    const { weight, zone, state } = group[0]!;
    for (const part of chunks(group, MAX_TERMS)) {
      await session.post(
        `UPDATE RouteData SET weight = ?, zone = ?, state = ? WHERE ${endpointCondition(part, "serverip", "serverport")}`,
        [weight, zone, state],
      );
    }
  }
  await postRows(
    session,
    "INSERT INTO RouteData (modid, cmdid, serverip, serverport, weight, zone, state)",
    added.map(hostValues),
  );
}

/** For the original's readers. Returns how many rows. */
export async function writeRouteChange(session: SqlSession, { marks }: NetChange): Promise<number> {
  const rows = marks.map(({ modid, cmdid, revision }) => [modid >>> 0, cmdid >>> 0, revision]);
  await postRows(session, "INSERT INTO RouteChange (modid, cmdid, version)", rows);
  return rows.length;
}

/** Names of our own table. A name taken away keeps its row: its revision is how readers learn of it. */
export async function writeNames(
  session: SqlSession,
  dialect: SqlDialect,
  revision: number,
  edits: readonly NameEdit[],
): Promise<void> {
  await postRows(
    session,
    "INSERT INTO lars_name (scope, id, name, revision)",
    edits.map(({ scope, id, name }) => [scope, id >>> 0, name, revision]),
    dialect.onConflict(["scope", "id"], { name: "set", revision: "set" }),
  );
}

async function writeContent(
  session: SqlSession,
  scope: NameScope,
  table: string,
  edits: readonly NameEdit[],
): Promise<void> {
  for (const part of chunks(edits, MAX_TERMS)) {
    const gone = part.filter(({ name }) => name === "").map(({ id }) => id >>> 0);
    if (gone.length > 0) await session.run(`DELETE FROM ${table} WHERE ${scope} IN (${gone})`);
    const named = part.filter(({ name }) => name !== "");
    if (named.length === 0) continue;
    const ids = named.map(({ id }) => id >>> 0);
    const present = new Set(
      (await session.rows<[number]>(`SELECT DISTINCT ${scope} FROM ${table} WHERE ${scope} IN (${ids})`)).map(
        ([id]) => id,
      ),
    );
    const update = named.filter(({ id }) => present.has(id >>> 0));
    if (update.length > 0) {
      const cases = update.map(({ id }) => `WHEN ${id >>> 0} THEN ?`).join(" ");
      await session.run(
        `UPDATE ${table} SET content = CASE ${scope} ${cases} ELSE content END WHERE ${scope} IN (${update.map(({ id }) => id >>> 0)})`,
        update.map(({ name }) => name),
      );
    }
    await insertRows(
      session,
      `INSERT INTO ${table} (${scope}, content)`,
      named.filter(({ id }) => !present.has(id >>> 0)).map(({ id, name }) => [id >>> 0, name]),
    );
  }
}

/** The original's ModIDConfig and CmdIDConfig. */
export async function writeNameConfig(session: SqlSession, edits: readonly NameEdit[]): Promise<void> {
  const of = (scope: NameScope) => edits.filter((edit) => edit.scope === scope);
  await writeContent(session, "modid", "ModIDConfig", of("modid"));
  await writeContent(session, "cmdid", "CmdIDConfig", of("cmdid"));
}
