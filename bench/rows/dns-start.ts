// A dns service that starts on a database of a million hosts in 100,000 modules, and what a poll costs it afterwards.
//
// An idle process does more than poll (it looks at the lease clock, its runtime collects), so it is measured at two
// intervals, in turn and in one process: what a poll more costs is the poll's own, the rest is what the process costs
// without.
import { join } from "node:path";
import { makeLars, temporaryFolder } from "../../tests/support/lars-processes.ts";
import { startMariadb } from "../../tests/support/mariadb.ts";
import { type Bench, count, importModules, megabytes, type Row } from "../bench.ts";
import { cpuSeconds, peakBytes, residentBytes } from "../system.ts";

const MODULES = 100_000;
const HOSTS = 10;
const OFTEN_MS = 20;
const SELDOM_MS = 1000;
const PHASE_SECONDS = 5;
const PHASES = 3;
/** What a start leaves behind is collected meanwhile. */
const SETTLE_MS = 10_000;

export const dnsStart: Bench = {
  name: "dns-start",
  about: "start with 1,000,000 hosts in 100,000 modules; what a poll that finds nothing costs",
  async run(context) {
    const mariadb = await startMariadb({ flushLogAtCommit: 2, args: ["--innodb-buffer-pool-size=1G"] });
    context.cleanUp(() => mariadb.remove());
    const databaseUrl = await mariadb.createDatabase("bench_million");
    // The periodic comparison of whole tables is another figure than the poll.
    const conf = join(temporaryFolder("bench"), "dns.toml");
    const pollEvery = (ms: number) => Bun.write(conf, `[routes]\npoll_interval_ms = ${ms}\n`);
    await pollEvery(SELDOM_MS);
    const lars = await makeLars({
      databaseUrl,
      report: 0,
      agent: 0,
      env: { LARS_DNS__ROUTES__FULL_RELOAD_INTERVAL_S: "86400" },
      place: () => ({ options: ["--config", conf] }),
    });
    context.cleanUp(() => lars.stop());
    const dns = lars.dns[0]!;
    await dns.start();
    context.say(`importing ${count(MODULES * HOSTS)} hosts`);
    await importModules(lars, MODULES, HOSTS);
    await dns.stop();

    const started = performance.now();
    dns.launch();
    await dns.ready(60_000);
    const seconds = (performance.now() - started) / 1000;
    const memory = residentBytes(dns.pid);
    const peak = peakBytes(dns.pid);
    context.say(`serves after ${seconds.toFixed(1)} s`);
    const rows: Row[] = [
      {
        what: `dns: start with ${count(MODULES * HOSTS)} hosts in ${count(MODULES)} modules`,
        target: "serves in 5 s, 600 MB",
        reference: "",
        ours: `${seconds.toFixed(1)} s; ${megabytes(memory)}, at most ${megabytes(peak)}`,
        met: seconds <= 5 && peak <= 600 * 1_048_576,
        data: { seconds, memory, peak },
      },
    ];
    const polls = async () => (await dns.metrics()).get('lars_dns_route_events_total{event="polls"}') ?? 0;
    const phase = async (intervalMs: number): Promise<Phase> => {
      await pollEvery(intervalMs);
      dns.signal("SIGHUP");
      await Bun.sleep(SELDOM_MS);
      const [pollsBefore, cpuBefore, startedMs] = [await polls(), cpuSeconds(dns.pid), performance.now()];
      await Bun.sleep(PHASE_SECONDS * 1000);
      const [cpuMs, seconds] = [(cpuSeconds(dns.pid) - cpuBefore) * 1000, (performance.now() - startedMs) / 1000];
      return { cpuMs, seconds, polls: (await polls()) - pollsBefore };
    };
    await Bun.sleep(SETTLE_MS);
    const often: Phase[] = [];
    const seldom: Phase[] = [];
    for (let i = 0; i < PHASES; i++) {
      seldom.push(await phase(SELDOM_MS));
      often.push(await phase(OFTEN_MS));
      context.say(`polls: ${often[i]!.polls} and ${seldom[i]!.polls} in ${PHASE_SECONDS} s`);
    }
    const [many, few] = [perSecond(often), perSecond(seldom)];
    const own = (many.cpuMs - few.cpuMs) / (many.polls - few.polls);
    const idleMs = few.cpuMs - own * few.polls;
    const each = many.cpuMs / many.polls;
    rows.push({
      what: "dns: processor time of a poll that finds nothing",
      target: "1 ms",
      reference: `from ${few.polls.toFixed(1)} to ${many.polls.toFixed(1)} polls a second; without any ${idleMs.toFixed(1)} ms a second`,
      ours: `${own.toFixed(2)} ms`,
      met: own <= 1,
      data: { ms: own, idleMsPerSecond: idleMs },
    });
    rows.push({
      what: "dns: the same, all that the idle process does shared among its polls",
      target: "",
      reference: `${many.polls.toFixed(1)} polls a second`,
      ours: `${each.toFixed(2)} ms`,
      data: { ms: each, pollsPerSecond: many.polls },
    });
    return rows;
  },
};

interface Phase {
  readonly cpuMs: number;
  readonly seconds: number;
  readonly polls: number;
}

/** Of all phases together, by second. */
function perSecond(phases: readonly Phase[]): { readonly cpuMs: number; readonly polls: number } {
  const seconds = phases.reduce((sum, phase) => sum + phase.seconds, 0);
  const of = (field: "cpuMs" | "polls") => phases.reduce((sum, phase) => sum + phase[field], 0) / seconds;
  return { cpuMs: of("cpuMs"), polls: of("polls") };
}
