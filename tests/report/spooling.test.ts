import { describe, expect, test } from "bun:test";
import { SAVE_INTERVAL_MS } from "../../src/report/spooling.ts";
import { makeFuzzRandom, propertyRuns } from "../support/fuzz-random.ts";
import { MemoryReportSpool } from "../support/memory-report-spool.ts";
import { FLUSH_MS, IntakeRig, total, windowOf } from "./intake-rig.ts";

class Rig extends IntakeRig {
  constructor(
    readonly spool = new MemoryReportSpool(),
    options: { store?: IntakeRig["store"]; maxRows?: number; writers?: number; batchRows?: number } = {},
  ) {
    super({ ...options, spool });
    this.intake.restore();
  }
  /** The process is killed and started again on the same disk and database. */
  killed(options: { writers?: number } = {}): Rig {
    this.store.gate = Promise.resolve();
    return new Rig(this.spool.handOver(), { store: this.store, ...options });
  }
}

describe("while the database is away", () => {
  test("what is told is durable within the time of a save, outlives the process and is stored once it is back", async () => {
    const rig = new Rig();
    rig.store.away();
    rig.intake.offer(total(8, 3, 1));
    rig.intake.offer(windowOf(9, 4));
    const durable = rig.intake.durable(5000);
    await rig.wait(0);
    expect([await durable, rig.intake.size, rig.spool.rows]).toEqual([true, 2, 2]);
    const again = rig.killed();
    expect([again.intake.size, again.intake.spool.counts.replayed]).toEqual([2, 2]);
    await again.wait(FLUSH_MS);
    expect(again.store.texts).toEqual([]);
    again.store.back();
    await again.wait(3000);
    expect(again.store.texts).toEqual(["1.1 8:80 from 1: 3/0", "1.1 9:80 from 1: 4/0"]);
    expect([again.spool.rows, again.intake.size]).toEqual([0, 0]);
  });

  test("reports that nobody waits for are saved too, and only those that changed", async () => {
    const rig = new Rig();
    rig.store.away();
    for (let ip = 1; ip <= 5; ip++) rig.intake.offer(total(ip, 1, 1));
    await rig.wait(SAVE_INTERVAL_MS);
    expect([rig.spool.rows, rig.spool.puts]).toEqual([5, [5]]);
    rig.intake.offer(total(3, 2, 2));
    rig.intake.offer(total(3, 3, 3));
    rig.intake.offer(total(6, 1, 3));
    await rig.wait(SAVE_INTERVAL_MS);
    expect([rig.spool.rows, rig.spool.puts]).toEqual([6, [5, 2]]);
    await rig.wait(60_000);
    expect(rig.spool.puts).toEqual([5, 2]);
  });

  test("what changes while a large save is under way is saved by the next one, and not called durable before", async () => {
    const rig = new Rig(undefined, { maxRows: 10_000 });
    rig.store.away();
    for (let ip = 1; ip <= 2500; ip++) rig.intake.offer(total(ip, 1, 1));
    const put = rig.spool.put.bind(rig.spool);
    const answers: boolean[] = [];
    rig.spool.put = (rows) => {
      put(rows);
      if (rig.spool.puts.length > 1) return;
      rig.intake.offer(total(1, 2, 2));
      void rig.intake.durable(5000).then((durable) => answers.push(durable));
    };
    await rig.turn();
    await rig.wait(0);
    await rig.wait(SAVE_INTERVAL_MS);
    expect([rig.spool.puts, answers]).toEqual([[2000, 500, 1], [true]]);
    expect(rig.spool.load().find(({ ip }) => ip === 1)!.succ).toBe(2);
  });

  test("the spool is not larger for a longer outage: it holds one row a key", async () => {
    const rig = new Rig();
    rig.store.away();
    for (let round = 1; round <= 200; round++) {
      for (let ip = 1; ip <= 4; ip++) rig.intake.offer(total(ip, round, round));
      await rig.wait(SAVE_INTERVAL_MS);
    }
    expect(rig.spool.rows).toBe(4);
  });

  test("what was stored already, and is replayed, counts once; a window that came by another way meanwhile stays", async () => {
    const rig = new Rig();
    rig.store.away();
    rig.intake.offer(total(8, 3, 1));
    rig.intake.offer({ ...windowOf(9, 4), ts: 100 });
    await rig.wait(SAVE_INTERVAL_MS);
    rig.store.back();
    await rig.store.apply([{ ...total(8, 5, 2), instance: "0000000000000001" }], [{ ...windowOf(9, 7), ts: 101 }]);
    const again = rig.killed();
    await again.wait(FLUSH_MS);
    expect(again.store.texts).toEqual(["1.1 8:80 from 1: 5/0", "1.1 9:80 from 1: 7/0"]);
  });
});

