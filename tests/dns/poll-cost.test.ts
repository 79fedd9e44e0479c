// What a poll asks of the database while nothing happens. Every instance polls several times a second for ever, so a
// statement more, or one that grows with the table, would be paid by all of them all the time.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeHost } from "../../src/core/assignment.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { SqlRouteStore } from "../../src/store/sql/route-store.ts";
import type { SqlDatabase, SqlSession } from "../../src/store/sql/sql-database.ts";
import { openSqlite } from "../../src/store/sqlite/open.ts";
import { SqliteDatabase } from "../../src/store/sqlite/sqlite-database.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

const folder = mkdtempSync(join(tmpdir(), "lars-poll-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Notes what is called of the port, and what is asked in single statements. */
function watched(database: SqlDatabase): { readonly database: SqlDatabase; readonly said: string[] } {
  const said: string[] = [];
  const noting = <T extends object>(object: T, what: (name: string, values: unknown[]) => unknown[] | undefined): T =>
    new Proxy(object, {
      get(target, name) {
        const member = Reflect.get(target, name) as unknown;
        if (typeof member !== "function") return member;
        return (...values: unknown[]) =>
          (member as (...values: unknown[]) => unknown).apply(target, what(String(name), values) ?? values);
      },
    });
  const session = (inner: SqlSession) =>
    noting(inner, (_, [sql]) => {
      said.push(String(sql));
      return undefined;
    });
  return {
    said,
    database: noting(database, (name, [work, ...others]) => {
      said.push(name);
      return typeof work === "function" ? [(inner: SqlSession) => work(session(inner)), ...others] : undefined;
    }),
  };
}

test("a poll that finds nothing new is one read of one statement, which looks at rows by their key only", async () => {
  const path = join(folder, "lars.db");
  const prepared = await openSqlite(path);
  await prepared.migrate();
  await prepared.close();
  const file = new SqliteDatabase(path);
  const { database, said } = watched(file);
  const clock = new ManualClock();
  const routes = new RouteService({
    store: new SqlRouteStore(database),
    replica: new RouteReplica(),
    clock,
    log: new RecordingLog(),
    fullReloadIntervalMs: () => 3_600_000,
  });
  await routes.poll();
  const hosts = [makeHost(0x0a00_0001, 80)];
  const put = await routes.commit({ action: "put-route", modid: 1, cmdid: 1, hosts }, { who: "test", requestId: "" });
  expect(put).toMatchObject({ ok: true, changed: true });
  await routes.poll();

  said.length = 0;
  clock.advance(200);
  await routes.poll();
  expect(said).toEqual(["read", expect.stringMatching(/^SELECT /)]);

  const plan = await file.read((session) =>
    session.rows<[number, number, number, string]>(`EXPLAIN QUERY PLAN ${said[1]}`),
  );
  // The largest id of a table is found at its end.
  expect(plan.map(([, , , step]) => step).filter((step) => /^SCAN/.test(step))).toEqual([]);
  await file.close();
});
