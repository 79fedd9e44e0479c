// Policy `consistent_hash`: calls with the same key go to the same host, and few keys move when hosts come or go. A
// table of slots is filled by every host's own permutation in turn (D. Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer", NSDI 2016), heavier hosts taking more turns. A host that carries more than its fair
// share of what is in flight times a factor is passed over (V. Mirrokni et al., "Consistent Hashing with Bounded Loads",
// 2017), so that a hot key does not sink its host.
//
// A call without a key is drawn at random.
import { endpointKey } from "./endpoint.ts";
import { finalMix } from "./hash.ts";
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { SteeringParameters } from "./policies.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";

/** Prime, and the same for every number of hosts and on every agent: a key's host must not depend on who is asked. */
const TABLE_SIZE = 65_537;
const MAX_STEPS = 8;

const NO_TABLE = new Uint16Array(0);

export class ConsistentHashPicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  /** Places in `#hosts` by address. */
  #order: readonly number[] = [];
  #table: Uint16Array = NO_TABLE;
  #totalWeight = 0;
  readonly #parameters: SteeringParameters;

  constructor(parameters: SteeringParameters) {
    this.#parameters = parameters;
  }

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    const keys = Array.from({ length: hosts.length }, (_, i) => endpointKey(hosts.ipAt(i), hosts.portAt(i)));
    // Hosts fill the table in turn, so their order matters; the order they joined in differs from agent to agent.
    this.#order = Array.from(keys.keys()).sort((a, b) => keys[a]! - keys[b]!);
    this.#totalWeight = this.#order.reduce((sum, i) => sum + hosts.weightAt(i), 0);
    const first = this.#order.slice(0, EMPTY);
    this.#table = fillTable(
      first.map((i) => keys[i]!),
      first.map((i) => hosts.weightAt(i)),
      TABLE_SIZE,
    );
  }

  pick(context: PickContext): SteeredHost {
    let hash = context.keyHash === 0 ? Math.floor(context.random() * 0x1_0000_0000) : context.keyHash;
    const fairPerWeight = (context.inFlight + 1) / this.#totalWeight;
    let host = this.#hostAt(hash);
    for (let step = 0; step < MAX_STEPS; step++) {
      const room = Math.ceil(this.#parameters.bounded_load * fairPerWeight * host.weight);
      host.settle(context);
      if (host.inFlight < room && !heldBack(host, context)) return host;
      hash = finalMix(hash + 0x9e37_79b9);
      host = this.#hostAt(hash);
    }
    // A key so hot that it has filled all these: what is over goes where there is less, of two drawn at random.
    const other = this.#hostAt(Math.floor(context.random() * 0x1_0000_0000));
    host = this.#hostAt(Math.floor(context.random() * 0x1_0000_0000));
    host.settle(context);
    other.settle(context);
    return other.inFlight * host.weight < host.inFlight * other.weight ? other : host;
  }

  #hostAt(hash: number): SteeredHost {
    return this.#hosts.at(this.#order[this.#table[hash % this.#table.length]!]!);
  }
}

/** Marks a free slot while the table is filled; hosts beyond that many are left out. */
const EMPTY = 0xffff;

function fillTable(keys: readonly number[], weights: readonly number[], size: number): Uint16Array {
  if (keys.length === 0) return NO_TABLE;
  const table = new Uint16Array(size).fill(EMPTY);
  // Where a host looks next, and how far it goes on from a slot that is taken: integers throughout, as 65,537 slots are
  // filled whenever a host comes, goes or is ejected, in the thread that serves callers.
  const at = Int32Array.from(keys, (key) => finalMix(key % 0xffff_fffb) % size);
  const skip = Int32Array.from(keys, (key) => (finalMix((key % 0xffff_ff7f) ^ 0x5bd1_e995) % (size - 1)) + 1);
  const weight = Int32Array.from(weights);
  // Turns in proportion to weight: a host takes one when its credit reaches the heaviest host's weight.
  const credit = new Int32Array(keys.length);
  const heaviest = weight.reduce((most, each) => Math.max(most, each), 1);
  for (let filled = 0; filled < size; ) {
    for (let i = 0; i < weight.length && filled < size; i++) {
      credit[i]! += weight[i]!;
      if (credit[i]! < heaviest) continue;
      credit[i]! -= heaviest;
      let slot = at[i]!;
      const step = skip[i]!;
      while (table[slot] !== EMPTY) {
        slot += step;
        if (slot >= size) slot -= size;
      }
      at[i] = slot;
      table[slot] = i;
      filled++;
    }
  }
  return table;
}
