// Writes the protobuf wire format into memory of the caller. Every function takes an offset and returns the next one,
// so that encoding a reply allocates nothing. Fields with their default value are the codecs' to omit. Nothing here
// checks for room: each codec says how many bytes its message takes at most, and a typed array drops writes past its
// end instead of corrupting anything.

/** The most a varint takes, and what every negative int32 takes. */
export const MAX_VARINT_BYTES = 10;
/** The most `putUint53` writes. */
export const MAX_UINT53_BYTES = 8;

/** `value`: 0 to 2^32 - 1; other numbers are taken modulo 2^32. */
export function putVarint(buf: Uint8Array, offset: number, value: number): number {
  let rest = value >>> 0;
  let pos = offset;
  while (rest > 0x7f) {
    buf[pos++] = rest | 0x80;
    rest >>>= 7;
  }
  buf[pos++] = rest;
  return pos;
}

/** A signed int32: negative numbers are sign-extended to 64 bits, as proto3 wants it. */
export function putInt32(buf: Uint8Array, offset: number, value: number): number {
  if (value >= 0) return putVarint(buf, offset, value);
  buf[offset] = value | 0x80;
  buf[offset + 1] = (value >>> 7) | 0x80;
  buf[offset + 2] = (value >>> 14) | 0x80;
  buf[offset + 3] = (value >>> 21) | 0x80;
  buf[offset + 4] = (value >>> 28) | 0xf0;
  buf[offset + 5] = 0xff;
  buf[offset + 6] = 0xff;
  buf[offset + 7] = 0xff;
  buf[offset + 8] = 0xff;
  buf[offset + 9] = 0x01;
  return offset + MAX_VARINT_BYTES;
}

/** A uint64 given as two halves of 32 bits. */
export function putUint64(buf: Uint8Array, offset: number, high: number, low: number): number {
  let hi = high >>> 0;
  let lo = low >>> 0;
  let pos = offset;
  while (hi !== 0) {
    buf[pos++] = lo | 0x80;
    lo = ((lo >>> 7) | (hi << 25)) >>> 0;
    hi >>>= 7;
  }
  return putVarint(buf, pos, lo);
}

/** A uint64 given as a number: an integer from 0 to 2^53 - 1. */
export function putUint53(buf: Uint8Array, offset: number, value: number): number {
  return putUint64(buf, offset, Math.floor(value / 0x1_0000_0000), value);
}

export function putDouble(buf: Uint8Array, offset: number, value: number): number {
  new DataView(buf.buffer, buf.byteOffset + offset, 8).setFloat64(0, value, true);
  return offset + 8;
}

export function varintBytes(value: number): number {
  const bits = value >>> 0;
  return bits < 0x80 ? 1 : bits < 0x4000 ? 2 : bits < 0x20_0000 ? 3 : bits < 0x1000_0000 ? 4 : 5;
}

export function int32Bytes(value: number): number {
  return value < 0 ? MAX_VARINT_BYTES : varintBytes(value);
}

export function uint53Bytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}
