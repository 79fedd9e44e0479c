// What can be done to routes, as values, and what each does to the routes at hand. Every writer (HTTP, import, a change
// found in the tables of the old manner) goes through `planChange`, so that the rules stand once: what counts as a
// change, what is refused, what the log will say. Pure: the caller looks routes up and commits the plan.
import {
  type Assignment,
  diffHosts,
  type Host,
  type HostDiff,
  type HostState,
  hostKey,
  isEmptyDiff,
  normalizeHosts,
} from "./assignment.ts";
import { type Endpoint, endpointKey, formatEndpoint } from "./endpoint.ts";
import { formatModuleKey, type ModuleKey, ModuleMap } from "./module-key.ts";
import { NO_CHOICE, type PolicyChoice } from "./policies.ts";
import { hasChoice, sameChoice } from "./policy-choice.ts";
import { type NameUndo, type RouteUndo, revertRoute } from "./route-revert.ts";
import { markVanished } from "./vanished-routes.ts";

/** A module as it stands: its hosts, its own name ("" none), its own policy and the revision of its last change. */
export interface RouteRecord extends Assignment {
  readonly name: string;
  readonly policy: PolicyChoice;
  /**
   * Hosts the route had before so many of the whole table vanished at once by plain SQL that nobody may have meant it;
   * agents keep what they have. Absent: what the route says is meant.
   */
  readonly vanishedFrom?: number;
}

/** Lars names modids and cmdids apart (ModIDConfig, CmdIDConfig). */
export type NameScope = "modid" | "cmdid";

/** A name for people. "" means the name was taken away. */
export interface NameRecord {
  readonly scope: NameScope;
  readonly id: number;
  readonly name: string;
  readonly revision: number;
}

/** `name`, `policy` undefined: as they are. NO_CHOICE: the agents' default from now on. */
export interface RouteContent extends ModuleKey {
  readonly name?: string | undefined;
  readonly policy?: PolicyChoice | undefined;
  readonly hosts: readonly Host[];
}

export interface NameContent {
  readonly scope: NameScope;
  readonly id: number;
  readonly name: string;
}

/** The states a writer saw; undefined = no condition. "*" = the route must exist. */
export type Precondition = readonly string[] | "*" | undefined;

export type RouteChange =
  /** Replaces the host list; `name`, `policy` undefined keep what is there. */
  | ({ readonly action: "put-route"; readonly ifMatch?: Precondition } & RouteContent)
  | { readonly action: "remove-route"; readonly modid: number; readonly cmdid: number; readonly ifMatch?: Precondition }
  | {
      readonly action: "add-host";
      readonly modid: number;
      readonly cmdid: number;
      readonly host: Host;
      readonly ifMatch?: Precondition;
    }
  | {
      readonly action: "set-host";
      readonly modid: number;
      readonly cmdid: number;
      readonly endpoint: Endpoint;
      readonly weight?: number | undefined;
      readonly zone?: string | undefined;
      readonly state?: HostState | undefined;
      readonly ifMatch?: Precondition;
    }
  | {
      readonly action: "remove-host";
      readonly modid: number;
      readonly cmdid: number;
      readonly endpoint: Endpoint;
      readonly ifMatch?: Precondition;
    }
  | { readonly action: "put-names"; readonly names: readonly NameContent[] }
  /** `replace`: routes and names that the import does not mention are removed. Leased hosts stay as they are. */
  | {
      readonly action: "import";
      readonly routes: readonly RouteContent[];
      readonly names: readonly NameContent[];
      readonly replace: boolean;
    }
  /** Found in the tables as an old tool left them: already done there, to be taken over here. */
  | {
      readonly action: "adopt";
      readonly routes: readonly RouteContent[];
      readonly names: readonly NameContent[];
      /** Routes it shrinks are marked when more than this share of all hosts vanishes with it. Absent: none are. */
      readonly maxVanishShare?: number;
      /** The hosts say themselves which of them are leased. Absent: the original's tables do not know leases. */
      readonly leasesAreKnown?: true;
    }
  /** Undoes the change at revision `of`, or nothing when something of it was changed since. */
  | {
      readonly action: "revert";
      readonly of: number;
      readonly routes: readonly RouteUndo[];
      readonly names: readonly NameUndo[];
    }
  /** The change at revision `of` was meant: takes the marks from its routes. */
  | { readonly action: "confirm"; readonly of: number; readonly routes: readonly ModuleKey[] };