describe("a database that is slow", () => {
  test("holds up who waits for 1 s; then it is durable in the spool, what is being written included", async () => {
    const rig = new Rig();
    const release = rig.store.hold();
    rig.intake.offer(total(8, 3, 1));
    const durable = rig.intake.durable(5000);
    rig.intake.offer(total(9, 3, 1));
    await rig.wait(999);
    expect([rig.spool.rows, rig.intake.awaited]).toEqual([0, 1]);
    await rig.wait(1);
    expect([await durable, rig.spool.rows]).toEqual([true, 2]);
    release();
    await rig.wait(FLUSH_MS);
    expect([rig.spool.rows, rig.store.texts.length]).toEqual([0, 2]);
  });

  test("that serves in time costs no disk at all", async () => {
    const rig = new Rig();
    for (let seq = 1; seq <= 20; seq++) {
      rig.intake.offer(total(8, seq, seq));
      expect(await rig.intake.durable(5000)).toBe(true);
      await rig.wait(FLUSH_MS);
    }
    expect([rig.spool.puts, rig.spool.clears]).toEqual([[], 0]);
  });
});

describe("the spool is emptied", () => {
  test("when everything that was ever in it is stored, although more waits by then", async () => {
    const rig = new Rig(undefined, { batchRows: 2 });
    rig.store.away();
    for (let ip = 1; ip <= 4; ip++) rig.intake.offer(total(ip, 1, 1));
    await rig.wait(FLUSH_MS);
    expect(rig.spool.rows).toBe(4);
    rig.store.back();
    // The first two are under way.
    const release = rig.store.hold();
    await rig.wait(3000);
    rig.intake.offer(total(9, 1, 1));
    rig.intake.offer(total(1, 2, 2));
    expect(rig.spool.rows).toBeGreaterThan(0);
    release();
    await rig.turn();
    expect([rig.spool.rows, rig.spool.clears]).toEqual([0, 1]);
    await rig.wait(FLUSH_MS);
    expect(rig.store.texts.length).toBe(5);
  });

  test("not by one lane alone: rows of another may wait still", async () => {
    const rig = new Rig(undefined, { writers: 4 });
    rig.store.away();
    for (let agent = 1; agent <= 12; agent++) rig.intake.offer(total(agent, agent, 1, agent));
    await rig.wait(FLUSH_MS);
    const again = rig.killed({ writers: 3 });
    expect(again.intake.size).toBe(12);
    again.store.back();
    await again.wait(5000);
    expect([again.store.texts.length, again.spool.rows, again.spool.clears]).toEqual([12, 0, 1]);
  });
});

describe("a spool that does not serve", () => {
  test("is said once and once when it serves again, counted, and nothing is durable meanwhile; nothing else changes", async () => {
    const rig = new Rig();
    rig.store.away();
    rig.spool.full();
    rig.intake.offer(total(8, 3, 1));
    const durable = rig.intake.durable(1000);
    for (let seq = 2; seq < 9; seq++) {
      await rig.wait(SAVE_INTERVAL_MS);
      rig.intake.offer(total(8, 3 + seq, seq));
    }
    expect([await durable, rig.intake.spool.counts.failures > 2]).toEqual([false, true]);
    rig.spool.failure = undefined;
    await rig.wait(SAVE_INTERVAL_MS);
    rig.store.back();
    await rig.wait(3000);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 11/0"]);
    expect(rig.log.texts).toEqual([
      "error storing reports failed; they are kept and tried again",
      "error the spool does not serve; nothing is durable until the database is back",
      "info the spool serves again",
      "info reports are stored again",
    ]);
  });

  test("and was damaged is filled again with all that waits", async () => {
    const rig = new Rig();
    rig.store.away();
    for (let ip = 1; ip <= 5; ip++) rig.intake.offer(total(ip, 1, 1));
    await rig.wait(SAVE_INTERVAL_MS);
    rig.spool.damage();
    rig.intake.offer(total(6, 1, 1));
    await rig.wait(SAVE_INTERVAL_MS);
    rig.intake.offer(total(7, 1, 1));
    await rig.wait(SAVE_INTERVAL_MS);
    expect([rig.spool.rows, rig.spool.damaged]).toEqual([7, 1]);
  });

  test("when the process starts is tried again when it is needed, and what it holds is stored", async () => {
    const first = new Rig();
    first.store.away();
    first.intake.offer(total(8, 3, 1));
    await first.wait(SAVE_INTERVAL_MS);
    first.spool.full();
    const rig = first.killed();
    expect(rig.intake.size).toBe(0);
    rig.intake.offer(total(9, 1, 1));
    rig.spool.failure = undefined;
    expect(await Promise.all([rig.intake.durable(5000), rig.wait(SAVE_INTERVAL_MS * 5)])).toMatchObject([true, {}]);
    expect(rig.spool.rows).toBe(2);
    rig.store.back();
    await rig.wait(3000);
    expect(rig.store.texts.length).toBe(2);
  });
});

