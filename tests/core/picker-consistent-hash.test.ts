// Policy `consistent_hash`: which keys move when hosts come and go, and that every agent agrees about it.
import { describe, expect, spyOn, test } from "bun:test";
import { finalMix } from "../../src/core/hash.ts";
import { MaglevFill } from "../../src/core/maglev-fill.ts";
import { NO_HOSTS } from "../../src/core/picker.ts";
import { ConsistentHashPicker } from "../../src/core/picker-consistent-hash.ts";
import { DEFAULT_STEERING } from "../../src/core/policies.ts";
import { type PickContext, SteeredHost } from "../../src/core/steered-host.ts";
import { fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene, setOf } from "./steered-scene.ts";

const KEYS = Array.from({ length: 20_000 }, (_, i) => finalMix(i + 1));
const SEED = fuzzSeed();
/** Picks, a millisecond apart, that make a table whole. */
const WHOLE_AFTER = 60;

const hostsOf = (weights: readonly number[]): SteeredHost[] =>
  weights.map((weight, i) => new SteeredHost(0x0a00_0001 + i * 257, 8000 + (i % 3), weight, "", 30_000, 0));

const makeContext = (): PickContext => ({
  nowMs: 1e6,
  random: () => 0.5,
  keyHash: 0,
  inFlight: 0,
  maxLeaseMs: 60_000,
  lossy: false,
});

/** Picks until the table is whole. */
function makeSceneWhole(scene: Scene): void {
  for (let i = 0; i < WHOLE_AFTER; i++) {
    scene.wait(0.001);
    scene.report(scene.pick(), "+");
  }
}

/** Whom each key goes to, while nothing is in flight. */
function ownersOf(hosts: readonly SteeredHost[]): SteeredHost[] {
  const picker = new ConsistentHashPicker(DEFAULT_STEERING);
  picker.rebuild(setOf(hosts));
  const context = makeContext();
  return KEYS.map((keyHash) => {
    context.keyHash = keyHash;
    return picker.pick(context);
  });
}

const movedShare = (before: readonly SteeredHost[], after: readonly SteeredHost[]): number =>
  before.filter((host, key) => host !== after[key]).length / KEYS.length;

