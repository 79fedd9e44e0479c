// The pool with real workers and sockets.

import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import type { RouteUpdate } from "../../src/agent/shard-modules.ts";
import { ShardPool, ShardUnavailable } from "../../src/agent/shard-pool.ts";
import { makeHost } from "../../src/core/assignment.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import type { BalancerSettings } from "../../src/core/make-balancer.ts";
import { ModuleMap } from "../../src/core/module-key.ts";
import { DEFAULT_STEERING, NO_CHOICE } from "../../src/core/policies.ts";
import { eventually } from "../support/eventually.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { UdpCaller } from "../support/udp-caller.ts";
import { LIMITS } from "./shard-rig.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const BALANCER: BalancerSettings = { policy: "lars", lars: LARS_DEFAULTS, steering: DEFAULT_STEERING, zone: "" };

class Rig {
  readonly log = new RecordingLog();
  readonly routes = new ModuleMap<RouteUpdate>();
  readonly wanted: string[] = [];
  readonly pool: ShardPool;
  /** What the dns service would answer; undefined: nothing. */
  answer: (modid: number, cmdid: number) => RouteUpdate | undefined = () => undefined;

  constructor(options: { port?: number; shards?: number } = {}) {
    this.pool = new ShardPool({
      shards: options.shards ?? 3,
      hostname: "127.0.0.1",
      port: options.port ?? 0,
      receiveBufferBytes: 1 << 20,
      maxStatisticsEntries: 10_000,
      settings: { balancer: BALANCER, limits: LIMITS },
      log: this.log,
      routes: () => this.routes.values(),
      onWant: (modid, cmdid) => {
        this.wanted.push(`${modid}.${cmdid}`);
        const route = this.answer(modid, cmdid);
        if (route !== undefined) this.put(route);
      },
      onForget: () => {},
    });
    cleanups.push(() => this.pool.stop());
  }

  put(route: RouteUpdate): void {
    this.routes.set(route.modid, route.cmdid, route);
    this.pool.route(route);
  }

  async callers(): Promise<UdpCaller[]> {
    const callers = await Promise.all(this.pool.states().map(({ port }) => UdpCaller.connect(port)));
    cleanups.push(() => {
      for (const caller of callers) caller.close();
    });
    return callers;
  }

  /** Calls counted of a module, over all shards. */
  totals(modid: number, cmdid: number): { succ: number; err: number } {
    let [succ, err] = [0, 0];
    for (const reader of this.pool.statistics()) {
      for (const host of reader.take(true).get(modid, cmdid) ?? []) {
        succ += host.succ;
        err += host.err;
      }
    }
    return { succ, err };
  }
}

const route = (modid: number, cmdid: number, ...ips: number[]): RouteUpdate => ({
  modid,
  cmdid,
  revision: 5,
  policy: NO_CHOICE,
  hosts: ips.map((ip) => makeHost(ip, 80)),
});

test("every port answers for modules of every shard, as one: picks go round whatever port they come by", async () => {
  const rig = new Rig();
  for (let cmdid = 0; cmdid < 3; cmdid++) rig.routes.set(1, cmdid, route(1, cmdid, 7, 8, 9));
  await rig.pool.start();
  const callers = await rig.callers();
  for (let cmdid = 0; cmdid < 3; cmdid++) {
    const ips: number[] = [];
    for (const caller of [...callers, ...callers]) ips.push((await caller.getHost(1, cmdid)).ip);
    expect(ips).toEqual([7, 8, 9, 7, 8, 9]);
  }
  const forwarded = rig.pool.states().map(({ counters }) => counters.read("forwarded"));
  expect(forwarded).toEqual([4, 4, 4]);
});

test("a module that is not known is wanted, waited for, and answered through the port it was asked at", async () => {
  const rig = new Rig();
  rig.answer = (modid, cmdid) => (modid === 5 ? route(modid, cmdid, 9) : undefined);
  await rig.pool.start();
  const [first] = await rig.callers();
  expect(await first!.getHost(5, 5)).toMatchObject({ retcode: 0, ip: 9 });
  expect(await first!.getHost(6, 6)).toMatchObject({ retcode: 3 });
  expect(rig.wanted.sort()).toEqual(["5.5", "6.6"]);
});

