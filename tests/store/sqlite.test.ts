// The stores' contract on SQLite, and what is particular to it.
import { Database as SqliteFile } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { openDatabase } from "../../src/store/open.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { changeUndoContract } from "./change-undo.contract.ts";
import { forgottenRoutesContract } from "./forgotten-routes.contract.ts";
import { leaseStoreContract } from "./lease-store.contract.ts";
import { reportStoreContract } from "./report-store.contract.ts";
import { routePolicyContract } from "./route-policy.contract.ts";
import { routeStoreContract } from "./route-store.contract.ts";
import { commit, host, readAll, type TestDatabase } from "./store-fixture.ts";
import { tokenStoreContract } from "./token-store.contract.ts";

const folder = mkdtempSync(join(tmpdir(), "lars-sqlite-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

async function make(): Promise<TestDatabase & { path: string }> {
  const path = join(folder, `${++files}.db`);
  return {
    path,
    open: (options) => openDatabase(`sqlite:${path}`, options),
    async sql(...statements) {
      using file = new SqliteFile(path);
      file.run("PRAGMA busy_timeout = 5000");
      let rows: unknown[][] = [];
      for (const statement of statements) {
        if (/^SELECT/i.test(statement)) rows = file.prepare(statement).values() as unknown[][];
        else file.run(statement);
      }
      return rows;
    },
  };
}

routeStoreContract("SQLite", make);
routePolicyContract("SQLite", make);
changeUndoContract("SQLite", make);
forgottenRoutesContract("SQLite", make);
leaseStoreContract("SQLite", make);
tokenStoreContract("SQLite", make);
reportStoreContract("SQLite", make);

describe("SQLite", () => {
  test("four processes that open a new file at the same moment all have it, twelve times", async () => {
    const here = mkdtempSync(join(tmpdir(), "lars-sqlite-race-"));
    // Each waits for the same moments by the clock; to open takes some milliseconds.
    const code = `
      import { openSqlite } from ${JSON.stringify(join(import.meta.dir, "../../src/store/sqlite/open.ts"))};
      for (let n = 0; n < 12; n++) {
        while (Date.now() < ${Date.now() + 600} + n * 40);
        await (await openSqlite(${JSON.stringify(here)} + "/" + n + ".db")).close();
      }`;
    const children = Array.from({ length: 4 }, () =>
      Bun.spawn([process.execPath, "-e", code], { stdout: "ignore", stderr: "pipe" }),
    );
    const told = await Promise.all(children.map((child) => new Response(child.stderr).text()));
    expect(told).toEqual(["", "", "", ""]);
    rmSync(here, { recursive: true, force: true });
  }, 20_000);

  test("a reader sees the last commit while a write is under way, and waits for nobody", async () => {
    const database = await make();
    const store = await database.open();
    await store.migrate();
    await commit(store.routes, { action: "add-host", modid: 1, cmdid: 1, host: host(1) });
    const before = await store.routes.head();
    await store.routes.write(async (tx) => {
      await tx.append({
        revision: tx.revision + 1,
        atMs: 1,
        who: "",
        action: "import",
        requestId: "",
        routes: [
          {
            modid: 2,
            cmdid: 2,
            before: undefined,
            name: "",
            policy: NO_CHOICE,
            hosts: [host(2)],
            diff: { added: [host(2)], changed: [], removed: [] },
          },
        ],
        names: [],
      });
      expect(await store.routes.head()).toEqual(before);
      expect((await readAll(store.routes)).hosts(2, 2)).toBeUndefined();
    });
    expect((await readAll(store.routes)).hosts(2, 2)).toEqual([host(2)]);
    await store.close();
  });

  test("two stores in one process wait for each other's transactions without blocking the process", async () => {
    const database = await make();
    const [one, two] = [await database.open(), await database.open()];
    await one.migrate();
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const first = one.routes.write(async () => {
      started.resolve();
      await gate.promise;
      order.push("first");
    });
    await started.promise;
    const second = two.routes.write(async () => {
      order.push("second");
    });
    setTimeout(() => gate.resolve(), 20);
    await Promise.all([first, second]);
    expect(order).toEqual(["first", "second"]);
    await Promise.all([one.close(), two.close()]);
  });

  test("a path that is a folder is said to be unavailable, by name", async () => {
    await expect(openDatabase(`sqlite:${folder}`)).rejects.toThrow(StoreUnavailable);
    await expect(openDatabase(`sqlite:${folder}`)).rejects.toThrow(folder);
  });

  test("a closed store says so", async () => {
    const store = await (await make()).open();
    await store.migrate();
    await store.close();
    await expect(store.routes.head()).rejects.toThrow(StoreUnavailable);
    await expect(store.ping()).rejects.toThrow("the database was closed");
  });
});
