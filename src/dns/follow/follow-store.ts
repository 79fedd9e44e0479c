// A leader's routes behind the port that a database is behind, so that everything above it (the replica, the push, the
// reads over HTTP) is the same in a follower as in any dns. There is one reader: what arrived is kept until it reads it,
// then it is in its replica. Nothing here waits for the leader, so a cut link holds up nobody.
import type { NameRecord, RouteRecord } from "../../core/route-change.ts";
import {
  type ChangeLogEntry,
  type Foreign,
  type Head,
  type Look,
  type RemovedModule,
  type RouteDelta,
  type RouteStore,
  type RouteTransaction,
  StoreUnavailable,
} from "../../store/route-store.ts";
import { KeptByLeader } from "./kept-by-leader.ts";

const NOTHING_FOREIGN: Foreign = { routes: [], names: [], badRows: 0 };
/** Nobody has to look at anything. */
const NOTHING_MOVED = {
  foreignMoved: false,
  unnoticed: false,
  marks: 0,
  lookedMarks: 0,
  lookedAtMs: Number.POSITIVE_INFINITY,
};

export class FollowStore implements RouteStore {
  readonly #leaders: readonly string[];
  readonly #failure: () => string | undefined;
  #revision: number | undefined;
  #routes: RouteRecord[] = [];
  #names: NameRecord[] = [];
  #forgotten = 0;
  readonly #forget: (removed: readonly RemovedModule[]) => void;

  /**
   * `failure`: why there is nothing yet, for as long as there is nothing. `forget`: lets go of removed modules where what
   * leaders said is kept.
   */
  constructor(
    leaders: readonly string[],
    failure: () => string | undefined,
    forget: (removed: readonly RemovedModule[]) => void,
  ) {
    this.#leaders = leaders;
    this.#failure = failure;
    this.#forget = forget;
  }

  /** What arrived, in the order of its revisions. */
  put(delta: RouteDelta): void {
    this.#revision = delta.revision;
    this.#forgotten = Math.max(this.#forgotten, delta.forgotten ?? 0);
    // No spread into push: a start is a hundred thousand arguments.
    for (const route of delta.routes) this.#routes.push(route);
    for (const name of delta.names) this.#names.push(name);
  }

  async head(): Promise<Head> {
    if (this.#revision === undefined)
      throw new StoreUnavailable(`no leader gave the routes yet: ${this.#failure() ?? "just started"}`);
    return { ...NOTHING_MOVED, revision: this.#revision };
  }

  /** What arrived since the last call, whatever `revision` is: the one reader has the rest. */
  async readSince(_revision: number): Promise<RouteDelta> {
    const forgotten = this.#forgotten === 0 ? {} : { forgotten: this.#forgotten };
    const delta = { revision: this.#revision ?? 0, routes: this.#routes, names: this.#names, ...forgotten };
    this.#routes = [];
    this.#names = [];
    return delta;
  }

  /** Work that only looks (the first look at an empty leader) is done; what appends is refused. */
  async write<T>(work: (tx: RouteTransaction) => Promise<T>): Promise<T> {
    const { revision } = await this.head();
    return await work({
      revision,
      foreignMoved: false,
      readSince: (after) => this.readSince(after),
      namedByOthers: async () => [],
      findForeign: async () => NOTHING_FOREIGN,
      append: async () => {
        throw new KeptByLeader(this.#leaders);
      },
      settleForeign: async () => {},
    });
  }

  async look(): Promise<Look> {
    return { foreign: NOTHING_FOREIGN, mark: { marks: 0, routeVersion: "0", routeChangeId: 0 } };
  }

  async claimLook(): Promise<boolean> {
    return false;
  }

  async changes(): Promise<readonly ChangeLogEntry[]> {
    throw new KeptByLeader(this.#leaders);
  }

  async prune(): Promise<number> {
    return 0;
  }

  async forget(removed: readonly RemovedModule[]): Promise<boolean> {
    this.#forget(removed);
    return true;
  }
}
