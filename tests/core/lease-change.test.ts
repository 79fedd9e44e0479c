import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Host, hostKey, makeHost, normalizeHosts } from "../../src/core/assignment.ts";
import { type Lease, LeaseTable, type LeaseTerms } from "../../src/core/lease.ts";
import { endedBy, hostAt, type LeaseChange, leftPlaces, planLeaseChange } from "../../src/core/lease-change.ts";
import { ModuleMap } from "../../src/core/module-key.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { planChange, type RouteChange, type RouteRecord } from "../../src/core/route-change.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

/** Routes and leases, changed as a transaction does. */
class World {
  revision = 0;
  leaseMs = 0;
  readonly map = new ModuleMap<RouteRecord>();
  readonly leases = new LeaseTable();
  readonly held = new Map<string, Lease>();

  route(modid: number, cmdid: number): RouteRecord | undefined {
    return this.map.get(modid, cmdid);
  }
  routes(): Iterable<RouteRecord> {
    return this.map.values();
  }
  names(): [] {
    return [];
  }
  name(): string {
    return "";
  }
  tag(): undefined {
    return undefined;
  }

  #take(edits: readonly (Omit<RouteRecord, "revision"> & { before: RouteRecord | undefined })[]): void {
    if (edits.length === 0) return;
    this.revision++;
    for (const { modid, cmdid, name, policy, hosts, vanishedFrom } of edits) {
      expect(hosts).toEqual(normalizeHosts(hosts));
      const mark = vanishedFrom === undefined ? {} : { vanishedFrom };
      this.map.set(modid, cmdid, { modid, cmdid, name, policy, hosts, revision: this.revision, ...mark });
    }
  }

  /** "changed", "same", or why it was refused. */
  lease(change: LeaseChange): string {
    const before = this.revision;
    const plan = planLeaseChange(this, this.leases, change, { leaseMs: this.leaseMs, wallMs: 5, who: "svc" });
    if (!plan.ok) return plan.reason;
    for (const lease of plan.put) this.held.set(lease.id, lease);
    for (const id of plan.removed) this.held.delete(id);
    this.#take(plan.routes);
    return this.revision === before ? "same" : "changed";
  }
  register(id: string, n: number, options: Partial<LeaseTerms> = {}): string {
    const terms = { modid: 1, cmdid: 1, ip: n, port: 80, weight: 100, zone: "", state: "up", ttlMs: 10_000 } as const;
    return this.lease({ action: "register", ...terms, ...options, id });
  }
  expire(...ids: string[]): string {
    return this.lease({ action: "expire", ids, clockMs: this.leaseMs });
  }
  byHand(change: RouteChange): readonly string[] {
    const plan = planChange(this, change);
    if (!plan.ok) throw new Error(plan.detail);
    const ended = endedBy(plan.routes, this.leases);
    for (const id of ended) this.held.delete(id);
    this.#take(plan.routes);
    return ended;
  }
  put(...hosts: Host[]): readonly string[] {
    return this.byHand({ action: "put-route", modid: 1, cmdid: 1, hosts: normalizeHosts(hosts) });
  }
  set(n: number, options: Partial<Pick<Host, "weight" | "zone" | "state">>): void {
    this.byHand({ action: "set-host", modid: 1, cmdid: 1, endpoint: { ip: n, port: 80 }, ...options });
  }
  /** "1 2~w50/draining": ip, ~ for leased, what is not usual. */
  shown(modid = 1): string {
    return (this.route(modid, 1)?.hosts ?? [])
      .map(({ ip, leased, weight, state, zone }) =>
        [
          `${ip}${leased === true ? "~" : ""}`,
          ...(weight === 100 ? [] : [`w${weight}`]),
          ...(zone === "" ? [] : [zone]),
          ...(state === "up" ? [] : [state]),
        ].join("/"),
      )
      .join(" ");
  }
}

const host = (n: number, options: Partial<Host> = {}) => makeHost(n, 80, options);

