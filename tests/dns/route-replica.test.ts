import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeHost } from "../../src/core/assignment.ts";
import { compareModuleKeys, formatModuleKey } from "../../src/core/module-key.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { exists, type NameRecord, type RouteRecord } from "../../src/core/route-change.ts";
import { RouteReplica, StagedRoutes } from "../../src/dns/route-replica.ts";

const route = (modid: number, cmdid: number, revision: number, hosts = 1, name = ""): RouteRecord => ({
  modid,
  cmdid,
  revision,
  name,
  policy: NO_CHOICE,
  hosts: Array.from({ length: hosts }, (_, i) => makeHost(i + 1, 80)),
});
const named = (scope: "modid" | "cmdid", id: number, name: string, revision: number): NameRecord => ({
  scope,
  id,
  name,
  revision,
});

function replicaOf(routes: readonly RouteRecord[], names: readonly NameRecord[] = []): RouteReplica {
  const replica = new RouteReplica();
  replica.apply({ revision: Math.max(0, ...[...routes, ...names].map(({ revision }) => revision)), routes, names });
  return replica;
}

describe("deltas", () => {
  test("take what is newer and tell it; what is held already or older changes nothing", () => {
    const replica = replicaOf([route(1, 1, 10)]);
    const told = replica.apply({
      revision: 12,
      routes: [route(1, 1, 9, 3), route(1, 1, 10, 3), route(2, 2, 12)],
      names: [],
    });
    expect(told.map(formatModuleKey)).toEqual(["2.2"]);
    expect(replica.route(1, 1)!.hosts).toHaveLength(1);
    expect([replica.revision, replica.size, replica.hostCount]).toEqual([12, 2, 2]);
    replica.apply({ revision: 5, routes: [], names: [] });
    expect(replica.revision).toBe(12);
  });

  test("in any order, overlapping and repeated, lead to the same routes", () => {
    const record = fc
      .record({ modid: fc.nat(2), cmdid: fc.nat(2), hosts: fc.nat(2), name: fc.constantFrom("", "n") })
      .map(({ modid, cmdid, hosts, name }) => route(modid, cmdid, 0, hosts, name));
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 20 }),
        fc.array(fc.nat(30), { maxLength: 20 }),
        (records, order) => {
          const history = records.map((one, i) => ({ ...one, revision: i + 1 }));
          const delta = (from: number, to: number) => ({ revision: to, routes: history.slice(from, to), names: [] });
          const straight = new RouteReplica();
          straight.apply(delta(0, history.length));
          const zigzag = new RouteReplica();
          for (const at of order)
            zigzag.apply(delta(at % history.length, Math.min(history.length, (at % history.length) + 3)));
          zigzag.apply(delta(0, history.length));
          const state = (replica: RouteReplica) => ({
            routes: [...replica.routes()].sort(compareModuleKeys),
            revision: replica.revision,
            size: replica.size,
            hosts: replica.hostCount,
          });
          expect(state(zigzag)).toEqual(state(straight));
          expect(straight.size).toBe([...straight.routes()].filter(exists).length);
          expect(straight.hostCount).toBe([...straight.routes()].reduce((sum, { hosts }) => sum + hosts.length, 0));
        },
      ),
      { seed: 1, numRuns: 300 },
    );
  });
});

describe("names and tags", () => {
  const replica = replicaOf(
    [route(1, 1, 10), route(1, 2, 10, 1, "own"), route(3, 3, 10, 0)],
    [named("modid", 1, "shop", 12), named("cmdid", 1, "cart", 11), named("cmdid", 2, "gone", 9)],
  );

  test("a route is called by its own name, else by those of its modid and cmdid", () => {
    expect(replica.displayName(1, 1)).toBe("shop / cart");
    expect(replica.displayName(1, 2)).toBe("own");
    expect(replica.displayName(9, 1)).toBe("cart");
    expect(replica.displayName(9, 9)).toBe("");
  });

  test("the tag moves with anything a reader is shown: route, modid's name, cmdid's name", () => {
    expect(replica.tag(1, 1)).toBe("12");
    const other = replicaOf([route(1, 1, 10)], [named("modid", 1, "shop", 8)]);
    expect(other.tag(1, 1)).toBe("10");
    other.apply({ revision: 20, routes: [], names: [named("cmdid", 1, "", 20)] });
    expect(other.tag(1, 1)).toBe("20");
  });

  test("what has neither host nor name has no tag", () => {
    expect([replica.tag(3, 3), replica.tag(9, 9)]).toEqual([undefined, undefined]);
  });
});

