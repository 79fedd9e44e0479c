// Time as far as this process had a share in it. On a busy machine a process may not run for a second, and when it runs
// again every time-out is over, though what it waited for lies in its sockets. So a time-out of a test's own caller counts
// ticks: between two of them the event loop reads what came, and however late a tick is, it counts little.

/** What a tick that is late by any time counts at most. */
const MOST_MS = 25;

export class OwnTime {
  /** Since the beginning. */
  ms = 0;
  /** What did not count, in all and at a time. */
  heldUpMs = 0;
  longestHeldUpMs = 0;
  #tickedAtMs: number;

  constructor(nowMs: number) {
    this.#tickedAtMs = nowMs;
  }

  /** To be called every few milliseconds, from a timer of the event loop. */
  tick(nowMs: number): void {
    const passedMs = nowMs - this.#tickedAtMs;
    const countedMs = Math.min(passedMs, MOST_MS);
    this.#tickedAtMs = nowMs;
    this.ms += countedMs;
    this.heldUpMs += passedMs - countedMs;
    this.longestHeldUpMs = Math.max(this.longestHeldUpMs, passedMs - countedMs);
  }
}
