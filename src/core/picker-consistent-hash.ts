// Policy `consistent_hash`: calls with the same key go to the same host, and few keys move when hosts come or go. A
// table of slots is filled by every host's own permutation in turn (D. Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer", NSDI 2016), heavier hosts taking more turns. A host that carries more than its fair
// share of what is in flight times a factor is passed over (V. Mirrokni et al., "Consistent Hashing with Bounded Loads",
// 2017), so that a hot key does not sink its host.
//
// The table is made in stretches, between picks (maglev-fill.ts). Until it is whole the one before it answers, corrected
// for what has changed (share-shift.ts); where there is none before it, as much of the new one as there is. So shares
// are right at once, and some keys move once more within some 50 ms of picks: what agents agree about is the whole table.
//
// A call without a key is drawn at random.
import { endpointKey } from "./endpoint.ts";
import { finalMix } from "./hash.ts";
import { EMPTY, MaglevFill, TABLE_SIZE } from "./maglev-fill.ts";
import { type HostSet, heldBack, NO_HOSTS, type Picker } from "./picker.ts";
import type { SteeringParameters } from "./policies.ts";
import { ShareShift } from "./share-shift.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";

const MAX_STEPS = 8;
/** Of work in a stretch: 0.1 ms, a sixteenth of the slots at first. */
const STRETCH = 30_000;
/** The least time from one stretch to the next: a batch of picks is to hold one. */
const STRETCH_EVERY_MS = 1;

const NO_TABLE = new Uint16Array(0);
const NO_KEYS = new Float64Array(0);
const NO_NUMBERS = new Int32Array(0);

export class ConsistentHashPicker implements Picker {
  #hosts: HostSet = NO_HOSTS;
  /** Of `#hosts`, by address. */
  #keys = NO_KEYS;
  #weights = NO_NUMBERS;
  /** Places in `#hosts`, in that order. */
  #order = NO_NUMBERS;
  #totalWeight = 0;
  /** What answers, and the hosts it was made for; no keys: it is not whole. */
  #table = NO_TABLE;
  #tableKeys = NO_KEYS;
  #tableWeights = NO_NUMBERS;
  /** From those hosts to `#hosts`, while there is a difference. */
  #shift: ShareShift | undefined;
  /** The table of `#hosts` is not whole yet. */
  #isStale = false;
  #fill: MaglevFill | undefined;
  #wentOnAtMs = Number.NEGATIVE_INFINITY;
  #parameters: SteeringParameters;

  constructor(parameters: SteeringParameters) {
    this.#parameters = parameters;
  }

  configure(parameters: SteeringParameters): void {
    this.#parameters = parameters;
  }

  rebuild(hosts: HostSet): void {
    this.#hosts = hosts;
    this.#sort(hosts);
    this.#fill = undefined;
    this.#shift = undefined;
    this.#isStale = hosts.length > 0;
    if (this.#tableKeys.length === 0 || hosts.length === 0) {
      this.#table = NO_TABLE;
      this.#tableKeys = NO_KEYS;
      return;
    }
    this.#isStale = !(sameNumbers(this.#keys, this.#tableKeys) && sameNumbers(this.#weights, this.#tableWeights));
  }

  /** Hosts fill the table in turn, so their order matters; it is the order of their addresses, on every agent. */
  #sort(hosts: HostSet): void {
    const { length } = hosts;
    let keys = new Float64Array(length);
    let order = new Int32Array(length);
    let isSorted = true;
    for (let i = 0; i < length; i++) {
      keys[i] = endpointKey(hosts.ipAt(i), hosts.portAt(i));
      order[i] = i;
      if (i > 0 && keys[i]! < keys[i - 1]!) isSorted = false;
    }
    if (!isSorted) {
      const unsorted = keys;
      order = order.sort((a, b) => unsorted[a]! - unsorted[b]!);
      keys = Float64Array.from(order, (i) => unsorted[i]!);
    }
    this.#keys = keys;
    this.#order = order;
    this.#weights = new Int32Array(length);
    this.#totalWeight = 0;
    for (let i = 0; i < length; i++) {
      this.#weights[i] = hosts.weightAt(order[i]!);
      this.#totalWeight += this.#weights[i]!;
    }
  }

  pick(context: PickContext): SteeredHost {
    if (this.#isStale) this.#goOn(context.nowMs);
    let hash = context.keyHash === 0 ? Math.floor(context.random() * 0x1_0000_0000) : context.keyHash;
    const fairPerWeight = (context.inFlight + 1) / this.#totalWeight;
    let host = this.#hostAt(hash);
    for (let step = 0; step < MAX_STEPS; step++) {
      const room = Math.ceil(this.#parameters.bounded_load * fairPerWeight * host.weight);
      host.settle(context);
      if (host.inFlight < room && !heldBack(host, context)) return host;
      hash = next(hash);
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
    let slot = hash % TABLE_SIZE;
    // Only where there is no whole table yet; somebody has a slot soon after it.
    while (this.#table[slot] === EMPTY) slot = slot + 1 === TABLE_SIZE ? 0 : slot + 1;
    const owner = this.#table[slot]!;
    return this.#hosts.at(this.#order[this.#shift?.placeOf(owner, hash) ?? owner]!);
  }

  #goOn(nowMs: number): void {
    if (this.#tableKeys.length > 0 && this.#shift === undefined) {
      this.#shift = new ShareShift(this.#tableKeys, this.#tableWeights, this.#keys, this.#weights);
      this.#wentOnAtMs = nowMs;
      return;
    }
    // There must be some table; and a clock that was set back does not hold it up.
    if (this.#table.length > 0 && nowMs >= this.#wentOnAtMs && nowMs - this.#wentOnAtMs < STRETCH_EVERY_MS) return;
    this.#wentOnAtMs = nowMs;
    const isFirst = this.#table.length === 0;
    if (this.#fill === undefined) {
      this.#fill = new MaglevFill(this.#keys, this.#weights);
      if (!isFirst) return;
    }
    const isWhole = this.#fill.goOn(STRETCH);
    if (isFirst || isWhole) this.#table = this.#fill.table;
    if (!isWhole) return;
    this.#tableKeys = this.#keys;
    this.#tableWeights = this.#weights;
    this.#shift = undefined;
    this.#fill = undefined;
    this.#isStale = false;
  }
}

/** Where to look when a hash leads to a host that is full. */
function next(hash: number): number {
  return finalMix(hash + 0x9e37_79b9);
}

function sameNumbers(a: Float64Array | Int32Array, b: Float64Array | Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
