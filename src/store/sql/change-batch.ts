// Many changes as few statements. Changes that are committed together often concern different hosts (everything that
// restarted registers at once), and a statement is a round trip under the lock that all writers stand in line for. So a
// transaction gathers its changes and writes what they come to: for every host the last thing that was said of it, for
// every route its last state; the log gets every change by itself, as always.
import type { Host } from "../../core/assignment.ts";
import { placeKey } from "../../core/lease.ts";
import { type ModuleKey, ModuleMap } from "../../core/module-key.ts";
import type { RouteEdit } from "../../core/route-change.ts";
import type { CommittedChange } from "../route-store.ts";

export type HostOfModule = ModuleKey & Host;

/** Changes with more hosts than this are written by themselves: an import is long enough for good statements. */
const MAX_HOSTS = 1_000;

export interface RouteWrite {
  readonly edit: RouteEdit;
  readonly revision: number;
}

export interface HostWrites {
  readonly added: readonly HostOfModule[];
  readonly changed: readonly HostOfModule[];
  readonly removed: readonly HostOfModule[];
}

/** What changes come to, and nothing twice. */
export interface NetChange {
  readonly routes: readonly RouteWrite[];
  /** For our tables. */
  readonly hosts: HostWrites;
  /** For the original's: without what was found there. */
  readonly data: HostWrites;
  /** Rows of RouteChange: one for every change and module whose hosts it changed. */
  readonly marks: readonly (ModuleKey & { readonly revision: number })[];
}

/** Whether a change may be gathered with others. */
export function canGather({ names, routes }: CommittedChange): boolean {
  if (names.length > 0) return false;
  let hosts = 0;
  for (const { diff } of routes) hosts += diff.added.length + diff.changed.length + diff.removed.length;
  return hosts <= MAX_HOSTS;
}

/** Field by field: a spread costs several times as much, and there is one for every row. */
function hostOfModule(host: Host, modid: number, cmdid: number): HostOfModule {
  const { ip, port, weight, zone, state } = host;
  return host.leased === true
    ? { modid, cmdid, ip, port, weight, zone, state, leased: true }
    : { modid, cmdid, ip, port, weight, zone, state };
}

function hostsOf(edits: readonly RouteEdit[], kind: "added" | "changed" | "removed"): HostOfModule[] {
  const found: HostOfModule[] = [];
  for (const { modid, cmdid, diff } of edits)
    for (const host of diff[kind]) found.push(hostOfModule(host, modid, cmdid));
  return found;
}

const NONE: HostWrites = { added: [], changed: [], removed: [] };

function diffOf({ routes }: CommittedChange): HostWrites {
  return {
    added: hostsOf(routes, "added"),
    changed: hostsOf(routes, "changed"),
    removed: hostsOf(routes, "removed"),
  };
}

function marksOf({ routes, revision }: CommittedChange): (ModuleKey & { revision: number })[] {
  return routes
    .filter(({ diff }) => diff.added.length + diff.changed.length + diff.removed.length > 0)
    .map(({ modid, cmdid }) => ({ modid, cmdid, revision }));
}

interface Net {
  readonly first: HostOfModule;
  /** Whether a row was there before the first of the changes: something that is changed or removed was. */
  readonly wasThere: boolean;
  /** undefined: it is gone. */
  now: HostOfModule | undefined;
}

/** The last thing that was said of every host, in the order in which they were first mentioned. */
function netHosts(changes: readonly CommittedChange[]): HostWrites {
  const nets = new Map<string, Net>();
  const note = (host: HostOfModule, wasThere: boolean, now: HostOfModule | undefined): void => {
    const key = placeKey(host);
    const net = nets.get(key);
    if (net === undefined) nets.set(key, { first: host, wasThere, now });
    else net.now = now;
  };
  for (const change of changes) {
    const { added, changed, removed } = diffOf(change);
    for (const host of removed) note(host, true, undefined);
    for (const host of changed) note(host, true, host);
    for (const host of added) note(host, false, host);
  }
  const writes = { added: [] as HostOfModule[], changed: [] as HostOfModule[], removed: [] as HostOfModule[] };
  for (const { wasThere, now, first } of nets.values()) {
    if (now === undefined) {
      if (wasThere) writes.removed.push(first);
    } else if (wasThere) writes.changed.push(now);
    else writes.added.push(now);
  }
  return writes;
}

/** `changes` in the order of their revisions. */
export function netChange(changes: readonly CommittedChange[]): NetChange {
  const [only] = changes;
  if (only !== undefined && changes.length === 1) {
    const hosts = diffOf(only);
    return {
      routes: only.routes.map((edit) => ({ edit, revision: only.revision })),
      hosts,
      data: only.action === "adopt" ? NONE : hosts,
      marks: marksOf(only),
    };
  }
  const routes = new ModuleMap<RouteWrite>();
  for (const { routes: edits, revision } of changes) {
    for (const edit of edits) routes.set(edit.modid, edit.cmdid, { edit, revision });
  }
  const hosts = netHosts(changes);
  const ours = changes.filter(({ action }) => action !== "adopt");
  return {
    routes: [...routes.values()],
    hosts,
    data: ours.length === changes.length ? hosts : netHosts(ours),
    marks: changes.flatMap(marksOf),
  };
}
