// What can be said of picks that failed, besides how many: datagrams dropped on their way, and who waited for a processor
// how long. On a machine where 25 programs want two cores, an answer may be lost or late without a fault of anybody's.
import { readdirSync, readFileSync } from "node:fs";
import { type LarsProcess, sumMetric } from "../support/lars-processes.ts";
import type { CallerSummary } from "./callers.ts";

const AGENT_COUNTS = ["dropped_by_socket", "send_errors", "wait_timeouts", "waiting_full", "forward_dropped"] as const;

export interface PickMarks {
  readonly agent: ReadonlyMap<string, number>;
  /** Packets the kernel dropped between two sockets because a processor's queue was full. */
  readonly queueDrops: number;
  /** Thread -> milliseconds for which it could have run and did not. */
  readonly waitedMs: ReadonlyMap<string, number>;
}

function queueDrops(): number {
  const processors = readFileSync("/proc/net/softnet_stat", "utf8").trim().split("\n");
  return processors.reduce((sum, line) => sum + Number.parseInt(line.split(" ")[1]!, 16), 0);
}

function waitedMs(pid: number): Map<string, number> {
  const tasks = `/proc/${pid}/task`;
  const waited = new Map<string, number>();
  for (const task of readdirSync(tasks)) {
    try {
      waited.set(task, Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[1]) / 1e6);
    } catch {
      // It has ended meanwhile.
    }
  }
  return waited;
}

/** Undefined: the agent does not run. */
export async function pickMarks(agent: LarsProcess): Promise<PickMarks | undefined> {
  if (!agent.isRunning) return undefined;
  return { agent: await agent.metrics(), queueDrops: queueDrops(), waitedMs: waitedMs(agent.pid) };
}

/** One line for people. */
export function pickStory(before: PickMarks | undefined, after: PickMarks | undefined, caller: CallerSummary): string {
  const { outcomes, slowestMs, heldUpMs, longestHeldUpMs } = caller;
  const story: Record<string, unknown> = {
    outcomes,
    "slowest answer, ms": Math.round(slowestMs),
    "callers held up, ms": [Math.round(heldUpMs), Math.round(longestHeldUpMs)],
  };
  if (before !== undefined && after !== undefined) {
    for (const name of AGENT_COUNTS) {
      const metric = `lars_agent_shard_${name}_total`;
      story[name] = sumMetric(after.agent, metric) - sumMetric(before.agent, metric);
    }
    story["dropped before a socket"] = after.queueDrops - before.queueDrops;
    const waits = [...after.waitedMs].map(([task, ms]) => Math.round(ms - (before.waitedMs.get(task) ?? 0)));
    story["the agent's threads waited for a processor, ms"] = waits.filter((ms) => ms > 0).sort((a, b) => b - a);
  }
  return JSON.stringify(story);
}
