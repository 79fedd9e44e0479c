// Hours of mixed load: does memory stay flat, and does what callers wait? A window of ten seconds at a time gives a sample.
//
//   bun bench/soak/main.ts --minutes 60 --out part-1.json       may be run in parts, each a file
//   bun bench/soak/main.ts --minutes 60 --heap FOLDER           as well, what every thread's heap holds (heap-probe.ts)
//   bun bench/soak/main.ts --draw part-1.json,part-2.json       their picture (bench/plots/soak.svg) and their figures
//
// The load: 20,000 pairs a second over UDP (open loop), 500 picks a second over HTTP, 500 registered hosts that heartbeat
// every 2.5 s, 20 further ones a second that register and never come back (so 20 expire), a route change a second, and
// the statistics of all that. dns, report and agent run on MariaDB. After each window the floor is asked at the same rate.
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ADMIN_TOKEN, freePorts } from "../../tests/support/lars-processes.ts";
import { importModules } from "../bench.ts";
import { NativeProcess, type NativeResult, runNative } from "../native.ts";
import { cpuSeconds, residentBytes, startSystem } from "../system.ts";
import { LOOK_MS as HEAP_LOOK_MS, type HeapLine } from "./heap-probe.ts";
import { drawSoak } from "./plot.ts";
import { ends, type Field, type Part, type Sample, slopePerHour } from "./samples.ts";

const MODULES = 300;
const LEASES = 500;
const PAIRS_PER_SECOND = 20_000;
const PICKS_PER_SECOND = 500;
const REGISTRATIONS_PER_SECOND = 20;
const WINDOW_MS = 10_000;
const FLOOR_MS = 2_000;
/** With --heap: often enough for a line to be drawn, seldom enough for memory to do what it does. */
const COLLECT_EVERY_MS = 600_000;
const PICTURE = join(import.meta.dir, "../plots/soak.svg");

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "60" },
    out: { type: "string", default: "soak.json" },
    heap: { type: "string" },
    draw: { type: "string" },
  },
});

if (values.draw === undefined) {
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) {
    process.stderr.write(`--minutes: expected a number above 0, got "${values.minutes}"\n`);
    process.exit(2);
  }
  await soak(minutes, values.out, values.heap);
} else {
  const parts = await Promise.all(values.draw.split(",").map(async (file) => (await Bun.file(file).json()) as Part));
  await Bun.write(PICTURE, drawSoak("Mixed load over time", subtitle(parts), parts));
  process.stdout.write(`${figures(parts)}\n`);
}
process.exit(0);

function failures(result: NativeResult): number {
  const of = (...names: string[]) => names.reduce((sum, name) => sum + (result[name] ?? 0), 0);
  return of("lost", "wrong", "overload", "noModule", "systemError", "errors", "failed", "refused");
}

