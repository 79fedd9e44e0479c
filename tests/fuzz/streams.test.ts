// Random and mutated bytes at the TCP ports of dns and report, while an agent with a caller beside works as always.
// LARS_FUZZ_COUNT says how many frames go to each (default 25,000, under test:all 100,000), LARS_FUZZ_SEED which.
//
// A connection is given some frames, cut into chunks anywhere, and kept until everything it was given is accounted for:
// what is whole is a frame of its kind, and what cannot be a frame ends this connection and no other.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { decodeGetRouteRequest, makeGetRouteRequest } from "../../src/wire/route-codec.ts";
import { decodeReportStatusRequest, makeReportStatusRequest } from "../../src/wire/status-codec.ts";
import { eventually } from "../support/eventually.ts";
import { type FuzzRandom, fuzzSeed, makeFuzzRandom, processFuzzCount } from "../support/fuzz-random.ts";
import { type Lars, type LarsProcess, startLars } from "../support/lars-processes.ts";
import { getRoute, mutate, status } from "./frames.ts";
import { Witness } from "./witness.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const SEED = fuzzSeed();
const COUNT = processFuzzCount();
const MAY_GROW_BYTES = 160 * 1_048_576;
/** As long as no mutation gives a length that cannot be, so many are sent by one connection. */
const FRAMES_A_CONNECTION = 200;
const CONNECTIONS_AT_ONCE = 16;

let lars: Lars;

beforeAll(async () => {
  lars = await startLars();
}, 30_000);
afterAll(() => lars.stop());

class RawConnection {
  readonly closed: Promise<void>;
  isClosed = false;

  private constructor(private readonly socket: Socket) {
    // Answers are read, or the server would stop to write them.
    socket.resume();
    // Closed by the other side in the middle of a write: what the fuzz is about.
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.isClosed = true;
        resolve();
      });
    });
  }

  static async open(port: number): Promise<RawConnection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new RawConnection(socket);
  }

  /** Resolves when the kernel has the bytes or the connection is closed. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.isClosed) return;
    const written = new Promise<void>((resolve) => this.socket.write(bytes, () => resolve()));
    await Promise.race([written, this.closed]);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** What is sent over one connection. */
interface Script {
  readonly bytes: Uint8Array;
  /** Frames in it, as a plain reader of the whole stream sees them: those before the first impossible length. */
  readonly frames: readonly { readonly msgid: number; readonly body: Uint8Array }[];
  readonly broken: boolean;
}

function makeScript(parts: readonly Uint8Array[]): Script {
  const bytes = new Uint8Array(Buffer.concat(parts));
  const view = new DataView(bytes.buffer);
  const frames: { msgid: number; body: Uint8Array }[] = [];
  for (let at = 0; bytes.length - at >= 8; ) {
    const length = view.getInt32(at + 4, true);
    if (length < 0 || length > 65_527) return { bytes, frames, broken: true };
    if (bytes.length - at - 8 < length) break;
    frames.push({ msgid: view.getInt32(at, true), body: bytes.subarray(at + 8, at + 8 + length) });
    at += 8 + length;
  }
  return { bytes, frames, broken: false };
}

interface Target {
  readonly process: LarsProcess;
  readonly validFrame: (random: FuzzRandom) => Uint8Array;
  /** Which counter of the process a frame adds to. */
  readonly countedAs: (msgid: number, body: Uint8Array) => string | undefined;
  /** Sample names of those counters. */
  readonly counters: Readonly<Record<string, string>>;
  /** How the real agent counts the frames that it sends here, and which counters they add to. */
  readonly ofAgent: readonly { readonly sample: string; readonly countedAs: readonly string[] }[];
}

async function run(random: FuzzRandom, { bytes, broken }: Script, port: number): Promise<RawConnection> {
  const connection = await RawConnection.open(port);
  for (let at = 0; at < bytes.length && !connection.isClosed; ) {
    const size = random.int(0, 3) === 0 ? random.int(1, 16) : random.int(1, 8192);
    await connection.write(bytes.subarray(at, at + size));
    at += size;
  }
  if (broken) await connection.closed;
  return connection;
}

/** Samples of all counters, without what the real agent sent meanwhile. */
async function readCounters({ process: server, counters, ofAgent }: Target): Promise<Record<string, number>> {
  const agent = await lars.agent[0]!.metrics();
  const samples = await server.metrics();
  return Object.fromEntries(
    Object.entries(counters).map(([name, sample]) => {
      const own = ofAgent.filter(({ countedAs }) => countedAs.includes(name));
      return [name, own.reduce((value, { sample: sent }) => value - agent.get(sent)!, samples.get(sample)!)];
    }),
  );
}

