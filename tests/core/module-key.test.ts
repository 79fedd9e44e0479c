import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  compareModuleKeys,
  formatModuleKey,
  type ModuleKey,
  ModuleMap,
  parseModuleId,
  parseModuleKey,
} from "../../src/core/module-key.ts";
import { shardOf } from "../../src/core/shard-map.ts";

const int32 = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
/** Few different ones, so that keys meet. */
const smallId = fc.constantFrom(-1, 0, 1, 2, 0x7fff_ffff, -0x8000_0000);

describe("spelling", () => {
  test("signed and unsigned spellings of an id are one id; nothing else is an id", () => {
    const table: [text: string, id: number | undefined][] = [
      ["0", 0],
      ["-1", -1],
      ["4294967295", -1],
      ["2147483648", -0x8000_0000],
      ["-2147483648", -0x8000_0000],
      ["2147483647", 0x7fff_ffff],
      ["4294967296", undefined],
      ["-2147483649", undefined],
      ["9999999999", undefined],
      ["01", undefined],
      ["-0", undefined],
      ["+1", undefined],
      ["1.0", undefined],
      ["1e3", undefined],
      ["0x10", undefined],
      [" 1", undefined],
      ["1\n", undefined],
      ["", undefined],
      ["-", undefined],
      ["١", undefined],
    ];
    for (const [text, id] of table) expect([text, parseModuleId(text)]).toEqual([text, id]);
  });

  test("any key is read back as it was written", () => {
    fc.assert(
      fc.property(int32, int32, (modid, cmdid) => {
        expect(parseModuleKey(formatModuleKey({ modid, cmdid }))).toEqual({ modid, cmdid });
        expect(parseModuleKey(`${modid >>> 0}.${cmdid >>> 0}`)).toEqual({ modid, cmdid });
      }),
      { seed: 1 },
    );
  });

  test("a key needs one dot and two ids", () => {
    for (const text of ["", ".", "1", "1.", ".1", "1.2.3", "1,2", "1.x", "1. 2"]) {
      expect([text, parseModuleKey(text)]).toEqual([text, undefined]);
    }
  });
});

test("keys are ordered by modid, then cmdid, across the whole range of int32", () => {
  const keys = [
    [-0x8000_0000, 0x7fff_ffff],
    [-1, 5],
    [0, -1],
    [0, 0],
    [0x7fff_ffff, -0x8000_0000],
    [0x7fff_ffff, 0x7fff_ffff],
  ].map(([modid, cmdid]) => ({ modid, cmdid }) as ModuleKey);
  expect([...keys].reverse().sort(compareModuleKeys)).toEqual(keys);
});

test("a ModuleMap answers as a Map keyed by text does, whatever is done to it", () => {
  const operation = fc.tuple(fc.constantFrom("set", "delete", "clear", "get"), smallId, smallId, fc.nat(9));
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const map = new ModuleMap<number>();
      const model = new Map<string, number>();
      for (const [what, modid, cmdid, value] of operations) {
        const key = formatModuleKey({ modid, cmdid });
        if (what === "set") {
          map.set(modid, cmdid, value);
          model.set(key, value);
        } else if (what === "delete") {
          expect(map.delete(modid, cmdid)).toBe(model.delete(key));
        } else if (what === "clear" && value === 0) {
          map.clear();
          model.clear();
        }
        expect(map.get(modid, cmdid)).toEqual(model.get(key));
        expect(map.has(modid, cmdid)).toBe(model.has(key));
        expect(map.size).toBe(model.size);
      }
      expect(new Map([...map.entries()].map(([entry, value]) => [formatModuleKey(entry), value]))).toEqual(model);
      expect([...map.values()].sort()).toEqual([...model.values()].sort());
    }),
    { seed: 2, numRuns: 300 },
  );
});

test("a ModuleMap that is changed while it is iterated visits each entry once: not those deleted, and those added", () => {
  const map = new ModuleMap<string>();
  for (const [modid, cmdid] of [
    [1, 1],
    [1, 2],
    [1, 3],
    [2, 1],
  ] as const)
    map.set(modid, cmdid, `${modid}.${cmdid}`);
  const seen: string[] = [];
  for (const value of map.values()) {
    seen.push(value);
    if (value === "1.1") {
      map.delete(1, 1);
      map.delete(1, 2);
      map.set(3, 1, "3.1");
    }
  }
  expect(seen).toEqual(["1.1", "1.3", "2.1", "3.1"]);
  map.set(1, 1, "again");
  expect([...map.values()].sort()).toEqual(["1.3", "2.1", "3.1", "again"]);
  expect([map.size, map.get(1, 1), map.has(1, 2)]).toEqual([4, "again", false]);
});

describe("shard of a module", () => {
  test("is what deployed clients compute for themselves, in C's int arithmetic", () => {
    expect(shardOf(1, 1, 3)).toBe(2);
    expect(shardOf(0, 0, 3)).toBe(0);
    // (2147483647 + 1) overflows to -2147483648 in C; % 3 is -2 there, and 1 when made non-negative.
    expect(shardOf(0x7fff_ffff, 1, 3)).toBe(1);
  });

  test("is one of the shards for any module, and the client's own choice where that is non-negative", () => {
    fc.assert(
      fc.property(int32, int32, fc.integer({ min: 1, max: 64 }), (modid, cmdid, shards) => {
        const shard = shardOf(modid, cmdid, shards);
        expect(Number.isInteger(shard) && shard >= 0 && shard < shards).toBe(true);
        const clients = Number(BigInt.asIntN(32, BigInt(modid) + BigInt(cmdid)) % BigInt(shards));
        expect(shard === (clients < 0 ? clients + shards : clients)).toBe(true);
      }),
      { seed: 3 },
    );
  });
});
