// A run as a picture: which host got which share of the calls, and where the errors were, over time. Hosts in trouble are
// in strong colours, so that one sees at a glance how fast their band narrows, and when it is back.
import { type CallLog, FAILED, REFUSED } from "./call-log.ts";
import type { Scenario } from "./scenario.ts";

const WIDTH = 1000;
const LEFT = 64;
const RIGHT = 180;
const PANEL_HEIGHT = 220;
const TOP = 88;
const GAP = 56;
const BOTTOM = 48;
const PLOT_WIDTH = WIDTH - LEFT - RIGHT;
/** About as many steps in time as a person can tell apart. */
const STEPS = 150;

// Okabe and Ito's palette, which colour-blind readers can tell apart.
const STRONG = ["#d55e00", "#cc79a7", "#e69f00"];
const CALM = ["#0072b2", "#56b4e9", "#009e73", "#7f9fbf", "#a6cee3", "#66c2a5", "#4d7a9e", "#b3cde3", "#8dd3c7"];
const REFUSED_COLOUR = "#444444";

interface Band {
  readonly label: string;
  readonly colour: string;
  /** One value a step, in percent of the calls of that step. */
  readonly values: readonly number[];
}

export function drawTimeline(scenario: Scenario, policy: string, seed: number, log: CallLog): string {
  const stepMs = scenario.durationMs / STEPS;
  const calls = new Float64Array(STEPS);
  const hosts = scenario.hosts.map(() => ({ calls: new Float64Array(STEPS), errors: new Float64Array(STEPS) }));
  const refused = new Float64Array(STEPS);
  for (let i = 0; i < log.length; i++) {
    const step = Math.min(STEPS - 1, Math.floor(log.startMs[i]! / stepMs));
    calls[step]!++;
    if (log.result[i] === REFUSED) refused[step]!++;
    const host = hosts[log.host[i]!];
    if (host === undefined) continue;
    host.calls[step]!++;
    if (log.result[i] === FAILED) host.errors[step]!++;
  }
  const percent = (counts: Float64Array): readonly number[] =>
    Array.from(counts, (count, step) => (calls[step] === 0 ? 0 : (100 * count) / calls[step]!));
  const colours = hostColours(scenario);
  // Hosts in trouble at the bottom: their band has a straight edge then.
  const order = hosts.map((_, index) => index).sort((a, b) => rank(scenario, a) - rank(scenario, b) || a - b);
  const bands = (pick: (host: (typeof hosts)[number]) => Float64Array): readonly Band[] =>
    order.map((index) => ({
      label: `host ${index}${rank(scenario, index) === 0 ? ", in trouble" : ""}`,
      colour: colours[index]!,
      values: percent(pick(hosts[index]!)),
    }));
  const traffic = bands(({ calls }) => calls);
  const refusals: Band = { label: "refused", colour: REFUSED_COLOUR, values: percent(refused) };
  const errors = [...bands(({ errors }) => errors), refusals];
  const height = TOP + 2 * PANEL_HEIGHT + GAP + BOTTOM;
  const secondTop = TOP + PANEL_HEIGHT + GAP;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escapeXml(`${policy}: ${scenario.name}`)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    text(LEFT, 24, `${policy}: ${scenario.name} (seed ${seed})`, 'font-size="16" font-weight="bold"'),
    text(LEFT, 44, scenario.title, 'fill="#555"'),
    panel(scenario, TOP, "share of the calls, %", 100, traffic),
    panel(scenario, secondTop, "errors and refusals, % of the calls", niceTop(errors), errors),
    timeAxis(scenario, secondTop + PANEL_HEIGHT),
    legend([...traffic, ...(refusals.values.some((value) => value > 0) ? [refusals] : [])]),
    "</svg>\n",
  ].join("\n");
}

function rank(scenario: Scenario, host: number): number {
  return scenario.trouble?.hosts.includes(host) ? 0 : 1;
}

function hostColours(scenario: Scenario): readonly string[] {
  let strong = 0;
  let calm = 0;
  return scenario.hosts.map((_, host) =>
    rank(scenario, host) === 0 ? STRONG[strong++ % STRONG.length]! : CALM[calm++ % CALM.length]!,
  );
}

