// Keeps the lease clock (core/lease-clock.ts) with the row in the database: looks, moves it on when that is ours to do,
// and says what time it is for leases.
import { LeaseClock, MAX_STEP_MS } from "../core/lease-clock.ts";
import type { Clock } from "../platform/clock.ts";
import type { LeaseStore } from "../store/lease-store.ts";

export interface LeaseLook {
  /** This instance moved the clock just now: what is over by it is this instance's to end. */
  readonly isOwner: boolean;
  readonly clockMs: number;
  /** The earliest end of a lease; undefined: there is none. */
  readonly earliestMs: number | undefined;
}

export class LeaseTime {
  readonly #clock = new LeaseClock();
  readonly #store: LeaseStore;
  readonly #time: Clock;
  readonly #owner: string;
  #looking: Promise<LeaseLook> | undefined;

  /** `owner`: a name of this instance that no other has. */
  constructor(store: LeaseStore, time: Clock, owner: string) {
    this.#store = store;
    this.#time = time;
    this.#owner = owner;
  }

  get isOwner(): boolean {
    return this.#clock.isOwner;
  }

  /** As it was last seen; 0: never. */
  get clockMs(): number {
    return this.#clock.row?.clockMs ?? 0;
  }

  /** What the clock would show now if it moved without steps; undefined: it was never seen. */
  reckoned(): number | undefined {
    return this.#clock.running(this.#time.nowMs());
  }

  /** The most it can show now, whatever became of it since it was last seen; undefined: it was never seen. */
  latest(): number | undefined {
    return this.#clock.latest(this.#time.nowMs());
  }

  /**
   * As `reckoned` while the last look is so recent that the clock cannot be ahead of that; undefined: look at the row.
   */
  known(): number | undefined {
    return this.#clock.age(this.#time.nowMs()) <= MAX_STEP_MS ? this.reckoned() : undefined;
  }

  /** As `reckoned`, after a look, which moves nothing, when the last is long ago. @throws StoreUnavailable */
  async now(): Promise<number> {
    if (this.known() === undefined) await this.look(false);
    return this.reckoned() ?? 0;
  }

  /**
   * One look at a time; who comes meanwhile shares it. `mayMove` false: whose turn it is to move the clock, nothing was
   * served, and the time that goes by is not counted. @throws StoreUnavailable
   */
  look(mayMove = true): Promise<LeaseLook> {
    this.#looking ??= this.#look(mayMove).finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #look(mayMove: boolean): Promise<LeaseLook> {
    const clock = this.#clock;
    try {
      const { earliestMs, ...row } = await this.#store.clock();
      const step = clock.observe(row, this.#time.nowMs(), earliestMs === undefined);
      let made = false;
      if (step.kind === "advance" && !mayMove) clock.lost();
      else if (step.kind === "advance") {
        made = await this.#store.advance(step.tick, step.byMs, this.#owner);
        clock.moved(made);
      }
      return { isOwner: made, clockMs: clock.row?.clockMs ?? 0, earliestMs };
    } catch (error) {
      clock.lost();
      throw error;
    }
  }
}
