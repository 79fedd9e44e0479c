// ReportRequest: how a call went, from caller to agent, one datagram a call and never answered.
import { readEndpoint } from "./host-codec.ts";
import { ProtoReader } from "./proto-reader.ts";
import { MAX_VARINT_BYTES, putInt32, putVarint } from "./proto-writer.ts";

/** `retcode` 0: the call succeeded. `latencyUs` in microseconds, 0: the caller did not say. */
export interface ReportRequest {
  modid: number;
  cmdid: number;
  ip: number;
  port: number;
  retcode: number;
  latencyUs: number;
}

/** The most an encoded ReportRequest takes. */
export const REPORT_REQUEST_BYTES = 8 * (2 + MAX_VARINT_BYTES);

export function makeReportRequest(): ReportRequest {
  return { modid: 0, cmdid: 0, ip: 0, port: 0, retcode: 0, latencyUs: 0 };
}

const reader = new ProtoReader();

/** Reads the body in `buf` from `start` up to `end`. False: malformed, and `into` is not to be used. */
export function decodeReportRequest(buf: Uint8Array, start: number, end: number, into: ReportRequest): boolean {
  const r = reader;
  r.reset(buf, start, end);
  into.modid = 0;
  into.cmdid = 0;
  into.ip = 0;
  into.port = 0;
  into.retcode = 0;
  into.latencyUs = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.modid = r.varint() | 0;
        break;
      case 16:
        into.cmdid = r.varint() | 0;
        break;
      case 26: {
        const outer = r.enter();
        readEndpoint(r, into);
        r.leave(outer);
        break;
      }
      case 32:
        into.retcode = r.varint() | 0;
        break;
      case 128:
        into.latencyUs = r.varint();
        break;
      default:
        r.skip(tag);
    }
  }
  return r.ok;
}

/** Writes a body at `offset` and returns where it ends. */
export function encodeReportRequest(out: Uint8Array, offset: number, report: Readonly<ReportRequest>): number {
  let pos = offset;
  if (report.modid !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, report.modid);
  }
  if (report.cmdid !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, report.cmdid);
  }
  out[pos++] = 26;
  const lengthAt = pos++;
  if (report.ip !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, report.ip);
  }
  if (report.port !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, report.port);
  }
  out[lengthAt] = pos - lengthAt - 1;
  if (report.retcode !== 0) {
    out[pos++] = 32;
    pos = putInt32(out, pos, report.retcode);
  }
  if (report.latencyUs !== 0) {
    out[pos++] = 128;
    out[pos++] = 1;
    pos = putVarint(out, pos, report.latencyUs);
  }
  return pos;
}
