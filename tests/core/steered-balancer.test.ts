// What is alike for every policy but `lars`: hosts over route updates, latency, what is in flight, slow start, zones,
// weights and settings that change.

import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import { makeBalancer, reconfigured } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING } from "../../src/core/policies.ts";
import { makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene, type SceneHost, type SceneOptions } from "./steered-scene.ts";

const seeded = (seed = 1): (() => number) => makeFuzzRandom(seed).float;

/** Each host's part of so many picks that are reported at once. */
function shares(scene: Scene, picks: number, latencyMs = 20): Map<number, number> {
  const counts = new Map<number, number>();
  for (let i = 0; i < picks; i++) {
    const ip = scene.pick();
    counts.set(ip, (counts.get(ip) ?? 0) + 1 / picks);
    scene.report(ip, "+", latencyMs);
  }
  return counts;
}

const POLICIES = ["adaptive", "round_robin", "random", "least_request", "consistent_hash"] as const;

describe("a route", () => {
  test.each(POLICIES)("%s: without hosts, calls are shed; with the first host they go there", (policy) => {
    const scene = new Scene([], { policy });
    expect(scene.picks(2)).toBe("- -");
    expect(scene.update([7]).picks(2)).toBe("7 7");
    expect(scene.update([]).picks(2)).toBe("- -");
  });

  test.each(POLICIES)("%s: a host that is drained (no longer in the route) gets not one pick more", (policy) => {
    const scene = new Scene([1, 2, 3], { policy, random: seeded() });
    expect(new Set(scene.calls(100).split(" ")).size).toBe(3);
    const left = scene.balancer.update([], scene.nowMs);
    expect(left.map(({ ip }) => ip)).toEqual([1, 2, 3]);
    scene.update([1, 2, 3]).update([1, 3]);
    expect(scene.balancer.find(2, 80)).toBeUndefined();
    expect(scene.calls(1000)).not.toContain("2");
  });

  test.each(POLICIES)("%s: a weight that changes counts from the next pick on", (policy) => {
    const scene = new Scene(
      [
        { ip: 1, weight: 1 },
        { ip: 2, weight: 10_000 },
      ],
      { policy, random: seeded() },
    );
    expect(shares(scene, 1000).get(2)!).toBeGreaterThan(0.99);
    scene.update([
      { ip: 1, weight: 10_000 },
      { ip: 2, weight: 1 },
    ]);
    expect(shares(scene, 1000).get(1)!).toBeGreaterThan(0.99);
  });

  test("hosts that stay keep all that is known of them", () => {
    const scene = new Scene([1, 2, 3]);
    scene.traffic(2, 10, [], 30);
    scene.picks(3);
    scene.report(2, "+".repeat(60)).report(1, "xxxxx");
    const before = [scene.verdict(1), scene.verdict(2)];
    const host = scene.host(2);
    scene.update([2, 1, 4]);
    expect([scene.verdict(1), scene.verdict(2)]).toEqual(before);
    expect(scene.host(2)).toBe(host);
    expect(scene.ejected).toEqual([1]);
  });

  test("a host that left and came back begins anew", () => {
    const scene = new Scene([1, 2]);
    scene.report(2, "+".repeat(60)).report(1, "xxxxx");
    expect(scene.ejected).toEqual([1]);
    scene.update([2]).update([1, 2]);
    expect(scene.ejected).toEqual([]);
    expect(scene.verdict(1)).toMatchObject({ succ: 0, err: 0, inFlight: 0, reason: "joined the route" });
  });

  test("a report for a host that left changes nothing, not even for its successor at the same address", () => {
    const scene = new Scene([1, 2]);
    const gone = scene.host(1);
    scene.picks(4);
    scene.update([2]);
    scene.balancer.report(gone, false, 0, scene.nowMs);
    scene.update([1, 2]);
    for (let i = 0; i < 20; i++) scene.balancer.report(gone, false, 0, scene.nowMs);
    expect(scene.verdict(1)).toMatchObject({ succ: 0, err: 0, inFlight: 0 });
    expect(scene.balancer.inFlight).toBe(2);
  });

  test("an endpoint that is named twice is one host", () => {
    const scene = new Scene([1, 1, 2]);
    expect([...scene.balancer.hosts()].map(({ ip }) => ip)).toEqual([1, 2]);
  });
});

