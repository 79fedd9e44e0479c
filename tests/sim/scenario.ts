// A scenario is a setting with a story and with questions: the figures it is judged by, each over a stated interval.
// `runScenario` is the one call that a person tuning a policy needs.
import type { CallLog } from "./call-log.ts";
import { ABANDONED, FAILED, OK, REFUSED } from "./call-log.ts";
import { type BalancerFactory, play, type Setting } from "./engine.ts";

export type Unit = "share" | "ms" | "x fair" | "s" | "calls";

/** One number a run is judged by. */
export interface Figure {
  readonly name: string;
  readonly unit: Unit;
  /** What is allowed; without one the figure is only shown. */
  readonly limit?: { readonly atMost: number } | { readonly atLeast: number };
  /** What was measured on the original. */
  readonly original?: number;
  readonly measure: (log: CallLog) => number;
}

/** Which hosts are in trouble when: what the times to detect and to readmit count from. */
export interface Trouble {
  readonly hosts: readonly number[];
  readonly fromMs: number;
  readonly untilMs?: number;
}

export interface Scenario extends Setting {
  readonly name: string;
  /** What happens, in a line. */
  readonly title: string;
  /** True for a row of the specification's table; further cases otherwise. */
  readonly isRow: boolean;
  readonly trouble?: Trouble;
  readonly figures: readonly Figure[];
}

export interface FigureResult {
  readonly name: string;
  readonly value: number;
  /** False when a limit is broken. */
  readonly ok: boolean;
}

/** Shares of 1, milliseconds, multiples of the fair share. */
export interface Outcome {
  readonly calls: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly refused: number;
  readonly abandoned: number;
  readonly errorShare: number;
  readonly refusedShare: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** The largest part of all calls that one host got, as a multiple of its fair part. */
  readonly imbalance: number;
  /** How long the hosts in trouble were sent calls, probes apart; NaN: to the end of the trouble. */
  readonly detectMs: number;
  /** How long after the trouble they had four fifths of their fair share again; NaN: not by the end of the run. */
  readonly readmitMs: number;
  readonly figures: readonly FigureResult[];
  readonly log: CallLog;
}

/** Plays a scenario once and measures it. The same arguments give the same outcome. */
export function runScenario(scenario: Scenario, factory: BalancerFactory, seed: number): Outcome {
  const log = play(scenario, factory, seed);
  const [p50Ms, p99Ms, p999Ms] = log.percentiles([0.5, 0.99, 0.999]) as [number, number, number];
  const { detectMs, readmitMs } = times(scenario, log);
  return {
    calls: log.length,
    succeeded: log.count(OK),
    failed: log.count(FAILED),
    refused: log.count(REFUSED),
    abandoned: log.count(ABANDONED),
    errorShare: log.errorShare(),
    refusedShare: log.refusedShare(),
    p50Ms,
    p99Ms,
    p999Ms,
    imbalance: log.largestLoad(),
    detectMs,
    readmitMs,
    figures: scenario.figures.map((figure) => {
      const value = figure.measure(log);
      return { name: figure.name, value, ok: isWithin(figure, value) };
    }),
    log,
  };
}

export function isWithin(figure: Figure, value: number): boolean {
  if (figure.limit === undefined) return true;
  return "atMost" in figure.limit ? value <= figure.limit.atMost : value >= figure.limit.atLeast;
}

const STEP_MS = 100;
/** Calls that a host would get in a window at its fair share: fewer would be decided by luck. */
const CALLS_IN_WINDOW = 40;
/** No call for as long as the fair share would bring this many: by chance that happens once in e^8 = 3000 calls. */
const CALLS_MISSED = 8;

/** When the calls to the hosts in trouble cease, and when their load is back. */
function times(scenario: Scenario, log: CallLog): { detectMs: number; readmitMs: number } {
  const { trouble, durationMs } = scenario;
  if (trouble === undefined) return { detectMs: Number.NaN, readmitMs: Number.NaN };
  const fairPerMs = (trouble.hosts.reduce((sum, host) => sum + log.fair[host]!, 0) * scenario.rate) / 1000;
  return {
    detectMs: firstPause(log, trouble.hosts, trouble.fromMs, trouble.untilMs ?? durationMs, CALLS_MISSED / fairPerMs),
    readmitMs:
      trouble.untilMs === undefined
        ? Number.NaN
        : firstFair(log, trouble.hosts, trouble.untilMs, durationMs, Math.max(500, CALLS_IN_WINDOW / fairPerMs)),
  };
}

/** How long after `fromMs` the first stretch of `pauseMs` without a call to these hosts begins; NaN: none ends in time. */
function firstPause(log: CallLog, hosts: readonly number[], fromMs: number, untilMs: number, pauseMs: number): number {
  let lastMs = fromMs;
  const end = log.at(untilMs);
  for (let i = log.at(fromMs); i < end; i++) {
    if (!hosts.includes(log.host[i]!)) continue;
    if (log.startMs[i]! - lastMs >= pauseMs) break;
    lastMs = log.startMs[i]!;
  }
  return untilMs - lastMs >= pauseMs ? lastMs - fromMs : Number.NaN;
}

/** How long after `fromMs` the first window begins in which these hosts have four fifths of their fair share. */
function firstFair(log: CallLog, hosts: readonly number[], fromMs: number, untilMs: number, windowMs: number): number {
  for (let ms = fromMs; ms + windowMs <= untilMs; ms += STEP_MS) {
    if (log.loadOf(hosts, ms, ms + windowMs) >= 0.8) return ms - fromMs;
  }
  return Number.NaN;
}
