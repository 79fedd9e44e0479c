// The hosts of a route in one array of numbers. An agent knows a hundred times more hosts than it calls at a time, and an
// object per host (66 to 84 bytes, and its place in a list) in every place that keeps the route is most of what a route
// would cost. Packed, a host takes 12 bytes, and is made an object again where somebody wants to see one.
import { type Host, makeHost } from "./assignment.ts";

/** Numbers per host: address, port, weight. */
const STRIDE = 3;
const NO_NUMBERS = new Int32Array(0);

/** Packed hosts on their way to another thread: half the work and a third of the garbage of objects. */
export interface HostNumbers {
  readonly length: number;
  readonly numbers: readonly number[];
  readonly zones: string | readonly string[];
}

/** Hosts in the order given; state "up", as they come over the wire. Frozen; iterating makes objects. */
export class PackedHosts implements Iterable<Host> {
  static readonly NONE = new PackedHosts(NO_NUMBERS, "");
  readonly #numbers: Int32Array;
  /** One for each, or the one that all have. */
  readonly #zones: string | readonly string[];

  private constructor(numbers: Int32Array, zones: string | readonly string[]) {
    this.#numbers = numbers;
    this.#zones = zones;
  }

  /** Those that are packed already are given back as they are. */
  static of(hosts: readonly Host[] | HostNumbers | PackedHosts): PackedHosts {
    if (hosts instanceof PackedHosts) return hosts;
    if (hosts.length === 0) return PackedHosts.NONE;
    if ("numbers" in hosts) return new PackedHosts(Int32Array.from(hosts.numbers), hosts.zones);
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
    return new PackedHosts(numbers, areOneZone ? first.zone : hosts.map(({ zone }) => zone));
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
    return typeof this.#zones === "string" ? this.#zones : this.#zones[index]!;
  }

  host(index: number): Host {
    return makeHost(this.ip(index), this.port(index), { weight: this.weight(index), zone: this.zone(index) });
  }

  /** The first that listens there; -1: none. O(hosts), which is 12 bytes each. */
  indexOf(ip: number, port: number): number {
    const numbers = this.#numbers;
    for (let at = 0; at < numbers.length; at += STRIDE) {
      if (numbers[at] === ip && numbers[at + 1] === port) return at / STRIDE;
    }
    return -1;
  }

  /** Sorted by endpoint, each once, as the dns service sends them. */
  get isSorted(): boolean {
    for (let i = 1; i < this.length; i++) {
      const [before, ip] = [this.ip(i - 1) >>> 0, this.ip(i) >>> 0];
      if (before > ip || (before === ip && this.port(i - 1) >= this.port(i))) return false;
    }
    return true;
  }

  /** The same hosts in the same order. */
  equals(other: readonly Host[] | HostNumbers | PackedHosts): boolean {
    if (other.length !== this.length) return false;
    const packed = PackedHosts.of(other);
    for (let at = 0; at < this.#numbers.length; at++) {
      if (this.#numbers[at] !== packed.#numbers[at]) return false;
    }
    for (let i = 0; i < this.length; i++) if (this.zone(i) !== packed.zone(i)) return false;
    return true;
  }

  toMessage(): HostNumbers {
    return { length: this.length, numbers: Array.from(this.#numbers), zones: this.#zones };
  }

  unpack(): readonly Host[] {
    return Array.from({ length: this.length }, (_, i) => this.host(i));
  }

  *[Symbol.iterator](): IterableIterator<Host> {
    for (let i = 0; i < this.length; i++) yield this.host(i);
  }
}
