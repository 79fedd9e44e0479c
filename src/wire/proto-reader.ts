// Reads the protobuf wire format without allocating. A generic decoder builds a message object, a field list and byte
// views for every datagram; at 150,000 datagrams a second that is most of the agent's time. This reader is a cursor:
// each codec owns one, resets it per message and switches over whole tags (field number and wire type together), so a
// known field that comes with another wire type is skipped as unknown, as C++ protobuf does.
//
// Errors cost nothing on the good path: a malformed byte moves the cursor to a place that is never the end of a buffer,
// every loop `while (r.pos < r.end)` stops, and `r.ok` is false. No read goes past `end`.

const FAILED = 0x7fff_ffff;
const DOUBLE = new DataView(new ArrayBuffer(8));
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NOTHING: Uint8Array = new Uint8Array(0);

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;

export class ProtoReader {
  buf = NOTHING;
  pos = 0;
  end = 0;
  /** The upper 32 bits (signed) of the varint read last. */
  high = 0;

  /** Starts at a message that lies in `buf` from `start` up to `end`. Bounds outside the buffer read as malformed. */
  reset(buf: Uint8Array, start: number, end: number): void {
    this.buf = buf;
    this.end = end;
    this.pos = start >= 0 && start <= end && end <= buf.length ? start : FAILED;
  }

  /** True when the message was read to its very end and nothing was malformed. */
  get ok(): boolean {
    return this.pos === this.end;
  }

  fail(): number {
    this.pos = FAILED;
    return 0;
  }

  /** The next tag, field number * 8 + wire type; 0 (no valid tag) when malformed. */
  tag(): number {
    const pos = this.pos;
    const first = this.buf[pos]!;
    // Field numbers below 16, that is all of the original's, take one byte.
    if (first < 0x80 && first > 7) {
      this.pos = pos + 1;
      return first;
    }
    const tag = this.varint();
    // Field number 0 is reserved, and a tag has 32 bits.
    return tag > 7 && this.high === 0 && this.pos - pos <= 5 ? tag : this.fail();
  }

  /** A varint's lower 32 bits, unsigned. int32 is `| 0` of it: the 10-byte and the 5-byte form of -1 agree there. */
  varint(): number {
    const pos = this.pos;
    if (pos < this.end) {
      const first = this.buf[pos]!;
      if (first < 0x80) {
        this.pos = pos + 1;
        this.high = 0;
        return first;
      }
    }
    return this.#longVarint();
  }

  #longVarint(): number {
    const { buf, end } = this;
    let pos = this.pos;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (pos >= end) return this.fail();
      const byte = buf[pos++]!;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.pos = pos;
        this.high = high;
        return low >>> 0;
      }
    }
    return this.fail();
  }

  /** A uint64 as a number: exact up to 2^53, rounded beyond. */
  uint64(): number {
    const low = this.varint();
    return (this.high >>> 0) * 0x1_0000_0000 + low;
  }

  double(): number {
    const start = this.pos;
    this.#advance(8);
    if (this.pos === FAILED) return 0;
    for (let i = 0; i < 8; i++) DOUBLE.setUint8(i, this.buf[start + i]!);
    return DOUBLE.getFloat64(0, true);
  }

  bool(): boolean {
    const low = this.varint();
    return low !== 0 || this.high !== 0;
  }

  /** Length of a length-delimited field, its bytes known to be there: `pos` is at the first. 0 when malformed. */
  length(): number {
    const length = this.varint();
    return this.high === 0 && length <= this.end - this.pos ? length : this.fail();
  }

  /** A string field; bytes that are not UTF-8 are malformed. */
  text(): string {
    const length = this.length();
    if (length === 0) return "";
    const start = this.pos;
    this.pos += length;
    try {
      return UTF8.decode(this.buf.subarray(start, start + length));
    } catch {
      this.fail();
      return "";
    }
  }

  /** Narrows the reader to an embedded message. Read it with `while (r.pos < r.end)`, then {@link leave}. */
  enter(): number {
    const outer = this.end;
    const length = this.length();
    if (this.pos !== FAILED) this.end = this.pos + length;
    return outer;
  }

  leave(outer: number): void {
    this.end = outer;
  }

  /** Passes over a field that is not known. Groups (wire types 3 and 4) left protobuf before Lars began: malformed. */
  skip(tag: number): void {
    switch (tag & 7) {
      case WIRE_VARINT:
        this.varint();
        return;
      case WIRE_FIXED64:
        this.#advance(8);
        return;
      case WIRE_BYTES: {
        const length = this.length();
        if (this.pos !== FAILED) this.pos += length;
        return;
      }
      case WIRE_FIXED32:
        this.#advance(4);
        return;
      default:
        this.fail();
    }
  }

  #advance(bytes: number): void {
    if (bytes <= this.end - this.pos) this.pos += bytes;
    else this.fail();
  }
}
