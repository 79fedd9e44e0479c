import { expect, test } from "bun:test";
import fc from "fast-check";
import { WaitQueue } from "../../src/agent/wait-queue.ts";

test("items come out in order, each at its deadline and not before", () => {
  const queue = new WaitQueue<string>();
  queue.push("a", 10);
  queue.push("b", 10);
  queue.push("c", 11);
  expect(queue.takeDue(9)).toBeUndefined();
  expect([queue.takeDue(10), queue.takeDue(10), queue.takeDue(10), queue.takeDue(11)]).toEqual([
    "a",
    "b",
    undefined,
    "c",
  ]);
});

test("a queue that is never empty does not grow: 100,000 items through, at most 21 at a time", () => {
  const queue = new WaitQueue<number>();
  let largest = 0;
  for (let i = 0; i < 100_000; i++) {
    queue.push(i, i);
    if (i >= 20) expect(queue.takeDue(i - 20)).toBe(i - 20);
    largest = Math.max(largest, queue.capacity);
  }
  expect(largest).toBeLessThan(4096);
});

test("it answers as a plain sorted list does", () => {
  const step = fc.record({ push: fc.nat(1500), take: fc.nat(1500), advance: fc.nat(40) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const queue = new WaitQueue<number>();
      const model: { item: number; deadlineMs: number }[] = [];
      let nowMs = 0;
      let next = 0;
      for (const { push, take, advance } of steps) {
        for (let i = 0; i < push; i++) {
          queue.push(next, nowMs + 30);
          model.push({ item: next++, deadlineMs: nowMs + 30 });
        }
        nowMs += advance;
        for (let i = 0; i < take; i++) {
          const wanted = model[0] !== undefined && model[0].deadlineMs <= nowMs ? model.shift()!.item : undefined;
          if (queue.takeDue(nowMs) !== wanted) throw new Error(`at ${nowMs} ms expected ${wanted}`);
        }
      }
    }),
    { seed: 9, numRuns: 50 },
  );
});
