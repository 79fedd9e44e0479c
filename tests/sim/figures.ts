// The words scenarios are written in: equal hosts with faults, and figures over an interval given in seconds.
import type { Fault, HostSpec, LatencyModel } from "./host-model.ts";
import type { Figure, Scenario } from "./scenario.ts";

export const USUAL: LatencyModel = { kind: "normal", ms: 20, deviationMs: 5 };

export type ScenarioSketch = Omit<Scenario, "sendLatency">;

export const ONE_AGENT = { arrivals: "poisson", agents: 1, callersPerAgent: 8 } as const;

/** `count` equal hosts; the first ones have the faults given, a list a host. */
export function equalHosts(count: number, latency: LatencyModel, ...faults: readonly Fault[][]): readonly HostSpec[] {
  return Array.from({ length: count }, (_, index) => ({ latency, faults: faults[index] ?? [] }));
}

export function errors(
  name: string,
  fromS: number,
  untilS: number,
  more: Pick<Figure, "limit" | "original"> = {},
): Figure {
  return { name, unit: "share", measure: (log) => log.errorShare(fromS * 1000, untilS * 1000), ...more };
}

export function refusals(
  name: string,
  fromS: number,
  untilS: number,
  more: Pick<Figure, "limit" | "original"> = {},
): Figure {
  return { name, unit: "share", measure: (log) => log.refusedShare(fromS * 1000, untilS * 1000), ...more };
}

export function load(
  name: string,
  hosts: readonly number[],
  fromS: number,
  untilS: number,
  more: Pick<Figure, "limit" | "original"> = {},
): Figure {
  return { name, unit: "x fair", measure: (log) => log.loadOf(hosts, fromS * 1000, untilS * 1000), ...more };
}

export function percentile(
  name: string,
  p: number,
  fromS: number,
  untilS: number,
  more: Pick<Figure, "limit" | "original"> = {},
): Figure {
  return { name, unit: "ms", measure: (log) => log.percentile(p, fromS * 1000, untilS * 1000), ...more };
}
