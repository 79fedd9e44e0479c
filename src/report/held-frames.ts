// Statistics frames that found no room yet, of one connection, in the order they came. As bytes, side by side in one
// buffer, since a frame is small and thousands of connections may hold some; they are decoded again when there is room.

const LENGTH_BYTES = 4;
const FIRST_BYTES = 1024;

export class HeldFrames {
  #buffer = new Uint8Array(0);
  #start = 0;
  #end = 0;
  /** Results of the first frame that were taken already. */
  taken = 0;

  /** Memory held, in bytes. */
  get bytes(): number {
    return this.#buffer.length;
  }

  get isEmpty(): boolean {
    return this.#start === this.#end;
  }

  /** `body` is copied. */
  push(body: Uint8Array): void {
    this.#reserve(LENGTH_BYTES + body.length);
    new DataView(this.#buffer.buffer).setUint32(this.#end, body.length);
    this.#buffer.set(body, this.#end + LENGTH_BYTES);
    this.#end += LENGTH_BYTES + body.length;
  }

  /** The body of the first frame: a view, valid until the next push. There must be one. */
  first(): Uint8Array {
    const from = this.#start + LENGTH_BYTES;
    return this.#buffer.subarray(from, from + this.#firstBytes());
  }

  shift(): void {
    this.#start += LENGTH_BYTES + this.#firstBytes();
    this.taken = 0;
  }

  #firstBytes(): number {
    return new DataView(this.#buffer.buffer).getUint32(this.#start);
  }

  #reserve(bytes: number): void {
    const needed = this.#end - this.#start + bytes;
    if (this.#end + bytes <= this.#buffer.length) return;
    const held = this.#buffer.subarray(this.#start, this.#end);
    const grown = new Uint8Array(Math.max(FIRST_BYTES, needed, Math.min(needed * 2, needed + 65_536)));
    grown.set(held);
    this.#buffer = grown;
    this.#end -= this.#start;
    this.#start = 0;
  }
}
