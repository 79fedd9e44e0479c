// How the tables stand between two writes, as far as the next writer must know it: what the lock's row says, and what
// RouteVersion says beside it.
//
// Every write leaves a number of its own in the row, drawn by chance. A writer that goes by what it believes (a write of
// its own that is still under way, foreseen-transaction.ts) is right about the revision and may be wrong about whose it
// is: another instance may have written as many changes in its place.

/** What RouteVersion's column holds in old databases. */
const MAX_ROUTE_VERSION = 0xffff_ffffn;

export interface Stand {
  readonly revision: number;
  readonly routeVersion: bigint;
  readonly lastWrite: number;
}

/** 53 bits of chance. */
export function drawWriteMark(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high! & 0x1f_ffff) * 0x1_0000_0000 + low!;
}

/** A count as SQL gives it, beyond 2^53 too. An old tool may have left anything there. */
export function toBigInt(text: unknown): bigint {
  return typeof text === "string" && /^\d+$/.test(text) ? BigInt(text) : 0n;
}

/**
 * What RouteVersion becomes when we commit: at least our revision, and something it was not. A foreign value ahead of
 * the clock is counted on from; at the end of its 32 bits, where it cannot move on, it comes back to our revision.
 */
export function nextRouteVersion(now: bigint, revision: number): bigint {
  const ours = BigInt(revision);
  if (now < ours) return ours;
  return now < MAX_ROUTE_VERSION ? now + 1n : ours;
}