describe("what is in flight", () => {
  test("grows with picks and falls with reports, of the host and of the module", () => {
    const scene = new Scene([1, 2]);
    scene.picks(4);
    expect([scene.verdict(1).inFlight, scene.verdict(2).inFlight, scene.balancer.inFlight]).toEqual([2, 2, 4]);
    scene.report(1, "+");
    expect([scene.verdict(1).inFlight, scene.verdict(2).inFlight, scene.balancer.inFlight]).toEqual([1, 2, 3]);
  });

  test("more reports than picks (doubled, other agents' calls) never make it negative", () => {
    const scene = new Scene([1, 2]);
    scene.picks(2);
    scene.report(1, "+".repeat(50)).report(2, "+".repeat(50));
    expect([scene.verdict(1).inFlight, scene.verdict(2).inFlight, scene.balancer.inFlight]).toEqual([0, 0, 0]);
  });

  test("picks that nobody reports are given up after pick_lease", () => {
    const scene = new Scene([1, 2, 3], { steering: { pick_lease: 10 } });
    scene.picks(300);
    scene.wait(11);
    scene.picks(4);
    expect(scene.balancer.inFlight).toBe(4);
  });

  test("picks that nobody reports are given up at hosts that nobody looks at, too", () => {
    const scene = new Scene([1, 2, 3, 4, 5], { policy: "consistent_hash", steering: { bounded_load: 10 } });
    for (let key = 1; key <= 200; key++) scene.pick(key * 2_654_435);
    expect([1, 2, 3, 4, 5].filter((ip) => scene.host(ip).inFlight === 0)).toEqual([]);
    scene.wait(61);
    // One key, one host: the others are not asked for.
    for (let i = 0; i < 5; i++) scene.report(scene.pick(77), "+");
    expect(scene.balancer.inFlight).toBe(0);
  });

  test("what a host held when it was ejected is gone with that; its late reports do not count twice", () => {
    const scene = new Scene([1, 2]);
    scene.picks(40);
    scene.report(2, "+".repeat(20)).report(1, "x".repeat(20));
    expect(scene.ejected).toEqual([1]);
    expect([scene.verdict(1).inFlight, scene.balancer.inFlight]).toEqual([0, 0]);
  });

  test("a host whose callers all died is not shunned for longer than the lease", () => {
    for (const policy of ["least_request", "adaptive"] as const) {
      const ips = Array.from({ length: 50 }, (_, i) => i + 1);
      const scene = new Scene(ips, { policy, random: seeded() });
      scene.traffic(10, 100, [], 20);
      for (let i = 0; i < 40; i++) scene.balancer.pick(scene.nowMs, () => 0, 0);
      const held = [...scene.balancer.hosts()].find(({ inFlight }) => inFlight >= 20)!.ip;
      scene.traffic(10, 100, [], 20);
      const after = scene.traffic(60, 100, [], 20);
      expect([policy, (after.get(held) ?? 0) > 60]).toEqual([policy, true]);
    }
  });

  test("a clock that steps back an hour neither loses hosts nor stops picks, and nothing is left over afterwards", () => {
    const scene = new Scene([1, 2, 3], { policy: "adaptive", random: seeded() });
    scene.nowMs += 7_200_000;
    scene.traffic(5, 20, [1], 20);
    scene.picks(30);
    scene.wait(-3600);
    const counts = scene.traffic(5, 20, [1], 20);
    expect(counts.get(0)).toBeUndefined();
    expect((counts.get(2) ?? 0) + (counts.get(3) ?? 0)).toBeGreaterThan(90);
    scene.wait(3700).traffic(30, 20, [], 20);
    expect(scene.ejected).toEqual([]);
    expect(scene.balancer.inFlight).toBe(0);
  });
});

