import { describe, expect, test } from "bun:test";
import { HeldFrames } from "../../src/report/held-frames.ts";
import { StatusFrames, type StatusFramesLimits } from "../../src/report/status-frames.ts";
import { encodeReportStatusRequest, makeReportStatusRequest, reportStatusBytes } from "../../src/wire/status-codec.ts";
import { type FuzzRandom, fuzzSeed, makeFuzzRandom, propertyRuns } from "../support/fuzz-random.ts";
import { MemoryReportSpool } from "../support/memory-report-spool.ts";
import { IntakeRig, total } from "./intake-rig.ts";

interface Told {
  readonly agent: number;
  readonly seq: number;
  /** Host and its calls. */
  readonly results: readonly (readonly [number, number])[];
  /** A C++ agent's window. */
  readonly isWindow?: boolean;
}

function bodyOf({ agent, seq, results, isWindow = false }: Told): Uint8Array {
  const status = makeReportStatusRequest();
  const from = isWindow ? { ts: seq } : { ts: 5, seq, instanceLow: agent };
  Object.assign(status, { modid: 1, cmdid: 1, caller: agent, resultCount: results.length, ...from });
  for (const [ip, succ] of results) status.results.push({ ip, port: 80, succ, err: 0, overload: false });
  const bytes = new Uint8Array(reportStatusBytes(results.length));
  return bytes.slice(0, encodeReportStatusRequest(bytes, 0, status));
}

/** Hosts `from` to `to`, each with as many calls as `seq` says. */
function hosts(agent: number, from: number, to: number, seq = 1): Told {
  return { agent, seq, results: Array.from({ length: to - from + 1 }, (_, i) => [from + i, seq] as const) };
}

/** A connection as Bun's is: what one read brings is delivered whole, and an end waits behind what was not read. */
class Line {
  isReading = true;
  ended = false;
  /** In the system's buffer. */
  readonly arrived: Uint8Array[] = [];
  constructor(readonly frames: StatusFrames<Line>) {
    frames.onOpen(this);
  }
  send(): boolean {
    return true;
  }
  pause(): void {
    this.isReading = false;
  }
  resume(): void {
    this.isReading = true;
  }
  tell(...told: Told[]): this {
    this.arrived.push(...told.map(bodyOf));
    return this.read();
  }
  read(): this {
    if (!this.isReading) return this;
    for (const body of this.arrived.splice(0)) this.frames.onFrame(this, 3, body);
    if (this.ended && this.isReading) this.#close();
    return this;
  }
  /** As an agent that exits. */
  end(): void {
    this.ended = true;
    this.read();
  }
  /** As one that gives up on a service: what has arrived is read all the same. */
  reset(): void {
    for (const body of this.arrived.splice(0)) this.frames.onFrame(this, 3, body);
    this.#close();
  }
  closed = false;
  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.frames.onClose(this);
  }
}

class Rig extends IntakeRig {
  readonly frames: StatusFrames<Line>;
  readonly lines: Line[] = [];
  constructor(options: ConstructorParameters<typeof IntakeRig>[0] = {}, limits?: StatusFramesLimits) {
    super({ batchRows: 1000, ...options });
    this.frames = new StatusFrames(this.intake, () => this.clock.nowMs(), limits);
  }
  connect(): Line {
    const line = new Line(this.frames);
    this.lines.push(line);
    return line;
  }
  /** What the process does a few times a second, and the event loop after it. */
  async go(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 200) {
      await this.wait(Math.min(left, 200));
      this.frames.tick();
      for (const line of this.lines) line.read();
    }
  }
  /** "host from agent: calls" of all that is stored. */
  get stored(): string[] {
    return this.store.texts.map((text) => text.replace(/^1\.1 (\d+):80 from (\d+): (\d+)\/0$/, "$1 from $2: $3"));
  }
}

