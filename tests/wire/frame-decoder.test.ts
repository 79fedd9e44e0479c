import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { frameOf, MAX_BODY_BYTES, writeHeader } from "../../src/wire/frame.ts";
import { FrameDecoder } from "../../src/wire/frame-decoder.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

interface Outcome {
  readonly frames: readonly string[];
  readonly failed: boolean;
}

/** The trivially right decoder: it sees the whole stream at once and cuts it with a DataView. */
function model(stream: Uint8Array): Outcome {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const frames: string[] = [];
  let pos = 0;
  while (stream.length - pos >= 8) {
    const length = view.getInt32(pos + 4, true);
    if (length < 0 || length > 65_527) return { frames, failed: true };
    if (stream.length - pos - 8 < length) break;
    frames.push(`${view.getInt32(pos, true)}:${stream.subarray(pos + 8, pos + 8 + length).toHex()}`);
    pos += 8 + length;
  }
  return { frames, failed: false };
}

function decode(chunks: Iterable<Uint8Array>): Outcome & { readonly decoder: FrameDecoder } {
  const decoder = new FrameDecoder();
  const frames: string[] = [];
  let failed = false;
  for (const chunk of chunks) {
    const copy = chunk.slice();
    failed = decoder.push(copy, (msgid, body) => frames.push(`${msgid}:${body.toHex()}`)) !== undefined;
    // What a socket may do with its buffer after the call.
    copy.fill(0xee);
  }
  return { frames, failed, decoder };
}

function* cut(stream: Uint8Array, sizes: readonly number[]): Generator<Uint8Array> {
  let pos = 0;
  for (let i = 0; pos < stream.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length]!);
    yield stream.subarray(pos, pos + size);
    pos += size;
  }
}

const concat = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

const anyFrame = fc
  .tuple(fc.integer({ min: -5, max: 70 }), fc.uint8Array({ maxLength: 40 }))
  .map(([msgid, body]) => frameOf(msgid, body));
const bigFrame = fc
  .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 60_000, max: MAX_BODY_BYTES }))
  .map(([msgid, length]) => frameOf(msgid, new Uint8Array(length).fill(msgid)));
const garbage = fc.uint8Array({ minLength: 1, maxLength: 20 });
const anyStream = fc
  .array(
    fc.oneof(
      { weight: 12, arbitrary: anyFrame },
      { weight: 1, arbitrary: bigFrame },
      { weight: 1, arbitrary: garbage },
    ),
    {
      maxLength: 12,
    },
  )
  .map(concat);
const smallStream = fc.array(fc.oneof({ weight: 9, arbitrary: anyFrame }, garbage), { maxLength: 10 }).map(concat);

describe("a stream of frames and garbage", () => {
  test("byte by byte, two by two and all at once read the same as the model", () => {
    fc.assert(
      fc.property(smallStream, (stream) => {
        const expected = model(stream);
        for (const size of [1, 2, 3, 7, 8, 9, stream.length + 1]) {
          const { frames, failed } = decode(cut(stream, [size]));
          expect({ frames, failed }).toEqual(expected);
        }
      }),
      { seed: 20_250_601, numRuns: propertyRuns(400) },
    );
  });

  test("cut anywhere reads the same as the model, frames of 64 KiB included", () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 70_000 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(anyStream, sizes, (stream, cuts) => {
        const { frames, failed } = decode(cut(stream, cuts));
        expect({ frames, failed }).toEqual(model(stream));
      }),
      { seed: 20_250_602, numRuns: propertyRuns(300) },
    );
  });

  test("pure noise never throws and fails where the model fails", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 9 }), (stream, size) => {
        const { frames, failed } = decode(cut(stream, [size]));
        expect({ frames, failed }).toEqual(model(stream));
      }),
      { seed: 20_250_603, numRuns: propertyRuns(500) },
    );
  });
});

