// Call statistics on any SQL database. Everything is per batch: a batch of ten thousand rows is a few dozen statements,
// because a round trip a row is what kept the original's reporter from following its agents.
//
// Running totals are added up exactly: the cursor of (instance, module, host) says what was counted last, and the
// difference goes into ServerCallStatus, in one transaction. Two report services may get frames of one agent at once (it
// reconnected), so a batch locks the instances it contains, always in the order of their ids: no two batches can each
// wait for the other there, and rows of one agent are counted by one batch at a time.
//
// What a row costs is the server's: 6 us for its cursor and 6 us for its status on MariaDB 10.11, parsing included (2 us),
// against 0.6 us to read the cursor, so a cache of cursors here would save little. Tried and no cheaper: REPLACE, INSERT …
// SELECT and UPDATE … JOIN over JSON_TABLE. Rows in the order of the key are a third cheaper than as they come, and a
// second connection uses another processor.
import { advanceCursor, type CallCursor } from "../../core/call-totals.ts";
import type { ReportStore, RunningTotal, StatusFilter, StatusRow, WindowCount } from "../report-store.ts";
import { chunks, postRows } from "./insert-rows.ts";
import type { SqlDatabase, SqlDialect, SqlRow, SqlSession, SqlStatement, SqlValue } from "./sql-database.ts";

const MAX_TERMS = 300;
const LOCK_ATTEMPTS = 5;
const PRUNE_STEP = 100;
const STATUS_COLUMNS = "modid, cmdid, ip, port, caller, succ_cnt, err_cnt, ts, overload";
const STATUS_KEY = ["modid", "cmdid", "ip", "port", "caller"] as const;
const CURSOR_KEY = ["instance_id", "modid", "cmdid", "ip", "port"] as const;

type Counted = { readonly row: WindowCount; readonly succ: number; readonly err: number };

