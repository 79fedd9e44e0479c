// What is measured at three sizes each. Processor time and memory, not throughput: they mean the same on a busy machine.
import { openDatabase } from "../../src/store/open.ts";
import { eventually } from "../../tests/support/eventually.ts";
import { startLars } from "../../tests/support/lars-processes.ts";
import { importModules } from "../bench.ts";
import { NativeProcess, runNative } from "../native.ts";
import { peakBytes, residentBytes } from "../system.ts";
import { type Axis, GrowthTable } from "./growth.ts";
import { changeOne, cpuMs, cpuOf, filledDatabase, oneDns, serverPid, startDatabase } from "./scene.ts";

const MEGABYTE = 1_048_576;
/** After a start, until what it left behind is collected. */
const SETTLE_MS = 5_000;
const IDLE_MS = 8_000;
const CHANGES = 300;

const modules: Axis = {
  name: "modules",
  of: "modules of 10 hosts",
  async measure(context) {
    const table = new GrowthTable();
    const mariadb = await startDatabase(context);
    for (const size of [1_000, 10_000, 100_000]) {
      context.say(`${size} modules`);
      const name = `modules_${size}`;
      const url = await filledDatabase(mariadb, name, size, 10);
      const database = await openDatabase(url);
      const server = await serverPid(mariadb, name);
      await database.routes.look();
      const look = await cpuOf(server, 5, () => database.routes.look());
      await database.close();
      const lars = await oneDns(context, url);
      const dns = lars.dns[0]!;
      dns.launch();
      await dns.ready(60_000);
      table.add("start of dns, processor time", "s", size, cpuMs(dns.pid) / 1000);
      table.add("start of dns, most memory", "MB", size, peakBytes(dns.pid) / MEGABYTE);
      await Bun.sleep(SETTLE_MS);
      const polls = async () => (await dns.metrics()).get('lars_dns_route_events_total{event="polls"}') ?? 0;
      const [before, used] = [await polls(), cpuMs(dns.pid)];
      await Bun.sleep(IDLE_MS);
      const idle = cpuMs(dns.pid) - used;
      table.add(
        "idle dns that polls every 20 ms, for each poll",
        "ms of processor",
        size,
        idle / ((await polls()) - before),
      );
      const change = (i: number) => changeOne(lars, 1 + ((i * 37) % size), 2 + (i % 90));
      await cpuOf(dns.pid, 100, change);
      table.add("one change over HTTP, dns", "ms of processor", size, await cpuOf(dns.pid, CHANGES, change));
      // The first list after a start puts the modules in order.
      await lars.admin("GET", "/v1/routes?limit=100");
      const listing = await cpuOf(dns.pid, 50, async (i) => {
        await change(i + 7);
        await (await lars.admin("GET", "/v1/routes?limit=100")).arrayBuffer();
      });
      table.add("one change and a list of 100 modules, dns", "ms of processor", size, listing);
      table.add("a look at the whole table, database", "ms of processor", size, look);
      await lars.stop();
    }
    return table.growths;
  },
};

const hosts: Axis = {
  name: "hosts",
  of: "hosts in a module",
  async measure(context) {
    const table = new GrowthTable();
    const mariadb = await startDatabase(context);
    for (const size of [10, 100, 1_000]) {
      context.say(`${size} hosts a module`);
      const lars = await oneDns(context, await filledDatabase(mariadb, `hosts_${size}`, 100, size));
      const dns = lars.dns[0]!;
      await dns.start();
      const change = (i: number) => changeOne(lars, 1 + (i % 100), 2 + ((i >> 5) % 90));
      await cpuOf(dns.pid, 100, change);
      table.add("one change over HTTP, dns", "ms of processor", size, await cpuOf(dns.pid, CHANGES, change));
      const watcher = new NativeProcess("tcp-load", { mode: "watch", port: dns.ports.tcp, connections: 1, spread: 1 });
      context.cleanUp(() => watcher.end());
      table.add("a route over TCP", "bytes", size, (await watcher.line()).bytes!);
      watcher.end();
      const reads = { mode: "reads", port: dns.ports.tcp, connections: 4, window: 8, spread: 100, milliseconds: 2_000 };
      await runNative("tcp-load", reads);
      const used = cpuMs(dns.pid);
      const { frames } = await runNative("tcp-load", reads);
      table.add("a read over TCP, dns", "us of processor", size, ((cpuMs(dns.pid) - used) * 1000) / frames!);
      await lars.stop();
    }
    context.say("picks in process");
    const sizes = ["10", "100", "1000"].flatMap((size) => ["--hosts", size]);
    const picks = Bun.spawn(
      [process.execPath, `${import.meta.dir}/../pick.ts`, "--policy", "adaptive", ...sizes, "--no-heap", "--json"],
      { stdout: "pipe", stderr: "inherit" },
    );
    const { rows } = (await new Response(picks.stdout).json()) as {
      rows: { case: string; hosts: number; pickNs: number }[];
    };
    for (const row of rows) if (row.case === "weights") table.add("a pick in process", "ns", row.hosts, row.pickNs);
    return table.growths;
  },
};

