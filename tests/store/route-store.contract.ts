// What every route store does, whatever the database. Run by sqlite.test.ts and mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Host, makeHost, normalizeHosts } from "../../src/core/assignment.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { RouteContent } from "../../src/core/route-change.ts";
import type { Database } from "../../src/store/database.ts";
import type { Foreign } from "../../src/store/route-store.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import {
  adopt,
  adoptByLook,
  commit,
  host,
  type MakeDatabase,
  NOW_MS,
  oldDelete,
  oldInsert,
  oldVersion,
  Replica,
  readAll,
  scalar,
  type TestDatabase,
} from "./store-fixture.ts";

const SECONDS = NOW_MS / 1000;

export function routeStoreContract(name: string, make: MakeDatabase, timeout = 20_000): void {
  describe(`${name}: route store`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function openStore(database: TestDatabase): Promise<Database> {
      const store = await database.open();
      opened.push(store);
      return store;
    }

    async function fresh() {
      const database = await make();
      const store = await openStore(database);
      await store.migrate();
      return { database, store, routes: store.routes };
    }

    test("a new database is at revision 0 with nothing in it and nothing foreign", async () => {
      const { routes } = await fresh();
      expect(await routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
      expect(await routes.readSince(0)).toEqual({ revision: 0, routes: [], names: [] });
      expect(await adopt(routes)).toBe(0);
      expect(await routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
    });

    test("a committed route is read back, in our tables and the original's", async () => {
      const { database, routes } = await fresh();
      const hosts = [host(1), host(2, { weight: 7, zone: "zürich", state: "draining" })];
      expect(await commit(routes, { action: "put-route", modid: 1, cmdid: -2, name: "支付 🚀", hosts })).toBe(SECONDS);
      expect(await routes.head()).toMatchObject({ revision: SECONDS, foreignMoved: false });
      const delta = await routes.readSince(0);
      expect(delta).toEqual({
        revision: SECONDS,
        routes: [{ modid: 1, cmdid: -2, name: "支付 🚀", policy: NO_CHOICE, revision: SECONDS, hosts }],
        names: [],
      });
      expect(
        await database.sql("SELECT modid, cmdid, serverip, serverport, weight, zone, state FROM RouteData ORDER BY id"),
      ).toEqual([
        [1, 4294967294, 0x0a000001, 8000, 100, "", "up"],
        [1, 4294967294, 0x0a000002, 8000, 7, "zürich", "draining"],
      ]);
      expect(await scalar(database, "SELECT version FROM RouteVersion")).toBe(SECONDS);
      expect(await database.sql("SELECT modid, cmdid, version FROM RouteChange")).toEqual([[1, 4294967294, SECONDS]]);
    });

    test("addresses from 128.0.0.0 up stay what they are, and hosts come sorted by address", async () => {
      const { routes } = await fresh();
      const hosts = [makeHost(0x7f000001, 1), makeHost(0xc0a80001 | 0, 65535), makeHost(0xffffffff | 0, 2)];
      await commit(routes, { action: "put-route", modid: 0, cmdid: 0, hosts: [...hosts].reverse() });
      expect((await readAll(routes)).hosts(0, 0)).toEqual(hosts);
    });

    test("work that throws leaves nothing behind, and its error comes through", async () => {
      const { database, routes } = await fresh();
      const failure = new Error("mine");
      const attempt = routes.write(async (tx) => {
        const edit = { modid: 1, cmdid: 1, before: undefined, name: "", policy: NO_CHOICE, hosts: [host(1)] };
        await tx.append({
          revision: 5,
          atMs: 1,
          who: "w",
          action: "put-route",
          requestId: "",
          routes: [{ ...edit, diff: { added: [host(1)], changed: [], removed: [] } }],
          names: [{ scope: "modid", id: 1, name: "n", before: "" }],
        });
        throw failure;
      });
      await expect(attempt).rejects.toBe(failure);
      expect(await routes.readSince(0)).toEqual({ revision: 0, routes: [], names: [] });
      for (const table of ["RouteData", "RouteChange", "ModIDConfig", "lars_change", "lars_change_item"]) {
        expect([table, await scalar(database, `SELECT COUNT(*) FROM ${table}`)]).toEqual([table, 0]);
      }
      expect(await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) })).toBe(SECONDS);
    });

    test("a revision that does not increase is refused", async () => {
      const { routes } = await fresh();
      await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      const change = { atMs: 1, who: "", action: "import", requestId: "", routes: [], names: [] };
      const attempt = routes.write((tx) => tx.append({ ...change, revision: SECONDS }));
      await expect(attempt).rejects.toThrow(`the last one is ${SECONDS}, got ${SECONDS}`);
    });

    test("a reader is given what changed since its revision, removals included, and nothing else", async () => {
      const { routes } = await fresh();
      for (const modid of [1, 2, 3])
        await commit(routes, { action: "put-route", modid, cmdid: 1, name: `m${modid}`, hosts: [host(1), host(2)] });
      const { revision } = await routes.head();
      await commit(routes, { action: "remove-host", modid: 1, cmdid: 1, endpoint: host(1) });
      await commit(routes, { action: "remove-route", modid: 2, cmdid: 1 });
      await commit(routes, { action: "put-names", names: [{ scope: "cmdid", id: -1, name: "x" }] });
      expect(await routes.readSince(revision)).toEqual({
        revision: revision + 3,
        routes: [
          { modid: 1, cmdid: 1, name: "m1", policy: NO_CHOICE, revision: revision + 1, hosts: [host(2)] },
          { modid: 2, cmdid: 1, name: "", policy: NO_CHOICE, revision: revision + 2, hosts: [] },
        ],
        names: [{ scope: "cmdid", id: -1, name: "x", revision: revision + 3 }],
      });
      expect(await routes.readSince(revision + 3)).toEqual({ revision: revision + 3, routes: [], names: [] });
    });

    test("two stores writing at once lose no update, and each write has a revision of its own", async () => {
      const { database, store } = await fresh();
      const other = await openStore(database);
      const revisions = await Promise.all(
        Array.from({ length: 40 }, (_, i) =>
          commit([store, other][i % 2]!.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(i) }),
        ),
      );
      expect(new Set(revisions).size).toBe(40);
      expect(Math.max(...revisions)).toBe(SECONDS + 39);
      expect((await readAll(store.routes)).hosts(1, 1)).toHaveLength(40);
      expect((await store.routes.changes(0, 100)).map(({ revision }) => revision)).toEqual(
        revisions.sort((a, b) => a - b),
      );
      expect(await adopt(store.routes)).toBe(0);
      expect(await store.routes.head()).toMatchObject({ revision: SECONDS + 39, foreignMoved: false });
    });

    test("rows inserted by an old tool are one foreign change, duplicates are one host, and stay as rows", async () => {
      const { database, routes } = await fresh();
      await commit(routes, { action: "put-route", modid: 1, cmdid: 1, name: "kept", hosts: [host(1)] });
      await database.sql(oldInsert(1, 1, host(2), host(2), host(1)), oldInsert(9, 9, host(3)), oldVersion(SECONDS + 5));
      expect(await routes.head()).toMatchObject({ revision: SECONDS, foreignMoved: true });
      expect((await readAll(routes)).hosts(1, 1)).toEqual([host(1)]);
      expect(await adopt(routes)).toBe(2);
      expect(await routes.head()).toMatchObject({ revision: SECONDS + 1, foreignMoved: false });
      const now = await readAll(routes);
      expect(now.route(1, 1)).toEqual({
        modid: 1,
        cmdid: 1,
        name: "kept",
        policy: NO_CHOICE,
        revision: SECONDS + 1,
        hosts: [host(1), host(2)],
      });
      expect(now.hosts(9, 9)).toEqual([host(3)]);
      expect(await scalar(database, "SELECT COUNT(*) FROM RouteData")).toBe(5);
      expect(await adopt(routes)).toBe(0);
      expect(await routes.head()).toMatchObject({ revision: SECONDS + 1, foreignMoved: false });
    });

    test("rows deleted by an old tool, which leaves no sign, are found by comparing; a module without rows comes back empty", async () => {
      const { database, routes } = await fresh();
      await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1), host(2)] });
      await commit(routes, { action: "put-route", modid: 2, cmdid: 1, hosts: [host(1)] });
      await database.sql(oldDelete(1, 1, host(1)), "DELETE FROM RouteData WHERE modid = 2");
      expect((await routes.head()).foreignMoved).toBe(false);
      const foreign = await routes.write((tx) => tx.findForeign());
      expect([...foreign.routes].sort((a, b) => a.modid - b.modid)).toEqual([
        { modid: 1, cmdid: 1, hosts: [host(2)] },
        { modid: 2, cmdid: 1, hosts: [] },
      ]);
      await adopt(routes);
      expect((await readAll(routes)).hosts(2, 1)).toEqual([]);
    });

    test("of foreign changes, only those of the named modules are looked for when modules are named", async () => {
      const { database, routes } = await fresh();
      await database.sql(
        oldInsert(1, 1, host(1)),
        oldInsert(2, 2, host(2)),
        "INSERT INTO ModIDConfig (modid, content) VALUES (1, 'n')",
      );
      const keys = [
        { modid: 2, cmdid: 2 },
        { modid: 3, cmdid: 3 },
      ];
      expect(await routes.write((tx) => tx.findForeign(keys))).toEqual({
        routes: [{ modid: 2, cmdid: 2, hosts: [host(2)] }],
        names: [],
        badRows: 0,
      });
    });

    test("what our columns say in a row changed by hand is adopted, within its limits", async () => {
      const { database, routes } = await fresh();
      const columns = "INSERT INTO RouteData (modid, cmdid, serverip, serverport, weight, zone, state) VALUES";
      await database.sql(
        `${columns} (1, 1, 1, 8000, 250, 'z', 'draining')`,
        `${columns} (1, 1, 2, 8000, 0, '${"é".repeat(33)}', 'down')`,
        `${columns} (1, 1, 3, 8000, 4000000000, '', 'up')`,
        `${columns} (1, 1, 4, 8000, 100, '', 'off')`,
        `${columns} (1, 1, 5, 0, 100, '', 'up'), (1, 1, 5, 65536, 100, '', 'up')`,
        `${columns} (2, 1, 5, 0, 100, '', 'up')`,
      );
      const foreign = await routes.write((tx) => tx.findForeign());
      expect(foreign.badRows).toBe(4);
      expect(foreign.routes).toEqual([
        {
          modid: 1,
          cmdid: 1,
          hosts: [
            makeHost(1, 8000, { weight: 250, zone: "z", state: "draining" }),
            makeHost(2, 8000, { weight: 1, state: "down" }),
            makeHost(3, 8000, { weight: 10_000 }),
          ],
        },
      ]);
      await adopt(routes);
      expect(await adopt(routes)).toBe(0);
    });

    test("of duplicate rows that differ, the one with the lowest id counts", async () => {
      const { database, routes } = await fresh();
      const columns = "INSERT INTO RouteData (modid, cmdid, serverip, serverport, weight) VALUES";
      await database.sql(`${columns} (1, 1, 1, 80, 5)`, `${columns} (1, 1, 1, 80, 6)`);
      await adopt(routes);
      expect((await readAll(routes)).hosts(1, 1)).toEqual([makeHost(1, 80, { weight: 5 })]);
    });

    test("a host that is changed or removed is so in all its duplicate rows", async () => {
      const { database, routes } = await fresh();
      await database.sql(oldInsert(1, 1, host(1), host(1), host(2), host(2)));
      await adopt(routes);
      await commit(routes, { action: "set-host", modid: 1, cmdid: 1, endpoint: host(1), weight: 3, zone: "a'b\\" });
      await commit(routes, { action: "remove-host", modid: 1, cmdid: 1, endpoint: host(2) });
      expect(await database.sql("SELECT serverip, weight, zone FROM RouteData")).toEqual([
        [0x0a000001, 3, "a'b\\"],
        [0x0a000001, 3, "a'b\\"],
      ]);
      expect(await adopt(routes)).toBe(0);
    });

    test("RouteVersion set backwards is a foreign mark; our revisions go on increasing and it ends at ours or above", async () => {
      const { database, routes } = await fresh();
      const first = await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      await database.sql(oldInsert(1, 1, host(2)), oldVersion(7));
      expect((await routes.head()).foreignMoved).toBe(true);
      await adopt(routes);
      expect(await routes.head()).toMatchObject({ revision: first + 1, foreignMoved: false });
      expect(await scalar(database, "SELECT version FROM RouteVersion")).toBe(first + 1);
      await database.sql(oldVersion(8));
      expect(await adopt(routes)).toBe(0);
      expect(await scalar(database, "SELECT version FROM RouteVersion")).toBe(first + 1);
      expect(await routes.head()).toMatchObject({ revision: first + 1, foreignMoved: false });
    });

    test("RouteVersion moved without a change of data is settled without a revision", async () => {
      const { database, routes } = await fresh();
      const first = await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      await database.sql(oldVersion(first + 60));
      expect(await adopt(routes)).toBe(0);
      expect(await routes.head()).toMatchObject({ revision: first, foreignMoved: false });
      expect(await scalar(database, "SELECT version FROM RouteVersion")).toBe(first + 60);
    });

    test("RouteVersion at the end of its 32 bits breaks nothing and still moves", async () => {
      const { database, routes } = await fresh();
      await database.sql(oldVersion(4294967294));
      await adopt(routes);
      const seen = [await scalar(database, "SELECT version FROM RouteVersion")];
      for (let i = 0; i < 3; i++) {
        const revision = await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(i) });
        const version = (await scalar(database, "SELECT version FROM RouteVersion")) as number;
        expect(version).not.toBe(seen.at(-1) as number);
        expect(version).toBeGreaterThanOrEqual(revision);
        expect(await routes.head()).toMatchObject({ revision, foreignMoved: false });
        seen.push(version);
      }
    });

    test("RouteVersion's row may be missing; the next commit brings it back", async () => {
      const { database, routes } = await fresh();
      const first = await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      await database.sql("DELETE FROM RouteVersion");
      expect((await routes.head()).foreignMoved).toBe(true);
      await adopt(routes);
      expect(await routes.head()).toMatchObject({ revision: first, foreignMoved: false });
      expect(await database.sql("SELECT id, version FROM RouteVersion")).toEqual([[1, first]]);
    });

    for (const [what, mark] of [
      ["RouteVersion moved ahead", oldVersion(SECONDS + 100)],
      ["RouteVersion moved back", oldVersion(3)],
      ["RouteVersion moved to what our next commit will write", oldVersion(SECONDS + 1)],
      ["a RouteChange row", "INSERT INTO RouteChange (modid, cmdid, version) VALUES (1, 1, 1)"],
    ] as const) {
      test(`a foreign mark that a commit of ours does not adopt outlives it: ${what}`, async () => {
        const { database, routes } = await fresh();
        await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
        await database.sql(oldInsert(2, 2, host(9)), mark);
        for (let i = 2; i < 5; i++) {
          await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(i) });
          expect((await routes.head()).foreignMoved).toBe(true);
        }
        expect(await adopt(routes)).toBe(1);
        expect((await routes.head()).foreignMoved).toBe(false);
      });
    }

    test("a foreign change that two stores notice at once becomes one revision", async () => {
      const { database, store } = await fresh();
      const other = await openStore(database);
      await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS));
      const found = await Promise.all([
        adopt(store.routes),
        adopt(other.routes),
        adopt(store.routes),
        adopt(other.routes),
      ]);
      expect(found.sort()).toEqual([0, 0, 0, 1]);
      expect(await store.routes.changes(0, 10)).toHaveLength(1);
    });

    test("a name is written to every row of its id, or to a new one, and its rows go when it is taken away", async () => {
      const { database, routes } = await fresh();
      await database.sql("INSERT INTO ModIDConfig (modid, content) VALUES (1, 'first'), (1, 'last'), (2, 'two')");
      expect(await adopt(routes)).toBe(2);
      expect((await readAll(routes)).name("modid", 1)).toBe("last");
      const names = [
        { scope: "modid", id: 1, name: "one" },
        { scope: "modid", id: 2, name: "" },
        { scope: "modid", id: -1, name: "minus 🙂" },
        { scope: "cmdid", id: 1, name: "get" },
      ] as const;
      await commit(routes, { action: "put-names", names });
      expect(await database.sql("SELECT modid, content FROM ModIDConfig ORDER BY id")).toEqual([
        [1, "one"],
        [1, "one"],
        [4294967295, "minus 🙂"],
      ]);
      expect(await database.sql("SELECT cmdid, content FROM CmdIDConfig")).toEqual([[1, "get"]]);
      expect(await adopt(routes)).toBe(0);
      await commit(routes, { action: "put-names", names: [{ scope: "modid", id: -1, name: "minus 🙃" }] });
      expect(await scalar(database, "SELECT content FROM ModIDConfig WHERE modid = 4294967295")).toBe("minus 🙃");
      expect(await scalar(database, "SELECT COUNT(*) FROM ModIDConfig")).toBe(3);
      await database.sql("UPDATE CmdIDConfig SET content = 'put'", "DELETE FROM ModIDConfig WHERE modid = 1");
      expect(await adopt(routes)).toBe(2);
      const now = await readAll(routes);
      expect([now.name("modid", 1), now.name("modid", 2), now.name("modid", -1), now.name("cmdid", 1)]).toEqual([
        "",
        "",
        "minus 🙃",
        "put",
      ]);
    });

    test("a name with trailing spaces, which the original's columns drop, is not foreign", async () => {
      const { routes } = await fresh();
      await commit(routes, { action: "put-names", names: [{ scope: "modid", id: 1, name: "pay  " }] });
      expect(await adopt(routes)).toBe(0);
    });

    test("the log names who, what and only the hosts that differ", async () => {
      const { database, routes } = await fresh();
      await commit(routes, { action: "put-route", modid: 1, cmdid: -1, name: "a", hosts: [host(1), host(2)] });
      await commit(routes, {
        action: "put-route",
        modid: 1,
        cmdid: -1,
        name: "b",
        hosts: [host(2, { weight: 5 }), host(3)],
      });
      await commit(routes, { action: "put-names", names: [{ scope: "modid", id: 1, name: "pay" }] });
      await database.sql(oldDelete(1, -1, host(3)));
      await adopt(routes);
      const log = (n: number, options = {}) => ({
        ip: `10.0.0.${n}`,
        port: 8000,
        weight: 100,
        zone: "",
        state: "up",
        ...options,
      });
      const entries = await routes.changes(SECONDS, 2);
      expect(entries).toEqual([
        {
          revision: SECONDS + 1,
          atMs: NOW_MS,
          who: "test",
          action: "put-route",
          requestId: "r1",
          items: [
            {
              kind: "route",
              modid: 1,
              cmdid: -1,
              before: { name: "a", hosts: [log(1), log(2)] },
              after: { name: "b", hosts: [log(2, { weight: 5 }), log(3)] },
            },
          ],
        },
        {
          revision: SECONDS + 2,
          atMs: NOW_MS,
          who: "test",
          action: "put-names",
          requestId: "r1",
          items: [{ kind: "name", scope: "modid", id: 1, before: "", after: "pay" }],
        },
      ]);
      expect(await routes.changes(SECONDS + 2, 10)).toMatchObject([
        { who: "sql", action: "adopt", items: [{ before: { hosts: [log(3)] }, after: { hosts: [] } }] },
      ]);
    });

    test("pruning keeps the newest entries and RouteChange rows, and is no foreign mark", async () => {
      const { database, routes } = await fresh();
      // So many hosts that its items are rows of their own.
      const many = Array.from({ length: 60 }, (_, i) => host(100 + i));
      await commit(routes, { action: "put-route", modid: 2, cmdid: 1, hosts: many });
      for (let i = 1; i < 6; i++) await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(i) });
      expect((await routes.changes(0, 10)).map(({ items }) => items.length)).toEqual([1, 1, 1, 1, 1, 1]);
      expect(await scalar(database, "SELECT COUNT(*) FROM lars_change_item")).toBe(1);
      expect(await routes.prune(4)).toBe(4);
      expect((await routes.changes(0, 10)).map(({ revision }) => revision - SECONDS)).toEqual([2, 3, 4, 5]);
      expect(await scalar(database, "SELECT COUNT(*) FROM lars_change_item")).toBe(0);
      expect(await scalar(database, "SELECT COUNT(*) FROM RouteChange")).toBe(4);
      expect(await routes.prune(0)).toBe(7);
      expect(await routes.head()).toMatchObject({ revision: SECONDS + 5, foreignMoved: false });
      expect((await readAll(routes)).hosts(1, 1)).toHaveLength(5);
    });

    test("an entry whose items were rows of their own before they could be in it is read as ever", async () => {
      const { database, routes } = await fresh();
      await commit(routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      const [entry] = await routes.changes(0, 10);
      await database.sql(
        `INSERT INTO lars_change_item (revision, position, detail) VALUES (${SECONDS}, 0, '${JSON.stringify(entry!.items[0])}')`,
        "UPDATE lars_change SET items = NULL",
      );
      expect(await routes.changes(0, 10)).toEqual([entry!]);
    });

    test("of instances that saw the same last look one makes the next, for all marks that were noticed so far", async () => {
      const { database, store } = await fresh();
      const other = await openStore(database);
      await database.sql(oldVersion(SECONDS));
      await store.routes.write(async () => {});
      const claim = async (seenMs: number, nowMs: number) => {
        const stores = [store, other, store, other];
        const claims = await Promise.all(stores.map(({ routes }) => routes.claimLook(seenMs, nowMs)));
        return claims.filter(Boolean).length;
      };
      expect(await store.routes.head()).toMatchObject({ lookedAtMs: 0, marks: 1, lookedMarks: 0, unnoticed: false });
      expect(await claim(0, NOW_MS)).toBe(1);
      expect(await other.routes.head()).toMatchObject({ lookedAtMs: NOW_MS, marks: 1, lookedMarks: 1 });
      expect(await claim(0, NOW_MS + 10_000)).toBe(0);
      // Within one millisecond too, and after a clock was set back.
      expect(await claim(NOW_MS, NOW_MS)).toBe(1);
      expect(await claim(NOW_MS + 1, NOW_MS - 3_600_000)).toBe(1);
    });

    describe("a look without the lock", () => {
      test("finds what a comparison under it finds, and what it found is adopted and its mark settled", async () => {
        const { database, routes } = await fresh();
        await commit(routes, { action: "put-route", modid: 1, cmdid: 1, hosts: [host(1), host(2)] });
        await commit(routes, { action: "put-names", names: [{ scope: "cmdid", id: 3, name: "old" }] });
        await database.sql(
          oldDelete(1, 1, host(1)),
          oldInsert(-1, -1, host(3)),
          "INSERT INTO ModIDConfig (modid, content) VALUES (4294967295, 'ä')",
          "DELETE FROM CmdIDConfig",
          oldVersion(SECONDS + 9),
        );
        const { foreign } = await routes.look();
        expect(foreign).toEqual(await routes.write((tx) => tx.findForeign()));
        expect(await adoptByLook(routes)).toBe(4);
        const now = await readAll(routes);
        expect([now.hosts(1, 1), now.hosts(-1, -1)]).toEqual([[host(2)], [host(3)]]);
        expect([now.name("modid", -1), now.name("cmdid", 3)]).toEqual(["ä", ""]);
        expect(await routes.head()).toMatchObject({ foreignMoved: false });
        expect((await routes.look()).foreign).toEqual({ routes: [], names: [], badRows: 0 });
      });

      test("adopts what a module it found became meanwhile, and not what it was", async () => {
        const { database, routes } = await fresh();
        await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS));
        await adoptByLook(routes, () => database.sql(oldInsert(1, 1, host(2)), oldDelete(1, 1, host(1))));
        expect((await readAll(routes)).hosts(1, 1)).toEqual([host(2)]);
      });

      test("finds nothing to do any more where another instance was faster", async () => {
        const { database, store } = await fresh();
        const other = await openStore(database);
        await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS));
        expect(await adoptByLook(store.routes, () => adoptByLook(other.routes))).toBe(0);
        expect(await store.routes.changes(0, 10)).toHaveLength(1);
        expect(await store.routes.head()).toMatchObject({ foreignMoved: false });
      });

      const insert2 = oldInsert(2, 1, host(2));
      for (const [what, between] of [
        ["RouteVersion moved", [insert2, oldVersion(SECONDS + 7)]],
        ["RouteVersion moved back", [insert2, oldVersion(7)]],
        ["a RouteChange row", [insert2, "INSERT INTO RouteChange (modid, cmdid, version) VALUES (2, 1, 5)"]],
      ] as const) {
        test(`${what} between it and the lock: the mark stays, and the next look finds the row`, async () => {
          const { database, routes } = await fresh();
          await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS + 5));
          expect(await adoptByLook(routes, () => database.sql(...between))).toBe(1);
          expect(await routes.head()).toMatchObject({ foreignMoved: true, unnoticed: false });
          expect(await adoptByLook(routes)).toBe(1);
          expect(await routes.head()).toMatchObject({ foreignMoved: false });
          expect((await readAll(routes)).hosts(2, 1)).toEqual([host(2)]);
        });

        test(`${what} between it and the lock, and our own write noticed it: the mark stays`, async () => {
          const { database, routes } = await fresh();
          await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS + 5));
          await routes.write(async () => {});
          await adoptByLook(routes, async () => {
            await database.sql(...between);
            await commit(routes, { action: "add-host", modid: 9, cmdid: 1, host: host(1) });
          });
          expect(await routes.head()).toMatchObject({ foreignMoved: true });
          await adoptByLook(routes);
          expect(await routes.head()).toMatchObject({ foreignMoved: false });
          expect((await readAll(routes)).hosts(2, 1)).toEqual([host(2)]);
        });

        test(`${what}, settled by another instance, and again: a look from before the first settles nothing`, async () => {
          const { database, store } = await fresh();
          const { routes } = await openStore(database);
          await adoptByLook(store.routes, async () => {
            await database.sql(...between);
            await adoptByLook(routes);
            await adoptByLook(routes);
            await database.sql(oldInsert(3, 1, host(3)), oldVersion(SECONDS + 11));
            await routes.write(async () => {});
          });
          expect(await routes.head()).toMatchObject({ foreignMoved: true });
        });
      }

      test("our own writes between it and the lock do not keep its mark from being settled", async () => {
        const { database, routes } = await fresh();
        await database.sql(oldInsert(1, 1, host(1)), oldVersion(SECONDS + 5));
        await routes.write(async () => {});
        await adoptByLook(routes, async () => {
          for (const i of [1, 2, 3]) await commit(routes, { action: "add-host", modid: 9, cmdid: 1, host: host(i) });
        });
        expect(await routes.head()).toMatchObject({ foreignMoved: false });
        expect((await readAll(routes)).hosts(1, 1)).toEqual([host(1)]);
      });
    });

    test("a write names the modules of RouteChange rows that no writer has seen, each once, and its own never", async () => {
      const { database, routes } = await fresh();
      await commit(routes, { action: "add-host", modid: 5, cmdid: 1, host: host(1) });
      const named = () => routes.write((tx) => tx.namedByOthers());
      expect(await named()).toEqual([]);
      const rows = "INSERT INTO RouteChange (modid, cmdid, version) VALUES";
      await database.sql(`${rows} (1, 1, 5), (1, 1, 6), (4294967295, 2, 6)`);
      const keys = [
        { modid: 1, cmdid: 1 },
        { modid: -1, cmdid: 2 },
      ];
      expect(await named()).toEqual(keys);
      expect(await named()).toEqual([]);
      expect(await routes.head()).toMatchObject({ foreignMoved: true, unnoticed: false, marks: 1 });
    });

    test(
      "tables that take several pages and statements are read and compared in full",
      async () => {
        const { database, routes } = await fresh();
        const content: RouteContent[] = Array.from({ length: 2_100 }, (_, i) => ({
          modid: i % 50,
          cmdid: i,
          name: `r${i}`,
          hosts: Array.from({ length: 10 }, (_, n) => makeHost(0x0a00_0000 + i, 1 + n)),
        }));
        await commit(routes, { action: "import", routes: content, names: [], replace: true });
        const all = await readAll(routes);
        expect([...all.routes()].length).toBe(2_100);
        for (const { modid, cmdid, hosts } of content) expect(all.hosts(modid, cmdid)).toEqual(hosts);
        expect(await scalar(database, "SELECT COUNT(*) FROM RouteData")).toBe(21_000);
        expect(await adopt(routes)).toBe(0);
        await database.sql("DELETE FROM RouteData WHERE serverport = 10");
        expect(await adopt(routes)).toBe(2_100);
        const fewer = await readAll(routes);
        for (const { modid, cmdid, hosts } of content) expect(fewer.hosts(modid, cmdid)).toEqual(hosts.slice(0, 9));
        expect(fewer.route(0, 0)?.name).toBe("r0");
        await commit(routes, { action: "import", routes: [], names: [], replace: true });
        expect(await scalar(database, "SELECT COUNT(*) FROM RouteData")).toBe(0);
        expect(await scalar(database, "SELECT COUNT(*) FROM lars_host")).toBe(0);
      },
      timeout * 3,
    );

    test(
      "more modules than a page holds are each read once",
      async () => {
        const { routes } = await fresh();
        const content = Array.from({ length: 20_050 }, (_, i) => ({ modid: i % 3, cmdid: i, name: "n", hosts: [] }));
        await commit(routes, { action: "import", routes: content, names: [], replace: false });
        const delta = await routes.readSince(0);
        expect(delta.routes).toHaveLength(20_050);
        expect(new Set(delta.routes.map(({ cmdid }) => cmdid)).size).toBe(20_050);
        expect((await routes.readSince(SECONDS - 1)).routes).toHaveLength(20_050);
      },
      timeout,
    );

    test(
      "several instances may migrate one new database at once",
      async () => {
        const database = await make();
        const stores = await Promise.all([1, 2, 3, 4].map(() => openStore(database)));
        await Promise.all(stores.map((store) => store.migrate()));
        expect(await scalar(database, "SELECT COUNT(*) FROM lars_state")).toBe(1);
        expect(await database.sql("SELECT id, version FROM RouteVersion")).toEqual([[1, 0]]);
        await commit(stores[0]!.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
        expect((await readAll(stores[3]!.routes)).hosts(1, 1)).toEqual([host(1)]);
      },
      timeout,
    );

    test(
      "a migration that stopped half-way is finished by the next one, and nothing is lost",
      async () => {
        const { database, store, routes } = await fresh();
        await commit(routes, { action: "put-route", modid: 1, cmdid: 1, name: "n", hosts: [host(1, { weight: 9 })] });
        await database.sql(
          "DELETE FROM __drizzle_migrations",
          "DROP TABLE lars_token",
          "DROP TABLE lars_call_cursor",
          "ALTER TABLE RouteData DROP COLUMN zone",
        );
        await store.migrate();
        expect(await store.tokens.list()).toEqual([]);
        expect((await readAll(routes)).hosts(1, 1)).toEqual([host(1, { weight: 9 })]);
        expect(await adopt(routes)).toBe(0);
      },
      timeout,
    );

    test(
      "after any sequence of changes and edits by SQL, a replica fed with deltas is RouteData without its duplicates",
      async () => {
        const { database, store, routes } = await fresh();
        const other = await openStore(database);
        const small = fc.integer({ min: 0, max: 2 });
        const hosts = fc.integer({ min: 1, max: 5 }).chain((n) =>
          fc
            .record({
              weight: fc.constantFrom(1, 100, 9),
              zone: fc.constantFrom("", "a"),
              state: fc.constantFrom("up", "down", "draining"),
            })
            .map((o) => host(n, o as Partial<Host>)),
        );
        const step = fc.oneof(
          fc.record({
            kind: fc.constant("put" as const),
            modid: small,
            hosts: fc.array(hosts, { maxLength: 4 }),
            other: fc.boolean(),
          }),
          fc.record({ kind: fc.constant("insert" as const), modid: small, host: hosts, mark: fc.boolean() }),
          fc.record({ kind: fc.constant("delete" as const), modid: small, host: hosts, mark: fc.boolean() }),
          fc.record({ kind: fc.constant("weight" as const), modid: small, host: hosts, mark: fc.boolean() }),
          fc.record({ kind: fc.constant("adopt" as const) }),
          fc.record({ kind: fc.constant("look" as const) }),
          fc.record({ kind: fc.constant("read" as const) }),
        );
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
            await commit(routes, { action: "import", routes: [], names: [], replace: true });
            await database.sql("DELETE FROM RouteData");
            await adopt(routes);
            const replica = await readAll(routes);
            let revision = (await routes.head()).revision;
            let version = 0;
            for (const s of steps) {
              const where = "host" in s ? `WHERE modid = ${s.modid} AND cmdid = 1 AND serverip = ${s.host.ip}` : "";
              if (s.kind === "put") {
                const target = (s.other ? other : store).routes;
                await commit(target, { action: "put-route", modid: s.modid, cmdid: 1, hosts: s.hosts });
              } else if (s.kind === "insert") await database.sql(oldInsert(s.modid, 1, s.host));
              else if (s.kind === "delete") await database.sql(`DELETE FROM RouteData ${where}`);
              else if (s.kind === "weight")
                await database.sql(`UPDATE RouteData SET weight = ${s.host.weight} ${where}`);
              else if (s.kind === "adopt") await adopt(other.routes);
              else if (s.kind === "look") await adoptByLook(store.routes);
              else replica.apply(await routes.readSince(replica.revision));
              if ("mark" in s && s.mark) {
                await database.sql(oldVersion(++version));
                expect((await routes.head()).foreignMoved).toBe(true);
              }
              // By sums that were remembered or by comparing all: the same is found.
              const byModule = ({ routes }: Foreign) => [...routes].sort((a, b) => a.modid - b.modid);
              const looked = byModule((await routes.look()).foreign);
              expect(looked).toEqual(byModule((await routes.look(true)).foreign));
              expect(looked).toEqual(byModule(await other.routes.write((tx) => tx.findForeign())));
              const now = (await routes.head()).revision;
              expect(now).toBeGreaterThanOrEqual(revision);
              revision = now;
            }
            await adopt(routes);
            replica.apply(await routes.readSince(replica.revision));
            expect(replica.revision).toBe((await routes.head()).revision);
            const rows = (await database.sql(
              "SELECT modid, serverip, serverport, weight, zone, state FROM RouteData ORDER BY id",
            )) as [number, number, number, number, string, Host["state"]][];
            for (const modid of [0, 1, 2]) {
              const expected = normalizeHosts(
                rows
                  .filter((row) => row[0] === modid)
                  .map(([, ip, port, weight, zone, state]) => makeHost(ip, port, { weight, zone, state })),
              );
              expect(replica.hosts(modid, 1) ?? []).toEqual([...expected]);
            }
            expect(new Replica().apply(await routes.readSince(0)).revision).toBe(replica.revision);
          }),
          { seed: 20241120, numRuns: propertyRuns(60) },
        );
      },
      timeout * 3,
    );
  });
}
