// A lease is a promise with an end: "this host serves this module for as long as I say so, at most ttl after I said so
// last". Who says so is named by an id of its own choosing. Several ids may hold one endpoint (a restarted process that
// calls itself otherwise); the host leaves its route with the last of them.
//
// Times of leases are times of the lease clock (lease-clock.ts), which no wall clock moves.
import { type Endpoint, endpointKey } from "./endpoint.ts";
import { formatModuleKey, type ModuleKey } from "./module-key.ts";

/** What a holder may say of its host's state. `down` is for operators to say. */
export const LEASE_STATES = ["up", "draining"] as const;
export type LeaseState = (typeof LEASE_STATES)[number];

export const MIN_TTL_MS = 1_000;
export const MAX_TTL_MS = 86_400_000;
/** Characters of an id: printable ASCII without spaces, so that every database compares them alike. */
export const MAX_LEASE_ID_LENGTH = 255;

/** What a registration asks for. */
export interface LeaseTerms extends ModuleKey, Endpoint {
  readonly id: string;
  readonly weight: number;
  readonly zone: string;
  readonly state: LeaseState;
  readonly ttlMs: number;
}

export interface Lease extends LeaseTerms {
  /** Milliseconds of the lease clock. */
  readonly expiresMs: number;
  /** Unix milliseconds, for people. */
  readonly registeredAtMs: number;
  /** Whose token it was. */
  readonly who: string;
}

/** A host of a module, where leases are held. */
export type Place = ModuleKey & Endpoint;

/** Places as a Map's key. */
export function placeKey(place: Place): string {
  return `${formatModuleKey(place)} ${endpointKey(place.ip, place.port)}`;
}

/** The leases a change is planned against: those of the ids and places that it names, at least. */
export class LeaseTable {
  readonly #byId = new Map<string, Lease>();
  readonly #atPlace = new Map<string, Map<string, Lease>>();

  constructor(leases: Iterable<Lease> = []) {
    for (const lease of leases) this.put(lease);
  }

  get(id: string): Lease | undefined {
    return this.#byId.get(id);
  }

  at(place: Place): Iterable<Lease> {
    return this.#atPlace.get(placeKey(place))?.values() ?? [];
  }

  put(lease: Lease): void {
    this.remove(lease.id);
    this.#byId.set(lease.id, lease);
    const key = placeKey(lease);
    const there = this.#atPlace.get(key);
    if (there === undefined) this.#atPlace.set(key, new Map([[lease.id, lease]]));
    else there.set(lease.id, lease);
  }

  remove(id: string): void {
    const lease = this.#byId.get(id);
    if (lease === undefined) return;
    this.#byId.delete(id);
    const key = placeKey(lease);
    const there = this.#atPlace.get(key);
    there?.delete(id);
    if (there?.size === 0) this.#atPlace.delete(key);
  }
}
