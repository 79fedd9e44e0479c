// How a MemoryRouteStore plans writes ahead: a transaction that reads nothing and keeps what it is told, and the number
// of the last write, by which it is known whether another came between.
import type { Lease, Place } from "../../src/core/lease.ts";
import type { LeaseTransaction } from "../../src/store/lease-store.ts";
import { type CommittedChange, NotForeseen, type RouteTransaction } from "../../src/store/route-store.ts";

interface Stand {
  readonly revision: number;
  readonly mark: object;
}

export interface Planned<T> {
  readonly result: T;
  readonly on: Stand;
  readonly leaves: Stand;
  readonly changes: readonly CommittedChange[];
  readonly put: readonly Lease[];
  readonly places: readonly Place[];
}

const unforeseen = (): never => {
  throw new NotForeseen("to be read under the lock");
};

export class MemoryStand {
  #last: object = {};
  #stand: Stand | undefined;

  wrote(revision: number, elsewhere: boolean): void {
    this.#last = {};
    if (!elsewhere) this.#stand = { revision, mark: this.#last };
  }

  async plan<T>(revision: number, work: (tx: RouteTransaction) => Promise<T>): Promise<Planned<T> | undefined> {
    const on = this.#stand;
    if (on?.revision !== revision) return undefined;
    this.#stand = undefined;
    const changes: CommittedChange[] = [];
    const put: Lease[] = [];
    const places: Place[] = [];
    const leases: LeaseTransaction = {
      clockMs: unforeseen,
      byId: async () => [],
      at: unforeseen,
      async foreignAt(asked) {
        places.push(...asked);
        return [];
      },
      async write(leases) {
        put.push(...leases);
      },
    };
    try {
      const result = await work({
        revision,
        foreignMoved: false,
        leases,
        readSince: unforeseen,
        findForeign: unforeseen,
        settleForeign: unforeseen,
        namedByOthers: async () => [],
        async append(change) {
          changes.push(change);
        },
      });
      this.#stand = { revision: changes.at(-1)!.revision, mark: {} };
      return { result, on, leaves: this.#stand, changes, put, places };
    } catch (error) {
      if (error instanceof NotForeseen) return undefined;
      throw error;
    }
  }

  isLast({ on }: Planned<unknown>): boolean {
    return on.mark === this.#last;
  }

  made({ leaves }: Planned<unknown>): void {
    this.#last = leaves.mark;
  }

  /** Whatever became of it: when it was not made, nobody is to go by it. */
  ended({ leaves }: Planned<unknown>): void {
    if (this.#stand === leaves && this.#last !== leaves.mark) this.#stand = undefined;
  }
}
