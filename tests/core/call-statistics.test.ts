import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  BLOCK_ENTRIES,
  CallStatistics,
  type HostTotals,
  type StatisticsBlock,
  StatisticsReader,
} from "../../src/core/call-statistics.ts";

function pair(maxEntries = 100_000): { writer: CallStatistics; reader: StatisticsReader; blocks: StatisticsBlock[] } {
  const reader = new StatisticsReader();
  const blocks: StatisticsBlock[] = [];
  const writer = new CallStatistics(maxEntries, (block) => {
    blocks.push(block);
    reader.addBlock(block);
  });
  return { writer, reader, blocks };
}

function taken(reader: StatisticsReader, all = false): Record<string, HostTotals[]> {
  return Object.fromEntries(
    [...reader.take(all).entries()].map(([{ modid, cmdid }, hosts]) => [`${modid}.${cmdid}`, hosts]),
  );
}

describe("writer and reader", () => {
  test("the reader takes what moved since it last took, by module", () => {
    const { writer, reader } = pair();
    const one = writer.open(1, 1, 10, 80);
    const other = writer.open(-1, 2, -5, 65535);
    expect(taken(reader)).toEqual({});
    writer.count(one, true, false);
    writer.count(one, false, true);
    expect(taken(reader)).toEqual({ "1.1": [{ ip: 10, port: 80, succ: 1, err: 1, ejected: true }] });
    expect(taken(reader)).toEqual({});
    writer.count(other, true, false);
    expect(taken(reader)).toEqual({ "-1.2": [{ ip: -5, port: 65535, succ: 1, err: 0, ejected: false }] });
  });

  test("taking all gives every host that ever had a call, moved or not, and none that had no call", () => {
    const { writer, reader } = pair();
    writer.open(1, 1, 1, 80);
    const used = writer.open(1, 1, 2, 80);
    writer.count(used, true, false);
    taken(reader);
    expect(taken(reader, true)).toEqual({ "1.1": [{ ip: 2, port: 80, succ: 1, err: 0, ejected: false }] });
  });

  test("a host has one entry however often it is opened, and keeps it", () => {
    const { writer } = pair();
    const entry = writer.open(1, 1, 1, 80);
    expect(writer.open(1, 1, 1, 80)).toBe(entry);
    expect(writer.find(1, 1, 1, 80)).toBe(entry);
    expect(writer.open(1, 2, 1, 80)).not.toBe(entry);
    expect(writer.find(1, 1, 1, 81)).toBe(-1);
    expect(writer.totals(-1)).toEqual({ succ: 0, err: 0 });
  });

  test("counts wrap at 2^32 as the wire's do, without a sign", () => {
    const { writer, reader, blocks } = pair();
    const entry = writer.open(1, 1, 1, 80);
    // SUCC is the fifth column.
    blocks[0]![4 * BLOCK_ENTRIES] = 0x7fff_ffff;
    writer.count(entry, true, false);
    expect(writer.totals(entry)).toEqual({ succ: 0x8000_0000, err: 0 });
    expect(taken(reader)["1.1"]![0]!.succ).toBe(0x8000_0000);
    blocks[0]![4 * BLOCK_ENTRIES] = -1;
    writer.count(entry, true, false);
    expect(writer.totals(entry)).toEqual({ succ: 0, err: 0 });
  });

  test("a full table counts no further hosts, says so, and goes on with those it has", () => {
    const { writer, reader } = pair(2);
    const first = writer.open(1, 1, 1, 80);
    writer.open(1, 1, 2, 80);
    expect(writer.open(1, 1, 3, 80)).toBe(-1);
    expect(writer.refused).toBe(1);
    expect(writer.open(1, 1, 1, 80)).toBe(first);
    writer.count(first, true, false);
    expect(taken(reader)["1.1"]).toHaveLength(1);
  });

  test("more hosts than a block holds: every one is counted and taken", () => {
    const { writer, reader, blocks } = pair();
    const hosts = BLOCK_ENTRIES * 2 + 3;
    for (let i = 0; i < hosts; i++) writer.count(writer.open(1, 1, i, 80), i % 2 === 0, false);
    expect(blocks).toHaveLength(3);
    const totals = taken(reader)["1.1"]!;
    expect(totals).toHaveLength(hosts);
    expect(totals.every(({ ip, succ, err }) => succ === (ip % 2 === 0 ? 1 : 0) && succ + err === 1)).toBe(true);
  });
});

