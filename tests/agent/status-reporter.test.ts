import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { StatusReporter } from "../../src/agent/status-reporter.ts";
import { CallStatistics, StatisticsReader } from "../../src/core/call-statistics.ts";
import { advanceCursor, type CallCursor } from "../../src/core/call-totals.ts";
import { MSG_REPORT_STATUS_REQUEST } from "../../src/wire/frame.ts";
import {
  decodeReportStatusRequest,
  instanceText,
  MAX_RESULTS_PER_FRAME,
  makeReportStatusRequest,
} from "../../src/wire/status-codec.ts";
import { FakeTcpClient, type SentFrame } from "./fake-tcp-client.ts";

const CALLER = 0x0a00_0001;

function decode({ msgid, body }: SentFrame) {
  expect(msgid).toBe(MSG_REPORT_STATUS_REQUEST);
  const status = makeReportStatusRequest();
  expect(decodeReportStatusRequest(body, 0, body.length, status)).toBe(true);
  return { ...status, results: status.results.slice(0, status.resultCount) };
}

class Rig {
  nowMs = 1000;
  readonly client = new FakeTcpClient();
  readonly reader = new StatisticsReader();
  readonly statistics = new CallStatistics(50_000, (block) => this.reader.addBlock(block));
  readonly reporter: StatusReporter;

  constructor(open = true) {
    this.reporter = new StatusReporter({
      statistics: () => [this.reader],
      caller: CALLER,
      instance: { high: 7, low: 9 },
      resendIntervalMs: () => 30_000,
      nowMs: () => this.nowMs,
      wallMs: () => 1_700_000_000_999,
    });
    this.reporter.attach(this.client);
    if (open) this.reporter.onOpen();
  }
  count(ip: number, succeeded = true, modid = 1): this {
    this.statistics.count(this.statistics.open(modid, 1, ip, 80), succeeded, false);
    return this;
  }
  wait(ms: number): this {
    this.nowMs += ms;
    this.reporter.flush();
    return this;
  }
  /** "1.1: 9=2/0" for each frame since the last call. */
  sent(): string[] {
    return this.client.frames().map((frame) => {
      const { modid, cmdid, results } = decode(frame);
      return `${modid}.${cmdid}: ${results.map(({ ip, succ, err }) => `${ip}=${succ}/${err}`).join(" ")}`;
    });
  }
}

describe("totals", () => {
  test("are sent when they moved, by module, with instance, caller, time and a growing number", () => {
    const rig = new Rig().count(8).count(9, false).count(7, true, 2).wait(1000);
    const [first, second] = rig.client.frames().map(decode);
    expect(first).toMatchObject({ modid: 1, cmdid: 1, caller: CALLER, ts: 1_700_000_000, seq: 1 });
    expect(instanceText(first!)).toBe("0000000700000009");
    expect(first!.results).toEqual([
      { ip: 8, port: 80, succ: 1, err: 0, overload: false },
      { ip: 9, port: 80, succ: 0, err: 1, overload: false },
    ]);
    expect(second).toMatchObject({ modid: 2, seq: 2 });
    expect(rig.wait(1000).sent()).toEqual([]);
    expect(rig.count(8).wait(1000).sent()).toEqual(["1.1: 8=2/0"]);
  });

  test("are all sent again every resend_interval, moved or not", () => {
    const rig = new Rig().count(8).wait(1000);
    expect(rig.sent()).toEqual(["1.1: 8=1/0"]);
    expect(rig.wait(28_999).sent()).toEqual([]);
    expect(rig.wait(1).sent()).toEqual(["1.1: 8=1/0"]);
  });

  test("are all sent again on a new connection, with what was counted while there was none", () => {
    const rig = new Rig().count(8).count(9).wait(1000);
    rig.sent();
    rig.reporter.onClose();
    rig.count(8).wait(1000);
    expect(rig.sent()).toEqual([]);
    rig.reporter.onOpen();
    expect(rig.sent()).toEqual(["1.1: 8=2/0 9=1/0"]);
  });

  test("of a module with more hosts than a frame holds go in several frames", () => {
    const rig = new Rig();
    const hosts = MAX_RESULTS_PER_FRAME + 5;
    for (let i = 0; i < hosts; i++) rig.count(i);
    const frames = rig.wait(1000).client.frames().map(decode);
    expect(frames.map(({ resultCount }) => resultCount)).toEqual([MAX_RESULTS_PER_FRAME, 5]);
    expect(new Set(frames.flatMap(({ results }) => results.map(({ ip }) => ip))).size).toBe(hosts);
    expect(rig.reporter.counts).toMatchObject({ frames: 2, results: hosts });
  });
});

