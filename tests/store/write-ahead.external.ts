// Registrations planned ahead on a real MariaDB: what is checked under the lock is what could be otherwise.
// `bun test ./tests/store/write-ahead.external.ts`.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import type { Database } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { readAll } from "./store-fixture.ts";

const SVC = { who: "svc", requestId: "r" };
let mariadb: Mariadb;
let databases = 0;
beforeAll(async () => {
  mariadb = await sharedMariadb();
}, 120_000);
afterAll(() => mariadb?.remove(), 60_000);

class Instance {
  readonly service: RouteService;
  constructor(readonly database: Database) {
    this.service = new RouteService({
      store: database.routes,
      replica: new RouteReplica(),
      clock: new ManualClock(),
      log: new RecordingLog(),
      fullReloadIntervalMs: () => 10_000,
      leaseMs: () => 1_000,
    });
  }
  register(id: string, n: number, isNew = true) {
    const { ip, port, weight, zone } = makeHost(n, 80);
    const terms = { id, modid: 1, cmdid: 1, ip, port, weight, zone, state: "up" as const, ttlMs: 10_000 };
    return this.service.commit({ action: "register", ...terms }, SVC, isNew);
  }
  crowd(name: string, from: number, size: number) {
    return Promise.all(Array.from({ length: size }, (_, i) => this.register(`${name}${i}`, from + i)));
  }
  get told() {
    const { aheads, misses } = this.service.counts;
    return { aheads, misses };
  }
}

async function scene(instances: number) {
  const name = `ahead_${++databases}`;
  const url = await mariadb.createDatabase(name);
  const all: Instance[] = [];
  for (let i = 0; i < instances; i++) {
    const database = await openDatabase(url);
    if (i === 0) await database.migrate();
    const instance = new Instance(database);
    await instance.service.poll();
    all.push(instance);
  }
  // One the long way: from then on the first instance knows how the tables stand.
  await all[0]!.register("first", 1, false);
  for (const { service } of all) await service.poll();
  return {
    all,
    sql: (...statements: string[]) => mariadb.sql(name, ...statements),
    async end() {
      for (const { database } of all) await database.close();
    },
  };
}

test("new registrations of many callers at once leave in all tables what they leave the long way", async () => {
  const { all, sql, end } = await scene(1);
  const [one] = all as [Instance];
  const results = [one.register("a", 2), one.crowd("b", 10, 20), one.crowd("c", 40, 20)];
  await Promise.all(results);
  await one.register("d", 90, false);
  expect(one.told.aheads).toBeGreaterThanOrEqual(2);
  expect(one.told.misses).toBe(0);
  const hosts = (await readAll(one.database.routes)).hosts(1, 1)!;
  expect(hosts).toHaveLength(43);
  expect(one.service.replica.route(1, 1)?.hosts).toEqual([...hosts]);
  const both = await sql(
    "SELECT COUNT(*) FROM lars_host h JOIN RouteData d ON d.modid = h.modid AND d.cmdid = h.cmdid AND d.serverip = h.ip" +
      " AND d.serverport = h.port JOIN lars_registration r ON r.ip = h.ip AND r.port = h.port WHERE h.leased = 1",
  );
  expect(both).toEqual([[43]]);
  const [versions] = await sql("SELECT COUNT(*), COUNT(DISTINCT version), MAX(version) FROM RouteChange");
  const [state] = await sql("SELECT revision, route_version, route_change_id FROM lars_state");
  expect(versions).toEqual([43, 43, state![0]]);
  expect(await sql("SELECT version FROM RouteVersion")).toEqual([[state![1]]]);
  expect(await sql("SELECT MAX(id) FROM RouteChange")).toEqual([[state![2]]]);
  expect(await one.database.routes.head()).toMatchObject({ foreignMoved: false });
  expect(await one.database.routes.changes(0, 100)).toHaveLength(43);
  await end();
});

