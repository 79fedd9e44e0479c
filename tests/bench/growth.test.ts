import { describe, expect, test } from "bun:test";
import { exponentOf, GrowthTable, nameOf, type Point, shortNumber } from "../../bench/growth/growth.ts";
import { drawGrowth } from "../../bench/growth/plot.ts";

const points = (cost: (size: number) => number): Point[] =>
  [10, 100, 1_000].map((size) => ({ size, cost: cost(size) }));

describe("how a cost grows", () => {
  for (const [what, cost, exponent, name] of [
    ["always 7", () => 7, 0, "flat"],
    ["3 for each", (size: number) => 3 * size, 1, "linear"],
    ["the square", (size: number) => size ** 2, 2, "more than linear"],
    ["the square root", (size: number) => Math.sqrt(size), 0.5, "less than linear"],
    ["shared by all", (size: number) => 5 / size, -1, "falls"],
  ] as const) {
    test(`${what}: ${name}, to the power of ${exponent}`, () => {
      expect(exponentOf(points(cost))).toBeCloseTo(exponent, 10);
      expect(nameOf(exponentOf(points(cost)))).toBe(name);
    });
  }

  test("numbers have three digits that count", () => {
    expect([0, 0.004_216, 0.5, 12.345, 1_234.5, 100_000].map(shortNumber)).toEqual([
      "0",
      "0.00422",
      "0.5",
      "12.3",
      "1235",
      "100000",
    ]);
  });

  test("a picture has a panel for each cost, its points at their powers of ten, and is whole where a cost is 0", () => {
    const table = new GrowthTable();
    for (const { size, cost } of points((size) => size)) table.add("a < b", "ms", size, cost);
    for (const size of [10, 100, 1_000]) table.add("nothing", "ms", size, 0);
    const svg = drawGrowth("growth", "things", table.growths);
    expect(svg).toContain("a &lt; b");
    expect(svg).toContain("linear: things^1.00");
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    // The points of the first panel lie evenly, from corner to corner.
    const dots = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => [Number(x), Number(y)]);
    expect(dots).toHaveLength(6);
    expect(dots[1]![0]! - dots[0]![0]!).toBeCloseTo(dots[2]![0]! - dots[1]![0]!, 0);
    expect(dots[0]![1]! - dots[1]![1]!).toBeCloseTo(dots[1]![1]! - dots[2]![1]!, 0);
  });
});
