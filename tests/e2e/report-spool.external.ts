// The database is away, reports are acknowledged all the same, the report service is killed and started again while the
// database is still away: when it is back, every call is stored once. With real processes on a real MariaDB.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HEADER_BYTES, MSG_REPORT_STATUS_REQUEST, sealFrame } from "../../src/wire/frame.ts";
import { encodeReportStatusRequest, makeReportStatusRequest, reportStatusBytes } from "../../src/wire/status-codec.ts";
import { reasonAgainst, unless } from "../faults/permitted.ts";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, type LarsProcess, startLars, temporaryFolder } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { SmallDisk } from "../support/small-disk.ts";

setDefaultTimeout(60_000);

const HOSTS = 50;
const noDisk = await reasonAgainst(async () => {
  const disk = await SmallDisk.mount(join(temporaryFolder("disk"), "disk"), 65_536);
  await disk.unmount();
});
let mariadb: Mariadb;
let lars: Lars;
let report: LarsProcess;

beforeAll(async () => {
  mariadb = await startMariadb({ inMemory: true });
  const env = { LARS_REPORT__DATABASE__QUERY_TIMEOUT_MS: "2000" };
  lars = await startLars({ databaseUrl: await mariadb.createDatabase("spool"), dns: 0, agent: 0, env });
  report = lars.report[0]!;
});
afterAll(async () => {
  await lars.stop();
  await mariadb.remove();
});

