// Registrations under leases: who registered which host, for how long. Grants and ends are changes of routes and go
// through RouteService, where they are durable before they are answered; heartbeats are renewals (lease-renewals.ts);
// what ran out is ended by whichever instance moves the lease clock (lease-time.ts). So any instance may renew any
// lease, and if one dies, another moves the clock on and ends what the dead one would have ended.
import type { LeaseTerms, Place } from "../core/lease.ts";
import { LEASE_TICK_MS } from "../core/lease-clock.ts";
import type { Clock, SetTimer } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { LeaseStore } from "../store/lease-store.ts";
import { StoreUnavailable } from "../store/route-store.ts";
import type { Author, CommitResult } from "./change-writer.ts";
import { LeaseRenewals } from "./lease-renewals.ts";
import type { LeaseTime } from "./lease-time.ts";
import type { RouteService } from "./route-service.ts";

/** Ended in one transaction, at most. */
const MAX_EXPIRED = 2_000;
/** How often the owner looks for what does not fit together, and counts. */
const SWEEP_MS = 60_000;
const SYSTEM: Author = { who: "system", requestId: "" };

export interface LeaseServiceOptions {
  readonly store: LeaseStore;
  readonly routes: RouteService;
  readonly time: LeaseTime;
  readonly clock: Clock;
  readonly log: Log;
  /** Registrations at most; further ones are refused. */
  readonly max: () => number;
  /** Every heartbeat is written before it is answered: for a host without timers. */
  readonly writesAtOnce?: boolean;
}

export type RegisterResult = CommitResult | { readonly ok: false; readonly reason: "full"; readonly detail: string };

type MayRegister = (modid: number, cmdid: number) => boolean;

export class LeaseService {
  readonly store: LeaseStore;
  readonly renewals: LeaseRenewals;
  readonly #options: LeaseServiceOptions;
  #registrations = 0;
  #sweptAtMs = Number.NEGATIVE_INFINITY;
  #expiring: Promise<void> | undefined;
  #stopped = false;
  #cancel: (() => void)[] = [];
  #running: Promise<unknown>[] = [];
  #failure: string | undefined;
  readonly counts = { granted: 0, ended: 0, expired: 0, expiries: 0, strays: 0 };

  constructor(options: LeaseServiceOptions) {
    this.#options = options;
    const { store, time, clock, log, max, routes } = options;
    this.store = store;
    this.renewals = new LeaseRenewals({ store, time, clock, log, max, writesAtOnce: options.writesAtOnce ?? false });
    routes.onLeases(({ put, removed }) => {
      for (const lease of put) {
        if (!this.renewals.isKnown(lease.id)) this.#registrations++;
        this.renewals.granted(lease);
      }
      for (const id of removed) this.renewals.ended(id);
      this.counts.granted += put.length;
      this.counts.ended += removed.length;
      this.#registrations = Math.max(0, this.#registrations - removed.length);
    });
  }

  get time(): LeaseTime {
    return this.#options.time;
  }

  /** Registrations, as counted once a minute by the clock's owner and kept up with what went through this instance. */
  get registrations(): number {
    return this.#registrations;
  }

  /** @throws StoreUnavailable */
  async register(terms: LeaseTerms, may: MayRegister, author: Author): Promise<RegisterResult> {
    const { max, routes } = this.#options;
    if (this.#registrations >= max() && !this.renewals.isKnown(terms.id)) {
      if ((await this.store.find([terms.id])).length === 0) {
        const detail = `there are ${this.#registrations} registrations, and ${max()} is the limit here ([registrations] max); raise it, or see GET /v1/registrations for some to remove`;
        return { ok: false, reason: "full", detail };
      }
    }
    return await routes.commit({ action: "register", ...terms, may }, author, !this.renewals.isKnown(terms.id));
  }

  /** @throws StoreUnavailable */
  async deregister(id: string, may: MayRegister, author: Author): Promise<CommitResult> {
    return await this.#options.routes.commit({ action: "deregister", id, may }, author);
  }

  /** Moves the clock, writes renewals and ends what ran out from now on, until it is stopped. */
  start(setTimer: SetTimer): void {
    const { clock } = this.#options;
    const every = (slot: number, round: () => Promise<void>): void => {
      const startedAtMs = clock.nowMs();
      const running = round().finally(() => {
        if (this.#stopped) return;
        const restMs = Math.max(1, LEASE_TICK_MS - (clock.nowMs() - startedAtMs));
        this.#cancel[slot] = setTimer(restMs, () => every(slot, round));
      });
      this.#running[slot] = running;
    };
    every(0, () => this.look());
    // Not awaited: while a write hangs, those who wait for it are still to be refused in time.
    every(1, async () => void this.renewals.tick());
  }

  /** Writes the heartbeats that are not written yet. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const cancel of this.#cancel) cancel?.();
    await Promise.all(this.#running);
    await this.#expiring;
    await this.renewals.write();
  }

  /** One look at the clock. What is over is ended beside it, so that the clock goes on. Never throws. */
  async look(): Promise<void> {
    try {
      // Who refuses heartbeats must not let leases age. One that takes them moves the clock on.
      const { isOwner, clockMs, earliestMs } = await this.time.look(!this.renewals.isBlocked);
      this.#setFailure(undefined);
      if (!isOwner || this.#expiring !== undefined) return;
      const isDue = earliestMs !== undefined && earliestMs <= clockMs;
      const sweeps = this.#options.clock.nowMs() - this.#sweptAtMs >= SWEEP_MS;
      if (!isDue && !sweeps) return;
      this.#expiring = this.#end(clockMs, sweeps)
        .catch((error: unknown) => this.#setFailure(error))
        .finally(() => {
          this.#expiring = undefined;
        });
    } catch (error) {
      this.#setFailure(error);
    }
  }

  /** What {@link look} began. */
  async ended(): Promise<void> {
    await this.#expiring;
  }

  async #end(clockMs: number, sweeps: boolean): Promise<void> {
    for (;;) {
      // Without the lock: what is found is looked at again under it.
      const ids = await this.store.over(clockMs, MAX_EXPIRED);
      if (ids.length === 0) break;
      await this.#commitEnd(ids, clockMs);
      if (ids.length < MAX_EXPIRED) break;
    }
    if (!sweeps) return;
    const { hosts, ids, count } = await this.store.strays(MAX_EXPIRED);
    this.#sweptAtMs = this.#options.clock.nowMs();
    this.#registrations = count;
    if (hosts.length + ids.length === 0) return;
    this.counts.strays += hosts.length + ids.length;
    this.#options.log.warn("leased hosts without a registration or registrations without a host were removed", {
      hosts: hosts.length,
      registrations: ids.length,
    });
    await this.#commitEnd(ids, clockMs, hosts);
  }

  async #commitEnd(ids: readonly string[], clockMs: number, places: readonly Place[] = []): Promise<void> {
    const before = this.counts.ended;
    await this.#options.routes.commit({ action: "expire", ids, clockMs, places }, SYSTEM);
    this.counts.expiries++;
    this.counts.expired += this.counts.ended - before;
  }

  #setFailure(error: unknown): void {
    const text = error === undefined ? undefined : error instanceof Error ? error.message : String(error);
    if (text === this.#failure) return;
    this.#failure = text;
    if (text === undefined) this.#options.log.info("the lease clock goes on", { clockMs: this.time.clockMs });
    else if (!(error instanceof StoreUnavailable)) this.#options.log.error("keeping leases failed", { error });
    else this.#options.log.warn("the lease clock stands: no lease ages until the database is back", { error });
  }
}
