// Policy `round_robin`: in turn, smoothly in proportion to weight. Every host has a time at which it is due next, one
// step of 1/weight after the last (earliest deadline first); the host due first is picked. A binary heap makes that
// O(log hosts). The first times are drawn, so that many agents do not march in step.
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";

const NONE_DUE = new Float64Array(0);
const EMPTY_HEAP = new Int32Array(0);

export class RoundRobinPicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  #due = NONE_DUE;
  #heap = EMPTY_HEAP;
  #drawn = true;

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    this.#due = new Float64Array(hosts.length);
    this.#heap = Int32Array.from({ length: hosts.length }, (_, i) => i);
    this.#drawn = false;
  }

  pick(context: PickContext): SteeredHost {
    if (!this.#drawn) this.#draw(context);
    const host = this.#next();
    return heldBack(host, context) ? this.#next() : host;
  }

  #draw(context: PickContext): void {
    this.#drawn = true;
    for (let i = 0; i < this.#hosts.length; i++) this.#due[i] = context.random() / this.#hosts.weightAt(i);
    for (let i = (this.#heap.length >> 1) - 1; i >= 0; i--) this.#sink(i);
  }

  #next(): SteeredHost {
    const index = this.#heap[0]!;
    const host = this.#hosts.at(index);
    this.#due[index]! += 1 / host.weight;
    this.#sink(0);
    return host;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const due = this.#due;
    const size = heap.length;
    const moving = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && due[heap[child + 1]!]! < due[heap[child]!]!) child++;
      if (due[heap[child]!]! >= due[moving]!) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moving;
  }
}
