import { describe, expect, test } from "bun:test";
import { makeFuzzRandom, propertyRuns } from "../support/fuzz-random.ts";
import { FLUSH_MS, IntakeRig, total, windowOf } from "./intake-rig.ts";

describe("rows that wait", () => {
  test("are written together after flush_interval", async () => {
    const rig = new IntakeRig();
    rig.intake.offer(total(8, 3, 1));
    rig.intake.offer(total(9, 4, 1));
    await rig.wait(FLUSH_MS - 1);
    expect(rig.store.batches).toEqual([]);
    await rig.wait(1);
    expect(rig.store.batches).toEqual([2]);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 3/0", "1.1 9:80 from 1: 4/0"]);
    expect([rig.intake.size, rig.clock.pendingTimers]).toEqual([0, 0]);
  });

  test("are written at once when they fill a batch, and more than one batch one after the other", async () => {
    const rig = new IntakeRig({ batchRows: 10 });
    for (let ip = 0; ip < 25; ip++) rig.intake.offer(total(ip, 1, 1));
    await rig.turn();
    expect(rig.store.batches).toEqual([10, 10, 5]);
  });

  test("of one host by one agent are one row: the newest, also when an older frame comes late", async () => {
    const rig = new IntakeRig();
    for (const [succ, seq] of [
      [1, 1],
      [5, 3],
      [4, 2],
    ] as const)
      rig.intake.offer(total(8, succ, seq));
    rig.intake.offer(windowOf(9, 1));
    rig.intake.offer(windowOf(9, 7));
    rig.intake.offer(total(8, 9, 1, 2));
    expect(rig.intake.size).toBe(3);
    await rig.wait(FLUSH_MS);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 5/0", "1.1 8:80 from 2: 9/0", "1.1 9:80 from 1: 7/0"]);
    expect(rig.intake.counts).toMatchObject({ offered: 6, coalesced: 2, stale: 1, stored: 3 });
  });

  test("are bounded by the number of different hosts: repeats find room, others are refused and counted", async () => {
    const rig = new IntakeRig({ maxRows: 5, batchRows: 100 });
    for (let round = 1; round <= 3; round++) {
      for (let ip = 0; ip < 8; ip++) expect(rig.intake.offer(total(ip, round, round))).toBe(ip < 5);
    }
    expect(rig.intake.size).toBe(5);
    expect(rig.intake.counts).toMatchObject({ refused: 9, coalesced: 10 });
    await rig.wait(FLUSH_MS);
    expect(rig.intake.offer(total(7, 1, 1))).toBe(true);
  });

  test("make the intake crowded from three quarters of the bound on, those being written included", async () => {
    const rig = new IntakeRig({ maxRows: 8, batchRows: 4 });
    const release = rig.store.hold();
    for (let ip = 0; ip < 6; ip++) {
      expect([ip, rig.intake.crowded]).toEqual([ip, false]);
      rig.intake.offer(total(ip, 1, 1));
    }
    expect(rig.intake.crowded).toBe(true);
    release();
    await rig.wait(FLUSH_MS);
    expect(rig.intake.crowded).toBe(false);
  });
});

describe("a database that is slow", () => {
  test("gets one batch at a time; what comes meanwhile is written after it, and what comes after that too", async () => {
    const rig = new IntakeRig();
    const release = rig.store.hold();
    rig.intake.offer(total(1, 1, 1));
    await rig.wait(FLUSH_MS);
    rig.intake.offer(total(2, 1, 1));
    // The timer for the second row comes and goes while the first is under way.
    await rig.wait(FLUSH_MS * 5);
    expect(rig.store.attempts).toBe(1);
    release();
    await rig.turn();
    expect(rig.store.batches).toEqual([1, 1]);
    rig.intake.offer(total(3, 1, 1));
    await rig.wait(FLUSH_MS);
    expect(rig.store.batches).toEqual([1, 1, 1]);
  });

  test("and then fails is tried again by itself, although the timer came while it was under way", async () => {
    const rig = new IntakeRig();
    const release = rig.store.hold();
    rig.intake.offer(total(1, 1, 1));
    await rig.wait(FLUSH_MS);
    rig.intake.offer(total(2, 1, 1));
    await rig.wait(FLUSH_MS * 5);
    rig.store.away();
    release();
    await rig.turn();
    rig.store.back();
    await rig.wait(10_000);
    expect(rig.store.texts).toHaveLength(2);
  });
});

