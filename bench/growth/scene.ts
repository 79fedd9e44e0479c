// What the axes share: a database with so many routes in it, filled by plain SQL in seconds (over HTTP a million hosts take
// minutes), and processor time finer than the kernel's ticks.
import { readdirSync, readFileSync } from "node:fs";
import { openDatabase } from "../../src/store/open.ts";
import { type Lars, makeLars } from "../../tests/support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../../tests/support/mariadb.ts";
import type { GrowthContext } from "./growth.ts";

/** Of all threads a process has now, in milliseconds. */
export function cpuMs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // the thread ended
    }
  }
  return ns / 1e6;
}

export async function startDatabase(context: GrowthContext): Promise<Mariadb> {
  const mariadb = await startMariadb({ flushLogAtCommit: 2, args: ["--innodb-buffer-pool-size=1G"] });
  context.cleanUp(() => mariadb.remove());
  return mariadb;
}

/** An empty database, then modules 1.1, 2.1, … with hosts from 10.x.0.1:7000 on. Returns its URL. */
export async function filledDatabase(mariadb: Mariadb, name: string, modules: number, hosts: number): Promise<string> {
  const url = await mariadb.createDatabase(name);
  const database = await openDatabase(url);
  await database.migrate();
  await database.close();
  const rows = (columns: string) =>
    `SELECT m.seq, 1, ${ipOf("m.seq", "h.seq")}, 7000${columns} FROM seq_1_to_${modules} m, seq_1_to_${hosts} h ORDER BY 1, 2, 3`;
  const revision = 1_700_000_000;
  await mariadb.sql(
    name,
    `INSERT INTO lars_route (modid, cmdid, name, revision) SELECT seq, 1, '', ${revision} FROM seq_1_to_${modules}`,
    `INSERT INTO lars_host (modid, cmdid, ip, port, weight, zone, state, leased) ${rows(", 100, '', 'up', 0")}`,
    `INSERT INTO RouteData (modid, cmdid, serverip, serverport) ${rows("")}`,
    `UPDATE lars_state SET revision = ${revision}, route_version = ${revision}`,
    `UPDATE RouteVersion SET version = ${revision}`,
    "ANALYZE TABLE lars_host, lars_route, RouteData",
  );
  return url;
}

function ipOf(module: string, host: string): string {
  return `167772160 + (${module} % 200) * 65536 + ${host}`;
}

/** As filledDatabase numbers them, from 1. */
export function hostAddress(module: number, host: number): string {
  return `10.${module % 200}.${host >> 8}.${host & 255}:7000`;
}

export async function serverPid(mariadb: Mariadb, database: string): Promise<number> {
  const [row] = await mariadb.sql(database, "SELECT @@pid_file");
  return Number(readFileSync(String(row![0]), "utf8"));
}

/** A dns service alone, on a database that is there; not started. */
export async function oneDns(context: GrowthContext, databaseUrl: string): Promise<Lars> {
  const lars = await makeLars({
    ...{ databaseUrl, report: 0, agent: 0 },
    // The comparison of whole tables is measured by itself, and what else an idle process does is to be little beside polls.
    env: { LARS_DNS__ROUTES__FULL_RELOAD_INTERVAL_S: "86400", LARS_DNS__ROUTES__POLL_INTERVAL_MS: "20" },
  });
  context.cleanUp(() => lars.stop());
  return lars;
}

/** Another weight for the first host of a module. */
export async function changeOne(lars: Lars, module: number, weight: number): Promise<void> {
  const answer = await lars.admin("PATCH", `/v1/routes/${module}/1/hosts/${hostAddress(module, 1)}`, { weight });
  if (!answer.ok) throw new Error(`the change was refused: ${answer.status} ${await answer.text()}`);
  await answer.arrayBuffer();
}

/** Processor time of a process for one run of `work`, over `times`. */
export async function cpuOf(pid: number, times: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const before = cpuMs(pid);
  for (let i = 0; i < times; i++) await work(i);
  return (cpuMs(pid) - before) / times;
}