test("each of 3,000 hosts is found after each is opened, also while the index grows, and nobody else", () => {
  const { writer } = pair();
  for (let i = 0; i < 3000; i++) {
    expect(writer.open(i % 7, -i, i * 3, 80)).toBe(i);
    for (const known of [0, i >> 1, i - 1, i]) {
      if (known >= 0) expect(writer.find(known % 7, -known, known * 3, 80)).toBe(known);
    }
    expect(writer.find(i % 7, -i, i * 3, 81)).toBe(-1);
  }
  for (let i = 0; i < 3000; i++) expect(writer.find(i % 7, -i, i * 3, 80)).toBe(i);
});

describe("a successor that is given the blocks of a writer that died", () => {
  test("goes on counting where its predecessor stopped, known hosts and new ones", () => {
    const { writer, reader, blocks } = pair();
    for (let i = 0; i < BLOCK_ENTRIES + 5; i++) writer.count(writer.open(1, 1, i, 80), true, false);
    taken(reader);
    const successor = new CallStatistics(100_000, (block) => reader.addBlock(block), blocks);
    expect(successor.size).toBe(BLOCK_ENTRIES + 5);
    const last = successor.find(1, 1, BLOCK_ENTRIES + 4, 80);
    expect(successor.totals(last)).toEqual({ succ: 1, err: 0 });
    successor.count(last, true, false);
    successor.count(successor.open(2, 2, 9, 90), false, true);
    expect(taken(reader)).toEqual({
      "1.1": [{ ip: BLOCK_ENTRIES + 4, port: 80, succ: 2, err: 0, ejected: false }],
      "2.2": [{ ip: 9, port: 90, succ: 0, err: 1, ejected: true }],
    });
  });

  test("uses a block that the predecessor had made and not begun", () => {
    const reader = new StatisticsReader();
    const blocks: StatisticsBlock[] = [];
    const onBlock = (block: StatisticsBlock): void => {
      blocks.push(block);
      reader.addBlock(block);
    };
    const writer = new CallStatistics(100_000, onBlock);
    for (let i = 0; i < BLOCK_ENTRIES; i++) writer.open(1, 1, i, 80);
    // It died between handing out the block and writing its first entry.
    onBlock(new Int32Array(new SharedArrayBuffer(blocks[0]!.byteLength)));
    const successor = new CallStatistics(100_000, onBlock, [...blocks]);
    const entry = successor.open(2, 2, 7, 70);
    successor.count(entry, true, false);
    expect(successor.totals(entry)).toEqual({ succ: 1, err: 0 });
    expect(taken(reader)).toEqual({ "2.2": [{ ip: 7, port: 70, succ: 1, err: 0, ejected: false }] });
    expect(blocks).toHaveLength(2);
  });
});

test("what is taken adds up to what was counted, over deaths and readings in any order", () => {
  const id = fc.nat(2);
  const operation = fc.tuple(
    fc.constantFrom("count", "count", "count", "take", "all", "die"),
    id,
    id,
    id,
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const reader = new StatisticsReader();
      let writer = new CallStatistics(1000, (block) => reader.addBlock(block));
      const model = new Map<string, { succ: number; err: number }>();
      const seen = new Map<string, { succ: number; err: number }>();
      const look = (all: boolean): void => {
        for (const [{ modid, cmdid }, hosts] of reader.take(all).entries()) {
          for (const { ip, port, succ, err } of hosts) seen.set(`${modid}.${cmdid} ${ip}:${port}`, { succ, err });
        }
      };
      for (const [what, modid, cmdid, ip, succeeded] of operations) {
        if (what === "take" || what === "all") look(what === "all");
        else if (what === "die") writer = new CallStatistics(1000, (b) => reader.addBlock(b), reader.blocks());
        else {
          const key = `${modid}.${cmdid} ${ip}:80`;
          const counts = model.get(key) ?? { succ: 0, err: 0 };
          counts[succeeded ? "succ" : "err"]++;
          model.set(key, counts);
          writer.count(writer.open(modid, cmdid, ip, 80), succeeded, false);
        }
      }
      look(false);
      expect(seen).toEqual(model);
    }),
    { seed: 6 },
  );
});

test("hasMoved says whether there is anything to take", () => {
  const reader = new StatisticsReader();
  const statistics = new CallStatistics(10, (block) => reader.addBlock(block));
  expect(reader.hasMoved()).toBe(false);
  const entry = statistics.open(1, 1, 5, 80);
  expect(reader.hasMoved()).toBe(false);
  for (const succeeded of [true, false]) {
    statistics.count(entry, succeeded, false);
    expect(reader.hasMoved()).toBe(true);
    reader.take(false);
    expect(reader.hasMoved()).toBe(false);
  }
});
