import { describe, expect, test } from "bun:test";
import { WeightedSampler } from "../../src/core/weighted-sampler.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";

const samplerOf = (weights: readonly number[]): WeightedSampler => {
  const sampler = new WeightedSampler();
  sampler.build(weights.length, (i) => weights[i]!);
  return sampler;
};

/** Draws at `steps` evenly spaced points: what a perfectly even source would give. */
function sweep(sampler: WeightedSampler, steps: number): number[] {
  const counts = new Array<number>(sampler.size).fill(0);
  for (let i = 0; i < steps; i++) counts[sampler.draw(() => (i + 0.5) / steps)]!++;
  return counts.map((count) => count / steps);
}

const EDGE = 1e-8;

/**
 * The probability of each index, to within EDGE: within the slice of [0, 1) that belongs to a column the answer changes once at
 * the most, and bisection finds where.
 */
function impliedProbabilities(sampler: WeightedSampler): number[] {
  const { size } = sampler;
  const shares = new Array<number>(size).fill(0);
  for (let column = 0; column < size; column++) {
    const at = (part: number): number => sampler.draw(() => (column + part) / size);
    // Not at the very edges, where rounding may fall into the neighbour.
    const first = at(EDGE);
    const last = at(1 - EDGE);
    let low = EDGE;
    let high = 1 - EDGE;
    if (first === last) low = 1;
    else {
      for (let i = 0; i < 50; i++) {
        const middle = (low + high) / 2;
        if (at(middle) === first) low = middle;
        else high = middle;
      }
    }
    shares[first]! += low / size;
    shares[last]! += (1 - low) / size;
  }
  return shares;
}

describe("draws", () => {
  test("equal weights are drawn by their place alone", () => {
    const sampler = samplerOf([7, 7, 7, 7]);
    expect([0, 0.249, 0.25, 0.5, 0.999_999].map((value) => sampler.draw(() => value))).toEqual([0, 0, 1, 2, 3]);
  });

  test("weights 1:2:5 are drawn with 12.5, 25 and 62.5 %", () => {
    const shares = sweep(samplerOf([1, 2, 5]), 80_000);
    for (const [i, wanted] of [0.125, 0.25, 0.625].entries()) expect(shares[i]).toBeCloseTo(wanted, 4);
  });

  test("one number of chance makes one draw", () => {
    let numbers = 0;
    samplerOf([1, 2, 3]).draw(() => {
      numbers++;
      return 0.4;
    });
    expect(numbers).toBe(1);
  });

  test("the largest number below 1 draws an index that exists, whatever the size", () => {
    const almostOne = 1 - Number.EPSILON / 2;
    for (let size = 1; size <= 3000; size++) {
      const index = samplerOf(Array.from({ length: size }, (_, i) => 1 + (i & 1))).draw(() => almostOne);
      if (!(index >= 0 && index < size)) expect(`size ${size}: ${index}`).toBe(`size ${size}: an index`);
    }
  });

  test("a sampler that is built again forgets what it was, smaller, larger or even", () => {
    const sampler = samplerOf([1, 9]);
    for (const weights of [
      [3, 1, 4, 1, 5, 9],
      [2, 6],
      [5, 5, 5],
      [1, 3],
    ]) {
      sampler.build(weights.length, (i) => weights[i]!);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const shares = impliedProbabilities(sampler);
      for (const [i, weight] of weights.entries()) expect(shares[i]).toBeCloseTo(weight / total, 7);
    }
  });
});

const SEED = fuzzSeed();
const VECTORS = Math.ceil(fuzzCount(30_000) / 150);

test(`in ${VECTORS} random weight vectors of up to 1,000 hosts every probability is right to 8 digits (seed ${SEED})`, () => {
  for (let run = 0; run < VECTORS; run++) {
    const random = makeFuzzRandom(SEED + run);
    const size = random.pick([1, 2, 3, 10, 50, random.int(1, 1000)]);
    const heaviest = random.pick([2, 100, 10_000]);
    const weights = Array.from({ length: size }, () => (random.float() < 0.2 ? 1 : random.int(1, heaviest)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const shares = impliedProbabilities(samplerOf(weights));
    for (const [i, weight] of weights.entries()) {
      if (Math.abs(shares[i]! - weight / total) > 2 * EDGE) {
        expect(`seed ${SEED + run}, index ${i}: ${shares[i]}`).toBe(
          `seed ${SEED + run}, index ${i}: ${weight / total}`,
        );
      }
    }
  }
});
