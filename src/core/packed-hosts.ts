// The hosts of a route in one array of numbers. An agent knows a hundred times more hosts than it calls at a time, and an
// object per host (66 to 84 bytes, and its place in a list) in every place that keeps the route is most of what a route
// would cost. Packed, a host takes 12 bytes, and is made an object again where somebody wants to see one.
//
// Sorted, two routes are compared in one pass over numbers: in a module of 5,000 hosts a change of one is found in some
// 20 us, and what did not change need not be looked at again.
import { type Host, hostKey } from "./assignment.ts";

/** Numbers per host: address, port, weight. */
const STRIDE = 3;
const NO_NUMBERS = new Int32Array(0);
/** From so many hosts on an array of numbers travels as memory: a message of few is half as much work without. */
const MANY = 64;

/** Zones by number: `names[of[i]]` is the zone of host i. */
interface ZoneNumbers<Numbers = Int32Array | readonly number[]> {
  readonly names: readonly string[];
  readonly of: Numbers;
}

/** Packed hosts on their way to another thread: half the work and a third of the garbage of objects. */
export interface HostNumbers {
  readonly length: number;
  readonly numbers: Int32Array | readonly number[];
  readonly zones: string | ZoneNumbers;
}

/** What turns one list of hosts into another, by index. */
export interface HostsDifference {
  /** Where each of the later hosts was before, -1: it was not; undefined: the endpoints are the same. */
  readonly from: Int32Array | undefined;
  /** In the later list. */
  readonly joined: readonly number[];
  /** In the earlier list. */
  readonly left: readonly number[];
  /** In the later list: hosts that stay with another weight or zone. */
  readonly changed: readonly number[];
}

/** Hosts in the order given; state "up", as they come over the wire. Frozen; iterating makes objects. */
export class PackedHosts implements Iterable<Host> {
  static readonly NONE = new PackedHosts(NO_NUMBERS, "");
  readonly #numbers: Int32Array;
  /** One for each, or the one that all have. */
  readonly #zones: string | ZoneNumbers<Int32Array>;

  private constructor(numbers: Int32Array, zones: string | ZoneNumbers<Int32Array>) {
    this.#numbers = numbers;
    this.#zones = zones;
  }

  /** Those that are packed already are given back as they are. */
  static of(hosts: readonly Host[] | HostNumbers | PackedHosts): PackedHosts {
    if (hosts instanceof PackedHosts) return hosts;
    if (hosts.length === 0) return PackedHosts.NONE;
    if ("numbers" in hosts) {
      const { numbers, zones } = hosts;
      const packed = typeof zones === "string" ? zones : { names: zones.names, of: typed(zones.of) };
      return new PackedHosts(typed(numbers), packed);
    }
    const first = hosts[0]!;
    const numbers = new Int32Array(hosts.length * STRIDE);
    let areOneZone = true;
    for (let i = 0; i < hosts.length; i++) {
      const { ip, port, weight, zone } = hosts[i]!;
      numbers[i * STRIDE] = ip;
      numbers[i * STRIDE + 1] = port;
      numbers[i * STRIDE + 2] = weight;
      if (zone !== first.zone) areOneZone = false;
    }
    return new PackedHosts(numbers, areOneZone ? first.zone : numbered(hosts));
  }

  get length(): number {
    return this.#numbers.length / STRIDE;
  }

  /** The index must be below the length, here and below. */
  ip(index: number): number {
    return this.#numbers[index * STRIDE]!;
  }

  port(index: number): number {
    return this.#numbers[index * STRIDE + 1]!;
  }

  weight(index: number): number {
    return this.#numbers[index * STRIDE + 2]!;
  }

  zone(index: number): string {
    return typeof this.#zones === "string" ? this.#zones : this.#zones.names[this.#zones.of[index]!]!;
  }

  host(index: number): Host {
    return {
      ip: this.ip(index),
      port: this.port(index),
      weight: this.weight(index),
      zone: this.zone(index),
      state: "up",
    };
  }

  /** The first that listens there; -1: none. O(hosts), which is 12 bytes each. */
  indexOf(ip: number, port: number): number {
    const numbers = this.#numbers;
    for (let at = 0; at < numbers.length; at += STRIDE) {
      if (numbers[at] === ip && numbers[at + 1] === port) return at / STRIDE;
    }
    return -1;
  }