test("a spool that the process before holds still is opened when that has ended, and what it left is stored by every lane", async () => {
  const first = new Rig(undefined, { writers: 4 });
  first.store.away();
  for (let agent = 1; agent <= 12; agent++) first.intake.offer(total(agent, 1, 1, agent));
  await first.intake.stop(1000);
  first.spool.full();
  const rig = first.killed({ writers: 4 });
  rig.store.back();
  await rig.wait(4000);
  expect([rig.intake.size, rig.store.texts]).toEqual([0, []]);
  rig.spool.failure = undefined;
  await rig.wait(1000 + FLUSH_MS);
  expect([rig.store.texts.length, rig.spool.rows, rig.clock.pendingTimers]).toEqual([12, 0, 0]);
});

test("stopping while the database is away leaves what waits in the spool, and does not wait for the database", async () => {
  const rig = new Rig();
  rig.store.away();
  rig.intake.offer(total(8, 3, 1));
  expect(await rig.intake.stop(7000)).toBe(0);
  expect([rig.clock.nowMs(), rig.clock.pendingTimers, rig.spool.rows]).toEqual([0, 0, 1]);
  expect(rig.log.texts).toContain("info reports wait in the spool");
});

test("stopping while the database hangs leaves what waits in the spool after 1 s, what is being written included", async () => {
  const rig = new Rig();
  rig.store.hold();
  rig.intake.offer(total(8, 3, 1));
  void rig.intake.flush();
  await rig.turn();
  rig.intake.offer(total(9, 3, 1));
  const left = rig.intake.stop(7000);
  await rig.wait(1000);
  expect([await left, rig.spool.rows]).toEqual([0, 2]);
});

test("random histories with outages, full disks, kills and several lanes lose nothing that was promised, and double nothing", async () => {
  const SEED = 20_261_121;
  for (let history = 0; history < propertyRuns(60); history++) {
    const at = `seed ${SEED + history}`;
    const random = makeFuzzRandom(SEED + history);
    let rig = new Rig(undefined, { maxRows: 30, writers: random.int(1, 3), batchRows: random.int(1, 4) });
    const newest = new Map<string, number>();
    /** The most that was ever told of a host: more can only have been counted twice. */
    const most = new Map<string, number>();
    const promised = new Map<string, number>();
    let release = (): void => {};
    let seq = 0;
    for (let step = 0; step < 120; step++) {
      switch (random.int(0, 11)) {
        case 0:
          rig.store.away();
          break;
        case 1:
          rig.store.back();
          break;
        case 2:
          release();
          release = rig.store.hold();
          break;
        case 3:
          release();
          break;
        case 4:
          await rig.wait(random.int(0, 1500));
          break;
        case 5: {
          const taken = new Map(newest);
          const durable = rig.intake.durable(random.int(1, 3000));
          void durable.then((yes) => {
            if (yes) for (const [key, succ] of taken) promised.set(key, Math.max(succ, promised.get(key) ?? 0));
          });
          break;
        }
        case 6:
          rig.spool.failure = random.int(0, 1) === 1 ? new Error("disk full") : undefined;
          break;
        case 7:
          // What was under way is made or not, and nobody is told.
          if (random.int(0, 2) > 0) break;
          await rig.turn();
          rig.spool.failure = undefined;
          rig = rig.killed({ writers: random.int(1, 3) });
          for (const key of [...newest.keys()]) newest.delete(key);
          for (const [key, succ] of promised) newest.set(key, succ);
          break;
        default: {
          const [ip, agent] = [random.int(1, 5), random.int(1, 4)];
          const key = `1.1 ${ip}:80 from ${agent}`;
          most.set(key, ++seq);
          if (rig.intake.offer(total(ip, seq, seq, agent))) newest.set(key, seq);
        }
      }
    }
    release();
    rig.store.back();
    rig.spool.failure = undefined;
    await rig.wait(20_000);
    const stored = new Map(rig.store.texts.map((text) => text.split(": ") as [string, string]));
    for (const [key, succ] of promised) {
      const count = Number(stored.get(key)?.split("/")[0] ?? -1);
      if (count < succ) throw new Error(`${at}: ${key} stored ${count}, promised ${succ}`);
    }
    for (const [key, counts] of stored)
      expect([at, key, Number(counts.split("/")[0]) <= most.get(key)!]).toEqual([at, key, true]);
    for (const [key, succ] of newest)
      expect([at, key, Number(stored.get(key)?.split("/")[0]) >= succ]).toEqual([at, key, true]);
    expect([at, rig.intake.size, rig.intake.awaited, rig.spool.rows]).toEqual([at, 0, 0, 0]);
  }
});
