// Agents' statistics frames over TCP into the intake. Our agents' frames and C++ agents' come by the same id; which it
// is, the presence of an instance says (wire.md).
//
// Nothing answers a frame, so none may be refused: its agent would believe it was taken, and if it ended before it sent
// its totals again they would be lost. A frame that brings a new key while there is no room stays here, at the result it
// has come to, and its connection is not read from; what was read already stands in line behind it. The rest waits in
// buffers of the system, ours and the agent's. Rows that replace one that waits need no room, so agents whose keys
// all wait are read from as ever. The line is served in order and before anybody else's new keys.
//
// What is kept here is bounded. A read brings up to half a megabyte, and thousands of connections may each have one
// under way: beyond a bound all connections wait, new ones from the start. When a connection is reset the system hands
// over all that had arrived; what is beyond a second bound then is dropped and counted. An agent that is alive connects
// again and sends all its totals; that of an ended one goes on waiting here.
import { isPort } from "../core/endpoint.ts";
import { HEADER_BYTES, MSG_PING, MSG_PONG, MSG_REPORT_STATUS_REQUEST, writeHeader } from "../wire/frame.ts";
import { decodeReportStatusRequest, makeReportStatusRequest, type ReportStatusRequest } from "../wire/status-codec.ts";
import { HeldFrames } from "./held-frames.ts";
import type { Intake, WhenFull } from "./intake.ts";
import type { OfferedRow } from "./waiting-rows.ts";

export interface ReportConnection {
  send(bytes: Uint8Array): boolean;
  pause(): void;
  resume(): void;
}

const PONG = new Uint8Array(HEADER_BYTES);
writeHeader(PONG, 0, MSG_PONG, 0);

/** Filled for every result: the intake copies what it needs. */
const row: OfferedRow = {
  modid: 0,
  cmdid: 0,
  ip: 0,
  port: 0,
  caller: 0,
  succ: 0,
  err: 0,
  overload: false,
  ts: 0,
  instanceHigh: 0,
  instanceLow: 0,
  seq: 0,
};

/** Bytes of frames kept: from here on nobody is read from until half of it is gone; and beyond this no more are kept. */
const ALL_WAIT_BYTES = 8 * 1_048_576;
const MOST_BYTES = 4 * ALL_WAIT_BYTES;

/**
 * Offers the results from the one at `from` on. `isLate`: they have waited, and others of their agent may have come since.
 * Returns the place of the first that is to wait; -1: none is.
 */
function offerStatus(
  intake: Intake,
  status: Readonly<ReportStatusRequest>,
  from: number,
  whenFull: WhenFull,
  isLate: boolean,
  counts: { badResults: number },
): number {
  const { seq } = status;
  const hasInstance = status.instanceHigh !== 0 || status.instanceLow !== 0;
  // No agent sends so many frames, and the database cannot order by a number that is not exact.
  if (hasInstance && !Number.isSafeInteger(seq)) {
    counts.badResults += status.resultCount;
    return -1;
  }
  row.modid = status.modid;
  row.cmdid = status.cmdid;
  row.caller = status.caller;
  row.ts = status.ts;
  row.instanceHigh = status.instanceHigh;
  row.instanceLow = status.instanceLow;
  row.seq = hasInstance ? seq : 0;
  for (let i = from; i < status.resultCount; i++) {
    const result = status.results[i]!;
    if (!isPort(result.port)) {
      counts.badResults++;
      continue;
    }
    row.ip = result.ip;
    row.port = result.port;
    row.succ = result.succ;
    row.err = result.err;
    row.overload = result.overload;
    if (!intake.offer(row, whenFull, isLate) && whenFull === "wait") return i;
  }
  return -1;
}

/** A place in the line. */
interface Waiting {
  readonly frames: HeldFrames;
  readonly sinceMs: number;
  /** Its connection is gone. */
  closed: boolean;
}

export interface StatusFramesLimits {
  /** Bytes of frames that wait, from which on no connection is read from. */
  readonly allWaitBytes: number;
  /** Beyond this, frames are dropped. */
  readonly mostBytes: number;
}

export class StatusFrames<C extends ReportConnection> {
  readonly #intake: Intake;
  readonly #nowMs: () => number;
  readonly #limits: StatusFramesLimits;
  readonly #status = makeReportStatusRequest();
  readonly #open = new Set<C>();
  /** Who waits for room, the longest first. */
  readonly #line = new Map<C, Waiting>();
  /** Of those in line, connections that are open. */
  #openInLine = 0;
  #heldBytes = 0;
  /** No connection at all is read from. */
  #allWait = false;
  #whenFull: WhenFull = "wait";
  /** Up to the time beside it. */
  #pausedMs = 0;
  #pausedAtMs = 0;
  readonly counts = {
    frames: 0,
    pings: 0,
    unknownFrames: 0,
    malformed: 0,
    badResults: 0,
    pauses: 0,
    held: 0,
    allPaused: 0,
    droppedFrames: 0,
  };

  /** `nowMs`: monotonic. */
  constructor(
    intake: Intake,
    nowMs: () => number,
    limits: StatusFramesLimits = { allWaitBytes: ALL_WAIT_BYTES, mostBytes: MOST_BYTES },
  ) {
    this.#intake = intake;
    this.#nowMs = nowMs;
    this.#limits = limits;
  }

