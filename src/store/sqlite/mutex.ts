// One at a time, in order of arrival. SQLite's connection has one transaction at most; whoever awaits in the middle of
// it must not let somebody else's statement slip in.
import { StoreUnavailable } from "../route-store.ts";

const MAX_WAITING = 10_000;

export class Mutex {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING)
      throw new StoreUnavailable(`${MAX_WAITING} callers wait for the database already`);
    this.#waiting++;
    const turn = this.#last.then(work, work).finally(() => this.#waiting--);
    // Whoever comes next waits for the end, not for the outcome.
    this.#last = turn.catch(() => {});
    return turn;
  }
}
