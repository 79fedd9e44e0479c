import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  diffHosts,
  HOST_STATES,
  type Host,
  type HostDiff,
  hostKey,
  isEmptyDiff,
  makeHost,
  normalizeHosts,
  sameHosts,
} from "../../src/core/assignment.ts";

/** Few addresses on both sides of the sign, so that lists share hosts. */
const anyHost = fc
  .record({
    ip: fc.constantFrom(0, 1, 0x0a00_0001, 0x7fff_ffff, -0x8000_0000, -1),
    port: fc.constantFrom(1, 80, 65535),
    weight: fc.constantFrom(1, 100, 10_000),
    zone: fc.constantFrom("", "a", "b"),
    state: fc.constantFrom(...HOST_STATES),
  })
  .map(({ ip, port, ...rest }) => makeHost(ip, port, rest));
const anyHosts = fc.array(anyHost, { maxLength: 20 });

function apply(before: readonly Host[], { added, changed, removed }: HostDiff): readonly Host[] {
  const gone = new Set(removed.map(hostKey));
  const replaced = new Map(changed.map((host) => [hostKey(host), host]));
  return normalizeHosts([
    ...before.filter((host) => !gone.has(hostKey(host))).map((host) => replaced.get(hostKey(host)) ?? host),
    ...added,
  ]);
}

test("a normalized list is sorted by address as people read it, and names each endpoint once, the first of equals", () => {
  const list = normalizeHosts([
    makeHost(-1, 80),
    makeHost(1, 90),
    makeHost(1, 80, { weight: 5 }),
    makeHost(1, 80, { weight: 7 }),
  ]);
  expect(list.map(({ ip, port, weight }) => [ip, port, weight])).toEqual([
    [1, 80, 5],
    [1, 90, 100],
    [-1, 80, 100],
  ]);
  expect(Object.isFrozen(list)).toBe(true);
});

test("normalizing again, or what was shuffled, changes nothing", () => {
  fc.assert(
    fc.property(anyHosts, (hosts) => {
      const once = normalizeHosts(hosts);
      expect(normalizeHosts(once)).toEqual(once);
      expect(normalizeHosts([...once].reverse())).toEqual(once);
    }),
    { seed: 1 },
  );
});

test("a diff applied to the one list gives the other, names no host twice and none that is the same", () => {
  fc.assert(
    fc.property(anyHosts, anyHosts, (left, right) => {
      const before = normalizeHosts(left);
      const after = normalizeHosts(right);
      const diff = diffHosts(before, after);
      expect(apply(before, diff)).toEqual(after);
      const touched = [...diff.added, ...diff.changed, ...diff.removed].map(hostKey);
      expect(new Set(touched).size).toBe(touched.length);
      for (const host of diff.changed) expect(before).not.toContainEqual(host);
    }),
    { seed: 2, numRuns: 500 },
  );
});

test("the diff of a list with itself is empty, and the way back removes what the way there added", () => {
  fc.assert(
    fc.property(anyHosts, anyHosts, (left, right) => {
      const before = normalizeHosts(left);
      const after = normalizeHosts(right);
      expect(isEmptyDiff(diffHosts(before, before))).toBe(true);
      const there = diffHosts(before, after);
      const back = diffHosts(after, before);
      expect(back.added.map(hostKey)).toEqual(there.removed.map(hostKey));
      expect(back.removed.map(hostKey)).toEqual(there.added.map(hostKey));
      expect(back.changed.map(hostKey)).toEqual(there.changed.map(hostKey));
      expect(isEmptyDiff(there)).toBe(Bun.deepEquals(before, after));
    }),
    { seed: 3 },
  );
});

test("a change of weight, zone or state alone is a change", () => {
  const host = makeHost(1, 80);
  for (const other of [{ weight: 1 }, { zone: "a" }, { state: "draining" as const }]) {
    const changed = makeHost(1, 80, other);
    expect(diffHosts([host], [changed])).toEqual({ added: [], changed: [changed], removed: [] });
  }
});

test("host lists are the same when every host is, in the same order", () => {
  const [a, b] = [makeHost(1, 80), makeHost(2, 80)];
  expect(sameHosts([], [])).toBe(true);
  expect(sameHosts([a, b], [{ ...a }, { ...b }])).toBe(true);
  for (const other of [[a], [b, a], [a, { ...b, weight: 7 }], [a, b, b]]) expect(sameHosts([a, b], other)).toBe(false);
});
