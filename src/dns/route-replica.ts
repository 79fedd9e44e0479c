// The routes as this process knows them: a replica of the database, advanced by deltas, read by everybody. All reads
// are served from here, so they cost no query and go on while the database is away. Records are immutable; a change
// puts a new record in the old one's place, so whoever holds a record holds a consistent route.
//
// Of a removed module nothing is held but the revision of its removal, by which readers that were away learn of it. When
// there are very many the oldest are forgotten, and `forgotten` says up to which revision that may have happened: whoever
// knows a module at such a revision and finds nothing of it here knows that it was removed.

import { hostKey } from "../core/assignment.ts";
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import { NO_CHOICE } from "../core/policies.ts";
import { RevisionTable } from "../core/revision-table.ts";
import {
  exists,
  isRemoved,
  type NameRecord,
  type NameScope,
  type RouteChange,
  type RouteEdit,
  type RouteRecord,
  type RouteView,
  removedRoute,
} from "../core/route-change.ts";
import { nameMark, replaceMark, routeMark } from "../core/route-digest.ts";
import type { RemovedModule, RouteDelta } from "../store/route-store.ts";
import { RecentChanges } from "./recent-changes.ts";
import { type ListPage, type ListQuery, SortedRoutes } from "./sorted-routes.ts";

/** Which hosts of a module a change may have touched, by their keys. */
export interface TouchedHosts {
  get(modid: number, cmdid: number): ReadonlySet<number> | undefined;
}

/** Shared by the replica and by what a write in progress sees (`StagedRoutes`). */
abstract class Routes implements RouteView {
  abstract route(modid: number, cmdid: number): RouteRecord | undefined;
  abstract nameRecord(scope: NameScope, id: number): NameRecord | undefined;
  abstract routes(): Iterable<RouteRecord>;
  abstract names(): Iterable<NameRecord>;

  name(scope: NameScope, id: number): string {
    return this.nameRecord(scope, id)?.name ?? "";
  }

  /** What a route is called: its own name, or what its modid and cmdid are called. */
  displayName(modid: number, cmdid: number): string {
    const own = this.route(modid, cmdid)?.name;
    if (own !== undefined && own !== "") return own;
    const names = [this.name("modid", modid), this.name("cmdid", cmdid)];
    return names[0] === "" ? names[1]! : names[1] === "" ? names[0]! : names.join(" / ");
  }

  /**
   * The route's entity tag, unquoted: the last revision that changed anything a reader is shown, names included.
   * undefined: there is no such route.
   */
  tag(modid: number, cmdid: number): string | undefined {
    const route = this.route(modid, cmdid);
    return exists(route) ? String(this.shownRevision(route)) : undefined;
  }

  /** The last revision that changed anything a reader of `route` is shown. */
  shownRevision({ modid, cmdid, revision }: RouteRecord): number {
    const ofModid = this.nameRecord("modid", modid)?.revision ?? 0;
    const ofCmdid = this.nameRecord("cmdid", cmdid)?.revision ?? 0;
    return Math.max(revision, ofModid, ofCmdid);
  }
}