describe("registering", () => {
  test("an endpoint nobody has adds a leased host, and its end takes it out", () => {
    const world = new World();
    expect([world.register("a", 2, { weight: 50, zone: "z", state: "draining" }), world.shown()]).toEqual([
      "changed",
      "2~/w50/z/draining",
    ]);
    expect(world.held.get("a")).toMatchObject({ expiresMs: 10_000, registeredAtMs: 5, who: "svc" });
    expect([world.lease({ action: "deregister", id: "a" }), world.shown(), world.held.size]).toEqual([
      "changed",
      "",
      0,
    ]);
  });

  test("an endpoint that an operator entered grants the lease and touches nothing, not at its end either", () => {
    const world = new World();
    world.put(host(2, { weight: 7 }));
    expect(world.register("a", 2)).toBe("same");
    expect(world.register("a", 2, { state: "draining", weight: 1 })).toBe("same");
    expect([world.held.size, world.shown()]).toEqual([1, "2/w7"]);
    world.leaseMs = 10_000;
    expect([world.expire("a"), world.held.size, world.shown()]).toEqual(["same", 0, "2/w7"]);
  });

  test("the same again renews the lease and is no change", () => {
    const world = new World();
    world.register("a", 2);
    world.leaseMs = 4_000;
    expect([world.register("a", 2), world.held.get("a")?.expiresMs, world.revision]).toEqual(["same", 14_000, 1]);
  });

  test("metadata and ttl are replaced; a shorter ttl counts from now", () => {
    const world = new World();
    world.register("a", 2);
    world.leaseMs = 1_000;
    expect(world.register("a", 2, { weight: 5, zone: "z", ttlMs: 2_000 })).toBe("changed");
    expect([world.shown(), world.held.get("a")?.expiresMs]).toEqual(["2~/w5/z", 3_000]);
  });

  test("another address, or another module, takes the old host out in the same change", () => {
    const world = new World();
    world.register("a", 2);
    expect([world.register("a", 3), world.shown(), world.revision]).toEqual(["changed", "3~", 2]);
    expect([world.register("a", 3, { modid: 2 }), world.shown(1), world.shown(2), world.revision]).toEqual([
      "changed",
      "",
      "3~",
      3,
    ]);
    expect(world.held.size).toBe(1);
  });

  test("moving away from an operator's host leaves it", () => {
    const world = new World();
    world.put(host(2));
    world.register("a", 2);
    world.register("a", 3);
    expect(world.shown()).toBe("2 3~");
  });

  test("draining, then up again", () => {
    const world = new World();
    world.register("a", 2);
    expect([world.register("a", 2, { state: "draining" }), world.shown()]).toEqual(["changed", "2~/draining"]);
    expect([world.register("a", 2), world.shown()]).toEqual(["changed", "2~"]);
  });

  test("a token that does not cover the module it is in already is refused, and nothing changes", () => {
    const world = new World();
    world.register("a", 2);
    const may = (modid: number) => modid === 2;
    expect(world.register("a", 2, { modid: 2, may } as Partial<LeaseTerms>)).toBe("forbidden");
    expect(world.lease({ action: "deregister", id: "a", may })).toBe("forbidden");
    expect([
      world.shown(),
      world.shown(2),
      [...world.leases.at({ modid: 1, cmdid: 1, ip: 2, port: 80 })].length,
    ]).toEqual(["2~", "", 1]);
  });

  test("an end of what is not there is refused", () => {
    expect(new World().lease({ action: "deregister", id: "a" })).toBe("not-found");
  });

  test("a mark that the route's hosts vanished stays until as many are back", () => {
    const world = new World();
    const record = { modid: 1, cmdid: 1, name: "", policy: NO_CHOICE, revision: 1, hosts: [], vanishedFrom: 2 };
    world.map.set(1, 1, record);
    world.register("a", 2);
    expect(world.route(1, 1)?.vanishedFrom).toBe(2);
    world.register("b", 3);
    expect(world.route(1, 1)?.vanishedFrom).toBeUndefined();
  });
});

describe("several ids at one endpoint", () => {
  test("the host stays until the last lease goes", () => {
    const world = new World();
    world.register("a", 2);
    expect(world.register("b", 2)).toBe("same");
    expect([world.lease({ action: "deregister", id: "a" }), world.shown()]).toEqual(["same", "2~"]);
    expect([world.lease({ action: "deregister", id: "b" }), world.shown()]).toEqual(["changed", ""]);
  });

  test("that end together take the host out once", () => {
    const world = new World();
    for (const id of ["a", "b", "c"]) world.register(id, 2);
    world.register("d", 3);
    world.leaseMs = 10_000;
    expect([world.expire("a", "b", "c", "a"), world.shown(), world.revision]).toEqual(["changed", "3~", 3]);
  });

  test("a successor that is up keeps it up while the predecessor drains, and after it left", () => {
    const world = new World();
    world.register("old", 2);
    world.register("new", 2, { weight: 50 });
    expect(world.shown()).toBe("2~/w50");
    expect([world.register("old", 2, { state: "draining" }), world.shown()]).toEqual(["same", "2~/w50"]);
    world.lease({ action: "deregister", id: "old" });
    expect(world.shown()).toBe("2~/w50");
  });

  test("when the one that is up leaves, what is left drains", () => {
    const world = new World();
    world.register("a", 2);
    world.register("b", 2, { state: "draining" });
    expect(world.shown()).toBe("2~");
    expect([world.lease({ action: "deregister", id: "a" }), world.shown()]).toEqual(["changed", "2~/draining"]);
  });

  test("one that moves away leaves the host to the other", () => {
    const world = new World();
    world.register("a", 2);
    world.register("b", 2);
    world.register("a", 3);
    expect(world.shown()).toBe("2~ 3~");
  });
});