test("many callers that each register one after the other are all written ahead, also where a transaction overtakes the one before", async () => {
  const { all, sql, end } = await scene(1);
  const [one] = all as [Instance];
  const callers = Array.from({ length: 64 }, async (_, caller) => {
    for (let i = 0; i < 25; i++) await one.register(`${caller}.${i}`, 100 + caller * 25 + i);
  });
  await Promise.all(callers);
  expect(one.told.misses).toBe(0);
  expect(one.told.aheads).toBeGreaterThan(25);
  expect(await sql("SELECT COUNT(*) FROM RouteData")).toEqual([[1_601]]);
  expect(await sql("SELECT COUNT(*), COUNT(DISTINCT revision) FROM lars_change")).toEqual([[1_601, 1_601]]);
  expect(one.service.replica.route(1, 1)?.hosts).toHaveLength(1_601);
  await end();
}, 30_000);

test("a mark that an old tool sets between two of them is noticed, and what it did taken over", async () => {
  const { all, sql, end } = await scene(1);
  const [one] = all as [Instance];
  await one.register("a", 2);
  expect(one.told).toEqual({ aheads: 1, misses: 0 });
  await sql(
    "INSERT INTO RouteData (modid, cmdid, serverip, serverport) VALUES (1, 1, 77, 80)",
    "INSERT INTO RouteChange (modid, cmdid, version) VALUES (1, 1, 5)",
  );
  expect(await one.register("b", 3)).toMatchObject({ ok: true, changed: true });
  expect(one.told).toEqual({ aheads: 1, misses: 1 });
  expect(one.service.replica.route(1, 1)?.hosts.map(({ ip }) => ip)).toEqual([1, 2, 3, 77]);
  await sql("UPDATE RouteVersion SET version = 7");
  await one.register("c", 4);
  expect(one.told.misses).toBe(2);
  await end();
});

test("a row of the same host without a mark, and an id that another instance registered, are written the long way", async () => {
  const { all, sql, end } = await scene(2);
  const [one, two] = all as [Instance, Instance];
  await sql("INSERT INTO RouteData (modid, cmdid, serverip, serverport) VALUES (1, 1, 8, 80)");
  expect(await one.register("a", 8)).toMatchObject({ ok: true, changed: false });
  expect(one.told).toEqual({ aheads: 0, misses: 1 });
  // The host is an operator's: no lease holds it.
  expect(one.service.replica.route(1, 1)?.hosts).toContainEqual(makeHost(8, 80));
  await two.register("theirs", 9, false);
  await one.service.poll();
  await one.register("long", 20, false);
  expect(await one.register("theirs", 10)).toMatchObject({ ok: true, changed: true });
  expect(one.told.misses).toBe(2);
  expect(one.service.replica.route(1, 1)?.hosts.map(({ ip }) => ip)).toEqual([1, 8, 10, 20]);
  await end();
});

test("two instances that write as much as they can lose nothing, and agree", async () => {
  const { all, sql, end } = await scene(2);
  await Promise.all(
    all.map(async (instance, i) => {
      for (let round = 0; round < 30; round++) {
        await Promise.all([
          instance.crowd(`${i}.${round}.a`, 1_000 + i * 10_000 + round * 20, 10),
          instance.crowd(`${i}.${round}.b`, 1_010 + i * 10_000 + round * 20, 10),
        ]);
      }
    }),
  );
  for (const { service } of all) await service.poll();
  const [one, two] = all as [Instance, Instance];
  expect(one.service.replica.route(1, 1)?.hosts).toHaveLength(1_201);
  expect(two.service.replica.route(1, 1)).toEqual(one.service.replica.route(1, 1)!);
  expect(one.told.misses + two.told.misses).toBeGreaterThan(0);
  expect(await sql("SELECT COUNT(*) FROM lars_registration")).toEqual([[1_201]]);
  expect(await sql("SELECT COUNT(*), COUNT(DISTINCT revision) FROM lars_change")).toEqual([[1_201, 1_201]]);
  expect(await sql("SELECT COUNT(*) FROM RouteData")).toEqual([[1_201]]);
  await end();
}, 30_000);
