// Undoing a change from its entry in the log. The entry names what it found and what it left; the undo puts back what it
// found, host by host, and touches nothing that the entry did not. Where something is not any more what the entry left,
// somebody changed it since: then there is nothing right to do by rule, and the whole undo is refused.
//
// A host under a lease is not put back: its owner registers it again, or is gone.
import { type Host, type HostState, hostKey, makeHost, normalizeHosts } from "./assignment.ts";
import { formatEndpoint, parseIp } from "./endpoint.ts";
import { formatModuleKey, type ModuleKey, ModuleMap } from "./module-key.ts";
import { NO_CHOICE, type PolicyChoice } from "./policies.ts";
import { readChoice, sameChoice } from "./policy-choice.ts";

/** A host in the log; `ip` dotted. */
export interface LoggedHost {
  readonly ip: string;
  readonly port: number;
  readonly weight: number;
  readonly zone: string;
  readonly state: string;
  readonly leased?: boolean;
}

/** One side of a logged route: what differs from the other side. */
export interface LoggedState {
  readonly name?: string;
  readonly policy?: string;
  readonly policyParameters?: Readonly<Record<string, number>>;
  readonly hosts: readonly LoggedHost[];
}

export type LoggedItem =
  | {
      readonly kind: "route";
      readonly modid: number;
      readonly cmdid: number;
      readonly before: LoggedState;
      readonly after: LoggedState;
    }
  | {
      readonly kind: "name";
      readonly scope: "modid" | "cmdid";
      readonly id: number;
      readonly before: string;
      readonly after: string;
    };

/** `left`: as the change left it; `back`: as it is to be again. */
interface Undo<T> {
  readonly left: T;
  readonly back: T;
}

export interface RouteUndo extends ModuleKey {
  readonly name: Undo<string> | undefined;
  readonly policy: Undo<PolicyChoice> | undefined;
  /** undefined: not there. */
  readonly hosts: readonly Undo<Host | undefined>[];
}

export interface NameUndo extends Undo<string> {
  readonly scope: "modid" | "cmdid";
  readonly id: number;
}

function hostOf({ ip, port, weight, zone, state, leased }: LoggedHost): Host {
  return makeHost(parseIp(ip) ?? 0, port, {
    weight,
    zone,
    state: state as HostState,
    ...(leased === true ? { leased: true } : {}),
  });
}

function choiceOf({ policy = "", policyParameters = {} }: LoggedState): PolicyChoice {
  return policy === "" ? NO_CHOICE : readChoice(policy, Object.entries(policyParameters)).choice;
}

function undoRoute(item: Extract<LoggedItem, { kind: "route" }>): RouteUndo {
  const { modid, cmdid, before, after } = item;
  const hosts = new Map<number, Undo<Host | undefined>>();
  for (const host of before.hosts.map(hostOf)) hosts.set(hostKey(host), { left: undefined, back: host });
  for (const host of after.hosts.map(hostOf)) {
    const key = hostKey(host);
    hosts.set(key, { left: host, back: hosts.get(key)?.back });
  }
  return {
    modid,
    cmdid,
    name: after.name === undefined ? undefined : { left: after.name, back: before.name ?? "" },
    policy: after.policy === undefined ? undefined : { left: choiceOf(after), back: choiceOf(before) },
    hosts: [...hosts.values()],
  };
}

/** What undoes an entry of these items. A module may have several, as large changes do. */
export function undoOf(items: readonly LoggedItem[]): {
  readonly routes: readonly RouteUndo[];
  readonly names: readonly NameUndo[];
} {
  const routes = new ModuleMap<RouteUndo>();
  const names: NameUndo[] = [];
  for (const item of items) {
    if (item.kind === "name") {
      names.push({ scope: item.scope, id: item.id, left: item.after, back: item.before });
      continue;
    }
    const undo = undoRoute(item);
    const earlier = routes.get(item.modid, item.cmdid);
    routes.set(
      item.modid,
      item.cmdid,
      earlier === undefined
        ? undo
        : {
            ...earlier,
            name: earlier.name ?? undo.name,
            policy: earlier.policy ?? undo.policy,
            hosts: [...earlier.hosts, ...undo.hosts],
          },
    );
  }
  return { routes: [...routes.values()], names };
}

/** A lease may have come or gone meanwhile; that is not what the change set. */
function isAsLeft(now: Host | undefined, left: Host | undefined): boolean {
  if (now === undefined || left === undefined) return now === left;
  return now.weight === left.weight && now.zone === left.zone && now.state === left.state;
}

interface RouteToRevert {
  readonly name: string;
  readonly policy: PolicyChoice;
  readonly hosts: readonly Host[];
}

/** The route undone. `conflicts`: what was changed since, for people; with any of them the rest is not to be used. */
export function revertRoute(
  route: RouteToRevert,
  undo: RouteUndo,
): RouteToRevert & { readonly conflicts: readonly string[] } {
  const of = `of ${formatModuleKey(undo)}`;
  const conflicts: string[] = [];
  if (undo.name !== undefined && route.name !== undo.name.left) conflicts.push(`the name ${of}`);
  if (undo.policy !== undefined && !sameChoice(route.policy, undo.policy.left)) conflicts.push(`the policy ${of}`);
  const hosts = new Map(route.hosts.map((host) => [hostKey(host), host]));
  for (const { left, back } of undo.hosts) {
    const key = hostKey((left ?? back)!);
    if (left === undefined && back?.leased === true) continue;
    const now = hosts.get(key);
    if (!isAsLeft(now, left)) conflicts.push(`host ${formatEndpoint((left ?? back)!)} ${of}`);
    else if (back === undefined) hosts.delete(key);
    else {
      const { leased: _, ...host } = back;
      hosts.set(key, now?.leased === true ? { ...host, leased: true } : host);
    }
  }
  return {
    name: undo.name?.back ?? route.name,
    policy: undo.policy?.back ?? route.policy,
    hosts: normalizeHosts(hosts.values()),
    conflicts,
  };
}
