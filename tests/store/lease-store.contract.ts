// What every lease store does, whatever the database. Run by sqlite.test.ts and mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Host, normalizeHosts } from "../../src/core/assignment.ts";
import type { Lease } from "../../src/core/lease.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { nextRevision, planChange, type RouteChange } from "../../src/core/route-change.ts";
import type { Database } from "../../src/store/database.ts";
import type { LeaseStore, WantedLeases } from "../../src/store/lease-store.ts";
import type { RouteStore } from "../../src/store/route-store.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import {
  adopt,
  commit,
  host,
  type MakeDatabase,
  NOW_MS,
  oldInsert,
  Replica,
  readAll,
  scalar,
} from "./store-fixture.ts";

function lease(id: string, n: number, options: Partial<Lease> = {}): Lease {
  const { ip, port } = host(n);
  return {
    ...{ id, modid: 1, cmdid: -1, ip, port, weight: 100, zone: "", state: "up", ttlMs: 10_000, expiresMs: 10_000 },
    ...{ registeredAtMs: NOW_MS, who: "svc" },
    ...options,
  };
}

function write(routes: RouteStore, put: readonly Lease[], removed: readonly string[] = []): Promise<void> {
  return routes.write((tx) => tx.leases!.write(put, removed));
}

export function leaseStoreContract(name: string, make: MakeDatabase, timeout = 20_000): void {
  describe(`${name}: lease store`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function fresh() {
      const database = await make();
      const store = await database.open();
      opened.push(store);
      await store.migrate();
      return { database, store, routes: store.routes, leases: store.leases as LeaseStore };
    }

    test("leases are read back as they were written, by id, by place and in the order of their ids", async () => {
      const { routes, leases } = await fresh();
      const all = [
        lease("B/1", 1),
        lease("a", 2, { modid: -5, ip: -1, zone: "zürich", state: "draining", weight: 7, ttlMs: 86_400_000 }),
        lease("b'\\\"%_?", 1, { expiresMs: 2 ** 45 }),
      ];
      await write(routes, all);
      expect(await leases.find(["a", "B/1", "nobody", "b'\\\"%_?"])).toHaveLength(3);
      expect(await leases.list({ limit: 10 })).toEqual(all);
      expect(await leases.list({ limit: 1, after: "B/1" })).toEqual([all[1]!]);
      expect(await leases.list({ limit: 10, modid: -5, cmdid: -1 })).toEqual([all[1]!]);
      const found = await routes.write(async ({ leases: tx }) => ({
        byId: await tx!.byId(["a", "x"]),
        at: await tx!.at([all[0]!, { ...all[0]!, port: 1 }]),
      }));
      expect(found.byId).toEqual([all[1]!]);
      expect(found.at.map(({ id }) => id).sort()).toEqual(["B/1", "b'\\\"%_?"]);
      expect(await leases.find([])).toEqual([]);
    });

    test("what was read with the lock is what would be read later, whatever part of the questions was foreseen", async () => {
      const { database, routes } = await fresh();
      const ids = ["a", "b", "c", "nobody"];
      const places = [1, 2, 3, 4].map((n) => lease("", n));
      await write(routes, [lease("a", 1), lease("b", 2), lease("c", 2)]);
      await database.sql(oldInsert(1, -1, host(3), host(3), host(4)));
      const asked = (wanted?: WantedLeases) =>
        routes.write(async ({ leases: tx }) => {
          const [byId, at] = [await tx!.byId(ids), await tx!.at(places)];
          const foreign = await tx!.foreignAt(places);
          const idsOf = (found: readonly Lease[]) => found.map(({ id }) => id).sort();
          return [idsOf(byId), idsOf(at), foreign.map(({ port, ip }) => `${ip}:${port}`).sort()];
        }, wanted);
      const plain = await asked();
      expect(plain.map(({ length }) => length)).toEqual([3, 3, 2]);
      for (const known of [0, 1, 2, 3, 4]) {
        const some = { ids: ids.slice(0, known), places: places.slice(0, known), fresh: places.slice(4 - known) };
        expect(await asked(some)).toEqual(plain);
      }
    });

    test("writing replaces what an id held and removes what ended", async () => {
      const { routes, leases } = await fresh();
      await write(routes, [lease("a", 1), lease("b", 2)]);
      const moved = lease("a", 3, { modid: 9, ttlMs: 1_000, expiresMs: 5, who: "x".repeat(300), state: "draining" });
      await write(routes, [moved], ["b", "nobody"]);
      expect(await leases.list({ limit: 10 })).toEqual([{ ...moved, who: "x".repeat(255) }]);
    });

    test("work that throws leaves leases as they were", async () => {
      const { routes, leases } = await fresh();
      await write(routes, [lease("a", 1)]);
      const attempt = routes.write(async (tx) => {
        await tx.leases!.write([lease("b", 2)], ["a"]);
        throw new Error("mine");
      });
      await expect(attempt).rejects.toThrow("mine");
      expect((await leases.list({ limit: 10 })).map(({ id }) => id)).toEqual(["a"]);
    });

    test("renewing lets a lease run its own ttl from then on, only forward, and says how many there are", async () => {
      const { routes, leases } = await fresh();
      await write(routes, [lease("a", 1), lease("b", 2, { ttlMs: 500 }), lease("c", 3)]);
      expect(await leases.renew(["a", "b", "gone"], 4_000.9)).toBe(2);
      const ends = async () => (await leases.list({ limit: 10 })).map(({ expiresMs }) => expiresMs);
      expect(await ends()).toEqual([14_000, 10_000, 10_000]);
      expect(await leases.renew(["a"], 3_000)).toBe(1);
      expect(await leases.renew(["a"], 4_000)).toBe(1);
      expect(await ends()).toEqual([14_000, 10_000, 10_000]);
      expect(await leases.renew([], 9_000)).toBe(0);
    });

    test("the clock moves only for who knows its tick, and says the earliest end", async () => {
      const { routes, leases } = await fresh();
      expect(await leases.clock()).toEqual({ clockMs: 0, tick: 0, earliestMs: undefined });
      expect(await leases.advance(0, 250.7, "one")).toBe(true);
      expect(await leases.advance(0, 250, "two")).toBe(false);
      expect(await leases.advance(1, 0, "two")).toBe(true);
      await write(routes, [lease("a", 1, { expiresMs: 900 }), lease("b", 2, { expiresMs: 800 })]);
      expect(await leases.clock()).toEqual({ clockMs: 250, tick: 2, earliestMs: 800 });
      expect(await routes.write(({ leases: tx }) => tx!.clockMs())).toBe(250);
      const made = await Promise.all(Array.from({ length: 8 }, (_, i) => leases.advance(2, 100, `${i}`)));
      expect(made.filter(Boolean)).toHaveLength(1);
      expect((await leases.clock()).clockMs).toBe(350);
    });

    test("what is over comes longest over first, up to the limit", async () => {
      const { routes, leases } = await fresh();
      await write(
        routes,
        [5, 3, 9, 1].map((end) => lease(`l${end}`, end, { expiresMs: end })),
      );
      expect(await leases.over(5, 10)).toEqual(["l1", "l3", "l5"]);
      expect(await leases.over(5, 2)).toEqual(["l1", "l3"]);
      expect(await leases.over(0, 10)).toEqual([]);
    });

    test("leased hosts without a lease and leases without a host are strays; an operator's host with a lease is none", async () => {
      const { routes, leases } = await fresh();
      await commit(routes, {
        action: "adopt",
        leasesAreKnown: true,
        routes: [{ modid: 1, cmdid: -1, hosts: [host(1, { leased: true }), host(2, { leased: true }), host(3)] }],
        names: [],
      });
      await write(routes, [lease("a", 1), lease("b", 3), lease("c", 4)]);
      const strays = await leases.strays(10);
      expect(strays.hosts).toEqual([{ modid: 1, cmdid: -1, ip: host(2).ip, port: 8000 }]);
      expect([strays.ids, strays.count]).toEqual([["c"], 3]);
      expect(await leases.strays(0)).toEqual({ hosts: [], ids: [], count: 3 });
    });

    test("places that an old tool has entered are found in its table, and only those", async () => {
      const { database, routes } = await fresh();
      await database.sql(oldInsert(1, -1, host(1), host(1), host(2)));
      const place = (n: number) => ({ modid: 1, cmdid: -1, ip: host(n).ip, port: 8000 });
      const found = await routes.write((tx) => tx.leases!.foreignAt([place(1), place(3), { ...place(2), port: 1 }]));
      expect(found).toEqual([place(1)]);
    });

    test("a leased host is a row like any other for old tools, is no foreign change, and is leased when read back", async () => {
      const { database, routes } = await fresh();
      const hosts = [host(1), host(2, { leased: true, weight: 9 })];
      await commit(routes, { action: "put-route", modid: 1, cmdid: -1, hosts: [host(1)] });
      await routes.write((tx) =>
        tx.append({
          ...{ revision: tx.revision + 1, atMs: 1, who: "svc", action: "register", requestId: "", names: [] },
          routes: [
            {
              ...{ modid: 1, cmdid: -1, name: "", policy: NO_CHOICE, hosts },
              before: { modid: 1, cmdid: -1, name: "", policy: NO_CHOICE, revision: tx.revision, hosts: [host(1)] },
              diff: { added: [hosts[1]!], changed: [], removed: [] },
            },
          ],
        }),
      );
      expect(await database.sql("SELECT serverip, weight FROM RouteData ORDER BY id")).toEqual([
        [host(1).ip, 100],
        [host(2).ip, 9],
      ]);
      expect(await adopt(routes)).toBe(0);
      expect((await readAll(routes)).hosts(1, -1)).toEqual(hosts);
      expect((await routes.changes(0, 10)).at(-1)).toMatchObject({
        action: "register",
        items: [{ before: { hosts: [] }, after: { hosts: [{ ip: "10.0.0.2", leased: true }] } }],
      });
      await database.sql(`DELETE FROM RouteData WHERE serverip = ${host(2).ip}`);
      await adopt(routes);
      expect((await readAll(routes)).hosts(1, -1)).toEqual([host(1)]);
    });

    test(
      "three thousand leases at once are written, renewed, found and removed in few statements",
      async () => {
        const { routes, leases } = await fresh();
        const many = Array.from({ length: 3_000 }, (_, i) => lease(`host-${i}`, i));
        const ids = many.map(({ id }) => id);
        await write(routes, many);
        expect(await leases.renew(ids, 50_000)).toBe(3_000);
        expect(new Set((await leases.find(ids)).map(({ expiresMs }) => expiresMs))).toEqual(new Set([60_000]));
        expect(await routes.write(async (tx) => (await tx.leases!.at(many)).length)).toBe(3_000);
        expect(await leases.over(60_000, 2_000)).toHaveLength(2_000);
        await write(routes, [], ids);
        expect((await leases.strays(10)).count).toBe(0);
      },
      timeout,
    );

    test(
      "changes gathered in one transaction leave the same tables and log as one transaction each",
      async () => {
        const [one, each] = [await fresh(), await fresh()];
        const hosts = fc
          .integer({ min: 1, max: 4 })
          .chain((n) =>
            fc
              .record({ weight: fc.constantFrom(1, 100), state: fc.constantFrom("up" as const, "down" as const) })
              .map((options) => host(n, options as Partial<Host>)),
          );
        const key = fc.record({ modid: fc.integer({ min: 1, max: 2 }), cmdid: fc.constant(1) });
        const change: fc.Arbitrary<RouteChange> = fc.oneof(
          fc.tuple(key, hosts).map(([k, h]): RouteChange => ({ action: "add-host", ...k, host: h })),
          fc.tuple(key, hosts).map(([k, h]): RouteChange => ({ action: "remove-host", ...k, endpoint: h })),
          fc
            .tuple(key, hosts)
            .map(
              ([k, h]): RouteChange => ({ action: "set-host", ...k, endpoint: h, weight: h.weight, state: h.state }),
            ),
          fc
            .tuple(key, fc.array(hosts, { maxLength: 3 }))
            .map(([k, list]): RouteChange => ({ action: "put-route", ...k, name: "n", hosts: normalizeHosts(list) })),
          key.map((k): RouteChange => ({ action: "remove-route", ...k })),
          fc.constant<RouteChange>({ action: "put-names", names: [{ scope: "modid", id: 1, name: "one" }] }),
        );
        const apply = async (store: RouteStore, changes: readonly RouteChange[]): Promise<void> => {
          await store.write(async (tx) => {
            const view = new Replica().apply(await tx.readSince(0));
            for (const planned of changes) {
              const plan = planChange(view, planned);
              if (!plan.ok || plan.routes.length + plan.names.length === 0) continue;
              const revision = nextRevision(tx.revision, NOW_MS);
              const { routes, names } = plan;
              await tx.append({
                ...{ revision, atMs: NOW_MS, who: "t", requestId: "" },
                action: planned.action,
                routes,
                names,
              });
              view.apply({
                revision,
                routes: routes.map(({ before: _, diff: __, ...route }) => ({ ...route, revision })),
                names: names.map(({ scope, id, name }) => ({ scope, id, name, revision })),
              });
            }
          });
        };
        const tables = async ({ database, routes }: typeof one) => ({
          delta: await routes.readSince(0),
          data: (await database.sql("SELECT modid, cmdid, serverip, serverport, weight, zone, state FROM RouteData"))
            .map(String)
            .sort(),
          marks: (await database.sql("SELECT modid, cmdid, version FROM RouteChange")).map(String),
          log: await routes.changes(0, 1_000),
          head: await routes.head(),
          version: await scalar(database, "SELECT version FROM RouteVersion"),
          differs: await adopt(routes),
        });
        await fc.assert(
          fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 20 }), async (changes) => {
            await apply(one.routes, changes);
            for (const single of changes) await apply(each.routes, [single]);
            const { version: _, ...gathered } = await tables(one);
            const { version: __, ...expected } = await tables(each);
            expect(gathered).toEqual(expected);
            expect(gathered.differs).toBe(0);
          }),
          { seed: 20261120, numRuns: propertyRuns(15) },
        );
      },
      timeout,
    );
  });
}
