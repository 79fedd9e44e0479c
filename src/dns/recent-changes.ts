// Which records changed last, so that "what changed after revision N" costs what changed and not a look at every route.
// Bounded: who asks for more than is remembered has the whole replica looked through.
//
// Keys, not records: a record holds its list of hosts, and the superseded ones of a module of a thousand hosts that
// services keep joining and leaving would come to more than all routes (16,384 lists of 8 kB).
import type { NameRecord, NameScope, RouteRecord } from "../core/route-change.ts";

const REMEMBERED = 8192;

/** A record that became what it was at this revision; it may have changed again since. */
export type ChangedKey =
  | { readonly modid: number; readonly cmdid: number; readonly revision: number }
  | { readonly scope: NameScope; readonly id: number; readonly revision: number };

function keyOf(record: RouteRecord | NameRecord): ChangedKey {
  const { revision } = record;
  return "scope" in record
    ? { scope: record.scope, id: record.id, revision }
    : { modid: record.modid, cmdid: record.cmdid, revision };
}

export class RecentChanges {
  #keys: ChangedKey[] = [];
  /** Nothing above this revision was forgotten. */
  #floor = 0;

  add(record: RouteRecord | NameRecord): void {
    this.#keys.push(keyOf(record));
    if (this.#keys.length < 2 * REMEMBERED) return;
    for (const { revision } of this.#keys.slice(0, REMEMBERED)) this.#floor = Math.max(this.#floor, revision);
    this.#keys = this.#keys.slice(REMEMBERED);
  }

  /** Those above `revision`, superseded ones included; undefined when that is longer ago than is remembered. */
  since(revision: number): readonly ChangedKey[] | undefined {
    if (revision < this.#floor) return undefined;
    return this.#keys.filter((key) => key.revision > revision);
  }
}
