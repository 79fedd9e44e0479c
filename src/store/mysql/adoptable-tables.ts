// What an existing database's tables must be before we write to them. An old one may have been made where MyISAM was the
// default. There a transaction that is rolled back leaves its rows behind; so such tables are converted, which keeps every
// row and which no old tool notices. On a Galera cluster that is not ours to do: rows of such a table were never sent to the
// other nodes, so each may hold other rows, and only a person can say which are right. Nor can a cluster be relied on
// with a table that has no primary key: it cannot name the rows it tells the other nodes to delete.
import type { SqlSession } from "../sql/sql-database.ts";
import { isOn, VARIABLES_QUERY } from "./node-state.ts";

const OLD_TABLES = ["RouteData", "RouteVersion", "RouteChange", "ServerCallStatus", "ModIDConfig", "CmdIDConfig"];
const NAMES = OLD_TABLES.map((name) => `'${name}'`).join(", ");

/** An existing table is not fit for a cluster. The message says what to do. */
export class UnfitTables extends Error {
  override name = "UnfitTables";
}

/** @throws UnfitTables */
export async function makeTablesAdoptable(session: SqlSession): Promise<void> {
  const variables = new Map((await session.rows<[string, string]>(VARIABLES_QUERY)).map(([name, on]) => [name, on]));
  const galera = isOn(variables.get("wsrep_on"));
  const foreign = await session.rows<[string, string]>(
    "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'" +
      ` AND TABLE_NAME IN (${NAMES}) AND ENGINE <> 'InnoDB' ORDER BY TABLE_NAME`,
  );
  if (galera) {
    const [table] = foreign;
    if (table !== undefined) {
      throw new UnfitTables(
        `table ${table[0]} has engine ${table[1]}, which a Galera cluster does not send to its other nodes: they may hold other` +
          ` rows. Compare them, then on the node that is right: ALTER TABLE ${table[0]} ENGINE=InnoDB, and let the others take` +
          " their state from it anew",
      );
    }
    const keyless = await session.rows<[string]>(
      "SELECT t.TABLE_NAME FROM information_schema.TABLES t LEFT JOIN information_schema.TABLE_CONSTRAINTS c ON" +
        " c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY'" +
        ` WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME IN (${NAMES}) AND c.CONSTRAINT_NAME IS NULL ORDER BY t.TABLE_NAME`,
    );
    const name = keyless[0]?.[0];
    if (name !== undefined) {
      throw new UnfitTables(
        `table ${name} has no primary key, and a Galera cluster cannot delete rows of such a table on all nodes:` +
          ` ALTER TABLE ${name} ADD PRIMARY KEY (id), or whatever identifies its rows, then start again`,
      );
    }
    return;
  }
  for (const [table] of foreign) await session.run(`ALTER TABLE ${table} ENGINE=InnoDB`);
}
