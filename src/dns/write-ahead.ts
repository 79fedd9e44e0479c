// Transactions that are planned and sent while the one before them is still being made. In turn, the database waits while
// we plan and we wait while it writes, and neither of two cores is full. But what most registrations need to know is known:
// the replica, and what the transactions under way will make of it. So the next one is planned on that and sent at once;
// the database checks under the lock that all is as foreseen, and what is not is written the long way (RouteService).
//
// They go by different connections, and of two that are sent a millisecond apart the second may be the first in line at the
// lock (3 of 100 with both processors taken). So each is sent when the database has begun the one before. Where it is the
// first all the same, it finds the tables as they were and is refused; it is sent once more when the one before was made,
// and no further one is begun meanwhile, which would be refused too.
//
// Two are under way at most: one that the database works on, and one that waits there for the lock or whose predecessor's
// answer is on its way back. With three, each is smaller, and what a transaction costs however small it is costs more than the
// waiting. They are answered in their order. If one failed without an answer, and the one after it was made, then so
// was the first, since the second was planned on it.
//
// Only new registrations go this way: whoever registers again, changes a route or ends a lease needs what is read under
// the lock. While one is under way, another is begun when as many callers wait as the last few had on average: sooner,
// transactions would be many and small.
import { hostAt } from "../core/lease-change.ts";
import { NotForeseen, type RouteDelta, type RouteStore, type RouteTransaction } from "../store/route-store.ts";
import { type Author, type Change, ChangeWriter, type CommitResult, type LeaseOutcome } from "./change-writer.ts";
import { type RouteReplica, StagedRoutes } from "./route-replica.ts";

const MAX_UNDER_WAY = 2;
/** So many transactions go the long way after one that was not as foreseen; twice as many after each further one. */
const REST = 1;
const MAX_REST = 1_024;

export interface Asked {
  readonly change: Change;
  readonly author: Author;
  /** A registration of which nothing is known here: it is likely not there. */
  readonly isNew: boolean;
}

/** What a transaction did, once it is committed. */
export interface Landed {
  readonly staged: StagedRoutes;
  readonly results: readonly CommitResult[];
  readonly leases: LeaseOutcome;
}

export interface WriteAheadOptions<A extends Asked> {
  readonly store: RouteStore;
  readonly replica: RouteReplica;
  readonly counts: { aheads: number; overtakings: number; misses: number };
  readonly moment: () => { readonly wallMs: number; readonly leaseMs: number | undefined };
  /** Called in the order in which batches were begun. `others`: what is to be applied before, where a batch before failed. */
  readonly landed: (batch: readonly A[], landed: Landed, others: RouteDelta | undefined) => void;
  readonly failed: (batch: readonly A[], error: unknown) => void;
  /** To be written the long way, the last batch first. */
  readonly missed: (batch: readonly A[]) => void;
  /** Another batch may be begun, or what was missed written. */
  readonly ready: () => void;
}

interface Flight {
  readonly size: number;
  /** undefined: not planned yet. */
  staged: StagedRoutes | undefined;
  settled: Promise<"landed" | "missed" | "failed"> | undefined;
}

export class WriteAhead<A extends Asked> {
  readonly #options: WriteAheadOptions<A>;
  readonly #flights: Flight[] = [];
  #planning = false;
  /** That wait for the one before, to be sent once more. */
  #early = 0;
  /** Of the last transactions, so many as may be under way. */
  #sizes: readonly number[] = [];
  #rest = 0;
  #restNext = REST;

  constructor(options: WriteAheadOptions<A>) {
    this.#options = options;
  }

  get underWay(): number {
    return this.#flights.length;
  }

