// What a write asked for when it took the lock: the leases and rows that its changes name, read in the same round trip
// as the lock itself. The reads come after the lock and leases are written last, so what was read stays true until the
// transaction ends.
import { type Lease, type Place, placeKey } from "../../core/lease.ts";
import type { WantedLeases } from "../lease-store.ts";
import { leasesOf, placesOf, queriesAt, queriesById, queriesForeignAt } from "./lease-rows.ts";
import type { SqlRow, SqlStatement } from "./sql-database.ts";

export class KnownLeases {
  readonly #wanted: WantedLeases;
  readonly #asked: { readonly ids: Set<string>; readonly places: Set<string>; readonly fresh: Set<string> };
  #counts: readonly [number, number] = [0, 0];
  readonly #byId = new Map<string, Lease>();
  readonly #at = new Map<string, Lease[]>();
  readonly #foreign = new Set<string>();

  constructor(wanted: WantedLeases) {
    this.#wanted = wanted;
    this.#asked = {
      ids: new Set(wanted.ids),
      places: new Set(wanted.places.map(placeKey)),
      fresh: new Set(wanted.fresh.map(placeKey)),
    };
  }

  queries(lock: string): SqlStatement[] {
    const { ids, places, fresh } = this.#wanted;
    const byId = queriesById(ids, lock);
    const at = queriesAt(places);
    this.#counts = [byId.length, byId.length + at.length];
    return [...byId, ...at, ...queriesForeignAt(fresh)];
  }

  /** The rows of {@link queries}, in its order. */
  learn(results: readonly SqlRow[][]): void {
    const [first, second] = this.#counts;
    for (const lease of leasesOf(results.slice(0, first).flat())) this.#byId.set(lease.id, lease);
    for (const lease of leasesOf(results.slice(first, second).flat())) {
      const key = placeKey(lease);
      const there = this.#at.get(key);
      if (there === undefined) this.#at.set(key, [lease]);
      else there.push(lease);
    }
    for (const place of placesOf(results.slice(second).flat())) this.#foreign.add(placeKey(place));
  }

  hasIds(ids: readonly string[]): boolean {
    return ids.every((id) => this.#asked.ids.has(id));
  }

  byId(ids: readonly string[]): readonly Lease[] {
    return ids.flatMap((id) => this.#byId.get(id) ?? []);
  }

  /** Those that were not asked for. */
  without(asked: "places" | "fresh", places: readonly Place[]): readonly Place[] {
    return places.filter((place) => !this.#asked[asked].has(placeKey(place)));
  }

  at(places: readonly Place[]): readonly Lease[] {
    return places.flatMap((place) => this.#at.get(placeKey(place)) ?? []);
  }

  foreignAt(places: readonly Place[]): readonly Place[] {
    return places.filter((place) => this.#foreign.has(placeKey(place)));
  }
}