describe("an operator's hand on a leased host", () => {
  test("weight, zone and state stay over registrations that say what they said", () => {
    const world = new World();
    world.register("a", 2);
    world.set(2, { weight: 9, zone: "op", state: "draining" });
    expect([world.register("a", 2), world.shown()]).toEqual(["same", "2~/w9/op/draining"]);
    expect([world.register("a", 2, { weight: 20 }), world.shown()]).toEqual(["changed", "2~/w20/op/draining"]);
  });

  test("down outlives whatever registrations say, until the operator takes it back", () => {
    const world = new World();
    world.register("a", 2);
    world.set(2, { state: "down" });
    world.register("a", 2, { state: "draining" });
    world.register("a", 2);
    world.register("b", 2, { weight: 3 });
    expect(world.shown()).toBe("2~/w3/down");
    world.set(2, { state: "up" });
    expect(world.shown()).toBe("2~/w3");
  });

  test("removing it, by DELETE, by PUT, with the module or by SQL, ends its leases", () => {
    const endpoint = { ip: 2, port: 80 };
    const removals: readonly RouteChange[] = [
      { action: "remove-host", modid: 1, cmdid: 1, endpoint },
      { action: "put-route", modid: 1, cmdid: 1, hosts: [host(9)] },
      { action: "remove-route", modid: 1, cmdid: 1 },
      { action: "adopt", routes: [{ modid: 1, cmdid: 1, hosts: [] }], names: [] },
    ];
    for (const removal of removals) {
      const world = new World();
      world.register("a", 2);
      world.register("b", 2);
      world.register("c", 2, { modid: 2 });
      expect([removal.action, [...world.byHand(removal)].sort()]).toEqual([removal.action, ["a", "b"]]);
      expect([...world.held.keys()]).toEqual(["c"]);
      expect(world.register("a", 2)).toBe("changed");
    }
  });

  test("removing a host they entered themselves ends the leases on it too, so that the next registration adds it", () => {
    const world = new World();
    world.put(host(2));
    world.register("a", 2);
    expect(world.put()).toEqual(["a"]);
    expect([world.register("a", 2), world.shown()]).toEqual(["changed", "2~"]);
  });

  test("a list read from here and put back keeps it leased; a host called leased that is not (any more) is left out", () => {
    const world = new World();
    world.register("a", 2);
    expect(world.put(host(2, { leased: true }), host(3), host(4, { leased: true }))).toEqual([]);
    expect(world.shown()).toBe("2~ 3");
    expect(world.put(host(2, { weight: 6 }), host(3))).toEqual([]);
    expect(world.shown()).toBe("2~/w6 3");
  });

  test("an import leaves leased hosts as they are, with replace too, and imports none", () => {
    const world = new World();
    world.put(host(1));
    world.register("a", 2);
    world.register("b", 2, { modid: 2 });
    const routes = [{ modid: 1, cmdid: 1, hosts: [host(2, { weight: 1 }), host(3), host(4, { leased: true })] }];
    expect(world.byHand({ action: "import", routes, names: [], replace: true })).toEqual([]);
    expect([world.shown(1), world.shown(2)]).toEqual(["2~ 3", "2~"]);
    const exported = [...world.routes()].map(({ modid, cmdid, hosts }) => ({ modid, cmdid, hosts }));
    expect(planChange(world, { action: "import", routes: exported, names: [], replace: true })).toMatchObject({
      routes: [],
    });
  });
});

describe("expiry", () => {
  test("ends those whose time is over, not those renewed since they were found, and is one change over modules", () => {
    const world = new World();
    for (let n = 0; n < 5; n++) world.register(`a${n}`, n, { modid: n % 2 });
    world.leaseMs = 10_000;
    world.leases.put({ ...world.leases.get("a3")!, expiresMs: 10_001 });
    expect(world.expire("a0", "a1", "a2", "a3", "a4", "unknown")).toBe("changed");
    expect([world.shown(0), world.shown(1), world.revision]).toEqual(["", "3~", 6]);
    expect(world.expire("a3")).toBe("same");
  });

  test("takes out what does not fit together: leases without a host, leased hosts without a lease, and no others", () => {
    const world = new World();
    world.register("a", 2);
    world.put(host(1), host(2, { leased: true }));
    const record = world.route(1, 1)!;
    world.map.set(1, 1, { ...record, hosts: [...record.hosts, host(5, { leased: true })] });
    const lease = { ...world.leases.get("a")!, id: "lost", ip: 9 };
    world.leases.put(lease);
    world.held.set("lost", lease);
    const places = [1, 2, 5, 6].map((ip) => ({ modid: 1, cmdid: 1, ip, port: 80 }));
    expect(world.lease({ action: "expire", ids: ["a", "lost"], clockMs: 0, places })).toBe("changed");
    expect([world.shown(), [...world.held.keys()]]).toEqual(["1 2~", ["a"]]);
  });
});

