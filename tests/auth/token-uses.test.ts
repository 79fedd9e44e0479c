// Last uses are known without a write a request.
import { expect, test } from "bun:test";
import { TokenUses } from "../../src/auth/token-uses.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";

const START_MS = Date.UTC(2026, 0, 1);

function rigOf(maxTokens = 100) {
  const clock = new ManualClock({ wallMs: START_MS });
  const store = new MemoryTokenStore();
  for (const id of ["a", "b", "c"]) store.add("reader", id);
  const uses = new TokenUses(store, maxTokens, clock, (ms, run) => clock.setTimer(ms, run));
  return { clock, store, uses };
}

test("10,000 requests in 100 s with two tokens make one write a minute, with the last use of each", async () => {
  const { clock, store, uses } = rigOf();
  for (let i = 0; i < 10_000; i++) {
    uses.note(i % 2 === 0 ? "a" : "b");
    await (i % 100 === 99 ? clock.advanceAsync(1000) : undefined);
  }
  expect(store.noted).toHaveLength(1);
  expect(store.noted[0]).toEqual([
    { id: "a", atMs: START_MS + 59_000 },
    { id: "b", atMs: START_MS + 59_000 },
  ]);
  expect(uses.unwritten("a")).toBe(START_MS + 99_000);
  await uses.close();
  expect(store.tokens.map(({ lastUsedAtMs }) => lastUsedAtMs)).toEqual([
    START_MS + 99_000,
    START_MS + 99_000,
    undefined,
  ]);
});

test("without requests nothing is written and no timer runs", async () => {
  const { clock, store, uses } = rigOf();
  uses.note("a");
  await clock.advanceAsync(60_000);
  expect(store.noted).toHaveLength(1);
  expect(clock.pendingTimers).toBe(0);
  await uses.close();
  expect(store.noted).toHaveLength(1);
});

test("a write that failed is done a minute later, with what came meanwhile", async () => {
  const { clock, store, uses } = rigOf();
  store.failure = new StoreUnavailable("away");
  uses.note("a");
  uses.note("b");
  await clock.advanceAsync(60_000);
  uses.note("b");
  expect(uses.counts).toMatchObject({ failed: 1, written: 0 });
  store.failure = undefined;
  await clock.advanceAsync(60_000);
  expect(store.noted).toEqual([
    [
      { id: "a", atMs: START_MS },
      { id: "b", atMs: START_MS + 60_000 },
    ],
  ]);
  expect(uses.counts).toMatchObject({ failed: 1, written: 2 });
});

test("a failure at the end is not waited out, and leaves no timer", async () => {
  const { clock, store, uses } = rigOf();
  uses.note("a");
  store.failure = new StoreUnavailable("away");
  await uses.close();
  expect(clock.pendingTimers).toBe(0);
  uses.note("b");
  expect(clock.pendingTimers).toBe(0);
});

test("2 tokens fit a buffer of 2: a third is counted as dropped, the first two still move on", async () => {
  const { clock, store, uses } = rigOf(2);
  for (const id of ["a", "b", "c", "c"]) uses.note(id);
  await clock.advanceAsync(10);
  uses.note("a");
  await uses.close();
  expect(uses.counts.dropped).toBe(2);
  expect(store.noted).toEqual([
    [
      { id: "a", atMs: START_MS + 10 },
      { id: "b", atMs: START_MS },
    ],
  ]);
});