describe("memory", () => {
  test("a frame whole in the chunk is a view into it, not a copy", () => {
    const chunk = concat([frameOf(1, new Uint8Array(3)), frameOf(2, new Uint8Array(5))]);
    const views: Uint8Array[] = [];
    new FrameDecoder().push(chunk, (_msgid, body) => views.push(body));
    expect(views.map((view) => [view.buffer === chunk.buffer, view.byteOffset, view.length])).toEqual([
      [true, 8, 3],
      [true, 19, 5],
    ]);
  });

  test("nothing is held between frames, and never more than one frame", () => {
    const stream = concat([frameOf(1, new Uint8Array(0)), frameOf(2, new Uint8Array(MAX_BODY_BYTES))]);
    const decoder = new FrameDecoder();
    let most = 0;
    for (const chunk of cut(stream, [1000])) {
      decoder.push(chunk, () => {});
      most = Math.max(most, decoder.heldBytes);
    }
    expect(most).toBeGreaterThan(60_000);
    expect(most).toBeLessThanOrEqual(8 + MAX_BODY_BYTES);
    expect(decoder.heldBytes).toBe(0);
  });

  test("a header that promises 65,527 bytes reserves none of them before they come", () => {
    const header = new Uint8Array(8);
    writeHeader(header, 0, 1, MAX_BODY_BYTES);
    const decoder = new FrameDecoder();
    decoder.push(header, () => {});
    expect(decoder.heldBytes).toBeLessThanOrEqual(64);
  });
});

describe("a protocol error", () => {
  const bad = new Uint8Array(8);
  writeHeader(bad, 0, 3, MAX_BODY_BYTES + 1);

  test("comes after the good frames before it and names what the header said", () => {
    const frames: number[] = [];
    const error = new FrameDecoder().push(concat([frameOf(1, new Uint8Array(2)), bad]), (msgid) => frames.push(msgid));
    expect(frames).toEqual([1]);
    expect(error).toMatchObject({ msgid: 3, length: 65_528 });
    expect(error?.message).toContain("65527");
  });

  test("a length of -1 is one too, even when the header came in two pieces", () => {
    const negative = new Uint8Array(8);
    writeHeader(negative, 0, 1, -1);
    const decoder = new FrameDecoder();
    expect(decoder.push(negative.subarray(0, 5), () => {})).toBeUndefined();
    expect(decoder.push(negative.subarray(5), () => {})).toMatchObject({ length: -1 });
  });

  test("leaves the decoder dead: later pushes give the same error and no frame", () => {
    const decoder = new FrameDecoder();
    const error = decoder.push(bad, () => {});
    const frames: number[] = [];
    expect(decoder.push(frameOf(1, new Uint8Array(0)), (msgid) => frames.push(msgid))).toBe(error!);
    expect([frames, decoder.heldBytes]).toEqual([[], 0]);
  });
});

describe("an owner that", () => {
  test("throws at a frame gets the others all the same, then its exception", () => {
    const stream = concat([1, 2, 3].map((msgid) => frameOf(msgid, new Uint8Array(4))));
    const rest = frameOf(4, new Uint8Array(4));
    for (const size of [1, 5, 100]) {
      const decoder = new FrameDecoder();
      const frames: number[] = [];
      let thrown = 0;
      for (const chunk of cut(concat([stream, rest]), [size])) {
        try {
          decoder.push(chunk, (msgid) => {
            frames.push(msgid);
            if (msgid === 2) throw new Error("at two");
          });
        } catch (error) {
          expect((error as Error).message).toBe("at two");
          thrown++;
        }
      }
      expect([frames, thrown]).toEqual([[1, 2, 3, 4], 1]);
    }
  });

  test("closes at a frame gets no further one, from this chunk or another", () => {
    const decoder = new FrameDecoder();
    const frames: number[] = [];
    const onFrame = (msgid: number): void => {
      frames.push(msgid);
      decoder.close();
    };
    decoder.push(concat([frameOf(1, new Uint8Array(0)), frameOf(2, new Uint8Array(0)), new Uint8Array(3)]), onFrame);
    decoder.push(frameOf(3, new Uint8Array(0)), onFrame);
    expect([frames, decoder.heldBytes]).toEqual([[1], 0]);
  });

  test("pushes from within onFrame is told so, and the stream stays whole", () => {
    const decoder = new FrameDecoder();
    const frames: number[] = [];
    const onFrame = (msgid: number): void => {
      frames.push(msgid);
      expect(() => decoder.push(frameOf(9, new Uint8Array(0)), onFrame)).toThrow(/own onFrame/);
    };
    decoder.push(concat([frameOf(1, new Uint8Array(0)), frameOf(2, new Uint8Array(0))]), onFrame);
    expect(frames).toEqual([1, 2]);
  });

  test("gives a context gets it back with each frame", () => {
    const seen: unknown[] = [];
    new FrameDecoder().push(
      frameOf(1, new Uint8Array(0)),
      (msgid, _body, context) => seen.push([msgid, context]),
      "me",
    );
    expect(seen).toEqual([[1, "me"]]);
  });
});
