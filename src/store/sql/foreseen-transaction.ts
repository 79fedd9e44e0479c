// A write to the routes that is planned before it has the lock, on what it will find there: the tables as the last write
// of this process leaves them, which may still be under way. So the database never waits for a plan, nor a plan for the
// database: lock, check, all that is written and the COMMIT are one packet, which can be on its way while the write
// before it is being made.
//
// What was believed is checked under the lock, before anything is written: revision and mark of the last write, and that
// no old tool moved RouteVersion or RouteChange. What is believed of leases (there are none yet of these ids, and no rows
// at these places) is checked as well. A check is an expression that is an error where it is not true: the server stops
// there, nothing is made, and the changes are written the long way (route-transaction.ts). So a wrong belief costs time
// and nothing else; what must be read before it can be planned is not for here.
import type { Lease } from "../../core/lease.ts";
import type { ModuleKey } from "../../core/module-key.ts";
import type { LeaseTransaction } from "../lease-store.ts";
import { type CommittedChange, NotForeseen, type RouteTransaction } from "../route-store.ts";
import { writeLeases } from "./lease-rows.ts";
import type { Written } from "./route-transaction.ts";
import type { SqlDialect, SqlSession } from "./sql-database.ts";
import { writeChanges } from "./write-changes.ts";
import { drawWriteMark, nextRouteVersion, type Stand } from "./write-line.ts";

/** The largest number there is: one more is an error. */
const LARGEST = "~0";

function refuse(what: string): never {
  throw new NotForeseen(`${what} must be read under the lock`);
}

export class ForeseenTransaction implements RouteTransaction {
  readonly #session: SqlSession;
  readonly #dialect: SqlDialect;
  readonly #stand: Stand;
  readonly #written: Written;
  readonly foreignMoved = false;
  #revision: number;
  readonly leases: LeaseTransaction = {
    clockMs: () => refuse("the lease clock"),
    // That there are none is found out when they are added.
    byId: async () => [],
    at: () => refuse("who holds a place"),
    // And that there are no rows of old tools, when ours are there.
    foreignAt: async () => [],
    write: (put, removed) => this.#addLeases(put, removed),
  };

  private constructor(session: SqlSession, dialect: SqlDialect, stand: Stand) {
    this.#session = session;
    this.#dialect = dialect;
    this.#stand = stand;
    this.#revision = stand.revision;
    this.#written = { after: stand.revision, changes: [] };
  }

  /** `session`: takes what is to be posted in a transaction that has done nothing yet, all of it together with its COMMIT. */
  static async begin(session: SqlSession, dialect: SqlDialect, stand: Stand): Promise<ForeseenTransaction> {
    const { revision, routeVersion, lastWrite } = stand;
    // INTO, here and below: a row that comes back is five packets to send and to read, and nobody wants it.
    await session.lead(`SELECT id INTO @lars_locked FROM lars_state WHERE id = 1${dialect.forUpdate}`);
    await session.post(
      `SELECT ${LARGEST} + (revision <> ${revision} OR last_write <> ${lastWrite} OR route_version <> ${routeVersion}` +
        ` OR COALESCE((SELECT version FROM RouteVersion WHERE id = 1${dialect.forUpdate}), 0) <> ${routeVersion}` +
        " OR route_change_id <> COALESCE((SELECT MAX(id) FROM RouteChange), 0))," +
        " route_change_id, (SELECT COALESCE(MAX(id), 0) FROM RouteData)" +
        " INTO @lars_checked, @lars_change_id, @lars_data_id FROM lars_state WHERE id = 1",
    );
    return new ForeseenTransaction(session, dialect, stand);
  }

  get revision(): number {
    return this.#revision;
  }

  /** What this transaction adds to the log. */
  get written(): Written {
    return this.#written;
  }

  readSince(): never {
    refuse("what others changed");
  }

  async namedByOthers(): Promise<readonly ModuleKey[]> {
    return [];
  }

  findForeign(): never {
    refuse("what old tools did");
  }

  settleForeign(): never {
    refuse("what old tools did");
  }

  async append(change: CommittedChange): Promise<void> {
    if (!(change.revision > this.#revision)) {
      throw new RangeError(`revisions increase: the last one is ${this.#revision}, got ${change.revision}`);
    }
    if (change.names.length > 0) refuse("whether names are there");
    this.#revision = change.revision;
    this.#written.changes.push(change);
  }

  async #addLeases(put: readonly Lease[], removed: readonly string[]): Promise<void> {
    if (removed.length > 0) refuse("leases that end");
    await writeLeases(this.#session, this.#dialect, put, [], true);
  }

  /**
   * Each of the `rows` just added to RouteData meets itself and nobody else. To ask for every place by name took a fifth
   * of the whole.
   */
  async #meetsOnlyItself(rows: number): Promise<void> {
    const same = ["modid", "cmdid", "serverip", "serverport"].map((column) => `b.${column} = a.${column}`);
    await this.#session.post(
      `SELECT ${LARGEST} + (COUNT(*) <> ${rows}) INTO @lars_checked FROM RouteData a STRAIGHT_JOIN RouteData b` +
        ` ON ${same.join(" AND ")} WHERE a.id > @lars_data_id`,
    );
  }

  /** The last thing before the commit. Returns how it leaves things. */
  async finish(): Promise<Stand> {
    const session = this.#session;
    const { changes } = this.#written;
    if (changes.length === 0) refuse("whether there is anything to change");
    const marks = await writeChanges(session, this.#dialect, changes, (rows) => this.#meetsOnlyItself(rows));
    const revision = this.#revision;
    const routeVersion = nextRouteVersion(this.#stand.routeVersion, revision);
    const lastWrite = drawWriteMark();
    await session.post(
      `INSERT INTO RouteVersion (id, version) VALUES (1, ${routeVersion}) ${this.#dialect.onConflict(["id"], { version: "set" })}`,
    );
    const rows = "FROM RouteChange WHERE id > @lars_change_id";
    await session.post(
      `UPDATE lars_state SET revision = ${revision}, route_version = ${routeVersion}, last_write = ${lastWrite},` +
        // Where others' rows are among ours, the next writer is to see them.
        ` route_change_id = CASE WHEN (SELECT COUNT(*) ${rows}) = ${marks}` +
        " THEN (SELECT MAX(id) FROM RouteChange) ELSE @lars_change_id END WHERE id = 1",
    );
    return { revision, routeVersion, lastWrite };
  }
}
