import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { diffHosts, type Host, hostKey, makeHost, normalizeHosts, sameHost } from "../../src/core/assignment.ts";
import { FlapDamping } from "../../src/core/flap-damping.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";

class Rig {
  readonly damping = new FlapDamping();
  nowMs = 0;
  revision = 0;
  route: RouteRecord | undefined;
  /** "now: hosts shown" whenever those who watch are told. */
  readonly told: string[] = [];

  /** Numbers are leased hosts. */
  is(...hosts: (number | Host)[]): this {
    const list = hosts.map((h) => (typeof h === "number" ? makeHost(h, 80, { leased: true }) : h));
    this.route = { modid: 1, cmdid: 1, revision: ++this.revision, name: "", policy: NO_CHOICE, hosts: list };
    if (this.damping.onRoute(this.route, this.nowMs)) this.tell();
    return this;
  }
  after(ms: number): this {
    for (let passed = 0; passed < ms; passed += 500) {
      this.nowMs += 500;
      if (this.damping.release(this.nowMs).length > 0) this.tell();
    }
    return this;
  }
  tell(): void {
    this.told.push(`${this.nowMs / 1000}: ${this.shown()}`);
  }
  shown(): string {
    return this.damping
      .shown(this.route!)
      .map(({ ip }) => ip)
      .join(" ");
  }
  /** Comes and goes, a second each. */
  flap(times: number): this {
    for (let i = 0; i < times; i++) this.after(1_000).is(1).after(1_000).is(1, 2);
    return this;
  }
}

describe("a leased host that comes and goes", () => {
  test("is told of at once the first two times it comes back, and left out from the third", () => {
    const rig = new Rig().is(1, 2).flap(2);
    expect(rig.told).toEqual(["0: 1 2", "1: 1", "2: 1 2", "3: 1", "4: 1 2"]);
    rig.flap(1);
    expect([rig.told.slice(5), rig.shown(), rig.damping.leftOut]).toEqual([["5: 1"], "1", 1]);
  });

  test("costs no push while it goes on, and one when it has stayed for 10 s", () => {
    const rig = new Rig().is(1, 2).flap(20);
    expect(rig.told.slice(5)).toEqual(["5: 1"]);
    rig.after(9_500);
    expect(rig.told).toHaveLength(6);
    rig.after(500);
    expect([rig.told.slice(6), rig.damping.leftOut]).toEqual([["50: 1 2"], 0]);
  });

  test("that starts again after it was let in is left out at once", () => {
    const rig = new Rig().is(1, 2).flap(3).after(10_000);
    expect(rig.shown()).toBe("1 2");
    rig.is(1).after(1_000).is(1, 2);
    expect(rig.shown()).toBe("1");
  });

  test("three times in more than a minute is not left out", () => {
    const rig = new Rig().is(1, 2);
    for (let i = 0; i < 6; i++) rig.after(30_500).is(1).after(500).is(1, 2);
    expect([rig.shown(), rig.told]).toEqual(["1 2", expect.objectContaining({ length: 13 })]);
  });

  test("between draining and up is the same", () => {
    const rig = new Rig().is(1, 2);
    for (let i = 0; i < 3; i++) {
      rig.after(1_000).is(1, makeHost(2, 80, { leased: true, state: "draining" }));
      rig.after(1_000).is(1, 2);
    }
    expect(rig.shown()).toBe("1");
  });

  test("is shown while there is no other to pick, and left out again when there is", () => {
    const rig = new Rig().is(2);
    for (let i = 0; i < 5; i++) rig.after(1_000).is().after(1_000).is(2);
    expect(rig.shown()).toBe("2");
    rig.is(2, makeHost(3, 80, { state: "down" }));
    expect(rig.shown()).toBe("2");
    rig.is(1, 2);
    expect(rig.shown()).toBe("1");
    rig.is(2);
    expect(rig.shown()).toBe("2");
  });
});

