// A follower at the end of a link that is really cut: a leader, a relay (a follower that others may follow) and a zone with
// a follower and an agent, each on a machine of its own in network namespaces. What tests/faults/zones.external.ts shows
// under the whole load is measured here for the follower alone: when it notices, whom it turns to, when it heals.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { reasonAgainst, unless } from "../faults/permitted.ts";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, LarsProcess, makeLars } from "../support/lars-processes.ts";
import { type Machine, Network } from "../support/network.ts";
import { SteadyPicks } from "../support/steady-picks.ts";

const refused = await reasonAgainst(async () => (await Network.open()).close());
/** wait_ms and response_timeout_ms as they are by default. */
const NOTICED_MS = 3000;
/** The pause after a round in vain, the silence of a question under way, and this machine. */
const HEALED_MS = 1000 + 1000 + 1500;

describe.skipIf(refused !== undefined)(`a follower's link${unless(refused)}`, () => {
  let network: Network;
  let lars: Lars;
  let leader: LarsProcess;
  let relay: LarsProcess;
  let zone: LarsProcess;
  let agent: LarsProcess;
  const machines = new Map<string, Machine>();
  const at = (name: string): Machine => machines.get(name)!;
  let caller: SteadyPicks;

  beforeAll(async () => {
    network = await Network.open();
    for (const name of ["dns-0", "dns-1", "dns-2", "agent-0"]) machines.set(name, await network.machine(name));
    lars = await makeLars({ dns: 3, report: 0, place: (name, i) => at(`${name}-${i}`) });
    leader = lars.dns[0]!;
    const follow = ({ ports, env, placement }: LarsProcess, urls: string) => {
      const its = { ...env, LARS_DNS__FOLLOW__URLS: urls, LARS_FOLLOW_TOKEN: ADMIN_TOKEN };
      return new LarsProcess("dns", ports, its, placement);
    };
    relay = follow(lars.dns[1]!, leader.url);
    zone = follow(lars.dns[2]!, `${leader.url},${relay.url}`);
    const planned = lars.agent[0]!;
    const addresses = `${at("dns-2").address}:${zone.ports.tcp}`;
    const agentEnv = { ...planned.env, LARS_AGENT__DNSSERVER__ADDRESSES: addresses };
    agent = new LarsProcess("agent", planned.ports, agentEnv, planned.placement);
    await leader.start();
    for (const process of [relay, zone, agent]) await process.start();
    await put(1);
    await eventually(async () => expect((await fetch(`${agent.url}/v1/hosts/1/1`)).status).toBe(200));
    caller = new SteadyPicks(`${agent.url}/v1/hosts/1/1`);
  }, 60_000);

  afterAll(async () => {
    await caller?.stop();
    for (const process of [agent, zone, relay]) await process?.stop();
    await lars?.stop();
    await network?.close();
  });

  /** The leader's route becomes one host, told by the last number of its address. */
  async function put(last: number): Promise<void> {
    const body = { hosts: [{ ip: `10.0.0.${last}`, port: 80 }] };
    expect((await lars.admin("PUT", "/v1/routes/1/1", body)).status).toBe(200);
  }

  /** Milliseconds until the agent has it. */
  async function arrives(last: number, timeoutMs = 10_000): Promise<number> {
    const startedMs = performance.now();
    await eventually(
      async () => {
        const { hosts } = (await (await fetch(`${agent.url}/v1/routes/1/1`)).json()) as { hosts: { ip: string }[] };
        expect(hosts.map(({ ip }) => ip)).toEqual([`10.0.0.${last}`]);
      },
      { timeoutMs, intervalMs: 2 },
    );
    return performance.now() - startedMs;
  }

  async function metric(name: string): Promise<number | undefined> {
    return (await zone.metrics()).get(name);
  }

  /** Milliseconds until the zone's follower says that it has no leader. */
  async function noticed(): Promise<number> {
    const startedMs = performance.now();
    await eventually(async () => expect(await metric("lars_dns_follow_connected")).toBe(0), { timeoutMs: 10_000 });
    return performance.now() - startedMs;
  }

  function say(what: string, figures: Record<string, number>): void {
    const text = Object.entries(figures).map(([name, ms]) => `${name} ${ms.toFixed(0)} ms`);
    process.stdout.write(`  ${what}: ${text.join(", ")}; picks ${caller.picks}, failed ${caller.failed}\n`);
  }

  test("a change crosses whole links from the leader to the zone's agent in less than 100 ms", async () => {
    const tookMs: number[] = [];
    for (let last = 2; last <= 12; last++) {
      await put(last);
      tookMs.push(await arrives(last));
    }
    tookMs.sort((a, b) => a - b);
    say("whole links", { median: tookMs[5]!, worst: tookMs.at(-1)! });
    expect(tookMs[5]!).toBeLessThan(100);
  }, 30_000);

  test("cut off without a sign from leader and relay, the zone notices within 3 s and picks go on; healed, it has the change made meanwhile within 3.5 s", async () => {
    for (const other of ["dns-0", "dns-1"]) await network.cut(at("dns-2"), at(other));
    const noticedMs = await noticed();
    await put(20);
    await eventually(async () => expect(await metric("lars_dns_follow_lag_seconds")).toBeGreaterThan(4.5), {
      timeoutMs: 10_000,
    });
    const response = await zone.fetch("/v1/routes/1/1", { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    expect(await response.json()).toMatchObject({ hosts: [{ ip: "10.0.0.12" }] });
    for (const other of ["dns-0", "dns-1"]) await network.heal(at("dns-2"), at(other));
    const healedMs = await arrives(20);
    say("cut without a sign", { noticed: noticedMs, healed: healedMs });
    expect(noticedMs).toBeLessThan(NOTICED_MS + 1000);
    expect(healedMs).toBeLessThan(HEALED_MS);
    expect(caller.failed).toBe(0);
  }, 30_000);

  test("the leader's cable pulled and put back: the same, and the relay, which has nothing newer either, costs nothing", async () => {
    await eventually(async () => expect(await metric("lars_dns_follow_connected")).toBe(1));
    await network.unplug(at("dns-0"));
    // The relay goes on answering, with what it has.
    await eventually(async () => expect((await relay.metrics()).get("lars_dns_follow_connected")).toBe(0), {
      timeoutMs: 10_000,
    });
    await network.plugIn(at("dns-0"));
    const pluggedMs = performance.now();
    await eventually(() => put(30), { timeoutMs: 10_000 });
    await arrives(30);
    const healedMs = performance.now() - pluggedMs;
    say("cable pulled", { healed: healedMs });
    expect(healedMs).toBeLessThan(HEALED_MS + 2000);
    expect(caller.failed).toBe(0);
  }, 30_000);

  test("cut off from whom it follows alone, the zone follows the other within 4.5 s, and changes go on arriving in less than 100 ms", async () => {
    await eventually(async () => expect(await metric("lars_dns_follow_connected")).toBe(1));
    const followed = /.*"leader":"([^"]+)"/s.exec(zone.output)?.[1];
    const cutOff = followed === leader.url ? "dns-0" : "dns-1";
    await network.cut(at("dns-2"), at(cutOff));
    await put(40);
    const switchedMs = await arrives(40);
    const tookMs: number[] = [];
    for (let last = 41; last <= 45; last++) {
      await put(last);
      tookMs.push(await arrives(last));
    }
    tookMs.sort((a, b) => a - b);
    say("one of two cut", { switched: switchedMs, "then median": tookMs[2]! });
    expect(switchedMs).toBeLessThan(NOTICED_MS + 1500);
    expect(tookMs[2]!).toBeLessThan(100);
    await network.heal(at("dns-2"), at(cutOff));
    expect(caller.failed).toBe(0);
  }, 30_000);

  test("started again with its links cut the zone's follower serves from its file; its agent lost no pick", async () => {
    await eventually(async () =>
      expect(await metric('lars_dns_follow_snapshot_events_total{event="saves"}')).toBeGreaterThan(0),
    );
    for (const other of ["dns-0", "dns-1"]) await network.cut(at("dns-2"), at(other));
    await zone.stop();
    const startedMs = performance.now();
    await zone.start();
    const servedMs = performance.now() - startedMs;
    await put(50);
    const response = await zone.fetch("/v1/routes/1/1", { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
    expect(await response.json()).toMatchObject({ hosts: [{ ip: "10.0.0.45" }] });
    for (const other of ["dns-0", "dns-1"]) await network.heal(at("dns-2"), at(other));
    const healedMs = await arrives(50);
    say("started while cut", { served: servedMs, healed: healedMs });
    expect(healedMs).toBeLessThan(HEALED_MS);
    expect(caller.failed).toBe(0);
    expect(caller.picks).toBeGreaterThan(500);
  }, 30_000);
});
