// The port to the leases in the database. What changes a route (a grant, an end, an expiry) happens in the transaction of
// that route change, under the writers' lock: `LeaseTransaction`. What does not (renewals, the lease clock) goes around
// the lock: `LeaseStore`, because ten thousand heartbeats must not stand in the line of writers.
//
// A renewal that races with an expiry is decided by the row: the expiry reads the rows it means to end with a lock, so a
// renewal either came before and is seen, or comes after and finds the row gone.
import type { Lease, Place } from "../core/lease.ts";
import type { LeaseClockRow } from "../core/lease-clock.ts";

/** What a write is going to ask of leases, so that it can be read together with the lock. */
export interface WantedLeases {
  /** For {@link LeaseTransaction.byId}. */
  readonly ids: readonly string[];
  /** For {@link LeaseTransaction.at}. */
  readonly places: readonly Place[];
  /** For {@link LeaseTransaction.foreignAt}. */
  readonly fresh: readonly Place[];
}

export interface LeaseTransaction {
  /** Milliseconds of the lease clock. */
  clockMs(): Promise<number>;
  /** Those that there are. They stay as they are until the commit, also for renewals. */
  byId(ids: readonly string[]): Promise<readonly Lease[]>;
  at(places: readonly Place[]): Promise<readonly Lease[]>;
  /** Of `places`, those that the original's tables have a row for. */
  foreignAt(places: readonly Place[]): Promise<readonly Place[]>;
  /** Replaces or adds `put`, deletes `removed`; an id is in one of them at most. */
  write(put: readonly Lease[], removed: readonly string[]): Promise<void>;
}

export interface LeaseClockReading extends LeaseClockRow {
  /** The earliest end of a lease; undefined: there is no lease. */
  readonly earliestMs: number | undefined;
}

/** What does not fit together: after a restore, or by somebody's SQL. */
export interface Strays {
  /** Leased hosts without a lease: nobody would ever take them out. */
  readonly hosts: readonly Place[];
  /** Leases without a host. */
  readonly ids: readonly string[];
  /** All leases, counted on the way. */
  readonly count: number;
}

export interface LeaseQuery {
  readonly modid?: number | undefined;
  readonly cmdid?: number | undefined;
  /** Ids after this one, in byte order. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** @throws StoreUnavailable */
export interface LeaseStore {
  clock(): Promise<LeaseClockReading>;
  /** Moves the clock on if its tick is still `tick`; false when it is not. */
  advance(tick: number, byMs: number, owner: string): Promise<boolean>;
  /**
   * Lets each of `ids` run until its ttl after `fromMs` of the lease clock, if that is later than what it has. Returns how
   * many there are.
   */
  renew(ids: readonly string[], fromMs: number): Promise<number>;
  find(ids: readonly string[]): Promise<readonly Lease[]>;
  /** Ids of leases that ended at or before `clockMs`, the longest over first. */
  over(clockMs: number, limit: number): Promise<readonly string[]>;
  list(query: LeaseQuery): Promise<readonly Lease[]>;
  strays(limit: number): Promise<Strays>;
}