describe("latency", () => {
  test("is what the caller says", () => {
    const scene = new Scene([1]).report(1, "+", 40);
    expect(scene.verdict(1).latencyMs).toBe(40);
  });

  test("is timed from pick to report when the caller does not say", () => {
    const scene = new Scene([1]);
    for (let i = 0; i < 200; i++) {
      scene.pick();
      scene.wait(0.025).report(1, "+");
    }
    expect(scene.verdict(1).latencyMs).toBeCloseTo(25, 5);
  });

  test("timed so has the right mean although reports come out of order", () => {
    const scene = new Scene([1], { random: seeded() });
    const random = makeFuzzRandom(5);
    const ends: number[] = [];
    const estimates: number[] = [];
    const beginsMs = scene.nowMs;
    // 100 calls/s of 10 to 110 ms: on average 6 overlap, and overtake each other.
    for (let ms = 0; ms < 30_000; ms++) {
      scene.nowMs = beginsMs + ms;
      if (ms % 10 === 0) {
        scene.pick();
        ends.push(ms + random.int(10, 110));
      }
      for (let i = ends.length - 1; i >= 0; i--) {
        if (ends[i]! > ms) continue;
        ends.splice(i, 1);
        scene.report(1, "+");
        estimates.push(scene.host(1).estimateMs);
      }
    }
    const late = estimates.slice(500);
    const mean = late.reduce((sum, estimate) => sum + estimate, 0) / late.length;
    expect(mean).toBeGreaterThan(54);
    expect(mean).toBeLessThan(66);
  });

  test("is not learned from a report without a pick and without a latency", () => {
    expect(new Scene([1]).report(1, "+++").verdict(1).latencyMs).toBeUndefined();
  });

  test("is not learned from calls that failed fast; those that failed late count", () => {
    const scene = new Scene([1]).report(1, "+", 40).wait(1).report(1, "xxx", 1);
    expect(scene.verdict(1).latencyMs).toBe(40);
    scene.wait(1).report(1, "x", 1000);
    expect(scene.verdict(1).latencyMs!).toBeGreaterThan(100);
  });

  test("of a host that joins is taken from the others until it shows its own", () => {
    const scene = new Scene([1, 2]).report(1, "+", 20).report(2, "+", 40).update([1, 2, 3]);
    expect(scene.verdict(3).latencyMs).toBe(30);
  });

  test("of calls that always take longer than a guessed lease is learned all the same, one call at a time", () => {
    const scene = new Scene([1]);
    for (let i = 0; i < 20; i++) {
      scene.pick();
      scene.wait(8).report(1, "+");
    }
    expect(scene.verdict(1).latencyMs!).toBeGreaterThan(7000);
  });
});

describe("slow start", () => {
  test.each(POLICIES)("%s: a host that joins reaches its share over 3 s", (policy) => {
    const scene = new Scene([1, 2], { policy, random: seeded(3) });
    scene.traffic(2, 100, [], 20);
    scene.update([1, 2, 3]);
    const perSecond = [0, 1, 2, 3, 4].map(() => (scene.traffic(1, 3000, [], 20).get(3) ?? 0) / 1000);
    expect(perSecond[0]!).toBeLessThan(0.6);
    expect(perSecond[1]!).toBeGreaterThan(perSecond[0]!);
    expect(perSecond[1]!).toBeLessThan(0.9);
    expect(perSecond[2]!).toBeGreaterThan(perSecond[1]!);
    expect(perSecond[4]!).toBeGreaterThan(0.85);
    expect(perSecond[4]!).toBeLessThan(1.15);
  });

  test("slow_start 0 gives it its share at once", () => {
    const scene = new Scene([1, 2], { random: seeded(3), steering: { slow_start: 0 } });
    scene.update([1, 2, 3]);
    expect(shares(scene, 300).get(3)).toBeCloseTo(1 / 3, 2);
  });

  test("the first hosts of a route need none: all of them are cold", () => {
    const scene = new Scene([1, 2, 3], { random: seeded(3) });
    expect(shares(scene, 300).get(3)).toBeCloseTo(1 / 3, 2);
  });

  test("a route whose hosts are all exchanged at once is served by the new ones, evenly", () => {
    const scene = new Scene([1, 2, 3], { random: seeded(3) }).update([4, 5, 6]);
    const counts = shares(scene, 3000);
    expect([...counts.keys()].sort()).toEqual([4, 5, 6]);
    for (const share of counts.values()) expect(Math.abs(share - 1 / 3)).toBeLessThan(0.05);
  });
});

