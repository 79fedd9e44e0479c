import { describe, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { createMetrics } from "../../src/platform/metrics.ts";
import { createShutdown } from "../../src/platform/shutdown.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

function setUp() {
  const clock = new ManualClock();
  const events = new EventEmitter();
  const log = new RecordingLog();
  const metrics = createMetrics("dns");
  const exits: number[] = [];
  const done: string[] = [];
  const shutdown = createShutdown({
    log,
    metrics,
    events,
    clock,
    exit: (code) => exits.push(code),
    setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
  });
  const step = (name: string) => shutdown.onShutdown(name, () => void done.push(name));
  return { clock, events, log, metrics, exits, done, shutdown, step };
}

describe("shutdown", () => {
  test.each(["SIGINT", "SIGTERM"])(
    "%s runs the steps in reverse order, one after the other, then exits with 0",
    async (signal) => {
      const { events, exits, done, shutdown, step } = setUp();
      step("database");
      shutdown.onShutdown("http", async () => {
        await settle();
        done.push("http");
      });
      step("tcp");
      events.emit(signal, signal);
      expect(shutdown.stopping).toBe(true);
      await shutdown.shutdown("waiting");
      expect(done).toEqual(["tcp", "http", "database"]);
      expect(exits).toEqual([0]);
    },
  );

  test("a step that fails is logged, the others run, and the exit code is 1", async () => {
    const { exits, done, log, shutdown, step } = setUp();
    step("database");
    shutdown.onShutdown("http", () => {
      throw new Error("still busy");
    });
    await shutdown.shutdown("test");
    expect([done, exits]).toEqual([["database"], [1]]);
    expect(log.texts).toContain('error shutdown step "http" failed');
  });

  test("after 10 s it exits with 1 and names the step that still runs", async () => {
    const { clock, exits, log, shutdown, step } = setUp();
    step("never reached");
    shutdown.onShutdown("slow", () => new Promise(() => {}));
    void shutdown.shutdown("test");
    await clock.advanceAsync(9_999);
    expect(exits).toEqual([]);
    await clock.advanceAsync(1);
    expect(exits).toEqual([1]);
    expect(log.texts).toContain('error not ended within 10000 ms; exiting while step "slow" still runs');
  });

  test("a second signal within a second is the same wish; after that it exits at once", async () => {
    const { clock, events, exits, shutdown } = setUp();
    shutdown.onShutdown("slow", () => new Promise(() => {}));
    events.emit("SIGINT", "SIGINT");
    clock.advance(999);
    events.emit("SIGTERM", "SIGTERM");
    expect(exits).toEqual([]);
    clock.advance(1);
    events.emit("SIGINT", "SIGINT");
    expect(exits).toEqual([130]);
  });

  test("a step taken back does not run", async () => {
    const { done, shutdown, step } = setUp();
    const takeBack = step("a");
    step("b");
    takeBack();
    await shutdown.shutdown("test");
    expect(done).toEqual(["b"]);
  });

  test("asked for a code, it exits with that", async () => {
    const { exits, shutdown } = setUp();
    await shutdown.shutdown("cannot listen", 3);
    expect(exits).toEqual([3]);
  });

  test.each(["uncaughtException", "unhandledRejection"])(
    "%s is logged and counted, and exits with 1 without running steps",
    async (event) => {
      const { events, exits, done, log, metrics, step } = setUp();
      step("database");
      events.emit(event, new Error("a bug"));
      await settle();
      expect([exits, done]).toEqual([[1], []]);
      expect(log.lines.at(-1)).toMatchObject({ level: "error", message: "uncaught error, exiting" });
      expect(await metrics.render()).toContain("lars_dns_uncaught_errors_total 1\n");
    },
  );

  test("detached, it hears nothing", () => {
    const { events, shutdown } = setUp();
    shutdown.detach();
    expect(events.eventNames()).toEqual([]);
  });
});