test("picks and reports of the main thread (HTTP) and of UDP callers are one balance and one count", async () => {
  const rig = new Rig();
  await rig.pool.start();
  rig.put(route(1, 1, 7, 8));
  expect(await rig.pool.pick(1, 1, 0)).toEqual({ outcome: "host", ip: 7, port: 80 });
  const [caller] = await rig.callers();
  expect((await caller!.getHost(1, 1)).ip).toBe(8);
  const report = { modid: 1, cmdid: 1, ip: 7, port: 80, latencyUs: 0 };
  rig.pool.report([
    { ...report, succeeded: true },
    { ...report, succeeded: false },
  ]);
  caller!.report(1, 1, 7, 80);
  await eventually(() => expect(rig.totals(1, 1)).toEqual({ succ: 2, err: 1 }));
  expect(await rig.pool.describe(1, 1)).toMatchObject({ state: "known", revision: 5 });
  expect(await rig.pool.describe(9, 9)).toBeUndefined();
});

test("reports are heard before what is asked for after them, in the same turn too, and those before a stop are counted", async () => {
  const rig = new Rig();
  await rig.pool.start();
  rig.put(route(1, 1, 7, 8));
  const report = { modid: 1, cmdid: 1, ip: 7, port: 80, latencyUs: 0, succeeded: true };
  for (let i = 0; i < 3; i++) rig.pool.report([report]);
  expect((await rig.pool.describe(1, 1))!.hosts[0]).toMatchObject({ totalSucc: 3 });
  rig.pool.report([report, report]);
  await rig.pool.stop();
  expect(rig.totals(1, 1)).toEqual({ succ: 5, err: 0 });
});

test("a shard that dies is restarted on its port, serves again from the routes known, and goes on counting", async () => {
  const rig = new Rig();
  await rig.pool.start();
  rig.put(route(1, 0, 7));
  const callers = await rig.callers();
  const before = rig.pool.states()[1]!.port;
  for (let i = 0; i < 5; i++) {
    await callers[1]!.getHost(1, 0);
    callers[1]!.report(1, 0, 7, 80);
  }
  await eventually(() => expect(rig.totals(1, 0)).toEqual({ succ: 5, err: 0 }));
  const counters = rig.pool.states()[1]!.counters;
  const counted = counters.read("picks");
  await eventually(() => expect(counters.read("sent")).toBe(counted));

  rig.pool.restart(1);
  // Through its own port and, forwarded, through a sibling's.
  for (const caller of [callers[1]!, callers[0]!]) {
    await eventually(async () => expect(await caller.getHost(1, 0, 200)).toMatchObject({ retcode: 0, ip: 7 }));
  }
  expect(rig.pool.states().map(({ restarts, ready, port }) => [restarts, ready, port])[1]).toEqual([1, true, before]);
  callers[1]!.report(1, 0, 7, 80);
  callers[2]!.report(1, 0, 7, 80, -1);
  await eventually(() => expect(rig.totals(1, 0)).toEqual({ succ: 6, err: 1 }));
  expect(counters.read("picks")).toBeGreaterThan(counted);
  await eventually(() => expect(counters.read("sent")).toBeGreaterThan(counted));
  expect(rig.log.texts.filter((text) => text.startsWith("error"))).toEqual([
    "error a shard's worker died and is restarted",
  ]);
});

test("calls that wait for a shard when it dies are told so, and the next ones are answered", async () => {
  const rig = new Rig({ shards: 1 });
  await rig.pool.start();
  const waiting = rig.pool.pick(1, 1, 0);
  rig.pool.restart(0);
  await expect(waiting).rejects.toBeInstanceOf(ShardUnavailable);
  rig.put(route(1, 1, 7));
  await eventually(async () => expect(await rig.pool.pick(1, 1, 0)).toMatchObject({ outcome: "host", ip: 7 }));
});

