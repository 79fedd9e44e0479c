// What a follower knows of its leader's routes, and what its own readers are served.
//
// Usually the two are the same records: an answer holds what changed after the revision that is held, and the sum over
// all marks proves that nothing else differs. When the sum is wrong, the leader has another history (its database was
// restored from a backup and the process started anew): then everything is asked for and compared. What differs is
// served under the leader's present revision, because agents ignore what is older than what they were told.
//
// A leader that is older than what was served is not believed: it may only lag. Its next change carries it past (revisions
// are never behind the clock), and with that answer the sum says whether anything is to be compared.
//
// Pure but for what it keeps; the caller asks the leader and hands in the pages.
import { sameHosts } from "../../core/assignment.ts";
import { type ModuleKey, ModuleMap } from "../../core/module-key.ts";
import { sameChoice } from "../../core/policy-choice.ts";
import { isRemoved, type NameRecord, type NameScope, type RouteRecord, removedRoute } from "../../core/route-change.ts";
import { nameMark, replaceMark, routeMark } from "../../core/route-digest.ts";
import type { RemovedModule, RouteDelta } from "../../store/route-store.ts";
import type { ReplicaPage } from "../replica-document.ts";

/** What to ask a leader for next. `whole`: it goes on, so it is not to wait for a change. */
export interface ReplicaRequest {
  readonly after: number;
  readonly from?: ModuleKey;
}

export type Taken =
  /** Ask on with `request`. */
  | { readonly outcome: "more" }
  /** What is held is what the leader has. */
  | { readonly outcome: "same" }
  | { readonly outcome: "advanced"; readonly delta: RouteDelta; readonly compared: boolean }
  /** The leader is at `revision`, older than what is held or of another history; nothing was taken. */
  | { readonly outcome: "behind"; readonly revision: number };

interface Held<T> {
  /** As it is served. */
  readonly record: T;
  /** The leader's revision of it; 0: the leader does not have it, or as a removed one, which it may forget. */
  readonly leaders: number;
}

/** Pages under way: the newest record of each, and what they are together. */
class Staged {
  readonly routes = new ModuleMap<RouteRecord>();
  readonly names = new Map<string, NameRecord>();
  highest = 0;
  /** Of the pages of one answer. */
  lowest = Number.POSITIVE_INFINITY;
  /** Of all pages. */
  begun = Number.POSITIVE_INFINITY;
  digest = 0;
  forgotten = 0;

  /** What one page had may have been removed and forgotten before another was made. */
  get maySpoil(): boolean {
    return this.forgotten > this.begun;
  }

  add(page: ReplicaPage): void {
    for (const route of page.routes) {
      const before = this.routes.get(route.modid, route.cmdid);
      if (before === undefined || before.revision <= route.revision) this.routes.set(route.modid, route.cmdid, route);
    }
    for (const name of page.names) {
      const before = this.names.get(nameKey(name));
      if (before === undefined || before.revision <= name.revision) this.names.set(nameKey(name), name);
    }
    this.highest = Math.max(this.highest, page.revision);
    this.lowest = Math.min(this.lowest, page.revision);
    this.begun = Math.min(this.begun, page.revision);
    this.digest = page.digest;
    this.forgotten = Math.max(this.forgotten, page.forgotten ?? 0);
  }
}

function nameKey({ scope, id }: { readonly scope: NameScope; readonly id: number }): string {
  return `${scope} ${id}`;
}

export class LeaderMirror {
  readonly #routes = new ModuleMap<Held<RouteRecord>>();
  readonly #names = new Map<string, Held<NameRecord>>();
  #revision = 0;
  #digest = 0;
  #forgotten = 0;
  #loaded = false;
  #staged = new Staged();
  /** What a leader's whole came to that differs from what is served, at the very same revision. */
  #refused: number | undefined;
  /** The last whole did not come to what it should. */
  #doubted = false;
  /** Everything is asked for, to be compared. */
  #comparing = true;
  #request: ReplicaRequest = { after: 0 };

  /** Of the last answer that was taken whole. */
  get revision(): number {
    return this.#revision;
  }

  /** As of RouteDelta. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** There was a whole answer, or a file. */
  get loaded(): boolean {
    return this.#loaded;
  }

