// All scenarios. Every one exists twice: callers send the latency of their calls (`name`), and they do not
// (`name/untimed`).
import type { ScenarioSketch } from "./figures.ts";
import type { Scenario } from "./scenario.ts";
import { FURTHER } from "./scenario-further.ts";
import { ROWS } from "./scenario-rows.ts";

const bothWays = (sketch: ScenarioSketch): readonly Scenario[] => [
  { ...sketch, sendLatency: true },
  { ...sketch, name: `${sketch.name}/untimed`, sendLatency: false },
];

export const SCENARIOS: readonly Scenario[] = [...ROWS, ...FURTHER].flatMap(bothWays);