async function soak(minutes: number, out: string, heapFolder: string | undefined): Promise<void> {
  const cleanUps: (() => unknown)[] = [];
  const say = (line: string) => void process.stderr.write(`${line}\n`);
  try {
    if (heapFolder !== undefined) {
      mkdirSync(heapFolder, { recursive: true });
      process.env.SOAK_HEAP_FOLDER = heapFolder;
      process.env.BUN_OPTIONS = `--preload=${join(import.meta.dir, "heap-probe.ts")}`;
    }
    const lars = await startSystem({ say, rounds: 1, milliseconds: WINDOW_MS, cleanUp: (work) => cleanUps.push(work) });
    const [dns, report, agent] = [lars.dns[0]!, lars.report[0]!, lars.agent[0]!];
    const database = await databaseProcess(lars.databaseUrl);
    await importModules(lars, MODULES, 10);
    const floorPort = await freePorts(3);
    const floor = new NativeProcess("udp-floor", { port: floorPort, shards: 3 });
    cleanUps.push(() => floor.end());
    await floor.line();

    const header = `Authorization: Bearer ${ADMIN_TOKEN}`;
    const atDns = { port: dns.ports.http, method: "PUT", header };
    const udp = (port: number, milliseconds: number) =>
      runNative("udp-load", { port, shards: 3, threads: 1, rate: PAIRS_PER_SECOND, milliseconds, modules: MODULES });
    await runNative("http-load", {
      ...{ ...atDns, connections: 8, milliseconds: 3000, rate: LEASES, first: 1000, count: LEASES },
      path: "/v1/registrations/soak-{n}",
      body: '{"modid":9000,"cmdid":1,"ip":"10.9.0.1","port":{n},"ttlSeconds":15}',
    });

    const samples: Sample[] = [];
    const startedMs = performance.now();
    const elapsedMs = () => performance.now() - startedMs;
    const megabytes = (pid: number) => Math.round(residentBytes(pid) / 1_048_576);
    const used = () => [agent, dns, report].map(({ pid }) => cpuSeconds(pid));
    let collections = 0;
    for (let round = 0, weight = 1; elapsedMs() < minutes * 60_000; round++) {
      if (heapFolder !== undefined && elapsedMs() >= collections * COLLECT_EVERY_MS) {
        await Bun.write(join(heapFolder, "collect"), String(++collections));
      }
      const before = used();
      const beganMs = performance.now();
      const loads = Promise.all([
        udp(agent.ports.udp, WINDOW_MS),
        runNative("http-load", {
          ...{ port: agent.ports.http, connections: 8, rate: PICKS_PER_SECOND, milliseconds: WINDOW_MS },
          ...{ path: "/v1/hosts/{n}/1", first: 1, count: MODULES },
        }),
        runNative("http-load", {
          ...{ ...atDns, connections: 8, rate: LEASES / 2.5, milliseconds: WINDOW_MS, first: 1000, count: LEASES },
          path: "/v1/registrations/soak-{n}/heartbeat",
        }),
        runNative("http-load", {
          ...{
            ...atDns,
            connections: 2,
            rate: REGISTRATIONS_PER_SECOND,
            milliseconds: WINDOW_MS,
            first: 1,
            count: 999,
          },
          path: `/v1/registrations/brief-${round}-{n}`,
          body: `{"modid":9001,"cmdid":1,"ip":"10.8.${(round >> 8) & 255}.${round & 255}","port":{n},"ttlSeconds":8}`,
        }),
      ]);
      let over = false;
      const window = loads.finally(() => {
        over = true;
      });
      let changes = 0;
      let changesFailed = 0;
      while (!over) {
        weight = (weight % 1000) + 1;
        const module = 1 + (weight % MODULES);
        const path = `/v1/routes/${module}/1/hosts/10.${module % 200}.0.1:7000`;
        if (!(await lars.admin("PATCH", path, { weight })).ok) changesFailed++;
        changes++;
        await Promise.race([window, Bun.sleep(1000)]);
      }
      const [calls, picks, renewals, registered] = await window;
      const percents = used().map((after, i) => ((after - before[i]!) / (performance.now() - beganMs)) * 100_000);
      const floored = await udp(floorPort, FLOOR_MS);
      const sample: Sample = {
        atSeconds: Math.round(elapsedMs() / 1000),
        agentMb: megabytes(agent.pid),
        dnsMb: megabytes(dns.pid),
        reportMb: megabytes(report.pid),
        mariadbMb: megabytes(database),
        agentCpu: Math.round(percents[0]! * 10) / 10,
        dnsCpu: Math.round(percents[1]! * 10) / 10,
        reportCpu: Math.round(percents[2]! * 10) / 10,
        p50us: calls.p50us!,
        p99us: calls.p99us!,
        p999us: calls.p999us!,
        floorP99us: floored.p99us!,
        httpP99us: picks.p99us!,
        heartbeatP99us: renewals.p99us!,
        pairs: calls.answered!,
        picks: picks.answered!,
        heartbeats: renewals.answered!,
        registrations: registered.answered!,
        changes,
        failed: changesFailed + [calls, picks, renewals, registered].reduce((sum, result) => sum + failures(result), 0),
      };
      samples.push(sample);
      const git = Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"], { cwd: import.meta.dir });
      const part: Part = { date: new Date().toISOString(), commit: git.stdout.toString().trim(), samples };
      await Bun.write(out, `${JSON.stringify(part)}\n`);
      say(
        `${sample.atSeconds} s of ${minutes * 60}: agent ${sample.agentMb} MB, dns ${sample.dnsMb}, report ${sample.reportMb}; ` +
          `p99 ${sample.p99us} us (floor ${sample.floorP99us}), HTTP ${sample.httpP99us} us; ${sample.failed} failed`,
      );
    }
    if (heapFolder !== undefined) {
      await Bun.write(join(heapFolder, "collect"), "last");
      await Bun.sleep(2 * HEAP_LOOK_MS);
      say(heapTable(heapFolder));
    }
  } finally {
    for (const work of cleanUps.reverse()) await work();
  }
}