/** The next of 1, 2, 5, 10 … over the highest stack. */
function niceTop(bands: readonly Band[]): number {
  let highest = 0;
  for (let step = 0; step < STEPS; step++) {
    highest = Math.max(
      highest,
      bands.reduce((sum, { values }) => sum + values[step]!, 0),
    );
  }
  const tops = [1, 2, 5, 10, 20, 50, 100];
  return tops.find((top) => highest <= top) ?? 100;
}

function panel(scenario: Scenario, top: number, title: string, highest: number, bands: readonly Band[]): string {
  const bottom = top + PANEL_HEIGHT;
  const x = (step: number): string => (LEFT + (PLOT_WIDTH * step) / STEPS).toFixed(1);
  const y = (value: number): string => (bottom - (PANEL_HEIGHT * Math.min(value, highest)) / highest).toFixed(1);
  const parts: string[] = [text(LEFT, top - 8, title, 'font-weight="bold"')];
  if (scenario.trouble !== undefined) {
    const { fromMs, untilMs = scenario.durationMs } = scenario.trouble;
    const from = (fromMs / scenario.durationMs) * STEPS;
    const until = (untilMs / scenario.durationMs) * STEPS;
    const width = (PLOT_WIDTH * (until - from)) / STEPS;
    parts.push(`<rect x="${x(from)}" y="${top}" width="${width.toFixed(1)}" height="${PANEL_HEIGHT}" fill="#fdf0e6"/>`);
  }
  const floor = new Float64Array(STEPS);
  for (const { colour, label, values } of bands) {
    if (values.every((value) => value === 0)) continue;
    const upper: string[] = [];
    const lower: string[] = [];
    for (let step = 0; step < STEPS; step++) {
      const from = floor[step]!;
      floor[step] = from + values[step]!;
      // Steps, not slopes: nothing is known between them.
      upper.push(`${x(step)},${y(floor[step]!)} ${x(step + 1)},${y(floor[step]!)}`);
      lower.unshift(`${x(step + 1)},${y(from)} ${x(step)},${y(from)}`);
    }
    const points = `${upper.join(" ")} ${lower.join(" ")}`;
    parts.push(`<polygon fill="${colour}" points="${points}"><title>${escapeXml(label)}</title></polygon>`);
  }
  for (const ms of [scenario.trouble?.fromMs, scenario.trouble?.untilMs]) {
    if (ms === undefined) continue;
    const at = x((ms / scenario.durationMs) * STEPS);
    parts.push(`<line x1="${at}" x2="${at}" y1="${top}" y2="${bottom}" stroke="#000" stroke-dasharray="4 3"/>`);
  }
  for (let tick = 0; tick <= 4; tick++) {
    const value = (highest * tick) / 4;
    parts.push(`<line x1="${LEFT}" x2="${LEFT + PLOT_WIDTH}" y1="${y(value)}" y2="${y(value)}" stroke="#0002"/>`);
    parts.push(text(LEFT - 8, Number(y(value)) + 4, String(value), 'text-anchor="end" fill="#333"'));
  }
  parts.push(`<path d="M${LEFT} ${top}V${bottom}H${LEFT + PLOT_WIDTH}" fill="none" stroke="#333"/>`);
  return parts.join("\n");
}

function timeAxis(scenario: Scenario, top: number): string {
  const seconds = scenario.durationMs / 1000;
  const every = [1, 2, 5, 10, 20, 50, 100].find((step) => seconds / step <= 14) ?? 200;
  const parts: string[] = [];
  for (let second = 0; second <= seconds; second += every) {
    const x = LEFT + (PLOT_WIDTH * second) / seconds;
    parts.push(`<line x1="${x}" x2="${x}" y1="${top}" y2="${top + 5}" stroke="#333"/>`);
    parts.push(text(x, top + 19, String(second), 'text-anchor="middle" fill="#333"'));
  }
  parts.push(
    text(
      LEFT + PLOT_WIDTH / 2,
      top + 38,
      "seconds; trouble lasts between the dashed lines",
      'text-anchor="middle" fill="#333"',
    ),
  );
  return parts.join("\n");
}

/** From the top band down, as the bands lie. */
function legend(bands: readonly Band[]): string {
  return bands
    .toReversed()
    .map(({ label, colour }, line) => {
      const y = TOP + line * 20;
      const x = LEFT + PLOT_WIDTH + 20;
      return `<rect x="${x}" y="${y}" width="14" height="14" fill="${colour}"/>${text(x + 20, y + 12, label)}`;
    })
    .join("\n");
}

function text(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${x}" y="${y}"${attributes === "" ? "" : ` ${attributes}`}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