describe("keys", () => {
  test("are spread in proportion to weight within 5 %, for 3 to 50 hosts", () => {
    for (const weights of [
      [1, 1, 1],
      [100, 200, 400],
      Array(10).fill(100),
      Array.from({ length: 50 }, (_, i) => 50 + i),
    ]) {
      const hosts = hostsOf(weights);
      const total = weights.reduce((sum: number, weight: number) => sum + weight, 0);
      const counts = new Map<SteeredHost, number>();
      // Every slot of the table once: shares are then exact, without the luck of a sample of keys.
      const picker = new ConsistentHashPicker(DEFAULT_STEERING);
      picker.rebuild(setOf(hosts));
      const context = makeContext();
      for (let slot = 1; slot <= 65_537; slot++) {
        context.keyHash = slot;
        const host = picker.pick(context);
        counts.set(host, (counts.get(host) ?? 0) + 1);
      }
      for (const host of hosts) {
        const ratio = (counts.get(host) ?? 0) / 65_537 / (host.weight / total);
        if (Math.abs(ratio - 1) > 0.05) expect(`${weights.length} hosts, weight ${host.weight}: ${ratio}`).toBe("1");
      }
    }
  });

  test("stay with their host, pick after pick", () => {
    const scene = new Scene([1, 2, 3, 4, 5], { policy: "consistent_hash" });
    for (const key of KEYS.slice(0, 50)) {
      const first = scene.pick(key);
      scene.report(first, "+");
      for (let i = 0; i < 5; i++) {
        expect(scene.pick(key)).toBe(first);
        scene.report(first, "+");
      }
    }
  });

  test("of a host that leaves move, and hardly any others: at most twice its share in all", () => {
    for (const size of [2, 3, 5, 10, 50]) {
      const hosts = hostsOf(Array(size).fill(100));
      const before = ownersOf(hosts);
      for (const gone of [0, Math.floor(size / 2), size - 1]) {
        const after = ownersOf(hosts.filter((_, i) => i !== gone));
        const moved = movedShare(before, after);
        expect(moved).toBeGreaterThan(0.5 / size);
        if (moved > 2 / size) expect(`${size} hosts, ${gone} gone: ${moved}`).toBe(`at most ${2 / size}`);
      }
    }
  });

  test("move as little when the hosts have different weights", () => {
    const weights = [100, 300, 50, 200, 100, 400, 100, 250];
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const hosts = hostsOf(weights);
    const before = ownersOf(hosts);
    for (const [gone, weight] of weights.entries()) {
      const moved = movedShare(before, ownersOf(hosts.filter((_, i) => i !== gone)));
      // The heaviest sets the pace of the turns: without it all places in the table are dealt anew, more or less.
      const most = weight === 400 ? 3 : 2.5;
      if (moved > (most * weight) / total) expect(`${gone} gone: ${moved}`).toBe(`at most ${(most * weight) / total}`);
    }
  });

  test("move when their host is ejected, and are back where they were once it is readmitted", () => {
    const scene = new Scene([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], { policy: "consistent_hash" });
    const owners = (): number[] =>
      KEYS.slice(0, 3000).map((key) => {
        const ip = scene.pick(key);
        scene.report(ip, "+");
        return ip;
      });
    const before = owners();
    scene.report(4, "xxxxx");
    expect(scene.ejected).toEqual([4]);
    const without = owners();
    expect(without).not.toContain(4);
    const moved = before.filter((ip, key) => ip !== without[key]).length / before.length;
    expect(moved).toBeLessThan(0.2);
    scene.waitForProbe(4).pick();
    scene.report(4, "+").wait(10);
    expect(owners()).toEqual(before);
  });

  test("go to the same host on every agent, whatever order and history its route came in", () => {
    const ips = Array.from({ length: 20 }, (_, i) => i + 1);
    const one = new Scene(ips, { policy: "consistent_hash" });
    makeSceneWhole(one);
    const random = makeFuzzRandom(SEED);
    for (let agent = 0; agent < 4; agent++) {
      const shuffled = [...ips].sort(() => random.float() - 0.5);
      const other = new Scene(shuffled.slice(0, 7), { policy: "consistent_hash", random: random.float });
      makeSceneWhole(other);
      other
        .update([...shuffled.slice(3), 99])
        .update([...shuffled].reverse())
        .wait(10);
      makeSceneWhole(other);
      for (const key of KEYS.slice(0, 2000)) {
        const [a, b] = [one.pick(key), other.pick(key)];
        if (a !== b) expect(`key ${key}: host ${b}`).toBe(`key ${key}: host ${a}`);
        one.report(a, "+");
        other.report(b, "+");
      }
    }
  });

  test("a call without a key is drawn at random", () => {
    const scene = new Scene([1, 2, 3, 4], { policy: "consistent_hash", random: makeFuzzRandom(SEED).float });
    expect(new Set(scene.calls(60).split(" ")).size).toBe(4);
  });
});

