// Our SQL runs on MariaDB alone or as a Galera cluster, and is meant to run on MySQL 8.4, TiDB and Vitess. What keeps it
// portable is mostly what it does not say; docs/scaling.md gives the reasons. This reads all of its text.
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

function files(folder: string, ending: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(ending))
    .map((file) => `${folder}/${file}`)
    .sort();
}

/** Without comments: those may well say GET_LOCK. */
function codeOf(file: string): string {
  const text = readFileSync(join(ROOT, file), "utf8");
  return file.endsWith(".sql")
    ? text.replace(/^\s*--(?!> ).*$/gm, "")
    : text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

const MIGRATIONS = files("drizzle/mysql", ".sql");
const SOURCES = files("src/store", ".ts").filter((file) => !file.startsWith("src/store/sqlite/"));

const FORBIDDEN: readonly (readonly [RegExp, string])[] = [
  [/\b(GET|RELEASE)_LOCK\b/i, "named locks are one node's own"],
  [/\b(UN)?LOCK\s+TABLES\b/i, "table locks are one node's own"],
  [/FLUSH\s+TABLES/i, "stops a Galera node"],
  [/\bTRIGGER\b|\bPROCEDURE\b|\bCREATE\s+EVENT\b/i, "TiDB and Vitess have none"],
  [/FOREIGN\s+KEY|\bREFERENCES\b|ON\s+DELETE\s+CASCADE/i, "certification and sharding do not see them"],
  [/\bXA\s+(START|BEGIN|PREPARE|COMMIT|END)\b/i, "Galera and TiDB have no XA"],
  [/SERIALIZABLE/i, "not in a cluster with several writers"],
  [/LAST_INSERT_ID|\bRETURNING\b/i, "not the same everywhere"],
  [/SKIP\s+LOCKED|\bNOWAIT\b|FOR\s+SHARE|LOCK\s+IN\s+SHARE/i, "not the same everywhere"],
  [/\bSAVEPOINT\b/i, "not everywhere"],
  [/INSERT\s+DELAYED|LOW_PRIORITY|HIGH_PRIORITY/i, "MyISAM's"],
  [/SQL_CALC_FOUND_ROWS|FOUND_ROWS\s*\(/i, "gone from MySQL"],
  [/\bSEQUENCE\b|NEXTVAL/i, "MariaDB's"],
  [/\bTEMPORARY\s+TABLE\b/i, "one connection's, and there are many"],
  [/INTO\s+OUTFILE|LOAD\s+DATA/i, "a server's files"],
];

test(`${FORBIDDEN.length} things that a cluster or another engine does not have are in none of our SQL`, () => {
  expect(MIGRATIONS.length).toBeGreaterThanOrEqual(4);
  expect(SOURCES.length).toBeGreaterThanOrEqual(15);
  for (const file of [...MIGRATIONS, ...SOURCES]) {
    const code = codeOf(file);
    for (const [pattern, why] of FORBIDDEN)
      expect([file, why, pattern.exec(code)?.[0]]).toEqual([file, why, undefined]);
  }
});

test("the search finds what it is for", () => {
  for (const [pattern] of FORBIDDEN) {
    const examples = [
      "SELECT GET_LOCK('a', 1)",
      "LOCK TABLES a WRITE",
      "FLUSH TABLES",
      "CREATE TRIGGER a",
      "FOREIGN KEY (a) REFERENCES b(c)",
      "XA START 'a'",
      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      "SELECT LAST_INSERT_ID()",
      "FOR UPDATE SKIP LOCKED",
      "SAVEPOINT a",
      "INSERT DELAYED INTO a",
      "SELECT FOUND_ROWS()",
      "SELECT NEXTVAL(s)",
      "CREATE TEMPORARY TABLE a",
      "LOAD DATA INFILE 'a'",
    ];
    expect(examples.filter((example) => pattern.test(example))).toHaveLength(1);
  }
});

test("every table we create has a primary key, is InnoDB and says its character set", () => {
  let tables = 0;
  for (const file of MIGRATIONS) {
    for (const [statement] of codeOf(file).matchAll(/CREATE TABLE[^;]*;?/g)) {
      tables++;
      expect([file, statement]).toEqual([file, expect.stringContaining("PRIMARY KEY(")]);
      expect([file, statement]).toEqual([file, expect.stringContaining("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")]);
    }
  }
  expect(tables).toBeGreaterThanOrEqual(16);
  const [journal] = /CREATE TABLE[^"]*/.exec(codeOf("src/store/mysql/migrate.ts"))!;
  expect(journal).toMatch(/PRIMARY KEY.*ENGINE=InnoDB/);
});

// An AUTO_INCREMENT id says that two rows are two, and nothing about which came first: Galera gives each node numbers of
// its own (1, 4, 7 and 2, 5, 8), TiDB each node a range, and everywhere a later id may be committed earlier.
test("ids of AUTO_INCREMENT stand for an order in 19 places, where a wrong order is made good", () => {
  const ordered = /(?:MAX|MIN)\(\s*(?:\w+\.)?id\s*\)|ORDER BY (?:\w+\.)?id\b(?!,)|\b(?:\w+\.)?id\s*[<>]=?\s*(?:\?|\$)/g;
  const found = new Map<string, number>();
  for (const file of SOURCES) {
    const uses = [...codeOf(file).matchAll(ordered)].length;
    if (uses > 0) found.set(file, uses);
  }
  expect(Object.fromEntries(found)).toEqual({
    // RouteData in pages, by key: any order does. Of several rows for one endpoint the lowest id is the host, of several
    // for one name the highest: all instances read the same rows, whichever came first.
    "src/store/sql/foreign-scan.ts": 4,
    // lars_registration's id is the caller's own text.
    "src/store/sql/lease-store.ts": 2,
    // Locks are taken in the order of ids, so that no two wait for each other.
    "src/store/sql/report-store.ts": 2,
    // The newest RouteChange row, as a sign that somebody wrote. A row that comes with a lower id is no sign, and what
    // it stood for is found by the comparison of the whole table.
    // The rows that a packet added: where they are not the last, the packet fails and is repeated the long way.
    "src/store/sql/foreseen-transaction.ts": 3,
    "src/store/sql/route-store.ts": 2,
    "src/store/sql/route-transaction.ts": 6,
  });
  for (const table of [
    "RouteData",
    "RouteVersion",
    "RouteChange",
    "ModIDConfig",
    "CmdIDConfig",
    "lars_agent_instance",
  ]) {
    expect(MIGRATIONS.map(codeOf).join("\n")).toMatch(
      new RegExp(`CREATE TABLE (IF NOT EXISTS )?\`${table}\` \\(\\s*\`id\` [a-z ]+ AUTO_INCREMENT`),
    );
  }
  expect([
    ...MIGRATIONS.map(codeOf)
      .join("\n")
      .matchAll(/AUTO_INCREMENT/g),
  ]).toHaveLength(6);
});
