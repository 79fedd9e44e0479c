// Fills the table of `consistent_hash` in stretches. Every slot is taken by the host whose turn it is, at the first free
// place of the host's own permutation (Maglev), heavier hosts taking more turns. To find the last free places takes most
// of the work, 12 looks a slot in all: 3 ms for 65,537 slots, which is too long for a thread that answers callers. It is of
// use when it is whole: a key's host is to be the same on every agent, and how far each of them has come is not.
import { finalMix } from "./hash.ts";

/** Prime, and the same for every number of hosts and on every agent: a key's host must not depend on who is asked. */
export const TABLE_SIZE = 65_537;
/** Marks a free slot; hosts beyond that many are left out. */
export const EMPTY = 0xffff;
/** Work: a look at a slot is 1, a turn is 2, and to take a slot is as much as 4 looks, with a queue 16. */
const TURN = 2;
const TAKING = 4;
const QUEUED = 12;
/** A host that has to wait for so many rounds on average waits in a queue: to ask each in each round would take longer. */
const MANY_ROUNDS = 4;

/** More than there are hosts. */
const PLACES = 65_536;

export class MaglevFill {
  /** By slot: whose it is, as an index into the keys; or EMPTY. */
  readonly table = new Uint16Array(TABLE_SIZE).fill(EMPTY);
  readonly #hosts: number;
  /** Where a host looks next, and how far it goes on from a slot that is taken. */
  readonly #at: Int32Array;
  readonly #skip: Int32Array;
  readonly #weights: Int32Array;
  readonly #heaviest: number;
  /** Turns in proportion to weight: a host takes one when its credit reaches the heaviest host's weight. */
  readonly #credit: Int32Array;
  /** Where weights differ much: who is next, as a heap of round * PLACES + host. Then the credit is the turns taken. */
  readonly #queue: Float64Array | undefined;
  /** Whose turn it is, and whether it is looking for its slot already. */
  #turn = 0;
  #looking = false;
  #filled = 0;

  /** `keys`: of the hosts' endpoints, ascending: hosts take turns, so their order matters. There is at least one. */
  constructor(keys: Float64Array, weights: Int32Array) {
    this.#hosts = Math.min(keys.length, EMPTY);
    this.#at = new Int32Array(this.#hosts);
    this.#skip = new Int32Array(this.#hosts);
    this.#credit = new Int32Array(this.#hosts);
    this.#weights = weights;
    let heaviest = 1;
    let total = 0;
    for (let i = 0; i < this.#hosts; i++) {
      const key = keys[i]!;
      this.#at[i] = finalMix(remainder(key, 0xffff_fffb)) % TABLE_SIZE;
      this.#skip[i] = (finalMix(remainder(key, 0xffff_ff7f) ^ 0x5bd1_e995) % (TABLE_SIZE - 1)) + 1;
      heaviest = Math.max(heaviest, weights[i]!);
      total += weights[i]!;
    }
    this.#heaviest = heaviest;
    if (heaviest * this.#hosts <= MANY_ROUNDS * total) return;
    const queue = new Float64Array(this.#hosts);
    for (let i = 0; i < queue.length; i++) queue[i] = this.#nextOf(i);
    for (let i = (queue.length >> 1) - 1; i >= 0; i--) sink(queue, i);
    this.#queue = queue;
  }

  /** The round in which its credit reaches the heaviest host's weight once more. */
  #nextOf(host: number): number {
    const round = Math.ceil(((this.#credit[host]! + 1) * this.#heaviest) / this.#weights[host]!);
    return round * PLACES + host;
  }

  /** Goes on for so much work: 1,000 take 3 us, and the whole table a million. True when it is whole. */
  goOn(work: number): boolean {
    const { table } = this;
    const at = this.#at;
    const skip = this.#skip;
    const credit = this.#credit;
    const weights = this.#weights;
    const heaviest = this.#heaviest;
    const hosts = this.#hosts;
    const queue = this.#queue;
    let turn = this.#turn;
    let looking = this.#looking;
    let filled = this.#filled;
    for (let left = work; filled < TABLE_SIZE && left > 0; left -= TURN) {
      if (!looking && queue !== undefined) {
        turn = queue[0]! % PLACES;
        looking = true;
      } else if (!looking) {
        credit[turn]! += weights[turn]!;
        if (credit[turn]! >= heaviest) {
          credit[turn]! -= heaviest;
          looking = true;
        }
      }
      if (looking) {
        const step = skip[turn]!;
        let slot = at[turn]!;
        while (left > 0 && table[slot] !== EMPTY) {
          slot += step;
          if (slot >= TABLE_SIZE) slot -= TABLE_SIZE;
          left--;
        }
        at[turn] = slot;
        // Else this stretch is over; the next one goes on from there.
        if (table[slot] !== EMPTY) break;
        table[slot] = turn;
        filled++;
        looking = false;
        left -= TAKING;
        if (queue !== undefined) {
          credit[turn]! += 1;
          queue[0] = this.#nextOf(turn);
          sink(queue, 0);
          left -= QUEUED;
        }
      }
      if (++turn === hosts) turn = 0;
    }
    this.#turn = turn;
    this.#looking = looking;
    this.#filled = filled;
    return filled === TABLE_SIZE;
  }
}

/** `key % divisor` of a key below 2^48, without the library call that JavaScript makes of it: 5,000 hosts need 10,000. */
function remainder(key: number, divisor: number): number {
  const rest = key - Math.floor(key / divisor) * divisor;
  // The quotient may be rounded up.
  return rest < 0 ? rest + divisor : rest;
}

/** Brings what is at `from` to its place in a heap whose least is the first. */
function sink(heap: Float64Array, from: number): void {
  const moving = heap[from]!;
  let at = from;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= moving) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = moving;
}
