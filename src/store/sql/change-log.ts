// The change log: per committed change one row, and per route or name it touched one or more items of JSON. A change may
// touch a hundred thousand hosts (an import); an item stays small enough for any column and packet by naming at most so
// many of them, and the next item goes on with the same module. Most changes are one host, and their items go into the
// change's own row: a row more was a seventh of what the database had to do for a registration.
import type { Host } from "../../core/assignment.ts";
import { hostKey } from "../../core/assignment.ts";
import { formatIp } from "../../core/endpoint.ts";
import { NO_CHOICE, type PolicyChoice } from "../../core/policies.ts";
import { sameChoice } from "../../core/policy-choice.ts";
import type { NameEdit, RouteEdit } from "../../core/route-change.ts";
import type { ChangeLogEntry, ChangeLogItem, CommittedChange, RouteState } from "../route-store.ts";
import { chunks, postRows } from "./insert-rows.ts";
import type { SqlSession } from "./sql-database.ts";

const MAX_HOSTS_PER_ITEM = 1_000;
const MAX_TEXT = 255;
/** Items with more characters together are rows of their own. */
const MAX_ITEMS_TEXT = 4_000;

interface HostEdit {
  readonly before: Host | undefined;
  readonly after: Host | undefined;
}

function hostEdits(edit: RouteEdit): HostEdit[] {
  // Most changes add or remove a host, of which the whole list need not be known.
  const before = edit.diff.changed.length === 0 ? [] : (edit.before?.hosts ?? []);
  const old = new Map(before.map((host) => [hostKey(host), host]));
  return [
    ...edit.diff.removed.map((before) => ({ before, after: undefined })),
    ...edit.diff.changed.map((after) => ({ before: old.get(hostKey(after)), after })),
    ...edit.diff.added.map((after) => ({ before: undefined, after })),
  ];
}

function logHosts(hosts: readonly (Host | undefined)[]): RouteState["hosts"] {
  const logged: RouteState["hosts"][number][] = [];
  for (const host of hosts) {
    if (host === undefined) continue;
    const { ip, port, weight, zone, state } = host;
    const text = formatIp(ip);
    logged.push(
      host.leased === true
        ? { ip: text, port, weight, zone, state, leased: true }
        : { ip: text, port, weight, zone, state },
    );
  }
  return logged;
}

function* routeItems(edit: RouteEdit): IterableIterator<ChangeLogItem> {
  const { modid, cmdid } = edit;
  const nameBefore = edit.before?.name ?? "";
  const renamed = nameBefore !== edit.name;
  const policyBefore = edit.before?.policy ?? NO_CHOICE;
  const rebalanced = !sameChoice(policyBefore, edit.policy);
  const marked = edit.before?.vanishedFrom !== edit.vanishedFrom;
  const state = (
    name: string,
    { name: policy, parameters: policyParameters }: PolicyChoice,
    vanishedFrom = 0,
  ): Omit<RouteState, "hosts"> => ({
    ...(renamed ? { name } : {}),
    ...(rebalanced ? { policy, policyParameters } : {}),
    ...(marked ? { vanishedFrom } : {}),
  });
  const { added, changed, removed } = edit.diff;
  if (!renamed && !rebalanced && !marked && added.length === 1 && changed.length + removed.length === 0) {
    // Nearly every registration, and nothing to look up for it.
    yield { kind: "route", modid, cmdid, before: { hosts: [] }, after: { hosts: logHosts(added) } };
    return;
  }
  const edits = hostEdits(edit);
  let first = true;
  for (const part of edits.length === 0 ? [edits] : chunks(edits, MAX_HOSTS_PER_ITEM)) {
    yield {
      kind: "route",
      modid,
      cmdid,
      before: {
        ...(first ? state(nameBefore, policyBefore, edit.before?.vanishedFrom) : {}),
        hosts: logHosts(part.map(({ before }) => before)),
      },
      after: {
        ...(first ? state(edit.name, edit.policy, edit.vanishedFrom) : {}),
        hosts: logHosts(part.map(({ after }) => after)),
      },
    };
    first = false;
  }
}

function nameItem({ scope, id, before, name }: NameEdit): ChangeLogItem {
  return { kind: "name", scope, id, before, after: name };
}

/** What a change is in the log. */
export function* logItems(change: Pick<CommittedChange, "routes" | "names">): IterableIterator<ChangeLogItem> {
  for (const edit of change.routes) yield* routeItems(edit);
  for (const edit of change.names) yield nameItem(edit);
}

