// The database away for a minute, killed, under load: do callers notice, does dns answer and refuse as it should, is every
// reported call stored in the end, and how long until all is as before.
import { eventually } from "../../tests/support/eventually.ts";
import { startLars } from "../../tests/support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../../tests/support/mariadb.ts";
import { type Bench, count, importModules, type Row } from "../bench.ts";
import { runNative } from "../native.ts";

const AWAY_MS = 60_000;
/** Of load before and after, so that what is lost at the edges would show. */
const EDGE_MS = 2_000;
const MODULES = 60;
const PAIRS_PER_SECOND = 10_000;
const READS_PER_SECOND = 500;
const WRITE_EVERY_MS = 100;
const HEALED_MS = 5_000;
const DATABASE = "bench_outage";

async function storedCalls(mariadb: Mariadb): Promise<number> {
  const rows = await mariadb.sql(DATABASE, "SELECT SUM(succ_cnt) FROM ServerCallStatus");
  return Number(rows[0]?.[0] ?? 0);
}

export const outage: Bench = {
  name: "outage",
  about: `the database killed and away for ${AWAY_MS / 1000} s under load`,
  async run(context) {
    const mariadb = await startMariadb();
    context.cleanUp(() => mariadb.remove());
    const lars = await startLars({ databaseUrl: await mariadb.createDatabase(DATABASE) });
    context.cleanUp(() => lars.stop());
    await importModules(lars, MODULES, 10);
    const [agent, dns] = [lars.agent[0]!, lars.dns[0]!];
    const write = async (weight: number): Promise<number> =>
      (await lars.admin("PATCH", "/v1/routes/1/1/hosts/10.1.0.1:7000", { weight })).status;
    const call = (milliseconds: number) =>
      runNative("udp-load", {
        ...{ port: agent.ports.udp, shards: 3, threads: 1, modules: MODULES },
        ...{ rate: PAIRS_PER_SECOND, milliseconds },
      });
    const warmUp = await call(1000);

    const milliseconds = AWAY_MS + 2 * EDGE_MS;
    const calls = call(milliseconds);
    const reads = runNative("http-load", {
      ...{ port: dns.ports.http, connections: 8, rate: READS_PER_SECOND, milliseconds },
      ...{ path: "/v1/routes/{n}/1", first: 1, count: MODULES },
    });
    await Bun.sleep(EDGE_MS);
    await mariadb.kill();
    context.say("the database is gone");
    const statuses = new Map<number, number>();
    let slowestMs = 0;
    const awayUntil = performance.now() + AWAY_MS;
    for (let weight = 1; performance.now() < awayUntil; weight = (weight % 1000) + 1) {
      const asked = performance.now();
      const status = await write(weight);
      slowestMs = Math.max(slowestMs, performance.now() - asked);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await Bun.sleep(WRITE_EVERY_MS);
    }
    await mariadb.start();
    const backMs = performance.now();
    context.say("the database is back");
    await eventually(
      async () => {
        const status = await write(50);
        if (status !== 200) throw new Error(`a write is answered with ${status}`);
      },
      { timeoutMs: 60_000 },
    );
    const writesAfterMs = performance.now() - backMs;
    const [called, read] = await Promise.all([calls, reads]);
    const endedMs = performance.now();
    const reported = warmUp.reported! + called.reported!;
    let stored = 0;
    await eventually(
      async () => {
        stored = await storedCalls(mariadb);
        if (stored < reported) throw new Error(`${stored} of ${reported} calls are stored`);
      },
      { timeoutMs: 60_000 },
    );
    const storedAfterMs = performance.now() - endedMs;
    const failedCalls = called.lost! + called.overload! + called.noModule! + called.systemError! + called.wrong!;
    const failedReads = read.answered! - read.ok! + read.errors!;
    const refusals = [...statuses].map(([status, times]) => `${count(times)} x ${status}`).join(", ");
    const row: Row = {
      what: `the database killed and away for ${AWAY_MS / 1000} s, ${count(PAIRS_PER_SECOND)} pairs/s at the agent, ${READS_PER_SECOND} reads/s at dns`,
      target: "no error at the agent; dns reads, refuses writes with 503; report loses nothing; healed within 5 s",
      reference: "",
      ours:
        `${failedCalls} of ${count(called.answered!)} picks failed; ${failedReads} of ${count(read.answered!)} reads; ` +
        `writes ${refusals}, the slowest ${slowestMs.toFixed(0)} ms; ${count(stored)} of ${count(reported)} reported calls stored, ` +
        `the last ${(storedAfterMs / 1000).toFixed(1)} s after the load; writes taken ${(writesAfterMs / 1000).toFixed(1)} s after the database was back`,
      met:
        failedCalls + failedReads === 0 &&
        [...statuses.keys()].every((status) => status === 503) &&
        stored === reported &&
        Math.max(writesAfterMs, storedAfterMs) <= HEALED_MS,
      data: { failedCalls, failedReads, refusals, slowestMs, stored, reported, storedAfterMs, writesAfterMs },
    };
    return [row];
  },
};
