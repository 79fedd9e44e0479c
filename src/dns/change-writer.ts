// Plans the changes of one transaction one after another, each against what the ones before it did, and appends them to
// it. Leases go the same way: what the changes need to know of leases is read beforehand for all of them (by their ids,
// then by the places that they and their holders name), and what comes of it is written at the end for all of them, so
// that a hundred registrations cost as many statements as one.
import { type Lease, LeaseTable, type Place } from "../core/lease.ts";
import {
  endedBy,
  hostAt,
  type LeaseChange,
  leftPlaces,
  planLeaseChange,
  type RouteLookup,
} from "../core/lease-change.ts";
import { nextRevision, planChange, type Refusal, type RouteChange, type RouteEdit } from "../core/route-change.ts";
import type { LeaseTransaction, WantedLeases } from "../store/lease-store.ts";
import type { CommittedChange, RouteTransaction } from "../store/route-store.ts";
import type { StagedRoutes } from "./route-replica.ts";

export interface Author {
  /** A token's name; "sql" for old tools, "system" for this process. */
  readonly who: string;
  readonly requestId: string;
}

export type Change = RouteChange | LeaseChange;

/** `changed` false: the routes were so already, `revision` is the one they have had since. */
export type CommitResult =
  | { readonly ok: true; readonly revision: number; readonly changed: boolean }
  | ({ readonly ok: false } & Refusal);

/** What became of leases. */
export interface LeaseOutcome {
  readonly put: readonly Lease[];
  readonly removed: readonly string[];
}

export function isLeaseChange(change: Change): change is LeaseChange {
  return change.action === "register" || change.action === "deregister" || change.action === "expire";
}

/** Who holds a place matters where there is a leased host only: nobody holds another, and a fresh one had no holder. */
function isLeasedAt(routes: RouteLookup, { modid, cmdid, ip, port }: Place): boolean {
  return hostAt(routes.route(modid, cmdid), ip, port)?.leased === true;
}

/** What {@link ChangeWriter.loadLeases} will ask for, as far as that can be known without the lock. */
export function wantedLeases(changes: readonly Change[], routes: RouteLookup): WantedLeases | undefined {
  const ids = new Set<string>();
  const places: Place[] = [];
  const fresh: Place[] = [];
  for (const change of changes) {
    if (!isLeaseChange(change)) continue;
    if (change.action === "expire") {
      for (const id of change.ids) ids.add(id);
      if (change.places !== undefined) places.push(...change.places);
      continue;
    }
    ids.add(change.id);
    if (change.action !== "register") continue;
    const { modid, cmdid, ip, port } = change;
    const host = hostAt(routes.route(modid, cmdid), ip, port);
    if (host === undefined) fresh.push(change);
    else if (host.leased === true) places.push(change);
  }
  return ids.size + places.length === 0 ? undefined : { ids: [...ids], places, fresh };
}

export interface WriterMoment {
  /** Unix milliseconds. */
  readonly wallMs: number;
  /** The lease clock, if this instance knows it; otherwise it is read. */
  readonly leaseMs: number | undefined;
}

export class ChangeWriter {
  readonly #tx: RouteTransaction;
  readonly #staged: StagedRoutes;
  readonly #moment: WriterMoment;
  readonly #table = new LeaseTable();
  /** What is to be written of leases: the lease as it is now, undefined for one that ended. */
  readonly #touched = new Map<string, Lease | undefined>();
  #leaseMs = 0;
  #revision: number;

  constructor(tx: RouteTransaction, staged: StagedRoutes, moment: WriterMoment) {
    this.#tx = tx;
    this.#staged = staged;
    this.#moment = moment;
    this.#revision = tx.revision;
  }

