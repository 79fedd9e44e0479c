import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatModuleKey } from "../../src/core/module-key.ts";
import { WatchIndex } from "../../src/core/watch-index.ts";

test("a watcher that goes leaves nothing behind, and others are not disturbed", () => {
  const index = new WatchIndex<string>();
  expect(index.watch("a", 1, 1)).toBe(true);
  expect(index.watch("a", 1, 1)).toBe(false);
  index.watch("a", 1, 2);
  index.watch("b", 1, 1);
  expect([...index.watchersOf(1, 1)].sort()).toEqual(["a", "b"]);
  index.drop("a");
  expect([...index.watchersOf(1, 1)]).toEqual(["b"]);
  expect([...index.watchersOf(1, 2)]).toEqual([]);
  expect([...index.watchers()]).toEqual(["b"]);
  expect([index.size, index.countOf("a"), index.countOf("b")]).toEqual([1, 0, 1]);
  index.drop("a");
  expect(index.unwatch("a", 1, 1)).toBe(false);
  expect(index.size).toBe(1);
});

test("the index answers as a plain set of pairs does, whatever is watched, unwatched and dropped", () => {
  const id = fc.constantFrom(-1, 0, 1, 2);
  const operation = fc.tuple(fc.constantFrom("watch", "watch", "unwatch", "drop"), fc.nat(4), id, id);
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const index = new WatchIndex<number>();
      let pairs: { watcher: number; modid: number; cmdid: number }[] = [];
      for (const [what, watcher, modid, cmdid] of operations) {
        const isPair = (p: { watcher: number; modid: number; cmdid: number }) =>
          p.watcher === watcher && p.modid === modid && p.cmdid === cmdid;
        const had = pairs.some(isPair);
        if (what === "watch") {
          expect(index.watch(watcher, modid, cmdid)).toBe(!had);
          if (!had) pairs.push({ watcher, modid, cmdid });
        } else if (what === "unwatch") {
          expect(index.unwatch(watcher, modid, cmdid)).toBe(had);
          pairs = pairs.filter((pair) => !isPair(pair));
        } else {
          index.drop(watcher);
          pairs = pairs.filter((pair) => pair.watcher !== watcher);
        }
        expect(index.size).toBe(pairs.length);
        expect([...index.watchersOf(modid, cmdid)].sort()).toEqual(
          pairs
            .filter((p) => p.modid === modid && p.cmdid === cmdid)
            .map((p) => p.watcher)
            .sort(),
        );
        const watched = pairs
          .filter((p) => p.watcher === watcher)
          .map(formatModuleKey)
          .sort();
        expect([...index.modulesOf(watcher)].map(formatModuleKey).sort()).toEqual(watched);
        expect(index.countOf(watcher)).toBe(watched.length);
      }
      expect([...index.watchers()].sort()).toEqual([...new Set(pairs.map((p) => p.watcher))].sort());
    }),
    { seed: 4, numRuns: 200 },
  );
});
