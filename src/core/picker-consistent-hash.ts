// Policy `consistent_hash`: calls with the same key go to the same host, and few keys move when hosts come or go. A
// table of slots is filled by every host's own permutation in turn (D. Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer", NSDI 2016), heavier hosts taking more turns. A host that carries more than its fair
// share of what is in flight times a factor is passed over (V. Mirrokni et al., "Consistent Hashing with Bounded Loads",
// 2017), so that a hot key does not sink its host.
//
// Agents agree about whole tables only, so only whole ones answer. Where there is none yet the first pick makes it, all
// at once: 3 ms of its thread, once for a set of hosts. Afterwards there is one to go on with while the next is made, in
// stretches (maglev-fill.ts): it answers, corrected for what has changed (share-shift.ts). So shares are right at once,
// and some keys move once more when the next is whole: after some 50 ms of picks, or 200 ms of ticks without any.
//
// A call without a key is drawn at random.
import { endpointKey } from "./endpoint.ts";
import { finalMix } from "./hash.ts";
import { MaglevFill, TABLE_SIZE } from "./maglev-fill.ts";
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
  /** What answers, and the hosts it was made for; whole, or there is none. */
  #table = NO_TABLE;
  #tableKeys = NO_KEYS;
  #tableWeights = NO_NUMBERS;
  /** From those hosts to `#hosts`, while there is a difference; made when it is first needed, as is `#fill`. */
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
    // Nobody picks among none, and who comes next may be those the table was made for.
    this.#isStale =
      hosts.length > 0 && !(sameNumbers(this.#keys, this.#tableKeys) && sameNumbers(this.#weights, this.#tableWeights));
  }

  get isUnfinished(): boolean {
    return this.#isStale && this.#tableKeys.length > 0;
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
    if (this.#isStale) this.#goOnAt(context.nowMs);
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
    const owner = this.#table[hash % TABLE_SIZE]!;
    return this.#hosts.at(this.#order[this.#shift?.placeOf(owner, hash) ?? owner]!);
  }

  #goOnAt(nowMs: number): void {
    if (this.#tableKeys.length === 0) {
      const fill = new MaglevFill(this.#keys, this.#weights);
      while (!fill.goOn(STRETCH));
      this.#take(fill);
      return;
    }
    // Nobody may be picked who has left; else not at every pick, but a clock that was set back does not hold it up.
    const isSoon = nowMs >= this.#wentOnAtMs && nowMs - this.#wentOnAtMs < STRETCH_EVERY_MS;
    if (isSoon && this.#shift !== undefined) return;
    this.#wentOnAtMs = nowMs;
    this.goOn();
  }

  goOn(): void {
    if (!this.isUnfinished) return;
    if (this.#shift === undefined) {
      this.#shift = new ShareShift(this.#tableKeys, this.#tableWeights, this.#keys, this.#weights);
    } else if (this.#fill === undefined) {
      this.#fill = new MaglevFill(this.#keys, this.#weights);
    } else if (this.#fill.goOn(STRETCH)) {
      this.#take(this.#fill);
    }
  }

  #take(fill: MaglevFill): void {
    this.#table = fill.table;
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
