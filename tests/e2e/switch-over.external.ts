// A team that runs Lars switches over: its old database in a real MariaDB, our three processes on it, and a caller in
// Python that knows nothing of our code. One host of every module fails; traffic leaves it as policy `lars` says, to the
// call, and the statistics add up to the calls made. Old tools go on writing SQL.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { makeHost, normalizeHosts } from "../../src/core/assignment.ts";
import { LARS_DEFAULTS, LarsBalancer } from "../../src/core/balancer-lars.ts";
import { formatEndpoint, parseIp } from "../../src/core/endpoint.ts";
import { eventually } from "../support/eventually.ts";
import { type Lars, PROJECT_ROOT, startLars } from "../support/lars-processes.ts";
import { type Mariadb, sharedMariadb } from "../support/mariadb.ts";

const CALLS = 20_000;
/** A call over HTTP takes Python five times as long. */
const HTTP_CALLS = 6_000;
const DATABASE = "lars_switch_over";
const CALLER = "10.200.0.1";
/** Windows longer than the test: then the rule has no clock in it and its prediction is exact however slow the machine. */
const ENVIRONMENT = {
  LARS_AGENT__REPORTER__CALLER: CALLER,
  LARS_AGENT__LOADBALANCE__POLICY: "lars",
  LARS_AGENT__LOADBALANCE__IDLE_TIMEOUT: "600",
  LARS_AGENT__LOADBALANCE__OVERLOAD_TIMEOUT: "600",
};
const LARS_PARAMETERS = { ...LARS_DEFAULTS, idle_timeout: 600, overload_timeout: 600 };

interface Module {
  readonly name: string;
  readonly endpoints: readonly string[];
  readonly failing: string;
}

interface Summary {
  readonly picks: number;
  readonly answers: Record<string, number>;
  readonly timeouts: number;
  readonly hosts: Record<string, { readonly ok: number; readonly failed: number }>;
  readonly seconds: number;
}

let mariadb: Mariadb;
let lars: Lars;
let overUdp: readonly Module[];
let overHttp: readonly Module[];

beforeAll(async () => {
  mariadb = await sharedMariadb();
  const databaseUrl = await mariadb.createDatabase(DATABASE);
  await mariadb.load(join(PROJECT_ROOT, "tests/fixtures/old-lars-database.sql"), DATABASE);
  lars = await startLars({ databaseUrl, env: ENVIRONMENT });
  const { routes } = (await (await fetch(`${lars.dns[0]!.url}/v1/export`)).json()) as {
    routes: { modid: number; cmdid: number; hosts: { ip: string; port: number }[] }[];
  };
  const modules = routes
    .filter(({ hosts }) => hosts.length >= 3)
    .map(({ modid, cmdid, hosts }) => {
      const endpoints = hosts.map(({ ip, port }) => `${ip}:${port}`);
      return { name: `${modid}.${cmdid}`, endpoints, failing: endpoints[(modid + cmdid) % endpoints.length]! };
    });
  overUdp = modules.slice(0, 60);
  overHttp = modules.slice(60, 120);
});

afterAll(async () => {
  await lars.stop();
});

