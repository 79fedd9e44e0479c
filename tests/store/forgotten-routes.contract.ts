// Removed modules that are forgotten, whatever the database: no reader may miss a removal. Run by sqlite.test.ts and
// mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatModuleKey } from "../../src/core/module-key.ts";
import { exists, isRemoved, type RouteRecord } from "../../src/core/route-change.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import type { Database } from "../../src/store/database.ts";
import { MAX_FORGOTTEN, type RemovedModule, type RouteStore } from "../../src/store/route-store.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import {
  adoptByLook,
  commit,
  host,
  type MakeDatabase,
  NOW_MS,
  oldInsert,
  readAll,
  scalar,
  type TestDatabase,
} from "./store-fixture.ts";

const SECONDS = NOW_MS / 1000;

export function forgottenRoutesContract(name: string, make: MakeDatabase, timeout = 20_000): void {
  describe(`${name}: removed modules that are forgotten`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function openStore(database: TestDatabase): Promise<RouteStore> {
      const store = await database.open();
      opened.push(store);
      await store.migrate();
      return store.routes;
    }

    async function fresh() {
      const database = await make();
      return { database, routes: await openStore(database) };
    }

    const put = (routes: RouteStore, modid: number, n = 1) =>
      commit(routes, { action: "put-route", modid, cmdid: 1, hosts: [host(n)] });
    const remove = (routes: RouteStore, modid: number) => commit(routes, { action: "remove-route", modid, cmdid: 1 });
    async function removedOf(routes: RouteStore): Promise<RemovedModule[]> {
      return [...(await readAll(routes)).routes()].filter(isRemoved).sort((a, b) => a.revision - b.revision);
    }

    test("a reader from before the newest of them is given everything, one from after it the difference", async () => {
      const { database, routes } = await fresh();
      const other = await openStore(database);
      for (const modid of [1, 2, 3, -4]) await put(routes, modid);
      const { revision: early } = await routes.head();
      for (const modid of [2, -4, 3]) await remove(routes, modid);
      const removed = await removedOf(routes);
      expect(removed.map(({ modid, revision }) => [modid, revision - early])).toEqual([
        [2, 1],
        [-4, 2],
        [3, 3],
      ]);
      expect(await routes.forget(removed.slice(0, 2))).toBe(true);
      expect(await scalar(database, "SELECT COUNT(*) FROM lars_route")).toBe(2);
      const forgotten = early + 2;
      const modids = (records: readonly RouteRecord[]) => records.map(({ modid }) => modid).sort();
      for (const store of [routes, other]) {
        const whole = await store.readSince(early + 1);
        expect([whole.whole, whole.forgotten, modids(whole.routes)]).toEqual([true, forgotten, [1, 3]]);
        const difference = await store.readSince(forgotten);
        expect([difference.whole, difference.forgotten, modids(difference.routes)]).toEqual([
          undefined,
          forgotten,
          [3],
        ]);
        expect((await store.readSince(0)).whole).toBeUndefined();
        await store.write(async (tx) => {
          expect((await tx.readSince(early)).whole).toBe(true);
        });
      }
      // The mark does not go back.
      expect(await routes.forget(removed.slice(0, 1))).toBe(true);
      expect((await routes.readSince(0)).forgotten).toBe(forgotten);
    });

    test("one that came back, and one of which a policy is left, is not forgotten", async () => {
      const { database, routes } = await fresh();
      for (const modid of [1, 2, 3]) await put(routes, modid);
      for (const modid of [1, 2]) await remove(routes, modid);
      const removed = await removedOf(routes);
      await put(routes, 1, 7);
      await database.sql("UPDATE lars_route SET policy = 'random' WHERE modid = 2");
      expect(await routes.forget(removed)).toBe(true);
      const all = await readAll(routes);
      expect([all.hosts(1, 1), all.route(2, 1)?.policy.name, all.hosts(3, 1)]).toEqual([
        [host(7)],
        "random",
        [host(1)],
      ]);
    });

    test("by a database that is older than they are nothing is forgotten", async () => {
      const { routes } = await fresh();
      await put(routes, 1);
      const revision = await remove(routes, 1);
      expect(await routes.forget([{ modid: 1, cmdid: 1, revision: revision + 1 }])).toBe(false);
      expect((await routes.readSince(0)).forgotten).toBeUndefined();
      expect(await removedOf(routes)).toHaveLength(1);
    });

    test(
      "250 go at once, and what was never there harms nothing",
      async () => {
        const { database, routes } = await fresh();
        const content = Array.from({ length: MAX_FORGOTTEN }, (_, i) => ({
          ...{ modid: i % 7, cmdid: -i, hosts: [host(1)] },
        }));
        await commit(routes, { action: "import", routes: content, names: [], replace: false });
        await commit(routes, { action: "import", routes: [], names: [], replace: true });
        const removed = await removedOf(routes);
        expect(removed).toHaveLength(MAX_FORGOTTEN);
        expect(await routes.forget(removed)).toBe(true);
        expect(await routes.forget([...removed, { modid: 9, cmdid: 9, revision: 5 }])).toBe(true);
        expect(await scalar(database, "SELECT COUNT(*) FROM lars_route")).toBe(0);
      },
      timeout,
    );

    test("a row by an old tool for a module removed and forgotten between two looks is found by the second", async () => {
      const { database, routes } = await fresh();
      await put(routes, 1);
      await put(routes, 2);
      await routes.look();
      await remove(routes, 1);
      await routes.forget(await removedOf(routes));
      await database.sql(oldInsert(1, 1, host(1)));
      expect(await adoptByLook(routes)).toBe(1);
      expect((await readAll(routes)).hosts(1, 1)).toEqual([host(1)]);
    });

    test(
      "a reader that resumes from any revision at any time ends with the routes that one who reads everything has",
      async () => {
        const { database, routes } = await fresh();
        const other = await openStore(database);
        const modid = fc.integer({ min: 1, max: 5 });
        const step = fc.oneof(
          fc.record({ kind: fc.constant("put" as const), modid, n: fc.integer({ min: 1, max: 3 }) }),
          fc.record({ kind: fc.constant("remove" as const), modid }),
          fc.record({
            kind: fc.constant("forget" as const),
            count: fc.integer({ min: 1, max: 3 }),
            other: fc.boolean(),
          }),
          fc.record({ kind: fc.constant("read" as const), reader: fc.nat(2), locked: fc.boolean() }),
        );
        await fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 40 }), async (steps) => {
            const start = await routes.readSince(0);
            const readers = [0, 1, 2].map(() => new RouteReplica());
            for (const reader of readers) reader.apply(start);
            for (const s of steps) {
              const held = (await readAll(routes)).routes();
              if (s.kind === "put") await put(routes, s.modid, s.n);
              else if (s.kind === "remove") {
                if (exists([...held].find((route) => route.modid === s.modid))) await remove(routes, s.modid);
              } else if (s.kind === "forget") {
                await (s.other ? other : routes).forget((await removedOf(routes)).slice(0, s.count));
              } else await catchUp(readers[s.reader]!, s.locked);
            }
            const whole = new RouteReplica();
            whole.apply(await routes.readSince(0));
            for (const reader of readers) {
              await catchUp(reader, false);
              expect(live(reader)).toEqual(live(whole));
              expect([reader.revision, reader.digest, reader.size]).toEqual([whole.revision, whole.digest, whole.size]);
              expect(reader.forgotten).toBe(whole.forgotten);
            }
          }),
          { seed: 11, numRuns: propertyRuns(40) },
        );

        async function catchUp(reader: RouteReplica, locked: boolean): Promise<void> {
          const { revision } = reader;
          reader.apply(locked ? await routes.write((tx) => tx.readSince(revision)) : await other.readSince(revision));
        }
      },
      timeout * 2,
    );

    test("the revision that is forgotten up to survives a restart", async () => {
      const { database, routes } = await fresh();
      await put(routes, 1);
      const revision = await remove(routes, 1);
      expect(revision).toBe(SECONDS + 1);
      await routes.forget(await removedOf(routes));
      expect((await (await openStore(database)).readSince(0)).forgotten).toBe(revision);
    });
  });
}

function live(replica: RouteReplica): unknown {
  const shown = [...replica.routes()]
    .filter(exists)
    .map((route) => [formatModuleKey(route), route.revision, route.hosts]);
  return shown.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
}
