// `bun run sim`: plays scenarios with policies and seeds, prints a table a scenario, and says which limits hold.
//   --scenario NAME…  those whose name contains one of these (all)    --policy NAME…  only these (all)
//   --seeds N         seeds 1 to N (20)                               --rows          only the specification's table
//   --json FILE       everything as JSON                              --list          names, and what they are
//   --svg FILE        draws seed 1 of one scenario and one policy over time
// Ends with 1 when a limit is broken by a policy that is held to it.
import { parseArgs } from "node:util";
import { CONTENDERS, type Contender, plays } from "./contenders.ts";
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
        rows: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    fail(
      `${(error as Error).message}. Allowed: --scenario NAME… --policy NAME… --seeds N --json FILE --svg FILE --rows --list`,
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

function chosenContenders(names: readonly string[] | undefined): readonly Contender[] {
  const unknown = names?.filter((name) => !CONTENDERS.some((contender) => contender.name === name)) ?? [];
  if (unknown.length > 0) {
    fail(`no policy is called ${unknown.join(", ")}; there are ${CONTENDERS.map(({ name }) => name).join(", ")}`);
  }
  return names === undefined ? CONTENDERS : CONTENDERS.filter(({ name }) => names.includes(name));
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
const scenarios = chosenScenarios(flags.scenario, flags.rows);
const contenders = chosenContenders(flags.policy);

if (flags.list) {
  const names = scenarios.map(({ name, title }) => [name, title]);
  write(`${names.map(([name, title]) => `${name!.padEnd(32)}  ${title}`).join("\n")}\n`);
  write(`\npolicies: ${contenders.map(({ name }) => name).join(" ")}\n`);
  process.exit(0);
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
