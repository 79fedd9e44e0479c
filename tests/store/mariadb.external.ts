// The stores' contract on a real MariaDB, and what only a server can do: fail, come back, be written by others while we
// write. Not part of plain `bun test`, which needs no server: `bun test ./tests/store/mariadb.external.ts`.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createConnection } from "mysql2/promise";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { Database, DatabaseOptions } from "../../src/store/database.ts";
import { parseDatabaseUrl } from "../../src/store/database-url.ts";
import { MysqlDatabase } from "../../src/store/mysql/mysql-database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { eventually } from "../support/eventually.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";
import { changeUndoContract } from "./change-undo.contract.ts";
import { forgottenRoutesContract } from "./forgotten-routes.contract.ts";
import { leaseStoreContract } from "./lease-store.contract.ts";
import { reportStoreContract } from "./report-store.contract.ts";
import { routePolicyContract } from "./route-policy.contract.ts";
import { routeStoreContract } from "./route-store.contract.ts";
import { adopt, commit, host, NOW_MS, oldInsert, oldVersion, readAll, type TestDatabase } from "./store-fixture.ts";
import { tokenStoreContract } from "./token-store.contract.ts";

const SECONDS = NOW_MS / 1000;
let mariadb: Mariadb;
let databases = 0;
beforeAll(async () => {
  mariadb = await sharedMariadb();
}, 120_000);
afterAll(() => mariadb?.remove(), 60_000);

async function make(): Promise<TestDatabase & { name: string; url: string }> {
  const name = `lars_${++databases}`;
  const url = await mariadb.createDatabase(name);
  return {
    name,
    url,
    open: (options) => openDatabase(url, options),
    sql: (...statements) => mariadb.sql(name, ...statements),
  };
}

routeStoreContract("MariaDB", make, 60_000);
routePolicyContract("MariaDB", make);
changeUndoContract("MariaDB", make);
forgottenRoutesContract("MariaDB", make);
leaseStoreContract("MariaDB", make, 60_000);
tokenStoreContract("MariaDB", make);
reportStoreContract("MariaDB", make, 60_000);

