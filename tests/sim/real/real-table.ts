// Real figures beside simulated ones. The question is not only whether a limit holds but whether the simulator, on which
// all tuning rests, foretold it: a real figure outside of what many seeds gave is marked.

import { type BalancerFactory, play } from "../engine.ts";
import { type Figure, isWithin, type Scenario } from "../scenario.ts";
import { format, formatLimit, formatTable } from "../table.ts";
import type { RealOutcome } from "./real-session.ts";
import { stretch, unstretch } from "./stretch.ts";

/** Shares of 1, ms, multiples of the fair share. NaN: never. */
export interface ComparedFigure {
  readonly figure: Figure;
  readonly real: number;
  /** Undefined: there is no limit, or the scenario was stretched and its limits do not apply. */
  readonly ok: boolean | undefined;
  readonly simulated: { readonly median: number; readonly least: number; readonly most: number };
  /** The real figure lies where the simulated ones do. */
  readonly isForetold: boolean;
}

export interface ComparedScenario {
  readonly scenario: string;
  readonly policy: string;
  readonly calls: number;
  readonly figures: readonly ComparedFigure[];
}

/** What is shown of every scenario besides its own figures. */
const GENERAL: readonly Figure[] = [
  { name: "all errors", unit: "share", measure: (log) => log.errorShare() },
  { name: "all refused", unit: "share", measure: (log) => log.refusedShare() },
  { name: "p50 of all", unit: "ms", measure: (log) => log.percentile(0.5) },
  { name: "p99 of all", unit: "ms", measure: (log) => log.percentile(0.99) },
];

/**
 * Measures a real run, and `seeds` simulated ones of the same plan. In the simulator a pick takes no time, so a latency
 * may exceed what it foretold by `pickMs`.
 */
export function compare(
  outcome: RealOutcome,
  policy: string,
  factory: BalancerFactory,
  seeds: number,
  scale: number,
  pickMs: number,
): ComparedScenario {
  const { scenario, log } = outcome;
  const figures = [...scenario.figures, ...GENERAL];
  const simulated = simulate(scenario, figures, factory, seeds, scale);
  return {
    scenario: scenario.name,
    policy,
    calls: log.length,
    figures: figures.map((figure, index) => {
      const real = figure.measure(log);
      const sorted = simulated[index]!;
      return {
        figure,
        real,
        ok: figure.limit === undefined || scale !== 1 ? undefined : isWithin(figure, real),
        simulated: { median: sorted[(sorted.length - 1) >> 1]!, least: sorted[0]!, most: sorted.at(-1)! },
        isForetold: liesWithin(real, sorted[0]!, sorted.at(-1)!, figure.unit === "ms" ? pickMs : 0),
      };
    }),
  };
}

/** A sorted list of values a figure. */
function simulate(
  scenario: Scenario,
  figures: readonly Figure[],
  factory: BalancerFactory,
  seeds: number,
  scale: number,
): readonly (readonly number[])[] {
  const values = figures.map((): number[] => []);
  for (let seed = 1; seed <= seeds; seed++) {
    const log = play(stretch(scenario, scale), factory, seed);
    unstretch(log, scale);
    for (const [index, figure] of figures.entries()) values[index]!.push(figure.measure(log));
  }
  const rank = (value: number): number => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value);
  return values.map((list) => list.sort((a, b) => rank(a) - rank(b)));
}

/** NaN stands for "never", which is beyond every number. */
function liesWithin(real: number, least: number, most: number, slack: number): boolean {
  if (Number.isNaN(real)) return Number.isNaN(most);
  return real >= least && (Number.isNaN(most) || real <= most + slack);
}

function verdict(ok: boolean | undefined): string {
  if (ok === undefined) return "";
  return ok ? "ok" : "BROKEN";
}

export function formatComparison(scenarios: readonly ComparedScenario[]): string {
  const rows = scenarios.flatMap(({ scenario, figures }) => [
    [scenario, "", "", "", "", "", "", ""],
    ...figures.map(({ figure, real, ok, simulated, isForetold }) => {
      const { unit } = figure;
      return [
        `  ${figure.name}`,
        figure.original === undefined ? "" : format(figure.original, unit),
        formatLimit(figure),
        format(real, unit),
        verdict(ok),
        format(simulated.median, unit),
        `${format(simulated.least, unit)} - ${format(simulated.most, unit)}`,
        isForetold ? "" : "outside",
      ];
    }),
  ]);
  return formatTable(["", "original", "limit", "real", "", "simulated", "least - most", ""], rows);
}
