// When many agents lose the same server at once, fixed retry delays bring them all back in the same instant, again and
// again. Full jitter spreads them: each delay is drawn evenly from 0 to a ceiling that doubles with every failure. Of the
// usual variants it needs the fewest attempts in all (M. Brooker, "Exponential Backoff And Jitter", 2015).

export interface BackoffLimits {
  /** Ceiling of the first delay, in milliseconds, above 0. */
  readonly baseMs: number;
  /** No ceiling is higher, in milliseconds. */
  readonly maxMs: number;
}

/**
 * The delay before attempt number `attempt` (0 = the first after a failure), in milliseconds.
 * @param random01 drawn by the caller, 0 <= random01 < 1
 */
export function backoffDelay(attempt: number, limits: BackoffLimits, random01: number): number {
  // 2^attempt is Infinity after a thousand failures, which the minimum takes care of.
  const ceiling = Math.min(limits.maxMs, limits.baseMs * 2 ** Math.max(0, attempt));
  return random01 * ceiling;
}
