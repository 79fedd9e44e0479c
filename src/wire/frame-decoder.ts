// A TCP stream cuts frames wherever it likes. The decoder hands out frames that lie whole in a chunk as views into that
// chunk, without copying; only a frame cut by the end of a chunk is put together in a buffer of its own. That buffer
// grows with what has arrived, not with what the header promises: a peer that announces 64 KiB on each of ten thousand
// connections and then falls silent costs the bytes it sent. Between frames nothing is kept at all.
//
// A length that cannot be is a protocol error. After it there is no way to find the next frame, so the decoder is dead:
// the owner closes the connection.
import { HEADER_BYTES, MAX_BODY_BYTES, readInt32 } from "./frame.ts";

/** The stream is not made of frames. `length` is what the header at fault said. */
export interface ProtocolError {
  readonly msgid: number;
  readonly length: number;
  readonly message: string;
}

/** `body` is a view, valid during the call only. `context` is what was given to push. */
export type FrameSink<C> = (msgid: number, body: Uint8Array, context: C) => void;

const EMPTY: Uint8Array = new Uint8Array(0);
const FIRST_PARTIAL_BYTES = 64;

export class FrameDecoder {
  #partial = EMPTY;
  #have = 0;
  #error: ProtocolError | undefined;
  #closed = false;
  #busy = false;

  /** Memory held for an unfinished frame, in bytes: 0 between frames, at most that of the largest frame. */
  get heldBytes(): number {
    return this.#partial.length;
  }

  /** Drops what is held and every frame still to come, those of a push in progress included. */
  close(): void {
    this.#closed = true;
    this.#release();
  }

  /**
   * Takes the next bytes of the stream and calls `onFrame` for every frame they complete, in order. The chunk is not
   * kept. When `onFrame` throws, the rest of the chunk is still taken and the first exception is rethrown at the end.
   * `onFrame` may call close(); calling push from it is a bug and throws without taking anything.
   * @returns the protocol error that killed the decoder, now or in an earlier push
   */
  push(chunk: Uint8Array, onFrame: (msgid: number, body: Uint8Array) => void): ProtocolError | undefined;
  push<C>(chunk: Uint8Array, onFrame: FrameSink<C>, context: C): ProtocolError | undefined;
  push<C>(chunk: Uint8Array, onFrame: FrameSink<C>, context?: C): ProtocolError | undefined {
    if (this.#busy) throw new Error("FrameDecoder.push was called from its own onFrame; push after it has returned");
    if (this.#error !== undefined || this.#closed) return this.#error;
    this.#busy = true;
    let thrown: { readonly reason: unknown } | undefined;
    let pos = 0;
    const length = chunk.length;
    while (pos < length && !this.#closed) {
      let frame = chunk;
      let start = pos;
      if (this.#have > 0) {
        pos = this.#fill(chunk, pos);
        frame = this.#partial;
        start = 0;
      }
      const available = frame === chunk ? length - start : this.#have;
      if (available >= HEADER_BYTES) {
        const msgid = readInt32(frame, start);
        const bodyLength = readInt32(frame, start + 4);
        if (bodyLength < 0 || bodyLength > MAX_BODY_BYTES) {
          this.#error = badLength(msgid, bodyLength);
          this.#release();
          break;
        }
        if (available - HEADER_BYTES >= bodyLength) {
          const end = start + HEADER_BYTES + bodyLength;
          // The state is that of after the frame before the owner is called: it may throw or close.
          if (frame === chunk) pos = end;
          else this.#release();
          try {
            onFrame(msgid, frame.subarray(start + HEADER_BYTES, end), context as C);
          } catch (reason) {
            thrown ??= { reason };
          }
          continue;
        }
      }
      if (frame === chunk) {
        this.#keep(chunk, pos);
        break;
      }
    }
    this.#busy = false;
    if (thrown !== undefined) throw thrown.reason;
    return this.#error;
  }

  /** Moves bytes of the chunk to the frame held until header or frame is whole. Returns the new position. */
  #fill(chunk: Uint8Array, pos: number): number {
    const wanted = this.#have < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + Math.max(0, readInt32(this.#partial, 4));
    const taken = Math.min(wanted - this.#have, chunk.length - pos);
    this.#reserve(this.#have + taken, wanted);
    this.#partial.set(taken === chunk.length ? chunk : chunk.subarray(pos, pos + taken), this.#have);
    this.#have += taken;
    return pos + taken;
  }

  #keep(chunk: Uint8Array, pos: number): void {
    const rest = chunk.length - pos;
    this.#reserve(rest, FIRST_PARTIAL_BYTES);
    this.#partial.set(pos === 0 ? chunk : chunk.subarray(pos));
    this.#have = rest;
  }

  /** Room for `bytes`: doubling, so that a slow sender costs few copies, but not beyond `enough`. */
  #reserve(bytes: number, enough: number): void {
    if (this.#partial.length >= bytes) return;
    const size = Math.max(bytes, Math.min(enough, Math.max(FIRST_PARTIAL_BYTES, this.#partial.length * 2)));
    const grown = new Uint8Array(size);
    grown.set(this.#partial.subarray(0, this.#have));
    this.#partial = grown;
  }

  #release(): void {
    this.#partial = EMPTY;
    this.#have = 0;
  }
}

function badLength(msgid: number, length: number): ProtocolError {
  const message = `frame header says msgid ${msgid}, length ${length}; a length is 0 to ${MAX_BODY_BYTES}; close the connection`;
  return { msgid, length, message };
}
