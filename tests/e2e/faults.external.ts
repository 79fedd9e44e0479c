// Processes killed and a database stopped under load, on a real MariaDB: callers of the agent see no failed pick, no
// counted call is lost, and everything heals without help.
import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { ModuleKey } from "../../src/core/module-key.ts";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { type CallTally, SteadyCaller } from "../support/steady-caller.ts";

/** How long the database stays away in the outage test; LARS_OUTAGE_SECONDS=30 runs the long one. */
const OUTAGE_MS = Number(process.env.LARS_OUTAGE_SECONDS ?? 5) * 1000;
const PICKS_PER_SECOND = 2000;
const MODULES: readonly ModuleKey[] = Array.from({ length: 30 }, (_, i) => ({
  modid: 1 + (i % 10),
  cmdid: 1 + Math.floor(i / 10),
}));

let mariadb: Mariadb;
let lars: Lars;
let caller: SteadyCaller;
let databases = 0;

beforeAll(async () => {
  mariadb = await startMariadb();
});

async function begin(options: { dns?: number; env?: Record<string, string> } = {}): Promise<void> {
  const databaseUrl = await mariadb.createDatabase(`lars_faults_${databases++}`);
  lars = await startLars({ databaseUrl, ...options });
  const routes = MODULES.map((module, i) => ({
    ...module,
    hosts: [1, 2, 3, 4].map((host) => ({ ip: `10.0.${i}.${host}`, port: 8000 })),
  }));
  expect((await lars.admin("POST", "/v1/import", { routes })).status).toBe(200);
  caller = await SteadyCaller.open({ port: lars.agent[0]!.ports.udp });
  // Another dns than the one that was written to may answer the agent; it sees the import within its poll interval.
  for (const module of MODULES)
    await eventually(async () => expect(await caller.pick(module)).toMatchObject({ retcode: 0 }));
}

afterEach(async () => {
  caller.close();
  await lars.stop();
});

/** What the report service stored, as the caller counts. */
async function stored(): Promise<Map<string, CallTally>> {
  const tallies = new Map<string, CallTally>();
  let after = "";
  do {
    const page = (await (await fetch(`${lars.report[0]!.url}/v1/status?limit=1000${after}`)).json()) as {
      status: { modid: number; cmdid: number; ip: string; port: number; succ: number; err: number }[];
      next?: string;
    };
    for (const { modid, cmdid, ip, port, succ, err } of page.status)
      tallies.set(`${modid}.${cmdid} ${ip}:${port}`, { succ, err });
    after = page.next === undefined ? "" : `&after=${page.next}`;
  } while (after !== "");
  return tallies;
}

async function expectAllCounted(): Promise<void> {
  await eventually(async () => expect(Object.fromEntries(await stored())).toEqual(Object.fromEntries(caller.calls)), {
    timeoutMs: 20_000,
    intervalMs: 200,
  });
}

