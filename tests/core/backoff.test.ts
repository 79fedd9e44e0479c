import { expect, test } from "bun:test";
import fc from "fast-check";
import { backoffDelay } from "../../src/core/backoff.ts";

const LIMITS = { baseMs: 100, maxMs: 1000 };

test("the ceiling doubles from the base and stops at the maximum", () => {
  const ceilings = [0, 1, 2, 3, 4, 5, 5000].map((attempt) => backoffDelay(attempt, LIMITS, 0.999_999));
  expect(ceilings.map((ms) => Math.round(ms))).toEqual([100, 200, 400, 800, 1000, 1000, 1000]);
});

test("the jitter is full: the delay goes down to 0 and is proportional to the draw", () => {
  expect(backoffDelay(3, LIMITS, 0)).toBe(0);
  expect(backoffDelay(3, LIMITS, 0.5)).toBe(400);
});

test("any attempt and draw gives a delay from 0 to the maximum", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -3, max: 1e9 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempt, draw) => {
        const delay = backoffDelay(attempt, LIMITS, draw);
        expect(delay >= 0 && delay <= 1000).toBe(true);
      },
    ),
    { seed: 7 },
  );
});
