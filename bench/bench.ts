// What a benchmark is, and how results are written. A figure means nothing by itself on a machine that others share, so a
// row says what it was held against in the same run (the floor, a peer, the load generator alone) and what is aimed at.
import type { Lars } from "../tests/support/lars-processes.ts";

export interface Row {
  readonly what: string;
  /** What is aimed at, in words. */
  readonly target: string;
  /** What it was measured against in this run; "" when the figure stands alone. */
  readonly reference: string;
  readonly ours: string;
  /** undefined: nothing is aimed at, the row is there to be known. */
  readonly met?: boolean;
  /** The numbers behind it. */
  readonly data: Readonly<Record<string, number | string>>;
}

export interface BenchContext {
  /** A line of progress. */
  say(text: string): void;
  /** Measured in turn so many times; the median counts. */
  readonly rounds: number;
  /** Of one measurement. */
  readonly milliseconds: number;
  /** Run when the benchmark ends, however that is. */
  cleanUp(work: () => unknown): void;
}

export interface Bench {
  readonly name: string;
  readonly about: string;
  run(context: BenchContext): Promise<readonly Row[]>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export function count(value: number): string {
  return grouped.format(value);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(0)} MB`;
}

/** A Markdown table. */
export function table(rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    line(["what", "aim", "against", "ours", "met"]),
    line(["---", "---", "---", "---", "---"]),
    ...rows.map(({ what, target, reference, ours, met }) =>
      line([what, target, reference, ours, met === undefined ? "" : met ? "yes" : "**no**"]),
    ),
  ].join("\n");
}

/** Imports `modules` modules 1..modules with cmdid 1 and `hosts` hosts each. */
export async function importModules(lars: Lars, modules: number, hosts: number, first = 1): Promise<void> {
  const step = 5_000;
  for (let from = first; from < first + modules; from += step) {
    const routes = Array.from({ length: Math.min(step, first + modules - from) }, (_, i) => ({
      modid: from + i,
      cmdid: 1,
      hosts: Array.from({ length: hosts }, (_, h) => ({
        ip: `10.${(from + i) % 200}.${h >> 8}.${(h & 255) + 1}`,
        port: 7000,
      })),
    }));
    const answer = await lars.admin("POST", "/v1/import", { routes, names: { modids: [], cmdids: [] } });
    if (!answer.ok) throw new Error(`the import was refused: ${answer.status} ${await answer.text()}`);
  }
}
