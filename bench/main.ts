// `bun run bench [name…]`: measures, prints tables, and writes the same as JSON. It never passes or fails: what is aimed
// at stands beside what came out.
//
//   bun run bench                     all, in under ten minutes
//   bun run bench agent-udp push      these
//   bun run bench --json out.json     the numbers behind the tables too
//   bun run bench --rounds 5 --seconds 5
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { type Bench, type Row, table } from "./bench.ts";
import { agentLatency } from "./rows/agent-latency.ts";
import { agentMemory } from "./rows/agent-memory.ts";
import { agentUdp } from "./rows/agent-udp.ts";
import { dnsPush } from "./rows/dns-push.ts";
import { dnsStart } from "./rows/dns-start.ts";
import { httpReads } from "./rows/http-reads.ts";
import { leases } from "./rows/leases.ts";
import { loadAlone } from "./rows/load.ts";
import { outage } from "./rows/outage.ts";
import { pickInProcess } from "./rows/pick.ts";
import { reportPipeline } from "./rows/report-pipeline.ts";

const BENCHES: readonly Bench[] = [
  loadAlone,
  pickInProcess,
  agentUdp,
  agentLatency,
  agentMemory,
  httpReads,
  dnsPush,
  dnsStart,
  leases,
  reportPipeline,
  outage,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "string" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
    help: { type: "boolean", default: false },
  },
});

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(2);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  return value > 0 ? value : fail(`--${name}: expected a number above 0, got "${text}"`);
}

const names = BENCHES.map(({ name }) => name);
if (values.help) {
  process.stdout.write(`bun run bench [name…] [--rounds N] [--seconds N] [--json FILE]\n`);
  for (const { name, about } of BENCHES) process.stdout.write(`  ${name.padEnd(16)} ${about}\n`);
  process.exit(0);
}
for (const name of positionals) {
  if (!names.includes(name)) fail(`there is no benchmark "${name}"; there are ${names.join(", ")}`);
}
const chosen = positionals.length === 0 ? BENCHES : BENCHES.filter(({ name }) => positionals.includes(name));
const rounds = Math.round(positive("rounds", values.rounds));
const milliseconds = positive("seconds", values.seconds) * 1000;

const started = performance.now();
const machine = `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, ${Math.round(totalmem() / 1_073_741_824)} GiB`;
const git = Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"], { cwd: import.meta.dir });
const commit = git.exitCode === 0 ? git.stdout.toString().trim() : "unknown";
const results: { bench: string; rows: readonly Row[]; failed?: string }[] = [];

for (const [i, bench] of chosen.entries()) {
  const say = (text: string): void => {
    const seconds = ((performance.now() - started) / 1000).toFixed(0).padStart(4);
    process.stderr.write(`${seconds} s  ${i + 1}/${chosen.length} ${bench.name}: ${text}\n`);
  };
  const cleanUps: (() => unknown)[] = [];
  try {
    say(bench.about);
    const rows = await bench.run({ say, rounds, milliseconds, cleanUp: (work) => cleanUps.push(work) });
    results.push({ bench: bench.name, rows });
    process.stdout.write(`\n## ${bench.name}\n\n${table(rows)}\n`);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    results.push({ bench: bench.name, rows: [], failed: text });
    process.stdout.write(`\n## ${bench.name}\n\nnot measured: ${text}\n`);
  } finally {
    for (const work of cleanUps.reverse()) await work();
  }
}

const seconds = Math.round((performance.now() - started) / 1000);
const head = { date: new Date().toISOString(), machine, commit, rounds, milliseconds, seconds };
process.stdout.write(`\n${head.date.slice(0, 16)}Z, ${machine}, commit ${commit}, ${seconds} s in all\n`);
if (values.json !== undefined) await Bun.write(values.json, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
process.exit(0);