/** Totals by HTTP of an agent, each host's `succ`; instance 0: a C++ agent's window. */
async function post(instance: number, seq: number, succ: number): Promise<Response> {
  return await report.fetch("/v1/reports", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${ADMIN_TOKEN}` },
    body: JSON.stringify({
      modid: 1,
      cmdid: instance,
      caller: "10.0.0.9",
      results: Array.from({ length: HOSTS }, (_, i) => ({ ip: `10.1.0.${i + 1}`, port: 80, succ, err: 1 })),
      ...(instance === 0 ? {} : { instance: String(instance), seq }),
    }),
  });
}

function frame(instance: number, seq: number, succ: number): Uint8Array {
  const status = makeReportStatusRequest();
  Object.assign(status, {
    modid: 2,
    cmdid: instance,
    caller: 7,
    ts: 5,
    instanceLow: instance,
    seq,
    resultCount: HOSTS,
  });
  for (let i = 0; i < HOSTS; i++) status.results.push({ ip: i + 1, port: 80, succ, err: 1, overload: false });
  const bytes = new Uint8Array(HEADER_BYTES + reportStatusBytes(HOSTS));
  const end = encodeReportStatusRequest(bytes, HEADER_BYTES, status);
  sealFrame(bytes, 0, MSG_REPORT_STATUS_REQUEST, end);
  return bytes.subarray(0, end);
}

async function connect(): Promise<Bun.Socket> {
  return await Bun.connect({ hostname: "127.0.0.1", port: report.ports.tcp, socket: { data() {} } });
}

/** Totals over TCP; nobody answers there. */
async function sendFrame(instance: number, seq: number, succ: number): Promise<void> {
  const socket = await connect();
  socket.write(frame(instance, seq, succ));
  socket.end();
}

async function metric(name: string): Promise<number> {
  return (await report.metrics()).get(`lars_report_${name}`) ?? Number.NaN;
}

async function restart(): Promise<void> {
  await report.kill();
  report.launch();
  // Not ready: the database is away. It takes reports all the same.
  await eventually(async () => expect((await report.fetch("/healthz")).status).toBe(200), { timeoutMs: 15_000 });
}

/** "modid.cmdid rows x counts" of all that is stored. */
async function stored(): Promise<string[]> {
  const rows = await mariadb.sql(
    "spool",
    "SELECT modid, cmdid, COUNT(*), MIN(succ_cnt), MAX(succ_cnt) FROM ServerCallStatus GROUP BY modid, cmdid ORDER BY 1, 2",
  );
  return rows.map(([modid, cmdid, count, least, most]) => `${modid}.${cmdid} ${count} x ${least}..${most}`);
}

test("what was acknowledged while the database was away is stored once after kill -9, restart, and again kill -9", async () => {
  for (const instance of [0, 1, 2]) expect((await post(instance, 1, 10)).status).toBe(202);
  await mariadb.kill();

  expect((await post(1, 2, 25)).status).toBe(202);
  expect((await post(0, 0, 7)).status).toBe(202);
  await sendFrame(5, 1, 100);
  await eventually(async () => expect(await metric("spool_rows")).toBe(3 * HOSTS));
  await restart();
  expect([await metric("waiting_rows"), await metric("spool_rows")]).toEqual([3 * HOSTS, 3 * HOSTS]);
  expect((await post(1, 3, 30)).status).toBe(202);
  expect((await post(2, 2, 11)).status).toBe(202);
  // An older frame that comes late, and one that comes again.
  expect((await post(1, 2, 25)).status).toBe(202);
  await restart();
  expect(await metric("waiting_rows")).toBe(4 * HOSTS);

  await mariadb.start();
  const expected = ["1.0", "1.1", "1.2", "2.5"].map((module, i) => {
    const succ = [7, 30, 11, 100][i];
    return `${module} ${HOSTS} x ${succ}..${succ}`;
  });
  await eventually(async () => expect(await stored()).toEqual(expected), { timeoutMs: 10_000 });
  await eventually(async () => expect(await metric("spool_rows")).toBe(0));

  // Nothing is replayed once it is stored, and counting goes on where it was.
  await restart();
  expect(await metric("waiting_rows")).toBe(0);
  expect((await post(1, 4, 31)).status).toBe(202);
  expect(await stored()).toContain(`1.1 ${HOSTS} x 31..31`);
});

test("a database that hangs delays an acknowledgement by 1 s", async () => {
  mariadb.signal("SIGSTOP");
  try {
    const began = performance.now();
    expect((await post(1, 5, 40)).status).toBe(202);
    expect(performance.now() - began).toBeGreaterThan(900);
    expect(await metric("spool_rows")).toBe(HOSTS);
  } finally {
    mariadb.signal("SIGCONT");
  }
  await eventually(async () => expect(await stored()).toContain(`1.1 ${HOSTS} x 40..40`), { timeoutMs: 15_000 });
});

test("a process that is ended while the database is away ends at once with 0 and leaves what waits in the spool", async () => {
  await mariadb.stop();
  await sendFrame(5, 2, 150);
  await eventually(async () => expect(await metric("waiting_rows")).toBe(HOSTS));
  const began = performance.now();
  expect(await report.stop()).toBe(0);
  expect(performance.now() - began).toBeLessThan(8000);
  await mariadb.start();
  await report.start();
  await eventually(async () => expect(await stored()).toContain(`2.5 ${HOSTS} x 150..150`), { timeoutMs: 10_000 });
});

test("agents that tell 700 hosts where 300 may wait, and end, have told them, though the process ends before it read all", async () => {
  const crowded = await startLars({
    databaseUrl: await mariadb.createDatabase("spool_crowded"),
    dns: 0,
    agent: 0,
    env: { LARS_REPORT__QUEUE__MAX_ROWS: "400" },
  });
  const before = report;
  report = crowded.report[0]!;
  try {
    await mariadb.stop();
    const talkative = await connect();
    for (let instance = 1; instance <= 7; instance++) talkative.write(frame(instance, 1, 10));
    await eventually(async () => expect(await metric("paused_agents")).toBe(1));
    // Not read any more: this stays in the system's buffers.
    talkative.write(frame(8, 1, 10));
    talkative.end();
    for (let instance = 9; instance <= 14; instance++) await sendFrame(instance, 1, 10);
    await eventually(async () => expect(await metric("paused_agents")).toBe(7));
    expect([await metric("waiting_rows"), await metric('frame_events_total{event="held"}')]).toEqual([300, 7]);
    for (const instance of [1, 2]) expect((await post(instance, 1, 10)).status).toBe(202);
    const refused = await post(3, 1, 10);
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
    await eventually(() => expect(report.output).toContain("agents are not read from"));
    expect(await report.stop()).toBe(0);

    report.launch();
    await eventually(async () => expect(await metric("spool_rows")).toBe(800), { timeoutMs: 15_000 });
    expect(await metric('spool_events_total{event="replayed"}')).toBe(800);
    await mariadb.start();
    const sum = "SELECT COUNT(*), MIN(succ_cnt), MAX(succ_cnt) FROM ServerCallStatus";
    await eventually(
      async () => expect((await mariadb.sql("spool_crowded", sum))[0]!.map(Number)).toEqual([800, 10, 10]),
      { timeoutMs: 15_000 },
    );
  } finally {
    report = before;
    await mariadb.start();
    await crowded.stop();
  }
});

test("a damaged spool is put aside, and reports are acknowledged as before", async () => {
  const file = join(report.env.LARS_DATA_DIR!, "report-spool.db");
  await report.kill();
  await mariadb.stop();
  writeFileSync(file, "x".repeat(50_000));
  await restart();
  expect(existsSync(`${file}.damaged`)).toBe(true);
  expect(await metric("spool_damaged_total")).toBe(1);
  expect(report.output).toContain("was damaged");
  expect((await post(2, 3, 12)).status).toBe(202);
  await mariadb.start();
  await eventually(async () => expect(await stored()).toContain(`1.2 ${HOSTS} x 12..12`), { timeoutMs: 10_000 });
});

test.skipIf(noDisk !== undefined)(
  `a full disk: while the database is away nothing is acknowledged that is not kept, and what is told waits in memory${unless(noDisk)}`,
  async () => {
    const disk = await SmallDisk.mount(join(temporaryFolder("spool-disk"), "disk"), 1_048_576);
    const crowded = await startLars({
      databaseUrl: await mariadb.createDatabase("spool_disk"),
      dns: 0,
      agent: 0,
      place: () => ({ command: disk.command }),
      env: { LARS_DATA_DIR: disk.folder },
    });
    const before = report;
    report = crowded.report[0]!;
    try {
      await mariadb.stop();
      expect((await post(1, 1, 10)).status).toBe(202);
      disk.fill();
      let instance = 2;
      // What SQLite's log has room for still fits.
      await eventually(async () => expect((await post(instance++, 1, 10)).status).toBe(503), { timeoutMs: 30_000 });
      expect(report.output).toContain("the spool does not serve");
      expect(await metric("spool_up")).toBe(0);
      disk.clear();
      expect((await post(1, 2, 11)).status).toBe(202);
      expect([await metric("spool_up"), await metric("spool_damaged_total")]).toEqual([1, 0]);
      const told = instance - 1;
      await mariadb.start();
      await eventually(
        async () => {
          const sum = "SELECT COUNT(*), SUM(succ_cnt) FROM ServerCallStatus";
          expect((await mariadb.sql("spool_disk", sum))[0]!.map(Number)).toEqual([
            told * HOSTS,
            told * HOSTS * 10 + HOSTS,
          ]);
        },
        { timeoutMs: 15_000 },
      );
    } finally {
      report = before;
      await mariadb.start();
      await crowded.stop();
      await disk.unmount();
    }
  },
);
