// What goes in which packet, against a node that writes down what it is told.
import { afterEach, expect, test } from "bun:test";
import { MysqlDatabase } from "../../src/store/mysql/mysql-database.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { SqlLeaseStore } from "../../src/store/sql/lease-store.ts";
import type { SqlSession } from "../../src/store/sql/sql-database.ts";
import { FakeNode } from "../support/fake-mysql-node.ts";

const cleanUps: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const work of cleanUps.splice(0).reverse()) await work();
});

async function rig(queryTimeoutMs = 1_000): Promise<{ node: FakeNode; database: MysqlDatabase }> {
  const node = await FakeNode.start();
  cleanUps.push(() => node.down());
  node.facts = { wsrep_on: "OFF", read_only: "OFF" };
  const hosts = [{ host: "127.0.0.1", port: node.port }];
  const database = new MysqlDatabase(
    { dialect: "mysql", user: "u", password: "p", database: "d", hosts },
    { connections: 1, connectTimeoutMs: 1_000, queryTimeoutMs, scanTimeoutMs: 1_000 },
  );
  cleanUps.push(() => database.close());
  return { node, database };
}

const writes = async (session: SqlSession) => {
  await session.post("INSERT a");
  await session.post("INSERT b");
};

test("what is posted goes before what is waited for, and with the COMMIT at the latest", async () => {
  const { node, database } = await rig();
  await database.transaction(async (session) => {
    await writes(session);
    expect(node.statements).toEqual([]);
    await session.run("UPDATE c");
    expect(node.statements).toEqual(["START TRANSACTION", "INSERT a", "INSERT b", "UPDATE c"]);
    await session.post("INSERT d");
  });
  expect(node.statements.slice(4)).toEqual(["INSERT d", "COMMIT"]);
});

test("MariaDB is told what nobody awaits as one block, which it answers once", async () => {
  const { node, database } = await rig();
  node.facts = { ...node.facts, version: "10.11.19-MariaDB-log" };
  await database.transaction(async (session) => {
    await writes(session);
    await session.run("UPDATE c");
    expect(node.blocks).toBe(0);
    await session.post("INSERT d");
  });
  expect(node.blocks).toBe(1);
  await database.transaction(writes);
  expect(node.blocks).toBe(2);
  const first = ["START TRANSACTION", "INSERT a", "INSERT b", "UPDATE c", "INSERT d", "COMMIT"];
  expect(node.statements).toEqual([...first, "START TRANSACTION", "INSERT a", "INSERT b", "COMMIT"]);
});

test("what leads is not part of the block, which the server reads as a whole before it begins", async () => {
  const { node, database } = await rig();
  node.facts = { ...node.facts, version: "10.11.19-MariaDB-log" };
  for (const fails of [false, true]) {
    node.statements.length = 0;
    if (fails) node.refuses = { code: 1213, message: "Deadlock found", once: "SELECT lock" };
    await database.transaction(async (session) => {
      await session.lead("SELECT lock");
      await writes(session);
    });
    const once = ["START TRANSACTION", "SELECT lock", "INSERT a", "INSERT b", "COMMIT"];
    expect(node.statements).toEqual(fails ? ["START TRANSACTION", "SELECT lock", "ROLLBACK", ...once] : once);
  }
  expect(node.packets).toContain("START TRANSACTION;SELECT lock;BEGIN NOT ATOMIC INSERT a;INSERT b;COMMIT;END");
});

test("nothing comes after a statement of a block that fails, and its error is the transaction's", async () => {
  const { node, database } = await rig();
  node.facts = { ...node.facts, version: "10.11.19-MariaDB-log" };
  node.refuses = { code: 1062, message: "Duplicate entry", once: "INSERT a" };
  const failed: unknown = await database.transaction(writes).catch((error: unknown) => error);
  expect((failed as Error).message).toContain("Duplicate entry");
  expect(node.statements).toEqual(["START TRANSACTION", "INSERT a", "ROLLBACK"]);
});

test("outside of a transaction it goes when the work ends", async () => {
  const { node, database } = await rig();
  await database.read(writes);
  expect(node.statements).toEqual(["INSERT a", "INSERT b"]);
});

test("nothing comes after a posted statement that fails: no COMMIT, and its error is the transaction's", async () => {
  const { node, database } = await rig();
  node.refuses = { code: 1062, message: "Duplicate entry", once: "INSERT a" };
  const failed: unknown = await database.transaction(writes).catch((error: unknown) => error);
  expect((failed as Error).message).toContain("Duplicate entry");
  expect(node.statements).toEqual(["START TRANSACTION", "INSERT a", "ROLLBACK"]);
});

test("work that throws sends nothing of what it posted, then or later", async () => {
  const { node, database } = await rig();
  const failed = await database
    .transaction(async (session) => {
      await writes(session);
      throw new RangeError("a bug");
    })
    .catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(RangeError);
  await database.transaction((session) => session.run("UPDATE c"));
  expect(node.statements).toEqual(["ROLLBACK", "START TRANSACTION", "UPDATE c", "COMMIT"]);
});

test("a megabyte of posted text does not wait for more", async () => {
  const { node, database } = await rig();
  await database.transaction(async (session) => {
    await session.post(`INSERT ${"x".repeat(1_000_000)}`);
    expect(node.statements).toHaveLength(2);
  });
  expect(node.statements).toHaveLength(3);
});

test("a statement's own text has no semicolon, or it could be two; what is bound may have any", async () => {
  const { node, database } = await rig();
  const twice = (session: SqlSession) => session.run("UPDATE a; DROP TABLE b");
  await expect(database.transaction(twice)).rejects.toThrow("without a semicolon");
  expect(node.statements).toEqual(["ROLLBACK"]);
  // The fake splits at every semicolon; the quotes around them say that a server would not.
  await database.transaction((session) => session.post("UPDATE a SET b = ?", ["';DROP TABLE b;\\"]));
  expect(node.statements.slice(1).join(";")).toBe("START TRANSACTION;UPDATE a SET b = '\\';DROP TABLE b;\\\\';COMMIT");
});

test("a renewal and a move of the lease clock are one packet each: nothing is locked while the database waits for us", async () => {
  const { node, database } = await rig();
  const leases = new SqlLeaseStore(database);
  await leases.renew(["a", "b"], 1_000);
  await leases.advance(7, 250, "me");
  expect(node.statements).toEqual([
    expect.stringMatching(/^UPDATE lars_registration SET .* WHERE id IN \('a','b'\)$/),
    expect.stringMatching(/^UPDATE lars_lease_clock SET .* AND tick = 7$/),
  ]);
});

test("a statement by itself is repeated after a deadlock", async () => {
  const { node, database } = await rig();
  node.refuses = { code: 1213, message: "Deadlock found", once: "UPDATE c" };
  await database.statement("UPDATE c");
  expect(node.statements).toEqual(["UPDATE c", "ROLLBACK", "UPDATE c"]);
});

test("a statement by itself that takes too long is not repeated", async () => {
  const { node, database } = await rig(300);
  await database.statement("UPDATE c");
  node.hangs = true;
  await expect(database.statement("UPDATE d")).rejects.toThrow(StoreUnavailable);
  node.hangs = false;
  await database.statement("UPDATE e");
  expect(node.statements).toEqual(["UPDATE c", "UPDATE e"]);
});