describe("a connection that takes no more", () => {
  test("gets the rest when it drains, as it is then", () => {
    const rig = new Rig();
    rig.client.room = 1;
    rig.count(8).count(7, true, 2).wait(1000);
    expect(rig.sent()).toEqual(["1.1: 8=1/0"]);
    rig.client.room = 0;
    rig.count(7, true, 2).count(5, true, 2).wait(1000);
    expect(rig.sent()).toEqual([]);
    rig.client.room = Number.POSITIVE_INFINITY;
    rig.reporter.onDrain();
    expect(rig.sent().sort()).toEqual(["1.1: 8=1/0", "2.1: 7=2/0 5=1/0"]);
    rig.reporter.onDrain();
    expect(rig.sent()).toEqual([]);
  });
});

test("whatever is refused, lost with its connection or repeated, the receiver ends with what was counted", () => {
  const step = fc.record({
    ip: fc.nat(3),
    modid: fc.nat(2),
    ok: fc.boolean(),
    what: fc.constantFrom("count", "count", "count", "flush", "full", "drain", "lose", "close"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const rig = new Rig();
      const counted = new Map<string, { succ: number; err: number }>();
      const received = new Map<string, { cursor: CallCursor; succ: number; err: number }>();
      const receive = (): void => {
        for (const frame of rig.client.frames()) {
          const { modid, seq, results } = decode(frame);
          for (const { ip, succ, err } of results) {
            const held = received.get(`${modid} ${ip}`);
            const added = advanceCursor(held?.cursor, { seq, succ, err });
            if (added === undefined) throw new Error("a frame with an old number was sent");
            received.set(`${modid} ${ip}`, {
              cursor: { seq, succ, err },
              succ: (held?.succ ?? 0) + added.succ,
              err: (held?.err ?? 0) + added.err,
            });
          }
        }
      };
      const reopen = (): void => {
        rig.reporter.onClose();
        rig.client.room = Number.POSITIVE_INFINITY;
        rig.reporter.onOpen();
      };
      for (const { ip, modid, ok, what } of steps) {
        if (what === "count") {
          rig.count(ip, ok, modid);
          const counts = counted.get(`${modid} ${ip}`) ?? { succ: 0, err: 0 };
          counts[ok ? "succ" : "err"]++;
          counted.set(`${modid} ${ip}`, counts);
        } else if (what === "flush") rig.wait(1000);
        else if (what === "full") rig.client.room = ip;
        else if (what === "drain") {
          rig.client.room = Number.POSITIVE_INFINITY;
          rig.reporter.onDrain();
        } else {
          // Frames under way when a connection breaks may be lost.
          if (what === "lose") rig.client.frames();
          reopen();
        }
        if (what !== "flush" && what !== "count") receive();
      }
      reopen();
      receive();
      const ended = new Map([...received].map(([key, { succ, err }]) => [key, { succ, err }]));
      expect(ended).toEqual(counted);
    }),
    { seed: 10, numRuns: 200 },
  );
});

describe("a service that hangs", () => {
  /** Ticks as the agent does; answers pings as long as `answering`. */
  function pass(rig: Rig, ms: number, answering: boolean): void {
    for (const endMs = rig.nowMs + ms; rig.nowMs < endMs; ) {
      rig.nowMs += 250;
      rig.reporter.tick();
      const pings = rig.client.frames().filter(({ msgid }) => msgid === 65);
      if (answering && pings.length > 0) rig.reporter.onFrame(66);
    }
  }

  test("is pinged every 3 s, and left when it has not answered for 12 s", () => {
    const rig = new Rig();
    pass(rig, 60_000, true);
    expect(rig.client.reconnects).toEqual([]);
    pass(rig, 9_000, false);
    expect(rig.client.reconnects).toEqual([]);
    pass(rig, 6_000, false);
    expect(rig.client.reconnects[0]).toStartWith("no answer for 12");
    expect(rig.reporter.counts.silences).toBeGreaterThan(0);
  });

  test("is not told from a C++ server while no server ever answered a ping", () => {
    const rig = new Rig();
    pass(rig, 600_000, false);
    expect(rig.client.reconnects).toEqual([]);
  });

  test("and answers none from the start is left, once another one had answered", () => {
    const rig = new Rig();
    pass(rig, 10_000, true);
    rig.reporter.onClose();
    rig.reporter.onOpen();
    pass(rig, 12_000, false);
    expect(rig.client.reconnects).toEqual([]);
    pass(rig, 250, false);
    expect(rig.client.reconnects).toHaveLength(1);
  });
});
