// Policy `round_robin`: in turn and, with weights, evenly so in every stretch of picks.
import { expect, test } from "bun:test";
import { RoundRobinPicker } from "../../src/core/picker-round-robin.ts";
import { type PickContext, SteeredHost } from "../../src/core/steered-host.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene, setOf } from "./steered-scene.ts";

const SEED = fuzzSeed();

function sequence(weights: readonly number[], random: () => number, picks: number): number[] {
  const hosts = weights.map((weight, i) => new SteeredHost(i, 80, weight, "", 30_000, 0));
  const picker = new RoundRobinPicker();
  picker.rebuild(setOf(hosts));
  const context: PickContext = { nowMs: 1e6, random, keyHash: 0, inFlight: 0, maxLeaseMs: 60_000, lossy: false };
  return Array.from({ length: picks }, () => picker.pick(context).ip);
}

test("equal hosts are picked in the same turn over and over", () => {
  expect(new Scene([1, 2, 3]).picks(9)).toBe("1 2 3 1 2 3 1 2 3");
  const order = sequence([5, 5, 5, 5, 5], makeFuzzRandom(SEED).float, 50);
  for (let i = 5; i < order.length; i++) expect(order[i]).toBe(order[i - 5]!);
  expect(new Set(order.slice(0, 5)).size).toBe(5);
});

test("weights 1:2 make a pattern of three, not blocks", () => {
  expect(
    new Scene([
      { ip: 1, weight: 1 },
      { ip: 2, weight: 2 },
    ]).picks(9),
  ).toMatch(/^(2 1 2 ?){3}$|^(1 2 2 ?){3}$|^(2 2 1 ?){3}$/);
});

test("two agents begin at different places, so that hosts are not called in step", () => {
  const first = (seed: number): number => sequence(Array(20).fill(1), makeFuzzRandom(seed).float, 1)[0]!;
  expect(new Set([1, 2, 3, 4, 5, 6, 7, 8].map(first)).size).toBeGreaterThan(3);
});

test(`in every stretch of picks each of up to 50 hosts has its due, give or take one turn of the whole (seed ${SEED})`, () => {
  const runs = Math.ceil(fuzzCount(40) / 1);
  for (let run = 0; run < runs; run++) {
    const random = makeFuzzRandom(SEED + run);
    const size = random.pick([1, 2, 3, 10, 50]);
    const weights = Array.from({ length: size }, () => random.pick([1, 2, 3, 5, 100, random.int(1, 1000)]));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const picks = 1000;
    const order = sequence(weights, random.float, picks);
    for (const [host, weight] of weights.entries()) {
      // Over a stretch of n picks that spans the time t, every host is picked t x weight times, rounded up or down; so n
      // differs from t x total by at most the number of hosts, and this host's count from its due by at most this:
      const slack = 1 + (size * weight) / total;
      // The largest and the smallest excess over all stretches is found in one pass over the running excess.
      let excess = 0;
      let lowest = 0;
      let highest = 0;
      let above = 0;
      let below = 0;
      for (const picked of order) {
        excess += (picked === host ? 1 : 0) - weight / total;
        above = Math.max(above, excess - lowest);
        below = Math.max(below, highest - excess);
        lowest = Math.min(lowest, excess);
        highest = Math.max(highest, excess);
      }
      if (Math.max(above, below) > slack + 1e-6) {
        const at = `seed ${SEED + run}, weight ${weight} of ${total}, ${size} hosts`;
        expect(`${at}: off by ${Math.max(above, below)}`).toBe(`${at}: off by at most ${slack}`);
      }
    }
  }
});

test("an ejection in mid-turn leaves the others in turn", () => {
  const scene = new Scene([1, 2, 3, 4]);
  for (const ip of [2, 3, 4]) scene.report(ip, "+".repeat(10));
  expect(scene.picks(2)).toBe("1 2");
  scene.report(1, "xxxxx");
  expect(scene.picks(6)).toBe("2 3 4 2 3 4");
});