export interface RouteEdit extends ModuleKey {
  /** undefined: the module was not known before. */
  readonly before: RouteRecord | undefined;
  readonly name: string;
  readonly policy: PolicyChoice;
  readonly hosts: readonly Host[];
  readonly diff: HostDiff;
  /** As of RouteRecord. */
  readonly vanishedFrom?: number;
}

export interface NameEdit extends NameContent {
  readonly before: string;
}

export type Refusal = {
  readonly reason: "not-found" | "exists" | "precondition-failed" | "conflict" | "forbidden";
  readonly detail: string;
};

export type Plan =
  | { readonly ok: true; readonly routes: readonly RouteEdit[]; readonly names: readonly NameEdit[] }
  | ({ readonly ok: false } & Refusal);

/** The routes a change is planned against. */
export interface RouteView {
  route(modid: number, cmdid: number): RouteRecord | undefined;
  /** The current entity tag of a route, as readers were given it. */
  tag(modid: number, cmdid: number): string | undefined;
  name(scope: NameScope, id: number): string;
  routes(): Iterable<RouteRecord>;
  names(): Iterable<NameRecord>;
}

/**
 * A route that is gone leaves its record behind (its revision still counts), without hosts and name. A policy alone makes
 * no route, but it waits there: a module whose hosts all left and come back is balanced as before.
 */
export function exists(route: RouteRecord | undefined): route is RouteRecord {
  return route !== undefined && (route.hosts.length > 0 || route.name !== "");
}

/** Nothing is left of it but the revision at which it became so. */
export function isRemoved(route: RouteRecord): boolean {
  return route.hosts.length === 0 && route.name === "" && route.vanishedFrom === undefined && !hasChoice(route.policy);
}

const NO_HOSTS: readonly Host[] = Object.freeze([]);

/** The record of a module that was removed at this revision. */
export function removedRoute({ modid, cmdid }: ModuleKey, revision: number): RouteRecord {
  return { modid, cmdid, name: "", policy: NO_CHOICE, revision, hosts: NO_HOSTS };
}

function refuse(reason: Refusal["reason"], detail: string): Plan {
  return { ok: false, reason, detail };
}

/** `mark`: whoever changes a route over the API knows what it has; other hands do not. */
function editRoute(
  view: RouteView,
  key: ModuleKey,
  hosts: readonly Host[],
  name: string | undefined,
  policy: PolicyChoice | undefined,
  mark: "take" | "keep" = "take",
): RouteEdit | undefined {
  const before = view.route(key.modid, key.cmdid);
  const nameAfter = name ?? before?.name ?? "";
  const policyBefore = before?.policy ?? NO_CHOICE;
  const policyAfter = policy ?? policyBefore;
  const diff = diffHosts(before?.hosts ?? [], hosts);
  const marked = before?.vanishedFrom;
  const vanishedFrom = mark === "keep" && marked !== undefined && hosts.length < marked ? marked : undefined;
  const isSame = nameAfter === (before?.name ?? "") && sameChoice(policyAfter, policyBefore) && vanishedFrom === marked;
  if (isEmptyDiff(diff) && isSame) return undefined;
  return {
    modid: key.modid,
    cmdid: key.cmdid,
    before,
    name: nameAfter,
    policy: policyAfter,
    hosts,
    diff,
    ...(vanishedFrom === undefined ? {} : { vanishedFrom }),
  };
}

function planOne(
  view: RouteView,
  key: ModuleKey,
  hosts: readonly Host[],
  name?: string | undefined,
  policy?: PolicyChoice | undefined,
): Plan {
  const edit = editRoute(view, key, hosts, name, policy);
  return { ok: true, routes: edit === undefined ? [] : [edit], names: [] };
}

function editNames(view: RouteView, names: Iterable<NameContent>): NameEdit[] {
  const last = new Map<string, NameContent>();
  for (const name of names) last.set(`${name.scope} ${name.id}`, name);
  const edits: NameEdit[] = [];
  for (const { scope, id, name } of last.values()) {
    const before = view.name(scope, id);
    if (before !== name) edits.push({ scope, id, name, before });
  }
  return edits;
}

function leasedHosts(route: RouteRecord | undefined): readonly Host[] {
  return (route?.hosts ?? []).filter(({ leased }) => leased === true);
}

