// Keeps the replica in step with the database and carries every change there.
//
// Writers of all instances stand in one line behind a lock in the database, so what costs is the number of
// transactions, not of changes: changes that arrive while one transaction is under way go together in the next (group
// commit), each with a revision and a log entry of its own. Under the lock, "the database's revision is mine" proves
// that the replica is current, and a change is planned in memory without reading anything back, but for the modules it
// touches: what an old tool did to those by plain SQL is adopted first.
//
// Nothing in here has a timer of its own: main.ts calls `poll` on an interval, a serverless host calls `freshen` when a
// request comes.

import { formatModuleKey } from "../core/module-key.ts";
import { nextRevision, planChange, type RouteRecord } from "../core/route-change.ts";
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import { type Head, type Look, MAX_FORGOTTEN, type RouteStore, StoreUnavailable } from "../store/route-store.ts";
import {
  type Adopted,
  type AdoptedRoute,
  type AdoptionScope,
  adoptForeign,
  concernsAll,
  LookFirst,
  touchedModules,
} from "./adoption.ts";
import {
  type Author,
  type Change,
  ChangeWriter,
  type CommitResult,
  isLeaseChange,
  type LeaseOutcome,
  type WriterMoment,
  wantedLeases,
} from "./change-writer.ts";
import { ForeignLooks } from "./foreign-looks.ts";
import { type RouteReplica, StagedRoutes, type TouchedHosts } from "./route-replica.ts";
import { type Landed, WriteAhead } from "./write-ahead.ts";

export interface RouteServiceOptions {
  readonly store: RouteStore;
  readonly replica: RouteReplica;
  readonly clock: Clock;
  readonly log: Log;
  /** A change that leaves no sign in the old tables is found within this time. */
  readonly fullReloadIntervalMs: () => number;
  /** Of all hosts: when more vanish at once by plain SQL, agents are not told that it is meant. Default 0.5. */
  readonly maxVanishShare?: () => number;
  /** The lease clock, not behind the database's; undefined: not known. */
  readonly leaseMs?: () => number | undefined;
  /** Changes waiting for a transaction; more are refused as StoreUnavailable. */
  readonly maxWaiting?: number;
}

/** `touched`: no other hosts of these routes changed. */
export type RoutesListener = (routes: readonly RouteRecord[], touched?: TouchedHosts) => void;

interface Waiting {
  readonly change: Change;
  readonly author: Author;
  readonly isNew: boolean;
  resolve(result: CommitResult): void;
  reject(error: unknown): void;
}

const MAX_BATCH = 512;
export const DEFAULT_MAX_VANISH_SHARE = 0.5;
/** Of the removed modules that are kept. */
const FORGOTTEN_SHARE = 0.1;
const SQL: Author = { who: "sql", requestId: "" };

export class RouteService {
  readonly replica: RouteReplica;
  readonly #options: RouteServiceOptions;
  readonly #listeners = new Set<RoutesListener>();
  readonly #advanceListeners = new Set<() => void>();
  readonly #leaseListeners = new Set<(outcome: LeaseOutcome) => void>();
  #announced = 0;
  readonly #waiting: Waiting[] = [];
  #writing = false;
  readonly #ahead: WriteAhead<Waiting>;
  #loaded = false;
  #polling: Promise<void> | undefined;
  #polledAtMs = Number.NEGATIVE_INFINITY;
  readonly #looks: ForeignLooks;
  #failure: string | undefined = "the routes are not loaded yet";
  #headAskedAtMs: number | undefined;
  readonly counts = {
    ...{ commits: 0, transactions: 0, adoptions: 0, vanishings: 0, polls: 0, pollFailures: 0, forgotten: 0 },
    /** Transactions that were planned before they had the lock, and those of them that went the long way after all. */
    ...{ aheads: 0, overtakings: 0, misses: 0 },
  };
  #badRows = 0;

