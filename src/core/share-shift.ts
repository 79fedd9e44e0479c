// Keys are divided among hosts by a table, and hosts have come, gone or changed their weights: who answers for a key until
// the table is made anew. Shares must be right at once, and as few keys as possible move: an owner whose share has shrunk
// keeps that part of its keys, one that is gone none, and what they lose goes to those whose share has grown, in
// proportion to their growth. Which keys an owner keeps is told by a hash of the key, so a key that moves moves once.
import { finalMix } from "./hash.ts";

const TWO_TO_32 = 0x1_0000_0000;

export class ShareShift {
  /** Of each owner: the share of its keys that it keeps, and where it is now; -1: it is gone. */
  readonly #keeps: Float64Array;
  readonly #place: Int32Array;
  /** Who has grown: where they are, and by how much they and those before them have, as shares of all keys. */
  readonly #grown: Int32Array;
  readonly #growth: Float64Array;
  readonly #gainers: number;

  /** Owners by ascending key, with their weights, then and now. There is at least one now, and one then. */
  constructor(thenKeys: Float64Array, thenWeights: Int32Array, keys: Float64Array, weights: Int32Array) {
    const perWeightThen = 1 / sum(thenWeights);
    const perWeight = 1 / sum(weights);
    this.#keeps = new Float64Array(thenKeys.length);
    this.#place = new Int32Array(thenKeys.length).fill(-1);
    this.#grown = new Int32Array(keys.length);
    this.#growth = new Float64Array(keys.length);
    let gainers = 0;
    let growth = 0;
    let i = 0;
    for (let j = 0; j < keys.length; j++) {
      const key = keys[j]!;
      while (i < thenKeys.length && thenKeys[i]! < key) i++;
      const share = weights[j]! * perWeight;
      let had = 0;
      if (thenKeys[i] === key) {
        had = thenWeights[i]! * perWeightThen;
        this.#keeps[i] = Math.min(1, share / had);
        this.#place[i] = j;
      }
      if (share <= had) continue;
      growth += share - had;
      this.#grown[gainers] = j;
      this.#growth[gainers++] = growth;
    }
    this.#gainers = gainers;
  }

  /** Where the host is now that answers for a key with this hash, which was `owner`'s. */
  placeOf(owner: number, hash: number): number {
    const draw = finalMix(hash ^ 0x5bd1_e995) / TWO_TO_32;
    if (draw < this.#keeps[owner]! || this.#gainers === 0) return this.#place[owner]!;
    const total = this.#growth[this.#gainers - 1]!;
    const at = (finalMix(hash ^ 0x2c1b_3c6d) / TWO_TO_32) * total;
    let low = 0;
    let high = this.#gainers - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#growth[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return this.#grown[low]!;
  }
}

function sum(weights: Int32Array): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i]!;
  return total;
}