/** What was left after each collection that was asked for, a thread a line. */
function heapTable(folder: string): string {
  const files = readdirSync(folder).filter((name) => name.endsWith(".jsonl"));
  const lines = files.sort().map((name) => {
    const all = readFileSync(join(folder, name), "utf8").trimEnd().split("\n");
    const collected = all.map((line) => JSON.parse(line) as HeapLine).filter((line) => line.collected);
    const left = collected.map((line) => `${(line.heapBytes / 1e6).toFixed(1)} at ${line.atSeconds} s`);
    return `| ${name.replace(".jsonl", "")} | ${left.join(", ")} |`;
  });
  return ["| thread | MB of heap after a full collection |", "| --- | --- |", ...lines].join("\n");
}

/** The server's process, by the server's own word. */
async function databaseProcess(url: string): Promise<number> {
  const { createConnection } = await import("mysql2/promise");
  const connection = await createConnection(url);
  try {
    const [rows] = await connection.query("SELECT @@pid_file AS file");
    return Number(await Bun.file((rows as { file: string }[])[0]!.file).text());
  } finally {
    await connection.end();
  }
}

function subtitle(parts: readonly Part[]): string {
  const minutes = parts.reduce((sum, { samples }) => sum + (samples.at(-1)?.atSeconds ?? 0), 0) / 60;
  const pieces = parts.length === 1 ? "" : ` in ${parts.length} parts`;
  return (
    `${minutes.toFixed(0)} minutes${pieces}: ${PAIRS_PER_SECOND.toLocaleString("en-US")} pairs/s over UDP, ${PICKS_PER_SECOND} picks/s over HTTP, ` +
    `${LEASES} leases kept, ${REGISTRATIONS_PER_SECOND}/s expiring, a route change/s`
  );
}

/** A Markdown table. */
function figures(parts: readonly Part[]): string {
  const rows: (readonly [string, Field, number, string])[] = [
    ["agent, memory", "agentMb", 1, "MB"],
    ["dns, memory", "dnsMb", 1, "MB"],
    ["report, memory", "reportMb", 1, "MB"],
    ["agent, processor", "agentCpu", 1, "%"],
    ["UDP, p50", "p50us", 1000, "ms"],
    ["UDP, p99", "p99us", 1000, "ms"],
    ["the floor's p99", "floorP99us", 1000, "ms"],
    ["HTTP pick, p99", "httpP99us", 1000, "ms"],
    ["heartbeat, p99", "heartbeatP99us", 1000, "ms"],
  ];
  const cell = (samples: readonly Sample[], field: Field, divisor: number): string => {
    const [first, last] = ends(samples, field).map((value) => (value / divisor).toPrecision(3));
    const slope = slopePerHour(samples, field) / divisor;
    return `${first} -> ${last}; ${slope >= 0 ? "+" : ""}${slope.toFixed(2)}/h`;
  };
  const all = parts.flatMap(({ samples }) => samples);
  const sum = (field: Field) => all.reduce((total, sample) => total + sample[field], 0).toLocaleString("en-US");
  const lines = rows.map(
    ([what, field, divisor, unit]) =>
      `| ${what} | ${unit} | ${parts.map(({ samples }) => cell(samples, field, divisor)).join(" | ")} |`,
  );
  return [
    `| median of the first quarter -> of the last; slope after the first quarter | unit | ${parts.map((_, i) => `part ${i + 1}`).join(" | ")} |`,
    `| --- | --- |${" --- |".repeat(parts.length)}`,
    ...lines,
    "",
    `${sum("pairs")} pairs, ${sum("picks")} picks over HTTP, ${sum("heartbeats")} heartbeats, ${sum("registrations")} registrations that expired, ` +
      `${sum("changes")} route changes; ${sum("failed")} failed.`,
  ].join("\n");
}