/** Kept as an item, and taken from them again as the entry is read: the entry's own columns are of before there was one. */
interface OfItem {
  readonly kind: "of";
  readonly revision: number;
}

/** All of a change's items as JSON, each by itself. */
function* itemTexts(change: CommittedChange): IterableIterator<string> {
  if (change.of !== undefined) yield JSON.stringify({ kind: "of", revision: change.of } satisfies OfItem);
  for (const item of logItems(change)) yield JSON.stringify(item);
}

type ItemRow = [revision: number, position: number, detail: string];
/** `items`: "" where they are rows of their own, NULL where this was written before items could be here. */
type EntryRow = [
  ...[revision: number, atMs: number, who: string, action: string, requestId: string],
  items: string | null,
];

const ENTRY_COLUMNS = "revision, at_ms, who, action, request_id, items";

/** `who` and `requestId` are cut to 255 characters. */
function logRows(changes: readonly CommittedChange[]): { entries: (string | number)[][]; items: ItemRow[] } {
  const entries: (string | number)[][] = [];
  const items: ItemRow[] = [];
  for (const change of changes) {
    const { revision, atMs, who, action, requestId } = change;
    const texts = [...itemTexts(change)];
    const isShort = texts.reduce((sum, text) => sum + text.length, 0) <= MAX_ITEMS_TEXT;
    entries.push([
      ...[revision, Math.floor(atMs), who.slice(0, MAX_TEXT), action, requestId.slice(0, MAX_TEXT)],
      isShort ? `[${texts.join(",")}]` : "",
    ]);
    if (!isShort) for (const [position, text] of texts.entries()) items.push([revision, position, text]);
  }
  return { entries, items };
}

export async function appendToLog(session: SqlSession, changes: readonly CommittedChange[]): Promise<void> {
  const { entries, items } = logRows(changes);
  await postRows(session, `INSERT INTO lars_change (${ENTRY_COLUMNS})`, entries);
  await postRows(session, "INSERT INTO lars_change_item (revision, position, detail)", items);
}

/**
 * Whether `changes`, which followed revision `after`, are in the log word for word, and nothing between them. Then the
 * tables are as they would leave them, whoever wrote them.
 */
export async function isInLog(
  session: SqlSession,
  after: number,
  changes: readonly CommittedChange[],
): Promise<boolean> {
  const last = changes.at(-1);
  if (last === undefined) return false;
  const written = logRows(changes);
  const between = "WHERE revision > ? AND revision <= ? ORDER BY revision";
  const bounds = [after, last.revision];
  const entries = await session.rows<EntryRow>(`SELECT ${ENTRY_COLUMNS} FROM lars_change ${between}`, bounds);
  if (JSON.stringify(entries) !== JSON.stringify(written.entries)) return false;
  const items = await session.rows<ItemRow>(
    `SELECT revision, position, detail FROM lars_change_item ${between}, position`,
    bounds,
  );
  return JSON.stringify(items) === JSON.stringify(written.items);
}

/** Entries with a revision above `after`, in its order. */
export async function readLog(session: SqlSession, after: number, limit: number): Promise<readonly ChangeLogEntry[]> {
  const rows = await session.rows<EntryRow>(
    `SELECT ${ENTRY_COLUMNS} FROM lars_change WHERE revision > ? ORDER BY revision LIMIT ${Math.max(0, Math.floor(limit))}`,
    [after],
  );
  const details = new Map<number, (ChangeLogItem | OfItem)[]>();
  for (const [revision, , , , , items] of rows) {
    details.set(revision, items === null || items === "" ? [] : JSON.parse(items));
  }
  const apart = rows.filter(([, , , , , items]) => items === null || items === "");
  if (apart.length > 0) {
    for (const [revision, detail] of await session.rows<[number, string]>(
      "SELECT revision, detail FROM lars_change_item WHERE revision >= ? AND revision <= ? ORDER BY revision, position",
      [apart[0]![0], apart.at(-1)![0]],
    )) {
      details.get(revision)?.push(JSON.parse(detail));
    }
  }
  return rows.map(([revision, atMs, who, action, requestId]) => {
    const items: ChangeLogItem[] = [];
    let of: number | undefined;
    for (const item of details.get(revision) ?? []) {
      if (item.kind === "of") of = item.revision;
      else items.push(item);
    }
    return { revision, atMs, who, action, requestId, ...(of === undefined ? {} : { of }), items };
  });
}
