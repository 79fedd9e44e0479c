// The port to the database that keeps routes. Two implementations (MySQL, SQLite), one contract suite
// (tests/store/route-store.contract.ts).
//
// Two sets of tables hold the same routes. RouteData, ModIDConfig and CmdIDConfig are the original's: old tools read and
// write them by plain SQL, without a transaction, a key or a sign. lars_route, lars_host and lars_name are ours: what was
// committed at which revision. Whatever differs between the two was done by an old tool ("foreign") and is waiting to be
// adopted as a change of its own. Because the comparison and the adoption happen under one lock, a foreign change that
// several dns instances notice becomes one revision; because our tables are the ones that are read, a reader never sees
// a route that has no revision yet.

import type { ModuleKey } from "../core/module-key.ts";
import type { ModulePattern } from "../core/module-pattern.ts";
import type { Role } from "../core/principal.ts";
import type {
  NameContent,
  NameEdit,
  NameRecord,
  NameScope,
  RouteContent,
  RouteEdit,
  RouteRecord,
} from "../core/route-change.ts";
import type { LeaseTransaction, WantedLeases } from "./lease-store.ts";

/** A cheap look at what moved. */
export interface Head {
  /** Of the last committed change. 0: nothing was ever committed. */
  readonly revision: number;
  /** RouteVersion or RouteChange moved by another hand than ours, and nobody has settled it since. */
  readonly foreignMoved: boolean;
  /** It moved since the last write, so no writer has seen it yet. */
  readonly unnoticed: boolean;
  /** Counts the moves that writers noticed. */
  readonly marks: number;
  /** `marks` as the last look began. */
  readonly lookedMarks: number;
  /** When the last look at the whole table began, by the wall clock of the instance that made it; Unix milliseconds. */
  readonly lookedAtMs: number;
}

/** How the moves by other hands stood when a look at the original's tables began. */
export interface ForeignMark {
  readonly marks: number;
  readonly routeVersion: string;
  readonly routeChangeId: number;
}

/** Routes and names changed after a revision, as one consistent snapshot. Removed ones are included, empty. */
export interface RouteDelta {
  /** The revision this brings a reader to. */
  readonly revision: number;
  readonly routes: readonly RouteRecord[];
  readonly names: readonly NameRecord[];
  /** Removed modules may be forgotten that were removed at this revision or before; absent: none was ever forgotten. */
  readonly forgotten?: number;
  /** A removal after the reader's revision may be forgotten, so this is everything: what is not in it is gone. */
  readonly whole?: true;
}

/** A module as it stood when it was removed. */
export interface RemovedModule extends ModuleKey {
  readonly revision: number;
}

export interface NameKey {
  readonly scope: NameScope;
  readonly id: number;
}

/** What old tools left in their tables that is not adopted yet. `routes`: the whole host list of each such module. */
export interface Foreign {
  readonly routes: readonly RouteContent[];
  readonly names: readonly NameContent[];
  /** Rows that cannot mean a host (port 0 or above 65535, a state that is none of ours); skipped. */
  readonly badRows: number;
}

/** What was found in the whole table from a snapshot, without the lock. */
export interface Look {
  readonly foreign: Foreign;
  readonly mark: ForeignMark;
}

/** One committed change: one revision, one log entry. */
export interface CommittedChange {
  readonly revision: number;
  readonly atMs: number;
  /** Who did it: a token's name, "sql" for foreign changes, "system". */
  readonly who: string;
  /** What it was: a RouteChange action. */
  readonly action: string;
  readonly requestId: string;
  /** A "revert" or "confirm": of the change at this revision. */
  readonly of?: number;
  readonly routes: readonly RouteEdit[];
  readonly names: readonly NameEdit[];
}

/** One line of the change log. `before`/`after` name only the hosts that differ. */
export interface ChangeLogEntry {
  readonly revision: number;
  readonly atMs: number;
  readonly who: string;
  readonly action: string;
  readonly requestId: string;
  /** As of CommittedChange. */
  readonly of?: number;
  readonly items: readonly ChangeLogItem[];
}

export type ChangeLogItem =
  | {
      readonly kind: "route";
      readonly modid: number;
      readonly cmdid: number;
      readonly before: RouteState;
      readonly after: RouteState;
    }
  | {
      readonly kind: "name";
      readonly scope: "modid" | "cmdid";
      readonly id: number;
      readonly before: string;
      readonly after: string;
    };

/** The differing part of a route, as JSON in the log. Hosts as {ip: dotted, port, weight, zone, state, leased?: true}. */
export interface RouteState {
  readonly name?: string;
  /** "": the agents' default. */
  readonly policy?: string;
  readonly policyParameters?: Readonly<Record<string, number>>;
  /** As of RouteRecord; 0: not marked. */
  readonly vanishedFrom?: number;
  readonly hosts: readonly {
    readonly ip: string;
    readonly port: number;
    readonly weight: number;
    readonly zone: string;
    readonly state: string;
    readonly leased?: true;
  }[];
}

/**
 * A write in progress. Writers of all instances on one database stand in one line: the lock on the state row is taken
 * before the work is called and held until its commit, so `revision` is the last one and no other can come between.
 */