describe("a bounded load", () => {
  test.each([5, 20, 100])(
    "keeps one hot key from sinking a host of %d: none holds more than 1.25 fair shares and 4",
    (size) => {
      const ips = Array.from({ length: size }, (_, i) => i + 1);
      const scene = new Scene(ips, { policy: "consistent_hash", random: makeFuzzRandom(SEED).float });
      for (let i = 1; i <= 2000; i++) {
        const host = scene.host(scene.pick(KEYS[7]));
        const room = (1.25 * i) / size + 4;
        if (host.inFlight > room) expect(`call ${i}: ${host.inFlight} in flight`).toBe(`at most ${room}`);
      }
    },
  );

  test("counts by weight: the heavy host holds what is its due", () => {
    const scene = new Scene(
      [
        { ip: 1, weight: 300 },
        { ip: 2, weight: 100 },
      ],
      { policy: "consistent_hash" },
    );
    for (let i = 0; i < 400; i++) scene.pick(KEYS[7]);
    const [heavy, light] = [scene.host(1).inFlight, scene.host(2).inFlight];
    expect(heavy).toBeLessThanOrEqual(Math.ceil(1.25 * 300));
    expect(light).toBeLessThanOrEqual(Math.ceil(1.25 * 100));
    expect(heavy + light).toBe(400);
  });

  test("bounded_load 10 lets a hot key stay where it is", () => {
    const scene = new Scene([1, 2, 3, 4, 5], { policy: "consistent_hash", steering: { bounded_load: 10 } });
    const hosts = new Set(Array.from({ length: 1000 }, () => scene.pick(KEYS[7])));
    expect(hosts.size).toBe(1);
  });
});