test("a host that an operator entered is never left out", () => {
  const rig = new Rig().is(1, makeHost(2, 80));
  for (let i = 0; i < 10; i++) rig.after(1_000).is(1).after(1_000).is(1, makeHost(2, 80));
  expect([rig.shown(), rig.damping.remembered]).toEqual(["1 2", 0]);
});

test("a change of another host is told while one is left out", () => {
  const rig = new Rig().is(1, 2).flap(3);
  const before = rig.told.length;
  rig.is(1, 2, 3);
  rig.is(makeHost(1, 80, { leased: true, weight: 5 }), 2, 3);
  expect(rig.told.slice(before)).toEqual(["6: 1 3", "6: 1 3"]);
});

test("hosts that came once, in a deployment of a hundred, are all told of", () => {
  const rig = new Rig();
  const all = Array.from({ length: 100 }, (_, i) => i + 1);
  for (let n = 1; n <= 100; n++) rig.is(...all.slice(0, n));
  for (const gone of all) rig.is(...all.filter((n) => n !== gone)).is(...all);
  expect([rig.told.length, rig.damping.leftOut, rig.shown().split(" ").length]).toEqual([300, 0, 100]);
});

test("what left and did not come back is forgotten after a minute, and so is the module", () => {
  const rig = new Rig().is(1, 2, 3).is(1);
  expect(rig.damping.remembered).toBe(2);
  rig.after(61_000);
  expect(rig.damping.remembered).toBe(0);
  rig.is();
  rig.after(61_000);
  expect(rig.damping.remembered).toBe(0);
});

test("a route that is not the last one told of is shown as it is", () => {
  const rig = new Rig().is(1, 2).flap(3);
  const old = { ...rig.route!, hosts: [makeHost(7, 80)] };
  expect(rig.damping.shown(old).map(({ ip }) => ip)).toEqual([7]);
  expect([rig.damping.isPartial(old), rig.damping.isPartial(rig.route!)]).toEqual([false, true]);
});

test("told which hosts may have changed, it says as when it has to look for them, over 300 random histories", () => {
  const states = ["up", "draining", "down"] as const;
  const host = fc.record({
    ip: fc.integer({ min: 1, max: 6 }),
    leased: fc.boolean(),
    state: fc.constantFrom(...states),
  });
  const list = fc.uniqueArray(host, { selector: ({ ip }) => ip, maxLength: 6 });
  const step = fc.record({ list, ms: fc.integer({ min: 0, max: 9_000 }), extra: fc.integer({ min: 1, max: 6 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const [told, looking] = [new FlapDamping(), new FlapDamping()];
      let before: readonly Host[] = [];
      let nowMs = 0;
      for (const [i, { list, ms, extra }] of steps.entries()) {
        nowMs += ms;
        const made = list.map(({ ip, leased, state }) => makeHost(ip, 80, { state, ...(leased ? { leased } : {}) }));
        const kept = made.map((host) => before.find((old) => sameHost(old, host)) ?? host);
        const hosts = normalizeHosts(kept);
        const { added, changed, removed } = diffHosts(before, hosts);
        const touched = new Set([makeHost(extra, 80), ...added, ...changed, ...removed].map(hostKey));
        const route: RouteRecord = { modid: 1, cmdid: 1, revision: i + 1, name: "", policy: NO_CHOICE, hosts };
        expect(told.onRoute(route, nowMs, touched)).toBe(looking.onRoute(route, nowMs));
        expect(told.shown(route)).toEqual(looking.shown(route));
        expect([told.leftOut, told.remembered]).toEqual([looking.leftOut, looking.remembered]);
        before = hosts;
      }
    }),
    { numRuns: 300, seed: 3 },
  );
});

test("a host that came without being named is seen all the same", () => {
  const damping = new FlapDamping();
  const at = (revision: number, ...ips: number[]): RouteRecord => {
    const hosts = ips.map((ip) => makeHost(ip, 80, { leased: true }));
    return { modid: 1, cmdid: 1, revision, name: "", policy: NO_CHOICE, hosts };
  };
  damping.onRoute(at(1, 1, 2), 0);
  damping.onRoute(at(2, 1), 1, []);
  expect(damping.remembered).toBe(1);
});