  /** How many come before an endpoint or are it. They must be sorted. */
  countUpTo(ip: number, port: number): number {
    const key = Int32Array.of(ip, port);
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (order(this.#numbers, middle * STRIDE, key, 0) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** 1 for each host of the zone, 0 for the others. */
  marksOf(zone: string): Uint8Array {
    const marks = new Uint8Array(this.length);
    const zones = this.#zones;
    if (typeof zones === "string") return zones === zone ? marks.fill(1) : marks;
    const wanted = zones.names.indexOf(zone);
    for (let i = 0; i < marks.length; i++) if (zones.of[i] === wanted) marks[i] = 1;
    return marks;
  }

  /** Sorted by endpoint, each once, as the dns service sends them. */
  get isSorted(): boolean {
    const numbers = this.#numbers;
    for (let at = STRIDE; at < numbers.length; at += STRIDE) {
      if (order(numbers, at - STRIDE, numbers, at) >= 0) return false;
    }
    return true;
  }

  /** The same hosts sorted by endpoint, each once; of equal endpoints the last counts. Itself when it is so already. */
  sorted(): PackedHosts {
    if (this.isSorted) return this;
    const byEndpoint = new Map<number, Host>();
    for (const host of this) byEndpoint.set(hostKey(host), host);
    return PackedHosts.of([...byEndpoint.values()].sort((a, b) => hostKey(a) - hostKey(b)));
  }

  /** The same hosts in the same order. */
  equals(other: readonly Host[] | HostNumbers | PackedHosts): boolean {
    if (other.length !== this.length) return false;
    const packed = PackedHosts.of(other);
    const [mine, others] = [this.#numbers, packed.#numbers];
    for (let at = 0; at < mine.length; at++) if (mine[at] !== others[at]) return false;
    const zones = packed.#zonesOf(this);
    if (zones === undefined) return true;
    const zonesThere = packed.#zonesOf(packed)!;
    for (let i = 0; i < zones.length; i++) if (zones[i] !== zonesThere[i]) return false;
    return true;
  }

  /** What has changed since `before`; both sorted. O(hosts), and no object is made for one that stays as it was. */
  differenceFrom(before: PackedHosts): HostsDifference {
    const [old, now] = [before.#numbers, this.#numbers];
    const joined: number[] = [];
    const left: number[] = [];
    const changed: number[] = [];
    const from = new Int32Array(this.length);
    const zonesThen = this.#zonesOf(before);
    const zones = zonesThen && this.#zonesOf(this)!;
    let i = 0;
    let j = 0;
    const earlier = before.length;
    const later = this.length;
    while (i < earlier || j < later) {
      const then = i * STRIDE;
      const at = j * STRIDE;
      // Nearly all are the same; beyond an end there is no number, which equals none.
      if (i < earlier && old[then] === now[at] && old[then + 1] === now[at + 1]) {
        if (old[then + 2] !== now[at + 2] || (zones !== undefined && zones[j] !== zonesThen![i])) changed.push(j);
        from[j++] = i++;
      } else if (j >= later || (i < earlier && order(old, then, now, at) < 0)) {
        left.push(i++);
      } else {
        from[j] = -1;
        joined.push(j++);
      }
    }
    return { from: joined.length === 0 && left.length === 0 ? undefined : from, joined, left, changed };
  }

  /** Zones of other hosts as numbers that mean the same for both, -1: one that is not here; undefined: all have one. */
  #zonesOf(others: PackedHosts): Int32Array | undefined {
    const [mine, theirs] = [this.#zones, others.#zones];
    if (typeof theirs !== "string" && theirs === mine) return theirs.of;
    if (mine === theirs && others !== this) return undefined;
    const names = typeof mine === "string" ? [mine] : mine.names;
    if (typeof theirs === "string") return new Int32Array(others.length).fill(names.indexOf(theirs));
    const numbers = Int32Array.from(theirs.names, (name) => names.indexOf(name));
    const zones = new Int32Array(others.length);
    for (let i = 0; i < zones.length; i++) zones[i] = numbers[theirs.of[i]!]!;
    return zones;
  }

  toMessage(): HostNumbers {
    const { length } = this;
    const zones = this.#zones;
    if (length >= MANY) return { length, numbers: this.#numbers, zones };
    const inMessage = typeof zones === "string" ? zones : { names: zones.names, of: Array.from(zones.of) };
    return { length, numbers: Array.from(this.#numbers), zones: inMessage };
  }

  unpack(): readonly Host[] {
    return Array.from({ length: this.length }, (_, i) => this.host(i));
  }

  *[Symbol.iterator](): IterableIterator<Host> {
    for (let i = 0; i < this.length; i++) yield this.host(i);
  }
}

/** Of a message: its memory is the receiver's own. */
function typed(numbers: Int32Array | readonly number[]): Int32Array {
  return numbers instanceof Int32Array ? numbers : Int32Array.from(numbers);
}

function numbered(hosts: readonly Host[]): ZoneNumbers<Int32Array> {
  const numbers = new Map<string, number>();
  const of = Int32Array.from(hosts, ({ zone }) => {
    const known = numbers.get(zone) ?? numbers.size;
    if (known === numbers.size) numbers.set(zone, known);
    return known;
  });
  return { names: [...numbers.keys()], of };
}

/** Below, at or above 0, as the endpoint at `i` of `a` is before, at or after the one at `j` of `b`. */
function order(a: Int32Array, i: number, b: Int32Array, j: number): number {
  if (a[i] !== b[j]) return a[i]! >>> 0 < b[j]! >>> 0 ? -1 : 1;
  return a[i + 1]! - b[j + 1]!;
}
