import { describe, expect, test } from "bun:test";
import { StatusFrames } from "../../src/report/status-frames.ts";
import { encodeReportStatusRequest, makeReportStatusRequest, reportStatusBytes } from "../../src/wire/status-codec.ts";
import { IntakeRig } from "./intake-rig.ts";

class FakeConnection {
  reading = true;
  readonly sent: number[][] = [];
  send(bytes: Uint8Array): boolean {
    this.sent.push([...bytes]);
    return true;
  }
  pause(): void {
    this.reading = false;
  }
  resume(): void {
    this.reading = true;
  }
}

interface FrameOptions {
  readonly instance?: number;
  readonly seq?: number;
  readonly ports?: readonly number[];
}

function body(ips: readonly number[], { instance = 0, seq = 0, ports = [] }: FrameOptions = {}): Uint8Array {
  const status = makeReportStatusRequest();
  Object.assign(status, { modid: 1, cmdid: 1, caller: 7, ts: 5, instanceLow: instance, seq, resultCount: ips.length });
  for (const [i, ip] of ips.entries()) {
    status.results.push({ ip, port: ports[i] ?? 80, succ: 3, err: 1, overload: false });
  }
  const bytes = new Uint8Array(reportStatusBytes(ips.length));
  return bytes.subarray(0, encodeReportStatusRequest(bytes, 0, status));
}

class Rig extends IntakeRig {
  readonly frames = new StatusFrames<FakeConnection>(this.intake, () => this.clock.nowMs());
  send(bytes: Uint8Array, connection = new FakeConnection(), msgid = 3): FakeConnection {
    this.frames.onFrame(connection, msgid, bytes);
    return connection;
  }
}

describe("a frame", () => {
  test("with an instance carries totals that add up; one without, a C++ agent's, overwrites", async () => {
    const rig = new Rig();
    rig.send(body([8], { instance: 5, seq: 1 }));
    rig.send(body([9]));
    await rig.wait(200);
    rig.send(body([8], { instance: 6, seq: 1 }));
    rig.send(body([9]));
    await rig.wait(200);
    expect(rig.store.texts).toEqual(["1.1 8:80 from 7: 6/2", "1.1 9:80 from 7: 3/1"]);
    expect(rig.frames.counts).toMatchObject({ frames: 4, malformed: 0, badResults: 0 });
  });

  test("of another id, or malformed, is counted and changes nothing; an empty one is a frame of no results", () => {
    const rig = new Rig();
    rig.send(body([8]), undefined, 9);
    rig.send(new Uint8Array([0x08]));
    rig.send(body([8]).subarray(0, -1));
    rig.send(new Uint8Array(0));
    expect(rig.frames.counts).toMatchObject({ unknownFrames: 1, malformed: 2, frames: 1 });
    expect(rig.intake.size).toBe(0);
  });

  test("results with a port that is none are left out and counted, the others are taken", () => {
    const rig = new Rig();
    rig.send(body([1, 2, 3, 4], { ports: [0, 80, -1, 65536] }));
    expect([rig.intake.size, rig.frames.counts.badResults]).toEqual([1, 3]);
  });

  test("with a number that is not exact (2^53 and up) is left out: no database could order by it", () => {
    const rig = new Rig();
    const status = new Uint8Array([...body([1, 2], { instance: 5 }), 0x88, 0x01, ...new Array(9).fill(0xff), 0x01]);
    rig.send(status);
    expect([rig.intake.size, rig.frames.counts.badResults]).toEqual([0, 2]);
    rig.send(body([1, 2], { instance: 5, seq: Number.MAX_SAFE_INTEGER }));
    expect(rig.intake.size).toBe(2);
  });
});

test("a ping is answered with a pong and nothing else comes of it", () => {
  const rig = new Rig();
  const connection = rig.send(new Uint8Array(0), new FakeConnection(), 65);
  expect(connection.sent).toEqual([[66, 0, 0, 0, 0, 0, 0, 0]]);
  expect(rig.frames.counts).toMatchObject({ frames: 0, unknownFrames: 0, malformed: 0 });
});