describe("zones", () => {
  const own = (...ips: number[]): SceneHost[] => ips.map((ip) => ({ ip, zone: "a" }));
  const other = (...ips: number[]): SceneHost[] => ips.map((ip) => ({ ip, zone: "b" }));

  /** The part of the calls that goes to hosts 1 to 5, which are in zone a; `down` are ejected. */
  const localShare = (down: readonly number[], options: SceneOptions = {}): number => {
    const scene = new Scene([...own(1, 2, 3, 4, 5), ...other(6, 7, 8, 9, 10)], {
      zone: "a",
      random: seeded(),
      steering: { base_ejection: 3600, max_ejection: 3600 },
      ...options,
    });
    for (let ip = 1; ip <= 10; ip++) scene.report(ip, "+".repeat(20));
    for (const ip of down) scene.report(ip, "xxxxx").report(5, "+++++").report(10, "+++++");
    expect(scene.ejected).toEqual([...down]);
    let local = 0;
    for (const [ip, share] of shares(scene, 10_000)) if (ip <= 5) local += share;
    return local;
  };

  test("the own zone takes every call while at least 1/1.4 of it is healthy: 4 of 5 are enough", () => {
    expect(localShare([])).toBeCloseTo(1, 9);
    expect(localShare([1])).toBeCloseTo(1, 9);
  });

  test("below, calls spill over in proportion: 3 of 5 keep 84 %, 2 of 5 56 %, 1 of 5 28 %", () => {
    expect(localShare([1, 2])).toBeCloseTo(0.84, 1);
    expect(localShare([1, 2, 3])).toBeCloseTo(0.56, 1);
    expect(localShare([1, 2, 3, 4])).toBeCloseTo(0.28, 1);
  });

  test("zone_overprovision 1 spills over as soon as a host is out: 4 of 5 keep 80 %", () => {
    const steering = { zone_overprovision: 1, base_ejection: 3600, max_ejection: 3600 };
    expect(localShare([1], { steering })).toBeCloseTo(0.8, 1);
  });

  test("nothing spills over to zones that are worse off, or as badly", () => {
    expect(localShare([1, 2, 3, 6, 7, 8, 9])).toBeCloseTo(1, 9);
    expect(localShare([1, 2, 3, 6, 7, 8])).toBeCloseTo(1, 9);
    expect(localShare([1, 2, 3, 6])).toBeCloseTo(0.56, 1);
  });

  test("weights count, not hosts: the heavy one of two out is more than a half", () => {
    const scene = new Scene([{ ip: 1, zone: "a", weight: 300 }, { ip: 2, zone: "a", weight: 100 }, ...other(6, 7)], {
      zone: "a",
      random: seeded(),
    });
    for (const ip of [1, 2, 6, 7]) scene.report(ip, "+".repeat(30));
    scene.report(1, "xxxxx");
    expect(shares(scene, 10_000).get(2)).toBeCloseTo(0.25 * 1.4, 1);
  });

  test("when none of the own zone is left all go to the others, and back when the own ones are", () => {
    const scene = new Scene([...own(1), ...other(2, 3)], { zone: "a" });
    expect(scene.calls(4)).toBe("1 1 1 1");
    scene.report(2, "+".repeat(30)).report(1, "xxxxx");
    expect(scene.calls(4)).toBe("2 3 2 3");
    scene.waitForProbe(1).calls(1);
    scene.wait(2);
    expect(scene.calls(4)).toBe("1 1 1 1");
  });

  test("an agent without a zone, or with one that no host is in, picks among all", () => {
    for (const zone of ["", "c"]) {
      const scene = new Scene([...own(1), ...other(2), 3], { zone });
      expect(new Set(scene.calls(6).split(" "))).toEqual(new Set(["1", "2", "3"]));
    }
  });

  test("hosts without a zone are nobody's own", () => {
    expect(new Scene([...own(1), 2, 3], { zone: "a" }).calls(3)).toBe("1 1 1");
    expect(new Set(new Scene([1, 2, ...other(3)]).calls(6).split(" ")).size).toBe(3);
  });

  test("a zone that an operator gives to a host counts from the next pick on", () => {
    const scene = new Scene([1, 2], { zone: "a" });
    expect(scene.calls(4)).toBe("1 2 1 2");
    expect(scene.update([1, ...own(2)]).calls(4)).toBe("2 2 2 2");
  });
});

