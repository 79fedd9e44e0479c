// A RouteStore in memory, trivially right: one state, copied before every write and put back when the write fails, one
// writer at a time. What an old tool does by plain SQL, a database restored from a backup and one that is away are
// methods here.
import { diffHosts, type Host, hostKey, isEmptyDiff, normalizeHosts } from "../../src/core/assignment.ts";
import type { Lease, Place } from "../../src/core/lease.ts";
import { formatModuleKey, type ModuleKey } from "../../src/core/module-key.ts";
import {
  isRemoved,
  type NameContent,
  type NameRecord,
  type NameScope,
  type RouteContent,
  type RouteRecord,
} from "../../src/core/route-change.ts";
import type { LeaseTransaction } from "../../src/store/lease-store.ts";
import {
  type ChangeLogEntry,
  type CommittedChange,
  type Foreign,
  type ForeignMark,
  type Head,
  type Look,
  type NameKey,
  type RemovedModule,
  type RouteDelta,
  type RouteStore,
  type RouteTransaction,
  StoreUnavailable,
} from "../../src/store/route-store.ts";
import { logItems } from "../../src/store/sql/change-log.ts";
import { MemoryLeaseStore } from "./memory-lease-store.ts";
import { MemoryStand, type Planned } from "./memory-write-ahead.ts";

interface State {
  revision: number;
  forgotten: number;
  routes: Map<string, RouteRecord>;
  names: Map<string, NameRecord>;
  /** The original's tables, which old tools write. */
  theirHosts: Map<string, { key: ModuleKey; hosts: readonly Host[] }>;
  theirNames: Map<string, NameContent>;
  /** Old tools moved RouteVersion or RouteChange: no writer has seen it yet, or one has and nothing was settled since. */
  foreign: { unnoticed: boolean; pending: boolean; marks: number; looked: number };
  /** What rows of RouteChange name that no writer has seen. */
  named: readonly ModuleKey[];
  log: ChangeLogEntry[];
  leases: Map<string, Lease>;
}

const copy = (state: State): State => structuredClone(state);

