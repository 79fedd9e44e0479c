import { Database } from "bun:sqlite";
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SpooledRow } from "../../src/store/report-spool.ts";
import { SqliteReportSpool } from "../../src/store/sqlite/report-spool.ts";
import { temporaryFolder } from "../support/lars-processes.ts";

const opened: SqliteReportSpool[] = [];
afterEach(() => {
  for (const spool of opened.splice(0)) spool.close();
});

function path(): string {
  return join(temporaryFolder("spool"), "data", "report-spool.db");
}

function open(file: string, maxBytes = 1 << 20): SqliteReportSpool {
  const spool = new SqliteReportSpool(file, maxBytes);
  opened.push(spool);
  return spool;
}

function row(options: Partial<SpooledRow> = {}): SpooledRow {
  return {
    modid: -1,
    cmdid: 2,
    ip: 0xc0a8_0001 | 0,
    port: 80,
    caller: -7,
    succ: 0xffff_ffff,
    err: 1,
    overload: true,
    ts: 0xffff_0000,
    instance: "00000000000000aa",
    seq: Number.MAX_SAFE_INTEGER,
    ...options,
  };
}

/** `at` is where in the file. */
function damage(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes.fill(0x5a, at, at + 4096);
  writeFileSync(file, bytes);
}

describe("a spool", () => {
  test("gives back after a restart what was put, whatever its numbers; the folder is made", () => {
    const file = path();
    const first = open(file);
    expect(first.load()).toEqual([]);
    const rows = [row(), row({ instance: "", seq: 0 }), row({ instance: "", seq: 0, caller: 5 }), row({ modid: 3 })];
    first.put(rows);
    expect(first.rows).toBe(4);
    first.close();
    const again = open(file);
    const keyOf = ({ modid, instance, caller }: SpooledRow) => `${modid} ${instance} ${caller}`;
    const by = (a: SpooledRow, b: SpooledRow) => keyOf(a).localeCompare(keyOf(b));
    expect(again.load().sort(by)).toEqual([...rows].sort(by));
    again.clear();
    again.close();
    expect(open(file).load()).toEqual([]);
  });

  test("keeps the newest totals of a key, in whatever order they are put, and the last window", () => {
    const spool = open(path());
    spool.load();
    spool.put([row({ seq: 5, succ: 5 }), row({ instance: "", succ: 1, ts: 9 })]);
    spool.put([row({ seq: 4, succ: 4 }), row({ instance: "", succ: 2, ts: 8 })]);
    spool.put([row({ seq: 6, succ: 6 })]);
    expect(spool.load().map(({ instance, succ }) => [instance, succ])).toEqual([
      ["", 2],
      ["00000000000000aa", 6],
    ]);
  });

  test("serves one process; another is told whose fault it is, and has it when the first has ended", () => {
    const file = path();
    const [first, second] = [open(file), open(file)];
    first.load();
    first.put([row()]);
    expect(() => second.load()).toThrow("used by another process; give each report service a data.dir of its own");
    expect(second.damaged).toBe(0);
    first.close();
    expect(second.load()).toHaveLength(1);
  });

  test("takes no more than its size allows: all of a put or nothing, what was there stays, and there is room again after clear", () => {
    const file = path();
    const spool = open(file, 64 * 1024);
    spool.load();
    let put = 0;
    const batch = () => Array.from({ length: 50 }, () => row({ ip: put++ }));
    const fill = () => {
      for (;;) spool.put(batch());
    };
    expect(fill).toThrow("full");
    const held = spool.rows;
    expect(held).toBeGreaterThan(300);
    expect(held % 50).toBe(0);
    expect(spool.bytes).toBeLessThanOrEqual(64 * 1024);
    // The newest totals of a key that is there find room.
    spool.put([row({ ip: 0, seq: Number.MAX_SAFE_INTEGER, succ: 1 })]);
    expect(spool.load()).toHaveLength(held);
    spool.clear();
    spool.put(batch());
    expect([spool.rows, spool.damaged]).toEqual([50, 0]);
  });
});

describe("a file that is damaged", () => {
  const damages: [title: string, how: (file: string) => void][] = [
    ["at its beginning", (file) => damage(file, 0)],
    ["in its middle", (file) => damage(file, 8192)],
    ["and no database at all", (file) => writeFileSync(file, "x".repeat(10_000))],
    ["and cut off", (file) => truncateSync(file, 5000)],
    [
      "and a database of somebody else",
      (file) => {
        rmSync(file);
        const other = new Database(file);
        other.run("CREATE TABLE report (a TEXT)");
        other.close();
      },
    ],
  ];
  test.each(damages)("%s is put aside and another begun, at the second attempt", (_title, how) => {
    const file = path();
    const first = open(file);
    first.load();
    first.put(Array.from({ length: 200 }, (_, ip) => row({ ip })));
    first.close();
    how(file);
    const spool = open(file);
    expect(() => spool.load()).toThrow("was damaged");
    expect(spool.damaged).toBe(1);
    expect(existsSync(`${file}.damaged`)).toBe(true);
    expect(spool.load()).toEqual([]);
    spool.put([row()]);
    expect(spool.rows).toBe(1);
  });

  test("is kept once: the next one takes its place", () => {
    const file = path();
    mkdirSync(dirname(file), { recursive: true });
    for (const text of ["first", "second"]) {
      writeFileSync(file, text.repeat(1000));
      expect(() => open(file).load()).toThrow("was damaged");
    }
    expect(readFileSync(`${file}.damaged`, "utf8")).toStartWith("second");
    expect(readdirSync(dirname(file))).toEqual(["report-spool.db.damaged"]);
  });

  test("has rows that make no sense: they are left out", () => {
    const file = path();
    const first = open(file);
    first.load();
    first.put([row(), row({ ip: 2, port: 0 }), row({ ip: 3, instance: "xyz" }), row({ ip: 4, port: 70_000 })]);
    expect(first.load().map(({ ip }) => ip)).toEqual([0xc0a8_0001 | 0]);
  });
});

test("a folder that cannot be made, or a path that is a folder, is said with the file's name", () => {
  const file = path();
  mkdirSync(file, { recursive: true });
  expect(() => open(file).load()).toThrow(file);
  expect(() => open(join(import.meta.path, "spool.db")).load()).toThrow("spool.db");
});