describe("a database that is away", () => {
  test("is tried again with growing pauses of at most 3 s; nothing is lost, the newest of each host is written", async () => {
    const rig = new IntakeRig();
    rig.store.away();
    rig.intake.offer(total(8, 1, 1));
    await rig.wait(60_000);
    expect(rig.store.attempts).toBeGreaterThan(15);
    expect(rig.store.attempts).toBeLessThan(40);
    for (let seq = 2; seq < 50; seq++) rig.intake.offer(total(8, seq, seq));
    rig.intake.offer(total(9, 1, 1));
    expect(rig.intake.size).toBe(2);
    rig.store.back();
    await rig.wait(3000);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 49/0", "1.1 9:80 from 1: 1/0"]);
    expect(rig.intake.failure).toBeUndefined();
  });

  test("is said once when it begins and once when it ends", async () => {
    const rig = new IntakeRig();
    rig.store.away();
    rig.intake.offer(total(8, 1, 1));
    await rig.wait(30_000);
    expect(rig.intake.failure).toBe("connection refused");
    rig.store.back();
    await rig.wait(3000);
    expect(rig.log.texts).toEqual([
      "error storing reports failed; they are kept and tried again",
      "info reports are stored again",
    ]);
  });

  test("a row that came while a batch failed takes the place of the older one of its host, and never the other way", async () => {
    const rig = new IntakeRig();
    const release = rig.store.hold();
    rig.intake.offer(total(8, 5, 5));
    rig.intake.offer(total(9, 5, 5));
    await rig.wait(FLUSH_MS);
    rig.intake.offer(total(8, 6, 6));
    rig.intake.offer(total(9, 4, 4));
    rig.store.away();
    release();
    await rig.turn();
    rig.store.back();
    await rig.wait(3000);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 6/0", "1.1 9:80 from 1: 5/0"]);
  });
});

describe("waiting until rows are durable", () => {
  test("begins to write at once and ends when everything taken before is written, not later", async () => {
    const rig = new IntakeRig({ batchRows: 2 });
    expect(await rig.intake.durable(5000)).toBe(true);
    const release = rig.store.hold();
    rig.intake.offer(total(1, 1, 1));
    const first = rig.intake.durable(5000);
    rig.intake.offer(total(2, 1, 1));
    const second = rig.intake.durable(5000);
    const order: string[] = [];
    void first.then((durable) => order.push(`first ${durable}`));
    void second.then((durable) => order.push(`second ${durable}`));
    await rig.turn();
    expect([rig.store.attempts, order]).toEqual([1, []]);
    release();
    await rig.turn();
    expect(order).toEqual(["first true", "second true"]);
    expect((await rig.wait(FLUSH_MS)).clock.pendingTimers).toBe(0);
  });

  test("ends with false after its time-out, and nobody waits then any more, however long the database is away", async () => {
    const rig = new IntakeRig();
    rig.store.away();
    const answers: boolean[] = [];
    for (let i = 0; i < 50; i++) {
      rig.intake.offer(total(8, i, i));
      void rig.intake.durable(5000).then((durable) => answers.push(durable));
    }
    expect(rig.intake.awaited).toBe(50);
    await rig.wait(4999);
    expect(answers).toEqual([]);
    await rig.wait(1);
    expect(answers).toEqual(new Array(50).fill(false));
    expect(rig.intake.awaited).toBe(0);
    rig.store.back();
    rig.intake.offer(total(8, 99, 99));
    expect(await rig.intake.durable(5000)).toBe(true);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 1: 99/0"]);
  });

  test("of a row that replaced an older one waits for the newer one", async () => {
    const rig = new IntakeRig();
    const release = rig.store.hold();
    rig.intake.offer(total(8, 1, 1));
    void rig.intake.flush();
    await rig.turn();
    rig.intake.offer(total(8, 2, 2));
    let done = false;
    void rig.intake.durable(60_000).then((durable) => {
      done = durable;
    });
    rig.store.away();
    release();
    await rig.turn();
    expect(done).toBe(false);
    rig.store.back();
    await rig.wait(3000);
    expect([done, rig.store.texts]).toEqual([true, ["1.1 8:80 from 1: 2/0"]]);
  });
});

