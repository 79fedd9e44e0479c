// The hosts of a module as a steered balancer holds them. Most of the hosts an agent knows are never called, or were once,
// and a host's state is half a kilobyte; so that state is made when the host is first drawn or reported, and until then
// the host is twelve bytes of its route (packed-hosts.ts) and a free place.
import { finalMix } from "./hash.ts";
import type { HostsDifference, PackedHosts } from "./packed-hosts.ts";
import type { HostSet } from "./picker.ts";
import { SteeredHost } from "./steered-host.ts";

/** Up to so many hosts are looked through one by one, which is as fast as a hash. */
const FEW = 12;
const NONE_MADE: (SteeredHost | undefined)[] = [];
const NO_SLOTS = new Int32Array(0);

/** What the states have in common that are made when their hosts are first needed; may be changed meanwhile. */
export interface FreshHosts {
  windowMs: number;
  /** When these hosts came, all at once. */
  sinceMs: number;
}

export class HostTable implements HostSet {
  readonly length: number;
  readonly route: PackedHosts;
  readonly #fresh: FreshHosts;
  /** How many hosts have a state. */
  states = 0;
  #made = NONE_MADE;
  /** A hash table, at most half full: index + 1, or 0. Built when somebody looks for a host among many. */
  #slots = NO_SLOTS;

  /** `route`: sorted, each endpoint once. */
  constructor(route: PackedHosts, fresh: FreshHosts) {
    this.length = route.length;
    this.route = route;
    this.#fresh = fresh;
  }

  /** The table of a later route. Hosts that stay keep their states; this table is not to be used any more. */
  follow(route: PackedHosts, { from, changed }: HostsDifference): HostTable {
    const next = new HostTable(route, this.#fresh);
    if (this.states > 0 && from !== undefined) {
      const made = new Array<SteeredHost | undefined>(route.length).fill(undefined);
      for (let i = 0; i < made.length; i++) {
        const host = from[i]! < 0 ? undefined : this.#made[from[i]!];
        if (host === undefined) continue;
        made[i] = host;
        next.states++;
      }
      next.#made = made;
    } else if (from === undefined) {
      next.#made = this.#made;
      next.states = this.states;
      next.#slots = this.#slots;
    }
    for (const index of changed) {
      const host = next.#made[index];
      if (host === undefined) continue;
      host.weight = route.weight(index);
      host.zone = route.zone(index);
    }
    return next;
  }

  /** The host, its state made if there is none. */
  at(index: number): SteeredHost {
    return this.#made[index] ?? this.#makeAt(index);
  }

  /** The host, if it has a state of its own. */
  made(index: number): SteeredHost | undefined {
    return this.#made[index];
  }

  /** What `at` would make, without keeping it. */
  view(index: number): SteeredHost {
    return this.#made[index] ?? this.#makeState(index);
  }

  #makeState(index: number): SteeredHost {
    const { route } = this;
    const { windowMs, sinceMs } = this.#fresh;
    const zone = route.zone(index);
    return new SteeredHost(route.ip(index), route.port(index), route.weight(index), zone, windowMs, sinceMs);
  }

  #makeAt(index: number): SteeredHost {
    const host = this.#makeState(index);
    this.put(index, host);
    return host;
  }

  /** Takes the state of a host that has none here. */
  put(index: number, host: SteeredHost): void {
    if (this.#made === NONE_MADE) this.#made = new Array<SteeredHost | undefined>(this.length).fill(undefined);
    this.states++;
    this.#made[index] = host;
  }

  ipAt(index: number): number {
    return this.route.ip(index);
  }

  portAt(index: number): number {
    return this.route.port(index);
  }

  weightAt(index: number): number {
    return this.route.weight(index);
  }

  /** Where the host with this endpoint is; -1: it is not in the route. O(1). */
  indexOf(ip: number, port: number): number {
    if (this.length <= FEW) return this.route.indexOf(ip, port);
    if (this.#slots === NO_SLOTS) this.#buildSlots();
    const mask = this.#slots.length - 1;
    for (let slot = hashOf(ip, port) & mask; ; slot = (slot + 1) & mask) {
      const index = this.#slots[slot]! - 1;
      if (index < 0 || (this.route.ip(index) === ip && this.route.port(index) === port)) return index;
    }
  }

  #buildSlots(): void {
    let size = 32;
    while (size < this.length * 2) size *= 2;
    this.#slots = new Int32Array(size);
    for (let i = 0; i < this.length; i++) {
      let slot = hashOf(this.route.ip(i), this.route.port(i)) & (size - 1);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & (size - 1);
      this.#slots[slot] = i + 1;
    }
  }
}

function hashOf(ip: number, port: number): number {
  return finalMix(Math.imul(ip, 0x9e37_79b1) ^ port);
}

/** Some hosts of a table. */
export class HostSubset implements HostSet {
  readonly #table: HostTable;
  readonly #indices: Int32Array;
  readonly length: number;

  constructor(table: HostTable, indices: Int32Array) {
    this.#table = table;
    this.#indices = indices;
    this.length = indices.length;
  }

  at(index: number): SteeredHost {
    return this.#table.at(this.#indices[index]!);
  }

  ipAt(index: number): number {
    return this.#table.ipAt(this.#indices[index]!);
  }

  portAt(index: number): number {
    return this.#table.portAt(this.#indices[index]!);
  }

  weightAt(index: number): number {
    return this.#table.weightAt(this.#indices[index]!);
  }
}
