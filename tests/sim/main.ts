// `bun run sim`: plays scenarios with policies and seeds, prints a table a scenario, and says which limits hold.
//   --scenario NAME…  those whose name contains one of these (all)    --policy NAME…  only these (all)
//   --seeds N         seeds 1 to N (20)                               --rows          only the specification's table
//   --json FILE       everything as JSON                              --list          names, and what they are
//   --svg FILE        draws seed 1 of one scenario and one policy over time
//   --arrivals KIND   poisson or fixed, for all scenarios             --network-ms N  one way between caller and agent
//   --set NAME=VALUE  a steering parameter of our policies, repeatable
//   --real            in real time on a real agent over UDP, beside the simulated figures; policies of ours (adaptive)
//   --seconds-scale F with --real: stretches the plan; 0.1 does a minute in 6 s, and limits do not apply (1)
// Ends with 1 when a limit is broken by a policy that is held to it.
import { parseArgs } from "node:util";
import {
  isPolicyName,
  isSteeringParameter,
  STEERING_PARAMETERS,
  type SteeringParameters,
} from "../../src/core/policies.ts";
import { CONTENDERS, type Contender, ours, plays } from "./contenders.ts";
import { runReal } from "./real/run-real.ts";
import { runScenario, type Scenario, type Unit } from "./scenario.ts";
import { SCENARIOS } from "./scenarios.ts";
import { type FigureSummary, type Spread, type Summary, summarize } from "./summary.ts";
import { format, formatLimit, formatTable } from "./table.ts";
import { drawTimeline } from "./timeline-svg.ts";

const write = (text: string): void => void process.stdout.write(text);
const isTerminal = process.stderr.isTTY;

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(2);
}

/** `--scenario a b` and `--scenario a --scenario b` alike: words without a flag belong to the flag before them. */
function repeatFlags(words: readonly string[]): string[] {
  const lists = new Set(["--scenario", "--policy"]);
  const repeated: string[] = [];
  let flag: string | undefined;
  for (const word of words) {
    if (word.startsWith("--")) flag = lists.has(word) ? word : undefined;
    else if (flag !== undefined && repeated.at(-1) !== flag) repeated.push(flag);
    repeated.push(word);
  }
  return repeated;
}

