// Whether two tables say the same, told by sums instead of rows. Old tools' writes leave no sign, so RouteData is looked
// through again and again, and nearly always nothing is found. To join a million rows with ours takes seconds; to add them
// up takes a tenth. Rows are added up by block (modules with neighbouring numbers), on either side; where the sums
// differ, and only there, the rows are looked at.
//
// Our side is written by nobody but us and only with a revision, so its sums are remembered, and only those of blocks in
// which a route has a later revision are made anew. Now and then all of them are: a database restored from a backup could
// have other rows under the same revisions.
//
// A row's mark is 32 bits of its columns, multiplied by odd numbers drawn for this process: what two writes made look the
// same to one process by chance (one in four thousand million) does not to the next.
import { type ModuleKey, ModuleMap } from "../../core/module-key.ts";
import type { NameScope } from "../../core/route-change.ts";
import { chunks } from "./insert-rows.ts";
import { moduleCondition } from "./module-condition.ts";
import type { SqlSession } from "./sql-database.ts";

/** 64 modids by 1,024 cmdids: a block is a range of the key of both tables. */
const MODID_BITS = 6;
const CMDID_BITS = 10;
/** More blocks than this are not named in one statement. */
const MAX_BLOCKS = 64;
/** When more blocks of ours than this have changed, all are added up: that is a third of a million hosts. */
const MAX_RENEWED = 512;
/** Our sums are made anew after so many looks. */
const MAX_REMEMBERED_LOOKS = 60;

type Block = readonly [modid: number, cmdid: number];
export type Blocks = "all" | readonly Block[];

/** Where the original's tables may differ from ours. */
export interface DifferingParts {
  readonly blocks: Blocks;
  readonly names: readonly NameScope[];
}

export const EVERYTHING: DifferingParts = { blocks: "all", names: ["modid", "cmdid"] };
export const NAME_TABLES: Readonly<Record<NameScope, string>> = { modid: "ModIDConfig", cmdid: "CmdIDConfig" };

/** At most 64, at least one. `prefix`: "h." for a table alias. */
export function blockCondition(blocks: readonly Block[], prefix = ""): string {
  const range = (column: string, block: number, bits: number) =>
    `${prefix}${column} BETWEEN ${block * 2 ** bits} AND ${(block + 1) * 2 ** bits - 1}`;
  return `(${blocks.map(([m, c]) => `(${range("modid", m, MODID_BITS)} AND ${range("cmdid", c, CMDID_BITS)})`).join(" OR ")})`;
}

const FACTORS = Array.from({ length: 5 }, () => 2 * Math.floor(Math.random() * 0x3fff_ffff) + 1);

/** How many rows, and the sum of their marks. */
function sumOf(table: SummedTable): string {
  const [ip, port] = table === "RouteData" ? ["serverip", "serverport"] : ["ip", "port"];
  const mixed = ["modid", "cmdid", ip, port, "weight"].map((column, i) => `(${column} * ${FACTORS[i]})`);
  return `COUNT(*), CAST(SUM(CRC32(CONCAT(${mixed.join(" ^ ")}, state, zone))) AS CHAR)`;
}

type SummedTable = "RouteData" | "lars_host";
type SumRow = [modid: number, cmdid: number, rows: number, sum: unknown];

const BLOCK = `modid >> ${MODID_BITS}, cmdid >> ${CMDID_BITS}`;
const keyOf = (modid: number, cmdid: number): string => `${modid} ${cmdid}`;

/** Our side's sums, and the snapshot they were made from. */
interface Remembered {
  readonly revision: number;
  readonly looks: number;
  readonly sums: ReadonlyMap<string, string>;
}

/** Of a snapshot: the last revision committed in it, and up to which one removed modules may be forgotten. */
export interface SumsMoment {
  readonly revision: number;
  readonly forgotten: number;
}

async function changedSince(session: SqlSession, remembered: Remembered, now: SumsMoment): Promise<Blocks> {
  if (now.revision < remembered.revision || remembered.looks >= MAX_REMEMBERED_LOOKS) return "all";
  // A module that was removed since may have left no row to say so.
  if (now.forgotten > remembered.revision) return "all";
  const blocks = await session.rows<[number, number]>(
    `SELECT DISTINCT ${BLOCK} FROM lars_route WHERE revision > ?`,
    [remembered.revision],
    true,
  );
  return blocks.length > MAX_RENEWED ? "all" : blocks;
}

/** The sums of all blocks in one. Beyond 2^53 at two million rows. */
function totalOf(sums: Iterable<string>): string {
  let rows = 0;
  let total = 0n;
  for (const text of sums) {
    const [count, sum] = text.split(" ");
    rows += Number(count);
    total += BigInt(sum!);
  }
  return `${rows} ${total}`;
}

