// The system under load: real processes on MariaDB, as it would run, and what the kernel says about them.
import { readFileSync } from "node:fs";
import { type Lars, type LarsOptions, startLars } from "../tests/support/lars-processes.ts";
import { startMariadb } from "../tests/support/mariadb.ts";
import type { BenchContext } from "./bench.ts";

let databases = 0;

/** dns, report and agent (one of each unless told otherwise) on a MariaDB of their own, ended with the benchmark. */
export async function startSystem(context: BenchContext, options: LarsOptions = {}): Promise<Lars> {
  const mariadb = await startMariadb();
  context.cleanUp(() => mariadb.remove());
  const name = `bench_${++databases}`;
  const databaseUrl = await mariadb.createDatabase(name);
  const lars = await startLars({ databaseUrl, ...options });
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
