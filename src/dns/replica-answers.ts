// What followers are answered, made once however many ask: followers of one leader stand at the same revision, so they
// ask the same question at the same moment.
//
// A long answer goes in pages, in key order. Its records are noted at the first page (records are immutable, so that is a
// list of references), and the further pages are cut from that list while it is remembered. When it no longer is, or when
// another instance is asked for the next page, the page comes from the replica as it is then and says so by its revision;
// a follower then asks once more from the lowest revision it was given. So nothing here has to be kept for anybody.
import { compareModuleKeys, formatModuleKey, type ModuleKey } from "../core/module-key.ts";
import type { NameRecord, RouteRecord } from "../core/route-change.ts";
import { pageJson, type ReplicaPage } from "./replica-document.ts";
import type { RouteReplica } from "./route-replica.ts";

interface Noted {
  readonly after: number;
  readonly revision: number;
  readonly digest: number;
  readonly forgotten: number;
  /** In key order. */
  readonly routes: readonly RouteRecord[];
  readonly names: readonly NameRecord[];
}

const MOST_NOTED = 4;
/** A page of the largest allowed size is about two megabytes. */
const MOST_ENCODED = 16;

export class ReplicaAnswers {
  readonly #replica: RouteReplica;
  readonly #noted: Noted[] = [];
  readonly #encoded = new Map<string, Uint8Array>();
  readonly counts = { answers: 0, encoded: 0 };

  constructor(replica: RouteReplica) {
    this.#replica = replica;
  }

  /**
   * What changed after a revision, as JSON. `from`: the part after this module.
   * @param limit routes and hosts in one page, about: a route is never cut
   */
  page(after: number, from: ModuleKey | undefined, limit: number): Uint8Array {
    this.counts.answers++;
    const noted = this.#note(after, from !== undefined);
    const key = `${after} ${noted.revision} ${from === undefined ? "" : formatModuleKey(from)} ${limit}`;
    const made = this.#encoded.get(key);
    if (made !== undefined) return made;
    const bytes = new TextEncoder().encode(JSON.stringify(pageJson(cut(noted, from, limit))));
    this.counts.encoded++;
    this.#encoded.set(key, bytes);
    if (this.#encoded.size > MOST_ENCODED) this.#encoded.delete(this.#encoded.keys().next().value!);
    return bytes;
  }

  #note(after: number, further: boolean): Noted {
    const { revision, digest, forgotten } = this.#replica;
    const found = this.#noted.find((noted) => noted.after === after && (further || noted.revision === revision));
    if (found !== undefined) return found;
    const delta = this.#replica.changedSince(after);
    const noted: Noted = {
      after,
      revision,
      digest,
      forgotten,
      routes: [...delta.routes].sort(compareModuleKeys),
      names: delta.names,
    };
    this.#noted.unshift(noted);
    this.#noted.length = Math.min(this.#noted.length, MOST_NOTED);
    return noted;
  }
}

function cut(
  { revision, digest, forgotten, routes, names }: Noted,
  from: ModuleKey | undefined,
  limit: number,
): ReplicaPage {
  const page: RouteRecord[] = [];
  let left = limit;
  let i = from === undefined ? 0 : firstAfter(routes, from);
  for (; i < routes.length && left > 0; i++) {
    const route = routes[i]!;
    page.push(route);
    left -= 1 + route.hosts.length;
  }
  const last = page.at(-1);
  return {
    revision,
    digest,
    forgotten,
    routes: page,
    names: from === undefined ? names : [],
    ...(i < routes.length && last !== undefined ? { next: { modid: last.modid, cmdid: last.cmdid } } : {}),
  };
}

function firstAfter(routes: readonly RouteRecord[], key: ModuleKey): number {
  let low = 0;
  let high = routes.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareModuleKeys(routes[middle]!, key) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