export class RouteReplica extends Routes {
  #revision = 0;
  /** Without those that are removed. */
  readonly #routes = new ModuleMap<RouteRecord>();
  readonly #removed = new RevisionTable();
  #forgotten = 0;
  readonly #names = { modid: new Map<number, NameRecord>(), cmdid: new Map<number, NameRecord>() };
  readonly #sorted = new SortedRoutes(
    () => this.#routes.values(),
    (modid, cmdid) => this.displayName(modid, cmdid),
  );
  readonly #recent = new RecentChanges();
  #existing = 0;
  #hosts = 0;
  #vanished = 0;
  #digest = 0;

  /** Of the last change that is in here. 0: nothing loaded yet, or an empty database. */
  get revision(): number {
    return this.#revision;
  }

  /** Modules that exist. */
  get size(): number {
    return this.#existing;
  }

  /** Removed modules whose removal is remembered. */
  get removedCount(): number {
    return this.#removed.size;
  }

  /** Modules that were removed at this revision or before may be forgotten. 0: none is. */
  get forgotten(): number {
    return this.#forgotten;
  }

  get hostCount(): number {
    return this.#hosts;
  }

  /** Routes marked because too many hosts vanished at once. */
  get vanishedCount(): number {
    return this.#vanished;
  }

  /** Of every record that is held but those of removed modules, as core/route-digest.ts has it. */
  get digest(): number {
    return this.#digest;
  }

  route(modid: number, cmdid: number): RouteRecord | undefined {
    const route = this.#routes.get(modid, cmdid);
    if (route !== undefined) return route;
    const revision = this.#removed.get(modid, cmdid);
    return revision === 0 ? undefined : removedRoute({ modid, cmdid }, revision);
  }

  /** For a reader who knows of a module of which nothing is known here: it was removed, and that is forgotten. */
  forgottenRoute(key: ModuleKey): RouteRecord {
    return removedRoute(key, this.#forgotten);
  }

  nameRecord(scope: NameScope, id: number): NameRecord | undefined {
    return this.#names[scope].get(id);
  }

  /** Removed ones too. */
  *routes(): Iterable<RouteRecord> {
    yield* this.#routes.values();
    for (const removed of this.#removed.entries()) yield removedRoute(removed, removed.revision);
  }

  *names(): Iterable<NameRecord> {
    yield* this.#names.modid.values();
    yield* this.#names.cmdid.values();
  }

  /** Takes what is newer than what is held; returns those routes. Deltas may overlap and come in any order. */
  apply(delta: RouteDelta): readonly RouteRecord[] {
    const advanced: RouteRecord[] = [];
    for (const route of this.completed(delta).routes) {
      const { modid, cmdid, revision } = route;
      const held = this.#routes.get(modid, cmdid);
      const since = held?.revision ?? this.#removed.get(modid, cmdid);
      if (since > 0 && since >= revision) continue;
      // A delta from before: what is not known here any more was removed since.
      if (since === 0 && delta.revision < this.#forgotten) continue;
      if (isRemoved(route)) {
        this.#routes.delete(modid, cmdid);
        if (revision > 0) this.#removed.set(modid, cmdid, revision);
      } else {
        this.#routes.set(modid, cmdid, route);
        if (held === undefined) this.#removed.delete(modid, cmdid);
      }
      if (exists(held) !== exists(route)) {
        this.#existing += exists(route) ? 1 : -1;
      }
      this.#sorted.replace(route);
      this.#recent.add(route);
      this.#digest = replaceMark(this.#digest, markOf(held), markOf(route));
      this.#hosts += route.hosts.length - (held?.hosts.length ?? 0);
      this.#vanished += (route.vanishedFrom === undefined ? 0 : 1) - (held?.vanishedFrom === undefined ? 0 : 1);
      advanced.push(route);
    }
    for (const name of delta.names) {
      const held = this.#names[name.scope].get(name.id);
      if (held !== undefined && held.revision >= name.revision) continue;
      this.#names[name.scope].set(name.id, name);
      this.#recent.add(name);
      this.#digest = replaceMark(this.#digest, markOf(held), markOf(name));
    }
    this.#revision = Math.max(this.#revision, delta.revision);
    if (delta.forgotten !== undefined && delta.forgotten > this.#forgotten) {
      this.#forgotten = delta.forgotten;
      // So that all instances of a database say the same. Those of that very revision may still be there.
      for (const { modid, cmdid } of this.#removed.before(delta.forgotten)) this.#removed.delete(modid, cmdid);
    }
    return advanced;
  }

  /**
   * A whole delta with the removals that are forgotten where it came from: of what is held here and not there. They count
   * as made at the newest revision that is forgotten, which is later than anything that was known of them before.
   */
  completed(delta: RouteDelta): RouteDelta {
    const { whole, forgotten = 0, ...rest } = delta;
    if (whole !== true) return delta;
    const there = new ModuleMap<true>();
    for (const { modid, cmdid } of rest.routes) there.set(modid, cmdid, true);
    const gone: RouteRecord[] = [];
    for (const route of this.#routes.values()) {
      const { modid, cmdid, revision } = route;
      if (revision < forgotten && !there.has(modid, cmdid)) gone.push(removedRoute(route, forgotten));
    }
    return { ...rest, forgotten, routes: gone.length === 0 ? rest.routes : [...rest.routes, ...gone] };
  }

  /** Those that were removed first; they are for `forget`. */
  oldestRemoved(count: number): readonly RemovedModule[] {
    return this.#removed.oldest(count);
  }

  /** Of those that are still as they were then nothing is known from now on. */
  forget(removed: readonly RemovedModule[]): void {
    for (const { modid, cmdid, revision } of removed) {
      if (this.#removed.get(modid, cmdid) === revision) this.#removed.delete(modid, cmdid);
      this.#forgotten = Math.max(this.#forgotten, revision);
    }
  }

  /** What changed after `revision`, removed routes included. Costs what changed, unless that is very long ago. */
  changedSince(revision: number): RouteDelta {
    const routes: RouteRecord[] = [];
    const names: NameRecord[] = [];
    const recent = this.#recent.since(revision);
    if (recent === undefined) {
      for (const route of this.#routes.values()) if (route.revision > revision) routes.push(route);
      for (const removed of this.#removed.entries())
        if (removed.revision > revision) routes.push(removedRoute(removed, removed.revision));
      for (const name of this.names()) if (name.revision > revision) names.push(name);
      return { revision: this.#revision, routes, names };
    }
    for (const key of recent) {
      if ("scope" in key) {
        const name = this.nameRecord(key.scope, key.id);
        if (name?.revision === key.revision) names.push(name);
      } else {
        const route = this.route(key.modid, key.cmdid);
        if (route?.revision === key.revision) routes.push(route);
      }
    }
    return { revision: this.#revision, routes, names };
  }

  /** The change that turns what is held here into what a whole database holds. */
  changeTo({ routes, names }: RouteDelta): Extract<RouteChange, { action: "adopt" }> {
    const named = new Set(names.map(({ scope, id }) => `${scope} ${id}`));
    const known = new ModuleMap<true>();
    for (const { modid, cmdid } of routes) known.set(modid, cmdid, true);
    // Those that are removed are as they should be.
    const gone = [...this.#routes.values()].filter(({ modid, cmdid }) => !known.has(modid, cmdid));
    const unnamed = [...this.names()].filter(({ scope, id }) => !named.has(`${scope} ${id}`));
    return {
      action: "adopt",
      leasesAreKnown: true,
      routes: [
        ...routes,
        ...gone.map(({ modid, cmdid }) => ({ modid, cmdid, name: "", policy: NO_CHOICE, hosts: [] })),
      ],
      names: [...names, ...unnamed.map(({ scope, id }) => ({ scope, id, name: "" }))],
    };
  }

  /** Existing routes in (modid, cmdid) order. */
  list(query: ListQuery): ListPage {
    return this.#sorted.list(query);
  }
}

function markOf(record: RouteRecord | NameRecord | undefined): number {
  if (record === undefined) return 0;
  if ("scope" in record) return nameMark(record.scope, record.id, record.revision);
  return isRemoved(record) ? 0 : routeMark(record.modid, record.cmdid, record.revision);
}

/** The replica plus what a write in progress has done so far; nobody else sees it before the commit. */
export class StagedRoutes extends Routes {
  #base: RouteReplica | StagedRoutes;
  readonly #touched = new ModuleMap<Set<number> | undefined>();
  readonly #routes = new ModuleMap<RouteRecord>();
  readonly #names = new Map<string, NameRecord>();
  #revision: number;
  #forgotten = 0;

  /** `base`: may be another write that is not committed yet. */
  constructor(base: RouteReplica | StagedRoutes) {
    super();
    this.#base = base;
    this.#revision = base.revision;
  }

  /** Of the last change that it sees. */
  get revision(): number {
    return this.#revision;
  }

  /** The write that it was staged on is in `replica` now. */
  rebase(replica: RouteReplica): void {
    this.#base = replica;
  }

  route(modid: number, cmdid: number): RouteRecord | undefined {
    return this.#routes.get(modid, cmdid) ?? this.#base.route(modid, cmdid);
  }

  nameRecord(scope: NameScope, id: number): NameRecord | undefined {
    return this.#names.get(`${scope} ${id}`) ?? this.#base.nameRecord(scope, id);
  }

  *routes(): Iterable<RouteRecord> {
    for (const route of this.#base.routes()) if (!this.#routes.has(route.modid, route.cmdid)) yield route;
    yield* this.#routes.values();
  }

  *names(): Iterable<NameRecord> {
    for (const name of this.#base.names()) if (!this.#names.has(`${name.scope} ${name.id}`)) yield name;
    yield* this.#names.values();
  }

  /** `edits`: what made the routes of `delta` of those before; absent: nobody knows. */
  stage(delta: RouteDelta, edits?: readonly RouteEdit[]): void {
    for (const { modid, cmdid } of edits === undefined ? delta.routes : []) this.#touched.set(modid, cmdid, undefined);
    for (const { modid, cmdid, diff } of edits ?? []) {
      let keys = this.#touched.get(modid, cmdid);
      if (keys === undefined && this.#touched.has(modid, cmdid)) continue;
      keys ??= new Set();
      this.#touched.set(modid, cmdid, keys);
      for (const part of [diff.added, diff.changed, diff.removed]) for (const host of part) keys.add(hostKey(host));
    }
    for (const route of delta.routes) this.#routes.set(route.modid, route.cmdid, route);
    for (const name of delta.names) this.#names.set(`${name.scope} ${name.id}`, name);
    this.#revision = Math.max(this.#revision, delta.revision);
    this.#forgotten = Math.max(this.#forgotten, delta.forgotten ?? 0);
  }

  /** By module, the keys of the hosts that differ from the replica, and maybe others'; undefined: nobody knows. */
  get touched(): TouchedHosts {
    return this.#touched;
  }

  /** Everything staged, to be applied to the replica once it is committed. */
  delta(): RouteDelta {
    const forgotten = this.#forgotten === 0 ? {} : { forgotten: this.#forgotten };
    const [routes, names] = [[...this.#routes.values()], [...this.#names.values()]];
    return { revision: this.#revision, routes, names, ...forgotten };
  }
}
