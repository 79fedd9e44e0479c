// A zone with a dns of its own that follows another: real processes, a leader on SQLite, a follower, an agent that knows
// only the follower.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { freePorts, type Lars, LarsProcess, makeLars, sumMetric } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

let lars: Lars;
let leader: LarsProcess;
let follower: LarsProcess;
let agent: LarsProcess;

beforeAll(async () => {
  const tcp = await freePorts(2);
  lars = await makeLars({ report: 0, env: { LARS_AGENT__DNSSERVER__ADDRESSES: `127.0.0.1:${tcp}` } });
  leader = lars.dns[0]!;
  agent = lars.agent[0]!;
  follower = new LarsProcess(
    "dns",
    { tcp, http: tcp + 1, udp: 0, resolver: 0 },
    {
      LARS_DNS__TCP__PORT: String(tcp),
      LARS_DNS__HTTP__PORT: String(tcp + 1),
      // The first one is nobody: it is passed over.
      LARS_DNS__FOLLOW__URLS: `http://127.0.0.1:1,http://localhost:${leader.ports.http}`,
      LARS_DNS__FOLLOW__SNAPSHOT_INTERVAL_MS: "100",
      LARS_DATA_DIR: join(lars.folder, "follower"),
    },
  );
  await leader.start();
  await Promise.all([follower.start(), agent.start()]);
});
afterAll(async () => {
  await follower.stop();
  await lars.stop();
});

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function put(cmdid: number, ...lasts: number[]): Promise<number> {
  const written = await lars.admin("PUT", `/v1/routes/1/${cmdid}`, {
    hosts: lasts.map((last) => ({ ip: `10.0.0.${last}`, port: 80 })),
  });
  const { revision } = (await written.json()) as { revision: number };
  expect(written.status).toBe(200);
  return revision;
}

async function at(process: LarsProcess, cmdid: number): Promise<string[]> {
  const response = await fetch(`${process.url}/v1/routes/1/${cmdid}`);
  const { hosts = [] } = (await response.json()) as { hosts?: { ip: string }[] };
  return hosts.map(({ ip }) => ip);
}

/** Picks once, so that the agent watches the module. */
async function pick(cmdid: number): Promise<string> {
  const response = await fetch(`${agent.url}/v1/hosts/1/${cmdid}`);
  expect(response.status).toBe(200);
  return ((await response.json()) as { ip: string }).ip;
}

test("a change at the leader is at the follower's agent within 250 ms, and a read at the follower given minRevision sees it", async () => {
  const revision = await put(1, 1);
  expect((await fetch(`${follower.url}/v1/routes/1/1?minRevision=${revision}`)).status).toBe(200);
  expect(await pick(1)).toBe("10.0.0.1");
  const tookMs: number[] = [];
  for (let i = 2; i <= 12; i++) {
    await put(1, i);
    const committedMs = performance.now();
    await eventually(async () => expect(await at(agent, 1)).toEqual([`10.0.0.${i}`]), { intervalMs: 1 });
    tookMs.push(performance.now() - committedMs);
  }
  tookMs.sort((a, b) => a - b);
  say(`leader's commit -> agent at the follower: ${tookMs.map((ms) => ms.toFixed(1)).join(" ")} ms`);
  expect(tookMs[5]!).toBeLessThan(250);
});

test("a write at the follower, and a read of what only its leader has, is 421 with the leaders' addresses and changes nothing", async () => {
  for (const [method, path] of [
    ["PUT", "/v1/routes/1/1"],
    ["POST", "/v1/import"],
    ["PUT", "/v1/registrations/x"],
    ["GET", "/v1/changes"],
    ["GET", "/v1/tokens"],
  ] as const) {
    const response = await lars.admin(method, path, method === "GET" ? undefined : { hosts: [] }, follower);
    expect([path, response.status]).toEqual([path, 421]);
    const problem = (await response.json()) as { leaders: string[]; detail: string };
    expect(problem.leaders).toEqual(["http://127.0.0.1:1", `http://localhost:${leader.ports.http}`]);
  }
  expect(await at(leader, 1)).toEqual(["10.0.0.12"]);
});

test("with the leader killed the follower and its agent go on, also when the follower is killed and started without it; what changed meanwhile comes when the leader is back", async () => {
  await put(2, 1);
  const revision = await put(3, 3);
  await eventually(async () => expect(await at(follower, 3)).toEqual(["10.0.0.3"]));
  expect(await pick(2)).toBe("10.0.0.1");
  await eventually(async () => expect(sumMetric(await follower.metrics(), "lars_dns_follow_connected")).toBe(1));
  // On disk within the interval.
  const saved = () => Bun.file(join(lars.folder, "follower", `follower-${follower.ports.http}.routes`)).text();
  await eventually(async () => expect(await saved()).toContain(`"revision":${revision},`));

  await leader.kill();
  await eventually(async () => expect(sumMetric(await follower.metrics(), "lars_dns_follow_connected")).toBe(0));
  expect(await at(follower, 3)).toEqual(["10.0.0.3"]);
  expect(await pick(3)).toBe("10.0.0.3");

  await follower.kill();
  expect(await pick(2)).toBe("10.0.0.1");
  await follower.start();
  expect(await at(follower, 3)).toEqual(["10.0.0.3"]);
  expect((await fetch(`${follower.url}/v1/routes/1/77`)).status).toBe(404);
  const metrics = await follower.metrics();
  expect(sumMetric(metrics, "lars_dns_follow_connected")).toBe(0);
  expect(metrics.get("lars_dns_revision")).toBe(revision);
  expect(await pick(2)).toBe("10.0.0.1");

  await leader.start();
  await put(2, 9);
  const backMs = performance.now();
  await eventually(async () => expect(await at(agent, 2)).toEqual(["10.0.0.9"]), { timeoutMs: 10_000 });
  say(`leader back with a change -> agent at the follower: ${(performance.now() - backMs).toFixed(0)} ms`);
  expect(follower.output).not.toContain("test-admin-token");
});

test("a follower without a file and without a leader is alive, says in /readyz whom it cannot reach, and ends within 3 s of SIGTERM", async () => {
  const ports = await freePorts(2);
  const alone = new LarsProcess(
    "dns",
    { tcp: ports, http: ports + 1, udp: 0, resolver: 0 },
    {
      LARS_DNS__TCP__PORT: String(ports),
      LARS_DNS__HTTP__PORT: String(ports + 1),
      LARS_DNS__FOLLOW__URLS: "http://127.0.0.1:1",
      LARS_DATA_DIR: join(lars.folder, "alone"),
    },
  );
  alone.launch();
  await eventually(
    async () => {
      const response = await fetch(`${alone.url}/readyz`);
      expect(response.status).toBe(503);
      expect(await response.text()).toContain("http://127.0.0.1:1");
    },
    { timeoutMs: 10_000 },
  );
  const stopMs = performance.now();
  expect(await alone.stop()).toBe(0);
  expect(performance.now() - stopMs).toBeLessThan(3000);
});
