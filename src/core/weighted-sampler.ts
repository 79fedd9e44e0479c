// Draws an index with probability proportional to its weight, in O(1): the alias method (A. J. Walker 1977, with M. D.
// Vose's construction of 1991). Building is O(n) and happens when hosts come, go or change, not per pick.
import type { Random } from "./balancer.ts";

const NO_PROBABILITY = new Float64Array(0);
const NO_ALIAS = new Int32Array(0);

/** Used while a sampler is built, by one after the other: garbage of this size for every route change is work too. */
let scaledWeights = NO_PROBABILITY;
let stack = NO_ALIAS;

function scratch(size: number): Float64Array {
  if (scaledWeights.length < size) {
    scaledWeights = new Float64Array(size);
    stack = new Int32Array(size);
  }
  return scaledWeights;
}

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
    const scaled = scratch(size);
    const first = size > 0 ? weight(0) : 0;
    let total = 0;
    for (let i = 0; i < size; i++) {
      const each = weight(i);
      scaled[i] = each;
      total += each;
      if (each !== first) this.#uniform = false;
    }
    if (this.#uniform) return;
    if (this.#probability.length < size) {
      this.#probability = new Float64Array(size);
      this.#alias = new Int32Array(size);
    }
    const probability = this.#probability;
    const alias = this.#alias;
    // One stack from either end: of those with less than their share, and of those with more.
    let less = 0;
    let more = size;
    for (let i = 0; i < size; i++) {
      scaled[i] = (scaled[i]! * size) / total;
      stack[scaled[i]! < 1 ? less++ : --more] = i;
    }
    while (less > 0 && more < size) {
      const small = stack[--less]!;
      const large = stack[more]!;
      probability[small] = scaled[small]!;
      alias[small] = large;
      scaled[large]! -= 1 - scaled[small]!;
      if (scaled[large]! < 1) {
        more++;
        stack[less++] = large;
      }
    }
    while (less > 0) this.#keepAll(stack[--less]!);
    while (more < size) this.#keepAll(stack[more++]!);
  }

  #keepAll(index: number): void {
    this.#probability[index] = 1;
    this.#alias[index] = index;
  }

  /** 0 to size - 1. The size must not be 0. */
  draw(random: Random): number {
    const scaled = random() * this.#size;
    const index = Math.floor(scaled);
    if (this.#uniform) return index;
    return scaled - index < this.#probability[index]! ? index : this.#alias[index]!;
  }
}