  /** So many callers' changes go the long way together. */
  wroteLong(size: number): void {
    if (this.#rest > 0) this.#rest--;
    this.#note(size);
  }

  /** Whether it is the time to begin another batch, of so many. */
  mayBegin(size: number): boolean {
    const { length } = this.#flights;
    if (length >= MAX_UNDER_WAY || this.#planning || this.#early > 0 || this.#rest > 0) return false;
    return length === 0 || this.#sizes.length * size >= this.#sizes.reduce((sum, one) => sum + one, 0);
  }

  /** Begins a batch, unless it is not of this way. To be called when {@link mayBegin}. */
  begin(batch: readonly A[]): boolean {
    const { store, replica } = this.#options;
    if (store.foresees !== true) return false;
    const before = this.#flights.at(-1);
    const base = before === undefined ? replica : before.staged;
    if (base === undefined || !batch.every((asked) => isForeseeable(asked, base))) return false;
    const flight: Flight = { size: batch.length, staged: undefined, settled: undefined };
    this.#flights.push(flight);
    this.#note(batch.length);
    this.#planning = true;
    flight.settled = this.#fly(batch, flight, before, base);
    return true;
  }

  #note(size: number): void {
    this.#sizes = [...this.#sizes.slice(1 - MAX_UNDER_WAY), size];
  }

  async #fly(
    batch: readonly A[],
    flight: Flight,
    before: Flight | undefined,
    base: RouteReplica | StagedRoutes,
  ): Promise<"landed" | "missed" | "failed"> {
    const { store, replica, landed, failed, missed, ready } = this.#options;
    let landing: { readonly result: Landed } | undefined;
    let error: unknown;
    try {
      landing = await store.writeAhead!(
        base.revision,
        (tx) => this.#plan(tx, batch, flight, base),
        () => {
          this.#planning = false;
          ready();
        },
        () => this.#overtook(before),
      );
    } catch (failure) {
      error = failure;
    }
    if (this.#flights.at(-1) === flight) this.#planning = false;
    const outcomeBefore = await before?.settled;
    let others: RouteDelta | undefined;
    if (landing !== undefined && outcomeBefore !== undefined && outcomeBefore !== "landed") {
      try {
        others = await store.readSince(replica.revision);
      } catch (failure) {
        error = failure;
      }
    }
    // The batch before was taken out by now, so this is the first.
    this.#flights.shift();
    if (error !== undefined) failed(batch, error);
    else if (landing === undefined) {
      this.#noteMiss(flight, outcomeBefore);
      missed(batch);
    } else {
      this.#options.counts.aheads++;
      this.#restNext = REST;
      landed(batch, landing.result, others);
      // What is under way on top of it finds all of it in the replica now.
      this.#flights[0]?.staged?.rebase(replica);
    }
    ready();
    return error !== undefined ? "failed" : landing === undefined ? "missed" : "landed";
  }

  /** Of one that was refused: whether what it was planned on was made after all. */
  async #overtook(before: Flight | undefined): Promise<boolean> {
    if (before === undefined) return false;
    this.#early++;
    const outcome = await before.settled;
    this.#early--;
    if (outcome !== "landed") return false;
    this.#options.counts.overtakings++;
    return true;
  }

  async #plan(
    tx: RouteTransaction,
    batch: readonly A[],
    flight: Flight,
    base: RouteReplica | StagedRoutes,
  ): Promise<Landed> {
    const staged = new StagedRoutes(base);
    flight.staged = staged;
    const writer = new ChangeWriter(tx, staged, this.#options.moment());
    await writer.loadLeases(batch.map(({ change }) => change));
    const results: CommitResult[] = [];
    for (const { change, author } of batch) {
      const result = await writer.write(change, author);
      if (!result.ok) throw new NotForeseen("a change that is refused is to be explained from what is there");
      results.push(result);
    }
    return { staged, results, leases: await writer.finish() };
  }

  #noteMiss({ staged }: Flight, before: "landed" | "missed" | "failed" | undefined): void {
    this.#options.counts.misses++;
    if (staged === undefined) {
      // Nobody knew how the tables stand. They will after a transaction of the long way.
      this.#rest = Math.max(this.#rest, 1);
      return;
    }
    // What was planned on something that was not made could not be made.
    if (before === "missed" || before === "failed") return;
    this.#rest = this.#restNext;
    this.#restNext = Math.min(2 * this.#restNext, MAX_REST);
  }
}

function isForeseeable({ change, isNew }: Asked, routes: RouteReplica | StagedRoutes): boolean {
  if (!isNew || change.action !== "register") return false;
  return hostAt(routes.route(change.modid, change.cmdid), change.ip, change.port) === undefined;
}