test("settings that are reloaded reach running shards and those restarted later", async () => {
  const rig = new Rig({ shards: 1 });
  await rig.pool.start();
  rig.put(route(1, 1, 7, 8));
  rig.pool.configure({ balancer: { ...BALANCER, lars: { ...LARS_DEFAULTS, contin_err_limit: 2 } }, limits: LIMITS });
  const fail = { modid: 1, cmdid: 1, ip: 7, port: 80, latencyUs: 0, succeeded: false };
  const ejected = async (): Promise<boolean> =>
    (await rig.pool.describe(1, 1))!.hosts.find(({ ip }) => ip === 7)!.verdict === "ejected";
  rig.pool.report([fail, fail]);
  await eventually(async () => expect(await ejected()).toBe(true));
  rig.pool.restart(0);
  await eventually(async () => expect(await ejected()).toBe(false));
  rig.pool.report([fail, fail]);
  await eventually(async () => expect(await ejected()).toBe(true));
});

test("a port that is taken fails the start with the port's number and what to do", async () => {
  const taken = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  cleanups.push(() => taken.close());
  const rig = new Rig({ port: taken.port, shards: 1 });
  await expect(rig.pool.start()).rejects.toThrow(`127.0.0.1:${taken.port}`);
});

test("a pool that was stopped has closed its ports, and what was counted stays readable", async () => {
  const rig = new Rig({ shards: 1 });
  await rig.pool.start();
  rig.put(route(1, 1, 7));
  const [caller] = await rig.callers();
  await caller!.getHost(1, 1);
  caller!.report(1, 1, 7, 80);
  await eventually(() => expect(rig.totals(1, 1)).toEqual({ succ: 1, err: 0 }));
  const { port } = rig.pool.states()[0]!;
  await rig.pool.stop();
  const again = await Bun.udpSocket({ hostname: "127.0.0.1", port });
  again.close();
  expect(rig.totals(1, 1)).toEqual({ succ: 1, err: 0 });
});

test("picks over HTTP are counted by what came of them, as those over UDP are", async () => {
  const rig = new Rig({ shards: 1 });
  rig.answer = (modid) => (modid === 2 ? route(2, 1) : undefined);
  await rig.pool.start();
  rig.put(route(1, 1, 7));
  expect(await rig.pool.pick(1, 1, 0)).toMatchObject({ outcome: "host" });
  expect(await rig.pool.pick(2, 1, 0)).toEqual({ outcome: "unknown" });
  expect(await rig.pool.pick(3, 1, 0)).toEqual({ outcome: "resolving" });
  const { counters } = rig.pool.states()[0]!;
  expect([counters.read("picks"), counters.read("unknown_module"), counters.read("resolving")]).toEqual([1, 1, 1]);
});

/** Picks over HTTP until the main thread has the module. */
async function lend(rig: Rig, modid: number, cmdid: number): Promise<void> {
  await eventually(async () => {
    for (let i = 0; i < 20; i++) await rig.pool.pick(modid, cmdid, 0);
    if (!rig.pool.lentModules.holds(modid, cmdid)) throw new Error("it is not lent yet");
  });
}

test("a module asked for over HTTP only is picked in the main thread, and is its shard's again with the first datagram by whatever port", async () => {
  const rig = new Rig();
  rig.routes.set(1, 0, route(1, 0, 7, 8));
  await rig.pool.start();
  await lend(rig, 1, 0);
  expect(rig.pool.pick(1, 0, 0)).toMatchObject({ outcome: "host", port: 80 });
  const callers = await rig.callers();
  for (const caller of [callers[0]!, callers[1]!]) {
    for (let i = 0; i < 3; i++) expect((await caller.getHost(1, 0)).retcode).toBe(0);
  }
  await eventually(() => expect(rig.pool.lentModules.holds(1, 0)).toBe(false));
  // One round, whoever asks.
  const ips: number[] = [];
  for (let i = 0; i < 4; i++) {
    const picked = await rig.pool.pick(1, 0, 0);
    ips.push(picked.outcome === "host" ? picked.ip : 0, (await callers[i % 3]!.getHost(1, 0)).ip);
  }
  expect(ips.join()).toBe(ips[0] === 7 ? "7,8,7,8,7,8,7,8" : "8,7,8,7,8,7,8,7");
  expect(rig.pool.lentModules.counts).toMatchObject({ asked: 1, lent: 1, recalled: 1 });
  expect(rig.pool.lentModules.counters.read("picks")).toBeGreaterThan(0);
});