export interface RouteTransaction {
  /** Absent: this store keeps no leases. */
  readonly leases?: LeaseTransaction;
  readonly revision: number;
  readonly foreignMoved: boolean;
  readSince(revision: number): Promise<RouteDelta>;
  /** The modules named by the first 1,000 RouteChange rows that no writer has seen yet. */
  namedByOthers(): Promise<readonly ModuleKey[]>;
  /** Foreign changes of these modules and names, or of the whole table when no modules are given. */
  findForeign(modules?: readonly ModuleKey[], names?: readonly NameKey[]): Promise<Foreign>;
  /**
   * Writes a change to our tables, the log and, unless its action is "adopt", the original's tables. On commit
   * RouteVersion and RouteChange move too, for old readers. Revisions must increase. May be written only when the next
   * thing is read or committed, together with others.
   */
  append(change: CommittedChange): Promise<void>;
  /**
   * The whole table was compared and everything found was appended: RouteVersion and RouteChange are accounted for as they
   * stand, so that `foreignMoved` is false after the commit. With a look's `mark`: as they stood then; nothing is settled
   * when they moved since by another hand.
   */
  settleForeign(mark?: ForeignMark): Promise<void>;
}

export interface RouteStore {
  head(): Promise<Head>;
  readSince(revision: number): Promise<RouteDelta>;
  /**
   * Runs `work` under the write lock and commits when it resolves; rolls back and rethrows when it throws. A deadlock,
   * a lock time-out or a node that failed repeats the whole of it, so `work` must be repeatable: also after it was
   * committed, unless it appended, in which case a commit that went unanswered is found again by what was appended.
   * `wanted`: what it will ask of leases, for a store that can read that at once; it may ask for more and for less.
   * @throws StoreUnavailable when the database cannot be reached or does not answer in time; when that happened at the
   *   commit, the change may have been made all the same
   */
  write<T>(work: (tx: RouteTransaction) => Promise<T>, wanted?: WantedLeases): Promise<T>;
  /** Whether {@link writeAhead} is worth asking. */
  readonly foresees?: boolean;
  /**
   * As {@link write}, without waiting for the lock or for a write before it: `work` plans at once, on the tables as this
   * store's last write leaves them, also while that is under way. They must be at `revision` then. `work` sees no lease of the
   * ids and no foreign row at the places it asks for. undefined: something is otherwise (or cannot be known in advance),
   * nothing was made, and `write` is to be asked. `sent`: called when a next one may be begun on top.
   * `overtook`: asked where it was not as foreseen; true when the write it was planned on was made after all, so that it
   * is worth saying the same once more: of two that are sent one after the other, the second may be the first in line.
   * @throws StoreUnavailable as {@link write} does
   */
  writeAhead?<T>(
    revision: number,
    work: (tx: RouteTransaction) => Promise<T>,
    sent: () => void,
    overtook: () => Promise<boolean>,
  ): Promise<{ readonly result: T } | undefined>;
  /**
   * Foreign changes of the whole table, from a snapshot and without the lock: on a large table a comparison takes
   * seconds, and writers need not wait for it. What it finds is to be looked at again under the lock.
   * `likely`: there is a sign that something will be found, so it need not be made sure first that there is anything.
   */
  look(likely?: boolean): Promise<Look>;
  /**
   * To be asked before a look: true for one of all instances that saw the same `lookedAtMs` in their head. The look
   * counts as begun at `nowMs`, of the caller's wall clock, and for all marks noticed so far.
   */
  claimLook(lookedAtMs: number, nowMs: number): Promise<boolean>;
  changes(after: number, limit: number): Promise<readonly ChangeLogEntry[]>;
  /** Deletes all but the newest `keep` rows of the change log and of RouteChange. Returns how many went. */
  prune(keep: number): Promise<number>;
  /**
   * Forgets modules that were removed (at most {@link MAX_FORGOTTEN}) and were not changed since, and notes that for
   * readers: who is at an earlier revision than the newest of them is given everything by `readSince`. False: nothing was
   * done, for the database is older than they are.
   * @throws StoreUnavailable; they may have been forgotten all the same
   */
  forget(removed: readonly RemovedModule[]): Promise<boolean>;
}

/** Forgotten in one transaction, so that writers do not wait for long: 5 ms of MariaDB. */
export const MAX_FORGOTTEN = 250;

/** An access token as stored: the secret's SHA-256, never the secret. */
export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly createdAtMs: number;
  /** What a registrar is limited to. */
  readonly modules: readonly ModulePattern[];
  /** Unix milliseconds, some minutes behind at most; undefined: never. */
  readonly lastUsedAtMs: number | undefined;
}

export interface TokenUse {
  readonly id: string;
  /** Unix milliseconds. */
  readonly atMs: number;
}

export interface TokenStore {
  list(): Promise<readonly TokenRecord[]>;
  /** False (and nothing written) when a token of that id exists. */
  insert(token: TokenRecord): Promise<boolean>;
  /**
   * "last-admin": nothing was removed, for no admin's token would be left; `keepAdmin` asks for that. Decided in one
   * transaction: of two who remove the last two at once, one succeeds.
   */
  remove(id: string, keepAdmin: boolean): Promise<"removed" | "missing" | "last-admin">;
  /** Moves each token's last use forward, never back; ids that are gone are left out. */
  noteUses(uses: readonly TokenUse[]): Promise<void>;
}

/** Something cannot be planned without the lock ({@link RouteStore.writeAhead}). */
export class NotForeseen extends Error {
  override name = "NotForeseen";
}

/** The database cannot be reached, or did not answer in time. Callers answer 503 and go on from memory. */
export class StoreUnavailable extends Error {
  override name = "StoreUnavailable";
}
