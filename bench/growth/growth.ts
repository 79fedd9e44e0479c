// How a cost grows: the same thing measured at several sizes, and the power of the size that fits best. 0: what it costs
// does not depend on the size; 1: twice the size, twice the cost. Three sizes tell such powers apart and nothing finer.

export interface Point {
  readonly size: number;
  readonly cost: number;
}

export interface Growth {
  readonly what: string;
  readonly unit: string;
  readonly points: readonly Point[];
}

/** What grows. */
export interface Axis {
  readonly name: string;
  /** Of the size: "modules of 10 hosts". */
  readonly of: string;
  measure(context: GrowthContext): Promise<readonly Growth[]>;
}

export interface GrowthContext {
  say(text: string): void;
  cleanUp(work: () => unknown): void;
}

/** The exponent of the straight line through the points' logarithms, by least squares. Costs of 0 count as `least`. */
export function exponentOf(points: readonly Point[], least = 1e-3): number {
  const xs = points.map(({ size }) => Math.log(size));
  const ys = points.map(({ cost }) => Math.log(Math.max(least, cost)));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  const covariance = xs.reduce((sum, value, i) => sum + (value - x) * (ys[i]! - y), 0);
  return covariance / xs.reduce((sum, value) => sum + (value - x) ** 2, 0);
}

/** An exponent in words. */
export function nameOf(exponent: number): string {
  if (exponent < -0.15) return "falls";
  if (exponent < 0.15) return "flat";
  if (exponent < 0.85) return "less than linear";
  if (exponent <= 1.15) return "linear";
  return "more than linear";
}

/** Three significant digits, no exponent. */
export function shortNumber(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value
    .toFixed(Math.min(6, digits))
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
}

/** Gathers costs by what they are of, over the sizes. */
export class GrowthTable {
  readonly #rows = new Map<string, { unit: string; points: Point[] }>();

  add(what: string, unit: string, size: number, cost: number): void {
    const row = this.#rows.get(what) ?? { unit, points: [] };
    row.points.push({ size, cost });
    this.#rows.set(what, row);
  }

  get growths(): readonly Growth[] {
    return [...this.#rows].map(([what, { unit, points }]) => ({ what, unit, points }));
  }
}
