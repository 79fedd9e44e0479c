// What goes on without the rest: an agent without any dns serves from its snapshot as soon as it is started; without the
// database, dns answers reads and refuses writes in so many words.
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { ModuleKey } from "../../src/core/module-key.ts";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { SteadyCaller } from "../support/steady-caller.ts";
import { holdMs, keepRow } from "./fault-table.ts";

const OUTAGE_MS = holdMs(1000);
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
}, 60_000);

afterAll(async () => {
  await mariadb?.remove();
}, 60_000);

async function begin(options: { dns?: number; env?: Record<string, string> } = {}): Promise<void> {
  const databaseUrl = await mariadb.createDatabase(`lars_outage_${databases++}`);
  lars = await startLars({ databaseUrl, ...options });
  const routes = MODULES.map((module, i) => ({
    ...module,
    hosts: [1, 2, 3, 4].map((host) => ({ ip: `10.0.${i}.${host}`, port: 8000 })),
  }));
  const imported = await lars.admin("POST", "/v1/import", { routes });
  expect(imported.status).toBe(200);
  const { revision } = (await imported.json()) as { revision: number };
  for (const dns of lars.dns) {
    const listed = await lars.admin("GET", `/v1/routes?limit=1&minRevision=${revision}`, undefined, dns);
    expect(listed.status).toBe(200);
  }
  caller = await SteadyCaller.open({ port: lars.agent[0]!.ports.udp });
  for (const module of MODULES)
    await eventually(async () => expect(await caller.pick(module)).toMatchObject({ retcode: 0 }));
}

afterEach(async () => {
  caller?.close();
  await lars?.stop();
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
  // Each shard has a thread and a socket of its own; the agent is ready when the last one is.
  await agent.ready();
  const before = caller.failures;
  for (const module of MODULES) await caller.once(module);
  expect(caller.failures - before).toBe(0);
  keepRow("agent alone", {
    "with every dns down": "agent killed and started",
    modules: MODULES.length,
    "served after, ms": Math.round(servedMs),
    "picks failed then": caller.failures - before,
  });
}, 60_000);

test("MariaDB away: picks and reads go on, writes get 503 as problem+json", async () => {
  await begin({ dns: 2 });
  const stop = caller.steadily(MODULES, 1000);
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
  await stop();
  expect(caller.failures).toBe(0);
  await mariadb.start();
  keepRow("database away", {
    "MariaDB away, s": OUTAGE_MS / 1000,
    picks: caller.retcodes.get(0) ?? 0,
    "picks failed": caller.failures,
    reads,
    "writes refused (503)": refusals,
    "slowest refusal, ms": Math.round(slowestRefusalMs),
  });
}, 120_000);