  get request(): ReplicaRequest {
    return this.#request;
  }

  /** True when the next answer begins anew, so that the leader may hold it back until something changes. */
  get atRest(): boolean {
    return this.#loaded && this.#request.after === this.#revision && this.#request.from === undefined;
  }

  *served(): IterableIterator<RouteRecord> {
    for (const { record } of this.#routes.values()) yield record;
  }

  *servedNames(): IterableIterator<NameRecord> {
    for (const { record } of this.#names.values()) yield record;
  }

  /** What was kept on disk, before anything else. */
  restore(delta: RouteDelta): void {
    for (const record of delta.routes) this.#hold(record, record.revision);
    for (const record of delta.names) this.#holdName(record, record.revision);
    this.#revision = delta.revision;
    this.#forgotten = delta.forgotten ?? 0;
    this.#loaded = true;
    this.#rest(false);
  }

  /** Lets go of those that are still as they were when they were removed. */
  forget(removed: readonly RemovedModule[]): void {
    for (const { modid, cmdid, revision } of removed) {
      const record = this.#routes.get(modid, cmdid)?.record;
      if (record !== undefined && record.revision === revision && isRemoved(record)) this.#routes.delete(modid, cmdid);
      this.#forgotten = Math.max(this.#forgotten, revision);
    }
  }

  /** The answer to `request`. */
  take(page: ReplicaPage): Taken {
    if (page.revision < this.#revision) {
      this.#rest(false);
      return { outcome: "behind", revision: page.revision };
    }
    const staged = this.#staged;
    staged.add(page);
    if (page.next !== undefined) {
      this.#request = { after: this.#request.after, from: page.next };
      return { outcome: "more" };
    }
    if (staged.maySpoil) {
      this.#rest(this.#comparing);
      return { outcome: "more" };
    }
    if (staged.lowest < staged.highest) {
      // The pages are of different revisions: whatever changed in between is what changed after the lowest.
      this.#request = { after: staged.lowest };
      staged.lowest = Number.POSITIVE_INFINITY;
      return { outcome: "more" };
    }
    return this.#comparing ? this.#compare(staged) : this.#advance(staged);
  }

  #advance(staged: Staged): Taken {
    const revision = staged.highest;
    let digest = this.#digest;
    for (const route of staged.routes.values()) {
      const held = this.#routes.get(route.modid, route.cmdid)?.leaders ?? 0;
      digest = replaceMark(digest, markOf(route, held), markOf(route, markedRevision(route)));
    }
    for (const name of staged.names.values()) {
      const held = this.#names.get(nameKey(name))?.leaders ?? 0;
      digest = replaceMark(digest, markOf(name, held), markOf(name, name.revision));
    }
    if (digest !== staged.digest) {
      const known = revision === this.#revision && staged.digest === this.#refused;
      this.#rest(!known);
      return known ? { outcome: "behind", revision } : { outcome: "more" };
    }
    if (revision === this.#revision) {
      this.#rest(false);
      return { outcome: "same" };
    }
    const delta = this.#told(revision, [...staged.routes.values()], [...staged.names.values()], staged);
    for (const record of delta.routes) this.#hold(record, record.revision);
    for (const record of delta.names) this.#holdName(record, record.revision);
    this.#revision = revision;
    this.#rest(false);
    return { outcome: "advanced", delta, compared: false };
  }

  /** `staged` is everything the leader has. */
  #compare(staged: Staged): Taken {
    // Pages of two leaders with different histories would come to neither: once more, then believed.
    if (!this.#doubted && digestOf(staged) !== staged.digest) {
      this.#doubted = true;
      this.#rest(true);
      return { outcome: "more" };
    }
    this.#doubted = false;
    const served = this.#revision;
    const revision = staged.highest;
    const above = (its: number): number => (its > served ? its : revision);
    const routes = this.#differingRoutes(staged, above);
    const names = this.#differingNames(staged, above);
    if (this.#loaded && revision === served && routes.length + names.length > 0) {
      // Another history at the very revision that was served: what differs could be given no newer one.
      this.#refused = staged.digest;
      this.#rest(false);
      return { outcome: "behind", revision };
    }
    for (const route of routes) this.#hold(route, 0);
    for (const name of names) this.#holdName(name, 0);
    for (const [{ modid, cmdid }, { record }] of [...this.#routes.entries()])
      this.#hold(record, staged.routes.get(modid, cmdid)?.revision ?? 0);
    for (const [key, { record }] of [...this.#names]) this.#holdName(record, staged.names.get(key)?.revision ?? 0);
    const compared = this.#loaded;
    this.#revision = revision;
    this.#loaded = true;
    // Believed: were it wrong, every answer would be compared again.
    this.#digest = staged.digest;
    this.#rest(false);
    return { outcome: "advanced", delta: this.#told(revision, routes, names, staged), compared };
  }

  #told(
    revision: number,
    routes: readonly RouteRecord[],
    names: readonly NameRecord[],
    { forgotten }: Staged,
  ): RouteDelta {
    this.#forgotten = Math.max(this.#forgotten, forgotten);
    return { revision, routes, names, ...(this.#forgotten === 0 ? {} : { forgotten: this.#forgotten }) };
  }

  /** What is to be served in place of what is, so that it is what the leader has. */
  #differingRoutes(staged: Staged, above: (revision: number) => number): RouteRecord[] {
    const differing: RouteRecord[] = [];
    for (const [{ modid, cmdid }, { record }] of this.#routes.entries()) {
      if (staged.routes.has(modid, cmdid)) continue;
      const gone = removedRoute({ modid, cmdid }, above(0));
      if (!sameRoute(record, gone)) differing.push(gone);
    }
    for (const route of staged.routes.values()) {
      const held = this.#routes.get(route.modid, route.cmdid)?.record;
      if (held === undefined || !sameRoute(held, route)) differing.push({ ...route, revision: above(route.revision) });
    }
    return differing;
  }

  #differingNames(staged: Staged, above: (revision: number) => number): NameRecord[] {
    const differing: NameRecord[] = [];
    for (const [key, { record }] of this.#names) {
      if (!staged.names.has(key) && record.name !== "") differing.push({ ...record, name: "", revision: above(0) });
    }
    for (const name of staged.names.values()) {
      if (this.#names.get(nameKey(name))?.record.name !== name.name)
        differing.push({ ...name, revision: above(name.revision) });
    }
    return differing;
  }

  #hold(record: RouteRecord, its: number): void {
    const leaders = isRemoved(record) ? 0 : its;
    const before = this.#routes.get(record.modid, record.cmdid)?.leaders ?? 0;
    this.#digest = replaceMark(this.#digest, markOf(record, before), markOf(record, leaders));
    this.#routes.set(record.modid, record.cmdid, { record, leaders });
  }

  #holdName(record: NameRecord, leaders: number): void {
    const before = this.#names.get(nameKey(record))?.leaders ?? 0;
    this.#digest = replaceMark(this.#digest, markOf(record, before), markOf(record, leaders));
    this.#names.set(nameKey(record), { record, leaders });
  }

  #rest(comparing: boolean): void {
    this.#comparing = comparing || !this.#loaded;
    this.#staged = new Staged();
    this.#request = { after: this.#comparing ? 0 : this.#revision };
  }
}

function markOf(record: ModuleKey | { readonly scope: NameScope; readonly id: number }, revision: number): number {
  return "scope" in record
    ? nameMark(record.scope, record.id, revision)
    : routeMark(record.modid, record.cmdid, revision);
}

/** By which it counts in the sum: a removed one does not. */
function markedRevision(route: RouteRecord): number {
  return isRemoved(route) ? 0 : route.revision;
}

function digestOf({ routes, names }: Staged): number {
  let digest = 0;
  for (const route of routes.values()) digest = replaceMark(digest, 0, markOf(route, markedRevision(route)));
  for (const name of names.values()) digest = replaceMark(digest, 0, markOf(name, name.revision));
  return digest;
}

function sameRoute(a: RouteRecord, b: RouteRecord): boolean {
  return (
    a.name === b.name &&
    a.vanishedFrom === b.vanishedFrom &&
    sameChoice(a.policy, b.policy) &&
    sameHosts(a.hosts, b.hosts)
  );
}
