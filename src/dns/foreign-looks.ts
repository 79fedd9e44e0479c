// When to compare the whole of the original's tables with ours, and who does it. A comparison costs the database half a
// second at a million hosts, so it goes on beside everything else: polls and writers do not wait for it. It is due
//
// - when a writer noticed that RouteVersion or RouteChange was moved by another hand, and nobody has looked since;
// - once more 700 ms later, because some old tools move RouteVersion before they write the row;
// - full_reload_interval after the last one began, for changes that leave no sign.
//
// Of all instances one makes each look: who wants to claims it, and the claim holds only if nobody else began one since.
// One that dies in the middle is succeeded after a while.
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { Head, Look, RouteStore } from "../store/route-store.ts";

/** An old tool may move RouteVersion before it writes the row: look once more, this long after. */
const SECOND_LOOK_MS = 700;
/** A look for a sign that was claimed and has settled nothing for so long is made by somebody else. */
const PATIENCE_MS = 2_000;
/** Of the time, at most: one part in so many is spent looking for what leaves no sign. */
const SHARE = 5;

export interface ForeignLooksOptions {
  readonly store: Pick<RouteStore, "look" | "claimLook">;
  readonly clock: Clock;
  readonly log: Log;
  readonly intervalMs: () => number;
  /** Takes over what was found. `signed`: a mark waits to be settled, so it is to be called with nothing found too. */
  readonly take: (look: Look) => Promise<void>;
}

export class ForeignLooks {
  readonly #options: ForeignLooksOptions;
  #running: Promise<void> | undefined;
  /** How long the last look took. */
  #tookMs = 0;
  #beganMs = Number.NEGATIVE_INFINITY;
  #seenMarks = -1;
  #secondLook: { readonly dueMs: number; readonly dueWallMs: number } | undefined;
  #failure: string | undefined;
  readonly counts = { looks: 0, failures: 0 };

  constructor(options: ForeignLooksOptions) {
    this.#options = options;
  }

  /** Of the last look, in milliseconds. */
  get tookMs(): number {
    return this.#tookMs;
  }

  /** Resolves when no look is under way. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** To be called with every head that was read. `marks`: as of the head, or as a write noticed them since. */
  consider(head: Head, marks: number): void {
    const { clock } = this.#options;
    if (head.foreignMoved && marks !== this.#seenMarks) {
      this.#seenMarks = marks;
      this.#secondLook = { dueMs: clock.nowMs() + SECOND_LOOK_MS, dueWallMs: clock.wallMs() + SECOND_LOOK_MS };
    }
    if (this.#running !== undefined || !this.#isDue(head, marks)) return;
    this.#running = this.#look(head).finally(() => {
      this.#running = undefined;
    });
  }

  #isDue(head: Head, marks: number): boolean {
    const { clock, intervalMs } = this.#options;
    const wallMs = clock.wallMs();
    const agoMs = wallMs - head.lookedAtMs;
    const signed = head.foreignMoved && (head.lookedMarks < marks || agoMs >= PATIENCE_MS + 2 * this.#tookMs);
    // Under marks that never end half of the time is left to others.
    if (signed && (agoMs >= 2 * this.#tookMs || agoMs < 0)) return true;
    if (this.#secondLook !== undefined && clock.nowMs() >= this.#secondLook.dueMs) {
      const isMade = head.lookedAtMs >= this.#secondLook.dueWallMs && agoMs >= 0;
      this.#secondLook = undefined;
      if (!isMade) return true;
    }
    // It is to be found within the interval, so the next look begins as much earlier as it will take.
    const everyMs = Math.max(intervalMs() - this.#tookMs, (SHARE - 1) * this.#tookMs);
    // A time that lies ahead is another instance's clock; far ahead, it was set wrong and is ignored. Two instances whose
    // clocks are far apart do not believe each other, so each looks for itself.
    const isLongAgo = agoMs >= everyMs || agoMs < -everyMs;
    return isLongAgo && clock.nowMs() - this.#beganMs >= everyMs;
  }

  async #look(head: Head): Promise<void> {
    const { store, clock, take, log } = this.#options;
    try {
      if (!(await store.claimLook(head.lookedAtMs, clock.wallMs()))) return;
      this.#beganMs = clock.nowMs();
      const look = await store.look(head.foreignMoved);
      this.#tookMs = clock.nowMs() - this.#beganMs;
      this.counts.looks++;
      await take(look);
      this.#failure = undefined;
    } catch (error) {
      this.counts.failures++;
      const text = error instanceof Error ? error.message : String(error);
      if (text !== this.#failure) log.warn("comparing the original's tables with ours failed", { error });
      this.#failure = text;
    }
  }
}
