import { expect, test } from "bun:test";
import fc from "fast-check";
import { RevisionTable } from "../../src/core/revision-table.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

test("after any sequence of sets and deletions it holds what a map of texts holds", () => {
  // Few ids at both ends of their range, so that keys meet, and enough steps for the table to grow and shrink.
  const id = fc.oneof(fc.nat(12), fc.constantFrom(-1, -0x8000_0000, 0x7fff_ffff));
  const step = fc.record({ modid: id, cmdid: id, revision: fc.integer({ min: 0, max: 2 ** 45 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400, size: "max" }), (steps) => {
      const table = new RevisionTable();
      const model = new Map<string, number>();
      for (const { modid, cmdid, revision } of steps) {
        const key = `${modid} ${cmdid}`;
        // Odd ones delete.
        if (revision % 2 === 1 || revision === 0) expect(table.delete(modid, cmdid)).toBe(model.delete(key));
        else {
          table.set(modid, cmdid, revision);
          model.set(key, revision);
        }
        expect([table.size, table.get(modid, cmdid)]).toEqual([model.size, model.get(key) ?? 0]);
      }
      const held = new Map([...table.entries()].map(({ modid, cmdid, revision }) => [`${modid} ${cmdid}`, revision]));
      expect(held).toEqual(model);
      for (const [key, revision] of model) {
        const [modid, cmdid] = key.split(" ").map(Number);
        expect(table.get(modid!, cmdid!)).toBe(revision);
      }
    }),
    { seed: 5, numRuns: propertyRuns(200) },
  );
});

test("the oldest come first, as many as are asked for, also of equal revisions", () => {
  const table = new RevisionTable();
  for (const [modid, revision] of [5, 9, 2, 9, 7, 2].entries()) table.set(modid, 1, revision);
  const revisions = (count: number) => table.oldest(count).map(({ revision }) => revision);
  expect(revisions(4)).toEqual([2, 2, 5, 7]);
  expect(revisions(5)).toEqual([2, 2, 5, 7, 9]);
  expect(revisions(99)).toEqual([2, 2, 5, 7, 9, 9]);
  expect([revisions(0), revisions(-1)]).toEqual([[], []]);
  expect(
    table
      .before(7)
      .map(({ modid }) => modid)
      .sort(),
  ).toEqual([0, 2, 5]);
});

test("100,000 that came and went leave a table for 16", () => {
  const table = new RevisionTable();
  for (let cmdid = 1; cmdid <= 100_000; cmdid++) table.set(1, cmdid, cmdid);
  let deleted = 0;
  for (let cmdid = 1; cmdid <= 100_000; cmdid++) if (table.delete(1, cmdid)) deleted++;
  expect([deleted, table.size, table.get(1, 1), table.slots]).toEqual([100_000, 0, 0, 16]);
});
