import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HOST_STATES, type Host, makeHost, normalizeHosts } from "../../src/core/assignment.ts";
import { formatModuleKey } from "../../src/core/module-key.ts";
import { NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import { hasChoice } from "../../src/core/policy-choice.ts";
import {
  exists,
  type NameRecord,
  type Plan,
  planChange,
  type RouteChange,
  type RouteRecord,
  type RouteView,
} from "../../src/core/route-change.ts";
import { type LoggedItem, undoOf } from "../../src/core/route-revert.ts";
import { logItems } from "../../src/store/sql/change-log.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

/** Routes with a log, as a database keeps them. */
class World implements RouteView {
  readonly #routes = new Map<string, RouteRecord>();
  readonly #names = new Map<string, NameRecord>();
  readonly log = new Map<number, readonly LoggedItem[]>();
  revision = 0;

  route(modid: number, cmdid: number): RouteRecord | undefined {
    return this.#routes.get(`${modid}.${cmdid}`);
  }
  tag(): undefined {
    return undefined;
  }
  name(scope: string, id: number): string {
    return this.#names.get(`${scope} ${id}`)?.name ?? "";
  }
  routes(): Iterable<RouteRecord> {
    return this.#routes.values();
  }
  names(): Iterable<NameRecord> {
    return this.#names.values();
  }
  do(change: RouteChange): Plan {
    const plan = planChange(this, change);
    if (!plan.ok || plan.routes.length + plan.names.length === 0) return plan;
    const revision = ++this.revision;
    this.log.set(revision, JSON.parse(JSON.stringify([...logItems(plan)])));
    for (const { before: _, diff: __, ...route } of plan.routes) {
      this.#routes.set(formatModuleKey(route), { ...route, revision });
    }
    for (const { scope, id, name } of plan.names) this.#names.set(`${scope} ${id}`, { scope, id, name, revision });
    return plan;
  }
  /** As a registration does. */
  lease(host: Host): this {
    const route = this.route(1, 2) ?? { ...M, revision: 0, name: "", policy: NO_CHOICE, hosts: [] };
    this.#routes.set("1.2", { ...route, hosts: normalizeHosts([...route.hosts, { ...host, leased: true }]) });
    return this;
  }
  undo(revision: number): Plan {
    return this.do({ action: "revert", of: revision, ...undoOf(this.log.get(revision)!) });
  }
  /** What there is, for comparing: revisions and marks are not what an undo is about. */
  get state(): Record<string, unknown> {
    const state: Record<string, unknown> = {};
    for (const route of this.#routes.values()) {
      const { name, hosts, policy } = route;
      if (exists(route) || hasChoice(policy)) state[formatModuleKey(route)] = { name, hosts, policy };
    }
    for (const { scope, id, name } of this.#names.values()) if (name !== "") state[`${scope} ${id}`] = name;
    return state;
  }
}

const M = { modid: 1, cmdid: 2 } as const;
const a = makeHost(1, 80);
const b = makeHost(2, 80);
const c = makeHost(3, 80);
const put = (...hosts: Host[]): RouteChange => ({ action: "put-route", ...M, hosts });
const world = (...changes: RouteChange[]): World => {
  const made = new World();
  for (const change of changes) expect(made.do(change)).toMatchObject({ ok: true });
  return made;
};
const ips = (made: World): number[] => (made.route(1, 2)?.hosts ?? []).map(({ ip }) => ip);

const detailOf = (plan: Plan): string => (plan.ok ? "" : plan.detail);

describe("an undo", () => {
  test("puts back what the change found, and leaves alone what came beside it", () => {
    const made = world(put(a, b), put(b), { action: "add-host", ...M, host: c });
    made.undo(2);
    expect(ips(made)).toEqual([1, 2, 3]);
  });

  test("of an undo is the change again", () => {
    const made = world(put(a, b), { action: "remove-route", ...M });
    made.undo(2);
    expect(ips(made)).toEqual([1, 2]);
    made.undo(3);
    expect(ips(made)).toEqual([]);
    made.undo(4);
    expect(ips(made)).toEqual([1, 2]);
  });

  test("of what was undone or done again already is refused or changes nothing", () => {
    const made = world(put(a), put(a, b));
    made.undo(2);
    expect(made.undo(2)).toMatchObject({ ok: false, reason: "conflict" });
    expect(ips(made)).toEqual([1]);
  });

  test("of names and policies puts them back", () => {
    const adaptive: PolicyChoice = { name: "adaptive", parameters: { decay: 2 } };
    const made = world(
      { ...put(a), name: "old", policy: { name: "random", parameters: {} } } as RouteChange,
      { ...put(a), name: "new", policy: adaptive } as RouteChange,
      { action: "put-names", names: [{ scope: "modid", id: 1, name: "n" }] },
    );
    made.undo(2);
    expect(made.route(1, 2)).toMatchObject({ name: "old", policy: { name: "random", parameters: {} }, hosts: [a] });
    made.undo(3);
    expect(made.name("modid", 1)).toBe("");
    made.undo(4);
    expect(made.route(1, 2)).toMatchObject({ name: "new", policy: adaptive });
  });

  test("of 3,500 hosts of one module, which are four items in the log, puts all of them back", () => {
    const many = Array.from({ length: 3500 }, (_, i) => makeHost(i + 1, 80, { weight: 1 + (i % 100) }));
    const made = world({ ...put(...many), name: "many" } as RouteChange, { action: "remove-route", ...M });
    const before = made.state;
    expect(made.log.get(2)).toHaveLength(4);
    made.undo(2);
    expect(made.route(1, 2)).toMatchObject({ name: "many", hosts: many });
    made.undo(1);
    expect(made.state).toEqual(before);
  });

  test("does not put back a host under a lease, and does not mind one that came back by itself", () => {
    for (const isBack of [false, true]) {
      const made = world(put(a)).lease(b);
      made.do({ action: "remove-route", ...M });
      if (isBack) made.lease(b);
      expect(made.undo(2)).toMatchObject({ ok: true });
      expect(made.route(1, 2)?.hosts).toEqual(isBack ? [a, { ...b, leased: true }] : [a]);
    }
  });

  test("of a change to a leased host leaves it leased", () => {
    const made = world().lease(a);
    made.do({ action: "set-host", ...M, endpoint: a, state: "down" });
    expect(made.route(1, 2)?.hosts).toEqual([{ ...a, leased: true, state: "down" }]);
    made.undo(1);
    expect(made.route(1, 2)?.hosts).toEqual([{ ...a, leased: true }]);
  });
});

describe("an undo is refused, whole, when something the change set was changed since", () => {
  const changes: [what: string, done: RouteChange, since: RouteChange, named: string][] = [
    ["a host it added", put(a, b), { action: "set-host", ...M, endpoint: b, weight: 7 }, "host 0.0.0.2:80 of 1.2"],
    ["a host it added and that is gone", put(a, b), put(a), "host 0.0.0.2:80 of 1.2"],
    ["a host it took away", put(), put(a), "host 0.0.0.1:80 of 1.2"],
    ["a name", { ...put(a), name: "n" } as RouteChange, { ...put(a), name: "m" } as RouteChange, "the name of 1.2"],
    [
      "a policy",
      { ...put(a), policy: { name: "random", parameters: {} } } as RouteChange,
      { ...put(a), policy: NO_CHOICE } as RouteChange,
      "the policy of 1.2",
    ],
    [
      "a modid's name",
      { action: "put-names", names: [{ scope: "modid", id: 1, name: "n" }] },
      { action: "put-names", names: [{ scope: "modid", id: 1, name: "m" }] },
      "the name of modid 1",
    ],
  ];
  test.each(changes)("%s", (_what, done, since, named) => {
    const made = world(put(a), done, since);
    const before = made.state;
    const plan = made.undo(2);
    expect(plan.ok === false && plan.reason).toBe("conflict");
    expect(detailOf(plan)).toContain(named);
    if (!named.includes("modid")) expect(detailOf(plan)).toContain("(revision 3)");
    expect(made.state).toEqual(before);
  });

  test("naming three of them and how many more", () => {
    const many = Array.from({ length: 10 }, (_, i) => makeHost(i + 1, 80));
    const detail = detailOf(world(put(...many), { action: "remove-route", ...M }).undo(1));
    expect(detail).toMatch(/0\.0\.0\.1:80.*0\.0\.0\.2:80.*0\.0\.0\.3:80.*and 7 more/);
    expect(detail).not.toContain("0.0.0.4");
  });
});

describe("any change", () => {
  const host = fc
    .record({
      ip: fc.integer({ min: 1, max: 4 }),
      weight: fc.constantFrom(1, 100),
      state: fc.constantFrom(...HOST_STATES),
    })
    .map(({ ip, ...options }) => makeHost(ip, 80, options));
  const hosts = fc.array(host, { maxLength: 4 });
  const key = fc.record({ modid: fc.constantFrom(1, -1), cmdid: fc.constantFrom(1, 2) });
  const policy = fc.constantFrom<PolicyChoice[]>(
    NO_CHOICE,
    { name: "random", parameters: {} },
    { name: "adaptive", parameters: { decay: 2 } },
  );
  const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
  const name = fc.constantFrom("", "x", "y");
  const content = fc
    .tuple(key, hosts, optional(name), optional(policy))
    .map(([at, list, called, chosen]) => ({ ...at, hosts: list, name: called, policy: chosen }));
  const names = fc.array(
    fc.record({ scope: fc.constantFrom("modid" as const, "cmdid" as const), id: fc.constantFrom(1, 2), name }),
    {
      maxLength: 2,
    },
  );
  const endpoint = host.map(({ ip, port }) => ({ ip, port }));
  const change: fc.Arbitrary<RouteChange> = fc.oneof(
    content.map((route) => ({ action: "put-route", ...route }) as const),
    key.map((at) => ({ action: "remove-route", ...at }) as const),
    fc.tuple(key, host).map(([at, one]) => ({ action: "add-host", ...at, host: one }) as const),
    fc
      .tuple(key, endpoint, fc.integer({ min: 1, max: 3 }))
      .map(([at, one, weight]) => ({ action: "set-host", ...at, endpoint: one, weight }) as const),
    fc.tuple(key, endpoint).map(([at, one]) => ({ action: "remove-host", ...at, endpoint: one }) as const),
    names.map((list) => ({ action: "put-names", names: list }) as const),
    fc
      .tuple(fc.array(content, { maxLength: 3 }), names, fc.boolean())
      .map(([routes, list, replace]) => ({ action: "import", routes, names: list, replace }) as const),
    fc
      .tuple(fc.array(content, { maxLength: 3 }), names)
      .map(([routes, list]) => ({ action: "adopt", routes, names: list, maxVanishShare: 0 }) as const),
  );

  test("undone gives the routes as before it, and that undone the routes as after it", () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 12 }), (changes) => {
        const made = new World();
        for (const next of changes) {
          const before = made.state;
          const revision = made.revision;
          made.do(next);
          if (made.revision === revision) continue;
          const after = made.state;
          expect(made.undo(revision + 1)).toMatchObject({ ok: true });
          expect(made.state).toEqual(before);
          expect(made.undo(made.revision)).toMatchObject({ ok: true });
          expect(made.state).toEqual(after);
        }
      }),
      { seed: 4, numRuns: propertyRuns(500) },
    );
  });

  test("long ago is undone exactly where nothing of it was changed since, and otherwise not at all", () => {
    let undone = 0;
    let refused = 0;
    fc.assert(
      fc.property(fc.array(change, { minLength: 2, maxLength: 8 }), fc.nat(), (changes, which) => {
        const made = new World();
        for (const next of changes) made.do(next);
        if (made.revision === 0) return;
        const revision = 1 + (which % made.revision);
        // Trivially: every item's later side is what is there now, and its earlier side is what is there afterwards.
        const sides = (side: "before" | "after") =>
          made.log.get(revision)!.flatMap((item) => {
            if (item.kind === "name") return [made.name(item.scope, item.id) === item[side]];
            const route = made.route(item.modid, item.cmdid);
            const keys = new Set([...item.before.hosts, ...item.after.hosts].map(({ ip }) => ip));
            const now = (route?.hosts ?? []).map((one) => ({ ...one, ip: `0.0.0.${one.ip}` }));
            return [
              Bun.deepEquals(
                now.filter(({ ip }) => keys.has(ip)),
                [...item[side].hosts].sort((x, y) => (x.ip < y.ip ? -1 : 1)),
              ),
              item[side].name === undefined || item[side].name === route?.name,
              item[side].policy === undefined ||
                Bun.deepEquals(
                  [item[side].policy, item[side].policyParameters],
                  [route?.policy.name, route?.policy.parameters],
                ),
            ];
          });
        const may = sides("after").every(Boolean);
        const before = made.state;
        expect(made.undo(revision).ok).toBe(may);
        if (may) expect(sides("before")).not.toContain(false);
        else expect(made.state).toEqual(before);
        if (may) undone++;
        else refused++;
      }),
      { seed: 5, numRuns: propertyRuns(1000) },
    );
    expect(Math.min(undone, refused)).toBeGreaterThan(propertyRuns(100));
  });
});
