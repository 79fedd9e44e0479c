// Statistics into MariaDB: 150,000 rows a second offered over TCP, as some hundreds of busy agents would. What counts is
// that every call told is in the table in the end, how soon, and what memory it took meanwhile.
import { eventually } from "../../tests/support/eventually.ts";
import { startLars } from "../../tests/support/lars-processes.ts";
import { startMariadb } from "../../tests/support/mariadb.ts";
import { type Bench, count, megabytes, type Row } from "../bench.ts";
import { runNative } from "../native.ts";
import { peakBytes } from "../system.ts";

const RATE = 150_000;
const AGENTS = 16;
const MODULES = 100;
const HOSTS = 10;
const SECONDS = 20;

export const reportPipeline: Bench = {
  name: "report",
  about: "150,000 rows of statistics offered a second to report on MariaDB",
  async run(context) {
    const mariadb = await startMariadb();
    context.cleanUp(() => mariadb.remove());
    const databaseUrl = await mariadb.createDatabase("bench_report");
    const lars = await startLars({ databaseUrl, dns: 0, agent: 0 });
    context.cleanUp(() => lars.stop());
    const report = lars.report[0]!;
    context.say(`offering ${count(RATE)} rows/s for ${SECONDS} s`);
    const offered = await runNative("report-load", {
      port: report.ports.tcp,
      connections: AGENTS,
      rate: RATE,
      modules: MODULES,
      hosts: HOSTS,
      milliseconds: SECONDS * 1000,
      linger: 500,
    });
    const ended = performance.now();
    let stored = 0;
    await eventually(
      async () => {
        const rows = await mariadb.sql("bench_report", "SELECT SUM(succ_cnt) FROM ServerCallStatus");
        stored = Number(rows[0]?.[0] ?? 0);
        if (stored < offered.succ!) throw new Error(`${stored} of ${offered.succ} calls are stored`);
      },
      { timeoutMs: 60_000 },
    );
    const behind = (performance.now() - ended) / 1000;
    const peak = peakBytes(report.pid);
    const rows: Row[] = [
      {
        what: `report: ${count(RATE)} rows/s offered by ${AGENTS} agents with ${count(MODULES * HOSTS)} hosts each`,
        target: "taken, none lost, 300 MB",
        reference: "the original 14,000 rows/s, memory without bound",
        ours: `${count(offered.perSecond!)} rows/s taken; ${count(stored)} of ${count(offered.succ!)} calls stored, the last ${behind.toFixed(1)} s after the end; at most ${megabytes(peak)}; agents waited at most ${(offered.maxus! / 1e6).toFixed(1)} s`,
        met: offered.perSecond! >= RATE * 0.97 && stored === offered.succ! && peak <= 300 * 1_048_576,
        data: {
          perSecond: offered.perSecond!,
          stored,
          succ: offered.succ!,
          behind,
          peak,
          waitedMs: offered.maxus! / 1000,
        },
      },
    ];
    return rows;
  },
};
