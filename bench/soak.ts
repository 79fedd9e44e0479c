// Hours of mixed load: does memory stay flat, and does what callers wait? Runs until its time is up, a window of ten
// seconds at a time, and writes a sample a window; may be run in parts, each of which is a file.
//
//   bun bench/soak.ts --minutes 60 --json bench/soak.json
//
// The load: 20,000 pairs a second over UDP (open loop), 500 picks a second over HTTP, 500 registered hosts that heartbeat
// every 2.5 s, a route change a second, and statistics of all that. dns, report and agent run on MariaDB.
import { parseArgs } from "node:util";
import { ADMIN_TOKEN } from "../tests/support/lars-processes.ts";
import { importModules } from "./bench.ts";
import { runNative } from "./native.ts";
import { residentBytes, startSystem } from "./system.ts";

const MODULES = 300;
const LEASES = 500;
const WINDOW_MS = 10_000;

interface Sample {
  readonly atSeconds: number;
  readonly agentMb: number;
  readonly dnsMb: number;
  readonly reportMb: number;
  readonly p50us: number;
  readonly p99us: number;
  readonly p999us: number;
  readonly httpP99us: number;
  /** Calls lost or refused, of both kinds. */
  readonly failed: number;
  readonly heartbeatsFailed: number;
}

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "60" }, json: { type: "string", default: "soak.json" } },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  process.stderr.write(`--minutes: expected a number above 0, got "${values.minutes}"\n`);
  process.exit(2);
}

const cleanUps: (() => unknown)[] = [];
const say = (text: string) => void process.stderr.write(`${text}\n`);
const context = { say, rounds: 1, milliseconds: WINDOW_MS, cleanUp: (work: () => unknown) => void cleanUps.push(work) };
const lars = await startSystem(context);
const [dns, report, agent] = [lars.dns[0]!, lars.report[0]!, lars.agent[0]!];
await importModules(lars, MODULES, 10);
const authorization = `Authorization: Bearer ${ADMIN_TOKEN}`;
await runNative("http-load", {
  port: dns.ports.http,
  connections: 8,
  milliseconds: 3000,
  rate: LEASES,
  method: "PUT",
  path: "/v1/registrations/soak-{n}",
  body: '{"modid":9000,"cmdid":1,"ip":"10.9.0.1","port":{n},"ttlSeconds":15}',
  header: authorization,
  first: 1000,
  count: LEASES,
});

const samples: Sample[] = [];
const startedMs = performance.now();
const megabytes = (pid: number) => Math.round(residentBytes(pid) / 1_048_576);
for (let weight = 1; performance.now() - startedMs < minutes * 60_000; ) {
  const udp = runNative("udp-load", {
    port: agent.ports.udp,
    shards: 3,
    threads: 1,
    rate: 20_000,
    milliseconds: WINDOW_MS,
    modules: MODULES,
  });
  const http = runNative("http-load", {
    port: agent.ports.http,
    connections: 8,
    rate: 500,
    milliseconds: WINDOW_MS,
    path: "/v1/hosts/{n}/1",
    count: MODULES,
  });
  const heartbeats = runNative("http-load", {
    port: dns.ports.http,
    connections: 8,
    rate: LEASES / 2.5,
    milliseconds: WINDOW_MS,
    method: "PUT",
    path: "/v1/registrations/soak-{n}/heartbeat",
    header: authorization,
    first: 1000,
    count: LEASES,
  });
  let over = false;
  const window = Promise.all([udp, http, heartbeats]).finally(() => {
    over = true;
  });
  while (!over) {
    weight = (weight % 1000) + 1;
    const module = 1 + (weight % MODULES);
    await lars.admin("PATCH", `/v1/routes/${module}/1/hosts/10.${module % 200}.0.1:7000`, { weight });
    await Promise.race([window, Bun.sleep(1000)]);
  }
  const [calls, picks, renewals] = await window;
  const sample: Sample = {
    atSeconds: Math.round((performance.now() - startedMs) / 1000),
    agentMb: megabytes(agent.pid),
    dnsMb: megabytes(dns.pid),
    reportMb: megabytes(report.pid),
    p50us: calls.p50us!,
    p99us: calls.p99us!,
    p999us: calls.p999us!,
    httpP99us: picks.p99us!,
    failed:
      calls.lost! +
      calls.overload! +
      calls.noModule! +
      calls.systemError! +
      picks.errors! +
      picks.failed! +
      picks.refused!,
    heartbeatsFailed: renewals.errors! + renewals.failed! + renewals.refused!,
  };
  samples.push(sample);
  await Bun.write(values.json, `${JSON.stringify({ modules: MODULES, leases: LEASES, samples }, null, 1)}\n`);
  say(
    `${sample.atSeconds} s: agent ${sample.agentMb} MB, dns ${sample.dnsMb}, report ${sample.reportMb}; p99 ${sample.p99us} us, HTTP ${sample.httpP99us} us; ${sample.failed} failed`,
  );
}
for (const work of cleanUps.reverse()) await work();
process.exit(0);
