// Which scenarios run at the same time. They are different modules and do not interact, but they share a machine: with
// too many calls a second the driver would be late and the figures would be about the driver. So scenarios go into the
// first group that has room, longest first, since a group takes as long as its longest.
import type { Scenario } from "../scenario.ts";

export function makeGroups(scenarios: readonly Scenario[], maxRate: number): readonly (readonly Scenario[])[] {
  const groups: { scenarios: Scenario[]; rate: number }[] = [];
  for (const scenario of [...scenarios].sort((a, b) => b.durationMs - a.durationMs)) {
    let group = groups.find(({ rate }) => rate + scenario.rate <= maxRate);
    if (group === undefined) {
      group = { scenarios: [], rate: 0 };
      groups.push(group);
    }
    group.scenarios.push(scenario);
    group.rate += scenario.rate;
  }
  return groups.map((group) => group.scenarios);
}
