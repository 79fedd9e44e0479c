// Guessing is slowed, in virtual time.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { AttemptLimit } from "../../src/auth/attempt-limit.ts";

const OPTIONS = { burst: 10, refillMs: 6000, maxCallers: 100 };

/** Tries as fast as it may from `fromMs` on, for so long; returns when each attempt was made. */
function guess(limit: AttemptLimit, caller: string, fromMs: number, forMs: number): number[] {
  const attempts: number[] = [];
  for (let nowMs = fromMs; nowMs < fromMs + forMs; nowMs += 1000) {
    while (limit.waitMs(caller, nowMs) === 0) {
      limit.take(caller, nowMs);
      attempts.push(nowMs);
    }
  }
  return attempts;
}

describe("one caller", () => {
  test("10 wrong tokens are looked at at once, then one every 6 s: 19 in the first minute, 10 in each further one", () => {
    const limit = new AttemptLimit(OPTIONS);
    const attempts = guess(limit, "a", 0, 180_000);
    expect(attempts.slice(0, 12)).toEqual([...Array<number>(10).fill(0), 6000, 12_000]);
    const inMinute = (n: number) => attempts.filter((atMs) => Math.floor(atMs / 60_000) === n).length;
    expect([inMinute(0), inMinute(1), inMinute(2)]).toEqual([19, 10, 10]);
  });

  test("who waits is told for how long, to the millisecond", () => {
    const limit = new AttemptLimit(OPTIONS);
    for (let i = 0; i < 10; i++) limit.take("a", 0);
    expect(limit.waitMs("a", 0)).toBe(6000);
    expect(limit.waitMs("a", 5999)).toBe(1);
    expect(limit.waitMs("a", 6000)).toBe(0);
  });

  test("after a minute without wrong tokens all 10 are there again, and never more", () => {
    const limit = new AttemptLimit(OPTIONS);
    guess(limit, "a", 0, 1000);
    expect(guess(limit, "a", 60_000, 1)).toHaveLength(10);
    expect(guess(limit, "a", 10_000_000, 1)).toHaveLength(10);
  });

  test("an attempt given back is as if it had not been: 1000 right ones in a row use nothing up", () => {
    const limit = new AttemptLimit(OPTIONS);
    for (let i = 0; i < 1000; i++) {
      expect(limit.waitMs("a", 0)).toBe(0);
      limit.take("a", 0);
      limit.giveBack("a", 0);
    }
    expect(limit.size).toBe(0);
    expect(guess(limit, "a", 0, 1)).toHaveLength(10);
  });

  test("another caller is not affected", () => {
    const limit = new AttemptLimit(OPTIONS);
    guess(limit, "a", 0, 1000);
    expect(limit.waitMs("b", 0)).toBe(0);
    expect(guess(limit, "b", 0, 1)).toHaveLength(10);
  });
});

describe("many callers", () => {
  test("100 are remembered; all beyond share one bucket, 10 times as large: the table does not grow and nobody gets a second burst", () => {
    const limit = new AttemptLimit(OPTIONS);
    let looked = 0;
    for (let i = 0; i < 5000; i++) looked += guess(limit, `c${i}`, 0, 1).length;
    expect(limit.size).toBe(100);
    expect(looked).toBe(100 * 10 + 100);
    // In the second after, 600 ms a guess of the shared one: 1.
    for (let i = 0; i < 5000; i++) looked += guess(limit, `c${i}`, 600, 1).length;
    expect(looked).toBe(100 * 10 + 101);
    expect(limit.size).toBe(100);
  });

  test("those who stopped make room: a minute later newcomers have buckets of their own", () => {
    const limit = new AttemptLimit(OPTIONS);
    for (let i = 0; i < 200; i++) guess(limit, `c${i}`, 0, 1);
    expect(guess(limit, "new", 60_000, 1)).toHaveLength(10);
    expect(guess(limit, "newer", 60_000, 1)).toHaveLength(10);
    expect(limit.size).toBeLessThanOrEqual(100);
  });

  test("who goes on guessing stays in the table while others come and go", () => {
    const limit = new AttemptLimit(OPTIONS);
    guess(limit, "a", 0, 1);
    for (let nowMs = 1000, i = 0; nowMs < 120_000; nowMs += 1000) {
      guess(limit, "a", nowMs, 1);
      guess(limit, `c${i++}`, nowMs, 1);
    }
    expect(limit.waitMs("a", 120_000)).toBeGreaterThanOrEqual(0);
    expect(guess(limit, "a", 120_000, 1).length).toBeLessThanOrEqual(1);
  });

  test("with room for all, each caller is limited as a bucket of its own would be, over 500 random histories", () => {
    interface Model {
      /** In milliseconds of refilling: 6000 an attempt. */
      left: number;
      atMs: number;
    }
    const step = fc.record({
      caller: fc.constantFrom("a", "b", "c"),
      afterMs: fc.integer({ min: 0, max: 20_000 }),
      right: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const limit = new AttemptLimit({ burst: 3, refillMs: 6000, maxCallers: 3 });
        const models = new Map<string, Model>();
        let nowMs = 0;
        for (const { caller, afterMs, right } of steps) {
          nowMs += afterMs;
          const model = models.get(caller) ?? { left: 18_000, atMs: 0 };
          models.set(caller, model);
          model.left = Math.min(18_000, model.left + nowMs - model.atMs);
          model.atMs = nowMs;
          expect(limit.waitMs(caller, nowMs)).toBe(Math.max(0, 6000 - model.left));
          if (model.left < 6000) continue;
          limit.take(caller, nowMs);
          if (right) limit.giveBack(caller, nowMs);
          else model.left -= 6000;
        }
      }),
      { numRuns: 500, seed: 4_2026 },
    );
  });
});

describe("tokens that had success", () => {
  test("are known by caller and token together, until they count no more", () => {
    const limit = new AttemptLimit(OPTIONS);
    limit.prove("a", "h1");
    expect([limit.isProven("a", "h1"), limit.isProven("a", "h2"), limit.isProven("b", "h1")]).toEqual([
      true,
      false,
      false,
    ]);
    limit.disprove("a", "h1");
    expect(limit.isProven("a", "h1")).toBe(false);
  });

  test("100 pairs are remembered, those used last", () => {
    const limit = new AttemptLimit(OPTIONS);
    for (let i = 0; i < 100; i++) limit.prove(`c${i}`, "h");
    limit.prove("c0", "h");
    limit.prove("one more", "h");
    expect([limit.isProven("c0", "h"), limit.isProven("c1", "h"), limit.isProven("one more", "h")]).toEqual([
      true,
      false,
      true,
    ]);
  });
});
