// Growth as pictures: one panel for each cost, both axes logarithmic, so that a power is a straight line and its slope the
// exponent. A dashed line shows what linear would be from the first point on. Pure: text out of numbers.
import { escapeXml, text } from "../svg.ts";
import { exponentOf, type Growth, nameOf, shortNumber } from "./growth.ts";

const COLUMNS = 2;
const PANEL = { width: 460, height: 250, left: 64, right: 24, top: 46, bottom: 44 };
const HEAD = 60;
const INK = "#0072b2";
const FAINT = "#8884";

export function drawGrowth(title: string, sizesOf: string, growths: readonly Growth[]): string {
  const rows = Math.ceil(growths.length / COLUMNS);
  const width = COLUMNS * PANEL.width;
  const height = HEAD + rows * PANEL.height;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(20, 26, title, 'font-size="16" font-weight="bold"'),
    text(20, 45, "both axes logarithmic; dashed: linear", 'fill="#555"'),
    ...growths.map((growth, i) =>
      panel(growth, sizesOf, (i % COLUMNS) * PANEL.width, HEAD + Math.floor(i / COLUMNS) * PANEL.height),
    ),
    "</svg>\n",
  ].join("\n");
}

/** Powers of ten around the values. */
function decades(values: readonly number[]): readonly [from: number, to: number] {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return [0, 1];
  const from = Math.floor(Math.log10(Math.min(...positive)));
  return [from, Math.max(from + 1, Math.ceil(Math.log10(Math.max(...positive))))];
}

function panel({ what, unit, points }: Growth, sizesOf: string, x0: number, y0: number): string {
  const [xFrom, xTo] = decades(points.map(({ size }) => size));
  const [yFrom, yTo] = decades(points.map(({ cost }) => cost));
  const bottom = PANEL.height - PANEL.bottom;
  const at = (size: number) =>
    PANEL.left + ((Math.log10(size) - xFrom) / (xTo - xFrom)) * (PANEL.width - PANEL.left - PANEL.right);
  const up = (cost: number) =>
    bottom - ((Math.log10(Math.max(cost, 10 ** yFrom)) - yFrom) / (yTo - yFrom)) * (bottom - PANEL.top);
  const exponent = exponentOf(points);
  const parts = [`<g transform="translate(${x0} ${y0})">`, text(PANEL.left, 20, what, 'font-weight="bold"')];
  const slope = `${nameOf(exponent)}: ${sizesOf.split(" ")[0]}^${exponent.toFixed(2)}`;
  parts.push(text(PANEL.left, 37, `${unit}; ${slope}`, 'fill="#555"'));
  for (let power = xFrom; power <= xTo; power++) {
    const x = at(10 ** power).toFixed(1);
    parts.push(`<line x1="${x}" x2="${x}" y1="${PANEL.top}" y2="${bottom}" stroke="${FAINT}"/>`);
    parts.push(text(Number(x), bottom + 16, shortNumber(10 ** power), 'text-anchor="middle" fill="#333"'));
  }
  for (let power = yFrom; power <= yTo; power++) {
    const y = up(10 ** power).toFixed(1);
    parts.push(`<line x1="${PANEL.left}" x2="${PANEL.width - PANEL.right}" y1="${y}" y2="${y}" stroke="${FAINT}"/>`);
    parts.push(text(PANEL.left - 8, Number(y) + 4, shortNumber(10 ** power), 'text-anchor="end" fill="#333"'));
  }
  parts.push(linear(points, [10 ** yFrom, 10 ** yTo], at, up));
  const path = points.map(({ size, cost }, i) => `${i === 0 ? "M" : "L"}${at(size).toFixed(1)} ${up(cost).toFixed(1)}`);
  parts.push(`<path d="${path.join("")}" fill="none" stroke="${INK}" stroke-width="2"/>`);
  for (const { size, cost } of points) {
    parts.push(`<circle cx="${at(size).toFixed(1)}" cy="${up(cost).toFixed(1)}" r="4" fill="${INK}"/>`);
    parts.push(text(at(size), up(cost) - 9, shortNumber(cost), 'text-anchor="middle"'));
  }
  parts.push(
    text((PANEL.left + PANEL.width - PANEL.right) / 2, bottom + 34, sizesOf, 'text-anchor="middle" fill="#333"'),
  );
  return [...parts, "</g>"].join("\n");
}

/** What linear would be from the first point on, as far as the panel goes. */
function linear(
  points: readonly { readonly size: number; readonly cost: number }[],
  [lowest, highest]: readonly [number, number],
  at: (size: number) => number,
  up: (cost: number) => number,
): string {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || first.cost < lowest) return "";
  const size = Math.min(last.size, (first.size * highest) / first.cost);
  return `<line x1="${at(first.size).toFixed(1)}" y1="${up(first.cost).toFixed(1)}" x2="${at(size).toFixed(1)}" y2="${up((first.cost * size) / first.size).toFixed(1)}" stroke="#888" stroke-dasharray="5 4"/>`;
}
