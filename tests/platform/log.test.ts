import { describe, expect, test } from "bun:test";
import { BoundedWriter } from "../../src/platform/bounded-writer.ts";
import { rateLimited, whenNew } from "../../src/platform/log.ts";
import { createLog } from "../../src/platform/log-output.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

function jsonLog(level: "debug" | "info" | "warn" | "error" = "debug") {
  const lines: string[] = [];
  const log = createLog({ process: "dns", level, format: "json", write: (line) => lines.push(line) });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? "null") };
}

describe("JSON lines", () => {
  test("hold ts, level, process, component, message, requestId and fields", () => {
    const { log, last } = jsonLog();
    log.with({ component: "tcp" }).with({ requestId: "r-1" }).warn("slow agent", { peer: "10.0.0.1:5", bytes: 12 });
    const line = last();
    expect(new Date(line.ts).getTime()).toBeCloseTo(Date.now(), -4);
    delete line.ts;
    expect(line).toEqual({
      level: "warn",
      process: "dns",
      component: "tcp",
      message: "slow agent",
      requestId: "r-1",
      fields: { peer: "10.0.0.1:5", bytes: 12 },
    });
  });

  test("end with one line break, whatever the message holds; braces in it are no placeholders", () => {
    const { log, lines, last } = jsonLog();
    log.info("a\nb {peer} {{x}}", { peer: "p" });
    expect(lines[0]).toEndWith("}\n");
    expect(lines[0]?.trimEnd()).not.toContain("\n");
    expect(last().message).toBe("a\nb {peer} {{x}}");
  });

  test("tell an error by name, message, code and causes", () => {
    const { log, last } = jsonLog();
    const inner = Object.assign(new Error("connect ECONNREFUSED"), { name: "ConnectError", code: "ECONNREFUSED" });
    const outer = Object.assign(new Error("no database", { cause: inner }), { name: "StoreUnavailable" });
    log.error("cannot poll", { error: outer });
    expect(last().fields.error).toEqual({
      name: "StoreUnavailable",
      message: "no database",
      cause: { name: "ConnectError", message: "connect ECONNREFUSED", code: "ECONNREFUSED" },
    });
  });

  test("tell where a bug was: the first frames of plain errors", () => {
    const { log, last } = jsonLog();
    log.error("bug", { error: new TypeError("x is undefined") });
    expect(last().fields.error.at).toContain("log.test.ts");
  });

  test("mask passwords in URLs and bearer tokens in messages, fields and errors", () => {
    const { log, lines } = jsonLog();
    log.error("mysql://root:hunter2@db/x", {
      url: "mysql://root:hun@ter2@db/x",
      error: new Error("mysql://root:hunter2@a,b/x", { cause: new Error("Authorization: Bearer lars_abc.def") }),
    });
    expect(lines[0]).not.toMatch(/hun|ter2|lars_abc/);
    expect(lines[0]).toContain("mysql://root:***@db/x");
  });

  test("are bounded and written whatever they hold: cycles, big integers, bytes, long text, many items", () => {
    const { log, lines, last } = jsonLog();
    const cycle: Record<string, unknown> = {};
    cycle.self = cycle;
    log.info("odd", {
      cycle,
      big: 12n,
      bytes: new Uint8Array(5000),
      text: "x".repeat(100_000),
      items: Array.from({ length: 10_000 }, (_, i) => i),
      map: new Map([["a", 1]]),
      run() {},
    });
    expect(lines[0]!.length).toBeLessThan(10_000);
    expect(last().fields).toMatchObject({ big: "12", bytes: "5000 bytes", map: [["a", 1]] });
  });
});

describe("levels", () => {
  test("below the level nothing is written; setLevel changes that for every derived log", () => {
    const { log, lines } = jsonLog("warn");
    const derived = log.with({ component: "x" });
    derived.info("no");
    expect(derived.enabled("info")).toBe(false);
    log.setLevel("info");
    derived.info("yes");
    expect(derived.enabled("info")).toBe(true);
    expect(lines.map((line) => JSON.parse(line).message)).toEqual(["yes"]);
  });

  test("two logs in one process have levels and outputs of their own", () => {
    const a = jsonLog("error");
    const b = jsonLog("debug");
    a.log.info("a");
    b.log.info("b");
    expect([a.lines.length, b.lines.length]).toEqual([0, 1]);
  });
});

