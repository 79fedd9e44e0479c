// The choice of a policy, end to end: put at the dns service over HTTP, effective at a running agent for its next picks,
// however its callers come.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { formatEndpoint } from "../../src/core/endpoint.ts";
import { shardOf } from "../../src/core/shard-map.ts";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";
import { UdpCaller } from "../support/udp-caller.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

interface AgentRoute {
  readonly revision: number;
  readonly policy: string;
  readonly policyParameters?: object;
  readonly dnsConnected: boolean;
  readonly hosts: readonly {
    readonly ip: string;
    readonly port: number;
    readonly verdict: string;
    readonly reason: string;
    readonly weight: number;
    readonly inFlight?: number;
    readonly latencyMs?: number;
    readonly err: number;
  }[];
}

let lars: Lars;
const callers: UdpCaller[] = [];

beforeAll(async () => {
  lars = await startLars({ env: { LARS_AGENT__ROUTES__SNAPSHOT_INTERVAL_MS: "100" } });
  for (let shard = 0; shard < 3; shard++) callers.push(await UdpCaller.connect(lars.agent[0]!.ports.udp + shard));
});
afterAll(async () => {
  for (const caller of callers) caller.close();
  await lars.stop();
});

/** Every test has a module of its own. */
let cmdid = 0;

class Module {
  readonly cmdid = ++cmdid;
  readonly path = `/v1/routes/7/${this.cmdid}`;

  async #changed(response: Response): Promise<void> {
    const { revision, ...rest } = (await response.json()) as { revision?: number };
    if (revision === undefined) throw new Error(JSON.stringify(rest));
    await eventually(async () => expect((await this.atAgent()).revision).toBeGreaterThanOrEqual(revision));
  }

  /** Puts the route (host i: 10.0.0.i+1:80 with weights[i]) and returns when the agent has it. */
  async put(weights: readonly number[], policy: object = {}): Promise<this> {
    const hosts = weights.map((weight, i) => ({ ip: `10.0.0.${i + 1}`, port: 80, weight }));
    await this.#changed(await lars.admin("PUT", this.path, { hosts, ...policy }));
    return this;
  }

  async patch(host: string, change: object): Promise<void> {
    await this.#changed(await lars.admin("PATCH", `${this.path}/hosts/${host}`, change));
  }

  /** As the agent describes it. A module nobody asked for is asked for first. */
  async atAgent(): Promise<AgentRoute> {
    const response = await fetch(`${lars.agent[0]!.url}${this.path}`);
    if (!response.ok) {
      await this.overHttp().catch(() => {});
      throw new Error(`${response.status} ${await response.text()}`);
    }
    return (await response.json()) as AgentRoute;
  }

  async overHttp(hashKey?: string): Promise<string> {
    const query = hashKey === undefined ? "" : `?hashKey=${hashKey}`;
    const response = await fetch(`${lars.agent[0]!.url}/v1/hosts/7/${this.cmdid}${query}`);
    if (!response.ok) throw new Error(await response.text());
    const { ip, port } = (await response.json()) as { ip: string; port: number };
    return `${ip}:${port}`;
  }

  async overUdp(hashKey?: string): Promise<string> {
    const answer = await callers[shardOf(7, this.cmdid, 3)]!.getHost(7, this.cmdid, 1000, hashKey);
    if (answer.retcode !== 0) throw new Error(`retcode ${answer.retcode}`);
    return formatEndpoint(answer);
  }

  /** How many of `picks` picks each host got. */
  async count(picks: number, pick: () => Promise<string>): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (let i = 0; i < picks; i++) {
      const host = await pick();
      counts[host] = (counts[host] ?? 0) + 1;
    }
    return counts;
  }

  async report(host: string, retcode: number, calls: number): Promise<void> {
    const [ip, port] = host.split(":");
    const report = { modid: 7, cmdid: this.cmdid, ip, port: Number(port), retcode, latencyUs: 2000 };
    const response = await fetch(`${lars.agent[0]!.url}/v1/reports`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(Array.from({ length: calls }, () => report)),
    });
    expect(response.status).toBe(204);
  }
}

const WAYS = [["UDP"], ["HTTP"]] as const;
const pickBy = (module: Module, way: "UDP" | "HTTP") => () => (way === "UDP" ? module.overUdp() : module.overHttp());

test("a module that chooses nothing is balanced by adaptive, the agents' default", async () => {
  const module = await new Module().put([100]);
  expect(await module.atAgent()).toMatchObject({ policy: "adaptive", hosts: [{ verdict: "available" }] });
  expect(await module.atAgent()).not.toHaveProperty("policyParameters");
  expect((await module.atAgent()).hosts[0]?.inFlight).toBeNumber();
});