describe("other settings", () => {
  test("take effect with the next report, and hosts keep what they have earned", () => {
    const scene = new Scene([1, 2, 3]);
    scene.traffic(3, 10, [], 25);
    scene.picks(3);
    scene.report(1, "xxx");
    expect(scene.ejected).toEqual([1]);
    const before = scene.balancer.describe(scene.nowMs);
    scene.balancer.configure({ ...scene.steering, consecutive_failures: 1 });
    expect(scene.balancer.describe(scene.nowMs)).toEqual(before);
    scene.report(3, "+").report(2, "x");
    expect(scene.ejected).toEqual([1, 2]);
  });

  test("another success_window starts counting afresh, and ejections stay", () => {
    const scene = new Scene([1, 2, 3]);
    scene.report(2, "+".repeat(60)).report(3, "+".repeat(60)).report(1, "xxxxx");
    scene.balancer.configure({ ...scene.steering, success_window: 7 });
    scene.update([1, 2, 3, 4]);
    for (const ip of [2, 3, 4]) scene.report(ip, "+".repeat(60));
    expect(scene.ejected).toEqual([1]);
    scene.wait(9);
    expect(scene.verdict(3)).toMatchObject({ succ: 0, err: 0 });
    scene.report(3, "+".repeat(60)).report(2, "x+x+x");
    expect(scene.ejected).toEqual([1, 2]);
    expect(scene.verdict(2).reason).toContain("40 % of 5 calls succeeded, 100 % of the others'");
  });

  test("another pick_lease holds for picks that are under way", () => {
    const scene = new Scene([1], { steering: { pick_lease: 3 } });
    scene.balancer.configure({ ...scene.steering, pick_lease: 1 });
    scene.picks(5);
    scene.wait(1.5).pick();
    expect(scene.balancer.inFlight).toBe(1);
  });

  test("another policy takes over the hosts with all that is known of them; to and from lars it begins anew", () => {
    const scene = new Scene([1, 2, 3]);
    scene.report(2, "+".repeat(60), 20).report(3, "+".repeat(60), 20).report(1, "xxxxx");
    const settings = { policy: "adaptive", lars: LARS_DEFAULTS, steering: scene.steering, zone: "" } as const;
    const before = scene.balancer.describe(scene.nowMs);
    expect(reconfigured(scene.balancer, settings)).toBe(scene.balancer);
    expect(scene.balancer.describe(scene.nowMs)).toEqual(before);
    scene.random = seeded();
    expect(scene.calls(50)).not.toContain("1");
    const lars = reconfigured(scene.balancer, { ...settings, policy: "lars" });
    expect(lars).not.toBe(scene.balancer);
    expect([...lars.hosts()]).toEqual([]);
    expect(reconfigured(lars, { ...settings, policy: "lars" })).toBe(lars);
    expect([...reconfigured(lars, settings).hosts()]).toEqual([]);
  });

  test("can be changed before the first route is known", () => {
    const scene = new Scene([]);
    const fresh = makeBalancer({ policy: "adaptive", lars: LARS_DEFAULTS, steering: scene.steering, zone: "" });
    expect(reconfigured(fresh, { policy: "random", lars: LARS_DEFAULTS, steering: scene.steering, zone: "" })).toBe(
      fresh,
    );
  });
});

describe("the description of a host", () => {
  test("says what it is, how its calls went lately and what is in flight", () => {
    const scene = new Scene([{ ip: 1, weight: 50, zone: "a" }], { zone: "a" });
    scene.picks(2);
    scene.report(1, "+x", 20);
    expect(scene.verdict(1)).toEqual({
      ip: 1,
      port: 80,
      weight: 50,
      zone: "a",
      verdict: "available",
      reason: "in the route",
      sinceMs: 1_000_000,
      succ: 1,
      err: 1,
      inFlight: 0,
      latencyMs: 20,
    });
  });

  test("counts only calls of the last 30 s, also when none came since", () => {
    const scene = new Scene([1, 2]).report(1, "++++x");
    expect(scene.verdict(1)).toMatchObject({ succ: 4, err: 1 });
    expect(scene.wait(36).verdict(1)).toMatchObject({ succ: 0, err: 0 });
  });
});

test("a pick that nobody reported does not become a host's first latency", () => {
  const balancer = makeBalancer({ policy: "adaptive", lars: LARS_DEFAULTS, steering: DEFAULT_STEERING, zone: "" });
  balancer.update([makeHost(1, 80), makeHost(2, 80)], 0);
  const random = seeded(7);
  // Somebody tried the agent by hand, long before the callers came.
  for (let i = 0; i < 4; i++) balancer.pick(0, random, 0);
  const picks = new Map<number, number>();
  for (let nowMs = 2000; nowMs < 2100; nowMs += 0.1) {
    const host = balancer.pick(nowMs, random, 0);
    if (!("port" in host)) throw new Error("shed");
    picks.set(host.ip, (picks.get(host.ip) ?? 0) + 1);
    balancer.report(host, true, 0, nowMs + 0.05);
  }
  for (const count of picks.values()) expect(count).toBeGreaterThan(300);
});

test("of 100 hosts only those that were drawn or reported have a state: two after a pick, three after a report", () => {
  const scene = new Scene(
    Array.from({ length: 100 }, (_, i) => i + 1),
    { policy: "adaptive", random: seeded() },
  );
  scene.balancer.describe(scene.nowMs);
  expect(scene.balancer.states).toBe(0);
  scene.pick();
  expect(scene.balancer.states).toBe(2);
  const untouched = scene.balancer.describe(scene.nowMs).find(({ ip, inFlight }) => inFlight === 0 && ip > 50)!.ip;
  scene.report(untouched, "+", 3);
  expect(scene.balancer.states).toBe(3);
  expect(scene.verdict(untouched)).toMatchObject({ succ: 1, latencyMs: 3, sinceMs: 1_000_000 });
  scene.update([untouched, 101]);
  expect(scene.balancer.states).toBe(2);
});
