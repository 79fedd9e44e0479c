// The pool among nodes that come, go, refuse and hang. The nodes are fakes on loopback; a real cluster is in
// galera.external.ts.
import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { ConnectionPool, type PoolOptions } from "../../src/store/mysql/connection-pool.ts";
import { MysqlDatabase } from "../../src/store/mysql/mysql-database.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { eventually } from "../support/eventually.ts";
import { FakeNode } from "../support/fake-mysql-node.ts";

const nodes: FakeNode[] = [];
const pools: { close(): Promise<void> }[] = [];

afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
  await Promise.all(nodes.splice(0).map((node) => node.down()));
});

async function fakes(count: number): Promise<FakeNode[]> {
  for (let i = 0; i < count; i++) nodes.push(await FakeNode.start());
  return nodes;
}

const moves: string[] = [];

function target() {
  return {
    dialect: "mysql" as const,
    user: "u",
    password: "hunter2",
    database: "d",
    hosts: nodes.map(({ port }) => ({ host: "127.0.0.1", port })),
  };
}

function options(more: Partial<PoolOptions> = {}): PoolOptions & { scanTimeoutMs: number } {
  moves.length = 0;
  // What says that a node is bad is long: on a busy machine a good one may not answer for a while.
  const quick = { probeMs: 5, steadyMs: 60, suspectMs: 1_500, connectTimeoutMs: 2_000, queryTimeoutMs: 2_000 };
  const onMove: PoolOptions["onMove"] = ({ to }) => moves.push(to);
  return { connections: 4, scanTimeoutMs: 5_000, onMove, ...quick, ...more };
}

function pool(more?: Partial<PoolOptions>): ConnectionPool {
  const made = new ConnectionPool(target(), options(more));
  pools.push(made);
  return made;
}

function database(more?: Partial<PoolOptions>): MysqlDatabase {
  const made = new MysqlDatabase(target(), options(more));
  pools.push(made);
  return made;
}

const name = (node: FakeNode) => `127.0.0.1:${node.port}`;

/** Which node new work goes to. */
async function use(from: ConnectionPool): Promise<string | undefined> {
  const connection = await from.acquire();
  from.release(connection, false);
  return from.node;
}

const write = (to: MysqlDatabase) => to.transaction((session) => session.run("UPDATE x"));

test("all connections lead to the first node that serves; of 3 nodes the first is not ready and the second reads only", async () => {
  const [a, b, c] = await fakes(3);
  a!.facts.wsrep_ready = "OFF";
  b!.facts.read_only = "ON";
  const several = pool();
  const connections = await Promise.all([1, 2, 3, 4].map(() => several.acquire()));
  expect(several.node).toBe(name(c!));
  for (const connection of connections) several.release(connection, false);
  expect(c!.openConnections).toBe(4);
  expect(a!.openConnections + b!.openConnections).toBe(0);
});

test("a session on a Galera node waits for what was committed elsewhere; on a plain server nothing of the kind is set", async () => {
  const [galera] = await fakes(1);
  await use(pool());
  expect(galera!.settings.join()).toContain("wsrep_sync_wait = 1");
  galera!.settings.length = 0;
  galera!.facts = { read_only: "OFF" };
  await use(pool());
  expect(galera!.settings.join()).not.toContain("wsrep");
});

test("where only a node that reads is left, it is used; where none serves, the error says of each why, without the password", async () => {
  const [a, b] = await fakes(2);
  a!.facts.wsrep_cluster_status = "non-Primary";
  b!.facts.read_only = "ON";
  const several = pool();
  expect(await use(several)).toBe(name(b!));
  await b!.down();
  await eventually(() => expect(b!.openConnections).toBe(0));
  const error = await eventually(async () => {
    const outcome = await use(several).catch((reason: unknown) => reason);
    expect(outcome).toBeInstanceOf(StoreUnavailable);
    return outcome as Error;
  });
  expect(error.message).toContain(`${name(a!)}: its part of the cluster is non-Primary`);
  expect(error.message).toContain(`${name(b!)}: `);
  expect(Bun.inspect(error)).not.toContain("hunter2");
});

for (const { what, refuses } of [
  { what: "1047: not in its cluster", refuses: { code: 1047, message: "WSREP has not yet prepared node" } },
  { what: "1290: read-only", refuses: { code: 1290, message: "running with the --read-only option" } },
  { what: "1836: read-only", refuses: { code: 1836, message: "Running in read-only mode" } },
]) {
  test(`a statement refused with ${what} throws all connections to that node away, and is repeated at the next`, async () => {
    const [a, b] = await fakes(2);
    const both = database();
    await Promise.all([1, 2, 3, 4].map(() => write(both)));
    expect(a!.openConnections).toBe(4);
    a!.refuses = refuses;
    a!.facts.wsrep_ready = "OFF";
    await write(both);
    expect(both.node).toBe(name(b!));
    expect(b!.statements).toEqual(["START TRANSACTION", "UPDATE x", "COMMIT"]);
    expect(moves).toEqual([name(b!)]);
    await eventually(() => expect(a!.openConnections).toBe(0));
  });
}

