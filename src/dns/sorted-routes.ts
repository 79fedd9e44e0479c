// Routes in key order, for lists in pages. The order is made when somebody first asks and kept from then on: a change costs
// the search for its place and not the order of a hundred thousand routes, which a list after every change would cost.
//
// To search a million hosts for part of an address takes a quarter of a second, in which nobody else is served. So a
// search goes in stretches: it stops after so much work and says where to go on.
import { formatEndpoint } from "../core/endpoint.ts";
import { compareModuleKeys, formatModuleKey, type ModuleKey } from "../core/module-key.ts";
import { exists, type RouteRecord } from "../core/route-change.ts";

export interface ListQuery {
  readonly modid?: number | undefined;
  /** Part of a name, of "modid.cmdid" or of a host's "ip:port". */
  readonly q?: string | undefined;
  readonly limit: number;
  readonly after?: ModuleKey | undefined;
  /** Routes and hosts to look at, about, before it stops. Default: no end. */
  readonly effort?: number | undefined;
}

export interface ListPage {
  readonly routes: readonly RouteRecord[];
  /** The list goes on after the last one. */
  readonly more: boolean;
  /** It stopped before the page was full and before the list's end: to go on after this. */
  readonly stoppedAt?: ModuleKey;
}

/** When more changes at once, the order is made anew. */
const MAX_MOVES = 1_000;
const LOWEST = -0x8000_0000;

export class SortedRoutes {
  readonly #all: () => Iterable<RouteRecord>;
  readonly #displayName: (modid: number, cmdid: number) => string;
  #sorted: RouteRecord[] | undefined;
  #moves = 0;

  /** `all`: every record there is, those that are gone too. */
  constructor(all: () => Iterable<RouteRecord>, displayName: (modid: number, cmdid: number) => string) {
    this.#all = all;
    this.#displayName = displayName;
  }

  /** To be called with every record that takes another's place. */
  replace(route: RouteRecord): void {
    const sorted = this.#sorted;
    if (sorted === undefined) return;
    const at = firstNotBefore(sorted, route);
    const found = sorted[at];
    const wasThere = found !== undefined && compareModuleKeys(found, route) === 0;
    if (wasThere && exists(route)) sorted[at] = route;
    else if (wasThere || exists(route)) {
      // Whatever stands after it moves up or down by one: nothing for a few changes, much for very many between two lists.
      if (++this.#moves > MAX_MOVES) this.#sorted = undefined;
      else if (wasThere) sorted.splice(at, 1);
      else sorted.splice(at, 0, route);
    }
  }

  /** Existing routes in (modid, cmdid) order. */
  list({ modid, q = "", limit, after, effort = Number.POSITIVE_INFINITY }: ListQuery): ListPage {
    this.#sorted ??= [...this.#all()].filter(exists).sort(compareModuleKeys);
    this.#moves = 0;
    const sorted = this.#sorted;
    const matches = q === "" ? undefined : this.#matcher(q.toLowerCase());
    const first = modid === undefined ? undefined : { modid, cmdid: LOWEST };
    let i = first === undefined ? 0 : firstNotBefore(sorted, first);
    if (after !== undefined) i = Math.max(i, firstNotBefore(sorted, after));
    if (after !== undefined && i < sorted.length && compareModuleKeys(sorted[i]!, after) === 0) i++;
    const routes: RouteRecord[] = [];
    for (let left = effort; i < sorted.length; i++) {
      const route = sorted[i]!;
      if (modid !== undefined && route.modid !== modid) break;
      if (left <= 0) return { routes, more: true, stoppedAt: sorted[i - 1]! };
      left -= 1 + route.hosts.length;
      if (matches !== undefined && !matches(route)) continue;
      if (routes.length === limit) return { routes, more: true };
      routes.push(route);
    }
    return { routes, more: false };
  }

  #matcher(needle: string): (route: RouteRecord) => boolean {
    // A text with a letter in it is part of no number.
    const inKey = /^[-\d.]+$/.test(needle);
    const inHosts = /^[\d.:]+$/.test(needle);
    return (route) =>
      (inKey && formatModuleKey(route).includes(needle)) ||
      this.#displayName(route.modid, route.cmdid).toLowerCase().includes(needle) ||
      (inHosts && route.hosts.some((host) => formatEndpoint(host).includes(needle)));
  }
}

function firstNotBefore(sorted: readonly RouteRecord[], key: ModuleKey): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareModuleKeys(sorted[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