/** The order of primary keys: neighbours share a page, and two batches lock them in the same order. */
function byNumbers(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < CURSOR_KEY.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** In primary key order too. */
function statusValues(counted: readonly Counted[]): SqlValue[][] {
  return [...counted]
    .sort(
      ({ row: a }, { row: b }) =>
        a.modid - b.modid ||
        a.cmdid - b.cmdid ||
        (a.ip >>> 0) - (b.ip >>> 0) ||
        a.port - b.port ||
        (a.caller >>> 0) - (b.caller >>> 0),
    )
    .map(({ row, succ, err }) => [
      row.modid | 0,
      row.cmdid | 0,
      row.ip >>> 0,
      row.port,
      row.caller >>> 0,
      succ,
      err,
      row.ts,
      row.overload ? 1 : 0,
    ]);
}

export class SqlReportStore implements ReportStore {
  readonly #database: SqlDatabase;
  readonly #dialect: SqlDialect;
  readonly #now: () => number;

  /** `now`: the wall clock in milliseconds. */
  constructor(database: SqlDatabase, now: () => number) {
    this.#database = database;
    this.#dialect = database.dialect;
    this.#now = now;
  }

  async apply(totals: readonly RunningTotal[], windows: readonly WindowCount[]): Promise<void> {
    if (totals.length === 0 && windows.length === 0) return;
    await this.#database.transaction(async (session) => {
      if (totals.length > 0) {
        const counted = await this.#count(session, totals);
        await this.#writeStatus(session, counted, "add");
      }
      const newest = await this.#withoutOutdated(session, windows);
      await this.#writeStatus(
        session,
        newest.map((row) => ({ row, succ: row.succ >>> 0, err: row.err >>> 0 })),
        "set",
      );
    });
  }

  status(filter: StatusFilter): Promise<readonly StatusRow[]> {
    const conditions = ["1 = 1"];
    if (filter.modid !== undefined) conditions.push(`modid = ${filter.modid | 0}`);
    if (filter.cmdid !== undefined) conditions.push(`cmdid = ${filter.cmdid | 0}`);
    if (filter.after !== undefined) {
      const [modid, cmdid, ip, port, caller] = filter.after;
      const values = [modid | 0, cmdid | 0, ip >>> 0, port >>> 0, caller >>> 0];
      let beyond = "";
      for (let i = STATUS_KEY.length - 1; i >= 0; i--) {
        const greater = `${STATUS_KEY[i]} > ${values[i]}`;
        beyond = beyond === "" ? greater : `${greater} OR (${STATUS_KEY[i]} = ${values[i]} AND (${beyond}))`;
      }
      conditions.push(`modid >= ${modid | 0}`, `(${beyond})`);
    }
    const limit = Math.max(0, Math.floor(filter.limit));
    return this.#database.read(async (session) => {
      const rows = await session.rows<[number, number, number, number, number, number, number, number, unknown]>(
        `SELECT ${STATUS_COLUMNS} FROM ServerCallStatus WHERE ${conditions.join(" AND ")} ORDER BY ${STATUS_KEY.join(", ")} LIMIT ${limit}`,
      );
      return rows.map(([modid, cmdid, ip, port, caller, succ, err, ts, overload]) => ({
        modid: modid | 0,
        cmdid: cmdid | 0,
        ip: ip | 0,
        port,
        caller: caller | 0,
        succ: Number(succ),
        err: Number(err),
        overload: String(overload) === "1",
        ts: Number(ts),
      }));
    });
  }

  async pruneCursors(beforeMs: number, forgetBeforeMs: number): Promise<number> {
    const nowMs = Math.floor(this.#now());
    const pruned = await this.#pruneWhere(
      `last_seen_ms < ${Math.floor(beforeMs)} AND pruned_at_ms = 0`,
      (session, ids) => session.run(`UPDATE lars_agent_instance SET pruned_at_ms = ${nowMs} WHERE id IN (${ids})`),
    );
    await this.#pruneWhere(`last_seen_ms < ${Math.floor(forgetBeforeMs)}`, (session, ids) =>
      session.run(`DELETE FROM lars_agent_instance WHERE id IN (${ids})`),
    );
    return pruned;
  }

  /** Deletes the cursors of some instances, step by step, and does the rest in the same transactions. */
  async #pruneWhere(
    condition: string,
    rest: (session: SqlSession, ids: readonly number[]) => Promise<number>,
  ): Promise<number> {
    const select = `SELECT id FROM lars_agent_instance WHERE ${condition}`;
    for (let pruned = 0; ; ) {
      const step = await this.#database.transaction(async (session) => {
        const silent = await session.rows<[number]>(`${select} ORDER BY id LIMIT ${PRUNE_STEP}`);
        if (silent.length === 0) return 0;
        // Looked at again under the lock: one of them may have reported meanwhile.
        const locked = await session.rows<[number]>(
          `${select} AND id IN (${silent.map(([id]) => id)}) ORDER BY id${this.#dialect.forUpdate}`,
        );
        if (locked.length === 0) return 0;
        const ids = locked.map(([id]) => id);
        await session.run(`DELETE FROM lars_call_cursor WHERE instance_id IN (${ids})`);
        return rest(session, ids);
      });
      pruned += step;
      if (step === 0) return pruned;
    }
  }

  /** What the totals add to what was counted before; moves the cursors on. */
  async #count(session: SqlSession, totals: readonly RunningTotal[]): Promise<Counted[]> {
    const { instances, cursors } = await this.#lock(session, totals);
    const counted: Counted[] = [];
    const moved: number[][] = [];
    for (const row of totals) {
      const { id, pruned } = instances.get(row.instance)!;
      const cursor = cursors.get(cursorKey(id, row));
      // Of an instance whose cursors were forgotten nobody knows what was counted: counting begins with what it tells now.
      const delta = cursor === undefined && pruned ? { succ: 0, err: 0 } : advanceCursor(cursor, row);
      if (delta === undefined) continue;
      counted.push({ row, ...delta });
      moved.push([
        id,
        row.modid >>> 0,
        row.cmdid >>> 0,
        row.ip >>> 0,
        row.port,
        row.seq,
        row.succ >>> 0,
        row.err >>> 0,
      ]);
    }
    moved.sort(byNumbers);
    await postRows(
      session,
      "INSERT INTO lars_call_cursor (instance_id, modid, cmdid, ip, port, seq, succ, err)",
      moved,
      this.#dialect.onConflict(CURSOR_KEY, { seq: "set", succ: "set", err: "set" }),
    );
    return counted;
  }

  /** The instances, locked until the commit, and what was counted of them. */
  async #lock(session: SqlSession, totals: readonly RunningTotal[]): Promise<Locked> {
    const callerOf = new Map<string, number>();
    for (const { instance, caller } of totals) callerOf.set(instance, caller);
    const names = [...callerOf.keys()].sort();
    const now = Math.floor(this.#now());
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      const found = await readInstances(session, names);
      const unknown = names.filter((name) => !found.has(name));
      if (unknown.length > 0) {
        // Only those not seen: an INSERT that is ignored would still use up an id.
        await postRows(
          session,
          `${this.#dialect.insertIgnore} INTO lars_agent_instance (instance, caller, last_seen_ms)`,
          unknown.map((name) => [name, callerOf.get(name)! >>> 0, now]),
        );
        for (const [name, instance] of await readInstances(session, unknown)) found.set(name, instance);
      }
      if (found.size < names.length) continue;
      const ids = [...found.values()].map(({ id }) => id).sort((a, b) => a - b);
      for (const part of chunks(ids, MAX_TERMS)) {
        await session.post(`UPDATE lars_agent_instance SET last_seen_ms = ${now} WHERE id IN (${part})`);
      }
      // In one packet with the lock, and after it: from here on nobody else prunes or counts them.
      const asked = instanceQueries(names);
      const answers = await session.rowsOfAll([...asked, ...cursorQueries(totals, found)]);
      const instances = instancesIn(answers.slice(0, asked.length));
      // One fewer, or another: it was forgotten between our look and our lock. Its cursors are gone too, so it starts again.
      if (names.some((name) => instances.get(name)?.id !== found.get(name)?.id)) continue;
      const cursors = new Map<string, CallCursor>();
      for (const [id, modid, cmdid, ip, port, seq, succ, err] of answers.slice(asked.length).flat() as CursorRow[]) {
        cursors.set(cursorKey(id, { modid, cmdid, ip, port }), { seq: Number(seq), succ, err });
      }
      return { instances, cursors };
    }
    throw new Error("agent instances are being pruned faster than they report; the age to prune at is too small");
  }

  /** Leaves out late windows that were overtaken: the agent has told another report service more since. */
  async #withoutOutdated(session: SqlSession, windows: readonly WindowCount[]): Promise<readonly WindowCount[]> {
    const late = windows.filter((row) => row.late === true);
    const storedAt = new Map<string, number>();
    for (const part of chunks(late, MAX_TERMS)) {
      const terms = part.map(
        ({ modid, cmdid, ip, port, caller }) =>
          `(modid=${modid | 0} AND cmdid=${cmdid | 0} AND ip=${ip >>> 0} AND port=${port} AND caller=${caller >>> 0})`,
      );
      const rows = await session.rows<[number, number, number, number, number, number]>(
        `SELECT modid, cmdid, ip, port, caller, ts FROM ServerCallStatus WHERE ${terms.join(" OR ")}${this.#dialect.forUpdate}`,
      );
      for (const [modid, cmdid, ip, port, caller, ts] of rows) {
        storedAt.set(cursorKey(caller, { modid, cmdid, ip, port }), Number(ts));
      }
    }
    if (storedAt.size === 0) return windows;
    return windows.filter(
      (row) => row.late !== true || (storedAt.get(cursorKey(row.caller >>> 0, row)) ?? row.ts) <= row.ts,
    );
  }

  async #writeStatus(session: SqlSession, counted: readonly Counted[], counts: "set" | "add"): Promise<void> {
    await postRows(
      session,
      `INSERT INTO ServerCallStatus (${STATUS_COLUMNS})`,
      statusValues(counted),
      this.#dialect.onConflict(STATUS_KEY, { succ_cnt: counts, err_cnt: counts, ts: "set", overload: "set" }),
    );
  }
}

