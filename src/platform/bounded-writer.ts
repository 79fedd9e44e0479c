// Lines to a reader that may be slow, stuck or gone. What waits for it is bounded; beyond that lines are dropped, and the
// next one that fits is preceded by one that says how many. Streams do not tell how much waits, so it is counted here.

export class BoundedWriter {
  readonly #send: (text: string, done: () => void) => void;
  readonly #notice: (dropped: number) => string;
  readonly #maxWaiting: number;
  #waiting = 0;
  #dropped = 0;
  #whenWritten: (() => void)[] = [];

  /** `send` calls `done` when the reader has taken the text. `maxWaiting`: in characters. */
  constructor(send: (text: string, done: () => void) => void, notice: (dropped: number) => string, maxWaiting: number) {
    this.#send = send;
    this.#notice = notice;
    this.#maxWaiting = maxWaiting;
  }

  write(line: string): void {
    if (this.#waiting + line.length > this.#maxWaiting) {
      this.#dropped++;
      return;
    }
    if (this.#dropped > 0) {
      this.#pass(this.#notice(this.#dropped));
      this.#dropped = 0;
    }
    this.#pass(line);
  }

  /** Resolves when the reader has taken everything so far; never when there is no reader. */
  written(): Promise<void> {
    return this.#waiting === 0 ? Promise.resolve() : new Promise((resolve) => this.#whenWritten.push(resolve));
  }

  #pass(text: string): void {
    this.#waiting += text.length;
    this.#send(text, () => {
      this.#waiting -= text.length;
      if (this.#waiting > 0) return;
      for (const written of this.#whenWritten) written();
      this.#whenWritten = [];
    });
  }
}
