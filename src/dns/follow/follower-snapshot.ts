// A follower's routes on disk, so that it serves its zone also when it is started while the link is cut.
//
// The file is lines of JSON: a head (format, revision, when), pages as leaders send them, and a last line with the number
// of records and the SHA-256 of all lines before. It is written beside its place, synced and renamed, so that a crash
// leaves the old one or the new one; one that does not match is put aside. A million hosts are written in slices, so that
// agents are pushed to in between: records do not change, and which ones are written is settled before the first slice.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { NameRecord, RouteRecord } from "../../core/route-change.ts";
import type { RouteDelta } from "../../store/route-store.ts";
import { pageJson, readPage } from "../replica-document.ts";

const FORMAT = "lars-follower-1";
/** Routes and hosts in a line. */
const LINE_RECORDS = 2000;

export type SnapshotLoad =
  | { readonly outcome: "loaded"; readonly delta: RouteDelta; readonly savedAtMs: number }
  | { readonly outcome: "missing" }
  | { readonly outcome: "bad"; readonly reason: string };

function* lines(delta: RouteDelta, savedAtMs: number): Generator<string> {
  const forgotten = delta.forgotten ? { forgotten: delta.forgotten } : {};
  yield JSON.stringify({ format: FORMAT, revision: delta.revision, savedAtMs, ...forgotten });
  const page = (routes: readonly RouteRecord[], names: readonly NameRecord[]): string =>
    JSON.stringify(pageJson({ revision: delta.revision, digest: 0, routes, names }));
  for (let i = 0; i < delta.names.length; i += LINE_RECORDS) yield page([], delta.names.slice(i, i + LINE_RECORDS));
  let routes: RouteRecord[] = [];
  let size = 0;
  for (const route of delta.routes) {
    routes.push(route);
    size += 1 + route.hosts.length;
    if (size < LINE_RECORDS) continue;
    yield page(routes, []);
    routes = [];
    size = 0;
  }
  if (routes.length > 0) yield page(routes, []);
}

class Damaged extends Error {}

function parsed(line: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line.toString());
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new Damaged("it has a line that is no JSON object");
}

/** Lines without their newline. Bytes, because a reader of text would also break lines at U+2028, which names may hold. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, end)]);
      rest = [];
      from = end + 1;
    }
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (rest.length > 0) throw new Damaged("it is cut off");
}

async function read(path: string): Promise<SnapshotLoad> {
  const hash = createHash("sha256");
  const routes: RouteRecord[] = [];
  const names: NameRecord[] = [];
  let head: Record<string, unknown> | undefined;
  let held: Buffer | undefined;
  const take = (line: Buffer): void => {
    hash.update(line).update("\n");
    if (head === undefined) {
      head = parsed(line);
      if (head.format !== FORMAT) throw new Damaged(`its format is "${String(head.format).slice(0, 40)}"`);
      return;
    }
    const answer = readPage(parsed(line));
    if (!answer.ok) throw new Damaged(answer.why);
    for (const route of answer.page.routes) routes.push(route);
    for (const name of answer.page.names) names.push(name);
  };
  // The last line is told by there being none after it.
  for await (const line of linesOf(path)) {
    if (held !== undefined) take(held);
    held = line;
  }
  if (head === undefined || held === undefined) throw new Damaged("it is cut off");
  const end = parsed(held);
  if (end.sha256 !== hash.digest("hex") || end.records !== routes.length + names.length)
    throw new Damaged("its checksum does not match: it is damaged");
  const { revision, savedAtMs, forgotten = 0 } = head;
  if (!Number.isSafeInteger(revision) || !Number.isSafeInteger(forgotten) || typeof savedAtMs !== "number")
    throw new Damaged("its head is incomplete");
  const delta = { revision: revision as number, routes, names };
  return {
    outcome: "loaded",
    delta: forgotten === 0 ? delta : { ...delta, forgotten: forgotten as number },
    savedAtMs,
  };
}

export class FollowerSnapshot {
  constructor(readonly path: string) {}

  /** @throws when the folder cannot be made or the file cannot be written; the last good file is then still there */
  async save(delta: RouteDelta, savedAtMs: number): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true });
    const beside = `${this.path}.${process.pid}.tmp`;
    const file = await open(beside, "w", 0o600);
    try {
      const hash = createHash("sha256");
      for (const line of lines(delta, savedAtMs)) {
        hash.update(`${line}\n`);
        await file.writeFile(`${line}\n`);
      }
      const records = delta.routes.length + delta.names.length;
      await file.writeFile(`${JSON.stringify({ records, sha256: hash.digest("hex") })}\n`);
      await file.sync();
    } catch (error) {
      // What a full disk left of it is room that the next attempt needs.
      await rm(beside, { force: true }).catch(() => {});
      throw error;
    } finally {
      await file.close();
    }
    await rename(beside, this.path);
    // The rename itself is durable once its folder is.
    const folder = await open(dirname(this.path), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  /** A damaged file is renamed to `<path>.bad`. */
  async load(): Promise<SnapshotLoad> {
    try {
      return await read(this.path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return { outcome: "missing" };
      if (error instanceof Damaged) await rename(this.path, `${this.path}.bad`).catch(() => {});
      return { outcome: "bad", reason: error instanceof Error ? error.message : String(error) };
    }
  }
}
