// Time as a dependency. Whatever waits, expires or measures is handed a Clock, so that tests run it in virtual time and
// nobody mixes up the two kinds of time: durations come from a clock that never jumps, dates from one that people set.

export interface Clock {
  /** Monotonic milliseconds with fractions, from an arbitrary start. For durations; comparable within one process only. */
  nowMs(): number;
  /** Unix milliseconds. May jump when the machine's time is set. */
  wallMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
};

/** Calls `run` once after `delayMs`; the returned function cancels it. Injected where something waits. */
export type SetTimer = (delayMs: number, run: () => void) => () => void;

export const systemTimer: SetTimer = (delayMs, run) => {
  const timer = setTimeout(run, delayMs);
  return () => clearTimeout(timer);
};
