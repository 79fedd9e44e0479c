// A well-behaved caller beside the fuzz, and what must hold of the processes when it is over: the same process as
// before, no larger than a bound, no error in its log, every call of the caller answered, in time, and counted.
import { expect } from "bun:test";
import type { ModuleKey } from "../../src/core/module-key.ts";
import { eventually } from "../support/eventually.ts";
import type { Lars, LarsProcess } from "../support/lars-processes.ts";
import { sumMetric } from "../support/lars-processes.ts";
import { SteadyCaller } from "../support/steady-caller.ts";

/** Numbers that no mutation of other frames comes to by chance. */
const MODULES: readonly ModuleKey[] = [0, 1, 2].map((cmdid) => ({ modid: 1_234_567_000, cmdid }));
const HOSTS = [1, 2, 3].map((n) => ({ ip: `203.0.113.${n}`, port: 4711 }));
const CALLS_PER_SECOND = 200;

interface Before {
  readonly process: LarsProcess;
  readonly pid: number;
  readonly residentBytes: number;
  readonly outputLength: number;
}

export class Witness {
  private constructor(
    private readonly lars: Lars,
    private readonly caller: SteadyCaller,
    private readonly end: () => Promise<void>,
    private readonly before: readonly Before[],
    private readonly storedBefore: Readonly<Record<string, number>>,
    private readonly startedAtMs: number,
  ) {}

  static async begin(lars: Lars): Promise<Witness> {
    const [agent] = lars.agent;
    for (const { modid, cmdid } of MODULES) {
      const response = await lars.admin("PUT", `/v1/routes/${modid}/${cmdid}`, { hosts: HOSTS });
      expect(response.status).toBe(200);
    }
    const caller = await SteadyCaller.open({ port: agent!.ports.udp });
    for (const module of MODULES) {
      await eventually(async () => expect(await caller.pick(module)).toMatchObject({ retcode: 0 }));
    }
    const before: Before[] = [];
    for (const process of lars.all) {
      before.push({
        process,
        pid: process.pid,
        residentBytes: await resident(process),
        outputLength: process.output.length,
      });
    }
    const stored = await storedCalls(lars);
    const end = caller.steadily(MODULES, CALLS_PER_SECOND);
    return new Witness(lars, caller, end, before, stored, performance.now());
  }

  /** Datagrams that the caller sent: a request each call, and a report each success. */
  get datagrams(): number {
    let sent = this.caller.timeouts;
    for (const count of this.caller.retcodes.values()) sent += count;
    for (const { succ, err } of this.caller.calls.values()) sent += succ + err;
    return sent;
  }

  /** Ends the caller, so that what it sent can be counted. */
  async stop(): Promise<void> {
    await this.end();
  }

  /**
   * Checks everything; returns a line of measurements.
   * @param mayGrowBytes what each process may have grown by, beyond what it was before
   */
  async check(mayGrowBytes: number): Promise<string> {
    const { caller } = this;
    // Each was answered with a host within a second.
    expect(caller.failures).toBe(0);
    const calls = [...caller.calls.values()].reduce((sum, { succ, err }) => sum + succ + err, 0);
    expect(calls).toBeGreaterThan(0);
    await eventually(async () => expect(await storedCalls(this.lars)).toEqual(this.#wanted()), { timeoutMs: 15_000 });
    const lines = [`caller: ${calls} calls, 0 failed, slowest ${caller.slowestMs.toFixed(1)} ms`];
    for (const { process, pid, residentBytes, outputLength } of this.before) {
      expect([process.name, process.isRunning && process.pid]).toEqual([process.name, pid]);
      const output = process.output.slice(outputLength);
      expect([process.name, output.split("\n").filter((line) => line.includes('"error"'))]).toEqual([process.name, []]);
      // A line that input can cause is limited to a few a second.
      const seconds = (performance.now() - this.startedAtMs) / 1000;
      expect([process.name, output.split("\n").length < 50 + 20 * seconds]).toEqual([process.name, true]);
      const after = await resident(process);
      expect([process.name, after - residentBytes <= mayGrowBytes || `grew by ${mib(after - residentBytes)}`]).toEqual([
        process.name,
        true,
      ]);
      lines.push(`${process.name} ${mib(residentBytes)} -> ${mib(after)}`);
    }
    const samples = await this.lars.agent[0]!.metrics();
    expect(sumMetric(samples, "lars_agent_shard_restarts_total")).toBe(0);
    for (const module of MODULES) expect(await caller.pick(module)).toMatchObject({ retcode: 0 });
    caller.close();
    return `${lines.join("; ")}; ${((performance.now() - this.startedAtMs) / 1000).toFixed(1)} s`;
  }

  #wanted(): Record<string, number> {
    const calls = [...this.caller.calls].map(([key, { succ, err }]) => [key, succ + err] as const);
    return Object.fromEntries(calls.map(([key, count]) => [key, count + (this.storedBefore[key] ?? 0)]));
  }
}

/** Calls of the caller's modules as the report service has them: "modid.cmdid ip:port" -> calls. */
async function storedCalls(lars: Lars): Promise<Record<string, number>> {
  const response = await fetch(`${lars.report[0]!.url}/v1/status?modid=${MODULES[0]!.modid}`);
  const { status } = (await response.json()) as {
    status: { modid: number; cmdid: number; ip: string; port: number; succ: number; err: number }[];
  };
  return Object.fromEntries(
    status.map(({ modid, cmdid, ip, port, succ, err }) => [`${modid}.${cmdid} ${ip}:${port}`, succ + err]),
  );
}

async function resident(process: LarsProcess): Promise<number> {
  return sumMetric(await process.metrics(), `lars_${process.name}_resident_memory_bytes`);
}

function mib(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(0)} MiB`;
}
