// Many seeds of one scenario and one policy, as the median and the worst of every number. The worst is what a user who is
// unlucky gets; a mean would hide him.
import type { BalancerFactory } from "./engine.ts";
import { type Figure, isWithin, type Outcome, runScenario, type Scenario, type Unit } from "./scenario.ts";

export interface Spread {
  readonly median: number;
  readonly worst: number;
}

export interface FigureSummary extends Spread {
  readonly name: string;
  readonly unit: Unit;
  readonly limit: Figure["limit"];
  readonly original: number | undefined;
  /** Of the seeds, how many broke the limit. */
  readonly broken: number;
}

export interface Summary {
  readonly scenario: string;
  readonly policy: string;
  readonly seeds: number;
  readonly errorShare: Spread;
  readonly refusedShare: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly p999Ms: Spread;
  readonly imbalance: Spread;
  readonly detectMs: Spread;
  readonly readmitMs: Spread;
  readonly figures: readonly FigureSummary[];
}

/** Plays seeds 1 to `seeds`. */
export function summarize(scenario: Scenario, policy: string, factory: BalancerFactory, seeds: number): Summary {
  const outcomes: Omit<Outcome, "log">[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    // Without the log: twenty of them would be kept for nothing.
    const { log: _, ...outcome } = runScenario(scenario, factory, seed);
    outcomes.push(outcome);
  }
  const spread = (value: (outcome: Omit<Outcome, "log">) => number, worstIsLeast = false): Spread =>
    spreadOf(outcomes.map(value), worstIsLeast);
  return {
    scenario: scenario.name,
    policy,
    seeds,
    errorShare: spread((outcome) => outcome.errorShare),
    refusedShare: spread((outcome) => outcome.refusedShare),
    p50Ms: spread((outcome) => outcome.p50Ms),
    p99Ms: spread((outcome) => outcome.p99Ms),
    p999Ms: spread((outcome) => outcome.p999Ms),
    imbalance: spread((outcome) => outcome.imbalance),
    detectMs: spread((outcome) => outcome.detectMs),
    readmitMs: spread((outcome) => outcome.readmitMs),
    figures: scenario.figures.map((figure, index) => ({
      name: figure.name,
      unit: figure.unit,
      limit: figure.limit,
      original: figure.original,
      broken: outcomes.filter((outcome) => !isWithin(figure, outcome.figures[index]!.value)).length,
      ...spread((outcome) => outcome.figures[index]!.value, figure.limit !== undefined && "atLeast" in figure.limit),
    })),
  };
}

/** NaN stands for "never", which is worse than any number. */
function spreadOf(values: readonly number[], worstIsLeast: boolean): Spread {
  const rank = (value: number): number => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value);
  const sorted = [...values].sort((a, b) => rank(a) - rank(b));
  return { median: sorted[(sorted.length - 1) >> 1]!, worst: worstIsLeast ? sorted[0]! : sorted.at(-1)! };
}