describe("stopping", () => {
  test("writes what waits", async () => {
    const rig = new IntakeRig();
    rig.intake.offer(total(8, 1, 1));
    expect(await rig.intake.stop(1000)).toBe(0);
    expect([rig.store.texts.length, rig.clock.pendingTimers]).toEqual([1, 0]);
  });

  test("tries until its time is up, says how many rows are left, and sets no timer more", async () => {
    const rig = new IntakeRig();
    rig.store.away();
    rig.intake.offer(total(8, 1, 1));
    rig.intake.offer(total(9, 1, 1));
    let left = -1;
    void rig.intake.stop(1000).then((rows) => {
      left = rows;
    });
    await rig.wait(999);
    expect(left).toBe(-1);
    await rig.wait(101);
    expect(left).toBe(2);
    expect(rig.clock.pendingTimers).toBe(0);
  });

  test("writes what waits when the database comes back in time", async () => {
    const rig = new IntakeRig();
    rig.store.away();
    rig.intake.offer(total(8, 1, 1));
    let left = -1;
    void rig.intake.stop(5000).then((rows) => {
      left = rows;
    });
    await rig.wait(1000);
    rig.store.back();
    await rig.wait(200);
    expect([left, rig.store.texts.length]).toEqual([0, 1]);
  });
});

test("random histories with outages and slow writes end with the newest totals of every host, and say durable only when it is so", async () => {
  const SEED = 20_260_301;
  for (let history = 0; history < propertyRuns(40); history++) {
    const at = `seed ${SEED + history}`;
    const random = makeFuzzRandom(SEED + history);
    const rig = new IntakeRig({ maxRows: 6, batchRows: random.int(1, 4) });
    const newest = new Map<number, number>();
    const promised: Promise<void>[] = [];
    let release = (): void => {};
    let seq = 0;
    for (let step = 0; step < 80; step++) {
      switch (random.int(0, 9)) {
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
          await rig.wait(random.int(0, 1000));
          break;
        case 5: {
          const taken = new Map(newest);
          const check = (durable: boolean): void => {
            if (!durable) return;
            for (const [ip, succ] of taken) {
              const stored = rig.store.texts.find((text) => text.startsWith(`1.1 ${ip}:`));
              const count = Number(stored?.split(" ").at(-1)?.split("/")[0] ?? -1);
              if (count < succ) throw new Error(`${at}: host ${ip} stored ${count}, promised ${succ}`);
            }
          };
          promised.push(rig.intake.durable(random.int(1, 3000)).then(check));
          break;
        }
        default: {
          const ip = random.int(1, 8);
          const succ = (newest.get(ip) ?? 0) + random.int(0, 3);
          if (rig.intake.offer(total(ip, succ, ++seq))) newest.set(ip, succ);
          expect(rig.intake.size).toBeLessThanOrEqual(6);
        }
      }
    }
    release();
    rig.store.back();
    await rig.wait(10_000);
    await Promise.all(promised);
    const wanted = [...newest].map(([ip, succ]) => `1.1 ${ip}:80 from 1: ${succ}/0`).sort();
    expect([at, rig.store.texts]).toEqual([at, wanted]);
    expect([at, rig.intake.size, rig.intake.awaited, rig.clock.pendingTimers]).toEqual([at, 0, 0, 0]);
  }
});
