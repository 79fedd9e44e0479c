// An agent between two dns instances: it moves while routes change, leaves one that hangs, follows its list of addresses,
// and is not misled by one that is on the wrong database.
import { afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { type Lars, LarsProcess, makeLars, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";

setDefaultTimeout(60_000);

const MODULES = [1, 2, 3];
const HOSTS = [{ ip: "10.0.0.1", port: 8000 }];

let mariadb: Mariadb;
let databases = 0;
let lars: Lars | undefined;

beforeAll(async () => {
  mariadb = await startMariadb({ inMemory: true });
});

afterEach(async () => {
  await lars?.stop();
  lars = undefined;
});

async function put(system: Lars, dns: LarsProcess, modid: number, port: number): Promise<number> {
  const hosts = [...HOSTS, { ip: "10.0.0.2", port }];
  const response = await system.admin("PUT", `/v1/routes/${modid}/1`, { hosts }, dns);
  expect(response.status).toBe(200);
  return ((await response.json()) as { revision: number }).revision;
}

async function agentRoute(agent: LarsProcess, modid: number): Promise<{ revision: number; text: string }> {
  const response = await fetch(`${agent.url}/v1/routes/${modid}/1`);
  const text = await response.text();
  expect(response.status).toBe(200);
  return { revision: (JSON.parse(text) as { revision: number }).revision, text };
}

/** Asked for by a caller, and answered. */
async function known(agent: LarsProcess, modid: number): Promise<void> {
  await eventually(async () => expect((await fetch(`${agent.url}/v1/hosts/${modid}/1`)).status).toBe(200));
}

async function isConnectedTo(dns: LarsProcess): Promise<boolean> {
  const { agents } = (await (await fetch(`${dns.url}/v1/agents`)).json()) as { agents: unknown[] };
  return agents.length > 0;
}

test("an agent that is moved between two instances under changes sees each module's revisions in order and ends on the last", async () => {
  const system = await startLars({
    databaseUrl: await mariadb.createDatabase(`lars_two_dns_${databases++}`),
    ...{ dns: 2, report: 0 },
    // One looks at the database seldom: it lags.
    env: { LARS_DNS__ROUTES__POLL_INTERVAL_MS: "400" },
  });
  lars = system;
  const agent = system.agent[0]!;
  const [one, two] = system.dns as [LarsProcess, LarsProcess];
  for (const modid of MODULES) await put(system, one, modid, 1);
  for (const modid of MODULES) await known(agent, modid);

  const seen = new Map<number, number[]>(MODULES.map((modid) => [modid, []]));
  let isWatching = true;
  const watching = (async () => {
    while (isWatching) {
      for (const modid of MODULES) {
        const { revision } = await agentRoute(agent, modid);
        const revisions = seen.get(modid)!;
        if (revisions.at(-1) !== revision) revisions.push(revision);
      }
      await Bun.sleep(0);
    }
  })();
  const last = new Map<number, number>();
  let port = 2;
  // Each round the instance that is written to is the one the agent does not use: after the other's end it moves to it.
  for (let round = 0; round < 4; round++) {
    const [writer, victim] = round % 2 === 0 ? [one, two] : [two, one];
    for (let i = 0; i < 5; i++) for (const modid of MODULES) last.set(modid, await put(system, writer, modid, port++));
    await victim.kill();
    for (const modid of MODULES) last.set(modid, await put(system, writer, modid, port++));
    await eventually(async () => expect(await isConnectedTo(writer)).toBe(true));
    await victim.start();
  }
  await eventually(async () => {
    for (const modid of MODULES) expect((await agentRoute(agent, modid)).revision).toBe(last.get(modid)!);
  });
  isWatching = false;
  await watching;
  for (const revisions of seen.values()) {
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
    expect(revisions.length).toBeGreaterThan(4);
  }
  process.stdout.write(`  revisions seen: ${[...seen.values()].map((list) => list.length).join(", ")}\n`);
});

test("an agent that nobody asks anything of leaves an instance that hangs within four seconds, and hears of the next change", async () => {
  const system = await startLars({
    databaseUrl: await mariadb.createDatabase(`lars_two_dns_${databases++}`),
    ...{ dns: 2, report: 0 },
  });
  lars = system;
  const agent = system.agent[0]!;
  await put(system, system.dns[0]!, 1, 1);
  await known(agent, 1);
  const used = (await isConnectedTo(system.dns[0]!)) ? 0 : 1;
  const [hanging, other] = [system.dns[used]!, system.dns[1 - used]!];
  hanging.signal("SIGSTOP");
  try {
    const startedAtMs = performance.now();
    await eventually(async () => expect(await isConnectedTo(other)).toBe(true), { timeoutMs: 10_000 });
    const leftMs = performance.now() - startedAtMs;
    await put(system, other, 1, 777);
    await eventually(async () => expect((await agentRoute(agent, 1)).text).toContain("777"));
    process.stdout.write(`  left after ${Math.round(leftMs)} ms\n`);
    // Asked every 2 s, given 1 s to answer, looked at four times a second; the rest is a busy machine.
    expect(leftMs).toBeLessThan(4000);
  } finally {
    hanging.signal("SIGCONT");
  }
});

test("a list of addresses that changes in the file is used without a restart: the agent moves", async () => {
  const system = await makeLars({
    databaseUrl: await mariadb.createDatabase(`lars_two_dns_${databases++}`),
    ...{ dns: 2, report: 0 },
  });
  lars = system;
  const [one, two] = system.dns as [LarsProcess, LarsProcess];
  for (const dns of [one, two]) await dns.start();
  await put(system, one, 1, 1);
  const file = join(system.folder, "agent.toml");
  const write = (dns: LarsProcess) => Bun.write(file, `[dnsserver]\naddresses = ["127.0.0.1:${dns.ports.tcp}"]\n`);
  await write(one);
  const made = system.agent[0]!;
  const { LARS_AGENT__DNSSERVER__ADDRESSES: _, ...env } = made.env;
  const agent = new LarsProcess("agent", made.ports, env, { options: ["--config", file] });
  await agent.start();
  try {
    await known(agent, 1);
    expect(await isConnectedTo(one)).toBe(true);
    await write(two);
    agent.signal("SIGHUP");
    await eventually(async () => expect(await isConnectedTo(two)).toBe(true));
    await put(system, two, 1, 555);
    await eventually(async () => expect((await agentRoute(agent, 1)).text).toContain("555"));
    await eventually(async () => expect(await isConnectedTo(one)).toBe(false));
  } finally {
    await agent.stop();
  }
});

test("a dns service started on an empty database makes no agent forget; the right one is believed again at once", async () => {
  const system = await startLars({ report: 0 });
  lars = system;
  const [dns, agent] = [system.dns[0]!, system.agent[0]!];
  for (const modid of MODULES) await put(system, dns, modid, 1);
  for (const modid of MODULES) await known(agent, modid);
  await dns.kill();
  const env = { ...dns.env, LARS_DATABASE_URL: `sqlite:${system.folder}/wrong.db` };
  const wrong = new LarsProcess("dns", dns.ports, env);
  await wrong.start();
  try {
    const ahead = async () => (await agent.metrics()).get("lars_agent_routes_ahead");
    await eventually(async () => expect(await ahead()).toBe(MODULES.length));
    for (const modid of MODULES) expect((await fetch(`${agent.url}/v1/hosts/${modid}/1`)).status).toBe(200);
  } finally {
    await wrong.kill();
  }
  await dns.start();
  await put(system, dns, 1, 999);
  await eventually(async () => expect((await agentRoute(agent, 1)).text).toContain("999"));
  await eventually(async () => expect((await agent.metrics()).get("lars_agent_routes_ahead")).toBe(0));
});