async function runCaller(program: string, agent: string, modules: readonly Module[], calls: number): Promise<Summary> {
  const list = join(lars.folder, `${program}.modules`);
  const failing = join(lars.folder, `${program}.failing`);
  await Bun.write(list, modules.map(({ name }) => `${name}\n`).join(""));
  await Bun.write(failing, modules.map((module) => `${module.name} ${module.failing}\n`).join(""));
  const child = Bun.spawn(
    [
      "python3",
      join(PROJECT_ROOT, "examples/python", program),
      "--agent",
      agent,
      "--module",
      `@${list}`,
      "--fail",
      `@${failing}`,
      "--calls",
      String(calls),
      "--json",
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text) as Summary;
}

/** What policy `lars` gives each host of a module when its calls come one after another within one window. */
function predicted(module: Module, calls: number): Record<string, { ok: number; failed: number }> {
  const balancer = new LarsBalancer(LARS_PARAMETERS);
  const hosts = module.endpoints.map((endpoint) => {
    const [ip, port] = endpoint.split(":") as [string, string];
    return makeHost(parseIp(ip)!, Number(port));
  });
  balancer.update(normalizeHosts(hosts), 0);
  const tally: Record<string, { ok: number; failed: number }> = {};
  for (let i = 0; i < calls; i++) {
    const host = balancer.pick(0, () => 0, 0);
    if (!("port" in host)) throw new Error(`module ${module.name}: call ${i} would be shed`);
    const endpoint = formatEndpoint(host);
    const failed = endpoint === module.failing;
    balancer.report(host, !failed, 0, 0);
    const name = `${module.name} ${endpoint}`;
    const entry = tally[name] ?? { ok: 0, failed: 0 };
    tally[name] = entry;
    if (failed) entry.failed++;
    else entry.ok++;
  }
  return tally;
}

/** ServerCallStatus as an old tool reads it, for this agent's rows of some modules. */
async function storedBySql(modules: readonly Module[]): Promise<Record<string, { ok: number; failed: number }>> {
  const rows = await mariadb.sql(
    DATABASE,
    `SELECT CONCAT(modid, '.', cmdid), CONCAT(modid, '.', cmdid, ' ', INET_NTOA(ip), ':', port), succ_cnt, err_cnt
       FROM ServerCallStatus WHERE caller = INET_ATON('${CALLER}')`,
  );
  const names = new Set(modules.map(({ name }) => name));
  return Object.fromEntries(
    rows
      .filter(([module]) => names.has(String(module)))
      .map(([, host, succ, err]) => [String(host), { ok: Number(succ), failed: Number(err) }]),
  );
}

async function callsAddUp(program: string, agent: string, modules: readonly Module[], calls: number): Promise<void> {
  const summary = await runCaller(program, agent, modules, calls);
  expect(summary.timeouts).toBe(0);
  expect(summary.answers).toEqual({ "0": calls });
  const prediction = Object.assign(
    {},
    ...modules.map((module, i) => predicted(module, Math.floor((calls - 1 - i) / modules.length) + 1)),
  );
  expect(summary.hosts).toEqual(prediction);
  const failed = Object.values(summary.hosts).reduce((sum, host) => sum + host.failed, 0);
  process.stdout.write(
    `  ${program}: ${JSON.stringify({ picks: summary.picks, modules: modules.length, failed, failedShare: failed / calls, seconds: summary.seconds })}\n`,
  );
  await eventually(async () => expect(await storedBySql(modules)).toEqual(summary.hosts), {
    timeoutMs: 10_000,
    intervalMs: 100,
  });
}

test("20,000 calls in Python over UDP on 60 modules: traffic leaves the failing hosts as `lars` says, all are counted", async () => {
  await callsAddUp("lars_udp.py", `127.0.0.1:${lars.agent[0]!.ports.udp}`, overUdp, CALLS);
});

test("6,000 calls in Python over HTTP on 60 modules: the same", async () => {
  await callsAddUp("lars_http.py", `127.0.0.1:${lars.agent[0]!.ports.http}`, overHttp, HTTP_CALLS);
}, 60_000);

async function agentHas(module: Module, endpoint: string): Promise<boolean> {
  const route = await (await fetch(`${lars.agent[0]!.url}/v1/routes/${module.name.replace(".", "/")}`)).json();
  return (route as { hosts: { ip: string; port: number }[] }).hosts.some(
    ({ ip, port }) => `${ip}:${port}` === endpoint,
  );
}

async function timeUntil(is: boolean, module: Module, endpoint: string): Promise<number> {
  const startedAtMs = performance.now();
  await eventually(async () => expect(await agentHas(module, endpoint)).toBe(is), { timeoutMs: 15_000, intervalMs: 5 });
  return performance.now() - startedAtMs;
}

test("a host added by plain SQL in the old manner reaches a running agent within a second, one deleted without a sign within 10", async () => {
  const module = overUdp[0]!;
  const [modid, cmdid] = module.name.split(".");
  const added: number[] = [];
  for (let i = 1; i <= 5; i++) {
    await mariadb.sql(
      DATABASE,
      `INSERT INTO RouteData(modid, cmdid, serverip, serverport) VALUES (${modid}, ${cmdid}, INET_ATON('10.77.0.${i}'), 7777)`,
      "UPDATE RouteVersion SET version = UNIX_TIMESTAMP() WHERE id = 1",
      `INSERT INTO RouteChange(modid, cmdid, version) VALUES (${modid}, ${cmdid}, UNIX_TIMESTAMP())`,
    );
    added.push(await timeUntil(true, module, `10.77.0.${i}:7777`));
  }
  expect(Math.max(...added)).toBeLessThan(1000);
  await mariadb.sql(DATABASE, "DELETE FROM RouteData WHERE serverip = INET_ATON('10.77.0.1')");
  const deleted = await timeUntil(false, module, "10.77.0.1:7777");
  expect(deleted).toBeLessThan(11_000);
  process.stdout.write(
    `  SQL: added after ${added.map(Math.round).join(", ")} ms, deleted without a sign after ${Math.round(deleted)} ms\n`,
  );
}, 60_000);
