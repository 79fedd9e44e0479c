import { expect, test } from "bun:test";
import fc from "fast-check";
import { advanceCursor, type CallCursor } from "../../src/core/call-totals.ts";

const cursor = (seq: number, succ: number, err: number): CallCursor => ({ seq, succ, err });

test("the first totals of an instance count whole", () => {
  expect(advanceCursor(undefined, cursor(7, 5, 2))).toEqual({ succ: 5, err: 2 });
});

test("later totals count by their difference, also when frames between them were lost", () => {
  expect(advanceCursor(cursor(1, 5, 2), cursor(9, 8, 2))).toEqual({ succ: 3, err: 0 });
});

test("a repeated frame and one that comes late count nothing", () => {
  expect(advanceCursor(cursor(9, 8, 2), cursor(9, 8, 2))).toBeUndefined();
  expect(advanceCursor(cursor(9, 8, 2), cursor(3, 7, 1))).toBeUndefined();
});

test("totals that wrapped at 2^32 count the calls in between", () => {
  expect(advanceCursor(cursor(1, 0xffff_fffe, 0xffff_ffff), cursor(2, 3, 0))).toEqual({ succ: 5, err: 1 });
});

test("frames lost, repeated and reordered lose and double no call: the sum is what the newest frame says", () => {
  const step = fc.record({ succ: fc.nat(2 ** 31), err: fc.nat(2 ** 31) });
  const arrival = fc.record({ from: fc.nat(30), lost: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), fc.array(arrival, { maxLength: 60 }), (steps, net) => {
      const sent: { cursor: CallCursor; total: { succ: bigint; err: bigint } }[] = [];
      let succ = 0n;
      let err = 0n;
      steps.forEach((calls, seq) => {
        succ += BigInt(calls.succ);
        err += BigInt(calls.err);
        sent.push({
          cursor: cursor(seq + 1, Number(BigInt.asUintN(32, succ)), Number(BigInt.asUintN(32, err))),
          total: { succ, err },
        });
      });
      // Between two frames that arrive fewer than 2^32 calls: what the wire asks for. So every frame arrives once, in
      // order, and between them any earlier one again.
      let held: CallCursor | undefined;
      const counted = { succ: 0n, err: 0n };
      const receive = (next: CallCursor): void => {
        const added = advanceCursor(held, next);
        if (added === undefined) return;
        held = next;
        counted.succ += BigInt(added.succ);
        counted.err += BigInt(added.err);
      };
      sent.forEach((frame, i) => {
        receive(frame.cursor);
        for (const { from, lost } of net.slice(i * 2, i * 2 + 2)) {
          if (!lost && from <= i) receive(sent[from]!.cursor);
        }
        expect(counted).toEqual(frame.total);
      });
    }),
    { seed: 5 },
  );
});