async function withStore<T>(url: string, options: DatabaseOptions, work: (store: Database) => Promise<T>): Promise<T> {
  const store = await openDatabase(url, options);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

function foreignConnection(database: string) {
  return createConnection({ host: "127.0.0.1", port: mariadb.port, user: "root", database });
}

describe("MariaDB", () => {
  test("an old tool that moves RouteVersion while we write waits, and its mark is seen afterwards", async () => {
    const { name, url } = await make();
    await withStore(url, {}, async (store) => {
      await store.migrate();
      const foreign = await foreignConnection(name);
      let moved: Promise<unknown> | undefined;
      await store.routes.write(async (tx) => {
        await foreign.query(oldInsert(5, 5, host(5)));
        moved = foreign.query(oldVersion(SECONDS - 10));
        await tx.append({
          revision: SECONDS,
          atMs: 1,
          who: "",
          action: "import",
          requestId: "",
          routes: [],
          names: [],
        });
      });
      await moved;
      expect(await store.routes.head()).toMatchObject({ revision: SECONDS, foreignMoved: true });
      expect(await adopt(store.routes)).toBe(1);
      expect((await store.routes.head()).foreignMoved).toBe(false);
      await foreign.end();
    });
  });

  for (const settles of [false, true]) {
    test(`a RouteChange row that an old tool adds while we write stays a mark${settles ? ", even if we settle" : ""}`, async () => {
      const { name, url } = await make();
      await withStore(url, {}, async (store) => {
        await store.migrate();
        const foreign = await foreignConnection(name);
        await store.routes.write(async (tx) => {
          await tx.findForeign();
          await foreign.query(oldInsert(5, 5, host(5)));
          await foreign.query("INSERT INTO RouteChange (modid, cmdid, version) VALUES (5, 5, 1)");
          const diff = { added: [host(1)], changed: [], removed: [] };
          await tx.append({
            revision: SECONDS,
            atMs: 1,
            who: "",
            action: "put-route",
            requestId: "",
            routes: [{ modid: 1, cmdid: 1, before: undefined, name: "", policy: NO_CHOICE, hosts: [host(1)], diff }],
            names: [],
          });
          if (settles) await tx.settleForeign();
        });
        expect((await store.routes.head()).foreignMoved).toBe(true);
        expect(await adopt(store.routes)).toBe(1);
        expect((await store.routes.head()).foreignMoved).toBe(false);
        await foreign.end();
      });
    });
  }

  test("a RouteVersion column as wide as 64 bits may hold anything", async () => {
    const { name, url } = await make();
    await withStore(url, {}, async (store) => {
      await store.migrate();
      await mariadb.sql(
        name,
        "ALTER TABLE RouteVersion MODIFY version BIGINT UNSIGNED NOT NULL",
        oldVersion(2n ** 64n - 1n),
      );
      expect(await adopt(store.routes)).toBe(0);
      expect(await store.routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
      await mariadb.sql(name, oldVersion(2n ** 64n - 2n));
      expect((await store.routes.head()).foreignMoved).toBe(true);
      const revision = await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      expect(revision).toBe(SECONDS);
      expect((await store.routes.head()).foreignMoved).toBe(true);
      expect(await mariadb.sql(name, "SELECT version FROM RouteVersion")).toEqual([[SECONDS]]);
    });
  });

  test("a deadlock repeats the whole of a write", async () => {
    const { name, url } = await make();
    await withStore(url, {}, async (store) => {
      await store.migrate();
      await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      const foreign = await foreignConnection(name);
      await foreign.query("START TRANSACTION");
      // Heavier than ours, so that the server chooses ours to fail.
      await foreign.query(oldInsert(7, 7, ...Array.from({ length: 200 }, (_, i) => host(i))));
      await foreign.query("UPDATE RouteData SET weight = 5 WHERE modid = 1");
      let attempts = 0;
      let theirs: Promise<unknown> | undefined;
      const revision = await store.routes.write(async (tx) => {
        attempts++;
        const changed = host(1, { weight: 9 });
        theirs ??= foreign
          .query("UPDATE RouteVersion SET version = 1 WHERE id = 1")
          .then(() => foreign.query("COMMIT"));
        await tx.append({
          revision: tx.revision + 1,
          atMs: 1,
          who: "",
          action: "set-host",
          requestId: "",
          routes: [
            {
              modid: 1,
              cmdid: 1,
              before: undefined,
              name: "",
              policy: NO_CHOICE,
              hosts: [changed],
              diff: { added: [], changed: [changed], removed: [] },
            },
          ],
          names: [],
        });
        return tx.revision;
      });
      await theirs;
      await foreign.end();
      expect(attempts).toBeGreaterThan(1);
      expect(revision).toBe(SECONDS + 1);
      expect((await readAll(store.routes)).hosts(1, 1)).toEqual([host(1, { weight: 9 })]);
      expect(await store.routes.changes(SECONDS, 10)).toHaveLength(1);
    });
  });

  test("a write that cannot get the lock in time is unavailable, and the next one works", async () => {
    const { name, url } = await make();
    await withStore(url, { queryTimeoutMs: 1_500 }, async (store) => {
      await store.migrate();
      const foreign = await foreignConnection(name);
      await foreign.query("START TRANSACTION");
      await foreign.query("SELECT * FROM lars_state FOR UPDATE");
      await expect(commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) })).rejects.toThrow(
        StoreUnavailable,
      );
      expect(await store.routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
      await foreign.query("ROLLBACK");
      await foreign.end();
      expect(await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) })).toBe(SECONDS);
    });
  }, 30_000);

  test("more callers than connections all get their turn", async () => {
    const { url } = await make();
    await withStore(url, { connections: 2 }, async (store) => {
      await store.migrate();
      const heads = await Promise.all(Array.from({ length: 200 }, () => store.routes.head()));
      expect(heads).toHaveLength(200);
    });
  });

  test("when the server is killed calls say unavailable; when it is back the same store works, and committed data is there", async () => {
    const { url } = await make();
    await withStore(url, { connections: 3 }, async (store) => {
      await store.migrate();
      await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
      const cut = store.routes
        .write(async (tx) => {
          await mariadb.kill();
          await tx.readSince(0);
        })
        .catch((error: unknown) => error);
      expect(await cut).toBeInstanceOf(StoreUnavailable);
      for (const call of [
        () => store.routes.head(),
        () => store.routes.readSince(0),
        () => store.ping(),
        () => store.tokens.list(),
        () => store.reports.status({ limit: 1 }),
        () => commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(2) }),
      ]) {
        await expect(call()).rejects.toThrow(StoreUnavailable);
      }
      await mariadb.start();
      expect(await store.routes.head()).toMatchObject({ revision: SECONDS, foreignMoved: false });
      await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(2) });
      expect((await readAll(store.routes)).hosts(1, 1)).toEqual([host(1), host(2)]);
    });
  }, 60_000);

  test("a connection that the server cuts while it is idle costs no call", async () => {
    const { name, url } = await make();
    await withStore(url, { connections: 4 }, async (store) => {
      await store.migrate();
      await Promise.all([1, 2, 3, 4].map(() => store.routes.head()));
      const ids = (
        await mariadb.sql(
          name,
          `SELECT id FROM information_schema.processlist WHERE db = '${name}' AND id <> CONNECTION_ID()`,
        )
      ).flat();
      expect(ids).toHaveLength(4);
      await mariadb.sql(name, ...ids.map((id) => `KILL ${id}`));
      for (let i = 0; i < 10; i++) await eventually(() => store.routes.head(), { timeoutMs: 1_000 });
      expect(await Promise.all([1, 2, 3, 4, 5, 6].map(() => store.routes.head()))).toHaveLength(6);
    });
  });

  test("opening needs no server, a server that never answers ends within the connect time-out, and no password is told", async () => {
    const silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    for (const port of [silent.port, 1]) {
      await withStore(`mysql://root:hunter2@127.0.0.1:${port}/d`, { connectTimeoutMs: 300 }, async (store) => {
        const started = performance.now();
        const error = await store.ping().catch((reason: unknown) => reason);
        expect(performance.now() - started).toBeLessThan(3_000);
        expect(error).toBeInstanceOf(StoreUnavailable);
        expect((error as Error).message).toContain(`127.0.0.1:${port}`);
        expect((error as Error).cause).toBeInstanceOf(Error);
        expect(Bun.inspect(error)).not.toContain("hunter2");
      });
    }
    silent.stop(true);
  });

  test("a wrong password or database is unavailable, and says why without the password", async () => {
    await mariadb.sql("mysql", "CREATE USER IF NOT EXISTS lars@'%' IDENTIFIED BY 'right'");
    for (const [url, reason] of [
      [`mysql://lars:hunter2@127.0.0.1:${mariadb.port}/mysql`, "Access denied"],
      [`mysql://root@127.0.0.1:${mariadb.port}/nowhere`, "Unknown database"],
    ] as const) {
      await withStore(url, {}, async (store) => {
        const error = (await store.ping().catch((e: unknown) => e)) as Error;
        expect(error).toBeInstanceOf(StoreUnavailable);
        expect(error.message).toContain(reason);
        expect(Bun.inspect(error)).not.toContain("hunter2");
      });
    }
  });

  test("of several hosts the first that can be reached is used", async () => {
    const { name } = await make();
    await withStore(
      `mysql://root@127.0.0.1:1,127.0.0.1:${mariadb.port}/${name}`,
      { connectTimeoutMs: 500 },
      async (store) => {
        await store.migrate();
        expect(await store.routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
      },
    );
  });

  test("it is told that a transaction has begun while it waits for its lock, and what it does comes after", async () => {
    const { name, url, sql } = await make();
    await sql("CREATE TABLE t (a INT PRIMARY KEY, b INT) ENGINE=InnoDB", "INSERT INTO t VALUES (1, 0)");
    const target = parseDatabaseUrl(url);
    if (target.dialect !== "mysql") throw new Error("expected a database on a server");
    const timeouts = { connectTimeoutMs: 5_000, queryTimeoutMs: 5_000, scanTimeoutMs: 5_000 };
    const database = new MysqlDatabase(target, { connections: 1, ...timeouts });
    const foreign = await foreignConnection(name);
    await foreign.query("START TRANSACTION");
    await foreign.query("UPDATE t SET b = 7");
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    const done = database.transaction(async (session) => {
      await session.lead("SELECT a INTO @a FROM t WHERE a = 1 FOR UPDATE", resolve);
      await session.post("UPDATE t SET b = b + 1");
    });
    await begun;
    await foreign.query("COMMIT");
    await done;
    expect(await sql("SELECT b FROM t")).toEqual([[8]]);
    await foreign.end();
    await database.close();
  });

  test("a transaction told in blocks, by a user who may do no more than read and write, is seen whole or not at all", async () => {
    const { name, url, sql } = await make();
    await sql(
      "CREATE TABLE t (a INT PRIMARY KEY, b LONGTEXT) ENGINE=InnoDB",
      "CREATE OR REPLACE USER low@'127.0.0.1'",
      `GRANT SELECT, INSERT ON ${name}.t TO low@'127.0.0.1'`,
    );
    const target = parseDatabaseUrl(url.replace("root@", "low@"));
    if (target.dialect !== "mysql") throw new Error("expected a database on a server");
    const timeouts = { connectTimeoutMs: 5_000, queryTimeoutMs: 5_000, scanTimeoutMs: 5_000 };
    const database = new MysqlDatabase(target, { connections: 1, ...timeouts });
    const large = "x".repeat(1_100_000);
    await database.transaction(async (session) => {
      // More than waits: it is sent before the rest.
      await session.post("INSERT INTO t VALUES (1, ?)", [large]);
      expect(await sql("SELECT COUNT(*) FROM t")).toEqual([[0]]);
      await session.post("INSERT INTO t VALUES (2, ?)", ["a;END;b'c\\"]);
    });
    expect(await sql("SELECT a, LENGTH(b), LEFT(b, 20) FROM t WHERE a = 2")).toEqual([[2, 10, "a;END;b'c\\"]]);
    const failed = database.transaction(async (session) => {
      for (const a of [3, 1, 4]) await session.post(`INSERT INTO t VALUES (${a}, '')`);
    });
    await expect(failed).rejects.toThrow("Duplicate entry");
    expect(await sql("SELECT a FROM t ORDER BY a")).toEqual([[1], [2]]);
    await database.close();
  });

  test("a statement that takes too long is given up, and its connection with it", async () => {
    const { name, url } = await make();
    await withStore(url, { connections: 1, queryTimeoutMs: 1_000 }, async (store) => {
      await store.migrate();
      const foreign = await foreignConnection(name);
      await foreign.query("LOCK TABLES lars_token WRITE");
      await expect(store.tokens.list()).rejects.toThrow(StoreUnavailable);
      expect(await store.routes.head()).toMatchObject({ revision: 0, foreignMoved: false });
      await foreign.query("UNLOCK TABLES");
      await foreign.end();
      expect(await store.tokens.list()).toEqual([]);
    });
  }, 20_000);
});