  constructor(options: RouteServiceOptions) {
    this.#options = options;
    this.replica = options.replica;
    this.#looks = new ForeignLooks({
      ...options,
      intervalMs: options.fullReloadIntervalMs,
      take: (look) => this.#takeLook(look),
    });
    this.#ahead = new WriteAhead({
      ...options,
      counts: this.counts,
      moment: () => this.#moment(),
      landed: (batch, landed, others) => {
        if (others !== undefined) this.#take(this.replica.apply(others));
        this.#land(landed);
        this.#resolve(batch, landed.results);
      },
      failed: (batch, error) => this.#reject(batch, error),
      missed: (batch) => this.#waiting.unshift(...batch),
      ready: () => this.#drain(),
    });
  }

  /** Comparisons of the whole table that this instance made. */
  get looks(): Pick<ForeignLooks, "counts" | "tookMs"> {
    return this.#looks;
  }

  /** The routes were loaded once; reads are served from then on, whatever the database does. */
  get loaded(): boolean {
    return this.#loaded;
  }

  /** Why the database was not reached last time, or undefined. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** For how long the database has owed the answer to a question that no lock holds up, in milliseconds. */
  get silentForMs(): number {
    return this.#headAskedAtMs === undefined ? 0 : this.#options.clock.nowMs() - this.#headAskedAtMs;
  }

  /** Rows of RouteData that cannot mean a host, as the last comparison of the whole table found them. */
  get badRows(): number {
    return this.#badRows;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Called with the routes of every change, own or foreign, after it is in the replica. */
  onChange(listener: RoutesListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called whenever the replica's revision moved, also when no route changed (names); after `onChange`. */
  onAdvance(listener: () => void): () => void {
    this.#advanceListeners.add(listener);
    return () => this.#advanceListeners.delete(listener);
  }

  /** Called with the leases that a commit of this instance granted or ended, before it is answered. */
  onLeases(listener: (outcome: LeaseOutcome) => void): () => void {
    this.#leaseListeners.add(listener);
    return () => this.#leaseListeners.delete(listener);
  }

  /**
   * One round: takes over what other instances committed and what old tools say that they did, and begins to compare the
   * whole table where that is due. One round runs at a time; callers who come meanwhile share it. Never throws: a failure
   * is kept in `failure` and logged when it changes.
   */
  refresh(): Promise<void> {
    this.#polling ??= this.#round().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  /** A round, and what it began: what it found is taken over too. */
  async poll(): Promise<void> {
    await this.refresh();
    await this.#looks.settled();
  }

  /**
   * Forgets the modules that were removed first where there are more than `keep`, and some more so that this is seldom
   * done. Never throws: a database that is away is what a poll says.
   */
  async forgetRemoved(keep: number): Promise<void> {
    const { replica } = this;
    const beyond = replica.removedCount - keep;
    if (!this.#loaded || this.#failure !== undefined || beyond <= 0) return;
    const removed = replica.oldestRemoved(beyond + Math.floor(keep * FORGOTTEN_SHARE));
    try {
      for (let i = 0; i < removed.length; i += MAX_FORGOTTEN) {
        const some = removed.slice(i, i + MAX_FORGOTTEN);
        // Else it was restored: the next poll says so.
        if (!(await this.#options.store.forget(some))) return;
        replica.forget(some);
        this.counts.forgotten += some.length;
      }
    } catch (error) {
      this.#setFailure(error);
    }
  }

  /** Polls unless that was done within `maxAgeMs`. */
  async freshen(maxAgeMs: number): Promise<void> {
    if (this.#options.clock.nowMs() - this.#polledAtMs > maxAgeMs) await this.poll();
  }

  async #round(): Promise<void> {
    const { store, clock } = this.#options;
    this.counts.polls++;
    try {
      const head = await this.#head();
      if (!this.#loaded || head.revision > this.replica.revision) {
        this.#take(this.replica.apply(await store.readSince(this.#loaded ? this.replica.revision : 0)));
      } else if (head.revision < this.replica.revision) {
        await this.#confirmRestored();
      }
      // Before the first look at an old database nothing is known: not loaded, or agents would be told "no such module".
      if (!this.#loaded && head.revision === 0) await this.#transact([], "whole");
      else await this.#considerForeign(head);
      this.#loaded = true;
      this.#polledAtMs = clock.nowMs();
      this.#setFailure(undefined);
    } catch (error) {
      this.counts.pollFailures++;
      this.#setFailure(error);
    }
  }

  async #head(): Promise<Head> {
    const { store, clock } = this.#options;
    this.#headAskedAtMs = clock.nowMs();
    try {
      return await store.head();
    } finally {
      this.#headAskedAtMs = undefined;
    }
  }

  async #considerForeign(head: Head): Promise<void> {
    let { marks } = head;
    if (head.unnoticed) {
      // Any write notices; this one also takes over what RouteChange names, before the whole is looked at.
      await this.#transact([], undefined);
      marks++;
    }
    this.#looks.consider(head, marks);
  }

  async #takeLook(look: Look): Promise<void> {
    const { routes, names, badRows } = look.foreign;
    this.#noteBadRows(badRows);
    const { foreignMoved } = await this.#options.store.head();
    if (foreignMoved || routes.length + names.length > 0) await this.#transact([], look);
  }

  /**
   * A lagging cluster node also looks older than us; only a database whose write line is older was restored. What it
   * holds is the truth, but agents ignore what is older than what they have seen: so whatever differs from what was
   * served is given a revision above all that were.
   */
  async #confirmRestored(): Promise<void> {
    const { store, log, clock } = this.#options;
    const held = this.replica.revision;
    const restored = await store.write(async (tx) => {
      if (tx.revision >= held) return undefined;
      const was = tx.revision;
      const change = { ...this.replica.changeTo(await tx.readSince(0)), maxVanishShare: this.#maxVanishShare() };
      const plan = planChange(this.replica, change);
      if (!plan.ok) throw new Error(plan.detail);
      const { routes, names } = plan;
      const atMs = clock.wallMs();
      const revision = nextRevision(held, atMs);
      // "adopt": it stands in the original's tables already.
      await tx.append({ revision, atMs, who: "system", requestId: "", action: "adopt", routes, names });
      return { was, revision, modules: routes.length, routes, delta: await tx.readSince(held) };
    });
    if (restored === undefined) return;
    const { delta, routes, ...found } = restored;
    log.warn("the database is older than what was served: taking its routes", { served: held, ...found });
    this.#noteVanished(
      found.revision,
      routes.map(({ before, ...after }) => ({ before, after })),
    );
    this.#take(this.replica.apply(delta));
  }

  #take(routes: readonly RouteRecord[], touched?: TouchedHosts): void {
    if (routes.length > 0) for (const listener of this.#listeners) listener(routes, touched);
    if (this.replica.revision === this.#announced) return;
    this.#announced = this.replica.revision;
    for (const listener of this.#advanceListeners) listener();
  }

  #setFailure(error: unknown): void {
    const text = error === undefined ? undefined : error instanceof Error ? error.message : String(error);
    if (text === this.#failure) return;
    const first = this.#failure === undefined;
    this.#failure = text;
    if (text === undefined) this.#options.log.info("the database answers", { revision: this.replica.revision });
    else if (first || !(error instanceof StoreUnavailable))
      this.#options.log.error("polling the database failed", { error });
  }

  /**
   * Commits a change. Resolves when it is durable and in the replica. `isNew`: a registration of which nothing is known.
   * @throws StoreUnavailable when the database cannot be reached; the change may then have been made or not
   */
  commit(change: Change, author: Author, isNew = false): Promise<CommitResult> {
    if (this.#waiting.length >= (this.#options.maxWaiting ?? 10_000)) {
      return Promise.reject(
        new StoreUnavailable(`${this.#waiting.length} changes are waiting for the database already`),
      );
    }
    const result = new Promise<CommitResult>((resolve, reject) => {
      this.#waiting.push({ change, author, isNew, resolve, reject });
    });
    this.#drain();
    return result;
  }

  #drain(): void {
    while (this.#waiting.length > 0 && !this.#writing) {
      const mayBegin = this.#loaded && this.#ahead.mayBegin(Math.min(this.#waiting.length, MAX_BATCH));
      if (!mayBegin && this.#ahead.underWay > 0) return;
      const batch = this.#waiting.slice(0, MAX_BATCH);
      const ahead = mayBegin && this.#ahead.begin(batch);
      if (!ahead && this.#ahead.underWay > 0) return;
      this.#waiting.splice(0, batch.length);
      if (!ahead) void this.#commitBatch(batch);
    }
  }

  async #commitBatch(batch: readonly Waiting[]): Promise<void> {
    this.#writing = true;
    this.#ahead.wroteLong(batch.length);
    try {
      this.#resolve(batch, await this.#transactLooking(batch));
    } catch (error) {
      this.#reject(batch, error);
    } finally {
      this.#writing = false;
      this.#drain();
    }
  }

  #resolve(batch: readonly Waiting[], results: readonly CommitResult[]): void {
    batch.forEach((waiting, i) => {
      waiting.resolve(results[i]!);
    });
  }

  #reject(batch: readonly Waiting[], error: unknown): void {
    if (error instanceof StoreUnavailable) this.#setFailure(error);
    for (const waiting of batch) waiting.reject(error);
  }

  /** What concerns the whole table is planned against what a look finds there; other writers need not wait for it. */
  async #transactLooking(batch: readonly Waiting[]): Promise<readonly CommitResult[]> {
    const { store } = this.#options;
    if (batch.some(({ change }) => !isLeaseChange(change) && concernsAll(change))) {
      return await this.#transact(batch, await store.look());
    }
    try {
      return await this.#transact(batch, undefined);
    } catch (error) {
      if (!(error instanceof LookFirst)) throw error;
      return await this.#transact(batch, await store.look(true));
    }
  }

  async #transact(batch: readonly Waiting[], look: Look | "whole" | undefined): Promise<readonly CommitResult[]> {
    const { store } = this.#options;
    const changes = batch.map(({ change }) => change);
    const { staged, results, adopted, leases } = await store.write(
      async (tx) => {
        const staged = new StagedRoutes(this.replica);
        if (tx.revision < this.replica.revision) {
          throw new StoreUnavailable(
            `the database is at revision ${tx.revision}, older than ${this.replica.revision} which was served; its routes are taken over, try again`,
          );
        }
        if (tx.revision > this.replica.revision || !this.#loaded) {
          staged.stage(this.replica.completed(await tx.readSince(this.#loaded ? this.replica.revision : 0)));
        }
        const writer = new ChangeWriter(tx, staged, this.#moment());
        const entered = await writer.loadLeases(changes);
        const byHand = changes.filter((change) => !isLeaseChange(change));
        const touched = [...touchedModules(byHand), ...entered];
        const scope: AdoptionScope = look === "whole" ? look : { touched, look };
        const adopted = await adoptForeign(
          { tx, routes: staged, write: (change) => writer.write(change, SQL), maxVanishShare: this.#maxVanishShare() },
          scope,
        );
        const results: CommitResult[] = [];
        for (const { change, author } of batch) results.push(await writer.write(change, author));
        return { staged, results, adopted, leases: await writer.finish() };
      },
      wantedLeases(changes, this.replica),
    );
    this.#noteAdopted(adopted);
    this.#land({ staged, results, leases });
    return results;
  }

  #land({ staged, results, leases }: Landed): void {
    this.counts.transactions++;
    for (const result of results) if (result.ok && result.changed) this.counts.commits++;
    this.#take(this.replica.apply(staged.delta()), staged.touched);
    if (leases.put.length + leases.removed.length > 0) for (const listener of this.#leaseListeners) listener(leases);
  }

  #moment(): WriterMoment {
    const { clock, leaseMs } = this.#options;
    return { wallMs: clock.wallMs(), leaseMs: leaseMs?.() };
  }

  #maxVanishShare(): number {
    return this.#options.maxVanishShare?.() ?? DEFAULT_MAX_VANISH_SHARE;
  }

  /** To be called with what was found in the database, before it is in the replica. */
  #noteVanished(revision: number, routes: Iterable<AdoptedRoute>): void {
    let modules = 0;
    let hosts = 0;
    for (const { before, after } of routes) {
      if (after.vanishedFrom === undefined || after.vanishedFrom === before?.vanishedFrom) continue;
      modules++;
      hosts += after.vanishedFrom - after.hosts.length;
    }
    if (modules === 0) return;
    this.counts.vanishings++;
    this.#options.log.error(
      "so many hosts vanished at once from the database that agents keep them until somebody says what was meant: " +
        `POST /v1/changes/${revision}/revert puts them back, POST /v1/changes/${revision}/confirm lets them go`,
      { revision, modules, hosts, of: this.replica.hostCount },
    );
  }

  #noteBadRows(rows: number): void {
    if (rows > 0 && rows !== this.#badRows) {
      this.#options.log.warn("RouteData has rows that cannot mean a host; they are skipped", { rows });
    }
    this.#badRows = rows;
  }

  #noteAdopted({ revision, foreign, whole, routes }: Adopted): void {
    if (whole) this.#noteBadRows(foreign.badRows);
    if (revision === undefined) return;
    this.#noteVanished(revision, routes);
    this.counts.adoptions++;
    this.#options.log.info("changes made by plain SQL were taken over", {
      revision,
      modules: foreign.routes.length,
      names: foreign.names.length,
      first: foreign.routes.slice(0, 5).map(formatModuleKey).join(" "),
    });
  }
}
