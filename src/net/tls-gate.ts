// Connections whose TLS handshake is not over. Whoever connects and then says nothing holds a descriptor and some memory
// of the library's; it has a deadline. One timer for all of them, which runs only while there are any.

export class HandshakeGate<S> {
  /** Sockets by arrival, so the oldest is first. */
  readonly #since = new Map<S, number>();
  readonly #timeoutMs: number;
  readonly #onTimeout: (socket: S) => void;
  #sweeper: ReturnType<typeof setInterval> | undefined;

  /** `onTimeout`: the socket is out of the gate already. */
  constructor(timeoutMs: number, onTimeout: (socket: S) => void) {
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
  }

  get size(): number {
    return this.#since.size;
  }

  add(socket: S): void {
    this.#since.set(socket, performance.now());
    this.#sweeper ??= setInterval(() => this.#sweep(), Math.min(1000, this.#timeoutMs / 4));
  }

  /** False: it was not waiting (any more). */
  remove(socket: S): boolean {
    const was = this.#since.delete(socket);
    if (this.#since.size === 0) this.#rest();
    return was;
  }

  /** Empties the gate and returns what was in it. */
  clear(): readonly S[] {
    const waiting = [...this.#since.keys()];
    this.#since.clear();
    this.#rest();
    return waiting;
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [socket, sinceMs] of this.#since) {
      if (nowMs - sinceMs < this.#timeoutMs) return;
      this.remove(socket);
      this.#onTimeout(socket);
    }
  }

  #rest(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}
