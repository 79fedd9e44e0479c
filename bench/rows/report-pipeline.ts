// Statistics into MariaDB: 150,000 rows a second offered over TCP, as some hundreds of busy agents would. What counts is
// that every call told is in the table in the end, how soon, and what memory it took meanwhile. How that grows with the
// number of different hosts (rows of one key replace each other while they wait), and what an outage under the same load
// comes to. And what it comes to when there are more hosts than rows that may wait: agents are held back then, and since
// those of that row end without telling anything twice, every row that is refused is missing in the table.
import { eventually } from "../../tests/support/eventually.ts";
import { type LarsProcess, startLars } from "../../tests/support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../../tests/support/mariadb.ts";
import { type Bench, type BenchContext, count, megabytes, type Row } from "../bench.ts";
import { type NativeResult, runNative } from "../native.ts";
import { cpuSeconds, peakBytes } from "../system.ts";

const RATE = 150_000;
const MAX_MEMORY = 300 * 1_048_576;
const HOSTS = 10;
const AWAY_MS = 5000;
const SAMPLE_MS = 100;

interface Load {
  readonly agents: number;
  readonly modules: number;
  readonly seconds: number;
  /** Agents end at once, and never tell anything twice. */
  readonly once?: boolean;
}

/** 16,000 different (agent, module, host); then a thousand and a hundred thousand. */
const AIM: Load = { agents: 16, modules: 100, seconds: 10 };
const GROWTH: readonly Load[] = [
  { agents: 4, modules: 25, seconds: 5 },
  { agents: 100, modules: 100, seconds: 5 },
];

/** 200,000 hosts where 150,000 rows of agents may wait, and told faster than they are stored. */
const CROWD: Load = { agents: 200, modules: 100, seconds: 4, once: true };
const CROWD_AWAY_MS = 2500;

interface Outcome {
  readonly offered: NativeResult;
  readonly stored: number;
  readonly behind: number;
  readonly peak: number;
  readonly rowsStored: number;
  readonly cpu: number;
}

let databases = 0;

async function sumOfCalls(mariadb: Mariadb, database: string): Promise<number> {
  const rows = await mariadb.sql(database, "SELECT SUM(succ_cnt) FROM ServerCallStatus");
  return Number(rows[0]?.[0] ?? 0);
}

/** Offers a load to a report service of its own and waits for all of it; `meanwhile` runs beside the load. */
async function offer(
  mariadb: Mariadb,
  { agents, modules, seconds, once = false }: Load,
  meanwhile: (report: LarsProcess) => Promise<void> = async () => {},
  afterwards: (report: LarsProcess) => Promise<void> = async () => {},
): Promise<Outcome> {
  const name = `bench_report_${++databases}`;
  const lars = await startLars({ databaseUrl: await mariadb.createDatabase(name), dns: 0, agent: 0 });
  try {
    const report = lars.report[0]!;
    const cpuBefore = cpuSeconds(report.pid);
    const began = performance.now();
    const [offered] = await Promise.all([
      runNative("report-load", {
        port: report.ports.tcp,
        connections: agents,
        rate: RATE,
        modules,
        hosts: HOSTS,
        milliseconds: seconds * 1000,
        linger: 500,
        once: once ? 1 : 0,
      }),
      meanwhile(report),
    ]);
    const ended = performance.now();
    let stored = 0;
    await eventually(
      async () => {
        stored = await sumOfCalls(mariadb, name);
        if (stored < offered.succ!) throw new Error(`${stored} of ${offered.succ} calls are stored`);
      },
      { timeoutMs: 60_000 },
    ).catch((error: unknown) => {
      // What is missing is a figure like the others.
      if (stored === 0) throw error;
    });
    const took = (performance.now() - began) / 1000;
    await afterwards(report);
    const rowsStored = (await report.metrics()).get('lars_report_intake_events_total{event="stored"}') ?? 0;
    return {
      offered,
      stored,
      behind: (performance.now() - ended) / 1000,
      peak: peakBytes(report.pid),
      rowsStored: rowsStored / took,
      cpu: (cpuSeconds(report.pid) - cpuBefore) / took,
    };
  } finally {
    await lars.stop();
  }
}

function row(what: string, target: string, reference: string, outcome: Outcome, isMet?: boolean): Row {
  const { offered, stored, behind, peak, rowsStored, cpu } = outcome;
  return {
    what,
    target,
    reference,
    ours: `${count(offered.perSecond!)} rows/s taken, ${count(rowsStored)} rows/s stored; ${count(stored)} of ${count(offered.succ!)} calls, the last ${behind.toFixed(1)} s after the end; at most ${megabytes(peak)}; ${cpu.toFixed(2)} processors; agents waited at most ${(offered.maxus! / 1e6).toFixed(1)} s`,
    ...(isMet === undefined ? {} : { met: isMet }),
    data: {
      perSecond: offered.perSecond!,
      stored,
      succ: offered.succ!,
      behind,
      peak,
      rowsStored,
      cpu,
      waitedMs: offered.maxus! / 1000,
    },
  };
}

