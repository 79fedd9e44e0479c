// The change log: per committed change one row, and per route or name it touched one or more items of JSON. A change may
// touch a hundred thousand hosts (an import); an item stays small enough for any column and packet by naming at most so
// many of them, and the next item goes on with the same module.
import type { Host } from "../../core/assignment.ts";
import { hostKey } from "../../core/assignment.ts";
import { formatIp } from "../../core/endpoint.ts";
import { NO_CHOICE, type PolicyChoice } from "../../core/policies.ts";
import { sameChoice } from "../../core/policy-choice.ts";
import type { NameEdit, RouteEdit } from "../../core/route-change.ts";
import type { ChangeLogEntry, ChangeLogItem, CommittedChange, RouteState } from "../route-store.ts";
import { chunks, insertRows } from "./insert-rows.ts";
import type { SqlSession } from "./sql-database.ts";

const MAX_HOSTS_PER_ITEM = 1_000;
const MAX_TEXT = 255;

interface HostEdit {
  readonly before: Host | undefined;
  readonly after: Host | undefined;
}

function hostEdits(edit: RouteEdit): HostEdit[] {
  const old = new Map((edit.before?.hosts ?? []).map((host) => [hostKey(host), host]));
  return [
    ...edit.diff.removed.map((before) => ({ before, after: undefined })),
    ...edit.diff.changed.map((after) => ({ before: old.get(hostKey(after)), after })),
    ...edit.diff.added.map((after) => ({ before: undefined, after })),
  ];
}

function logHosts(hosts: readonly (Host | undefined)[]): RouteState["hosts"] {
  return hosts
    .filter((host) => host !== undefined)
    .map(({ ip, port, weight, zone, state }) => ({ ip: formatIp(ip), port, weight, zone, state }));
}

function* routeItems(edit: RouteEdit): IterableIterator<ChangeLogItem> {
  const { modid, cmdid } = edit;
  const nameBefore = edit.before?.name ?? "";
  const renamed = nameBefore !== edit.name;
  const policyBefore = edit.before?.policy ?? NO_CHOICE;
  const rebalanced = !sameChoice(policyBefore, edit.policy);
  const state = (
    name: string,
    { name: policy, parameters: policyParameters }: PolicyChoice,
  ): Omit<RouteState, "hosts"> => ({
    ...(renamed ? { name } : {}),
    ...(rebalanced ? { policy, policyParameters } : {}),
  });
  const edits = hostEdits(edit);
  let first = true;
  for (const part of edits.length === 0 ? [edits] : chunks(edits, MAX_HOSTS_PER_ITEM)) {
    yield {
      kind: "route",
      modid,
      cmdid,
      before: { ...(first ? state(nameBefore, policyBefore) : {}), hosts: logHosts(part.map(({ before }) => before)) },
      after: { ...(first ? state(edit.name, edit.policy) : {}), hosts: logHosts(part.map(({ after }) => after)) },
    };
    first = false;
  }
}

function nameItem({ scope, id, before, name }: NameEdit): ChangeLogItem {
  return { kind: "name", scope, id, before, after: name };
}

function* itemRows(change: CommittedChange): IterableIterator<[number, number, string]> {
  let position = 0;
  for (const edit of change.routes) {
    for (const item of routeItems(edit)) yield [change.revision, position++, JSON.stringify(item)];
  }
  for (const edit of change.names) yield [change.revision, position++, JSON.stringify(nameItem(edit))];
}

/** `who` and `requestId` are cut to 255 characters. */
export async function appendToLog(session: SqlSession, change: CommittedChange): Promise<void> {
  await insertRows(session, "INSERT INTO lars_change (revision, at_ms, who, action, request_id)", [
    [
      change.revision,
      Math.floor(change.atMs),
      change.who.slice(0, MAX_TEXT),
      change.action,
      change.requestId.slice(0, MAX_TEXT),
    ],
  ]);
  await insertRows(session, "INSERT INTO lars_change_item (revision, position, detail)", itemRows(change));
}

/** Entries with a revision above `after`, in its order. */
export async function readLog(session: SqlSession, after: number, limit: number): Promise<readonly ChangeLogEntry[]> {
  const rows = await session.rows<[number, number, string, string, string]>(
    `SELECT revision, at_ms, who, action, request_id FROM lars_change WHERE revision > ? ORDER BY revision LIMIT ${Math.max(0, Math.floor(limit))}`,
    [after],
  );
  const items = new Map<number, ChangeLogItem[]>(rows.map(([revision]) => [revision, []]));
  const last = rows.at(-1);
  if (last !== undefined) {
    const details = await session.rows<[number, string]>(
      "SELECT revision, detail FROM lars_change_item WHERE revision > ? AND revision <= ? ORDER BY revision, position",
      [after, last[0]],
    );
    for (const [revision, detail] of details) items.get(revision)?.push(JSON.parse(detail) as ChangeLogItem);
  }
  return rows.map(([revision, atMs, who, action, requestId]) => ({
    revision,
    atMs,
    who,
    action,
    requestId,
    items: items.get(revision) ?? [],
  }));
}
