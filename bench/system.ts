// The system under load: real processes on MariaDB, as it would run, and what the kernel says about them.
import { readFileSync } from "node:fs";
import { type Lars, type LarsOptions, type ProcessName, startLars } from "../tests/support/lars-processes.ts";
import { startMariadb } from "../tests/support/mariadb.ts";
import type { BenchContext } from "./bench.ts";

let databases = 0;

/** How what would run on other machines is run here: it takes what the callers and their agent leave. */
const ELSEWHERE = { command: ["nice", "-n", "15"] } as const;
/** MariaDB's own defaults, instead of the small ones that make a test's server start quickly. */
const MARIADB_DEFAULTS = ["--innodb-log-file-size=96M", "--innodb-buffer-pool-size=128M"];

/**
 * dns, report and agent (one of each unless told otherwise) on a MariaDB of their own, ended with the benchmark.
 * `elsewhere`: dns, report and MariaDB, which would run on other machines, give way to callers and agent.
 */
export async function startSystem(context: BenchContext, options: LarsOptions = {}, elsewhere = false): Promise<Lars> {
  const placement = elsewhere ? ELSEWHERE : {};
  const mariadb = await startMariadb({ args: MARIADB_DEFAULTS, placement });
  context.cleanUp(() => mariadb.remove());
  const name = `bench_${++databases}`;
  const databaseUrl = await mariadb.createDatabase(name);
  const place = (process: ProcessName) => (process === "agent" ? {} : placement);
  const lars = await startLars({ databaseUrl, place, ...options });
  context.cleanUp(() => lars.stop());
  return lars;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  return statusBytes(pid, "VmRSS");
}

/** The most it ever was. */
export function peakBytes(pid: number): number {
  return statusBytes(pid, "VmHWM");
}

function statusBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
}

/** Processor time used since it began, in seconds. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
