// GetHostRequest and GetHostResponse: the question a caller asks before each of its calls, and the answer. The hottest
// bytes of the product, so both sides work in place: requests are read into one reusable object, responses written into
// one reusable buffer. The other two directions are what clients and load generators need.
import { ProtoReader } from "./proto-reader.ts";
import { MAX_VARINT_BYTES, putInt32, putVarint, varintBytes } from "./proto-writer.ts";
import { RESULT_SUCCESS } from "./result-code.ts";

/** `hashKey…` point into the buffer that was decoded, for core/hash.ts; length 0 means there is no key. */
export interface GetHostRequest {
  seq: number;
  modid: number;
  cmdid: number;
  hashKeyOffset: number;
  hashKeyLength: number;
}

/** `hasHost` tells host 0.0.0.0:0 from no host. */
export interface GetHostResponse {
  seq: number;
  modid: number;
  cmdid: number;
  retcode: number;
  hasHost: boolean;
  ip: number;
  port: number;
}

/** The most an encoded GetHostRequest takes besides its hash key. */
export const GET_HOST_REQUEST_BYTES = 4 * (2 + MAX_VARINT_BYTES);
/** The most an encoded GetHostResponse takes. */
export const GET_HOST_RESPONSE_BYTES = 7 * (1 + MAX_VARINT_BYTES);

export function makeGetHostRequest(): GetHostRequest {
  return { seq: 0, modid: 0, cmdid: 0, hashKeyOffset: 0, hashKeyLength: 0 };
}

export function makeGetHostResponse(): GetHostResponse {
  return { seq: 0, modid: 0, cmdid: 0, retcode: 0, hasHost: false, ip: 0, port: 0 };
}

const reader = new ProtoReader();

/** Reads the body in `buf` from `start` up to `end`. False: malformed, and `into` is not to be used. */
export function decodeGetHostRequest(buf: Uint8Array, start: number, end: number, into: GetHostRequest): boolean {
  const r = reader;
  r.reset(buf, start, end);
  into.seq = 0;
  into.modid = 0;
  into.cmdid = 0;
  into.hashKeyOffset = 0;
  into.hashKeyLength = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.seq = r.varint();
        break;
      case 16:
        into.modid = r.varint() | 0;
        break;
      case 24:
        into.cmdid = r.varint() | 0;
        break;
      case 130: {
        const length = r.length();
        into.hashKeyOffset = r.pos;
        into.hashKeyLength = length;
        r.pos += length;
        break;
      }
      default:
        r.skip(tag);
    }
  }
  return r.ok;
}

/** Writes a body at `offset` and returns where it ends. `hashKey` is UTF-8; empty or absent: none. */
export function encodeGetHostRequest(
  out: Uint8Array,
  offset: number,
  seq: number,
  modid: number,
  cmdid: number,
  hashKey?: Uint8Array,
): number {
  let pos = offset;
  if (seq !== 0) {
    out[pos++] = 8;
    pos = putVarint(out, pos, seq);
  }
  if (modid !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, modid);
  }
  if (cmdid !== 0) {
    out[pos++] = 24;
    pos = putInt32(out, pos, cmdid);
  }
  if (hashKey !== undefined && hashKey.length > 0) {
    out[pos++] = 130;
    out[pos++] = 1;
    pos = putVarint(out, pos, hashKey.length);
    out.set(hashKey, pos);
    pos += hashKey.length;
  }
  return pos;
}

/** Writes an answer that names a host; retcode 0 is what its absence on the wire means. Returns where the body ends. */
export function encodeGetHostSuccess(
  out: Uint8Array,
  offset: number,
  seq: number,
  modid: number,
  cmdid: number,
  ip: number,
  port: number,
): number {
  return putHost(out, putResponseHead(out, offset, seq, modid, cmdid), ip, port);
}

/**
 * Writes an answer without a host and returns where the body ends. `retcode` is not RESULT_SUCCESS: a caller would read
 * such an answer as "call 0.0.0.0:0", so a 0 here throws.
 */
export function encodeGetHostFailure(
  out: Uint8Array,
  offset: number,
  seq: number,
  modid: number,
  cmdid: number,
  retcode: number,
): number {
  if (retcode === RESULT_SUCCESS) throw new RangeError("a GetHostResponse without a host needs a retcode other than 0");
  const pos = putResponseHead(out, offset, seq, modid, cmdid);
  out[pos] = 32;
  return putInt32(out, pos + 1, retcode);
}

function putResponseHead(out: Uint8Array, offset: number, seq: number, modid: number, cmdid: number): number {
  let pos = offset;
  if (seq !== 0) {
    out[pos++] = 8;
    pos = putVarint(out, pos, seq);
  }
  if (modid !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, modid);
  }
  if (cmdid !== 0) {
    out[pos++] = 24;
    pos = putInt32(out, pos, cmdid);
  }
  return pos;
}

function putHost(out: Uint8Array, offset: number, ip: number, port: number): number {
  out[offset] = 42;
  let pos = offset + 2;
  if (ip !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, ip);
  }
  if (port !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, port);
  }
  // Two tags and two varints are at most 22 bytes, so the length takes one byte.
  out[offset + 1] = pos - offset - 2;
  return pos;
}

/** Reads the body in `buf` from `start` up to `end`. False: malformed, and `into` is not to be used. */
export function decodeGetHostResponse(buf: Uint8Array, start: number, end: number, into: GetHostResponse): boolean {
  const r = reader;
  r.reset(buf, start, end);
  into.seq = 0;
  into.modid = 0;
  into.cmdid = 0;
  into.retcode = 0;
  into.hasHost = false;
  into.ip = 0;
  into.port = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.seq = r.varint();
        break;
      case 16:
        into.modid = r.varint() | 0;
        break;
      case 24:
        into.cmdid = r.varint() | 0;
        break;
      case 32:
        into.retcode = r.varint() | 0;
        break;
      case 42: {
        into.hasHost = true;
        const outer = r.enter();
        readEndpoint(r, into);
        r.leave(outer);
        break;
      }
      default:
        r.skip(tag);
    }
  }
  return r.ok;
}

/** Reads a HostInfo's address over what `into` holds: a field that occurs again adds to the message, as protobuf merges. */
export function readEndpoint(r: ProtoReader, into: { ip: number; port: number }): void {
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        into.ip = r.varint() | 0;
        break;
      case 16:
        into.port = r.varint() | 0;
        break;
      default:
        r.skip(tag);
    }
  }
}

/** The bytes a GetHostRequest with this hash key takes at most, for a buffer of one's own. */
export function getHostRequestBytes(hashKey?: Uint8Array): number {
  const length = hashKey?.length ?? 0;
  return GET_HOST_REQUEST_BYTES + varintBytes(length) + length;
}