describe("while a table is made", () => {
  const options = () => ({
    policy: "consistent_hash" as const,
    random: makeFuzzRandom(SEED).float,
    steering: { slow_start: 0, bounded_load: 10 },
  });
  const ownersAt = (scene: Scene): number[] =>
    KEYS.slice(0, 3000).map((key) => {
      const ip = scene.pick(key);
      scene.report(ip, "+");
      return ip;
    });
  const ipsTo = (last: number): number[] => Array.from({ length: last }, (_, i) => i + 1);

  test("a batch of picks, which has one time, sees one stretch of it: keys stay where they are", () => {
    const scene = new Scene(ipsTo(20), options());
    scene.pick();
    scene.update(ipsTo(15));
    const partly = ownersAt(scene);
    expect(ownersAt(scene)).toEqual(partly);
    makeSceneWhole(scene);
    const whole = ownersAt(scene);
    expect(whole).not.toEqual(partly);
    makeSceneWhole(scene);
    expect(ownersAt(scene)).toEqual(whole);
  });

  test("the first one is whole with the first pick: a key has the host it has for good, on every agent", () => {
    const scene = new Scene(ipsTo(20), options());
    const other = new Scene(ipsTo(20).reverse(), options());
    makeSceneWhole(other);
    expect(scene.balancer.isUnfinished).toBe(false);
    const first = ownersAt(scene);
    expect(first).toEqual(ownersAt(other));
    makeSceneWhole(scene);
    expect(ownersAt(scene)).toEqual(first);
  });

  test.each([
    ["another route", (scene: Scene) => scene.update([...ipsTo(12), 30])],
    [
      "an ejection",
      (scene: Scene) => {
        for (const ip of ipsTo(20)) scene.report(ip, "+");
        scene.report(4, "xxxxx");
        expect(scene.ejected).toEqual([4]);
      },
    ],
    ["hosts in two zones", (scene: Scene) => scene.update(ipsTo(12).map((ip) => ({ ip, zone: ip < 9 ? "a" : "b" })))],
  ])("after %s it goes on with time alone, 36 ticks a table, and a tick takes one stretch", (_name, change) => {
    const stretches = spyOn(MaglevFill.prototype, "goOn");
    const scene = new Scene(ipsTo(20), { ...options(), zone: "a" });
    ownersAt(scene);
    change(scene);
    stretches.mockClear();
    for (let ticks = 1; scene.balancer.isUnfinished; ticks++) {
      scene.balancer.goOn();
      const work = stretches.mock.calls.map(([units]) => units);
      expect(work.length).toBeLessThanOrEqual(ticks);
      expect(Math.max(0, ...work)).toBeLessThanOrEqual(30_000);
      expect(ticks).toBeLessThanOrEqual(40);
    }
    // To do nothing is no way to keep within it.
    expect(stretches.mock.calls.length).toBeGreaterThan(10);
    stretches.mockRestore();
    const fresh = new Scene([], { ...options(), zone: "a" });
    fresh.update(ipsTo(20));
    change(fresh);
    expect(ownersAt(scene)).toEqual(ownersAt(fresh));
  });

  test("hosts that all left and came back have their keys at once, from the table there was", () => {
    const picker = new ConsistentHashPicker(DEFAULT_STEERING);
    const context = makeContext();
    const owners = () =>
      KEYS.map((keyHash) => {
        context.keyHash = keyHash;
        return picker.pick(context);
      });
    const hosts = setOf(hostsOf([1, 2, 3]));
    picker.rebuild(hosts);
    const before = owners();
    picker.rebuild(NO_HOSTS);
    expect(picker.isUnfinished).toBe(false);
    picker.rebuild(hosts);
    expect(picker.isUnfinished).toBe(false);
    expect(owners().every((host, i) => host === before[i])).toBe(true);
  });

  test("the first one, every host has about its share from the first pick on", () => {
    const scene = new Scene(
      ipsTo(10).map((ip) => ({ ip, weight: ip <= 5 ? 100 : 300 })),
      options(),
    );
    const owners = ownersAt(scene);
    const heavy = owners.filter((ip) => ip > 5).length / owners.length;
    expect(heavy).toBeGreaterThan(0.68);
    expect(heavy).toBeLessThan(0.82);
    expect(new Set(owners).size).toBe(10);
  });

  test("after another: a host that left has no key, one that joined has its share, hardly any other key moves", () => {
    const scene = new Scene(ipsTo(10), options());
    makeSceneWhole(scene);
    const before = ownersAt(scene);
    scene.update([...ipsTo(10).filter((ip) => ip !== 3), 11]);
    for (const stage of ["at once", "later"]) {
      const after = ownersAt(scene);
      expect([stage, after.includes(3)]).toEqual([stage, false]);
      const joined = after.filter((ip) => ip === 11).length / after.length;
      expect(Math.abs(joined - 0.1)).toBeLessThan(0.03);
      const moved = after.filter((ip, key) => before[key] !== 3 && ip !== before[key]).length / after.length;
      expect(moved).toBeLessThan(stage === "at once" ? 0.01 : 0.2);
      makeSceneWhole(scene);
    }
  });

  test("routes that follow each other faster than tables are made: only hosts of the last one are picked, by weight", () => {
    const scene = new Scene(ipsTo(10), options());
    makeSceneWhole(scene);
    const random = makeFuzzRandom(SEED);
    for (let i = 0; i < 50; i++) {
      const route = ipsTo(20)
        .filter((ip) => ip === 1 || random.float() < 0.5)
        .map((ip) => ({ ip, weight: random.pick([50, 100, 400]) }));
      scene.update(route).wait(random.pick([0, 0.001, 0.01]));
      const total = route.reduce((sum, { weight }) => sum + weight, 0);
      const owners = ownersAt(scene);
      for (const { ip, weight } of route) {
        const share = owners.filter((owner) => owner === ip).length / owners.length;
        if (Math.abs(share - weight / total) > 0.05)
          expect(`route ${i}, host ${ip}: ${share}`).toBe(`${weight / total}`);
      }
      expect(owners.every((owner) => route.some(({ ip }) => ip === owner))).toBe(true);
    }
  });

  test("a clock that is set back does not hold it up", () => {
    const scene = new Scene(ipsTo(11), options());
    const later = new Scene(ipsTo(10), options());
    scene.pick();
    scene.update(ipsTo(10)).pick();
    scene.wait(-500);
    makeSceneWhole(scene);
    expect(ownersAt(scene)).toEqual(ownersAt(later));
  });

  test("other parameters leave it as it is", () => {
    const scene = new Scene(ipsTo(10), options());
    makeSceneWhole(scene);
    const before = ownersAt(scene);
    scene.balancer.configure({ ...scene.steering, bounded_load: 5 });
    expect(ownersAt(scene)).toEqual(before);
  });
});
