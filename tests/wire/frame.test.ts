import { describe, expect, test } from "bun:test";
import * as frame from "../../src/wire/frame.ts";

describe("message ids", () => {
  // Golden: a changed line here breaks deployed programs. Lines are only ever added.
  test("the ids of deployed programs are what they were", () => {
    const ids = Object.entries(frame).filter(([name]) => name.startsWith("MSG_"));
    expect(Object.fromEntries(ids)).toEqual({
      MSG_GET_ROUTE_REQUEST: 1,
      MSG_GET_ROUTE_RESPONSE: 2,
      MSG_REPORT_STATUS_REQUEST: 3,
      MSG_GET_HOST_REQUEST: 4,
      MSG_GET_HOST_RESPONSE: 5,
      MSG_REPORT_REQUEST: 6,
      MSG_API_GET_ROUTE_REQUEST: 7,
      MSG_API_GET_ROUTE_RESPONSE: 8,
      MSG_UNWATCH_ROUTE_REQUEST: 64,
      MSG_PING: 65,
      MSG_PONG: 66,
    });
  });

  test("the limits are those of the original: 65,535 bytes a frame, 65,507 a datagram", () => {
    expect([frame.HEADER_BYTES, frame.MAX_BODY_BYTES, frame.MAX_FRAME_BYTES, frame.MAX_UDP_FRAME_BYTES]).toEqual([
      8, 65_527, 65_535, 65_507,
    ]);
  });
});

describe("the header", () => {
  test("is two little-endian int32 at the given offset", () => {
    const buf = new Uint8Array(12).fill(0xaa);
    frame.writeHeader(buf, 2, 0x01020304, 0xfff7);
    expect(buf.toHex()).toBe("aaaa04030201f7ff0000aaaa");
    expect([frame.readInt32(buf, 2), frame.readInt32(buf, 6)]).toEqual([0x01020304, 65_527]);
  });

  test("a negative id survives writing and reading", () => {
    const buf = new Uint8Array(8);
    frame.writeHeader(buf, 0, -2, 0);
    expect(frame.readInt32(buf, 0)).toBe(-2);
  });

  test("sealFrame writes the length of what lies between header and end", () => {
    const buf = new Uint8Array(16);
    expect(frame.sealFrame(buf, 3, 5, 14)).toBe(14);
    expect(buf.toHex()).toBe("00000005000000030000000000000000");
  });
});

describe("frameOf", () => {
  test("an empty body makes a frame of 8 bytes", () => {
    expect(frame.frameOf(4, new Uint8Array(0)).toHex()).toBe("0400000000000000");
  });

  test("65,527 bytes of body fit, one more throws", () => {
    expect(frame.frameOf(2, new Uint8Array(65_527)).length).toBe(65_535);
    expect(() => frame.frameOf(2, new Uint8Array(65_528))).toThrow(/65528.*65527/);
  });
});

describe("a datagram", () => {
  test("of exactly one frame gives its id", () => {
    expect(frame.datagramFrame(frame.frameOf(4, new Uint8Array(0)))).toBe(4);
    expect(frame.datagramFrame(frame.frameOf(6, new Uint8Array(300)))).toBe(6);
  });

  test("shorter than a header is dropped", () => {
    for (let size = 0; size < 8; size++) expect(frame.datagramFrame(new Uint8Array(size))).toBe(frame.DROP_TOO_SHORT);
  });

  test("one byte short, one byte long, or with a negative length is dropped", () => {
    const whole = frame.frameOf(4, new Uint8Array(10));
    expect(frame.datagramFrame(whole.subarray(0, 17))).toBe(frame.DROP_LENGTH_MISMATCH);
    expect(frame.datagramFrame(new Uint8Array([...whole, 0]))).toBe(frame.DROP_LENGTH_MISMATCH);
    frame.writeHeader(whole, 0, 4, -10);
    expect(frame.datagramFrame(whole)).toBe(frame.DROP_LENGTH_MISMATCH);
  });

  test("with a negative id is dropped for that reason, not taken for another", () => {
    expect(frame.datagramFrame(frame.frameOf(-1, new Uint8Array(2)))).toBe(frame.DROP_NEGATIVE_ID);
  });
});
