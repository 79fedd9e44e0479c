// Agents' statistics frames over TCP into the intake. Our agents' frames and C++ agents' come by the same id; which it
// is, the presence of an instance says (wire.md). A source is made to wait, by not reading from it, while the intake is
// crowded: its own buffers then hold back its totals, which cost nothing to hold.
import { isPort } from "../core/endpoint.ts";
import { HEADER_BYTES, MSG_PING, MSG_PONG, MSG_REPORT_STATUS_REQUEST, writeHeader } from "../wire/frame.ts";
import { decodeReportStatusRequest, makeReportStatusRequest, type ReportStatusRequest } from "../wire/status-codec.ts";
import type { Intake } from "./intake.ts";
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

/** Offers every result of a decoded request. Returns how many were refused for want of room. */
export function offerStatus(
  intake: Intake,
  status: Readonly<ReportStatusRequest>,
  counts: { badResults: number },
): number {
  const { seq } = status;
  const hasInstance = status.instanceHigh !== 0 || status.instanceLow !== 0;
  // No agent sends so many frames, and the database cannot order by a number that is not exact.
  if (hasInstance && !Number.isSafeInteger(seq)) {
    counts.badResults += status.resultCount;
    return 0;
  }
  row.modid = status.modid;
  row.cmdid = status.cmdid;
  row.caller = status.caller;
  row.ts = status.ts;
  row.instanceHigh = status.instanceHigh;
  row.instanceLow = status.instanceLow;
  row.seq = hasInstance ? seq : 0;
  let refused = 0;
  for (let i = 0; i < status.resultCount; i++) {
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
    if (!intake.offer(row)) refused++;
  }
  return refused;
}

export class StatusFrames<C extends ReportConnection> {
  readonly #intake: Intake;
  readonly #nowMs: () => number;
  readonly #status = makeReportStatusRequest();
  /** With the time since. */
  readonly #paused = new Map<C, number>();
  #pausedMs = 0;
  readonly counts = { frames: 0, pings: 0, unknownFrames: 0, malformed: 0, badResults: 0, pauses: 0 };

  /** `nowMs`: monotonic. */
  constructor(intake: Intake, nowMs: () => number) {
    this.#intake = intake;
    this.#nowMs = nowMs;
  }

  get paused(): number {
    return this.#paused.size;
  }

  /** Milliseconds for which connections were not read from, of all connections together. */
  get pausedMs(): number {
    const nowMs = this.#nowMs();
    let total = this.#pausedMs;
    for (const sinceMs of this.#paused.values()) total += nowMs - sinceMs;
    return total;
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
    if (!decodeReportStatusRequest(body, 0, body.length, this.#status)) {
      this.counts.malformed++;
      return;
    }
    this.counts.frames++;
    offerStatus(this.#intake, this.#status, this.counts);
    if (this.#intake.crowded && !this.#paused.has(connection)) {
      this.counts.pauses++;
      this.#paused.set(connection, this.#nowMs());
      connection.pause();
    }
  }

  onClose(connection: C): void {
    const sinceMs = this.#paused.get(connection);
    if (sinceMs === undefined) return;
    this.#pausedMs += this.#nowMs() - sinceMs;
    this.#paused.delete(connection);
  }

  /** To be called a few times a second: lets sources go on when there is room again. */
  tick(): void {
    if (this.#paused.size === 0 || this.#intake.crowded) return;
    this.#pausedMs = this.pausedMs;
    for (const connection of this.#paused.keys()) connection.resume();
    this.#paused.clear();
  }
}