  /** Connections that are not read from. */
  get paused(): number {
    return this.#allWait ? this.#open.size : this.#openInLine;
  }

  /** How long the one that waits longest has waited, in milliseconds; 0: none waits. */
  get longestMs(): number {
    for (const { sinceMs } of this.#line.values()) return this.#nowMs() - sinceMs;
    return 0;
  }

  /** Memory of frames that wait for room. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Milliseconds for which connections were not read from, of all connections together. */
  get pausedMs(): number {
    return this.#pausedMs + this.paused * (this.#nowMs() - this.#pausedAtMs);
  }

  onOpen(connection: C): void {
    this.#addUpPauses();
    this.#open.add(connection);
    if (this.#allWait) connection.pause();
  }

  onFrame(connection: C, msgid: number, body: Uint8Array): void {
    if (msgid === MSG_PING) {
      this.counts.pings++;
      connection.send(PONG);
      return;
    }
    if (msgid !== MSG_REPORT_STATUS_REQUEST) {
      this.counts.unknownFrames++;
      return;
    }
    // Whoever came first has the room that there is now.
    if (this.#line.size > 0 && !this.#intake.crowded) this.#serve();
    if (!decodeReportStatusRequest(body, 0, body.length, this.#status)) {
      this.counts.malformed++;
      return;
    }
    const waiting = this.#line.get(connection);
    if (waiting === undefined) {
      const at = this.#offer(0, false);
      if (at >= 0) this.#hold(this.#join(connection, at), body);
      else this.counts.frames++;
    } else {
      this.#hold(waiting, body);
    }
  }

  onClose(connection: C): void {
    this.#addUpPauses();
    this.#open.delete(connection);
    const waiting = this.#line.get(connection);
    if (waiting === undefined) return;
    if (waiting.frames.isEmpty) {
      this.#leave(connection, waiting);
      return;
    }
    waiting.closed = true;
    this.#openInLine--;
  }

  /** To be called a few times a second: lets sources go on when there is room again. */
  tick(): void {
    if (this.#line.size > 0 && !this.#intake.crowded) this.#serve();
  }

  /** For the end of the process: all that waits is taken, all is read, and nobody waits any more. */
  takeAll(): void {
    this.#whenFull = "take";
    this.#serve();
  }

  #offer(from: number, isLate: boolean): number {
    return offerStatus(this.#intake, this.#status, from, this.#whenFull, isLate, this.counts);
  }

  /** A place at the end of the line, for a frame of which `taken` results are taken. */
  #join(connection: C, taken: number): Waiting {
    const waiting: Waiting = { frames: new HeldFrames(), sinceMs: this.#nowMs(), closed: false };
    waiting.frames.taken = taken;
    this.#addUpPauses();
    this.#line.set(connection, waiting);
    this.#openInLine++;
    this.counts.pauses++;
    connection.pause();
    return waiting;
  }

  #hold({ frames }: Waiting, body: Uint8Array): void {
    if (this.#heldBytes + body.length > this.#limits.mostBytes) {
      if (frames.isEmpty) frames.taken = 0;
      this.counts.droppedFrames++;
      return;
    }
    const before = frames.bytes;
    frames.push(body);
    this.#heldBytes += frames.bytes - before;
    this.counts.held++;
    if (this.#heldBytes >= this.#limits.allWaitBytes) this.#pauseAll();
  }

  #pauseAll(): void {
    if (this.#allWait) return;
    this.#addUpPauses();
    this.#allWait = true;
    this.counts.allPaused++;
    for (const connection of this.#open) if (!this.#line.has(connection)) connection.pause();
  }

  #resumeAll(): void {
    this.#addUpPauses();
    this.#allWait = false;
    for (const connection of this.#open) if (!this.#line.has(connection)) connection.resume();
  }

  /** Lets those in line offer what they hold, the first first, while there is room. */
  #serve(): void {
    for (const [connection, waiting] of this.#line) {
      if (!this.#deliver(waiting)) break;
      this.#leave(connection, waiting);
      if (!waiting.closed && !this.#allWait) connection.resume();
    }
    if (this.#allWait && this.#heldBytes <= this.#limits.allWaitBytes / 2) this.#resumeAll();
  }

  /** True: it has nothing left. */
  #deliver({ frames }: Waiting): boolean {
    for (; !frames.isEmpty; frames.shift()) {
      const body = frames.first();
      decodeReportStatusRequest(body, 0, body.length, this.#status);
      const at = this.#offer(frames.taken, true);
      if (at >= 0) {
        frames.taken = at;
        return false;
      }
      this.counts.frames++;
    }
    return true;
  }

  #leave(connection: C, waiting: Waiting): void {
    this.#addUpPauses();
    this.#line.delete(connection);
    this.#heldBytes -= waiting.frames.bytes;
    if (!waiting.closed) this.#openInLine--;
  }

  /** To be called before `paused` changes. */
  #addUpPauses(): void {
    const nowMs = this.#nowMs();
    this.#pausedMs += this.paused * (nowMs - this.#pausedAtMs);
    this.#pausedAtMs = nowMs;
  }
}