async function bombard(target: Target): Promise<string> {
  const { process: server } = target;
  const random = makeFuzzRandom(SEED);
  const wanted = await readCounters(target);
  const before = { ...wanted };
  const startedAtMs = performance.now();
  let connections = 0;
  for (let sent = 0; sent < COUNT; ) {
    const scripts: Script[] = [];
    for (let i = 0; i < CONNECTIONS_AT_ONCE && sent < COUNT; i++) {
      // Most connections are mostly sound, or nearly every one would end at its first frames.
      const wrongOneIn = random.pick([1, 10, 100, 1000]);
      const parts = Array.from({ length: FRAMES_A_CONNECTION }, () => {
        const frame = target.validFrame(random);
        return random.int(1, wrongOneIn) === 1 ? mutate(random, frame, target.validFrame(random)) : frame;
      });
      sent += parts.length;
      scripts.push(makeScript(parts));
    }
    const open = await Promise.all(scripts.map((script) => run(random, script, server.ports.tcp)));
    connections += open.length;
    for (const { frames, broken } of scripts) {
      if (broken) wanted.protocolErrors!++;
      wanted.framesIn! += frames.length;
      for (const { msgid, body } of frames) {
        const counter = target.countedAs(msgid, body);
        if (counter !== undefined) wanted[counter]!++;
      }
    }
    // Closing before everything was read would throw bytes away on both sides.
    await eventually(async () => expect(await readCounters(target)).toEqual(wanted), { intervalMs: 5 });
    for (const connection of open) connection.destroy();
  }
  // The real agent's connection is the only one left.
  const agents = `lars_${server.name}_agents`;
  await eventually(async () => expect((await server.metrics()).get(agents)).toBe(1));
  const grown = Object.entries(wanted).map(([name, value]) => [name, value - before[name]!]);
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  return `${connections} connections, ${JSON.stringify(Object.fromEntries(grown))} in ${seconds} s`;
}

async function harmsNobody(target: Target): Promise<void> {
  const witness = await Witness.begin(lars);
  const measured = await bombard(target);
  await witness.stop();
  const checked = await witness.check(MAY_GROW_BYTES);
  if (COUNT > 100_000) process.stderr.write(`${target.process.name}: ${measured}; ${checked}\n`);
}

test(
  `${COUNT} random and mutated frames at the dns service harm nobody, and each is accounted for (seed ${SEED})`,
  async () => {
    await harmsNobody({
      process: lars.dns[0]!,
      validFrame: (random) => {
        const modid = random.int(0, 9) > 0 ? random.int(1, 100) : random.int(-0x8000_0000, 0x7fff_ffff);
        return getRoute(modid, random.int(0, 2), random.int(0, 9) === 0 ? 64 : 1);
      },
      countedAs: (msgid, body) => {
        if (msgid !== 1 && msgid !== 64) return "unknownFrames";
        if (!decodeGetRouteRequest(body, 0, body.length, makeGetRouteRequest())) return "malformed";
        return msgid === 1 ? "requests" : undefined;
      },
      counters: {
        framesIn: 'lars_dns_tcp_events_total{event="framesIn"}',
        protocolErrors: 'lars_dns_tcp_events_total{event="protocolErrors"}',
        requests: 'lars_dns_push_events_total{event="requests"}',
        malformed: 'lars_dns_push_events_total{event="malformed"}',
        unknownFrames: 'lars_dns_push_events_total{event="unknownFrames"}',
      },
      ofAgent: [{ sample: 'lars_agent_route_source_events_total{event="asked"}', countedAs: ["framesIn", "requests"] }],
    });
  },
  60_000 + COUNT,
);

test(
  `${COUNT} random and mutated frames at the report service harm nobody, and each is accounted for (seed ${SEED})`,
  async () => {
    await harmsNobody({
      process: lars.report[0]!,
      validFrame: (random) => status(random, random.int(1, 50), random.int(0, 1) === 0 ? 0 : random.int(1, 20)),
      countedAs: (msgid, body) => {
        if (msgid === 65) return "pings";
        if (msgid !== 3) return "unknownFrames";
        return decodeReportStatusRequest(body, 0, body.length, makeReportStatusRequest()) ? "frames" : "malformed";
      },
      counters: {
        framesIn: 'lars_report_tcp_events_total{event="framesIn"}',
        protocolErrors: 'lars_report_tcp_events_total{event="protocolErrors"}',
        frames: 'lars_report_frame_events_total{event="frames"}',
        malformed: 'lars_report_frame_events_total{event="malformed"}',
        unknownFrames: 'lars_report_frame_events_total{event="unknownFrames"}',
        pings: 'lars_report_frame_events_total{event="pings"}',
      },
      ofAgent: [
        { sample: 'lars_agent_status_reporter_events_total{event="frames"}', countedAs: ["framesIn", "frames"] },
        { sample: 'lars_agent_status_reporter_events_total{event="pings"}', countedAs: ["framesIn", "pings"] },
      ],
    });
  },
  60_000 + COUNT,
);
