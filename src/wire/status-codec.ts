// ReportStatusRequest: how the hosts of one module did, from agent to report service, once a second and module.
//
// `instance` is a random uint64. It is never calculated with, only compared and stored, so it stays two 32-bit halves:
// a bigint would be allocated per frame. `seq` counts frames and stays below 2^53, so it is a plain number. An instance
// of 0 means the frame came from a C++ agent, whose counts are its current window and not totals.
import { MAX_BODY_BYTES } from "./frame.ts";
import { ProtoReader } from "./proto-reader.ts";
import { MAX_VARINT_BYTES, putInt32, putUint53, putUint64, putVarint } from "./proto-writer.ts";

/** `succ`, `err`: uint32. `overload`: the agent holds the host ejected. */
export interface HostCallResult {
  ip: number;
  port: number;
  succ: number;
  err: number;
  overload: boolean;
}

/** `results` beyond `resultCount` are left over from earlier frames: the array is a pool and only grows. */
export interface ReportStatusRequest {
  modid: number;
  cmdid: number;
  /** The agent's IPv4. */
  caller: number;
  /** Unix seconds. */
  ts: number;
  /** Upper and lower half of the instance, unsigned. Both 0: none, the frame is a C++ agent's. */
  instanceHigh: number;
  instanceLow: number;
  /** Exact up to 2^53. */
  seq: number;
  resultCount: number;
  readonly results: HostCallResult[];
}

const RESULT_BYTES = 2 + 2 * (1 + MAX_VARINT_BYTES) + 2 * 6 + 2;
const HEAD_BYTES = 3 * (1 + MAX_VARINT_BYTES) + 6 + 2 * (2 + MAX_VARINT_BYTES);

/** That many results fit one frame whatever their values; a module with more hosts takes several frames. */
export const MAX_RESULTS_PER_FRAME = Math.floor((MAX_BODY_BYTES - HEAD_BYTES) / RESULT_BYTES);

/** The most an encoded ReportStatusRequest with that many results takes. */
export function reportStatusBytes(results: number): number {
  return HEAD_BYTES + results * RESULT_BYTES;
}

export function makeReportStatusRequest(): ReportStatusRequest {
  return {
    modid: 0,
    cmdid: 0,
    caller: 0,
    ts: 0,
    instanceHigh: 0,
    instanceLow: 0,
    seq: 0,
    resultCount: 0,
    results: [],
  };
}

/** The instance as 16 lower-case hex digits; undefined when the frame carries none. */
export function instanceText(status: Readonly<ReportStatusRequest>): string | undefined {
  if (status.instanceHigh === 0 && status.instanceLow === 0) return undefined;
  return status.instanceHigh.toString(16).padStart(8, "0") + status.instanceLow.toString(16).padStart(8, "0");
}

const reader = new ProtoReader();

/** Reads the body in `buf` from `start` up to `end`. False: malformed, and `into` is not to be used. */
export function decodeReportStatusRequest(
  buf: Uint8Array,
  start: number,
  end: number,
  into: ReportStatusRequest,
): boolean {
  const r = reader;
  r.reset(buf, start, end);
  into.modid = 0;
  into.cmdid = 0;
  into.caller = 0;
  into.ts = 0;
  into.instanceHigh = 0;
  into.instanceLow = 0;
  into.seq = 0;
  into.resultCount = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.modid = r.varint() | 0;
        break;
      case 16:
        into.cmdid = r.varint() | 0;
        break;
      case 24:
        into.caller = r.varint() | 0;
        break;
      case 34: {
        const outer = r.enter();
        readResult(r, nextResult(into));
        r.leave(outer);
        break;
      }
      case 40:
        into.ts = r.varint();
        break;
      case 128:
        into.instanceLow = r.varint();
        into.instanceHigh = r.high >>> 0;
        break;
      case 136:
        into.seq = r.uint64();
        break;
      default:
        r.skip(tag);
    }
  }
  return r.ok;
}

function nextResult(into: ReportStatusRequest): HostCallResult {
  const index = into.resultCount++;
  const known = into.results[index];
  if (known === undefined) {
    const fresh = { ip: 0, port: 0, succ: 0, err: 0, overload: false };
    into.results.push(fresh);
    return fresh;
  }
  known.ip = 0;
  known.port = 0;
  known.succ = 0;
  known.err = 0;
  known.overload = false;
  return known;
}

function readResult(r: ProtoReader, into: HostCallResult): void {
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.ip = r.varint() | 0;
        break;
      case 16:
        into.port = r.varint() | 0;
        break;
      case 24:
        into.succ = r.varint();
        break;
      case 32:
        into.err = r.varint();
        break;
      case 40:
        into.overload = r.bool();
        break;
      default:
        r.skip(tag);
    }
  }
}

/**
 * Writes a body with the results from index `from` up to `to` (at most MAX_RESULTS_PER_FRAME of them) at `offset` and
 * returns where it ends.
 */
export function encodeReportStatusRequest(
  out: Uint8Array,
  offset: number,
  status: Readonly<ReportStatusRequest>,
  from = 0,
  to = status.resultCount,
): number {
  if (to - from > MAX_RESULTS_PER_FRAME) {
    throw new RangeError(
      `${to - from} results in one ReportStatusRequest: at most ${MAX_RESULTS_PER_FRAME}; split them`,
    );
  }
  let pos = offset;
  if (status.modid !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, status.modid);
  }
  if (status.cmdid !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, status.cmdid);
  }
  if (status.caller !== 0) {
    out[pos++] = 24;
    pos = putInt32(out, pos, status.caller);
  }
  for (let i = from; i < to; i++) pos = putResult(out, pos, status.results[i]!);
  if (status.ts !== 0) {
    out[pos++] = 40;
    pos = putVarint(out, pos, status.ts);
  }
  if (status.instanceHigh !== 0 || status.instanceLow !== 0) {
    out[pos++] = 128;
    out[pos++] = 1;
    pos = putUint64(out, pos, status.instanceHigh, status.instanceLow);
  }
  if (status.seq !== 0) {
    out[pos++] = 136;
    out[pos++] = 1;
    pos = putUint53(out, pos, status.seq);
  }
  return pos;
}

function putResult(out: Uint8Array, offset: number, result: Readonly<HostCallResult>): number {
  out[offset] = 34;
  let pos = offset + 2;
  if (result.ip !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, result.ip);
  }
  if (result.port !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, result.port);
  }
  if (result.succ !== 0) {
    out[pos++] = 24;
    pos = putVarint(out, pos, result.succ);
  }
  if (result.err !== 0) {
    out[pos++] = 32;
    pos = putVarint(out, pos, result.err);
  }
  if (result.overload) {
    out[pos++] = 40;
    out[pos++] = 1;
  }
  // At most RESULT_BYTES - 2 bytes, so the length takes one byte.
  out[offset + 1] = pos - offset - 2;
  return pos;
}
