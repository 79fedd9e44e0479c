// Each kind of process killed (SIGKILL) and stopped (SIGSTOP, then SIGCONT) under load, with two instances of dns and
// report on one MariaDB.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type LarsProcess, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { type Fault, FaultScene, LEASES } from "./fault-scene.ts";
import { fullLengthOnly, holdMs, keepFaultRow } from "./fault-table.ts";

const KILLED_MS = holdMs(1000);
/** Longer than it takes to notice that a server is silent. */
const STOPPED_MS = holdMs(2500);

let mariadb: Mariadb;
let scene: FaultScene;

beforeAll(async () => {
  mariadb = await startMariadb();
  scene = new FaultScene(
    await startLars({ databaseUrl: await mariadb.createDatabase("lars_faults"), dns: 2, report: 2 }),
  );
  await scene.prepare();
}, 120_000);

afterAll(async () => {
  await scene?.stop();
  await mariadb?.remove();
}, 120_000);

function killed(name: string, of: () => Promise<LarsProcess> | LarsProcess): Fault {
  let victim: LarsProcess;
  return {
    name: `${name}: SIGKILL`,
    holdMs: KILLED_MS,
    async begin() {
      victim = await of();
      await victim.kill();
    },
    end: () => victim.launch(),
  };
}

function stopped(name: string, of: () => Promise<LarsProcess> | LarsProcess): Fault {
  let victim: LarsProcess;
  return {
    name: `${name}: SIGSTOP`,
    holdMs: STOPPED_MS,
    async begin() {
      victim = await of();
      victim.signal("SIGSTOP");
    },
    end: () => victim.signal("SIGCONT"),
  };
}

/** Runs it; no acknowledged write may be lost, and no pick may fail. */
async function harmless(fault: Fault, maxPauseS = Number.POSITIVE_INFINITY): Promise<void> {
  const row = await scene.run(fault);
  keepFaultRow("processes", row);
  expect(row.lost).toBe(0);
  expect(row.leasesKept).toBe(LEASES.count);
  expect(row.failed).toBe(0);
  expect(row.stored).toBe(row.reported);
  expect(row.pauseS).toBeLessThan(maxPauseS);
}

test("the dns instance an agent uses, killed: no pick fails, writes move on, the agent moves on", async () => {
  await harmless(
    killed("dns, the one the agent uses", () => scene.usedDns()),
    5,
  );
}, 120_000);

test("the dns instance an agent uses, stopped: no pick fails, and the agent leaves it", async () => {
  // It may have been stopped while it held the lock that all writers wait for: the database takes that back.
  await harmless(
    stopped("dns, the one the agent uses", () => scene.usedDns()),
    6,
  );
}, 120_000);

fullLengthOnly("every dns instance killed: no pick fails", async () => {
  await harmless({
    name: "dns, all: SIGKILL",
    holdMs: KILLED_MS,
    async begin() {
      await Promise.all(scene.lars.dns.map((dns) => dns.kill()));
    },
    end() {
      for (const dns of scene.lars.dns) dns.launch();
    },
  });
});

test("the report instance an agent uses, killed: no call is lost or doubled", async () => {
  await harmless(killed("report, the one the agent uses", () => scene.usedReport()));
}, 120_000);

fullLengthOnly("the report instance an agent uses, stopped: no call is lost or doubled", async () => {
  await harmless(stopped("report, the one the agent uses", () => scene.usedReport()));
});

test("MariaDB killed: no pick fails, no acknowledged write and no call is lost", async () => {
  await harmless({
    name: "MariaDB: SIGKILL",
    holdMs: KILLED_MS,
    begin: () => mariadb.kill(),
    end: () => mariadb.start(),
  });
}, 120_000);

test("MariaDB stopped: no pick fails, no acknowledged write and no call is lost", async () => {
  await harmless({
    name: "MariaDB: SIGSTOP",
    holdMs: STOPPED_MS,
    begin: () => mariadb.signal("SIGSTOP"),
    end: () => mariadb.signal("SIGCONT"),
  });
}, 120_000);

test("the agent killed: picks fail until it is started again, and then none does", async () => {
  const row = await scene.run({
    ...killed("agent", () => scene.lars.agent[0]!),
    agentAlone: true,
    restartsAgent: true,
  });
  keepFaultRow("processes", row);
  expect(row.lost).toBe(0);
  expect(row.leasesKept).toBe(LEASES.count);
  expect(row.failed).toBeGreaterThan(0);
  // Those since its last flush are lost with it.
  expect(row.stored).toBeLessThanOrEqual(row.reported);
}, 120_000);

fullLengthOnly("the agent stopped: picks fail until it goes on, no call it was told of is lost", async () => {
  const row = await scene.run({ ...stopped("agent", () => scene.lars.agent[0]!), agentAlone: true });
  keepFaultRow("processes", row);
  expect(row.lost).toBe(0);
  expect(row.leasesKept).toBe(LEASES.count);
  expect(row.failed).toBeGreaterThan(0);
  expect(row.stored).toBe(row.reported);
});
