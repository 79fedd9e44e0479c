// A long run as a picture: one panel below the other over the same time, a dashed line where a part ends and processes
// are started anew. Pure: text out of samples.
import { escapeXml, text } from "../svg.ts";
import type { Field, Part, Sample } from "./samples.ts";

interface Series {
  readonly name: string;
  readonly field: Field;
  readonly colour: string;
}

interface Panel {
  readonly title: string;
  readonly unit: string;
  /** Values are divided by this before they are drawn. */
  readonly divisor: number;
  readonly logarithmic: boolean;
  readonly series: readonly Series[];
}

const COLOURS = { agent: "#0072b2", dns: "#d55e00", report: "#009e73", other: "#888888", tail: "#cc79a7" } as const;

const PANELS: readonly Panel[] = [
  {
    title: "Resident memory",
    unit: "MB",
    divisor: 1,
    logarithmic: false,
    series: [
      { name: "agent", field: "agentMb", colour: COLOURS.agent },
      { name: "dns", field: "dnsMb", colour: COLOURS.dns },
      { name: "report", field: "reportMb", colour: COLOURS.report },
      { name: "MariaDB", field: "mariadbMb", colour: COLOURS.other },
    ],
  },
  {
    title: "Processor time",
    unit: "% of one processor",
    divisor: 1,
    logarithmic: false,
    series: [
      { name: "agent", field: "agentCpu", colour: COLOURS.agent },
      { name: "dns", field: "dnsCpu", colour: COLOURS.dns },
      { name: "report", field: "reportCpu", colour: COLOURS.report },
    ],
  },
  {
    title: "What a UDP caller waits",
    unit: "ms",
    divisor: 1000,
    logarithmic: true,
    series: [
      { name: "floor p99", field: "floorP99us", colour: COLOURS.other },
      { name: "agent p50", field: "p50us", colour: COLOURS.report },
      { name: "agent p99", field: "p99us", colour: COLOURS.agent },
      { name: "agent p99.9", field: "p999us", colour: COLOURS.tail },
    ],
  },
  {
    title: "What HTTP callers wait, p99",
    unit: "ms",
    divisor: 1000,
    logarithmic: true,
    series: [
      { name: "pick at the agent", field: "httpP99us", colour: COLOURS.agent },
      { name: "heartbeat at dns", field: "heartbeatP99us", colour: COLOURS.dns },
    ],
  },
];

const WIDTH = 920;
const HEIGHT = 230;
const LEFT = 64;
const RIGHT = 24;
const TOP = 44;
const BOTTOM = 30;
const HEAD = 60;

export function drawSoak(title: string, subtitle: string, parts: readonly Part[]): string {
  const filled = parts.filter(({ samples }) => samples.length > 0);
  const height = HEAD + PANELS.length * HEIGHT + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    text(20, 26, title, 'font-size="16" font-weight="bold"'),
    text(20, 45, subtitle, 'fill="#555"'),
    ...PANELS.map((panel, i) => drawPanel(panel, filled, HEAD + i * HEIGHT)),
    "</svg>\n",
  ].join("\n");
}

/** A round number of steps from 0, or powers of ten, around the values. */
function ticksOf(values: readonly number[], logarithmic: boolean): readonly number[] {
  const highest = Math.max(...values, logarithmic ? 0.001 : 1);
  if (!logarithmic) {
    const rough = highest / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough)!;
    return Array.from({ length: Math.ceil(highest / step) + 1 }, (_, i) => i * step);
  }
  const lowest = Math.min(...values.filter((value) => value > 0), highest);
  const from = Math.floor(Math.log10(lowest));
  const to = Math.max(from + 1, Math.ceil(Math.log10(highest)));
  return Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));
}

function drawPanel({ title, unit, divisor, logarithmic, series }: Panel, parts: readonly Part[], y0: number): string {
  const lengths = parts.map(({ samples }) => samples.at(-1)!.atSeconds);
  const total = Math.max(
    1,
    lengths.reduce((sum, length) => sum + length, 0),
  );
  const values = parts.flatMap(({ samples }) =>
    series.flatMap(({ field }) => samples.map((sample) => sample[field] / divisor)),
  );
  const ticks = ticksOf(values, logarithmic);
  const [lowest, highest] = [ticks[0]!, ticks.at(-1)!];
  const bottom = HEIGHT - BOTTOM;
  const share = (value: number): number =>
    logarithmic
      ? Math.log10(Math.max(value, lowest) / lowest) / Math.log10(highest / lowest)
      : (value - lowest) / (highest - lowest);
  const up = (value: number): string => (bottom - share(value) * (bottom - TOP)).toFixed(1);
  const at = (seconds: number): number => LEFT + (seconds / total) * (WIDTH - LEFT - RIGHT);
  const out = [`<g transform="translate(0 ${y0})">`, text(LEFT, 16, title, 'font-weight="bold"')];
  out.push(text(LEFT, 33, unit, 'fill="#555"'));
  for (const tick of ticks) {
    out.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${up(tick)}" y2="${up(tick)}" stroke="#8884"/>`);
    const label = String(Number(tick.toPrecision(3)));
    out.push(text(LEFT - 8, Number(up(tick)) + 4, label, 'text-anchor="end" fill="#333"'));
  }
  const minutesBetween = total > 1800 ? 10 : total > 600 ? 5 : 1;
  for (let minute = 0; minute * 60 <= total; minute += minutesBetween) {
    out.push(text(at(minute * 60), bottom + 18, `${minute} min`, 'text-anchor="middle" fill="#333"'));
  }
  let startedAt = 0;
  for (const [i, { samples }] of parts.entries()) {
    if (i > 0) {
      const x = at(startedAt).toFixed(1);
      out.push(`<line x1="${x}" x2="${x}" y1="${TOP}" y2="${bottom}" stroke="#888" stroke-dasharray="5 4"/>`);
    }
    for (const { field, colour } of series) {
      const point = (sample: Sample): string =>
        `${at(startedAt + sample.atSeconds).toFixed(1)} ${up(sample[field] / divisor)}`;
      out.push(
        `<path d="M${samples.map(point).join("L")}" fill="none" stroke="${colour}" stroke-width="1.5" stroke-linejoin="round"/>`,
      );
    }
    startedAt += lengths[i]!;
  }
  let x = 300;
  for (const { name, colour } of series) {
    out.push(`<rect x="${x}" y="7" width="12" height="10" fill="${colour}"/>`, text(x + 17, 16, name));
    x += 34 + name.length * 7;
  }
  return [...out, "</g>"].join("\n");
}
