// The leases of a MemoryRouteStore: the same trivially right database, seen through the lease ports. The lease clock is
// not part of what a backup holds or a failed write puts back.
import type { Host } from "../../src/core/assignment.ts";
import { type Lease, type Place, placeKey } from "../../src/core/lease.ts";
import { formatModuleKey, type ModuleKey } from "../../src/core/module-key.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import type {
  LeaseClockReading,
  LeaseQuery,
  LeaseStore,
  LeaseTransaction,
  Strays,
} from "../../src/store/lease-store.ts";

interface LeaseState {
  readonly leases: Map<string, Lease>;
  readonly routes: ReadonlyMap<string, RouteRecord>;
  readonly theirHosts: ReadonlyMap<string, { readonly key: ModuleKey; readonly hosts: readonly Host[] }>;
}

export class MemoryLeaseStore implements LeaseStore {
  readonly #state: () => LeaseState;
  clockMs = 0;
  tick = 0;
  owner = "";
  readonly counts = { renewals: 0, finds: 0 };
  /** A renewal waits for this. */
  gate: Promise<void> = Promise.resolve();

  /** `state`: throws while the database is away. */
  constructor(state: () => LeaseState) {
    this.#state = state;
  }

  get all(): readonly Lease[] {
    return [...this.#state().leases.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async clock(): Promise<LeaseClockReading> {
    const ends = Array.from(this.#state().leases.values(), ({ expiresMs }) => expiresMs);
    const { clockMs, tick } = this;
    return { clockMs, tick, earliestMs: ends.length === 0 ? undefined : Math.min(...ends) };
  }

  async advance(tick: number, byMs: number, owner: string): Promise<boolean> {
    this.#state();
    if (tick !== this.tick) return false;
    this.tick++;
    this.clockMs += byMs;
    this.owner = owner;
    return true;
  }

  async renew(ids: readonly string[], fromMs: number): Promise<number> {
    this.counts.renewals++;
    await this.gate;
    const { leases } = this.#state();
    let found = 0;
    for (const id of ids) {
      const lease = leases.get(id);
      if (lease === undefined) continue;
      found++;
      leases.set(id, { ...lease, expiresMs: Math.max(lease.expiresMs, Math.floor(fromMs) + lease.ttlMs) });
    }
    return found;
  }

  async find(ids: readonly string[]): Promise<readonly Lease[]> {
    this.counts.finds++;
    const { leases } = this.#state();
    return ids.flatMap((id) => leases.get(id) ?? []);
  }

  async over(clockMs: number, limit: number): Promise<readonly string[]> {
    return this.all
      .filter(({ expiresMs }) => expiresMs <= clockMs)
      .sort((a, b) => a.expiresMs - b.expiresMs)
      .slice(0, limit)
      .map(({ id }) => id);
  }

  async list({ modid, cmdid, after = "", limit }: LeaseQuery): Promise<readonly Lease[]> {
    return this.all
      .filter((lease) => lease.id > after)
      .filter((lease) => (modid ?? lease.modid) === lease.modid && (cmdid ?? lease.cmdid) === lease.cmdid)
      .slice(0, limit);
  }

  async strays(limit: number): Promise<Strays> {
    const { leases, routes } = this.#state();
    const held = new Set([...leases.values()].map(placeKey));
    const there = new Set<string>();
    const hosts: Place[] = [];
    for (const { modid, cmdid, hosts: list } of routes.values()) {
      for (const { ip, port, leased } of list) {
        const place = { modid, cmdid, ip, port };
        there.add(placeKey(place));
        if (leased === true && !held.has(placeKey(place))) hosts.push(place);
      }
    }
    const ids = [...leases.values()].filter((lease) => !there.has(placeKey(lease))).map(({ id }) => id);
    return { hosts: hosts.slice(0, limit), ids: ids.slice(0, limit), count: leases.size };
  }

  transaction(state: LeaseState): LeaseTransaction {
    const { leases } = state;
    return {
      clockMs: async () => this.clockMs,
      byId: async (ids) => ids.flatMap((id) => leases.get(id) ?? []),
      at: async (places) => {
        const keys = new Set(places.map(placeKey));
        return [...leases.values()].filter((lease) => keys.has(placeKey(lease)));
      },
      foreignAt: async (places) =>
        places.filter((place) =>
          state.theirHosts
            .get(formatModuleKey(place))
            ?.hosts.some(({ ip, port }) => ip === place.ip && port === place.port),
        ),
      write: async (put, removed) => {
        for (const id of removed) leases.delete(id);
        for (const lease of put) leases.set(lease.id, { ...lease, expiresMs: Math.floor(lease.expiresMs) });
      },
    };
  }
}
