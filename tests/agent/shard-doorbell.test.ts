import { expect, test } from "bun:test";
import { announce, makeDoorbellState, Sleeper } from "../../src/agent/shard-doorbell.ts";

/** Lies down, giving the event loop the turns it asks for; how many those were. */
function turnsUntilAsleep(sleeper: Sleeper): number {
  for (let turns = 0; turns < 100; turns++) if (sleeper.lieDown()) return turns;
  throw new Error("it never slept");
}

test("a thread that nobody posted to sleeps after the event loop's first turn, and then at once", () => {
  const sleeper = new Sleeper(makeDoorbellState());
  expect(turnsUntilAsleep(sleeper)).toBe(1);
  sleeper.awake();
  expect(turnsUntilAsleep(sleeper)).toBe(0);
});

test("a post to a thread that is awake rings nobody, and the event loop gets a turn before the thread sleeps", () => {
  const state = makeDoorbellState();
  const sleeper = new Sleeper(state);
  turnsUntilAsleep(sleeper);
  sleeper.awake();
  let rings = 0;
  announce(state, () => rings++);
  announce(state, () => rings++);
  expect(rings).toBe(0);
  expect(turnsUntilAsleep(sleeper)).toBe(1);
});

test("of the posts to a thread that sleeps the first rings, and again the first after it slept anew", () => {
  const state = makeDoorbellState();
  const sleeper = new Sleeper(state);
  turnsUntilAsleep(sleeper);
  let rings = 0;
  announce(state, () => rings++);
  announce(state, () => rings++);
  expect(rings).toBe(1);
  sleeper.awake();
  announce(state, () => rings++);
  expect(rings).toBe(1);
  expect(turnsUntilAsleep(sleeper)).toBe(1);
  announce(state, () => rings++);
  expect(rings).toBe(2);
});

test("a post that comes between the last look and the wait is rung for: saying it sleeps comes first", () => {
  const state = makeDoorbellState();
  const sleeper = new Sleeper(state);
  turnsUntilAsleep(sleeper);
  // It said that it sleeps and found nothing; now, before its system call, somebody posts.
  let rang = false;
  announce(state, () => {
    rang = true;
  });
  expect(rang).toBe(true);
});

test("a post that nobody will ever hear costs turns once, not for ever", () => {
  const state = makeDoorbellState();
  const sleeper = new Sleeper(state);
  announce(state, () => {});
  turnsUntilAsleep(sleeper);
  sleeper.awake();
  for (let i = 0; i < 10; i++) {
    expect(sleeper.lieDown()).toBe(true);
    sleeper.awake();
  }
});