/**
 * Whether a host is leased is not for a host list to say: those that were still are, and one that is called leased and
 * is not (any more: the list is older than its end) does not come back by being listed.
 */
function keepLeased(before: RouteRecord | undefined, hosts: readonly Host[]): readonly Host[] {
  const leased = new Set(leasedHosts(before).map(hostKey));
  const isKnown = (host: Host) => leased.has(hostKey(host));
  if (hosts.every((host) => (host.leased === true) === isKnown(host))) return hosts;
  return Object.freeze(
    hosts
      .filter((host) => host.leased !== true || isKnown(host))
      .map((host) => (host.leased !== true && isKnown(host) ? { ...host, leased: true as const } : host)),
  );
}

/** What an import says is what operators entered: leased hosts come and go by their leases alone. */
function besideLeased(before: RouteRecord | undefined, hosts: readonly Host[]): readonly Host[] {
  return normalizeHosts([...leasedHosts(before), ...hosts.filter(({ leased }) => leased !== true)]);
}

function planImport(view: RouteView, change: Extract<RouteChange, { action: "import" | "adopt" }>): Plan {
  const wanted = new ModuleMap<RouteContent>();
  for (const route of change.routes) {
    const earlier = wanted.get(route.modid, route.cmdid);
    // The same module twice in one file: both host lists count, as duplicate rows do in an old table.
    wanted.set(
      route.modid,
      route.cmdid,
      earlier === undefined
        ? route
        : {
            ...route,
            name: route.name ?? earlier.name,
            policy: route.policy ?? earlier.policy,
            hosts: [...earlier.hosts, ...route.hosts],
          },
    );
  }
  const names = [...change.names];
  const routes: RouteEdit[] = [];
  for (const route of wanted.values()) {
    const before = view.route(route.modid, route.cmdid);
    const isAdopted = change.action === "adopt";
    const hosts = !isAdopted
      ? besideLeased(before, route.hosts)
      : change.leasesAreKnown === true
        ? normalizeHosts(route.hosts)
        : keepLeased(before, normalizeHosts(route.hosts));
    const edit = editRoute(view, route, hosts, route.name, route.policy, isAdopted ? "keep" : "take");
    if (edit !== undefined) routes.push(edit);
  }
  if (change.action === "adopt") {
    const marked = markVanished(routes, () => countHosts(view), change.maxVanishShare ?? 1);
    return { ok: true, routes: marked, names: editNames(view, names) };
  }
  if (change.replace) {
    for (const route of view.routes()) {
      const isThere = route.vanishedFrom !== undefined || hasChoice(route.policy) || exists(route);
      if (!isThere || wanted.has(route.modid, route.cmdid)) continue;
      const edit = editRoute(view, route, besideLeased(route, []), "", NO_CHOICE);
      if (edit !== undefined) routes.push(edit);
    }
    const named = new Set(names.map((name) => `${name.scope} ${name.id}`));
    for (const { scope, id, name } of view.names()) {
      if (name !== "" && !named.has(`${scope} ${id}`)) names.push({ scope, id, name: "" });
    }
  }
  return { ok: true, routes, names: editNames(view, names) };
}

function countHosts(view: RouteView): number {
  let count = 0;
  for (const route of view.routes()) count += route.hosts.length;
  return count;
}

const MAX_NAMED_CONFLICTS = 3;

function planRevert(view: RouteView, change: Extract<RouteChange, { action: "revert" }>): Plan {
  const conflicts: string[] = [];
  const routes: RouteEdit[] = [];
  for (const undo of change.routes) {
    const route = view.route(undo.modid, undo.cmdid);
    const { hosts, name, policy, ...reverted } = revertRoute(route ?? { name: "", policy: NO_CHOICE, hosts: [] }, undo);
    const since = route === undefined ? "" : ` (revision ${route.revision})`;
    for (const conflict of reverted.conflicts) conflicts.push(`${conflict}${since}`);
    const edit = editRoute(view, undo, hosts, name, policy);
    if (edit !== undefined) routes.push(edit);
  }
  for (const { scope, id, left } of change.names) {
    if (view.name(scope, id) !== left) conflicts.push(`the name of ${scope} ${id}`);
  }
  if (conflicts.length > 0) {
    const more = conflicts.length - MAX_NAMED_CONFLICTS;
    const named = conflicts.slice(0, MAX_NAMED_CONFLICTS).join(", ");
    return refuse(
      "conflict",
      `change ${change.of} is not undone, because it would overwrite what was changed since: ${named}` +
        `${more > 0 ? ` and ${more} more` : ""}; undo the later changes first, or set by hand what is to be otherwise`,
    );
  }
  const names = change.names.map(({ scope, id, back }) => ({ scope, id, name: back }));
  return { ok: true, routes, names: editNames(view, names) };
}