test("text lines are for people, and control characters in input cannot act on their terminal", () => {
  const lines: string[] = [];
  const log = createLog({ process: "agent", level: "info", format: "text", write: (line) => lines.push(line) });
  log.with({ component: "udp" }).warn("bad frame\n\u001b[2J", { peer: "1.2.3.4:5", what: "two words" });
  expect(lines[0]).toMatch(/^\S+Z WARN {2}agent\.udp bad frame\\n\\x1b\[2J peer=1\.2\.3\.4:5 what="two words"\n$/);
});

describe("a rate limited log", () => {
  test("lets 3 lines a second through and says with the next one how many it held back", () => {
    const clock = new ManualClock();
    const recording = new RecordingLog();
    const log = rateLimited(recording, 3, clock);
    for (let i = 0; i < 100; i++) log.with({ peer: i }).warn("bad frame", { i });
    expect(recording.lines.map((line) => line.fields.i)).toEqual([0, 1, 2]);
    clock.advance(1000);
    log.warn("bad frame", { i: "later" });
    log.warn("bad frame", { i: "later still" });
    expect(recording.lines.slice(3).map((line) => line.fields)).toEqual([
      { i: "later", suppressed: 97 },
      { i: "later still" },
    ]);
  });

  test("a long silence does not save up more than one second's lines", () => {
    const clock = new ManualClock();
    const recording = new RecordingLog();
    const log = rateLimited(recording, 2, clock);
    clock.advance(3_600_000);
    for (let i = 0; i < 10; i++) log.error("x");
    expect(recording.lines).toHaveLength(2);
  });

  test("lines below the level cost no budget", () => {
    const lines: string[] = [];
    const log = rateLimited(
      createLog({ process: "dns", level: "info", format: "json", write: (line) => lines.push(line) }),
      1,
      new ManualClock(),
    );
    for (let i = 0; i < 10; i++) log.debug("no");
    log.info("yes");
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain("suppressed");
  });
});

test("the last lines leave before a process ends of an error nobody caught", async () => {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/../support/log-flood.ts`], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = (await child.stdout.text()).trimEnd().split("\n");
  expect(await child.exited).toBe(1);
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({ level: "error", message: "uncaught error, exiting" });
}, 30_000);

describe("a bounded writer", () => {
  function stuckReader(maxWaiting: number) {
    const taken: string[] = [];
    let waiting: [string, () => void][] = [];
    const writer = new BoundedWriter(
      (text, done) => waiting.push([text, done]),
      (dropped) => `${dropped} dropped\n`,
      maxWaiting,
    );
    const read = () => {
      const now = waiting;
      waiting = [];
      for (const [text, done] of now) {
        taken.push(text);
        done();
      }
    };
    return { writer, taken, read };
  }

  test("drops what exceeds its bound and says so before the next line that fits", () => {
    const { writer, taken, read } = stuckReader(10);
    for (let i = 0; i < 5; i++) writer.write(`abc${i}\n`);
    read();
    writer.write("next\n");
    read();
    expect(taken).toEqual(["abc0\n", "abc1\n", "3 dropped\n", "next\n"]);
  });

  test("tells when everything has been taken", async () => {
    const { writer, read } = stuckReader(10);
    await writer.written();
    writer.write("a\n");
    let written = false;
    const waiting = writer.written().then(() => {
      written = true;
    });
    await settle();
    expect(written).toBe(false);
    read();
    await waiting;
    expect(written).toBe(true);
  });
});

describe("whenNew", () => {
  test("passes a line on when it is new or the same as a minute ago", () => {
    const lines: string[] = [];
    let nowMs = 0;
    const say = whenNew(
      (line) => lines.push(line),
      () => nowMs,
    );
    say("down");
    say("down");
    nowMs = 59_999;
    say("down");
    nowMs = 60_000;
    say("down");
    say("up");
    say("down");
    expect(lines).toEqual(["down", "down", "up", "down"]);
  });
});
