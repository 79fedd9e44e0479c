// How many calls of a host went well and badly, as agents tell it and the report service adds it up.
//
// An agent keeps running totals since it began (its "instance") and sends them again and again; the receiver remembers
// the last totals of each instance (a cursor) and adds the difference. So a frame lost, repeated or late neither loses
// nor doubles a call. Totals are 32 bits on the wire and wrap: differences are taken modulo 2^32, which is right as long
// as one host got fewer than 2^32 calls from one agent between two frames that arrive.

/** Totals of one (instance, module, host), as last counted. `seq` orders frames of an instance. */
export interface CallCursor {
  readonly seq: number;
  readonly succ: number;
  readonly err: number;
}

/** What to add to the stored counts, or undefined when the frame is a repeat or older than what was counted. */
export function advanceCursor(
  cursor: CallCursor | undefined,
  next: CallCursor,
): { readonly succ: number; readonly err: number } | undefined {
  if (cursor === undefined) return { succ: next.succ >>> 0, err: next.err >>> 0 };
  if (next.seq <= cursor.seq) return undefined;
  return { succ: (next.succ - cursor.succ) >>> 0, err: (next.err - cursor.err) >>> 0 };
}