  /**
   * Reads what `changes` need to know of leases. Returns the places where they would add a host that an old tool has
   * entered already: its modules must be adopted first, or the host would count as leased.
   */
  async loadLeases(changes: readonly Change[]): Promise<readonly Place[]> {
    const wanted = changes.filter(isLeaseChange);
    if (wanted.length === 0) return [];
    const leases = this.#leases();
    const held = await leases.byId([...new Set(wanted.flatMap((c) => (c.action === "expire" ? c.ids : [c.id])))]);
    for (const lease of held) this.#table.put(lease);
    const unheld = wanted.flatMap((c) => (c.action === "expire" ? (c.places ?? []) : []));
    const places: Place[] = [...held, ...unheld].filter((place) => isLeasedAt(this.#staged, place));
    const fresh: Place[] = [];
    let registers = false;
    for (const change of wanted) {
      if (change.action !== "register") continue;
      registers = true;
      const host = hostAt(this.#staged.route(change.modid, change.cmdid), change.ip, change.port);
      if (host === undefined) fresh.push(change);
      else if (host.leased === true) places.push(change);
    }
    if (places.length > 0) for (const lease of await leases.at(places)) this.#table.put(lease);
    if (!registers) return [];
    this.#leaseMs = this.#moment.leaseMs ?? (await leases.clockMs());
    return fresh.length === 0 ? [] : await leases.foreignAt(fresh);
  }

  async write(change: Change, author: Author): Promise<CommitResult> {
    if (isLeaseChange(change)) return await this.#writeLease(change, author);
    const plan = planChange(this.#staged, change);
    if (!plan.ok) return plan;
    await this.#endLeases(plan.routes);
    const of = "of" in change ? { of: change.of } : {};
    return await this.#append({ action: change.action, ...of, routes: plan.routes, names: plan.names }, author);
  }

  async #writeLease(change: LeaseChange, author: Author): Promise<CommitResult> {
    const { wallMs } = this.#moment;
    const plan = planLeaseChange(this.#staged, this.#table, change, {
      leaseMs: this.#leaseMs,
      wallMs,
      who: author.who,
    });
    if (!plan.ok) return plan;
    for (const lease of plan.put) this.#touched.set(lease.id, lease);
    for (const id of plan.removed) this.#touched.set(id, undefined);
    return await this.#append({ action: change.action, routes: plan.routes, names: [] }, author);
  }

  /** To be called once, after the last change. */
  async finish(): Promise<LeaseOutcome> {
    const put: Lease[] = [];
    const removed: string[] = [];
    for (const [id, lease] of this.#touched) {
      if (lease === undefined) removed.push(id);
      else put.push(lease);
    }
    if (put.length + removed.length > 0) await this.#leases().write(put, removed);
    return { put, removed };
  }

  #leases(): LeaseTransaction {
    const { leases } = this.#tx;
    if (leases === undefined) throw new Error("this store keeps no leases: registrations must not be offered");
    return leases;
  }

  /** A host that leaves its route by any hand ends the leases that hold it. */
  async #endLeases(edits: readonly RouteEdit[]): Promise<void> {
    const places = leftPlaces(edits);
    if (places.length === 0 || this.#tx.leases === undefined) return;
    for (const lease of await this.#tx.leases.at(places)) {
      if (!this.#touched.has(lease.id)) this.#table.put(lease);
    }
    for (const id of endedBy(edits, this.#table)) this.#touched.set(id, undefined);
  }

  async #append(
    change: Pick<CommittedChange, "action" | "of" | "routes" | "names">,
    author: Author,
  ): Promise<CommitResult> {
    const { routes, names } = change;
    if (routes.length === 0 && names.length === 0) return { ok: true, revision: this.#revision, changed: false };
    const { wallMs } = this.#moment;
    const revision = nextRevision(this.#revision, wallMs);
    await this.#tx.append({ revision, atMs: wallMs, ...author, ...change });
    this.#revision = revision;
    const delta = {
      revision,
      routes: routes.map(({ modid, cmdid, name, policy, hosts, vanishedFrom }) => ({
        modid,
        cmdid,
        revision,
        name,
        policy,
        hosts,
        ...(vanishedFrom === undefined ? {} : { vanishedFrom }),
      })),
      names: names.map(({ scope, id, name }) => ({ scope, id, name, revision })),
    };
    this.#staged.stage(delta, routes);
    return { ok: true, revision, changed: true };
  }
}
