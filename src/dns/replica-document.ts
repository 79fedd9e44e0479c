// Routes as one dns hands them to another: records with their revisions, removed ones included, as JSON. Both ends are
// here, so that what one writes the other reads; the follower's file on disk is made of the same.
//
// What a newer leader adds is skipped, and a policy that is not known here is left out, as everywhere. Anything else that
// is not as it should be refuses the whole page: half a page would be a replica nobody ever had.
import { HOST_STATES, type Host, makeHost, normalizeHosts } from "../core/assignment.ts";
import { formatIp, parseIp } from "../core/endpoint.ts";
import type { ModuleKey } from "../core/module-key.ts";
import { choiceEntries, readChoice } from "../core/policy-choice.ts";
import type { NameRecord, RouteRecord } from "../core/route-change.ts";

/** Part of what changed after a revision. All pages together are the whole. */
export interface ReplicaPage {
  /** Of the replica this was read from; pages may differ in it. */
  readonly revision: number;
  /** Of the whole replica at that revision, as core/route-digest.ts has it. */
  readonly digest: number;
  /** As of RouteDelta. */
  readonly forgotten?: number | undefined;
  readonly routes: readonly RouteRecord[];
  readonly names: readonly NameRecord[];
  /** Where the next page begins: after this module. Absent: this is the last. */
  readonly next?: ModuleKey;
}

export function pageJson({ revision, digest, forgotten = 0, routes, names, next }: ReplicaPage) {
  return {
    revision,
    digest,
    ...(forgotten === 0 ? {} : { forgotten }),
    routes: routes.map(routeRecordJson),
    names: names.map(({ scope, id, name, revision }) => ({ scope, id, name, revision })),
    ...(next === undefined ? {} : { next: `${next.modid}.${next.cmdid}` }),
  };
}

function routeRecordJson({ modid, cmdid, name, policy, revision, hosts, vanishedFrom }: RouteRecord) {
  const parameters = choiceEntries(policy);
  return {
    modid,
    cmdid,
    revision,
    ...(name === "" ? {} : { name }),
    ...(policy.name === "" ? {} : { policy: policy.name as string }),
    ...(parameters.length === 0 ? {} : { policyParameters: Object.fromEntries(parameters) as Record<string, number> }),
    ...(vanishedFrom === undefined ? {} : { vanishedFrom }),
    hosts: hosts.map(({ ip, port, weight, zone, state, leased }) => ({
      ip: formatIp(ip),
      port,
      weight,
      zone,
      state,
      ...(leased === true ? { leased: true } : {}),
    })),
  };
}

type Fields = Readonly<Record<string, unknown>>;

class Unreadable extends Error {}

function fieldsOf(value: unknown, what: string): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new Unreadable(`${what} is no object`);
}

function integer(fields: Fields, name: string, min: number, max: number): number {
  const value = fields[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new Unreadable(`${name} is ${shown(value)}; expected an integer from ${min} to ${max}`);
}

function text(fields: Fields, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value === "string" && value.length <= 1024) return value;
  throw new Unreadable(`${name} is ${shown(value)}; expected text`);
}

function list(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  if (Array.isArray(value)) return value;
  throw new Unreadable(`${name} is ${shown(value)}; expected a list`);
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 64);
}

const id = (fields: Fields, name: string): number => integer(fields, name, -0x8000_0000, 0xffff_ffff) | 0;
const revisionOf = (fields: Fields): number => integer(fields, "revision", 0, Number.MAX_SAFE_INTEGER);

function readHost(value: unknown): Host {
  const fields = fieldsOf(value, "a host");
  const ip = parseIp(text(fields, "ip"));
  const state = HOST_STATES.find((known) => known === fields.state);
  if (ip === undefined) throw new Unreadable(`ip is ${shown(fields.ip)}; expected a dotted IPv4 address`);
  if (state === undefined) throw new Unreadable(`state is ${shown(fields.state)}; expected ${HOST_STATES.join(", ")}`);
  return makeHost(ip, integer(fields, "port", 1, 65_535), {
    weight: integer(fields, "weight", 0, 0x7fff_ffff),
    zone: text(fields, "zone"),
    state,
    ...(fields.leased === true ? { leased: true as const } : {}),
  });
}

function readRoute(value: unknown): RouteRecord {
  const fields = fieldsOf(value, "a route");
  const parameters = fields.policyParameters === undefined ? {} : fieldsOf(fields.policyParameters, "policyParameters");
  return {
    modid: id(fields, "modid"),
    cmdid: id(fields, "cmdid"),
    revision: revisionOf(fields),
    name: text(fields, "name"),
    policy: readChoice(text(fields, "policy"), Object.entries(parameters)).choice,
    hosts: normalizeHosts(list(fields, "hosts").map(readHost)),
    ...(fields.vanishedFrom === undefined
      ? {}
      : { vanishedFrom: integer(fields, "vanishedFrom", 0, Number.MAX_SAFE_INTEGER) }),
  };
}

function readName(value: unknown): NameRecord {
  const fields = fieldsOf(value, "a name");
  const scope = fields.scope;
  if (scope !== "modid" && scope !== "cmdid") throw new Unreadable(`scope is ${shown(scope)}; expected modid or cmdid`);
  return { scope, id: id(fields, "id"), name: text(fields, "name"), revision: revisionOf(fields) };
}

export type ReadPage = { readonly ok: true; readonly page: ReplicaPage } | { readonly ok: false; readonly why: string };

/** A page as `pageJson` made it and JSON brought it here. */
export function readPage(value: unknown): ReadPage {
  try {
    const fields = fieldsOf(value, "the answer");
    const next = text(fields, "next");
    const [modid, cmdid] = next.split(".").map(Number);
    if (next !== "" && !(Number.isInteger(modid) && Number.isInteger(cmdid)))
      throw new Unreadable(`next is ${shown(next)}; expected modid.cmdid`);
    const page: ReplicaPage = {
      revision: revisionOf(fields),
      digest: integer(fields, "digest", 0, 0xffff_ffff),
      ...(fields.forgotten === undefined
        ? {}
        : { forgotten: integer(fields, "forgotten", 0, Number.MAX_SAFE_INTEGER) }),
      routes: list(fields, "routes").map(readRoute),
      names: list(fields, "names").map(readName),
      ...(next === "" ? {} : { next: { modid: modid! | 0, cmdid: cmdid! | 0 } }),
    };
    return { ok: true, page };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, why: error.message };
    throw error;
  }
}
