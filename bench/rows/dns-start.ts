// A dns service that starts on a database of a million hosts in 100,000 modules, and what a poll costs it afterwards.
import { makeLars } from "../../tests/support/lars-processes.ts";
import { startMariadb } from "../../tests/support/mariadb.ts";
import { type Bench, count, importModules, megabytes, type Row } from "../bench.ts";
import { cpuSeconds, peakBytes, residentBytes } from "../system.ts";

const MODULES = 100_000;
const HOSTS = 10;
const POLL_SECONDS = 10;
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
    const lars = await makeLars({
      databaseUrl,
      report: 0,
      agent: 0,
      // Often, so that what else an idle process does (leases, timers, collection) is little beside it.
      env: { LARS_DNS__ROUTES__FULL_RELOAD_INTERVAL_S: "86400", LARS_DNS__ROUTES__POLL_INTERVAL_MS: "20" },
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
    await Bun.sleep(SETTLE_MS);
    const [pollsBefore, cpuBefore] = [await polls(), cpuSeconds(dns.pid)];
    await Bun.sleep(POLL_SECONDS * 1000);
    const made = (await polls()) - pollsBefore;
    const each = ((cpuSeconds(dns.pid) - cpuBefore) / made) * 1000;
    rows.push({
      what: "dns: processor time of a poll that finds nothing, everything the idle process does included",
      target: "1 ms",
      reference: `${made} polls in ${POLL_SECONDS} s`,
      ours: `${each.toFixed(2)} ms`,
      met: each <= 1,
      data: { ms: each, polls: made },
    });
    return rows;
  },
};
