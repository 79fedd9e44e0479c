import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HOST_STATES, type Host, makeHost, normalizeHosts } from "../../src/core/assignment.ts";
import { formatModuleKey } from "../../src/core/module-key.ts";
import {
  exists,
  type NameContent,
  type NameRecord,
  nextRevision,
  type Plan,
  planChange,
  type RouteChange,
  type RouteContent,
  type RouteRecord,
  type RouteView,
} from "../../src/core/route-change.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

/** Routes as a plain object: what a plan says is done to it here, and compared with what was wanted. */
class World implements RouteView {
  readonly #routes = new Map<string, RouteRecord>();
  readonly #names = new Map<string, NameRecord>();
  revision = 0;

  route(modid: number, cmdid: number): RouteRecord | undefined {
    return this.#routes.get(`${modid}.${cmdid}`);
  }
  tag(modid: number, cmdid: number): string | undefined {
    const route = this.route(modid, cmdid);
    return exists(route) ? String(route.revision) : undefined;
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
    for (const { before, diff, ...route } of plan.routes) {
      expect(before).toEqual(this.route(route.modid, route.cmdid));
      this.#routes.set(formatModuleKey(route), { ...route, revision });
    }
    for (const { scope, id, name, before } of plan.names) {
      expect(before).toBe(this.name(scope, id));
      this.#names.set(`${scope} ${id}`, { scope, id, name, revision });
    }
    return plan;
  }
  /** What exists, for comparing. */
  get state(): Record<string, unknown> {
    const state: Record<string, unknown> = {};
    for (const route of this.#routes.values()) {
      if (exists(route)) state[formatModuleKey(route)] = { name: route.name, hosts: route.hosts };
    }
    for (const { scope, id, name } of this.#names.values()) if (name !== "") state[`${scope} ${id}`] = name;
    return state;
  }
}

const M = { modid: 1, cmdid: 2 } as const;
const a = makeHost(1, 80);
const b = makeHost(2, 80);
const put = (hosts: readonly Host[], name?: string): RouteChange => ({ action: "put-route", ...M, hosts, name });

/** A world in which module 1.2 has host a and the name "n". */
function world(): World {
  const made = new World();
  made.do(put([a], "n"));
  return made;
}

describe("one change after another", () => {
  const heavy = { ...a, weight: 7 };
  const table: [title: string, change: RouteChange, wanted: unknown][] = [
    ["putting the same route changes nothing", put([a]), "unchanged"],
    ["putting hosts replaces them and keeps the name", put([b]), { name: "n", hosts: [b] }],
    ["putting hosts twice counts the first", put([a, { ...a, weight: 9 }]), "unchanged"],
    ["putting a name changes it", put([a], "m"), { name: "m", hosts: [a] }],
    ["putting an empty name takes it away", put([a], ""), { name: "", hosts: [a] }],
    ["putting no hosts leaves the name", put([]), { name: "n", hosts: [] }],
    ["adding a host adds it", { action: "add-host", ...M, host: b }, { name: "n", hosts: [a, b] }],
    ["adding one that is there is refused", { action: "add-host", ...M, host: heavy }, "exists"],
    ["setting a weight sets it", { action: "set-host", ...M, endpoint: a, weight: 7 }, { name: "n", hosts: [heavy] }],
    ["setting what is so changes nothing", { action: "set-host", ...M, endpoint: a, weight: 100 }, "unchanged"],
    [
      "setting zone and state sets both",
      { action: "set-host", ...M, endpoint: a, zone: "z", state: "draining" },
      { name: "n", hosts: [{ ...a, zone: "z", state: "draining" }] },
    ],
    ["setting a host that is not there is refused", { action: "set-host", ...M, endpoint: b, weight: 7 }, "not-found"],
    ["removing a host removes it", { action: "remove-host", ...M, endpoint: a }, { name: "n", hosts: [] }],
    ["removing one that is not there is refused", { action: "remove-host", ...M, endpoint: b }, "not-found"],
    ["removing the route removes hosts and name", { action: "remove-route", ...M }, undefined],
    ["removing a route that is not there is refused", { action: "remove-route", modid: 9, cmdid: 9 }, "not-found"],
    [
      "removing a host of a route that is not there is refused",
      { action: "remove-host", modid: 9, cmdid: 9, endpoint: a },
      "not-found",
    ],
  ];
  test.each(table)("%s", (_title, change, wanted) => {
    const before = world();
    const plan = before.do(change);
    if (typeof wanted === "string" && wanted !== "unchanged") {
      expect(plan).toMatchObject({ ok: false, reason: wanted });
      expect(before.state).toEqual(world().state);
      return;
    }
    expect(plan.ok).toBe(true);
    expect(before.state["1.2"]).toEqual(wanted === "unchanged" ? { name: "n", hosts: [a] } : wanted);
    expect(before.revision).toBe(wanted === "unchanged" ? 1 : 2);
  });

  test("a refusal says which route and host it is about", () => {
    const plan = world().do({ action: "remove-host", ...M, endpoint: b });
    expect(plan.ok === false && plan.detail).toContain("1.2");
    expect(plan.ok === false && plan.detail).toContain("0.0.0.2:80");
  });

  test("a route that was removed can be made again, by its first host too", () => {
    const made = world();
    made.do({ action: "remove-route", ...M });
    expect(made.do({ action: "add-host", ...M, host: b }).ok).toBe(true);
    expect(made.state["1.2"]).toEqual({ name: "", hosts: [b] });
  });
});

describe("If-Match", () => {
  const table: [title: string, ifMatch: readonly string[] | "*", removed: boolean, passes: boolean][] = [
    ["the current tag passes", ["1"], false, true],
    ["one of several passes", ["77", "1"], false, true],
    ["an old tag is refused", ["0"], false, false],
    ["no tag at all is refused", [], false, false],
    ["* passes while the route exists", "*", false, true],
    ["* is refused when it does not", "*", true, false],
    ["the tag of a route that was removed since is refused", ["1"], true, false],
  ];
  test.each(table)("%s", (_title, ifMatch, removed, passes) => {
    const changes: RouteChange[] = [
      { action: "put-route", ...M, hosts: [b], ifMatch },
      { action: "add-host", ...M, host: b, ifMatch },
      { action: "set-host", ...M, endpoint: a, weight: 3, ifMatch },
      { action: "remove-host", ...M, endpoint: a, ifMatch },
      { action: "remove-route", ...M, ifMatch },
    ];
    for (const change of changes) {
      const made = world();
      if (removed) made.do({ action: "remove-route", ...M });
      const plan = made.do(change);
      if (passes) expect(plan.ok).toBe(true);
      else expect(plan).toMatchObject({ ok: false, reason: "precondition-failed" });
    }
  });
});

describe("import", () => {
  const doc = (routes: readonly RouteContent[], replace = false, names: readonly NameContent[] = []): RouteChange => ({
    action: "import",
    routes,
    names,
    replace,
  });

  test("routes of the document replace those of the same module, others stay", () => {
    const made = world();
    made.do({ action: "put-route", modid: 5, cmdid: 5, hosts: [b] });
    made.do(doc([{ ...M, hosts: [b] }]));
    expect(made.state).toEqual({ "1.2": { name: "n", hosts: [b] }, "5.5": { name: "", hosts: [b] } });
  });

  test("with replace, routes and names that the document does not mention go", () => {
    const made = world();
    made.do({ action: "put-names", names: [{ scope: "modid", id: 1, name: "x" }] });
    made.do({ action: "put-names", names: [{ scope: "cmdid", id: 1, name: "y" }] });
    const names = [{ scope: "cmdid" as const, id: 1, name: "z" }];
    made.do(doc([{ modid: 5, cmdid: 5, hosts: [b] }], true, names));
    expect(made.state).toEqual({ "5.5": { name: "", hosts: [b] }, "cmdid 1": "z" });
  });

  test("a module that occurs twice has the hosts of both, and a name that either gives", () => {
    const made = new World();
    made.do(
      doc([
        { ...M, name: "first", hosts: [a] },
        { ...M, hosts: [b, a] },
      ]),
    );
    expect(made.state).toEqual({ "1.2": { name: "first", hosts: [a, b] } });
  });

  test("a name given twice is the last one, and the same name again is no change", () => {
    const made = new World();
    const names = ["x", "y"].map((name) => ({ scope: "modid" as const, id: 3, name }));
    made.do(doc([], false, names));
    expect(made.state).toEqual({ "modid 3": "y" });
    expect(made.do({ action: "put-names", names })).toEqual({ ok: true, routes: [], names: [] });
  });

  test("the same document again changes nothing", () => {
    const made = new World();
    const change = doc([{ ...M, name: "q", hosts: [b, a] }], true, [{ scope: "modid", id: 1, name: "x" }]);
    made.do(change);
    expect(made.do(change)).toEqual({ ok: true, routes: [], names: [] });
    expect(made.revision).toBe(1);
  });

  test("an adopted change never removes what it does not mention", () => {
    const made = world();
    made.do({ action: "adopt", routes: [{ modid: 5, cmdid: 5, hosts: [b] }], names: [] });
    expect(Object.keys(made.state)).toEqual(["1.2", "5.5"]);
  });
});

describe("any history of changes", () => {
  const host = fc
    .record({
      ip: fc.nat(3),
      port: fc.constantFrom(80, 81),
      weight: fc.constantFrom(1, 100),
      state: fc.constantFrom(...HOST_STATES),
    })
    .map(({ ip, port, ...rest }) => makeHost(ip, port, rest));
  const hosts = fc.array(host, { maxLength: 4 });
  const key = fc.record({ modid: fc.nat(1), cmdid: fc.nat(1) });
  const name = fc.constantFrom(undefined, "", "n");
  const contents = fc.array(
    fc.tuple(key, hosts, name).map(([k, h, n]) => ({ ...k, hosts: h, name: n })),
    { maxLength: 3 },
  );
  const change: fc.Arbitrary<RouteChange> = fc.oneof(
    fc.tuple(key, hosts, name).map(([k, h, n]) => ({ action: "put-route" as const, ...k, hosts: h, name: n })),
    fc.tuple(key, host).map(([k, h]) => ({ action: "add-host" as const, ...k, host: h })),
    fc
      .tuple(key, host)
      .map(([k, h]) => ({ action: "set-host" as const, ...k, endpoint: h, weight: h.weight, state: h.state })),
    fc.tuple(key, host).map(([k, h]) => ({ action: "remove-host" as const, ...k, endpoint: h })),
    key.map((k) => ({ action: "remove-route" as const, ...k })),
    fc.tuple(contents, fc.boolean()).map(([c, replace]) => ({
      action: "import" as const,
      routes: c,
      names: [],
      replace,
    })),
  );

  type Model = Map<string, { name: string; hosts: readonly Host[] }>;

  /** The wanted routes after a change; undefined: it is to be refused. */
  function wanted(model: Model, next: RouteChange): Model | undefined {
    const after: Model = new Map(model);
    const set = (at: string, value: { name: string; hosts: readonly Host[] }): Model => {
      if (value.hosts.length > 0 || value.name !== "") after.set(at, value);
      else after.delete(at);
      return after;
    };
    if (next.action === "import") {
      if (next.replace) after.clear();
      const merged = Map.groupBy(next.routes, formatModuleKey);
      for (const [at, routes] of merged) {
        const named = routes.map((route) => route.name).filter((given) => given !== undefined);
        const kept = model.get(at)?.name ?? "";
        set(at, { name: named.at(-1) ?? kept, hosts: normalizeHosts(routes.flatMap((route) => route.hosts)) });
      }
      return after;
    }
    if (!("modid" in next)) throw new Error("not in this fuzz");
    const at = formatModuleKey(next);
    const now = model.get(at);
    const same = (one: Host, other: { ip: number; port: number }) => one.ip === other.ip && one.port === other.port;
    switch (next.action) {
      case "put-route":
        return set(at, { name: next.name ?? now?.name ?? "", hosts: normalizeHosts(next.hosts) });
      case "remove-route":
        return now === undefined ? undefined : set(at, { name: "", hosts: [] });
      case "add-host":
        if (now?.hosts.some((one) => same(one, next.host))) return undefined;
        return set(at, { name: now?.name ?? "", hosts: normalizeHosts([...(now?.hosts ?? []), next.host]) });
      default: {
        const held = now?.hosts.find((one) => same(one, next.endpoint));
        if (held === undefined) return undefined;
        const others = now!.hosts.filter((one) => one !== held);
        if (next.action === "remove-host") return set(at, { name: now!.name, hosts: others });
        const changed = { ...held, weight: next.weight ?? held.weight, state: next.state ?? held.state };
        return set(at, { name: now!.name, hosts: normalizeHosts([...others, changed]) });
      }
    }
  }

  test("applied plan by plan gives the wanted routes; refused ones change nothing; a no-op takes no revision", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 25 }), (changes) => {
        const made = new World();
        let model: Model = new Map();
        for (const next of changes) {
          const revision = made.revision;
          const after = wanted(model, next);
          const plan = made.do(next);
          expect(plan.ok).toBe(after !== undefined);
          const before = model;
          model = after ?? model;
          expect(made.state).toEqual(Object.fromEntries(model));
          if (Bun.deepEquals(before, model)) expect(made.revision).toBe(revision);
          else expect(made.revision).toBe(revision + 1);
        }
      }),
      { seed: 8, numRuns: propertyRuns(400) },
    );
  });
});

describe("revisions", () => {
  test("go up by at least one and are not behind the clock's seconds", () => {
    expect(nextRevision(0, 1_700_000_000_999)).toBe(1_700_000_000);
    expect(nextRevision(1_700_000_000, 1_700_000_000_000)).toBe(1_700_000_001);
    expect(nextRevision(1_800_000_000, 1_700_000_000_000)).toBe(1_800_000_001);
  });
});
