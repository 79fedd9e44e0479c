// One write to the routes, under the lock that all writers of all instances stand in line for: the row of lars_state.
//
// What is easy to get wrong is telling our own moves of RouteVersion and RouteChange from those of old tools, which take
// no lock of ours. lars_state remembers how both stood when we last wrote; a difference is a foreign mark. RouteVersion's
// row is locked as well, so nobody moves it between our look and our commit. RouteChange cannot be locked against
// INSERTs, so at the end the rows that came since our look are counted: more than ours means a mark came in between, and
// it is left to the next writer to see.
// A mark that was seen but not adopted must outlive our commit although we move both tables on: foreign_pending. Every
// mark that is seen is counted too, in foreign_marks: the whole table is looked at without the lock, and the count tells
// afterwards, under it, whether a mark came after the look began.
//
// Changes are gathered (change-batch.ts) and written before anything is read back, and at the end.
import type { Lease, Place } from "../../core/lease.ts";
import type { ModuleKey } from "../../core/module-key.ts";
import type { LeaseTransaction, WantedLeases } from "../lease-store.ts";
import type { CommittedChange, Foreign, ForeignMark, NameKey, RouteDelta, RouteTransaction } from "../route-store.ts";
import { canGather } from "./change-batch.ts";
import { isInLog } from "./change-log.ts";
import { distinctModules, findForeign, findForeignOf } from "./foreign-scan.ts";
import { KnownLeases } from "./known-leases.ts";
import { foreignRowsAt, leasesAt, leasesById, writeLeases } from "./lease-rows.ts";
import { readDelta } from "./route-rows.ts";
import type { SqlDialect, SqlSession } from "./sql-database.ts";
import { writeChanges } from "./write-changes.ts";
import { drawWriteMark, nextRouteVersion, type Stand, toBigInt } from "./write-line.ts";

/** Changes in the order of their revisions, and the revision before them. */
export interface Written {
  readonly after: number;
  readonly changes: CommittedChange[];
}

/** How things stood when the lock was taken. */
interface Found {
  readonly revision: number;
  readonly routeVersion: bigint;
  readonly routeChangeId: number;
  /** A mark that no writer has seen yet. */
  readonly fresh: boolean;
  readonly pending: boolean;
  readonly marks: number;
  readonly lastWrite: number;
  /** RouteChange's last row that a writer has seen. */
  readonly seenChangeId: number;
  readonly known: KnownLeases | undefined;
}

/** A burst of rows by others is not worth reading under the lock: the look that follows finds what they mean. */
const MAX_NAMED = 1_000;

export class SqlRouteTransaction implements RouteTransaction {
  readonly #session: SqlSession;
  readonly #dialect: SqlDialect;
  readonly #found: Found;
  readonly #routeVersion: bigint;
  readonly #routeChangeId: number;
  readonly foreignMoved: boolean;
  #revision: number;
  #appended = false;
  #settled = false;
  #changeRows = 0;
  readonly #gathered: CommittedChange[] = [];
  readonly #known: KnownLeases | undefined;
  readonly #written: Written;
  readonly leases: LeaseTransaction = {
    clockMs: () => this.#leaseClock(),
    byId: (ids) => this.#leasesById(ids),
    at: (places) => this.#leasesAt(places),
    foreignAt: (places) => this.#foreignAt(places),
    write: (put, removed) => this.#writeLeases(put, removed),
  };

  private constructor(session: SqlSession, dialect: SqlDialect, found: Found) {
    this.#session = session;
    this.#dialect = dialect;
    this.#revision = found.revision;
    this.#written = { after: found.revision, changes: [] };
    this.#routeVersion = found.routeVersion;
    this.#routeChangeId = found.routeChangeId;
    this.#found = found;
    this.foreignMoved = found.fresh || found.pending;
    this.#known = found.known;
  }

  /** Takes the lock. The session is a transaction that has done nothing yet. `wanted`: read in the same go. */
  static async begin(session: SqlSession, dialect: SqlDialect, wanted?: WantedLeases): Promise<SqlRouteTransaction> {
    const known = wanted && new KnownLeases(wanted);
    const [states, versions, changes, ...found] = await session.rowsOfAll([
      {
        sql: `SELECT revision, CAST(route_version AS CHAR), route_change_id, foreign_pending, foreign_marks, last_write FROM lars_state WHERE id = 1${dialect.forUpdate}`,
      },
      { sql: `SELECT CAST(version AS CHAR) FROM RouteVersion WHERE id = 1${dialect.forUpdate}` },
      { sql: "SELECT MAX(id) FROM RouteChange" },
      ...(known?.queries(dialect.forUpdate) ?? []),
    ]);
    known?.learn(found);
    const state = states?.[0] as [number, string, number, number, number, number] | undefined;
    if (state === undefined) throw new Error("lars_state has no row: the database was not migrated; migrate it first");
    const routeVersion = toBigInt(versions?.[0]?.[0]);
    const routeChangeId = (changes?.[0]?.[0] as number | null | undefined) ?? 0;
    const [revision, remembered, seenChangeId, pending, marks, lastWrite] = state;
    const fresh = toBigInt(remembered) !== routeVersion || seenChangeId !== routeChangeId;
    const stood = {
      revision,
      routeVersion,
      routeChangeId,
      fresh,
      pending: pending !== 0,
      marks,
      lastWrite,
      seenChangeId,
    };
    return new SqlRouteTransaction(session, dialect, { ...stood, known });
  }

  get revision(): number {
    return this.#revision;
  }

