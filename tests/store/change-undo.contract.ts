// What every route store does so that a change can be undone, and a table emptied by mistake be told from one emptied on
// purpose. Run by sqlite.test.ts and mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { undoOf } from "../../src/core/route-revert.ts";
import type { Database } from "../../src/store/database.ts";
import type { RouteStore } from "../../src/store/route-store.ts";
import { adopt, commit, host, type MakeDatabase, NOW_MS, readAll, scalar } from "./store-fixture.ts";

const M = { modid: 1, cmdid: -2 } as const;

async function undo(routes: RouteStore, revision: number): Promise<number> {
  const [entry] = await routes.changes(revision - 1, 1);
  expect(entry?.revision).toBe(revision);
  return await commit(routes, { action: "revert", of: revision, ...undoOf(entry!.items) });
}

export function changeUndoContract(name: string, make: MakeDatabase): void {
  describe(`${name}: changes undone and marked`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function fresh() {
      const database = await make();
      const store = await database.open();
      opened.push(store);
      await store.migrate();
      return { database, routes: store.routes };
    }

    test("the log says which change an entry undid, and its items are the difference only", async () => {
      const { routes } = await fresh();
      await commit(routes, { action: "put-route", ...M, hosts: [host(1)] });
      const revision = await commit(routes, { action: "put-route", ...M, hosts: [host(2, { zone: "eu" })] });
      const undone = await undo(routes, revision);
      const entries = await routes.changes(0, 10);
      expect(entries.map(({ action, of }) => [action, of])).toEqual([
        ["put-route", undefined],
        ["put-route", undefined],
        ["revert", revision],
      ]);
      expect(entries[2]!.items).toMatchObject([
        { before: { hosts: [{ ip: "10.0.0.2", zone: "eu" }] }, after: { hosts: [{ ip: "10.0.0.1" }] } },
      ]);
      expect((await readAll(routes)).route(1, -2)).toMatchObject({ revision: undone, hosts: [host(1)] });
    });

    test("a table emptied by plain SQL is put back, 2,500 hosts of a module too, in the original's tables as in ours", async () => {
      const { database, routes } = await fresh();
      const many = Array.from({ length: 2500 }, (_, i) => makeHost(0x0b00_0000 + i, 80, { weight: 1 + (i % 9) }));
      await commit(routes, { action: "put-route", modid: 7, cmdid: 7, hosts: many });
      await commit(routes, { action: "put-route", ...M, name: "n", hosts: [host(1), host(2)] });
      await database.sql("DELETE FROM RouteData");
      await adopt(routes, NOW_MS, 0.5);
      const [adopted] = (await routes.changes(0, 10)).slice(-1);
      expect(adopted!.items.length).toBe(4);
      expect((await readAll(routes)).route(7, 7)).toMatchObject({ hosts: [], vanishedFrom: 2500 });
      expect(await undo(routes, adopted!.revision)).toBe(adopted!.revision + 1);
      const after = await readAll(routes);
      expect(after.route(7, 7)?.hosts).toEqual(many);
      expect(after.route(7, 7)?.vanishedFrom).toBeUndefined();
      expect(after.route(1, -2)).toMatchObject({ name: "n", hosts: [host(1), host(2)] });
      expect(Number(await scalar(database, "SELECT COUNT(*) FROM RouteData"))).toBe(2502);
      expect(await adopt(routes)).toBe(0);
    });

    test("a mark is read back, kept while rows come back one by one, and gone with a confirmation at a new revision", async () => {
      const { database, routes } = await fresh();
      const hosts = Array.from({ length: 20 }, (_, i) => host(i + 1));
      await commit(routes, { action: "put-route", ...M, hosts });
      await database.sql("DELETE FROM RouteData WHERE serverport = 8000 AND serverip > 167772165");
      await adopt(routes, NOW_MS, 0.5);
      expect((await readAll(routes)).route(1, -2)).toMatchObject({ vanishedFrom: 20, hosts: { length: 5 } });
      const [entry] = (await routes.changes(0, 10)).slice(-1);
      expect(entry!.items).toMatchObject([{ before: { vanishedFrom: 0 }, after: { vanishedFrom: 20 } }]);
      const ip = 167_772_166;
      await database.sql(
        `INSERT INTO RouteData (modid, cmdid, serverip, serverport) VALUES (1, ${-2 >>> 0}, ${ip}, 8000)`,
      );
      await adopt(routes, NOW_MS, 0.5);
      expect((await readAll(routes)).route(1, -2)).toMatchObject({ vanishedFrom: 20, hosts: { length: 6 } });
      const { revision } = entry!;
      const confirmed = await commit(routes, { action: "confirm", of: revision, routes: [M] });
      const route = (await readAll(routes)).route(1, -2);
      expect([route?.revision, route?.vanishedFrom, route?.hosts.length]).toEqual([confirmed, undefined, 6]);
      expect((await routes.changes(confirmed - 1, 1))[0]).toMatchObject({ action: "confirm", of: revision });
      // Nothing of it is foreign, and old readers are told of no change of hosts.
      expect(await adopt(routes)).toBe(0);
    });
  });
}
