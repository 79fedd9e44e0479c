// The table of `consistent_hash`, made in stretches, against one that is filled in one go as the paper tells it.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { finalMix } from "../../src/core/hash.ts";
import { EMPTY, MaglevFill, TABLE_SIZE } from "../../src/core/maglev-fill.ts";

function filledAtOnce(keys: readonly number[], weights: readonly number[]): Uint16Array {
  const table = new Uint16Array(TABLE_SIZE).fill(EMPTY);
  const heaviest = Math.max(...weights);
  const at = keys.map((key) => finalMix(key % 0xffff_fffb) % TABLE_SIZE);
  const skip = keys.map((key) => (finalMix((key % 0xffff_ff7f) ^ 0x5bd1_e995) % (TABLE_SIZE - 1)) + 1);
  const credit = keys.map(() => 0);
  for (let filled = 0, turn = 0; filled < TABLE_SIZE; turn = (turn + 1) % keys.length) {
    credit[turn]! += weights[turn]!;
    if (credit[turn]! < heaviest) continue;
    credit[turn]! -= heaviest;
    while (table[at[turn]!] !== EMPTY) at[turn] = (at[turn]! + skip[turn]!) % TABLE_SIZE;
    table[at[turn]!] = turn;
    filled++;
  }
  return table;
}

const hosts = fc.uniqueArray(
  fc.record({ key: fc.integer({ min: 0, max: 2 ** 48 - 1 }), weight: fc.constantFrom(1, 50, 100, 300, 10_000) }),
  { minLength: 1, maxLength: 40, selector: ({ key }) => key },
);

test("whatever the stretches, the table is the one that is made at once, and what is filled stays", () => {
  fc.assert(
    fc.property(hosts, fc.array(fc.integer({ min: 1, max: 400_000 }), { minLength: 1, maxLength: 5 }), (some, work) => {
      const sorted = some.sort((a, b) => a.key - b.key);
      const keys = sorted.map(({ key }) => key);
      const weights = sorted.map(({ weight }) => weight);
      const whole = filledAtOnce(keys, weights);
      const fill = new MaglevFill(Float64Array.from(keys), Int32Array.from(weights));
      // The first few stretches of any size, one of a single unit, and then to the end.
      for (const units of [...work, 1]) {
        const isWhole = fill.goOn(units);
        const wrong = fill.table.findIndex((owner, slot) => owner !== EMPTY && owner !== whole[slot]);
        expect(wrong).toBe(-1);
        expect(fill.table.includes(EMPTY)).toBe(!isWhole);
      }
      expect(fill.goOn(Number.POSITIVE_INFINITY)).toBe(true);
      expect(fill.table.every((owner, slot) => owner === whole[slot])).toBe(true);
    }),
    { seed: 8, numRuns: 20 },
  );
});

test("one heavy host among 5,000 light ones does not make it longer than twice as much work", () => {
  const keys = Float64Array.from({ length: 5000 }, (_, i) => 0x0a00_0000_0000 + i * 65_536);
  const equal = new MaglevFill(keys, new Int32Array(5000).fill(1));
  const heavy = new MaglevFill(
    keys,
    Int32Array.from(keys, (_, i) => (i === 77 ? 10_000 : 1)),
  );
  const stretchesOf = (fill: MaglevFill): number => {
    for (let stretch = 1; ; stretch++) if (fill.goOn(30_000)) return stretch;
  };
  expect(stretchesOf(heavy)).toBeLessThan(2 * stretchesOf(equal) + 20);
  const share = heavy.table.reduce((sum, owner) => sum + (owner === 77 ? 1 : 0), 0) / TABLE_SIZE;
  // The light ones have 4 slots each, where 4.4 were fair.
  expect(Math.abs(share - 10_000 / 14_999)).toBeLessThan(0.03);
});

test("a stretch takes no more slots than its work allows: at most one for every 6 units", () => {
  for (const size of [1, 5000]) {
    const keys = Float64Array.from({ length: size }, (_, i) => 0x0a00_0000_0000 + i * 65_536);
    const fill = new MaglevFill(keys, new Int32Array(size).fill(100));
    for (let stretch = 1, isWhole = false; !isWhole; stretch++) {
      isWhole = fill.goOn(6000);
      const filled = fill.table.reduce((sum, owner) => sum + (owner === EMPTY ? 0 : 1), 0);
      expect(filled).toBeLessThanOrEqual(stretch * 1001);
      expect(stretch).toBeLessThan(400);
    }
  }
});