test("a deadlock at COMMIT repeats the whole transaction, on the same node", async () => {
  const [a, b] = await fakes(2);
  const both = database();
  a!.refuses = { code: 1213, message: "Deadlock found", once: "COMMIT" };
  await write(both);
  const once = ["START TRANSACTION", "UPDATE x", "COMMIT"];
  expect(a!.statements).toEqual([...once, "ROLLBACK", ...once]);
  expect(b!.statements).toEqual([]);
});

test("a commit whose answer is lost is thrown without a way to find out, and settled by looking with one", async () => {
  const [a, b] = await fakes(2);
  const both = database();
  const cutAtCommit = async (session: { run(sql: string): Promise<number> }) => {
    await session.run("UPDATE x");
    a!.refuses = { code: 1053, message: "Server shutdown in progress" };
    return "first";
  };
  await expect(both.transaction(cutAtCommit)).rejects.toThrow(StoreUnavailable);
  expect(b!.statements).toEqual([]);
  for (const made of [true, false]) {
    a!.refuses = undefined;
    b!.statements.length = 0;
    const again = database();
    let runs = 0;
    const result = await again.transaction(
      async (session) => {
        if (++runs === 1) return cutAtCommit(session);
        return "second";
      },
      async (_session, earlier) => {
        expect(earlier).toBe("first");
        return made;
      },
    );
    expect([runs, result]).toEqual(made ? [1, "first"] : [2, "second"]);
  }
});

test("a node that hangs is noticed while a statement waits, its statements fail at once, and the next node makes them", async () => {
  const [a, b] = await fakes(2);
  const both = database({ queryTimeoutMs: 30_000, suspectMs: 300, connectTimeoutMs: 300 });
  await Promise.all([1, 2, 3, 4].map(() => write(both)));
  expect(moves).toEqual([]);
  a!.hangs = true;
  const startedMs = performance.now();
  await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => write(both)));
  expect(performance.now() - startedMs).toBeLessThan(15_000);
  expect(b!.statements.filter((sql) => sql === "COMMIT")).toHaveLength(8);
});

test("a donor is left when work stands still on it", async () => {
  const [a, b] = await fakes(2);
  const both = pool({ suspectMs: 100 });
  const stuck = await both.acquire();
  a!.facts.wsrep_local_state = "2";
  await eventually(() => expect(both.node).toBe(name(b!)));
  await expect(stuck.query("SELECT 1")).rejects.toThrow();
  both.release(stuck, true);
});

test("a preferred node is gone back to once it served for a while; what runs elsewhere is finished there", async () => {
  const [a, b] = await fakes(2);
  await a!.down();
  const both = pool({ suspectMs: 30_000 });
  expect(await use(both)).toBe(name(b!));
  const running = await both.acquire();
  await a!.up();
  const upMs = performance.now();
  await eventually(async () => expect(await use(both)).toBe(name(a!)), { intervalMs: 2 });
  expect(performance.now() - upMs).toBeGreaterThanOrEqual(60);
  await running.query("UPDATE still");
  expect(b!.statements).toEqual(["UPDATE still"]);
  both.release(running, false);
  await eventually(() => expect(b!.openConnections).toBe(0));
  expect(moves).toEqual([name(a!)]);
});

test("20 callers who find a dead node share one search for the next", async () => {
  const [a, b] = await fakes(2);
  const both = database({ connections: 20 });
  await write(both);
  await a!.down();
  await Promise.all(Array.from({ length: 20 }, () => write(both)));
  expect(moves).toEqual([name(b!)]);
  // One connection to look, at most twenty to work with.
  expect(b!.connections).toBeLessThanOrEqual(21);
});

describe("connections that are free", () => {
  let nowMs = 0;
  let now: { mockRestore(): void };
  beforeEach(() => {
    now = spyOn(performance, "now").mockImplementation(() => nowMs);
  });
  afterEach(() => now.mockRestore());

  const together = async (from: ConnectionPool): Promise<void> => {
    const connections = await Promise.all([from.acquire(), from.acquire()]);
    for (const connection of connections) from.release(connection, false);
  };

  test("2 that are needed at once every 5 s stay open while 1 at a time is used every 250 ms", async () => {
    const [node] = await fakes(1);
    const few = pool();
    for (let round = 0; round < 40; round++) {
      await (round % 20 === 0 ? together(few) : use(few));
      nowMs += 250;
    }
    await together(few);
    expect(node!.connections).toBe(2);
  });

  test("those that were silent for 2 s are not used again", async () => {
    const [node] = await fakes(1);
    const few = pool();
    await together(few);
    nowMs += 1999;
    await use(few);
    expect(node!.connections).toBe(2);
    nowMs += 2000;
    await together(few);
    expect(node!.connections).toBe(4);
  });
});

test("closing ends all waits, and what is acquired afterwards is refused", async () => {
  await fakes(1);
  const one = pool({ connections: 1 });
  const held = await one.acquire();
  const waiting = one.acquire().catch((error: unknown) => error);
  const closed = one.close();
  expect(await waiting).toBeInstanceOf(StoreUnavailable);
  one.release(held, false);
  await closed;
  await expect(one.acquire()).rejects.toThrow("the database was closed");
});
