import { describe, expect, test } from "bun:test";
import { spawnChild } from "../../src/platform/child-process.ts";
import { type Exit, type Running, supervise } from "../../src/platform/supervise.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

class FakeChild implements Running {
  readonly exited: Promise<Exit>;
  asked: string[] = [];
  end!: (exit: Exit) => void;

  constructor() {
    this.exited = new Promise((resolve) => {
      this.end = resolve;
    });
  }
  stop(): void {
    this.asked.push("stop");
  }
  kill(): void {
    this.asked.push("kill");
    this.end({ code: null, signal: "SIGKILL" });
  }
}

function setUp(options: { random?: () => number; start?: () => Running } = {}) {
  const clock = new ManualClock();
  const children: FakeChild[] = [];
  const log = new RecordingLog();
  let counted = 0;
  const supervised = supervise({
    name: "shard 0",
    start:
      options.start ??
      (() => {
        const child = new FakeChild();
        children.push(child);
        return child;
      }),
    log,
    clock,
    setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
    random: options.random ?? (() => 0.999999999),
    onRestart: () => counted++,
  });
  /** Ends the current child and returns the pause before the next one. */
  const crash = async (exit: Exit = { code: 1 }): Promise<number | undefined> => {
    children.at(-1)!.end(exit);
    await settle();
    return clock.nextTimerInMs();
  };
  return { clock, children, log, supervised, crash, counted: () => counted };
}

describe("supervision", () => {
  test("starts at once, and again after a pause that doubles from 200 ms to 30 s", async () => {
    const { clock, children, crash, supervised, counted } = setUp();
    expect(children).toHaveLength(1);
    const pauses: (number | undefined)[] = [];
    for (let i = 0; i < 10; i++) {
      pauses.push(await crash());
      await clock.advanceAsync(pauses.at(-1)!);
    }
    expect(pauses).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    expect(children).toHaveLength(11);
    expect([supervised.restarts, counted()]).toEqual([10, 10]);
  });

  test("does not start before the pause is over", async () => {
    const { clock, children, crash } = setUp();
    await crash();
    await clock.advanceAsync(199);
    expect(children).toHaveLength(1);
    await clock.advanceAsync(1);
    expect(children).toHaveLength(2);
  });

  test("jitters the pause between half and the whole", async () => {
    expect(await setUp({ random: () => 0 }).crash()).toBe(100);
    expect(await setUp({ random: () => 0.5 }).crash()).toBe(150);
  });

  test("begins with the short pause again after 10 s without a fall", async () => {
    const { clock, crash } = setUp();
    for (const expected of [200, 400, 800]) {
      expect(await crash()).toBe(expected);
      await clock.advanceAsync(expected);
    }
    await clock.advanceAsync(9_999);
    expect(await crash()).toBe(1600);
    await clock.advanceAsync(1600);
    await clock.advanceAsync(10_000);
    expect(await crash()).toBe(200);
  });

  test("an end with code 0 is an end too, and every one is logged with its code", async () => {
    const { log, crash } = setUp();
    expect(await crash({ code: 0 })).toBe(200);
    expect(log.lines.at(-1)).toMatchObject({
      level: "error",
      message: "shard 0 ended; starting it again in 200 ms",
      fields: { code: 0 },
    });
  });

  test("a start that throws is tried again like any other end", async () => {
    let starts = 0;
    const { clock, log } = setUp({
      start: () => {
        starts++;
        throw new Error("no such program");
      },
    });
    await clock.advanceAsync(200 + 400);
    expect(starts).toBe(3);
    expect(log.lines[0]?.fields.error).toBeInstanceOf(Error);
  });

  test("stop asks, waits for the end, and starts nothing any more", async () => {
    const { clock, children, supervised } = setUp();
    let stopped = false;
    const stopping = supervised.stop().then(() => {
      stopped = true;
    });
    await clock.advanceAsync(5000);
    expect([children[0]!.asked, stopped]).toEqual([["stop"], false]);
    children[0]!.end({ code: 0 });
    await stopping;
    await clock.advanceAsync(60_000);
    expect([children.length, clock.pendingTimers, supervised.running]).toEqual([1, 0, false]);
  });

  test("what does not end within 10 s of being asked is killed", async () => {
    const { clock, children, supervised } = setUp();
    const stopping = supervised.stop();
    await clock.advanceAsync(9_999);
    expect(children[0]!.asked).toEqual(["stop"]);
    await clock.advanceAsync(1);
    expect(children[0]!.asked).toEqual(["stop", "kill"]);
    await stopping;
  });

  test("stop during a pause starts nothing", async () => {
    const { clock, children, supervised, crash } = setUp();
    await crash();
    await supervised.stop();
    await clock.advanceAsync(60_000);
    expect(children).toHaveLength(1);
  });
});

describe("a child process", () => {
  test("tells its exit code", async () => {
    const child = spawnChild([process.execPath, "-e", "process.exit(7)"], { output: "ignore" });
    expect(await child.exited).toEqual({ code: 7, signal: null });
  });

  test("that is killed tells the signal", async () => {
    const child = spawnChild([process.execPath, "-e", "setInterval(() => {}, 1000)"], { output: "ignore" });
    child.kill();
    expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" });
  });

  test("that does not exist throws", () => {
    expect(() => spawnChild(["/no/such/program"])).toThrow();
  });
});