test("a lent module is described with all its calls, is answered over DNS, and survives the death of its shard", async () => {
  const rig = new Rig({ shards: 1 });
  rig.routes.set(1, 1, route(1, 1, 7));
  await rig.pool.start();
  const succeeded = { modid: 1, cmdid: 1, ip: 7, port: 80, latencyUs: 0, succeeded: true };
  rig.pool.report([succeeded]);
  await lend(rig, 1, 1);
  rig.pool.report([succeeded, succeeded]);
  expect((await rig.pool.describe(1, 1))?.hosts).toMatchObject([{ ip: 7, totalSucc: 3, totalErr: 0 }]);
  expect(await rig.pool.resolve(1, 1, 2)).toEqual({ outcome: "hosts", hosts: [{ ip: 7, port: 80, weight: 100 }] });
  rig.pool.report([succeeded]);
  rig.pool.restart(0);
  await eventually(async () => expect(await rig.pool.pick(1, 1, 0)).toMatchObject({ outcome: "host", ip: 7 }));
  await eventually(() => expect(rig.totals(1, 1)).toEqual({ succ: 4, err: 0 }));
  expect(rig.pool.lentModules.counts.lost).toBe(1);
  await lend(rig, 1, 1);
});

test("what callers send while a worker is being replaced is answered by its successor", async () => {
  const rig = new Rig();
  for (let cmdid = 0; cmdid < 3; cmdid++) rig.routes.set(1, cmdid, route(1, cmdid, 7));
  await rig.pool.start();
  const callers = await rig.callers();
  const ports = rig.pool.states().map(({ port }) => port);
  for (let round = 0; round < 3; round++) {
    rig.pool.restart(1);
    await eventually(() => {
      if (rig.pool.states()[1]!.restarts <= round) throw new Error("it has not died yet");
    });
    expect(await callers[1]!.getHost(1, 0)).toMatchObject({ retcode: 0, ip: 7 });
  }
  expect(rig.pool.states().map(({ port }) => port)).toEqual(ports);
});

test("1,000 picks of the main thread, each to shards that sleep, are answered without waiting for the sleepers' time", async () => {
  const rig = new Rig();
  for (let cmdid = 0; cmdid < 3; cmdid++) rig.routes.set(1, cmdid, route(1, cmdid, 7));
  await rig.pool.start();
  const waitedMs: number[] = [];
  for (let i = 0; i < 1000; i++) {
    const startedMs = performance.now();
    await rig.pool.pick(1, i % 3, 0);
    waitedMs.push(performance.now() - startedMs);
  }
  // A sleeper that is not rung wakes by itself after 50 ms; on average this would be 25.
  expect(waitedMs.sort((a, b) => a - b)[500]).toBeLessThan(10);
});

test("a module of 1,000 hosts is described whole, though its shard tells 100 at a time", async () => {
  const rig = new Rig();
  await rig.pool.start();
  const hosts = Array.from({ length: 1000 }, (_, i) => makeHost(0x0a00_0000 + i, 80, { weight: 1 + (i % 7) }));
  rig.put({ modid: 1, cmdid: 1, revision: 5, hosts, policy: NO_CHOICE });
  const { state, revision, hosts: described } = (await rig.pool.describe(1, 1))!;
  expect([state, revision]).toEqual(["known", 5]);
  expect(described.map(({ ip, weight }) => [ip, weight])).toEqual(hosts.map(({ ip, weight }) => [ip, weight]));
  expect(await rig.pool.describe(9, 9)).toBeUndefined();
});
