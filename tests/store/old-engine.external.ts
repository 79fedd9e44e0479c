// Old databases on a single server whose tables are not transactional.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { openDatabase } from "../../src/store/open.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";
import { commit, host, readAll } from "./store-fixture.ts";

let mariadb: Mariadb;
beforeAll(async () => {
  mariadb = await sharedMariadb();
}, 120_000);
afterAll(() => mariadb?.remove(), 60_000);

test("MyISAM tables of an old database become InnoDB with all their rows, and a write that fails leaves none behind", async () => {
  const url = await mariadb.createDatabase("old_engine");
  const key = "id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY";
  const route = "modid INT UNSIGNED NOT NULL, cmdid INT UNSIGNED NOT NULL";
  await mariadb.sql(
    "old_engine",
    `CREATE TABLE RouteData (${key}, ${route}, serverip INT UNSIGNED NOT NULL, serverport INT UNSIGNED NOT NULL) ENGINE=MyISAM`,
    `CREATE TABLE RouteChange (${key}, ${route}, version BIGINT UNSIGNED NOT NULL) ENGINE=Aria`,
    "INSERT INTO RouteData (modid, cmdid, serverip, serverport) VALUES (1, 1, 167772161, 8000), (1, 1, 167772162, 8000)",
  );
  const store = await openDatabase(url);
  await store.migrate();
  const engines = await mariadb.sql(
    "old_engine",
    "SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'old_engine'",
  );
  expect(engines).toEqual([["InnoDB"]]);
  await commit(store.routes, { action: "add-host", modid: 2, cmdid: 2, host: host(9) });
  await expect(
    store.routes.write(async (tx) => {
      const diff = { added: [host(5)], changed: [], removed: [] };
      const route = { modid: 3, cmdid: 3, before: undefined, name: "", policy: NO_CHOICE, diff };
      const change = { revision: tx.revision + 1, atMs: 1, who: "", action: "put-route", requestId: "", names: [] };
      await tx.append({ ...change, routes: [{ ...route, hosts: [host(5)] }] });
      await tx.readSince(0);
      throw new Error("changed its mind");
    }),
  ).rejects.toThrow("changed its mind");
  expect(
    await mariadb.sql("old_engine", "SELECT modid, COUNT(*) FROM RouteData GROUP BY modid ORDER BY modid"),
  ).toEqual([
    [1, 2],
    [2, 1],
  ]);
  expect((await readAll(store.routes)).hosts(3, 3)).toBeUndefined();
  await store.close();
}, 30_000);
