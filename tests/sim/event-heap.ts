// Which call ends next: a binary heap over two flat arrays. Events at the same instant come in the order they were
// put in, so that a run does not depend on the heap's shape.

export class EventHeap {
  #timeMs = new Float64Array(1024);
  #call = new Int32Array(1024);
  size = 0;

  /** When the next event is due; Infinity when there is none. */
  get nextMs(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#timeMs[0]!;
  }

  /** Calls are numbered as they are made, which is what orders events of the same instant. */
  push(timeMs: number, call: number): void {
    if (this.size === this.#timeMs.length) this.#grow();
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const parentMs = this.#timeMs[parent]!;
      if (parentMs < timeMs || (parentMs === timeMs && this.#call[parent]! < call)) break;
      this.#timeMs[at] = parentMs;
      this.#call[at] = this.#call[parent]!;
      at = parent;
    }
    this.#timeMs[at] = timeMs;
    this.#call[at] = call;
  }

  /** Takes the next event's call. The heap must not be empty. */
  pop(): number {
    const first = this.#call[0]!;
    const size = --this.size;
    if (size === 0) return first;
    const timeMs = this.#timeMs[size]!;
    const call = this.#call[size]!;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && this.#before(right, child)) child = right;
      const childMs = this.#timeMs[child]!;
      if (timeMs < childMs || (timeMs === childMs && call < this.#call[child]!)) break;
      this.#timeMs[at] = childMs;
      this.#call[at] = this.#call[child]!;
      at = child;
    }
    this.#timeMs[at] = timeMs;
    this.#call[at] = call;
    return first;
  }

  #before(a: number, b: number): boolean {
    const difference = this.#timeMs[a]! - this.#timeMs[b]!;
    return difference < 0 || (difference === 0 && this.#call[a]! < this.#call[b]!);
  }

  #grow(): void {
    const timeMs = new Float64Array(this.size * 2);
    timeMs.set(this.#timeMs);
    this.#timeMs = timeMs;
    const call = new Int32Array(this.size * 2);
    call.set(this.#call);
    this.#call = call;
  }
}
