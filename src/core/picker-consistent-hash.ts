// Policy `consistent_hash`: calls with the same key go to the same host, and few keys move when hosts come or go. A
// table of slots is filled by every host's own permutation in turn (D. Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer", NSDI 2016), heavier hosts taking more turns. A host that carries more than its fair
// share of what is in flight times a factor is passed over (V. Mirrokni et al., "Consistent Hashing with Bounded Loads",
// 2017), so that a hot key does not sink its host.
//
// A call without a key is drawn at random.
import { endpointKey } from "./endpoint.ts";
import { finalMix } from "./hash.ts";
import { heldBack, type PickContext, type Picker } from "./picker.ts";
import type { SteeringParameters } from "./policies.ts";
import type { SteeredHost } from "./steered-host.ts";

/** Prime, and the same for every number of hosts and on every agent: a key's host must not depend on who is asked. */
const TABLE_SIZE = 65_537;
const MAX_STEPS = 8;

export class ConsistentHashPicker implements Picker {
  #hosts: readonly SteeredHost[] = [];
  #table: Uint16Array = new Uint16Array(0);
  #totalWeight = 0;
  readonly #parameters: SteeringParameters;

  constructor(parameters: SteeringParameters) {
    this.#parameters = parameters;
  }

  rebuild(hosts: readonly SteeredHost[]): void {
    this.#hosts = hosts;
    this.#totalWeight = hosts.reduce((sum, { weight }) => sum + weight, 0);
    this.#table = fillTable(hosts.slice(0, EMPTY), TABLE_SIZE);
  }

  pick(context: PickContext): SteeredHost {
    let hash = context.keyHash === 0 ? Math.floor(context.random() * 0x1_0000_0000) : context.keyHash;
    const fairPerWeight = (context.inFlight + 1) / this.#totalWeight;
    const first = this.#hosts[this.#table[hash % this.#table.length]!]!;
    let host = first;
    for (let step = 0; step < MAX_STEPS; step++) {
      const room = Math.ceil(this.#parameters.bounded_load * fairPerWeight * host.weight);
      if (host.inFlight < room && !heldBack(host, context)) return host;
      hash = finalMix(hash + 0x9e37_79b9);
      host = this.#hosts[this.#table[hash % this.#table.length]!]!;
    }
    return first;
  }
}

/** Marks a free slot while the table is filled; hosts beyond that many are left out. */
const EMPTY = 0xffff;

function fillTable(hosts: readonly SteeredHost[], size: number): Uint16Array {
  const table = new Uint16Array(size).fill(EMPTY);
  if (hosts.length === 0) return table;
  const offset = hosts.map(({ ip, port }) => finalMix(endpointKey(ip, port) % 0xffff_fffb) % size);
  const skip = hosts.map(
    ({ ip, port }) => (finalMix((endpointKey(ip, port) % 0xffff_ff7f) ^ 0x5bd1_e995) % (size - 1)) + 1,
  );
  const next = new Float64Array(hosts.length);
  // Turns in proportion to weight: a host takes one when its credit reaches the heaviest host's weight.
  const credit = new Float64Array(hosts.length);
  const heaviest = hosts.reduce((most, { weight }) => Math.max(most, weight), 1);
  for (let filled = 0; filled < size; ) {
    for (let i = 0; i < hosts.length && filled < size; i++) {
      credit[i]! += hosts[i]!.weight;
      if (credit[i]! < heaviest) continue;
      credit[i]! -= heaviest;
      let slot: number;
      do {
        slot = (offset[i]! + next[i]! * skip[i]!) % size;
        next[i]! += 1;
      } while (table[slot] !== EMPTY);
      table[slot] = i;
      filled++;
    }
  }
  return table;
}
