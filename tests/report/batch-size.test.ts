import { expect, test } from "bun:test";
import { BatchSize } from "../../src/report/batch-size.ts";

function make(max = 5000) {
  const limits = { targetMs: 200, max };
  return { limits, size: new BatchSize(() => limits) };
}

test("grows by 250 rows with every full batch that is in time, up to the most that is allowed", () => {
  const { size } = make(2000);
  const seen = [];
  for (let i = 0; i < 6; i++) {
    seen.push(size.rows);
    size.stored(size.rows, 50);
  }
  expect(seen).toEqual([1000, 1250, 1500, 1750, 2000, 2000]);
});

test("stays while batches are not full: nothing is known about larger ones", () => {
  const { size } = make();
  for (let i = 0; i < 10; i++) size.stored(999, 1);
  expect(size.rows).toBe(1000);
});

test("shrinks in proportion to how late a batch was, by half at most, and never below 100 rows", () => {
  const { size } = make();
  size.stored(1000, 250);
  expect(size.rows).toBe(800);
  size.stored(800, 10_000);
  expect(size.rows).toBe(400);
  for (let i = 0; i < 9; i++) size.stored(size.rows, 10_000);
  expect(size.rows).toBe(100);
});

test("a small batch that is late says nothing: the database was busy", () => {
  const { size } = make();
  size.stored(499, 10_000);
  expect(size.rows).toBe(1000);
  size.stored(500, 10_000);
  expect(size.rows).toBe(500);
});

test("is halved by a failure, and found again afterwards", () => {
  const { size } = make();
  size.failed();
  expect(size.rows).toBe(500);
  for (let i = 0; i < 40; i++) size.stored(size.rows, (size.rows / 2000) * 200);
  // 2000 rows take the target time: it goes up and down around them.
  expect(size.rows).toBeGreaterThan(1600);
  expect(size.rows).toBeLessThanOrEqual(2250);
});

test("follows limits that are changed, also below its own least", () => {
  const { size, limits } = make();
  limits.max = 10;
  expect(size.rows).toBe(10);
  limits.max = 5000;
  expect(size.rows).toBe(1000);
});
