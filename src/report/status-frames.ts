// Agents' statistics frames over TCP into the intake. Our agents' frames and C++ agents' come by the same id; which it
// is, the presence of an instance says (wire.md). A source is made to wait, by not reading from it, while the intake is
// crowded: its own buffers then hold back its totals, which cost nothing to hold.
import { isPort } from "../core/endpoint.ts";
import { MSG_REPORT_STATUS_REQUEST } from "../wire/frame.ts";
import {
  decodeReportStatusRequest,
  instanceText,
  makeReportStatusRequest,
  type ReportStatusRequest,
} from "../wire/status-codec.ts";
import type { Intake } from "./intake.ts";

export interface ReportConnection {
  pause(): void;
  resume(): void;
}

/** Offers every result of a decoded request. Returns how many were refused for want of room. */
export function offerStatus(
  intake: Intake,
  status: Readonly<ReportStatusRequest>,
  counts: { badResults: number },
): number {
  const { modid, cmdid, caller, ts, seq } = status;
  const instance = instanceText(status);
  // No agent sends so many frames, and the database cannot order by a number that is not exact.
  if (instance !== undefined && !Number.isSafeInteger(seq)) {
    counts.badResults += status.resultCount;
    return 0;
  }
  let refused = 0;
  for (let i = 0; i < status.resultCount; i++) {
    const { ip, port, succ, err, overload } = status.results[i]!;
    if (!isPort(port)) {
      counts.badResults++;
      continue;
    }
    const row = { modid, cmdid, ip, port, caller, succ, err, overload, ts };
    const taken =
      instance === undefined
        ? intake.offer({ kind: "window", row })
        : intake.offer({ kind: "total", row: { ...row, instance, seq } });
    if (!taken) refused++;
  }
  return refused;
}

export class StatusFrames<C extends ReportConnection> {
  readonly #intake: Intake;
  readonly #status = makeReportStatusRequest();
  readonly #paused = new Set<C>();
  readonly counts = { frames: 0, unknownFrames: 0, malformed: 0, badResults: 0, pauses: 0 };

  constructor(intake: Intake) {
    this.#intake = intake;
  }

  get paused(): number {
    return this.#paused.size;
  }

  onFrame(connection: C, msgid: number, body: Uint8Array): void {
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
      this.#paused.add(connection);
      connection.pause();
    }
  }

  onClose(connection: C): void {
    this.#paused.delete(connection);
  }

  /** To be called a few times a second: lets sources go on when there is room again. */
  tick(): void {
    if (this.#paused.size === 0 || this.#intake.crowded) return;
    for (const connection of this.#paused) connection.resume();
    this.#paused.clear();
  }
}