export class MemoryRouteStore implements RouteStore {
  #state: State = {
    revision: 0,
    forgotten: 0,
    routes: new Map(),
    names: new Map(),
    theirHosts: new Map(),
    theirNames: new Map(),
    foreign: { unnoticed: false, pending: false, marks: 0, looked: 0 },
    named: [],
    log: [],
    leases: new Map(),
  };
  #line: Promise<unknown> = Promise.resolve();
  #lookedAtMs = 0;
  /** Everything fails with this while it is set. */
  failure: Error | undefined;
  /** A write waits for this before it takes the lock. */
  gate: Promise<void> = Promise.resolve();
  /** A look waits for this, between its snapshot and its end. */
  lookGate: Promise<void> = Promise.resolve();
  readonly counts = { writes: 0, aheads: 0, heads: 0, looks: 0, forgets: 0 };
  /** Writes may be planned ahead. */
  foresees = false;
  /** The next write ahead is made, and its answer is lost. */
  losesAnswer = false;
  /** What each of the next writes ahead waits for before it stands in line for the lock: what is sent after it may overtake. */
  readonly late: Promise<void>[] = [];
  readonly #ahead = new MemoryStand();
  /** The leases of the same database. */
  readonly leases = new MemoryLeaseStore(() => {
    this.#mustBeThere();
    return this.#state;
  });

  get revision(): number {
    return this.#state.revision;
  }
  get committed(): readonly CommittedChange["action"][] {
    return this.#state.log.map(({ action }) => action);
  }
  hostsOf(modid: number, cmdid: number): readonly Host[] {
    return this.#state.routes.get(formatModuleKey({ modid, cmdid }))?.hosts ?? [];
  }

  away(message = "connection refused"): void {
    this.failure = new StoreUnavailable(message);
  }
  back(): void {
    this.failure = undefined;
  }

  /** A backup to `restore` later. */
  backup(): () => void {
    const kept = copy(this.#state);
    return () => {
      this.#state = copy(kept);
    };
  }

  /** As an old tool: replaces a module's rows. `mark`: it moves RouteVersion too. */
  oldPut(modid: number, cmdid: number, hosts: readonly Host[], mark = true): void {
    this.#state.theirHosts.set(formatModuleKey({ modid, cmdid }), { key: { modid, cmdid }, hosts });
    if (mark) this.oldMark();
  }
  oldName(scope: NameScope, id: number, name: string): void {
    this.#state.theirNames.set(`${scope} ${id}`, { scope, id, name });
    this.oldMark();
  }
  /** Moves RouteVersion; `named`: with rows of RouteChange. */
  oldMark(...named: readonly ModuleKey[]): void {
    this.#state.foreign.unnoticed = true;
    this.#state.named = [...this.#state.named, ...named];
  }

  async head(): Promise<Head> {
    this.counts.heads++;
    this.#mustBeThere();
    const { unnoticed, pending, marks, looked } = this.#state.foreign;
    const foreignMoved = unnoticed || pending;
    return {
      ...{ revision: this.#state.revision, foreignMoved, unnoticed, marks },
      ...{ lookedMarks: looked, lookedAtMs: this.#lookedAtMs },
    };
  }

  async readSince(revision: number): Promise<RouteDelta> {
    this.#mustBeThere();
    return deltaOf(this.#state, revision);
  }

  write<T>(work: (tx: RouteTransaction) => Promise<T>): Promise<T> {
    return this.#write(work, false);
  }

  /** As another instance does: what this one plans ahead does not know of it. */
  writeElsewhere<T>(work: (tx: RouteTransaction) => Promise<T>): Promise<T> {
    return this.#write(work, true);
  }

  #write<T>(work: (tx: RouteTransaction) => Promise<T>, elsewhere: boolean): Promise<T> {
    const result = this.#line.then(async () => {
      await this.gate;
      this.#mustBeThere();
      this.counts.writes++;
      const before = copy(this.#state);
      try {
        const tx = new MemoryTransaction(this.#state, this.leases);
        const value = await work(tx);
        tx.finish();
        // Away before the commit: nothing was done.
        this.#mustBeThere();
        this.#ahead.wrote(this.#state.revision, elsewhere);
        return value;
      } catch (error) {
        this.#state = before;
        throw error;
      }
    });
    this.#line = result.catch(() => {});
    return result;
  }

  async writeAhead<T>(
    revision: number,
    work: (tx: RouteTransaction) => Promise<T>,
    sent: () => void,
    overtook: () => Promise<boolean>,
  ): Promise<{ readonly result: T } | undefined> {
    const planned = await this.#ahead.plan(revision, work);
    if (planned === undefined) return undefined;
    sent();
    try {
      await this.late.shift();
      const made = await this.#makeAhead(revision, planned);
      if (made !== undefined || !(await overtook())) return made;
      return await this.#makeAhead(revision, planned);
    } finally {
      this.#ahead.ended(planned);
    }
  }

  #makeAhead<T>(revision: number, planned: Planned<T>): Promise<{ readonly result: T } | undefined> {
    const made = this.#line.then(async () => {
      await this.gate;
      this.#mustBeThere();
      const { theirHosts, leases, foreign } = this.#state;
      const isThere = ({ modid, cmdid, ip, port }: Place): boolean =>
        theirHosts
          .get(formatModuleKey({ modid, cmdid }))
          ?.hosts.some((host) => host.ip === ip && host.port === port) === true;
      const asForeseen =
        this.#state.revision === revision &&
        this.#ahead.isLast(planned) &&
        !foreign.unnoticed &&
        !planned.places.some(isThere) &&
        !planned.put.some(({ id }) => leases.has(id));
      if (!asForeseen) return undefined;
      this.counts.aheads++;
      const tx = new MemoryTransaction(this.#state, this.leases);
      for (const change of planned.changes) await tx.append(change);
      await tx.leases.write(planned.put, []);
      tx.finish();
      this.#ahead.made(planned);
      if (this.losesAnswer) {
        this.losesAnswer = false;
        throw new StoreUnavailable("the answer was lost");
      }
      return { result: planned.result };
    });
    this.#line = made.catch(() => {});
    return made;
  }

  async look(): Promise<Look> {
    this.#mustBeThere();
    this.counts.looks++;
    const { foreign } = this.#state;
    // The state of the table goes into the mark: RouteVersion is not counted here.
    const mark = { marks: foreign.marks, routeVersion: String(foreign.unnoticed), routeChangeId: 0 };
    const look = { foreign: await new MemoryTransaction(this.#state, this.leases).findForeign(), mark };
    await this.lookGate;
    return look;
  }

  async claimLook(lookedAtMs: number, nowMs: number): Promise<boolean> {
    this.#mustBeThere();
    if (lookedAtMs !== this.#lookedAtMs) return false;
    this.#lookedAtMs = nowMs === lookedAtMs ? nowMs + 1 : nowMs;
    this.#state.foreign.looked = this.#state.foreign.marks;
    return true;
  }

  async changes(after: number, limit: number): Promise<readonly ChangeLogEntry[]> {
    this.#mustBeThere();
    return this.#state.log.filter(({ revision }) => revision > after).slice(0, limit);
  }

  async prune(keep: number): Promise<number> {
    this.#mustBeThere();
    const gone = Math.max(0, this.#state.log.length - keep);
    this.#state.log.splice(0, gone);
    return gone;
  }

  async forget(removed: readonly RemovedModule[]): Promise<boolean> {
    const state = this.#state;
    this.#mustBeThere();
    this.counts.forgets++;
    const newest = Math.max(0, ...removed.map(({ revision }) => revision));
    if (newest > state.revision) return false;
    for (const gone of removed) {
      const held = state.routes.get(formatModuleKey(gone));
      if (held !== undefined && held.revision === gone.revision && isRemoved(held))
        state.routes.delete(formatModuleKey(gone));
    }
    state.forgotten = Math.max(state.forgotten, newest);
    return true;
  }

  #mustBeThere(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

function deltaOf(state: State, after: number): RouteDelta {
  const { revision, forgotten } = state;
  const isWhole = after > 0 && after < forgotten;
  const newer = <R extends { revision: number }>(records: Map<string, R>): R[] =>
    [...records.values()].filter((record) => isWhole || record.revision > after);
  return {
    ...{ revision, routes: newer(state.routes), names: newer(state.names) },
    ...(forgotten === 0 ? {} : { forgotten }),
    ...(isWhole ? { whole: true } : {}),
  };
}

class MemoryTransaction implements RouteTransaction {
  readonly leases: LeaseTransaction;
  #settled = false;

  constructor(
    private readonly state: State,
    leases: MemoryLeaseStore,
  ) {
    this.leases = leases.transaction(state);
  }

  get revision(): number {
    return this.state.revision;
  }
  get foreignMoved(): boolean {
    return this.state.foreign.unnoticed || this.state.foreign.pending;
  }
  async namedByOthers(): Promise<readonly ModuleKey[]> {
    return this.state.named;
  }
  async readSince(revision: number): Promise<RouteDelta> {
    return deltaOf(this.state, revision);
  }

  async findForeign(modules?: readonly ModuleKey[], only: readonly NameKey[] = []): Promise<Foreign> {
    const { state } = this;
    const keys = new Map<string, ModuleKey>();
    for (const key of modules ?? state.routes.values()) keys.set(formatModuleKey(key), key);
    if (modules === undefined) for (const [text, { key }] of state.theirHosts) keys.set(text, key);
    const routes: RouteContent[] = [];
    let badRows = 0;
    for (const [text, { modid, cmdid }] of keys) {
      const rows = state.theirHosts.get(text)?.hosts ?? [];
      const theirs = normalizeHosts(rows.filter(({ port }) => port >= 1 && port <= 65535));
      badRows += rows.filter(({ port }) => port < 1 || port > 65535).length;
      const ours = (state.routes.get(text)?.hosts ?? []).map(({ leased: _, ...host }) => host);
      if (!isEmptyDiff(diffHosts(ours, theirs))) routes.push({ modid, cmdid, hosts: theirs });
    }
    const names: NameContent[] = [];
    const asked = modules === undefined ? [...state.theirNames.values(), ...state.names.values()] : only;
    for (const { scope, id } of asked) {
      const theirs = state.theirNames.get(`${scope} ${id}`)?.name ?? "";
      if (theirs !== (state.names.get(`${scope} ${id}`)?.name ?? "")) names.push({ scope, id, name: theirs });
    }
    return { routes, names, badRows };
  }

  async append(change: CommittedChange): Promise<void> {
    const { state } = this;
    const { revision, routes, names, ...entry } = change;
    if (!(revision > state.revision)) throw new RangeError(`revision ${revision} after ${state.revision}`);
    for (const { before, diff, ...route } of routes) {
      const { modid, cmdid } = route;
      const text = formatModuleKey(route);
      state.routes.set(text, { ...route, revision });
      if (change.action === "adopt") continue;
      // By the difference, as SQL does: what an old tool did to other hosts of the module meanwhile stays.
      const gone = new Set([...diff.removed, ...diff.changed].map(hostKey));
      const rows = (state.theirHosts.get(text)?.hosts ?? []).filter((host) => !gone.has(hostKey(host)));
      state.theirHosts.set(text, {
        key: { modid, cmdid },
        hosts: [...rows, ...[...diff.changed, ...diff.added].map(({ leased: _, ...host }) => host)],
      });
    }
    for (const { scope, id, name } of names) {
      state.names.set(`${scope} ${id}`, { scope, id, name, revision });
      if (change.action !== "adopt") state.theirNames.set(`${scope} ${id}`, { scope, id, name });
    }
    const items = structuredClone([...logItems({ routes, names })]);
    state.log.push({ revision, ...entry, items });
    state.revision = revision;
  }

  async settleForeign(mark?: ForeignMark): Promise<void> {
    const { marks, unnoticed } = this.state.foreign;
    this.#settled =
      mark === undefined || (mark.marks === marks && (!unnoticed || mark.routeVersion === String(unnoticed)));
  }

  finish(): void {
    const { foreign } = this.state;
    if (foreign.unnoticed) foreign.marks++;
    foreign.pending = this.foreignMoved && !this.#settled;
    foreign.unnoticed = false;
    this.state.named = [];
  }
}
