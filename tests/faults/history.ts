// What must hold of concurrent writes, whatever fails meanwhile: a write that was acknowledged happened once and stays,
// in an order that nobody who watched the clock can object to; and whoever watched a module never saw it go back.
//
// Every write carries a number of its own that can be found again in the change log and in what watchers saw, so the
// checks compare sets and orders and need no model of routes. A write whose answer never came ("unknown": a time-out, a
// 503, a broken connection) may have happened or not, at most once; it binds those that came after it only through the
// log. Checking a history of n entries takes n log n.

export type Outcome =
  | { readonly kind: "acknowledged"; readonly revision: number }
  /** Answered with "no, and nothing happened". */
  | { readonly kind: "refused"; readonly why: string }
  | { readonly kind: "unknown"; readonly why: string };

export interface WriteRecord {
  /** Its own among all writes of the history. */
  readonly id: number;
  /** "modid.cmdid". */
  readonly module: string;
  /** On one clock that only goes forward, for all writers: before it was sent, after its outcome was known. */
  readonly startedMs: number;
  readonly endedMs: number;
  readonly outcome: Outcome;
}

export interface LoggedChange {
  readonly revision: number;
  /** Which writes it contains; "modid.cmdid" of each. */
  readonly writes: readonly { readonly id: number; readonly module: string }[];
}

/** A module's revision that somebody was served. */
export interface Sighting {
  readonly module: string;
  readonly revision: number;
}

export interface Watcher {
  readonly name: string;
  /** In the order in which it saw them. */
  readonly sightings: readonly Sighting[];
  /** It did not watch to the end: what it saw last may be anything. */
  readonly partial?: boolean;
}

export interface History {
  readonly writes: readonly WriteRecord[];
  /** As the change log tells it, whole. */
  readonly log: readonly LoggedChange[];
  readonly watchers: readonly Watcher[];
}

interface Place {
  readonly revision: number;
  readonly module: string;
}

/** What is wrong with it, one sentence each; none when all is well. */
export function violations(history: History): string[] {
  const places = new Map<number, Place[]>();
  for (const { revision, writes } of history.log) {
    for (const { id, module } of writes) {
      const known = places.get(id);
      if (known === undefined) places.set(id, [{ revision, module }]);
      else known.push({ revision, module });
    }
  }
  return [
    ...logOrder(history.log),
    ...outcomes(history.writes, places),
    ...strangers(history.writes, places),
    ...realTime(history.writes, places),
    ...history.watchers.flatMap((watcher) => [...watched(watcher, history.log)]),
  ];
}

/** Acknowledged writes that are not in the log, or not at the revision they were acknowledged with. */
export function lostWrites(history: Pick<History, "writes" | "log">): readonly WriteRecord[] {
  const at = new Map(history.log.flatMap(({ revision, writes }) => writes.map(({ id }) => [id, revision] as const)));
  return history.writes.filter(({ id, outcome }) => outcome.kind === "acknowledged" && at.get(id) !== outcome.revision);
}

function* logOrder(log: readonly LoggedChange[]): Iterable<string> {
  for (let i = 1; i < log.length; i++) {
    const [before, after] = [log[i - 1]!.revision, log[i]!.revision];
    if (after <= before) yield `the log has revision ${after} after ${before}; they must strictly increase`;
  }
}

function* outcomes(writes: readonly WriteRecord[], places: ReadonlyMap<number, readonly Place[]>): Iterable<string> {
  const owners = new Map<number, number>();
  for (const { id, module, outcome } of writes) {
    const found = places.get(id) ?? [];
    const where = found.map(({ revision }) => revision).join(", ");
    if (found.length > 1) yield `write ${id} (${outcome.kind}) is in the log ${found.length} times, at ${where}`;
    for (const place of found) {
      if (place.module !== module) yield `write ${id} of module ${module} is in the log under module ${place.module}`;
    }
    if (outcome.kind === "refused" && found.length > 0)
      yield `write ${id} was refused (${outcome.why}) and is in the log at ${where}`;
    if (outcome.kind !== "acknowledged") continue;
    const { revision } = outcome;
    const owner = owners.get(revision);
    if (owner !== undefined) yield `writes ${owner} and ${id} were both acknowledged with revision ${revision}`;
    owners.set(revision, id);
    if (found.length === 0) yield `write ${id} was acknowledged with revision ${revision} and is not in the log`;
    else if (!found.some((place) => place.revision === revision))
      yield `write ${id} was acknowledged with revision ${revision} and is in the log at ${where}`;
  }
}

function* strangers(writes: readonly WriteRecord[], places: ReadonlyMap<number, readonly Place[]>): Iterable<string> {
  const known = new Set(writes.map(({ id }) => id));
  for (const [id, found] of places) {
    if (!known.has(id)) yield `the log has write ${id} at ${found[0]!.revision}, which nobody made`;
  }
}

/** A write acknowledged before another began has the smaller revision, also when the other's answer was lost. */
function* realTime(writes: readonly WriteRecord[], places: ReadonlyMap<number, readonly Place[]>): Iterable<string> {
  const ended = writes
    .flatMap(({ id, endedMs, outcome }) =>
      outcome.kind === "acknowledged" ? [{ id, endedMs, revision: outcome.revision }] : [],
    )
    .sort((a, b) => a.endedMs - b.endedMs);
  const started = writes
    .flatMap(({ id, startedMs, outcome }) => {
      const revision = outcome.kind === "acknowledged" ? outcome.revision : places.get(id)?.[0]?.revision;
      return revision === undefined ? [] : [{ id, startedMs, revision }];
    })
    .sort((a, b) => a.startedMs - b.startedMs);
  let next = 0;
  let highest: { readonly id: number; readonly revision: number } | undefined;
  for (const { id, startedMs, revision } of started) {
    while (next < ended.length && ended[next]!.endedMs < startedMs) {
      const candidate = ended[next++]!;
      if (highest === undefined || candidate.revision > highest.revision) highest = candidate;
    }
    if (highest !== undefined && highest.revision >= revision)
      yield `write ${highest.id} was acknowledged with revision ${highest.revision} before write ${id} began, which got ${revision}`;
  }
}

function* watched({ name, sightings, partial = false }: Watcher, log: readonly LoggedChange[]): Iterable<string> {
  const revisions = new Map<string, Set<number>>();
  const last = new Map<string, number>();
  for (const { revision, writes } of log) {
    for (const { module } of writes) {
      const known = revisions.get(module);
      if (known === undefined) revisions.set(module, new Set([revision]));
      else known.add(revision);
      last.set(module, Math.max(last.get(module) ?? 0, revision));
    }
  }
  const seen = new Map<string, number>();
  for (const { module, revision } of sightings) {
    const before = seen.get(module);
    if (before !== undefined && revision < before)
      yield `${name} saw module ${module} go back from revision ${before} to ${revision}`;
    // What it saw first may be older than the log that was kept of this history.
    else if (before !== undefined && revision !== before && revisions.get(module)?.has(revision) !== true)
      yield `${name} saw module ${module} at revision ${revision}, which the log does not have`;
    seen.set(module, revision);
  }
  if (partial) return;
  for (const [module, revision] of last) {
    const end = seen.get(module);
    if (end !== revision)
      yield `${name} ended on ${end ?? "nothing"} for module ${module}; its last revision is ${revision}`;
  }
}
