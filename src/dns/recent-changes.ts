// The records that changed last, so that "what changed after revision N" costs what changed and not a look at every
// route. Bounded: who asks for more than is remembered has the whole replica looked through.
import type { NameRecord, RouteRecord } from "../core/route-change.ts";

const REMEMBERED = 8192;

export class RecentChanges {
  #records: (RouteRecord | NameRecord)[] = [];
  /** Nothing above this revision was forgotten. */
  #floor = 0;

  add(record: RouteRecord | NameRecord): void {
    this.#records.push(record);
    if (this.#records.length < 2 * REMEMBERED) return;
    for (const { revision } of this.#records.slice(0, REMEMBERED)) this.#floor = Math.max(this.#floor, revision);
    this.#records = this.#records.slice(REMEMBERED);
  }

  /** Those above `revision`, superseded ones included; undefined when that is longer ago than is remembered. */
  since(revision: number): readonly (RouteRecord | NameRecord)[] | undefined {
    if (revision < this.#floor) return undefined;
    return this.#records.filter((record) => record.revision > revision);
  }
}