function isLossless({ offered, stored, peak }: Outcome): boolean {
  return offered.perSecond! >= RATE * 0.97 && stored === offered.succ! && peak <= MAX_MEMORY;
}

async function outage(context: BenchContext, mariadb: Mariadb): Promise<Row> {
  context.say(`the same, the database away for ${AWAY_MS / 1000} s of it`);
  let spooled = 0;
  const outcome = await offer(mariadb, { ...AIM, seconds: 10 }, async (report) => {
    await Bun.sleep(2000);
    await mariadb.kill();
    await Bun.sleep(AWAY_MS);
    spooled = (await report.metrics()).get("lars_report_spool_rows") ?? 0;
    await mariadb.start();
  });
  const what = `report: the database killed for ${AWAY_MS / 1000} s under that load`;
  const said = row(what, "loses nothing, 300 MB", "", outcome, isLossless(outcome));
  return { ...said, ours: `${said.ours}; ${count(spooled)} rows in the spool`, data: { ...said.data, spooled } };
}

async function heldBack(context: BenchContext, mariadb: Mariadb): Promise<Row> {
  const keys = CROWD.agents * CROWD.modules * HOSTS;
  context.say(`${count(keys)} different hosts, told once, the database away for ${CROWD_AWAY_MS / 1000} s of it`);
  let agents = 0;
  let longest = 0;
  let held = 0;
  let over = false;
  let pausedSeconds = 0;
  let refused = 0;
  const sample = async (report: LarsProcess): Promise<void> => {
    const metrics = await report.metrics();
    const of = (name: string): number => metrics.get(`lars_report_${name}`) ?? 0;
    agents = Math.max(agents, of("paused_agents"));
    longest = Math.max(longest, of("longest_pause_seconds"));
    held = Math.max(held, of("held_bytes"));
    pausedSeconds = of("paused_seconds_total");
    refused = of('intake_events_total{event="refused"}');
  };
  let sampling: Promise<void> | undefined;
  const outcome = await offer(
    mariadb,
    CROWD,
    async (report) => {
      sampling = (async () => {
        for (; !over; await Bun.sleep(SAMPLE_MS)) await sample(report);
      })();
      await Bun.sleep(500);
      await mariadb.kill();
      await Bun.sleep(CROWD_AWAY_MS);
      await mariadb.start();
    },
    async (report) => {
      over = true;
      await sampling;
      await sample(report);
    },
  );
  const said = row(
    `report: ${CROWD.agents} agents with ${count(CROWD.modules * HOSTS)} hosts each that end after ${CROWD.seconds} s, the database killed for ${CROWD_AWAY_MS / 1000} s of them`,
    "none lost, 300 MB",
    "room for 150,000 rows",
    outcome,
    outcome.stored === outcome.offered.succ! && refused === 0 && outcome.peak <= MAX_MEMORY,
  );
  return {
    ...said,
    ours: `${said.ours}; ${count(refused)} rows refused; up to ${agents} agents not read from, the longest for ${longest.toFixed(1)} s, ${count(pausedSeconds)} s of all together; up to ${megabytes(held)} of theirs kept`,
    data: { ...said.data, refused, agents, longestPause: longest, pausedSeconds, held },
  };
}

export const reportPipeline: Bench = {
  name: "report",
  about: "150,000 rows of statistics offered a second to report on MariaDB",
  async run(context) {
    const mariadb = await startMariadb();
    context.cleanUp(() => mariadb.remove());
    context.say(`offering ${count(RATE)} rows/s for ${AIM.seconds} s`);
    const aim = await offer(mariadb, AIM);
    const rows: Row[] = [
      row(
        `report: ${count(RATE)} rows/s offered by ${AIM.agents} agents with ${count(AIM.modules * HOSTS)} hosts each`,
        "taken, none lost, 300 MB",
        "the original 14,000 rows/s, memory without bound",
        aim,
        isLossless(aim),
      ),
    ];
    for (const load of GROWTH) {
      const keys = load.agents * load.modules * HOSTS;
      context.say(`${count(keys)} different hosts for ${load.seconds} s`);
      const outcome = await offer(mariadb, load);
      rows.push(row(`report: the same rate, ${count(keys)} different (agent, module, host)`, "", "", outcome));
    }
    rows.push(await outage(context, mariadb));
    rows.push(await heldBack(context, mariadb));
    return rows;
  },
};
