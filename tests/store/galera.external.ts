// The stores on a real Galera cluster: their contract, and what only a cluster does: refuse a transaction at COMMIT
// because another node was first, show yesterday's data on a node that lags, lose the node that a transaction runs on.
// `bun test ./tests/store/galera.external.ts`; it needs MariaDB and Galera from the distribution's packages.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createConnection } from "mysql2/promise";
import type { Database, DatabaseOptions } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { CuttingProxy } from "../support/cutting-proxy.ts";
import { eventually } from "../support/eventually.ts";
import { type Galera, startGalera } from "../support/galera.ts";
import { changeUndoContract } from "./change-undo.contract.ts";
import { leaseStoreContract } from "./lease-store.contract.ts";
import { reportStoreContract } from "./report-store.contract.ts";
import { routePolicyContract } from "./route-policy.contract.ts";
import { routeStoreContract } from "./route-store.contract.ts";
import { adopt, commit, host, NOW_MS, oldInsert, oldVersion, readAll, type TestDatabase } from "./store-fixture.ts";
import { tokenStoreContract } from "./token-store.contract.ts";

let galera: Galera;
let databases = 0;

beforeAll(async () => {
  galera = await startGalera();
}, 120_000);
afterAll(() => galera?.remove(), 60_000);

async function make(): Promise<TestDatabase & { name: string; url: string }> {
  const name = `lars_${++databases}`;
  const url = await galera.createDatabase(name);
  return {
    name,
    url,
    open: (options) => openDatabase(url, options),
    sql: (...statements) => galera.sql(0, name, ...statements),
  };
}

routeStoreContract("Galera", make, 60_000);
routePolicyContract("Galera", make);
changeUndoContract("Galera", make);
leaseStoreContract("Galera", make, 60_000);
tokenStoreContract("Galera", make);
reportStoreContract("Galera", make, 60_000);

