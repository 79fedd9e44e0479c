// A RouteStore in memory, trivially right: one state, copied before every write and put back when the write fails, one
// writer at a time. What an old tool does by plain SQL, a database restored from a backup and one that is away are
// methods here.
import { diffHosts, type Host, hostKey, isEmptyDiff, normalizeHosts } from "../../src/core/assignment.ts";
import type { Lease } from "../../src/core/lease.ts";
import { formatModuleKey, type ModuleKey } from "../../src/core/module-key.ts";
import type { NameContent, NameRecord, NameScope, RouteContent, RouteRecord } from "../../src/core/route-change.ts";
import type { LeaseTransaction } from "../../src/store/lease-store.ts";
import {
  type ChangeLogEntry,
  type CommittedChange,
  type Foreign,
  type Head,
  type RouteDelta,
  type RouteStore,
  type RouteTransaction,
  StoreUnavailable,
} from "../../src/store/route-store.ts";
import { logItems } from "../../src/store/sql/change-log.ts";
import { MemoryLeaseStore } from "./memory-lease-store.ts";

interface State {
  revision: number;
  routes: Map<string, RouteRecord>;
  names: Map<string, NameRecord>;
  /** The original's tables, which old tools write. */
  theirHosts: Map<string, { key: ModuleKey; hosts: readonly Host[] }>;
  theirNames: Map<string, NameContent>;
  foreignMoved: boolean;
  log: ChangeLogEntry[];
  leases: Map<string, Lease>;
}

const copy = (state: State): State => structuredClone(state);

export class MemoryRouteStore implements RouteStore {
  #state: State = {
    revision: 0,
    routes: new Map(),
    names: new Map(),
    theirHosts: new Map(),
    theirNames: new Map(),
    foreignMoved: false,
    log: [],
    leases: new Map(),
  };
  #line: Promise<unknown> = Promise.resolve();
  #scannedAtMs = Number.NEGATIVE_INFINITY;
  /** Everything fails with this while it is set. */
  failure: Error | undefined;
  /** A write waits for this before it takes the lock. */
  gate: Promise<void> = Promise.resolve();
  readonly counts = { writes: 0, heads: 0 };
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
    if (mark) this.#state.foreignMoved = true;
  }
  oldName(scope: NameScope, id: number, name: string): void {
    this.#state.theirNames.set(`${scope} ${id}`, { scope, id, name });
    this.#state.foreignMoved = true;
  }
  oldMark(): void {
    this.#state.foreignMoved = true;
  }

  async head(): Promise<Head> {
    this.counts.heads++;
    this.#mustBeThere();
    return { revision: this.#state.revision, foreignMoved: this.#state.foreignMoved };
  }

  async readSince(revision: number): Promise<RouteDelta> {
    this.#mustBeThere();
    return deltaOf(this.#state, revision);
  }

  write<T>(work: (tx: RouteTransaction) => Promise<T>): Promise<T> {
    const result = this.#line.then(async () => {
      await this.gate;
      this.#mustBeThere();
      this.counts.writes++;
      const before = copy(this.#state);
      try {
        const value = await work(new MemoryTransaction(this.#state, this.leases));
        // Away before the commit: nothing was done.
        this.#mustBeThere();
        return value;
      } catch (error) {
        this.#state = before;
        throw error;
      }
    });
    this.#line = result.catch(() => {});
    return result;
  }

  async findForeign(): Promise<Foreign> {
    this.#mustBeThere();
    return await new MemoryTransaction(this.#state, this.leases).findForeign();
  }

  async claimFullScan(intervalMs: number, nowMs: number): Promise<boolean> {
    this.#mustBeThere();
    if (nowMs - this.#scannedAtMs < intervalMs) return false;
    this.#scannedAtMs = nowMs;
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

  #mustBeThere(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

function deltaOf(state: State, revision: number): RouteDelta {
  const newer = <R extends { revision: number }>(records: Map<string, R>): R[] =>
    [...records.values()].filter((record) => record.revision > revision);
  return { revision: state.revision, routes: newer(state.routes), names: newer(state.names) };
}

class MemoryTransaction implements RouteTransaction {
  readonly leases: LeaseTransaction;

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
    return this.state.foreignMoved;
  }
  async readSince(revision: number): Promise<RouteDelta> {
    return deltaOf(this.state, revision);
  }

  async findForeign(modules?: readonly ModuleKey[]): Promise<Foreign> {
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
    if (modules === undefined) {
      for (const { scope, id } of [...state.theirNames.values(), ...state.names.values()]) {
        const theirs = state.theirNames.get(`${scope} ${id}`)?.name ?? "";
        if (theirs !== (state.names.get(`${scope} ${id}`)?.name ?? "")) names.push({ scope, id, name: theirs });
      }
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

  async settleForeign(): Promise<void> {
    this.state.foreignMoved = false;
  }
}