describe("the list", () => {
  test("is in (modid, cmdid) order with negative ids first, and leaves out routes that are gone", () => {
    const replica = replicaOf([
      route(2, -1, 1),
      route(-1, 5, 2),
      route(2, -3, 3),
      route(4, 4, 4, 0),
      route(5, 5, 5, 0, "n"),
    ]);
    expect(replica.list({ limit: 10 }).routes.map(formatModuleKey)).toEqual(["-1.5", "2.-3", "2.-1", "5.5"]);
  });

  test("is found in by modid, name, key and address", () => {
    const replica = replicaOf([route(12, 1, 1), route(2, 12, 2), route(3, 3, 3, 2, "Payments")]);
    const find = (query: { q?: string; modid?: number }) =>
      replica.list({ limit: 10, ...query }).routes.map(formatModuleKey);
    expect(find({ modid: 2 })).toEqual(["2.12"]);
    expect(find({ q: "12" })).toEqual(["2.12", "12.1"]);
    expect(find({ q: "pay" })).toEqual(["3.3"]);
    expect(find({ q: "0.0.0.2:80" })).toEqual(["3.3"]);
    expect(find({ q: "" })).toHaveLength(3);
  });

  test("page after page gives every route once, also when the one named by `after` is gone", () => {
    const key = fc.tuple(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -3, max: 3 }));
    fc.assert(
      fc.property(fc.array(key, { maxLength: 30 }), fc.integer({ min: 1, max: 7 }), (keys, limit) => {
        const replica = replicaOf(keys.map(([modid, cmdid], i) => route(modid, cmdid, i + 1)));
        const wanted = [...new Set(keys.map(([modid, cmdid]) => `${modid}.${cmdid}`))];
        const seen: RouteRecord[] = [];
        for (let more = true; more; ) {
          const page = replica.list({ limit, after: seen.at(-1) });
          seen.push(...page.routes);
          more = page.more;
          expect(page.routes.length).toBeLessThanOrEqual(limit);
          // Removed while the reader turns the page.
          const last = seen.at(-1);
          if (last !== undefined)
            replica.apply({ revision: 100, routes: [{ ...last, revision: 100, hosts: [] }], names: [] });
        }
        expect(seen.map(formatModuleKey).sort()).toEqual(wanted.sort());
        expect([...seen].sort(compareModuleKeys)).toEqual(seen);
      }),
      { seed: 2 },
    );
  });
});

test("what a write in progress has staged is seen by it and by nobody else until it is applied", () => {
  const replica = replicaOf([route(1, 1, 10)], [named("modid", 1, "old", 10)]);
  const staged = new StagedRoutes(replica);
  staged.stage({ revision: 11, routes: [route(1, 1, 11, 2), route(2, 2, 11)], names: [named("modid", 1, "new", 11)] });
  expect([staged.route(1, 1)!.hosts.length, staged.name("modid", 1), staged.tag(1, 1)]).toEqual([2, "new", "11"]);
  expect([...staged.routes()].map(formatModuleKey).sort()).toEqual(["1.1", "2.2"]);
  expect([...staged.names()].map(({ name }) => name)).toEqual(["new"]);
  expect([replica.route(1, 1)!.hosts.length, replica.name("modid", 1), replica.size]).toEqual([1, "old", 1]);
  replica.apply(staged.delta());
  expect([replica.revision, replica.size, replica.name("modid", 1)]).toEqual([11, 2, "new"]);
});

test("a write staged on another sees what that one does, and the replica alone once it is told so", () => {
  const replica = replicaOf([route(1, 1, 10)]);
  const first = new StagedRoutes(replica);
  first.stage({ revision: 11, routes: [route(1, 1, 11, 2)], names: [] });
  const second = new StagedRoutes(first);
  expect([second.revision, second.route(1, 1)!.hosts.length]).toEqual([11, 2]);
  expect(second.delta().routes).toEqual([]);
  replica.apply(first.delta());
  replica.apply({ revision: 12, routes: [route(1, 1, 12, 3)], names: [] });
  expect(second.route(1, 1)!.hosts).toHaveLength(2);
  second.rebase(replica);
  expect(second.route(1, 1)!.hosts).toHaveLength(3);
});

test("of 1,000 changes of one module, no record but the last is kept", () => {
  const replica = replicaOf([route(1, 1, 1)]);
  const superseded: WeakRef<RouteRecord>[] = [];
  for (let revision = 2; revision < 1_002; revision++) {
    superseded.push(new WeakRef(replica.route(1, 1)!));
    replica.apply({ revision, routes: [route(1, 1, revision, 100)], names: [] });
  }
  Bun.gc(true);
  // The stack is looked through conservatively: one or two may be taken for still in use.
  expect(superseded.filter((record) => record.deref() !== undefined).length).toBeLessThan(10);
  expect(replica.changedSince(500).routes.map(({ revision }) => revision)).toEqual([1_001]);
});
