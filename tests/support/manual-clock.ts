// A clock that stands still until a test moves it. Timers are part of it, so that code which waits can be tested
// without waiting: `advance` fires what is due, in order, at its own instant.
import type { Clock } from "../../src/platform/clock.ts";

interface Timer {
  readonly id: number;
  readonly atMs: number;
  readonly run: () => void;
}

/** The default wall clock starts at 2026-01-01T00:00:00Z, the monotonic one at 0. */
export class ManualClock implements Clock {
  #nowMs: number;
  #wallMs: number;
  #nextId = 1;
  readonly #timers = new Map<number, Timer>();

  constructor(options: { readonly nowMs?: number; readonly wallMs?: number } = {}) {
    this.#nowMs = options.nowMs ?? 0;
    this.#wallMs = options.wallMs ?? Date.UTC(2026, 0, 1);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** Sets people's time without moving monotonic time, as an operator or NTP does. */
  setWallMs(wallMs: number): void {
    this.#wallMs = wallMs;
  }

  /** A one-shot timer; the returned function cancels it. */
  setTimer(delayMs: number, run: () => void): () => void {
    const id = this.#nextId++;
    this.#timers.set(id, { id, atMs: this.#nowMs + delayMs, run });
    return () => this.#timers.delete(id);
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the earliest timer, or undefined when there is none. */
  nextTimerInMs(): number | undefined {
    const next = this.#earliest();
    return next === undefined ? undefined : next.atMs - this.#nowMs;
  }

  /** Moves both clocks and fires the timers that fall due, those set meanwhile included. */
  advance(ms: number): void {
    const target = this.#nowMs + ms;
    for (let next = this.#earliest(); next !== undefined && next.atMs <= target; next = this.#earliest()) {
      this.#timers.delete(next.id);
      this.#moveTo(Math.max(next.atMs, this.#nowMs));
      next.run();
    }
    this.#moveTo(target);
  }

  /** As {@link advance}, letting promises settle after each timer. */
  async advanceAsync(ms: number): Promise<void> {
    const target = this.#nowMs + ms;
    await settle();
    for (let next = this.#earliest(); next !== undefined && next.atMs <= target; next = this.#earliest()) {
      this.#timers.delete(next.id);
      this.#moveTo(Math.max(next.atMs, this.#nowMs));
      next.run();
      await settle();
    }
    this.#moveTo(target);
    await settle();
  }

  #moveTo(nowMs: number): void {
    this.#wallMs += nowMs - this.#nowMs;
    this.#nowMs = nowMs;
  }

  #earliest(): Timer | undefined {
    let earliest: Timer | undefined;
    for (const timer of this.#timers.values()) {
      if (earliest === undefined || timer.atMs < earliest.atMs) earliest = timer;
    }
    return earliest;
  }
}

/** Lets everything that is already resolved run: two turns of the event loop. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