describe.each(WAYS)("over %s", (way) => {
  test("round_robin takes turns in proportion to weight, and a weight that changes counts from the next pick on", async () => {
    const module = await new Module().put([100, 300], { policy: "round_robin" });
    expect((await module.atAgent()).policy).toBe("round_robin");
    const before = await module.count(40, pickBy(module, way));
    expect(Math.abs(before["10.0.0.1:80"]! - 10)).toBeLessThanOrEqual(1);
    await module.patch("10.0.0.1:80", { weight: 900 });
    const after = await module.count(40, pickBy(module, way));
    expect(Math.abs(after["10.0.0.1:80"]! - 30)).toBeLessThanOrEqual(1);
  });

  test("random draws in proportion to weight", async () => {
    const module = await new Module().put([100, 300], { policy: "random" });
    const counts = await module.count(400, pickBy(module, way));
    // 100 are expected; chance strays 45 (more than five standard deviations) from it once in five million runs.
    expect(Math.abs(counts["10.0.0.1:80"]! - 100)).toBeLessThan(45);
    expect(counts["10.0.0.1:80"]! + counts["10.0.0.2:80"]!).toBe(400);
  });

  test("a policy that changes is effective for the next pick: of weights 1 to 9,999 round_robin shows no other host", async () => {
    const module = await new Module().put([1, 9999], { policy: "lars" });
    // lars knows no weights: its hosts take turns.
    expect(await module.count(10, pickBy(module, way))).toEqual({ "10.0.0.1:80": 5, "10.0.0.2:80": 5 });
    await module.put([1, 9999], { policy: "round_robin" });
    const counts = await module.count(20, pickBy(module, way));
    expect(counts["10.0.0.2:80"]).toBeGreaterThanOrEqual(19);
  });

  test("a host that drains is not picked any more, and is again when it is up", async () => {
    const module = await new Module().put([100, 100], { policy: "round_robin", policyParameters: { slow_start: 0 } });
    await module.patch("10.0.0.1:80", { state: "draining" });
    expect(await module.count(50, pickBy(module, way))).toEqual({ "10.0.0.2:80": 50 });
    await module.patch("10.0.0.1:80", { state: "up" });
    const counts = await module.count(20, pickBy(module, way));
    expect(counts["10.0.0.1:80"]).toBeGreaterThanOrEqual(9);
  });
});

const KEYS = Array.from({ length: 30 }, (_, i) => `user-${i}`);
/** Calls that were not reported yet must not push a key aside here. */
const STICKY = { policy: "consistent_hash", policyParameters: { bounded_load: 10 } };

async function hostsOfKeys(pick: (key: string) => Promise<string>): Promise<Record<string, string>> {
  const hosts: Record<string, string> = {};
  for (const key of KEYS) hosts[key] = await pick(key);
  return hosts;
}

test("consistent_hash gives a key the same host over UDP and HTTP, time and again, and keys different hosts", async () => {
  const module = await new Module().put([100, 100, 100], STICKY);
  const stick = async (pick: (key: string) => Promise<string>) =>
    await hostsOfKeys(async (key) => {
      const host = await pick(key);
      await module.report(host, 0, 1);
      return host;
    });
  const first = await stick((key) => module.overUdp(key));
  expect(new Set(Object.values(first)).size).toBe(3);
  expect(await stick((key) => module.overHttp(key))).toEqual(first);
  expect(await stick((key) => module.overUdp(key))).toEqual(first);
});

test("after failures the verdict and its reason are shown, the host is not picked, and another policy keeps it out", async () => {
  const policyParameters = { consecutive_failures: 3, base_ejection: 300, max_ejection: 3600 };
  const module = await new Module().put([100, 100], { policy: "round_robin", policyParameters });
  await module.report("10.0.0.2:80", 0, 5);
  await module.report("10.0.0.1:80", 1, 3);
  const route = await module.atAgent();
  expect(route).toMatchObject({ policy: "round_robin", policyParameters });
  expect(route.hosts.map(({ verdict, err }) => [verdict, err])).toEqual([
    ["ejected", 3],
    ["available", 0],
  ]);
  expect(route.hosts[0]?.reason).toMatch(/^ejected: 3 consecutive failures, probe in \d+\.\d s$/);
  expect(route.hosts[1]?.latencyMs).toBeCloseTo(2, 3);
  expect(await module.count(20, () => module.overUdp())).toEqual({ "10.0.0.2:80": 20 });
  await module.put([100, 100], { policy: "least_request", policyParameters });
  expect((await module.atAgent()).hosts[0]).toMatchObject({ verdict: "ejected", err: 3 });
  expect(await module.count(20, () => module.overHttp())).toEqual({ "10.0.0.2:80": 20 });
  // Another rule book: everybody begins anew, and the counts go on.
  await module.put([100, 100], { policy: "lars" });
  await module.report("10.0.0.1:80", 1, 1);
  const anew = await module.atAgent();
  expect(anew.hosts[0]).toMatchObject({ verdict: "available", err: 4 });
  expect(anew.hosts[0]).not.toHaveProperty("inFlight");
});

test("an agent that is restarted while dns is down has policy, parameters and each key's host from its snapshot", async () => {
  const module = await new Module().put([100, 100, 100], STICKY);
  const before = await hostsOfKeys((key) => module.overUdp(key));
  const [dns, agent] = [lars.dns[0]!, lars.agent[0]!];
  await dns.stop();
  await agent.stop();
  await agent.start();
  expect(await module.atAgent()).toMatchObject({ ...STICKY, dnsConnected: false });
  expect(await hostsOfKeys((key) => module.overUdp(key))).toEqual(before);
  expect(await hostsOfKeys((key) => module.overHttp(key))).toEqual(before);
}, 30_000);