/** Those of `modules` (at most 300, at least one) whose rows may differ. Their rows stay where they are. */
export async function differingModules(session: SqlSession, modules: readonly ModuleKey[]): Promise<ModuleKey[]> {
  const where = `WHERE ${moduleCondition(modules)} GROUP BY modid, cmdid`;
  const sums = await session.rowsOfAll(
    (["RouteData", "lars_host"] as const).map((table) => ({
      sql: `SELECT modid, cmdid, ${sumOf(table)} FROM ${table} ${where}`,
    })),
  );
  const [theirs, ours] = sums.map((rows) => {
    const byModule = new ModuleMap<string>();
    for (const [modid, cmdid, count, sum] of rows as SumRow[]) byModule.set(modid | 0, cmdid | 0, `${count} ${sum}`);
    return byModule;
  });
  return modules.filter(({ modid, cmdid }) => theirs!.get(modid, cmdid) !== ours!.get(modid, cmdid));
}

/** One for each store: it remembers. Needs `^` on whole numbers and CRC32, which MySQL-protocol servers have. */
export class TableSums {
  #remembered: Remembered | undefined;
  /** The last look found blocks that differ. */
  #differed = false;

  /** The session must be a snapshot, `now` of it. `likely`: something will differ. */
  async differing(session: SqlSession, now: SumsMoment, likely: boolean): Promise<DifferingParts> {
    const blocks = await this.#differingBlocks(session, await this.#refreshed(session, now), likely);
    const names: NameScope[] = [];
    for (const scope of ["modid", "cmdid"] as const) if (await this.#namesDiffer(session, scope)) names.push(scope);
    return { blocks: blocks.length > MAX_BLOCKS ? "all" : blocks, names };
  }

  async #differingBlocks(
    session: SqlSession,
    sums: ReadonlyMap<string, string>,
    likely: boolean,
  ): Promise<readonly Block[]> {
    // One sum costs half of what one for each block does, and nearly always is enough. Not so where old rows differ for
    // good (duplicates, rows that mean no host).
    if (!likely && !this.#differed && (await this.#total(session)) === totalOf(sums.values())) return [];
    const ours = new Map(sums);
    const blocks: Block[] = [];
    for (const [modid, cmdid, rows, sum] of await this.#sums(session, "RouteData", "")) {
      const key = keyOf(modid, cmdid);
      if (ours.get(key) !== `${rows} ${sum}`) blocks.push([modid, cmdid]);
      ours.delete(key);
    }
    for (const key of ours.keys()) blocks.push(key.split(" ").map(Number) as unknown as Block);
    this.#differed = blocks.length > 0;
    return blocks;
  }

  async #total(session: SqlSession): Promise<string> {
    const rows = await session.rows<[number, unknown]>(`SELECT ${sumOf("RouteData")} FROM RouteData`, [], true);
    const [count, sum] = rows[0]!;
    return `${count} ${sum ?? 0}`;
  }

  /** Our side's, as they are in this snapshot. */
  async #refreshed(session: SqlSession, now: SumsMoment): Promise<ReadonlyMap<string, string>> {
    const { revision } = now;
    const remembered = this.#remembered;
    const changed = remembered === undefined ? "all" : await changedSince(session, remembered, now);
    const sums = changed === "all" ? new Map<string, string>() : new Map(remembered!.sums);
    if (changed !== "all") for (const [modid, cmdid] of changed) sums.delete(keyOf(modid, cmdid));
    const parts =
      changed === "all" ? [""] : [...chunks(changed, MAX_BLOCKS)].map((part) => ` WHERE ${blockCondition(part)}`);
    for (const where of parts) {
      for (const [modid, cmdid, rows, sum] of await this.#sums(session, "lars_host", where)) {
        sums.set(keyOf(modid, cmdid), `${rows} ${sum}`);
      }
    }
    // Put there whole, at the end: two looks may be under way at once.
    this.#remembered = { revision, looks: changed === "all" ? 0 : remembered!.looks + 1, sums };
    return sums;
  }

  #sums(session: SqlSession, table: SummedTable, where: string): Promise<SumRow[]> {
    return session.rows<SumRow>(`SELECT ${BLOCK}, ${sumOf(table)} FROM ${table}${where} GROUP BY 1, 2`, [], true);
  }

  async #namesDiffer(session: SqlSession, scope: NameScope): Promise<boolean> {
    const sum = (id: string, name: string) =>
      `SELECT COUNT(*), CAST(SUM(CRC32(CONCAT(${id} * ${FACTORS[0]}, ' ', CONVERT(RTRIM(${name}) USING utf8mb4)))) AS CHAR)`;
    const theirs = await session.rows(
      `${sum(scope, "content")} FROM ${NAME_TABLES[scope]} WHERE content <> ''`,
      [],
      true,
    );
    const ours = await session.rows(
      `${sum("id", "name")} FROM lars_name WHERE scope = ? AND RTRIM(name) <> ''`,
      [scope],
      true,
    );
    return String(theirs[0]) !== String(ours[0]);
  }
}
