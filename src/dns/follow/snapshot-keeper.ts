// When the follower's file is written: soon after a change, but never so often that writing is what the process does.
// A disk that is full costs the file, not the service: it is said, counted and tried again.
import type { Clock, SetTimer } from "../../platform/clock.ts";
import { type Log, whenNew } from "../../platform/log.ts";
import type { RouteDelta } from "../../store/route-store.ts";
import type { FollowerSnapshot } from "./follower-snapshot.ts";

export interface SnapshotKeeperOptions {
  readonly snapshot: FollowerSnapshot;
  /** Everything that is served, as it is now. */
  readonly routes: () => RouteDelta;
  readonly intervalMs: () => number;
  readonly clock: Clock;
  readonly setTimer: SetTimer;
  readonly log: Log;
}

/** Of the time, at most this share goes into writing. */
const MOST_BUSY = 0.05;

export class SnapshotKeeper {
  readonly #options: SnapshotKeeperOptions;
  readonly #say: (line: string) => void;
  #dirty = false;
  #cancel: (() => void) | undefined;
  #saving: Promise<void> | undefined;
  #tookMs = 0;
  readonly counts = { saves: 0, failures: 0 };

  constructor(options: SnapshotKeeperOptions) {
    this.#options = options;
    this.#say = whenNew(
      (error) => options.log.error("the routes could not be saved; serving goes on, tried again", { error }),
      () => options.clock.nowMs(),
    );
  }

  /** Something changed: it is saved within the interval. */
  changed(): void {
    this.#dirty = true;
    this.#plan();
  }

  #plan(): void {
    if (this.#cancel !== undefined || this.#saving !== undefined) return;
    const delayMs = Math.max(this.#options.intervalMs(), this.#tookMs / MOST_BUSY);
    this.#cancel = this.#options.setTimer(delayMs, () => {
      this.#cancel = undefined;
      void this.save();
    });
  }

  /** Saves now if there is something to save. Never throws. */
  async save(): Promise<void> {
    while (this.#saving !== undefined) await this.#saving;
    if (!this.#dirty) return;
    this.#saving = this.#save();
    await this.#saving;
    this.#saving = undefined;
    if (this.#dirty) this.#plan();
  }

  async #save(): Promise<void> {
    const { snapshot, routes, clock } = this.#options;
    const startedMs = clock.nowMs();
    this.#dirty = false;
    try {
      await snapshot.save(routes(), clock.wallMs());
      this.counts.saves++;
    } catch (error) {
      this.#dirty = true;
      this.counts.failures++;
      this.#say(error instanceof Error ? error.message : String(error));
    }
    this.#tookMs = clock.nowMs() - startedMs;
  }

  /** Saves what is not saved yet, and plans nothing more. */
  async stop(): Promise<void> {
    await this.save();
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