  async readSince(revision: number): Promise<RouteDelta> {
    await this.#flush();
    return readDelta(this.#session, revision);
  }

  async findForeign(modules?: readonly ModuleKey[], names: readonly NameKey[] = []): Promise<Foreign> {
    await this.#flush();
    return modules === undefined
      ? findForeign(this.#session)
      : findForeignOf(this.#session, modules, names, this.#dialect.hasRowSums);
  }

  async namedByOthers(): Promise<readonly ModuleKey[]> {
    const { seenChangeId, routeChangeId } = this.#found;
    if (seenChangeId === routeChangeId) return [];
    const rows = await this.#session.rows<[number, number]>(
      `SELECT modid, cmdid FROM RouteChange WHERE id > ? AND id <= ? ORDER BY id LIMIT ${MAX_NAMED}`,
      [seenChangeId, routeChangeId],
    );
    return distinctModules(rows);
  }

  async append(change: CommittedChange): Promise<void> {
    if (!(change.revision > this.#revision)) {
      throw new RangeError(`revisions increase: the last one is ${this.#revision}, got ${change.revision}`);
    }
    this.#revision = change.revision;
    this.#appended = true;
    this.#written.changes.push(change);
    const gathers = canGather(change);
    if (!gathers) await this.#flush();
    this.#gathered.push(change);
    if (!gathers) await this.#flush();
  }

  async #flush(): Promise<void> {
    this.#changeRows += await writeChanges(this.#session, this.#dialect, this.#gathered.splice(0));
  }

  async #leaseClock(): Promise<number> {
    const rows = await this.#session.rows<[number]>("SELECT clock_ms FROM lars_lease_clock WHERE id = 1");
    return rows[0]?.[0] ?? 0;
  }

  async #leasesById(ids: readonly string[]): Promise<readonly Lease[]> {
    const known = this.#known;
    if (known?.hasIds(ids) === true) return known.byId(ids);
    return leasesById(this.#session, ids, this.#dialect.forUpdate);
  }

  async #leasesAt(places: readonly Place[]): Promise<readonly Lease[]> {
    const unknown = this.#known?.without("places", places) ?? places;
    const known = unknown.length === places.length ? [] : this.#known!.at(places);
    return unknown.length === 0 ? known : [...known, ...(await leasesAt(this.#session, unknown))];
  }

  async #foreignAt(places: readonly Place[]): Promise<readonly Place[]> {
    const unknown = this.#known?.without("fresh", places) ?? places;
    const known = unknown.length === places.length ? [] : this.#known!.foreignAt(places);
    if (unknown.length === 0) return known;
    await this.#flush();
    return [...known, ...(await foreignRowsAt(this.#session, unknown))];
  }

  #writeLeases(put: readonly Lease[], removed: readonly string[]): Promise<void> {
    return writeLeases(this.#session, this.#dialect, put, removed);
  }

  /** What this transaction adds to the log. */
  get written(): Written {
    return this.#written;
  }

  /**
   * Whether a transaction that wrote `written` was committed. Takes the lock, which that one held until its end, and
   * moves its row: what still waits at another node of a cluster to be committed is refused there once this one is.
   */
  static async wasMade(session: SqlSession, { after, changes }: Written): Promise<boolean> {
    await session.run("UPDATE lars_state SET scanned_at_ms = scanned_at_ms + 1 WHERE id = 1");
    return isInLog(session, after, changes);
  }

  async settleForeign(mark?: ForeignMark): Promise<void> {
    const { marks, fresh, routeVersion, routeChangeId } = this.#found;
    const isAsItStood = (then: ForeignMark): boolean =>
      then.marks === marks &&
      (!fresh || (toBigInt(then.routeVersion) === routeVersion && then.routeChangeId === routeChangeId));
    this.#settled = mark === undefined || isAsItStood(mark);
  }

  /** The last thing before the commit. Returns how it leaves things. */
  async finish(): Promise<Stand> {
    await this.#flush();
    const { fresh, marks, lastWrite: written } = this.#found;
    const revision = this.#revision;
    if (!this.#appended && !this.#settled && !fresh) {
      return { revision, routeVersion: this.#routeVersion, lastWrite: written };
    }
    const session = this.#session;
    const behind = this.#routeVersion < BigInt(revision);
    const routeVersion = this.#appended || behind ? nextRouteVersion(this.#routeVersion, revision) : this.#routeVersion;
    if (routeVersion !== this.#routeVersion) {
      await session.post(
        `INSERT INTO RouteVersion (id, version) VALUES (1, ${routeVersion}) ${this.#dialect.onConflict(["id"], { version: "set" })}`,
      );
    }
    const at = this.#routeChangeId;
    const pending = this.foreignMoved && !this.#settled ? 1 : 0;
    const rows = `FROM RouteChange WHERE id > ${at}`;
    const lastWrite = drawWriteMark();
    await session.post(
      `UPDATE lars_state SET revision = ${revision}, route_version = ${routeVersion}, last_write = ${lastWrite},` +
        // Where others' rows are among ours, the next writer is to see them.
        ` route_change_id = CASE WHEN (SELECT COUNT(*) ${rows}) = ${this.#changeRows}` +
        ` THEN COALESCE((SELECT MAX(id) ${rows}), ${at}) ELSE ${at} END,` +
        ` foreign_pending = ${pending}, foreign_marks = ${marks + (fresh ? 1 : 0)} WHERE id = 1`,
    );
    return { revision, routeVersion, lastWrite };
  }
}
