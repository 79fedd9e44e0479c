// A frame is an 8-byte header (msgid, msglen: little-endian int32) and msglen bytes of protobuf. This file holds the
// numbers both sides agreed on and the header itself; frame-decoder.ts finds frames in a TCP stream, the *-codec.ts
// files know the bodies. Nothing here allocates except `frameOf`: the agent passes it once per datagram.

/**
 * Message ids. APPEND ONLY: deployed programs hard-code them; a number is never reused or given another meaning.
 * 1 to 8 are the original's; ours start at 64.
 */
export const MSG_GET_ROUTE_REQUEST = 1; // agent -> dns, TCP
export const MSG_GET_ROUTE_RESPONSE = 2; // dns -> agent, TCP; also sent unasked at every change of a watched module
export const MSG_REPORT_STATUS_REQUEST = 3; // agent -> report, TCP, no answer
export const MSG_GET_HOST_REQUEST = 4; // caller -> agent, UDP
export const MSG_GET_HOST_RESPONSE = 5; // agent -> caller, UDP
export const MSG_REPORT_REQUEST = 6; // caller -> agent, UDP, no answer
export const MSG_API_GET_ROUTE_REQUEST = 7; // caller -> agent, UDP; body: GetRouteRequest
export const MSG_API_GET_ROUTE_RESPONSE = 8; // agent -> caller, UDP; body: GetRouteResponse
export const MSG_UNWATCH_ROUTE_REQUEST = 64; // our agent -> our dns, TCP, no answer; old servers skip it

export const MSG_PING = 65; // our agent -> report, TCP, no body: are you there? Old servers skip it
export const MSG_PONG = 66; // our report -> agent, TCP, no body

export const HEADER_BYTES = 8;
/** What an old peer accepts in one frame: 65,535 less the header. */
export const MAX_BODY_BYTES = 65_527;
/** Header and body of the largest frame on TCP. */
export const MAX_FRAME_BYTES = HEADER_BYTES + MAX_BODY_BYTES;
/** Header and body of the largest frame in a datagram: the IPv4 limit of a UDP payload (65,535 - 20 - 8). */
export const MAX_UDP_FRAME_BYTES = 65_507;

/** Why a datagram is dropped. Negative, so that {@link datagramFrame} can answer with one number. */
export const DROP_TOO_SHORT = -1;
/** The header's length is not what arrived: truncated, two frames glued together, or not Lars at all. */
export const DROP_LENGTH_MISMATCH = -2;
/** No id was ever negative; told apart because ids and drop reasons share one number. */
export const DROP_NEGATIVE_ID = -3;
export type DropReason = typeof DROP_TOO_SHORT | typeof DROP_LENGTH_MISMATCH | typeof DROP_NEGATIVE_ID;

/** The little-endian int32 at `offset`; the caller has made sure that 4 bytes are there. */
export function readInt32(buf: Uint8Array, offset: number): number {
  return buf[offset]! | (buf[offset + 1]! << 8) | (buf[offset + 2]! << 16) | (buf[offset + 3]! << 24);
}

/** Writes the 8 header bytes at `offset`. */
export function writeHeader(buf: Uint8Array, offset: number, msgid: number, msglen: number): void {
  buf[offset] = msgid;
  buf[offset + 1] = msgid >>> 8;
  buf[offset + 2] = msgid >>> 16;
  buf[offset + 3] = msgid >>> 24;
  buf[offset + 4] = msglen;
  buf[offset + 5] = msglen >>> 8;
  buf[offset + 6] = msglen >>> 16;
  buf[offset + 7] = msglen >>> 24;
}

/**
 * Puts the header before a body that an encoder has written from `offset + HEADER_BYTES` up to `end`.
 * @returns `end`, where the next frame may begin
 */
export function sealFrame(buf: Uint8Array, offset: number, msgid: number, end: number): number {
  writeHeader(buf, offset, msgid, end - offset - HEADER_BYTES);
  return end;
}

/** A frame of its own memory around `body` (0 to MAX_BODY_BYTES bytes, a RangeError beyond). */
export function frameOf(msgid: number, body: Uint8Array): Uint8Array {
  if (body.length > MAX_BODY_BYTES) {
    throw new RangeError(`frame body of ${body.length} bytes: at most ${MAX_BODY_BYTES} fit; send fewer entries`);
  }
  const frame = new Uint8Array(HEADER_BYTES + body.length);
  writeHeader(frame, 0, msgid, body.length);
  frame.set(body, HEADER_BYTES);
  return frame;
}

/**
 * The message id of a datagram that holds exactly one frame (its body is everything after the header), or a negative
 * {@link DropReason}.
 */
export function datagramFrame(buf: Uint8Array): number {
  const length = buf.length;
  if (length < HEADER_BYTES) return DROP_TOO_SHORT;
  if (readInt32(buf, 4) !== length - HEADER_BYTES) return DROP_LENGTH_MISMATCH;
  const msgid = readInt32(buf, 0);
  return msgid < 0 ? DROP_NEGATIVE_ID : msgid;
}