/** Until an agent hands out a host that was just added over HTTP: the whole path works again. Milliseconds it took. */
async function pathWorks(ip: string): Promise<number> {
  const startedAtMs = performance.now();
  const [module] = MODULES;
  await eventually(
    async () => {
      const added = await lars.admin("POST", `/v1/routes/${module!.modid}/${module!.cmdid}/hosts`, { ip, port: 8000 });
      expect([201, 409]).toContain(added.status);
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  );
  await eventually(
    async () => {
      const route = await (await fetch(`${lars.agent[0]!.url}/v1/routes/${module!.modid}/${module!.cmdid}`)).json();
      expect((route as { hosts: { ip: string }[] }).hosts.map((host) => host.ip)).toContain(ip);
    },
    { timeoutMs: 30_000, intervalMs: 20 },
  );
  return performance.now() - startedAtMs;
}

function note(what: string, figures: Record<string, unknown>): void {
  process.stdout.write(`  ${what}: ${JSON.stringify(figures)}\n`);
}

function answered(): number {
  return caller.retcodes.get(0) ?? 0;
}

test("kill -9 of dns under load: no pick fails, a restarted dns pushes again", async () => {
  await begin();
  const stop = caller.steadily(MODULES, PICKS_PER_SECOND);
  await eventually(() => expect(answered()).toBeGreaterThan(PICKS_PER_SECOND));
  await lars.dns[0]!.kill();
  const before = answered();
  await eventually(() => expect(answered()).toBeGreaterThan(before + 2 * PICKS_PER_SECOND));
  await lars.dns[0]!.start();
  const healedMs = await pathWorks("10.9.9.1");
  await stop();
  expect(caller.failures).toBe(0);
  note("dns killed", {
    picks: answered(),
    failed: caller.failures,
    slowestMs: Math.round(caller.slowestMs),
    healedMs: Math.round(healedMs),
  });
  await expectAllCounted();
});

test("kill -9 of report under load: no pick fails and no call is lost or doubled", async () => {
  await begin();
  const stop = caller.steadily(MODULES, PICKS_PER_SECOND);
  for (let round = 0; round < 3; round++) {
    const before = answered();
    await eventually(() => expect(answered()).toBeGreaterThan(before + PICKS_PER_SECOND));
    await lars.report[0]!.kill();
    const down = answered();
    await eventually(() => expect(answered()).toBeGreaterThan(down + PICKS_PER_SECOND));
    await lars.report[0]!.start();
  }
  await stop();
  expect(caller.failures).toBe(0);
  await expectAllCounted();
  note("report killed 3 times", { calls: answered(), failed: caller.failures, hosts: caller.calls.size });
});

test("with every dns down, an agent killed by -9 and started again serves every module from its snapshot at once", async () => {
  await begin({ env: { LARS_AGENT__ROUTES__SNAPSHOT_INTERVAL_MS: "100" } });
  const agent = lars.agent[0]!;
  await eventually(async () => {
    const metrics = await agent.metrics();
    expect(metrics.get('lars_agent_snapshot_events_total{event="saves"}') ?? 0).toBeGreaterThan(0);
    expect(metrics.get("lars_agent_known_routes")).toBe(MODULES.length);
    // The first snapshot may have been written before the last module was known.
    const snapshot = join(agent.env.LARS_DATA_DIR!, `agent-${agent.ports.udp}.routes`);
    expect(await Bun.file(snapshot).slice(0, 40).text()).toStartWith(`lars-routes-1 ${MODULES.length} `);
  });
  await lars.dns[0]!.kill();
  await agent.kill();
  const startedAtMs = performance.now();
  agent.launch();
  // A caller that just asks again and again, from before the socket is there.
  const impatient = await SteadyCaller.open({ port: agent.ports.udp, timeoutMs: 10 });
  const first = await eventually(
    async () => {
      const pick = await impatient.pick(MODULES[0]!);
      if (pick === "timeout") throw new Error("no answer yet");
      return pick;
    },
    { timeoutMs: 10_000, intervalMs: 1 },
  );
  const servedMs = performance.now() - startedAtMs;
  impatient.close();
  expect(first.retcode).toBe(0);
  const before = caller.failures;
  for (const module of MODULES) await caller.once(module);
  expect(caller.failures - before).toBe(0);
  await lars.dns[0]!.start();
  const healedMs = await pathWorks("10.9.9.2");
  note("agent killed with dns down", { servedMs: Math.round(servedMs), healedMs: Math.round(healedMs) });
}, 60_000);

test("MariaDB away: picks and reads go on, writes get 503 as problem+json, reports are kept, all heals by itself", async () => {
  await begin({ dns: 2 });
  const stop = caller.steadily(MODULES, PICKS_PER_SECOND);
  await eventually(() => expect(answered()).toBeGreaterThan(PICKS_PER_SECOND));
  await mariadb.stop();
  const downAtMs = performance.now();
  let reads = 0;
  let refusals = 0;
  let slowestRefusalMs = 0;
  while (performance.now() - downAtMs < OUTAGE_MS) {
    for (const dns of lars.dns) {
      const read = await fetch(`${dns.url}/v1/routes/1/1`);
      expect(read.status).toBe(200);
      reads++;
      const askedAtMs = performance.now();
      const write = await lars.admin("POST", "/v1/routes/1/1/hosts", { ip: "10.8.8.8", port: 1 }, dns);
      slowestRefusalMs = Math.max(slowestRefusalMs, performance.now() - askedAtMs);
      expect(write.status).toBe(503);
      expect(write.headers.get("content-type")).toBe("application/problem+json");
      expect(write.headers.get("retry-after")).not.toBeNull();
      expect(await write.json()).toMatchObject({
        status: 503,
        title: expect.any(String),
        detail: expect.stringContaining("database"),
      });
      refusals++;
    }
    expect((await fetch(`${lars.agent[0]!.url}/readyz`)).status).toBe(200);
  }
  await mariadb.start();
  const healedMs = await pathWorks("10.9.9.3");
  await stop();
  expect(caller.failures).toBe(0);
  await expectAllCounted();
  const read = await fetch(`${lars.dns[1]!.url}/v1/routes/1/1`);
  expect(await read.text()).toContain("10.9.9.3");
  note(`MariaDB away for ${OUTAGE_MS / 1000} s`, {
    picks: answered(),
    failed: caller.failures,
    reads,
    refusedWrites: refusals,
    slowestRefusalMs: Math.round(slowestRefusalMs),
    healedMs: Math.round(healedMs),
  });
}, 120_000);

test("kill -9 of MariaDB under load loses no counted call", async () => {
  await begin();
  const stop = caller.steadily(MODULES, PICKS_PER_SECOND);
  await eventually(() => expect(answered()).toBeGreaterThan(PICKS_PER_SECOND));
  await mariadb.kill();
  const before = answered();
  await eventually(() => expect(answered()).toBeGreaterThan(before + 2 * PICKS_PER_SECOND));
  await mariadb.start();
  await pathWorks("10.9.9.4");
  await stop();
  expect(caller.failures).toBe(0);
  await expectAllCounted();
}, 60_000);

test("an agent moves to the other dns when its own is killed, and misses no change", async () => {
  await begin({ dns: 2 });
  const [module] = MODULES;
  for (let round = 0; round < 4; round++) {
    const counts = await Promise.all(
      lars.dns.map(
        async (dns) => ((await (await fetch(`${dns.url}/v1/agents`)).json()) as { agents: unknown[] }).agents.length,
      ),
    );
    const used = counts.findIndex((count) => count > 0);
    expect(used).toBeGreaterThanOrEqual(0);
    await lars.dns[used]!.kill();
    const other = lars.dns[1 - used]!;
    const ip = `10.7.7.${round + 1}`;
    const startedAtMs = performance.now();
    const added = await lars.admin(
      "POST",
      `/v1/routes/${module!.modid}/${module!.cmdid}/hosts`,
      { ip, port: 8000 },
      other,
    );
    expect(added.status).toBe(201);
    await eventually(async () => {
      const route = await (await fetch(`${lars.agent[0]!.url}/v1/routes/${module!.modid}/${module!.cmdid}`)).json();
      expect((route as { hosts: { ip: string }[] }).hosts.map((host) => host.ip)).toContain(ip);
    });
    note("agent moved to the other dns, change seen", { ms: Math.round(performance.now() - startedAtMs) });
    await lars.dns[used]!.start();
  }
  for (const { modid, cmdid } of MODULES) await caller.once({ modid, cmdid });
  expect(caller.failures).toBe(0);
}, 60_000);
