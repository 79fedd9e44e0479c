// From one division of keys among hosts to another, against shares that are worked out one by one.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { finalMix } from "../../src/core/hash.ts";
import { ShareShift } from "../../src/core/share-shift.ts";

type Division = ReadonlyMap<number, number>;

const KEYS = 20_000;

const division = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 1, max: 30 }), fc.constantFrom(1, 50, 100, 400)), {
    minLength: 1,
    maxLength: 12,
    selector: ([host]) => host,
  })
  .map((entries): Division => new Map(entries.sort(([a], [b]) => a - b)));

const keysOf = (hosts: Division): Float64Array => Float64Array.from(hosts.keys());
const weightsOf = (hosts: Division): Int32Array => Int32Array.from(hosts.values());
const totalOf = (hosts: Division): number => [...hosts.values()].reduce((sum, weight) => sum + weight, 0);
const shareOf = (hosts: Division, host: number): number => (hosts.get(host) ?? 0) / totalOf(hosts);

test("at once every host has its new share, and no more keys move than must, within 3 % of all", () => {
  fc.assert(
    fc.property(division, division, (then, now) => {
      const shift = new ShareShift(keysOf(then), weightsOf(then), keysOf(now), weightsOf(now));
      const owners = [...then.keys()];
      const hosts = [...now.keys()];
      const counts = new Map<number, number>();
      let moved = 0;
      // As a table would: each owner has keys by its weight.
      owners.forEach((owner, index) => {
        const keys = Math.round(KEYS * shareOf(then, owner));
        for (let i = 0; i < keys; i++) {
          const host = hosts[shift.placeOf(index, finalMix(owner * 1_000_003 + i))]!;
          counts.set(host, (counts.get(host) ?? 0) + 1);
          if (host !== owner) moved++;
        }
      });
      for (const host of hosts) {
        expect(Math.abs((counts.get(host) ?? 0) / KEYS - shareOf(now, host))).toBeLessThan(0.03);
      }
      const most = hosts.reduce((sum, host) => sum + Math.max(0, shareOf(now, host) - shareOf(then, host)), 0);
      expect(moved / KEYS).toBeLessThan(most + 0.03);
    }),
    { seed: 5, numRuns: 60 },
  );
});

test("nobody gets a key that has no share, and a key goes to the same host each time", () => {
  fc.assert(
    fc.property(division, division, fc.array(fc.integer(), { minLength: 1, maxLength: 50 }), (then, now, hashes) => {
      const make = () => new ShareShift(keysOf(then), weightsOf(then), keysOf(now), weightsOf(now));
      const [one, other] = [make(), make()];
      for (const hash of hashes) {
        for (let owner = 0; owner < then.size; owner++) {
          const place = one.placeOf(owner, hash >>> 0);
          expect(place >= 0 && place < now.size).toBe(true);
          expect(other.placeOf(owner, hash >>> 0)).toBe(place);
        }
      }
    }),
    { seed: 6 },
  );
});

test("where nothing has changed no key moves, whatever the weights are measured in", () => {
  const hosts: Division = new Map([
    [1, 10],
    [2, 30],
    [7, 60],
  ]);
  const tenfold = weightsOf(hosts).map((weight) => weight * 10);
  for (const weights of [weightsOf(hosts), tenfold]) {
    const shift = new ShareShift(keysOf(hosts), weightsOf(hosts), keysOf(hosts), weights);
    for (let i = 0; i < 3000; i++) expect(shift.placeOf(i % 3, finalMix(i))).toBe(i % 3);
  }
});
