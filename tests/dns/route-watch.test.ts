import { expect, test } from "bun:test";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { RouteWatch } from "../../src/dns/route-watch.ts";
import { eventually } from "../support/eventually.ts";

const changed = (modid: number) => [{ modid, cmdid: 1, revision: 1, name: "", policy: NO_CHOICE, hosts: [] }];
const KEY = { modid: 1, cmdid: 1 };
const NEVER = new AbortController().signal;

test("a waiter is woken by a change of its module and by no other, once", async () => {
  const watch = new RouteWatch(10);
  const waiting = watch.next(KEY, 60_000, NEVER);
  watch.notify(changed(2));
  expect(watch.size).toBe(1);
  watch.notify(changed(1));
  watch.notify(changed(1));
  expect(await waiting).toBe(true);
  expect(watch.size).toBe(0);
});

test("a waiter whose time is up, or whose caller went away, is told false and leaves nothing behind", async () => {
  const watch = new RouteWatch(10);
  expect(await watch.next(KEY, 1, NEVER)).toBe(false);
  const caller = new AbortController();
  const waiting = watch.next(KEY, 60_000, caller.signal);
  caller.abort();
  expect(await waiting).toBe(false);
  expect(await watch.next(KEY, 60_000, caller.signal)).toBe(false);
  expect(watch.size).toBe(0);
});

test("beyond the bound nobody more is taken, whole or not at all, until one leaves", async () => {
  const watch = new RouteWatch(2);
  const waiter = { wake() {} };
  expect(watch.watch(waiter, [KEY])).toBe(true);
  expect(watch.watch({ wake() {} }, [KEY, { modid: 2, cmdid: 1 }])).toBe(false);
  const waiting = watch.next(KEY, 60_000, NEVER);
  expect(await watch.next(KEY, 60_000, NEVER)).toBe("full");
  watch.drop(waiter);
  expect(watch.size).toBe(1);
  watch.notify(changed(1));
  expect(await waiting).toBe(true);
});

test("of 200 who wait 64 are woken at once and the others after others were served, each once, in the order they came", async () => {
  const watch = new RouteWatch(1000);
  const woken: number[] = [];
  const waiters = Array.from({ length: 200 }, (_, i) => ({ wake: () => void woken.push(i) }));
  for (const waiter of waiters) watch.watch(waiter, [KEY]);
  watch.notify(changed(1));
  expect(woken).toHaveLength(64);
  await eventually(() => expect(woken).toEqual(Array.from({ length: 200 }, (_, i) => i)));
});

test("a change that comes while 200 are being woken for the one before wakes all who wait by then, early ones too", async () => {
  const watch = new RouteWatch(1000);
  const woken: number[] = [];
  const waiters = Array.from({ length: 200 }, (_, i) => ({ wake: () => void woken.push(i) }));
  for (const waiter of waiters) watch.watch(waiter, [KEY]);
  watch.notify(changed(1));
  for (let i = 0; i < 3; i++) watch.notify(changed(1));
  watch.notify(changed(2));
  await eventually(() => expect(woken).toHaveLength(400));
  expect(woken.filter((i) => i === 0)).toHaveLength(2);
});

test("waiters that are woken may wait again at once without being woken twice by the same change", () => {
  const watch = new RouteWatch(10);
  let wakes = 0;
  const waiter = {
    wake() {
      wakes++;
      watch.drop(waiter);
      watch.watch(waiter, [KEY]);
    },
  };
  watch.watch(waiter, [KEY]);
  watch.notify(changed(1));
  expect(wakes).toBe(1);
});