async function withStores<T>(
  urls: readonly string[],
  options: DatabaseOptions,
  work: (...stores: Database[]) => Promise<T>,
): Promise<T> {
  const stores = await Promise.all(urls.map((url) => openDatabase(url, options)));
  try {
    return await work(...stores);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

/** Revisions of the log, in its order. */
async function logOf(store: Database): Promise<number[]> {
  return (await store.routes.changes(0, 10_000)).map(({ revision }) => revision);
}

function expectStrictlyIncreasing(revisions: readonly number[]): void {
  for (let i = 1; i < revisions.length; i++) expect(revisions[i]!).toBeGreaterThan(revisions[i - 1]!);
}

describe("Galera", () => {
  // Ten rounds on two nodes: several statements in one packet went wrong in one of three.
  test("40 changes by two instances on one node and 400 by two on two nodes at once are each made once, and wholly", async () => {
    const { name } = await make();
    const urls = [galera.url(name, [0, 1, 2]), galera.url(name, [1, 2, 0])];
    await withStores([urls[0]!, urls[0]!, urls[1]!], {}, async (a, b, elsewhere) => {
      await a.migrate();
      for (let round = 0; round <= 10; round++) {
        const stores = [a, round === 0 ? b : elsewhere];
        const revisions = await Promise.all(
          Array.from({ length: 40 }, (_, i) =>
            commit(stores[i % 2]!.routes, { action: "add-host", modid: round, cmdid: 1, host: host(i) }),
          ),
        );
        expect(new Set(revisions).size).toBe(40);
      }
      const log = await logOf(elsewhere);
      expect(log).toHaveLength(440);
      expectStrictlyIncreasing(log);
      for (const store of [a, elsewhere]) {
        const all = await readAll(store.routes);
        expect([...all.routes()].map(({ hosts }) => hosts.length)).toEqual(Array.from({ length: 11 }, () => 40));
      }
      for (const table of ["RouteData", "lars_host", "RouteChange", "lars_change"]) {
        expect([table, await galera.sql(0, name, `SELECT COUNT(*) FROM ${table}`)]).toEqual([table, [[440]]]);
      }
    });
  }, 60_000);

  test("totals of one agent through two nodes at once add up exactly", async () => {
    const { name } = await make();
    await withStores([galera.url(name, [0]), galera.url(name, [1])], {}, async (a, b) => {
      await a.migrate();
      const total = (seq: number, i: number) => ({
        ...{ instance: "00000000000000aa", seq, modid: 1, cmdid: 1, ip: i, port: 1, caller: 7 },
        ...{ succ: seq * 10, err: seq, overload: false, ts: 1 },
      });
      for (let seq = 1; seq <= 10; seq++) {
        const rows = Array.from({ length: 20 }, (_, i) => total(seq, i));
        await Promise.all([a.reports.apply(rows, []), b.reports.apply(rows, [])]);
      }
      const rows = await a.reports.status({ limit: 100 });
      expect(rows.map(({ succ, err }) => [succ, err])).toEqual(Array.from({ length: 20 }, () => [100, 10]));
    });
  }, 60_000);

  test("what an old tool writes through another node is adopted, with the ids that node gives", async () => {
    const { name, url } = await make();
    await withStores([url], {}, async (store) => {
      await store.migrate();
      await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      for (const i of [1, 2]) {
        await galera.sql(
          i,
          name,
          oldInsert(7, i, host(i)),
          `INSERT INTO RouteChange (modid, cmdid, version) VALUES (7, ${i}, 1)`,
          oldVersion(NOW_MS / 1000 + i),
        );
        expect((await store.routes.head()).foreignMoved).toBe(true);
        expect(await adopt(store.routes)).toBe(1);
        expect((await store.routes.head()).foreignMoved).toBe(false);
        expect((await readAll(store.routes)).hosts(7, i)).toEqual([host(i)]);
      }
    });
  });

  for (const { what, alter, says } of [
    { what: "an engine that is not replicated", alter: "ENGINE=MyISAM", says: "has engine MyISAM" },
    { what: "no primary key", alter: "MODIFY id INT UNSIGNED NOT NULL, DROP PRIMARY KEY", says: "has no primary key" },
  ]) {
    test(`an old table with ${what} is refused before anything is changed, and the error says what to do`, async () => {
      const { name, url } = await make();
      const table = "CREATE TABLE RouteData (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, modid INT)";
      await galera.sql(0, name, table, `ALTER TABLE RouteData ${alter}`);
      await withStores([url], {}, async (store) => {
        const error = (await store.migrate().catch((reason: unknown) => reason)) as Error;
        expect(error.message).toContain(`table RouteData ${says}`);
        expect(error.message).toContain("ALTER TABLE RouteData");
      });
      expect(await galera.sql(0, name, "SHOW TABLES")).toEqual([["RouteData"]]);
    });
  }

  test("a node that lags is never read for older than what was committed: calls wait, and end in time", async () => {
    const { name } = await make();
    await withStores(
      [galera.url(name, [0]), galera.url(name, [1])],
      { queryTimeoutMs: 2_000 },
      async (ahead, behind) => {
        await ahead.migrate();
        const first = await commit(ahead.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
        expect((await behind.routes.head()).revision).toBe(first);
        // Holds the node's appliers up until it is given back.
        const holder = await createConnection({ host: "127.0.0.1", port: galera.node(1).port, user: "root" });
        await holder.query("FLUSH TABLES WITH READ LOCK");
        const second = await commit(ahead.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(2) });
        // The lag is real: anybody else sees the past there.
        expect(await galera.sql(1, name, "SELECT revision FROM lars_state")).toEqual([[first]]);
        const calls = [
          () => behind.routes.head(),
          () => behind.routes.readSince(0),
          () => behind.routes.write(async (tx) => ({ revision: tx.revision })),
        ];
        for (const outcome of await Promise.all(calls.map((call) => call().catch((error: unknown) => error)))) {
          expect(outcome).toBeInstanceOf(StoreUnavailable);
        }
        // A node that catches up takes no new connections for a moment.
        const waiting = calls.map((call) => eventually(call, { timeoutMs: 10_000 }));
        await holder.query("UNLOCK TABLES");
        for (const { revision } of await Promise.all(waiting)) expect(revision).toBe(second);
        await holder.end();
        await eventually(() => galera.node(1).expectSynced(), { timeoutMs: 10_000 });
      },
    );
  }, 60_000);

  for (const { mode, title } of [
    { mode: "before", title: "a COMMIT that never reached its node is made at another, once" },
    { mode: "answer", title: "a COMMIT whose answer was lost was made: it is found, not made again" },
    { mode: "late", title: "a COMMIT that waits at a lost node is refused there once the change was made at another" },
  ] as const) {
    test(title, async () => {
      const { name } = await make();
      const proxy = new CuttingProxy(galera.node(0).port);
      const url = `mysql://root@127.0.0.1:${proxy.port},127.0.0.1:${galera.node(1).port}/${name}`;
      await withStores([url, galera.url(name, [2])], {}, async (store, judge) => {
        await store.migrate();
        await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
        proxy.arm(mode);
        // With the way to the first node gone, the repetition goes to the second.
        const made = commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(2) });
        await eventually(() => expect(proxy.cuts).toBe(1), { intervalMs: 1 });
        if (mode !== "answer") proxy.stop();
        const revision = await made;
        if (mode === "late") expect(await proxy.deliver()).not.toBe("ok");
        const log = await judge.routes.changes(0, 10);
        expect(log.map((entry) => entry.revision)).toEqual([revision - 1, revision]);
        expect((await readAll(judge.routes)).hosts(1, 1)).toEqual([host(1), host(2)]);
        const rows = await galera.sql(2, name, "SELECT COUNT(*) FROM RouteData");
        expect(rows).toEqual([[2]]);
      });
      proxy.stop();
    }, 30_000);
  }

  test("the writing node killed under 8 writers of two instances: all acknowledged changes are in the log once, and the preferred node is gone back to", async () => {
    const { name } = await make();
    const moves: string[] = [];
    const options = { queryTimeoutMs: 10_000, onMove: ({ to }: { to: string }) => void moves.push(to) };
    const url = galera.url(name);
    await withStores([url, url, galera.url(name, [2])], options, async (a, b, judge) => {
      await a.migrate();
      const acknowledged: number[] = [];
      let stop = false;
      let next = 0;
      let longestMs = 0;
      const errors: unknown[] = [];
      const writer = async (store: Database) => {
        while (!stop) {
          const startedMs = performance.now();
          const change = { action: "add-host", modid: 1, cmdid: next % 50, host: host(++next) } as const;
          acknowledged.push(await commit(store.routes, change));
          longestMs = Math.max(longestMs, performance.now() - startedMs);
        }
      };
      const writers = Array.from({ length: 8 }, (_, i) =>
        writer(i % 2 === 0 ? a : b).catch((error: unknown) => errors.push(error)),
      );
      await eventually(() => expect(acknowledged.length).toBeGreaterThan(30));
      await galera.node(0).kill();
      const before = acknowledged.length;
      await eventually(() => expect(acknowledged.length).toBeGreaterThan(before + 30), { timeoutMs: 30_000 });
      await galera.node(0).start();
      const preferred = `127.0.0.1:${galera.node(0).port}`;
      await eventually(() => expect(moves.filter((to) => to === preferred)).toHaveLength(2), { timeoutMs: 30_000 });
      stop = true;
      await Promise.all(writers);
      expect(errors).toEqual([]);
      const log = await logOf(judge);
      expectStrictlyIncreasing(log);
      expect([...acknowledged].sort((x, y) => x - y)).toEqual(log);
      process.stdout.write(
        `  writing node killed: ${JSON.stringify({ acknowledged: acknowledged.length, longestWriteMs: Math.round(longestMs) })}\n`,
      );
      await galera.heal();
    });
  }, 90_000);
});