function storedOf(agent: number, from: number, to: number, calls = 1): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i} from ${agent}: ${calls}`);
}

describe("agents that tell more than there is room for", () => {
  test("of 8 rows the first 6 are taken; the rest of the frame and all behind it wait, and none is refused", async () => {
    const rig = new Rig({ maxRows: 8 });
    const agent = rig.connect().tell(hosts(1, 1, 5), hosts(1, 6, 9), hosts(1, 10, 12));
    expect([rig.intake.size, agent.isReading, rig.frames.paused]).toEqual([6, false, 1]);
    await rig.go(1000);
    expect(rig.stored.sort()).toEqual(storedOf(1, 1, 12).sort());
    expect([agent.isReading, rig.frames.paused, rig.frames.heldBytes]).toEqual([true, 0, 0]);
    expect(rig.intake.counts).toMatchObject({ offered: 12, refused: 0, stored: 12 });
    expect(rig.frames.counts).toMatchObject({ frames: 3, held: 2, pauses: 1 });
  });

  test("a frame of 1,000 rows into a queue for 100 is taken in parts as the database stores them", async () => {
    const rig = new Rig({ maxRows: 100 });
    rig.connect().tell(hosts(1, 1, 1000));
    expect(rig.intake.size).toBe(75);
    await rig.go(20_000);
    expect(rig.stored.length).toBe(1000);
    expect(rig.intake.counts).toMatchObject({ offered: 1000, refused: 0 });
  });

  test("those whose hosts all wait already are read from as ever: newer totals need no room", async () => {
    const rig = new Rig({ maxRows: 8 });
    rig.store.away();
    const first = rig.connect().tell(hosts(1, 1, 6));
    const second = rig.connect().tell(hosts(2, 1, 3));
    first.tell(hosts(1, 1, 6, 2));
    await rig.go(2000);
    first.tell(hosts(1, 1, 6, 3));
    expect([first.isReading, second.isReading, rig.frames.paused, rig.intake.size]).toEqual([true, false, 1, 6]);
    rig.store.back();
    await rig.go(5000);
    expect(rig.stored.sort()).toEqual([...storedOf(1, 1, 6, 3), ...storedOf(2, 1, 3)].sort());
  });

  test("room goes to those who have waited, the longest first, before anybody else's new hosts", async () => {
    const rig = new Rig({ maxRows: 8, batchRows: 2 });
    const release = rig.store.hold();
    rig.connect().tell(hosts(1, 1, 6));
    for (const agent of [2, 3]) rig.connect().tell(hosts(agent, 1, 3));
    release();
    await rig.wait(200);
    // Its frame comes between the storing and the tick.
    rig.connect().tell(hosts(4, 1, 1));
    expect([rig.frames.paused, rig.intake.size]).toEqual([1, 6]);
    await rig.go(1000);
    expect(rig.stored.length).toBe(13);
  });

  test("10 s of two connections not read from are 20 s paused; the longest wait is the first one's", async () => {
    const rig = new Rig({ maxRows: 8 });
    rig.store.away();
    rig.connect().tell(hosts(1, 1, 7));
    await rig.go(4000);
    rig.connect().tell(hosts(2, 1, 1));
    await rig.go(8000);
    expect([rig.frames.pausedMs, rig.frames.longestMs, rig.frames.paused]).toEqual([20_000, 12_000, 2]);
    rig.store.back();
    await rig.go(4000);
    const pausedMs = rig.frames.pausedMs;
    await rig.go(4000);
    expect([rig.frames.pausedMs, rig.frames.longestMs, rig.frames.paused]).toEqual([pausedMs, 0, 0]);
  });
});

describe("a connection that ends while it waits", () => {
  test("has told what arrived, whether it was read already or not", async () => {
    const rig = new Rig({ maxRows: 8 });
    rig.store.away();
    const [ends, resets] = [rig.connect(), rig.connect()];
    ends
      .tell(hosts(1, 1, 7), hosts(1, 8, 9))
      .tell(hosts(1, 10, 11))
      .end();
    resets
      .tell(hosts(2, 1, 2))
      .tell(hosts(2, 3, 4))
      .reset();
    expect([ends.closed, resets.closed, rig.frames.paused]).toEqual([false, true, 1]);
    await rig.go(10_000);
    rig.store.back();
    await rig.go(6000);
    expect(rig.stored.sort()).toEqual([...storedOf(1, 1, 11), ...storedOf(2, 1, 4)].sort());
    expect([ends.closed, rig.frames.paused, rig.frames.heldBytes]).toEqual([true, 0, 0]);
  });

  test("and whose agent has told newer totals or a newer window on another one changes nothing with its older ones", async () => {
    const rig = new Rig({ maxRows: 8, batchRows: 4 });
    const release = rig.store.hold();
    const told = (agent: number, ...results: [number, number][]): Told => ({ agent, seq: results[0]![1], results });
    rig.connect().tell(hosts(9, 1, 4));
    const old = rig.connect().tell(told(1, [1, 9]), { ...told(2, [1, 9]), isWindow: true });
    // Of each of the two frames the first row finds no room, so the second waits with it.
    old.tell(told(1, [5, 10], [1, 10]), { ...told(2, [5, 10], [1, 10]), isWindow: true }).reset();
    rig.connect().tell(told(1, [1, 11]), { ...told(2, [1, 11]), isWindow: true });
    release();
    await rig.go(2000);
    expect(rig.stored.filter((text) => !text.includes("from 9")).sort()).toEqual(
      ["1 from 1: 11", "1 from 2: 11", "5 from 1: 10", "5 from 2: 10"].sort(),
    );
  });
});

describe("what is kept of frames that wait", () => {
  test("beyond a bound nobody is read from, new connections neither, until half of it is gone", async () => {
    const rig = new Rig({ maxRows: 8 }, { allWaitBytes: 3000, mostBytes: 100_000 });
    rig.store.away();
    const quiet = rig.connect();
    const full = rig.connect().tell(hosts(1, 1, 6));
    for (const agent of [2, 3, 4]) rig.connect().tell(hosts(agent, 1, 2));
    const late = rig.connect().tell(hosts(5, 1, 2));
    expect([quiet, full, late].map(({ isReading }) => isReading)).toEqual([false, false, false]);
    expect([rig.frames.paused, rig.frames.counts.allPaused, rig.frames.heldBytes]).toEqual([6, 1, 3072]);
    rig.store.back();
    await rig.go(6000);
    expect([quiet, full, late].map(({ isReading }) => isReading)).toEqual([true, true, true]);
    expect([rig.stored.length, rig.frames.heldBytes, rig.frames.paused]).toEqual([14, 0, 0]);
  });

  test("what the system hands over at a reset beyond the second bound is dropped and counted, and costs no memory", () => {
    const rig = new Rig({ maxRows: 8 }, { allWaitBytes: 3000, mostBytes: 6000 });
    rig.store.away();
    rig.connect().tell(hosts(9, 1, 6));
    for (let agent = 1; agent <= 100; agent++)
      rig
        .connect()
        .tell(hosts(agent, 1, 20))
        .reset();
    expect(rig.frames.heldBytes).toBeLessThanOrEqual(7000);
    expect(rig.frames.counts.droppedFrames).toBeGreaterThan(90);
    expect([rig.frames.paused, rig.intake.counts.refused]).toEqual([1, 0]);
  });

  test("whoever is served while nobody is read from is read from with the others only", async () => {
    const rig = new Rig({ maxRows: 8, batchRows: 2 }, { allWaitBytes: 3000, mostBytes: 100_000 });
    let release = rig.store.hold();
    rig.connect().tell(hosts(1, 1, 6));
    const waiting = [2, 3, 4].map((agent) => rig.connect().tell(hosts(agent, 1, 2)));
    await rig.wait(200);
    const next = rig.store.hold();
    release();
    release = next;
    await rig.turn();
    rig.frames.tick();
    // Two rows are stored, so there is room for one agent's; two thirds of the bytes wait still.
    expect([rig.frames.heldBytes, ...waiting.map(({ isReading }) => isReading)]).toEqual([2048, false, false, false]);
    release();
    await rig.go(2000);
    expect(waiting.map(({ isReading }) => isReading)).toEqual([true, true, true]);
    expect(rig.stored.length).toBe(12);
  });

  test("a frame that is dropped leaves no place in the line behind, and nothing is left out of the next one", async () => {
    const rig = new Rig({ maxRows: 8 }, { allWaitBytes: 100_000, mostBytes: 200 });
    rig.store.away();
    const agent = rig.connect().tell(hosts(1, 1, 60), hosts(1, 1, 3, 2));
    const gone = rig.connect().tell(hosts(2, 1, 60));
    gone.reset();
    expect([rig.frames.counts.droppedFrames, rig.frames.counts.held]).toEqual([2, 1]);
    rig.store.back();
    await rig.go(5000);
    expect(rig.stored.sort()).toEqual([...storedOf(1, 1, 3, 2), ...storedOf(1, 4, 6)].sort());
    rig.store.away();
    rig
      .connect()
      .tell(hosts(3, 1, 60))
      .reset();
    await rig.go(1000);
    expect([rig.frames.longestMs, agent.isReading]).toEqual([0, true]);
  });
});

test("frames that wait come out as they went in, whatever their lengths and however they take turns", () => {
  const random = makeFuzzRandom(fuzzSeed());
  const held = new HeldFrames();
  const model: Uint8Array[] = [];
  for (let step = 0; step < propertyRuns(4000); step++) {
    if (random.int(0, 20) < (step % 400 < 200 ? 14 : 7)) {
      const body = random.bytes(random.int(0, 40) * random.int(0, 40));
      held.push(body);
      model.push(body);
    } else if (model.length > 0) {
      held.shift();
      model.shift();
    }
    expect(held.isEmpty).toBe(model.length === 0);
    if (model.length > 0) expect(held.first()).toEqual(model[0]!);
    const bytes = model.reduce((sum, { length }) => sum + length + 4, 0);
    expect(held.bytes).toBeGreaterThanOrEqual(bytes);
  }
});

describe("while agents wait", () => {
  test("POST /v1/reports has the last quarter of the room, and is refused beyond", () => {
    const rig = new Rig({ maxRows: 8 });
    rig.store.away();
    rig.connect().tell(hosts(1, 1, 9));
    expect([1, 2, 3].map((ip) => rig.intake.offer(total(ip, 1, 1, 7)))).toEqual([true, true, false]);
    expect(rig.intake.counts).toMatchObject({ offered: 9, refused: 1 });
  });

  test("a spool that is full changes nothing for them: what was told is stored when the database is back", async () => {
    const spool = new MemoryReportSpool();
    const rig = new Rig({ maxRows: 8, spool });
    rig.intake.restore();
    spool.full();
    rig.store.away();
    rig.connect().tell(hosts(1, 1, 9));
    const durable = rig.intake.durable(1000);
    await rig.go(2000);
    expect([await durable, rig.frames.paused]).toEqual([false, 1]);
    rig.store.back();
    await rig.go(5000);
    expect(rig.stored.length).toBe(9);
  });

  test("a process that ends takes all they told, read or not, into the spool", async () => {
    const spool = new MemoryReportSpool();
    const rig = new Rig({ maxRows: 8, spool });
    rig.intake.restore();
    rig.store.away();
    rig
      .connect()
      .tell(hosts(1, 1, 9))
      .tell(hosts(1, 10, 11))
      .end();
    await rig.go(1000);
    rig.frames.takeAll();
    for (const line of rig.lines) line.read();
    const left = rig.intake.stop(7000);
    await rig.wait(7000);
    expect([await left, spool.rows, rig.frames.heldBytes]).toEqual([0, 11, 0]);
  });

  test("and a process that ends takes twice its bound at most; the rest is refused and counted", () => {
    const rig = new Rig({ maxRows: 8 });
    rig.store.away();
    rig.connect().tell(hosts(1, 1, 30));
    rig.frames.takeAll();
    expect([rig.intake.size, rig.intake.counts.refused, rig.frames.paused]).toEqual([16, 14, 0]);
  });
});

/** Agents that tell, end, give up and come back, a database that goes away, and HTTP beside. */
async function history(random: FuzzRandom): Promise<void> {
  const maxRows = random.int(2, 20);
  const limits = random.pick([undefined, { allWaitBytes: 2048, mostBytes: 1 << 20 }]);
  const rig = new Rig({ maxRows, batchRows: random.int(1, 8), writers: random.int(1, 2) }, limits);
  /** What arrived: the newest calls of each agent's hosts. */
  const told = new Map<string, number>();
  const links = new Map<number, Line>();
  let release = (): void => {};
  let agents = 0;
  let seq = 0;
  const say = (agent: number): Told => {
    seq++;
    const results = Array.from({ length: random.int(0, 6) }, () => [random.int(1, 9), seq] as const);
    for (const [ip, succ] of results) told.set(`${ip} from ${agent}`, succ);
    return { agent, seq, results };
  };
  for (let step = 0; step < 120; step++) {
    const agent = links.size === 0 || random.int(0, 5) === 0 ? ++agents : random.pick([...links.keys()]);
    const line = links.get(agent) ?? rig.connect();
    links.set(agent, line);
    switch (random.int(0, 10)) {
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
        await rig.go(random.int(1, 1500));
        break;
      case 5:
        line.end();
        links.delete(agent);
        break;
      case 6: {
        // It goes on by another connection.
        line.reset();
        links.set(agent, rig.connect());
        break;
      }
      case 7: {
        const ip = random.int(1, 9);
        if (rig.intake.offer(total(ip, ++seq, seq, 900))) told.set(`${ip} from 900`, seq);
        break;
      }
      default:
        line.tell(...Array.from({ length: random.int(1, 4) }, () => say(agent)));
    }
    expect(rig.intake.size).toBeLessThanOrEqual(maxRows);
  }
  release();
  rig.store.back();
  const refused = rig.intake.counts.refused;
  await rig.go(60_000);
  expect(rig.stored.sort()).toEqual([...told].map(([host, succ]) => `${host}: ${succ}`).sort());
  // HTTP was told of each that is counted here.
  expect(rig.intake.counts.refused).toBe(refused);
  expect([rig.frames.paused, rig.frames.heldBytes, rig.frames.longestMs, rig.intake.size]).toEqual([0, 0, 0, 0]);
  expect(rig.lines.filter(({ isReading, closed }) => !isReading && !closed)).toEqual([]);
  expect(rig.frames.counts).toMatchObject({ droppedFrames: 0, malformed: 0 });
}

test("100 random histories: all that agents told before they ended is stored, and the queue is never over its bound", async () => {
  for (let run = 0; run < propertyRuns(100); run++) {
    const seed = fuzzSeed() + run;
    try {
      await history(makeFuzzRandom(seed));
    } catch (error) {
      throw new Error(`history with LARS_FUZZ_SEED=${seed}`, { cause: error });
    }
  }
});
