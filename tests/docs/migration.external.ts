// docs/MIGRATION.md is done to the dump of an old database, there and back: what it says to compare agrees, and after the
// rollback's SQL the original's tables hold what they held.
import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { PROJECT_ROOT, startLars, sumMetric } from "../support/lars-processes.ts";
import { sharedMariadb } from "../support/mariadb.ts";

const DATABASE = "lars_migration_document";
// Without RouteVersion and RouteChange, which move with every revision of ours, for old readers.
const TABLES = ["RouteData", "ServerCallStatus", "ModIDConfig", "CmdIDConfig"];

const text = await Bun.file(join(PROJECT_ROOT, "docs/MIGRATION.md")).text();
const [compare, rollback] = [...text.matchAll(/^ *```sql\n([\s\S]*?)```$/gm)].map((match) => match[1]!.trim());

afterAll(async () => {
  await (await sharedMariadb()).remove();
}, 60_000);

test("its comparison agrees with what dns serves, and its rollback leaves the original's tables as they were", async () => {
  const mariadb = await sharedMariadb();
  const databaseUrl = await mariadb.createDatabase(DATABASE);
  await mariadb.load(join(PROJECT_ROOT, "tests/fixtures/old-lars-database.sql"), DATABASE);
  const rowsOf = async () =>
    Object.fromEntries(
      await Promise.all(TABLES.map(async (table) => [table, await mariadb.sql(DATABASE, `SELECT * FROM ${table}`)])),
    );
  const tableNames = async () => (await mariadb.sql(DATABASE, "SHOW TABLES")).map(([name]) => String(name)).sort();
  const indexes = async (table: string) =>
    (await mariadb.sql(DATABASE, `SHOW INDEX FROM ${table}`)).map((row) => String(row[2]));
  const before = await rowsOf();
  const namesBefore = await tableNames();

  const lars = await startLars({ databaseUrl, report: 0, agent: 0 });
  const dns = lars.dns[0]!;
  try {
    const [counts] = await mariadb.sql(DATABASE, compare!.replace(/;$/, ""));
    const metrics = await dns.metrics();
    expect([sumMetric(metrics, "lars_dns_routes"), sumMetric(metrics, "lars_dns_hosts")]).toEqual(counts!.map(Number));
    expect(metrics.get("lars_dns_bad_rows")).toBe(0);
    const { changes } = (await (await fetch(`${dns.url}/v1/changes`)).json()) as { changes: { who: string }[] };
    expect(changes.map(({ who }) => who)).toEqual(["sql"]);
  } finally {
    await lars.stop();
  }

  await mariadb.sql(
    DATABASE,
    ...rollback!
      .split(";")
      .map((sql) => sql.trim())
      .filter((sql) => sql !== ""),
  );
  expect(await rowsOf()).toEqual(before);
  expect(await tableNames()).toEqual(namesBefore);
  expect((await Promise.all(TABLES.map(indexes))).flat().filter((name) => name.startsWith("lars_"))).toEqual([]);
}, 120_000);
