// What the simulator prints: numbers with their units, tables a person reads in a terminal.
import type { Figure, Unit } from "./scenario.ts";

export function format(value: number, unit: Unit): string {
  if (Number.isNaN(value)) return "never";
  switch (unit) {
    case "share":
      return `${trimmed(value * 100, value === 0 || value >= 0.1 ? 1 : 3)} %`;
    case "ms":
      return `${trimmed(value, 1)} ms`;
    case "s":
      return `${trimmed(value, 1)} s`;
    case "x fair":
      return `${value.toFixed(2)} x`;
    case "calls":
      return value.toFixed(0);
  }
}

function trimmed(value: number, digits: number): string {
  return value === 0 ? "0" : value.toFixed(digits);
}

/** "<= 0.1 %", ">= 0.80 x"; "" without a limit. */
export function formatLimit(figure: Figure): string {
  if (figure.limit === undefined) return "";
  return "atMost" in figure.limit
    ? `<= ${format(figure.limit.atMost, figure.unit)}`
    : `>= ${format(figure.limit.atLeast, figure.unit)}`;
}

/** Columns padded to their widest cell; the first one to the left, the others to the right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((cell, column) => Math.max(cell.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ");
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
