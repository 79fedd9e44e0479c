// `bun run sim --real`: the scenarios in real time on a real agent over UDP, one policy after the other, and next to each
// figure what the simulator foretells. This is what keeps the simulator honest.
import type { PolicyName } from "../../../src/core/policies.ts";
import type { Contender } from "../contenders.ts";
import type { Scenario } from "../scenario.ts";
import { makeGroups } from "./groups.ts";
import type { Times } from "./histogram.ts";
import { type AgentCounts, type GroupOutcome, RealSession } from "./real-session.ts";
import { type ComparedScenario, compare, formatComparison } from "./real-table.ts";

/** Calls a second of a group. Each is three datagrams; the driver then takes about a tenth of a core. */
const MAX_RATE = 4000;

export interface RealOptions {
  readonly scenarios: readonly Scenario[];
  readonly contenders: readonly Contender[];
  /** Simulated runs to compare with. */
  readonly seeds: number;
  readonly scale: number;
  readonly json: string | undefined;
  readonly write: (text: string) => void;
  readonly progress: (text: string) => void;
}

interface PolicyResult {
  readonly policy: string;
  readonly scenarios: readonly ComparedScenario[];
  readonly groups: readonly GroupOutcome[];
  readonly agent: AgentCounts;
}

/** Returns the exit code: 1 when `adaptive` breaks a limit or a run was unsound, as the simulator has it. */
export async function runReal(options: RealOptions): Promise<number> {
  const { write, contenders, scale } = options;
  // Without this the agent would outlive a Ctrl-C: its end hangs on the exit event.
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  const results: PolicyResult[] = [];
  let isSound = true;
  let isBroken = false;
  for (const contender of contenders) {
    const result = await playPolicy(contender, options);
    results.push(result);
    const figures = result.scenarios.flatMap((scenario) => scenario.figures);
    const outside = figures.filter(({ isForetold }) => !isForetold).length;
    const unsound = problems(result);
    write(
      `== ${contender.name}: real agent, UDP${scale === 1 ? "" : `; seconds x ${scale}, so that no limit applies`}\n`,
    );
    write(`${formatComparison(result.scenarios)}\n\n`);
    write(`${outside} of ${figures.length} figures are outside of what ${options.seeds} simulated runs gave\n`);
    write(`${result.groups.map(describeGroup).join("")}agent: ${JSON.stringify(result.agent)}\n`);
    for (const problem of unsound) write(`UNSOUND ${problem}\n`);
    write("\n");
    if (unsound.length > 0) isSound = false;
    if (contender.name === "adaptive" && figures.some(({ ok }) => ok === false)) isBroken = true;
  }
  if (options.json !== undefined)
    await Bun.write(options.json, `${JSON.stringify(results.map(withoutLogs), null, 2)}\n`);
  return isSound && !isBroken ? 0 : 1;
}

async function playPolicy(contender: Contender, options: RealOptions): Promise<PolicyResult> {
  const { scale, seeds, progress } = options;
  const session = await RealSession.start(contender.name as PolicyName, scale, 1);
  try {
    const plan = makeGroups(options.scenarios, MAX_RATE);
    const groups: GroupOutcome[] = [];
    for (const [index, scenarios] of plan.entries()) {
      groups.push(
        await session.play(scenarios, (seconds, total) =>
          progress(
            `${contender.name}: group ${index + 1}/${plan.length}, ${seconds.toFixed(0)} of ${total.toFixed(0)} s`,
          ),
        ),
      );
    }
    progress("");
    const agent = await session.counts();
    const compared = options.scenarios.map((scenario) => {
      progress(`${contender.name}: simulating ${scenario.name}`);
      const group = groups.find(({ outcomes }) => outcomes.some((outcome) => outcome.scenario === scenario))!;
      const outcome = group.outcomes.find((candidate) => candidate.scenario === scenario)!;
      return compare(outcome, contender.name, contender.factory, seeds, scale, group.picks.p99Ms);
    });
    progress("");
    return { policy: contender.name, scenarios: compared, groups, agent };
  } finally {
    await session.stop();
  }
}

const times = ({ p50Ms, p99Ms, maxMs }: Times): string =>
  `p50 ${p50Ms.toFixed(2)} p99 ${p99Ms.toFixed(2)} max ${maxMs.toFixed(1)} ms`;

function describeGroup(group: GroupOutcome, index: number): string {
  const { outcomes, seconds, rate, lag, picks, driverCpuShare } = group;
  return (
    `group ${index + 1}: ${outcomes.length} scenarios, ${picks.count} picks in ${seconds.toFixed(0)} s, at most ${rate}/s; ` +
    `driver late by ${times(lag)}, ${(driverCpuShare * 100).toFixed(0)} % of a core; pick answered after ${times(picks)}\n`
  );
}

/** Why the figures of a run should not be believed. */
function problems({ groups, agent }: PolicyResult): readonly string[] {
  const found: string[] = [];
  let reports = 0;
  for (const group of groups) {
    reports += group.reports;
    if (group.notSent > 0) found.push(`${group.notSent} datagrams were not sent`);
    for (const { scenario, mishaps, routeFailures } of group.outcomes) {
      const { unanswered, unknown, stray } = mishaps;
      if (unanswered > 0) found.push(`${scenario.name}: ${unanswered} picks got no answer`);
      if (unknown > 0) found.push(`${scenario.name}: ${unknown} picks were answered with no such module`);
      if (stray > 0) found.push(`${scenario.name}: ${stray} answers to no question`);
      for (const failure of routeFailures) found.push(`${scenario.name}: ${failure}`);
    }
  }
  const arrived = agent.reports + agent.reportsOfStrangers;
  if (arrived !== reports) found.push(`the agent counted ${arrived} of ${reports} reports`);
  return found;
}

function withoutLogs(result: PolicyResult): unknown {
  const groups = result.groups.map((group) => ({
    ...group,
    outcomes: group.outcomes.map(({ scenario, mishaps }) => ({ scenario: scenario.name, mishaps })),
  }));
  return { ...result, groups };
}