function planConfirm(view: RouteView, change: Extract<RouteChange, { action: "confirm" }>): Plan {
  const routes = change.routes.flatMap(({ modid, cmdid }) => {
    const route = view.route(modid, cmdid);
    return (route && editRoute(view, route, route.hosts, undefined, undefined)) ?? [];
  });
  return { ok: true, routes, names: [] };
}

/** What `change` does to the routes in `view`: edits to commit (none: nothing changes), or why it is refused. */
export function planChange(view: RouteView, change: RouteChange): Plan {
  switch (change.action) {
    case "put-names":
      return { ok: true, routes: [], names: editNames(view, change.names) };
    case "import":
    case "adopt":
      return planImport(view, change);
    case "revert":
      return planRevert(view, change);
    case "confirm":
      return planConfirm(view, change);
    default:
      return planRouteChange(view, change);
  }
}

function planRouteChange(
  view: RouteView,
  change: Exclude<RouteChange, { action: "put-names" | "import" | "adopt" | "revert" | "confirm" }>,
): Plan {
  const { modid, cmdid } = change;
  const route = view.route(modid, cmdid);
  if (change.ifMatch !== undefined) {
    const tag = view.tag(modid, cmdid);
    const matches = exists(route) && tag !== undefined && (change.ifMatch === "*" || change.ifMatch.includes(tag));
    if (!matches) {
      const now = exists(route) ? `it is now ${tag}` : "it does not exist";
      return refuse(
        "precondition-failed",
        `route ${formatModuleKey(change)} is not as If-Match says: ${now}; read it again`,
      );
    }
  }
  if (change.action === "put-route") {
    return planOne(view, change, keepLeased(route, normalizeHosts(change.hosts)), change.name, change.policy);
  }
  if (change.action === "add-host") {
    const hosts = route?.hosts ?? [];
    if (hosts.some((host) => hostKey(host) === hostKey(change.host))) {
      return refuse(
        "exists",
        `route ${formatModuleKey(change)} has host ${formatEndpoint(change.host)} already; PATCH changes it`,
      );
    }
    const at = hosts.findIndex((candidate) => hostKey(candidate) > hostKey(change.host));
    return planOne(view, change, at < 0 ? [...hosts, change.host] : hosts.toSpliced(at, 0, change.host));
  }
  const isRemoval = change.action === "remove-route";
  // One whose hosts all vanished can still be removed by somebody who means it.
  if (isRemoval && route?.vanishedFrom !== undefined) return planOne(view, change, [], "", NO_CHOICE);
  if (!exists(route)) return refuse("not-found", `there is no route ${formatModuleKey(change)}`);
  if (isRemoval) return planOne(view, change, [], "", NO_CHOICE);
  const key = endpointKey(change.endpoint.ip, change.endpoint.port);
  const host = route.hosts.find((candidate) => hostKey(candidate) === key);
  if (host === undefined) {
    return refuse("not-found", `route ${formatModuleKey(change)} has no host ${formatEndpoint(change.endpoint)}`);
  }
  const at = route.hosts.indexOf(host);
  if (change.action === "remove-host") return planOne(view, change, route.hosts.toSpliced(at, 1));
  const changed: Host = {
    ...host,
    weight: change.weight ?? host.weight,
    zone: change.zone ?? host.zone,
    state: change.state ?? host.state,
  };
  return planOne(view, change, route.hosts.with(at, changed));
}

/**
 * The revision after `previous`: at least one more, and not behind the clock's seconds. Old tools write
 * UNIX_TIMESTAMP() into RouteVersion, so ours stay comparable with theirs; a burst may run ahead of the clock, and a
 * database restored from a backup does not give out the same revision twice.
 */
export function nextRevision(previous: number, nowMs: number): number {
  return Math.max(previous + 1, Math.floor(nowMs / 1000));
}