function cursorKey(
  id: number,
  { modid, cmdid, ip, port }: { modid: number; cmdid: number; ip: number; port: number },
): string {
  return `${id},${modid >>> 0},${cmdid >>> 0},${ip >>> 0},${port}`;
}

interface Instance {
  readonly id: number;
  /** Its cursors were forgotten at some time. */
  readonly pruned: boolean;
}

interface Locked {
  readonly instances: ReadonlyMap<string, Instance>;
  readonly cursors: ReadonlyMap<string, CallCursor>;
}

type CursorRow = [number, number, number, number, number, number, number, number];

function instanceQueries(names: readonly string[]): SqlStatement[] {
  return [...chunks(names, MAX_TERMS)].map((part) => ({
    sql: `SELECT id, instance, pruned_at_ms FROM lars_agent_instance WHERE instance IN (${part.map(() => "?").join(",")})`,
    params: part,
  }));
}

function instancesIn(answers: readonly (readonly SqlRow[])[]): Map<string, Instance> {
  const found = new Map<string, Instance>();
  for (const [id, name, prunedAtMs] of answers.flat() as [number, string, number][]) {
    found.set(name, { id, pruned: Number(prunedAtMs) > 0 });
  }
  return found;
}

async function readInstances(session: SqlSession, names: readonly string[]): Promise<Map<string, Instance>> {
  return instancesIn(await session.rowsOfAll(instanceQueries(names)));
}

/** Of the modules that the totals are of: all hosts there, which is more than is needed and less to say. */
function cursorQueries(totals: readonly RunningTotal[], instances: ReadonlyMap<string, Instance>): SqlStatement[] {
  const terms = new Set<string>();
  for (const { instance, modid, cmdid } of totals) {
    terms.add(`(instance_id=${instances.get(instance)!.id} AND modid=${modid >>> 0} AND cmdid=${cmdid >>> 0})`);
  }
  return [...chunks([...terms], MAX_TERMS)].map((part) => ({
    sql: `SELECT instance_id, modid, cmdid, ip, port, seq, succ, err FROM lars_call_cursor WHERE ${part.join(" OR ")}`,
  }));
}
