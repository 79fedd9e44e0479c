// Requests that wait, soonest deadline first. All wait equally long, so a queue is enough: what is pushed later is due
// later. An array with a moving head makes both ends cheap; what lies before the head is given back while the queue is
// in use, for under a steady stream of waiting requests it is never empty.

interface Entry<T> {
  readonly item: T;
  readonly deadlineMs: number;
}

const COMPACT_FROM = 1024;

export class WaitQueue<T> {
  #entries: (Entry<T> | undefined)[] = [];
  #head = 0;

  /** Places in memory, used and free. */
  get capacity(): number {
    return this.#entries.length;
  }

  /** `deadlineMs` must not be before that of the item pushed last, or it is late by the difference. */
  push(item: T, deadlineMs: number): void {
    this.#entries.push({ item, deadlineMs });
  }

  /** Takes out the first item if its deadline has come. */
  takeDue(nowMs: number): T | undefined {
    const first = this.#entries[this.#head];
    if (first === undefined || first.deadlineMs > nowMs) return undefined;
    this.#entries[this.#head++] = undefined;
    if (this.#head === this.#entries.length) {
      this.#entries = [];
      this.#head = 0;
    } else if (this.#head >= COMPACT_FROM && this.#head * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    return first.item;
  }
}
