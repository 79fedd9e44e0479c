// An existing Lars database (a dump of the original's tables, with the duplicates such databases have) is taken over in
// place, and the tools that wrote it go on working. Needs a MariaDB server.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Database } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { adopt, commit, host, oldDelete, oldInsert, readAll } from "../store/store-fixture.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";

const DUMP = new URL("../fixtures/old-lars-database.sql", import.meta.url).pathname;
const NAME = "old_lars";

let mariadb: Mariadb;
let store: Database;
let before: Record<string, unknown[][]>;
const ORIGINAL = {
  RouteData: "SELECT id, modid, cmdid, serverip, serverport FROM RouteData ORDER BY id",
  ServerCallStatus: "SELECT * FROM ServerCallStatus ORDER BY modid, cmdid, ip, port, caller",
  ModIDConfig: "SELECT * FROM ModIDConfig ORDER BY id",
  CmdIDConfig: "SELECT * FROM CmdIDConfig ORDER BY id",
  RouteVersion: "SELECT * FROM RouteVersion",
  RouteChange: "SELECT * FROM RouteChange",
};

async function original(): Promise<Record<string, unknown[][]>> {
  const rows: Record<string, unknown[][]> = {};
  for (const [table, sql] of Object.entries(ORIGINAL)) rows[table] = await mariadb.sql(NAME, sql);
  return rows;
}

beforeAll(async () => {
  mariadb = await sharedMariadb();
  const url = await mariadb.createDatabase(NAME);
  await mariadb.load(DUMP, NAME);
  before = await original();
  store = await openDatabase(url);
  await store.migrate();
}, 120_000);

afterAll(async () => {
  await store?.close();
  await mariadb?.remove();
}, 60_000);

describe("an old Lars database", () => {
  test("keeps every row of the original's tables when it is migrated", async () => {
    expect(before.RouteData).toHaveLength(3_855);
    expect(await original()).toEqual(before);
  });

  test("is one foreign change: 384 modules, 3,855 rows of which 63 are duplicates, and every name", async () => {
    expect(await store.routes.head()).toMatchObject({ revision: 0, foreignMoved: true });
    expect(await adopt(store.routes)).toBe(384 + 16 + 8);
    const all = await readAll(store.routes);
    const routes = [...all.routes()];
    expect(routes).toHaveLength(384);
    expect(routes.reduce((sum, { hosts }) => sum + hosts.length, 0)).toBe(3_855 - 63);
    expect(all.name("modid", 3)).toBe("支付");
    expect(all.name("cmdid", 8)).toBe("预热");
    expect(await store.routes.changes(0, 10)).toMatchObject([{ who: "sql", action: "adopt" }]);
    const after = await original();
    for (const table of ["RouteData", "ServerCallStatus", "ModIDConfig", "CmdIDConfig"]) {
      expect(after[table]).toEqual(before[table]!);
    }
    expect((await store.routes.head()).foreignMoved).toBe(false);
    expect(await adopt(store.routes)).toBe(0);
  });

  test("its call statistics are read as they are", async () => {
    const rows = await store.reports.status({ limit: 10_000 });
    expect(rows).toHaveLength(before.ServerCallStatus!.length);
    expect(rows[0]).toEqual({
      modid: 1,
      cmdid: 2,
      ip: 1681916137,
      port: 8080,
      caller: 167772161,
      succ: 4743,
      err: 4,
      overload: false,
      ts: 1732100000,
    });
  });

  test("an old tool's INSERT, with and without a column list, and its bump of the version still work", async () => {
    await mariadb.sql(
      NAME,
      oldInsert(900, 1, host(1)),
      "INSERT INTO RouteData VALUES (NULL, 900, 1, 167772162, 8000)",
      "UPDATE RouteVersion SET version = UNIX_TIMESTAMP() + 1 WHERE id = 1",
    );
    expect((await mariadb.sql(NAME, "SELECT * FROM RouteData WHERE modid = 900"))[0]).toHaveLength(5);
    expect((await store.routes.head()).foreignMoved).toBe(true);
    expect(await adopt(store.routes)).toBe(1);
    expect((await readAll(store.routes)).hosts(900, 1)).toEqual([host(1), host(2)]);
  });

  test("an old tool's DELETE of one duplicate changes nothing, of all of them removes the host", async () => {
    const [modid, cmdid, ip, port, id] = (
      await mariadb.sql(
        NAME,
        "SELECT modid, cmdid, serverip, serverport, MIN(id) FROM RouteData GROUP BY 1, 2, 3, 4 HAVING COUNT(*) > 1 LIMIT 1",
      )
    )[0] as number[];
    const hosts = (await readAll(store.routes)).hosts(modid!, cmdid!)!;
    await mariadb.sql(NAME, `DELETE FROM RouteData WHERE id = ${id}`);
    expect(await adopt(store.routes)).toBe(0);
    const gone = hosts.find((candidate) => candidate.ip === (ip! | 0) && candidate.port === port)!;
    await mariadb.sql(NAME, oldDelete(modid!, cmdid!, gone));
    expect(await adopt(store.routes)).toBe(1);
    expect((await readAll(store.routes)).hosts(modid!, cmdid!)).toEqual(
      hosts.filter((candidate) => candidate !== gone),
    );
  });

  test("a name with a character that the old column could not hold is stored", async () => {
    await commit(store.routes, { action: "put-names", names: [{ scope: "modid", id: 3, name: "支付 💰" }] });
    expect(await mariadb.sql(NAME, "SELECT content FROM ModIDConfig WHERE modid = 3")).toEqual([["支付 💰"]]);
    expect(await adopt(store.routes)).toBe(0);
  });

  test("counts that went negative in 32 signed bits become what was counted", async () => {
    const url = await mariadb.createDatabase("old_negative");
    await mariadb.load(DUMP, "old_negative");
    await mariadb.sql("old_negative", "UPDATE ServerCallStatus SET succ_cnt = -1, err_cnt = -2147483648 LIMIT 1");
    const negative = await openDatabase(url);
    await negative.migrate();
    const sql = "SELECT succ_cnt, err_cnt FROM ServerCallStatus WHERE succ_cnt > 2147483647 OR err_cnt > 2147483647";
    expect(await mariadb.sql("old_negative", sql)).toEqual([[4294967295, 2147483648]]);
    await negative.close();
  });

  test("an empty database ends with the same tables as an old one", async () => {
    const url = await mariadb.createDatabase("from_nothing");
    const fresh = await openDatabase(url);
    await fresh.migrate();
    await fresh.close();
    const columns = (name: string) =>
      mariadb.sql(
        name,
        `SELECT table_name, column_name, REGEXP_REPLACE(column_type, 'int[(][0-9]+[)]', 'int'), is_nullable, column_default, extra FROM information_schema.columns WHERE table_schema = '${name}' ORDER BY 1, 2`,
      );
    const keys = (name: string) =>
      mariadb.sql(
        name,
        `SELECT table_name, index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics WHERE table_schema = '${name}' ORDER BY 1, 2, 3`,
      );
    expect(await columns("from_nothing")).toEqual(await columns(NAME));
    expect(await keys("from_nothing")).toEqual(await keys(NAME));
  });
});