test("hosts are found by endpoint wherever they stand in a sorted list", () => {
  const hosts = normalizeHosts([1, 5, -1, 9, 0x7fff_ffff].map((ip) => makeHost(ip, 80)));
  const route = { modid: 1, cmdid: 1, name: "", policy: NO_CHOICE, revision: 1, hosts };
  for (const wanted of hosts) expect(hostAt(route, wanted.ip, wanted.port)).toBe(wanted);
  for (const ip of [0, 2, -2, 10]) expect(hostAt(route, ip, 80)).toBeUndefined();
  expect(hostAt(route, 1, 81)).toBeUndefined();
});

test("of very many hosts that leave at once only the leased ones are looked up", () => {
  const removed = Array.from({ length: 2_001 }, (_, n) => host(n, n === 7 ? { leased: true } : {}));
  const edit = { modid: 1, cmdid: 1, before: undefined, name: "", policy: NO_CHOICE, hosts: [] };
  expect(leftPlaces([{ ...edit, diff: { added: [], changed: [], removed } }])).toHaveLength(1);
  expect(leftPlaces([{ ...edit, diff: { added: [], changed: [], removed: removed.slice(1) } }])).toHaveLength(2_000);
});

test("after any history, a leased host is there exactly while it is held, operators' hosts are untouched, and each edit says what it did", () => {
  const ids = fc.constantFrom("a", "b", "c", "d");
  const place = fc.record({ modid: fc.integer({ min: 1, max: 2 }), n: fc.integer({ min: 1, max: 3 }) });
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("register" as const),
        id: ids,
        place,
        weight: fc.constantFrom(1, 100),
        state: fc.constantFrom("up" as const, "draining" as const),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("deregister" as const), id: ids }) },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant("expire" as const), ids: fc.array(ids), passMs: fc.nat(12_000) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("add" as const), place }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("remove" as const), place }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("down" as const), place }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const world = new World();
      const entered = new Set<string>();
      for (const s of steps) {
        const key = "place" in s ? { modid: s.place.modid, cmdid: 1 } : { modid: 0, cmdid: 0 };
        const name = "place" in s ? `${s.place.modid}:${s.place.n}` : "";
        const there = "place" in s ? hostAt(world.route(key.modid, 1), s.place.n, 80) : undefined;
        if (s.kind === "register") {
          world.register(s.id, s.place.n, { modid: s.place.modid, weight: s.weight, state: s.state });
          expect(world.held.get(s.id)?.expiresMs).toBe(world.leaseMs + 10_000);
          if (there?.state === "down") expect(hostAt(world.route(key.modid, 1), s.place.n, 80)?.state).toBe("down");
        } else if (s.kind === "deregister") world.lease({ action: "deregister", id: s.id });
        else if (s.kind === "expire") {
          world.leaseMs += s.passMs;
          const over = s.ids.filter((id) => (world.held.get(id)?.expiresMs ?? 0) <= world.leaseMs);
          world.expire(...s.ids);
          for (const id of over) expect(world.held.has(id)).toBe(false);
          for (const id of s.ids) if (world.held.has(id)) expect(over).not.toContain(id);
        } else if (s.kind === "add" && there === undefined) {
          world.byHand({ action: "add-host", ...key, host: host(s.place.n, { weight: 42 }) });
          entered.add(name);
        } else if (s.kind === "remove" && there !== undefined) {
          world.byHand({ action: "remove-host", ...key, endpoint: there });
          entered.delete(name);
        } else if (s.kind === "down" && there !== undefined)
          world.byHand({ action: "set-host", ...key, endpoint: there, state: "down" });
        const held = new Set([...world.held.values()].map(({ modid, ip }) => `${modid}:${ip}`));
        for (const modid of [1, 2]) {
          for (const n of [1, 2, 3]) {
            const at = `${modid}:${n}`;
            const found = hostAt(world.route(modid, 1), n, 80);
            expect([at, found?.leased === true]).toEqual([at, held.has(at) && !entered.has(at)]);
            expect([at, found !== undefined && found.leased !== true]).toEqual([at, entered.has(at)]);
            if (entered.has(at)) expect(found?.weight).toBe(42);
          }
        }
        for (const route of world.routes()) expect(new Set(route.hosts.map(hostKey)).size).toBe(route.hosts.length);
      }
    }),
    { seed: 20261121, numRuns: propertyRuns(400) },
  );
});