const agents: Axis = {
  name: "agents",
  of: "agents watching one module",
  async measure(context) {
    const table = new GrowthTable();
    const mariadb = await startDatabase(context);
    for (const size of [100, 1_000, 10_000]) {
      context.say(`${size} agents`);
      const lars = await oneDns(context, await filledDatabase(mariadb, `agents_${size}`, 100, 10));
      const dns = lars.dns[0]!;
      await dns.start();
      await changeOne(lars, 1, 7);
      const used = cpuMs(dns.pid);
      const watchers = new NativeProcess("tcp-load", {
        ...{ mode: "watch", port: dns.ports.tcp, connections: size, spread: 1 },
      });
      context.cleanUp(() => watchers.end());
      await watchers.line();
      table.add("agents connect and ask, dns", "ms of processor", size, cpuMs(dns.pid) - used);
      await Bun.sleep(SETTLE_MS);
      const idleFrom = cpuMs(dns.pid);
      await Bun.sleep(IDLE_MS);
      table.add("idle agents, dns", "ms of processor a second", size, (cpuMs(dns.pid) - idleFrom) / (IDLE_MS / 1000));
      table.add("memory of dns", "MB", size, residentBytes(dns.pid) / MEGABYTE);
      let slowest = 0;
      const push = async (i: number) => {
        watchers.tell(`mark ${size}`);
        await changeOne(lars, 1, 10 + i);
        const heard = await watchers.line();
        if (heard.heard !== heard.expected) throw new Error(`${heard.heard} of ${size} agents heard of a change`);
        slowest = Math.max(slowest, heard.maxus!);
      };
      for (let i = 0; i < 5; i++) await push(i);
      slowest = 0;
      table.add("a change pushed to all, dns", "ms of processor", size, await cpuOf(dns.pid, 20, (i) => push(10 + i)));
      table.add("a change until the last agent has it, slowest of 20", "ms", size, slowest / 1000);
      watchers.end();
      await lars.stop();
    }
    return table.growths;
  },
};

const callers: Axis = {
  name: "callers",
  of: "calls in flight at one agent",
  async measure(context) {
    const table = new GrowthTable();
    const lars = await startLars();
    context.cleanUp(() => lars.stop());
    await importModules(lars, 100, 10);
    const agent = lars.agent[0]!;
    const load = (window: number) =>
      runNative("udp-load", {
        ...{ port: agent.ports.udp, shards: 3, threads: 3, window, milliseconds: 3_000, modules: 100 },
      });
    await eventually(async () => {
      if ((await load(8)).answered === 0) throw new Error("the agent answers nobody yet");
    });
    for (const window of [1, 8, 64]) {
      context.say(`${3 * window} calls in flight`);
      const used = cpuMs(agent.pid);
      const result = await load(window);
      const pairs = result.perSecond! * 3;
      table.add(
        "get_host and report, agent",
        "us of processor",
        3 * window,
        ((cpuMs(agent.pid) - used) * 1000) / pairs,
      );
      table.add("memory of the agent", "MB", 3 * window, residentBytes(agent.pid) / MEGABYTE);
    }
    return table.growths;
  },
};

export const AXES: readonly Axis[] = [modules, hosts, agents, callers];
