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
  /** `replace`: routes and names that the import does not mention are removed. */
  | {
      readonly action: "import";
      readonly routes: readonly RouteContent[];
      readonly names: readonly NameContent[];
      readonly replace: boolean;
    }
  /** Found in the tables as an old tool left them: already done there, to be taken over here. */
  | { readonly action: "adopt"; readonly routes: readonly RouteContent[]; readonly names: readonly NameContent[] };

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

export type Refusal = { readonly reason: "not-found" | "exists" | "precondition-failed"; readonly detail: string };

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

function refuse(reason: Refusal["reason"], detail: string): Plan {
  return { ok: false, reason, detail };
}

function editRoute(
  view: RouteView,
  key: ModuleKey,
  hosts: readonly Host[],
  name: string | undefined,
  policy: PolicyChoice | undefined,
): RouteEdit | undefined {
  const before = view.route(key.modid, key.cmdid);
  const nameAfter = name ?? before?.name ?? "";
  const policyBefore = before?.policy ?? NO_CHOICE;
  const policyAfter = policy ?? policyBefore;
  const diff = diffHosts(before?.hosts ?? [], hosts);
  const isSame = nameAfter === (before?.name ?? "") && sameChoice(policyAfter, policyBefore);
  if (isEmptyDiff(diff) && isSame) return undefined;
  return { modid: key.modid, cmdid: key.cmdid, before, name: nameAfter, policy: policyAfter, hosts, diff };
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

/** A whole host list does not say which of its hosts are leased: those that were still are. */
function keepLeased(before: RouteRecord | undefined, hosts: readonly Host[]): readonly Host[] {
  const leased = new Set((before?.hosts ?? []).filter((host) => host.leased === true).map(hostKey));
  if (leased.size === 0) return hosts;
  return hosts.map((host) => (leased.has(hostKey(host)) && host.leased !== true ? { ...host, leased: true } : host));
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
    const hosts = keepLeased(view.route(route.modid, route.cmdid), normalizeHosts(route.hosts));
    const edit = editRoute(view, route, hosts, route.name, route.policy);
    if (edit !== undefined) routes.push(edit);
  }
  if (change.action === "import" && change.replace) {
    for (const route of view.routes()) {
      const isThere = hasChoice(route.policy) || exists(route);
      if (!isThere || wanted.has(route.modid, route.cmdid)) continue;
      const edit = editRoute(view, route, [], "", NO_CHOICE);
      if (edit !== undefined) routes.push(edit);
    }
    const named = new Set(names.map((name) => `${name.scope} ${name.id}`));
    for (const { scope, id, name } of view.names()) {
      if (name !== "" && !named.has(`${scope} ${id}`)) names.push({ scope, id, name: "" });
    }
  }
  return { ok: true, routes, names: editNames(view, names) };
}

/** What `change` does to the routes in `view`: edits to commit (none: nothing changes), or why it is refused. */
export function planChange(view: RouteView, change: RouteChange): Plan {
  switch (change.action) {
    case "put-names":
      return { ok: true, routes: [], names: editNames(view, change.names) };
    case "import":
    case "adopt":
      return planImport(view, change);
    default:
      return planRouteChange(view, change);
  }
}

function planRouteChange(
  view: RouteView,
  change: Exclude<RouteChange, { action: "put-names" | "import" | "adopt" }>,
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
    return planOne(view, change, normalizeHosts([...hosts, change.host]));
  }
  if (!exists(route)) return refuse("not-found", `there is no route ${formatModuleKey(change)}`);
  if (change.action === "remove-route") return planOne(view, change, [], "", NO_CHOICE);
  const key = endpointKey(change.endpoint.ip, change.endpoint.port);
  const host = route.hosts.find((candidate) => hostKey(candidate) === key);
  if (host === undefined) {
    return refuse("not-found", `route ${formatModuleKey(change)} has no host ${formatEndpoint(change.endpoint)}`);
  }
  const others = route.hosts.filter((candidate) => candidate !== host);
  if (change.action === "remove-host") return planOne(view, change, normalizeHosts(others));
  const changed: Host = {
    ...host,
    weight: change.weight ?? host.weight,
    zone: change.zone ?? host.zone,
    state: change.state ?? host.state,
  };
  return planOne(view, change, normalizeHosts([...others, changed]));
}

/**
 * The revision after `previous`: at least one more, and not behind the clock's seconds. Old tools write
 * UNIX_TIMESTAMP() into RouteVersion, so ours stay comparable with theirs; a burst may run ahead of the clock, and a
 * database restored from a backup does not give out the same revision twice.
 */
export function nextRevision(previous: number, nowMs: number): number {
  return Math.max(previous + 1, Math.floor(nowMs / 1000));
}
