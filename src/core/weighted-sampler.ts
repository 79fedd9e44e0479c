// Draws an index with probability proportional to its weight, in O(1): the alias method (A. J. Walker 1977, with M. D.
// Vose's construction of 1991). Building is O(n) and happens when hosts come, go or change, not per pick.
import type { Random } from "./balancer.ts";

const NO_PROBABILITY = new Float64Array(0);
const NO_ALIAS = new Int32Array(0);

export class WeightedSampler {
  #size = 0;
  #uniform = true;
  #probability = NO_PROBABILITY;
  #alias = NO_ALIAS;

  get size(): number {
    return this.#size;
  }

  /** `weight(i)` > 0 for i below `size`. */
  build(size: number, weight: (index: number) => number): void {
    this.#size = size;
    this.#uniform = true;
    for (let i = 1; i < size; i++) if (weight(i) !== weight(0)) this.#uniform = false;
    if (this.#uniform) return;
    if (this.#probability.length < size) {
      this.#probability = new Float64Array(size);
      this.#alias = new Int32Array(size);
    }
    let total = 0;
    for (let i = 0; i < size; i++) total += weight(i);
    const scaled = new Float64Array(size);
    const small: number[] = [];
    const large: number[] = [];
    for (let i = 0; i < size; i++) {
      scaled[i] = (weight(i) * size) / total;
      (scaled[i]! < 1 ? small : large).push(i);
    }
    while (small.length > 0 && large.length > 0) {
      const less = small.pop()!;
      const more = large.at(-1)!;
      this.#probability[less] = scaled[less]!;
      this.#alias[less] = more;
      scaled[more] = scaled[more]! - (1 - scaled[less]!);
      if (scaled[more]! < 1) {
        large.pop();
        small.push(more);
      }
    }
    for (const i of [...small, ...large]) {
      this.#probability[i] = 1;
      this.#alias[i] = i;
    }
  }

  /** 0 to size - 1. The size must not be 0. */
  draw(random: Random): number {
    const scaled = random() * this.#size;
    const index = Math.floor(scaled);
    if (this.#uniform) return index;
    return scaled - index < this.#probability[index]! ? index : this.#alias[index]!;
  }
}
