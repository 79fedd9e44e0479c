// When each token was last used, for people who want to know which can go. A request never writes: uses are kept in
// memory and written together once a minute while there are any, and at the end. A process that is killed loses its
// last minute of them, which is what the minute is worth.
import { type Clock, type SetTimer, systemTimer } from "../platform/clock.ts";
import type { TokenStore } from "../store/route-store.ts";

const WRITE_INTERVAL_MS = 60_000;

export class TokenUses {
  readonly #store: TokenStore;
  readonly #clock: Clock;
  readonly #setTimer: SetTimer;
  readonly #maxTokens: number;
  /** id -> Unix milliseconds, not written yet. */
  #waiting = new Map<string, number>();
  #writing: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #closed = false;
  readonly counts = { dropped: 0, written: 0, failed: 0 };

  constructor(store: TokenStore, maxTokens: number, clock: Clock, setTimer: SetTimer = systemTimer) {
    this.#store = store;
    this.#maxTokens = maxTokens;
    this.#clock = clock;
    this.#setTimer = setTimer;
  }

  note(id: string): void {
    if (this.#closed) return;
    if (this.#waiting.size >= this.#maxTokens && !this.#waiting.has(id)) {
      this.counts.dropped++;
      return;
    }
    this.#waiting.set(id, this.#clock.wallMs());
    this.#cancelTimer ??= this.#setTimer(WRITE_INTERVAL_MS, () => void this.#write());
  }

  /** What this instance has not written yet: Unix milliseconds. */
  unwritten(id: string): number | undefined {
    return this.#waiting.get(id);
  }

  /** Writes what is left, once. Does not throw: nothing depends on it. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.#write();
  }

  #write(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (this.#waiting.size === 0) return Promise.resolve();
    const uses = this.#waiting;
    this.#waiting = new Map();
    this.#writing = this.#store.noteUses([...uses].map(([id, atMs]) => ({ id, atMs }))).then(
      () => {
        this.counts.written += uses.size;
      },
      () => {
        this.counts.failed++;
        // What came in meanwhile is newer.
        for (const [id, atMs] of this.#waiting) uses.set(id, atMs);
        this.#waiting = uses;
        if (!this.#closed) this.#cancelTimer ??= this.#setTimer(WRITE_INTERVAL_MS, () => void this.#write());
      },
    );
    return this.#writing;
  }
}