function readArguments() {
  try {
    return parseArgs({
      args: repeatFlags(process.argv.slice(2)),
      options: {
        scenario: { type: "string", multiple: true },
        policy: { type: "string", multiple: true },
        seeds: { type: "string", default: "20" },
        json: { type: "string" },
        svg: { type: "string" },
        arrivals: { type: "string" },
        "network-ms": { type: "string" },
        set: { type: "string", multiple: true },
        real: { type: "boolean", default: false },
        "seconds-scale": { type: "string", default: "1" },
        rows: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    fail(
      `${(error as Error).message}. Allowed: --scenario NAME… --policy NAME… --seeds N --json FILE --svg FILE --rows --list --real --seconds-scale F`,
    );
  }
}

function chosenScenarios(parts: readonly string[] | undefined, onlyRows: boolean): readonly Scenario[] {
  // A whole name means that scenario alone, not the longer names it is part of.
  const isNamed = ({ name }: Scenario): boolean =>
    parts === undefined ||
    parts.some((part) => (SCENARIOS.some((one) => one.name === part) ? name === part : name.includes(part)));
  const result = SCENARIOS.filter((scenario) => (!onlyRows || scenario.isRow) && isNamed(scenario));
  if (result.length === 0) fail(`no scenario is called ${parts?.join(" or ")}; --list names them`);
  return result;
}

/** A scenario as the flags change it. */
function changed(scenario: Scenario, arrivals: string | undefined, network: string | undefined): Scenario {
  if (arrivals !== undefined && arrivals !== "poisson" && arrivals !== "fixed") {
    fail(`--arrivals is ${arrivals}; expected poisson or fixed`);
  }
  const networkMs = Number(network ?? scenario.networkMs ?? 0);
  if (!(networkMs >= 0 && networkMs <= 1000)) fail(`--network-ms is ${network}; expected 0 to 1000`);
  return { ...scenario, arrivals: arrivals ?? scenario.arrivals, networkMs };
}

function chosenSteering(settings: readonly string[]): Partial<SteeringParameters> {
  return Object.fromEntries(
    settings.map((setting) => {
      const [name, value] = setting.split("=");
      if (!isSteeringParameter(name!) || value === undefined || !Number.isFinite(Number(value))) {
        fail(`--set is ${setting}; expected NAME=NUMBER with one of ${Object.keys(STEERING_PARAMETERS).join(", ")}`);
      }
      return [name, Number(value)];
    }),
  );
}

function chosenContenders(
  names: readonly string[] | undefined,
  settings: readonly string[] = [],
): readonly Contender[] {
  const unknown = names?.filter((name) => !CONTENDERS.some((contender) => contender.name === name)) ?? [];
  if (unknown.length > 0) {
    fail(`no policy is called ${unknown.join(", ")}; there are ${CONTENDERS.map(({ name }) => name).join(", ")}`);
  }
  const steering = chosenSteering(settings);
  return CONTENDERS.filter(({ name }) => names === undefined || names.includes(name)).map((contender) =>
    isPolicyName(contender.name) && settings.length > 0
      ? { ...contender, factory: ours(contender.name, steering) }
      : contender,
  );
}

/** A column a policy is compared by: the general ones, then the scenario's own figures by number. */
function report(scenario: Scenario, summaries: readonly Summary[]): string {
  const both = ({ median, worst }: Spread, unit: Unit, scale = 1): string =>
    `${format(median * scale, unit)} (${format(worst * scale, unit)})`;
  const legend = scenario.figures.map((figure, index) => {
    const limit = formatLimit(figure);
    const original = figure.original === undefined ? "" : `; the original: ${format(figure.original, figure.unit)}`;
    return `[${index + 1}] ${figure.name}${limit === "" ? "" : `: limit ${limit}`}${original}`;
  });
  const table = formatTable(
    [
      "median (worst)",
      ...scenario.figures.map((_, index) => `[${index + 1}]`),
      ...["errors", "refused", "p50", "p99", "p99.9", "imbalance", "detected", "readmitted"],
    ],
    summaries.map((summary) => [
      summary.policy,
      ...summary.figures.map((figure) => `${both(figure, figure.unit)}${mark(figure, summary.seeds)}`),
      both(summary.errorShare, "share"),
      both(summary.refusedShare, "share"),
      both(summary.p50Ms, "ms"),
      both(summary.p99Ms, "ms"),
      both(summary.p999Ms, "ms"),
      both(summary.imbalance, "x fair"),
      scenario.trouble === undefined ? "-" : both(summary.detectMs, "s", 0.001),
      scenario.trouble?.untilMs === undefined ? "-" : both(summary.readmitMs, "s", 0.001),
    ]),
  );
  return `== ${scenario.name}\n${scenario.title}\n${legend.join("\n")}\n${table}\n`;
}

/** " ok", or how many seeds broke the limit. */
function mark(figure: FigureSummary, seeds: number): string {
  if (figure.limit === undefined) return "   ";
  return figure.broken === 0 ? " ok" : ` BROKEN ${figure.broken}/${seeds}`;
}

const flags = readArguments();
const seeds = Number(flags.seeds);
if (!Number.isInteger(seeds) || seeds < 1 || seeds > 10_000) fail(`--seeds is ${flags.seeds}; expected 1 to 10000`);
const scenarios = chosenScenarios(flags.scenario, flags.rows).map((one) =>
  changed(one, flags.arrivals, flags["network-ms"]),
);
const contenders = chosenContenders(flags.policy, flags.set ?? []);

if (flags.list) {
  const names = scenarios.map(({ name, title }) => [name, title]);
  write(`${names.map(([name, title]) => `${name!.padEnd(32)}  ${title}`).join("\n")}\n`);
  write(`\npolicies: ${contenders.map(({ name }) => name).join(" ")}\n`);
  process.exit(0);
}

if (flags.real) {
  const scale = Number(flags["seconds-scale"]);
  if (flags.set !== undefined) fail("--set changes simulated policies only; leave it out with --real");
  if (!(scale >= 0.01 && scale <= 10)) fail(`--seconds-scale is ${flags["seconds-scale"]}; expected 0.01 to 10`);
  const played = flags.policy === undefined ? chosenContenders(["adaptive"]) : contenders;
  const foreign = played.find(({ isOurs }) => !isOurs);
  if (foreign !== undefined) fail(`${foreign.name} is a model: no agent plays it; choose policies of ours with --real`);
  const progress = (text: string): void => void (isTerminal && process.stderr.write(`\r\x1b[K${text}`));
  process.exit(await runReal({ scenarios, contenders: played, seeds, scale, json: flags.json, write, progress }));
}

if (flags.svg !== undefined) {
  const [scenario, contender] = [scenarios[0]!, contenders[0]!];
  if (scenarios.length !== 1 || contenders.length !== 1) {
    fail(`--svg draws one scenario and one policy; chosen are ${scenarios.length} and ${contenders.length}`);
  }
  const { log } = runScenario(scenario, contender.factory, 1);
  await Bun.write(flags.svg, drawTimeline(scenario, contender.name, 1, log));
}

const all: Summary[] = [];
const broken: string[] = [];
for (const [index, scenario] of scenarios.entries()) {
  const summaries: Summary[] = [];
  for (const contender of contenders) {
    if (!plays(contender, scenario)) continue;
    const progress = `${index + 1}/${scenarios.length} ${scenario.name}: ${contender.name}`;
    if (isTerminal) process.stderr.write(`\r\x1b[K${progress}`);
    summaries.push(summarize(scenario, contender.name, contender.factory, seeds));
  }
  if (isTerminal) process.stderr.write("\r\x1b[K");
  write(`${report(scenario, summaries)}\n`);
  all.push(...summaries);
  for (const summary of summaries) {
    for (const figure of summary.figures) {
      if (figure.broken > 0 && summary.policy === "adaptive") broken.push(`${scenario.name}: ${figure.name}`);
    }
  }
}
if (flags.json !== undefined) await Bun.write(flags.json, `${JSON.stringify(all, null, 2)}\n`);
if (broken.length > 0) {
  write(`adaptive breaks ${broken.length} limits:\n${broken.map((line) => `  ${line}\n`).join("")}`);
  process.exit(1);
}
