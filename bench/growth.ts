// How each cost grows with modules, hosts, agents and callers: three sizes each, the power that fits, a table, pictures.
//
//   bun bench/growth.ts                     all, some minutes
//   bun bench/growth.ts agents              one
//   bun bench/growth.ts --json out.json     the numbers too
//
// Pictures go to bench/plots/growth-*.svg.
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { AXES } from "./growth/axes.ts";
import { exponentOf, type Growth, nameOf, shortNumber } from "./growth/growth.ts";
import { drawGrowth } from "./growth/plot.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "string" }, help: { type: "boolean", default: false } },
});
if (values.help) {
  process.stdout.write("bun bench/growth.ts [name…] [--json FILE]\n");
  for (const { name, of } of AXES) process.stdout.write(`  ${name.padEnd(8)} ${of}\n`);
  process.exit(0);
}
for (const name of positionals) {
  if (AXES.some((axis) => axis.name === name)) continue;
  process.stderr.write(`there is no growth "${name}"; there are ${AXES.map((axis) => axis.name).join(", ")}\n`);
  process.exit(2);
}

const started = performance.now();
const results: Record<string, readonly Growth[]> = {};
for (const axis of AXES) {
  if (positionals.length > 0 && !positionals.includes(axis.name)) continue;
  const cleanUps: (() => unknown)[] = [];
  const say = (text: string): void => {
    const seconds = ((performance.now() - started) / 1000).toFixed(0).padStart(4);
    process.stderr.write(`${seconds} s  ${axis.name}: ${text}\n`);
  };
  try {
    const growths = await axis.measure({ say, cleanUp: (work) => cleanUps.push(work) });
    results[axis.name] = growths;
    const sizes = growths[0]!.points.map(({ size }) => size);
    const lines = growths.map(({ what, unit, points }) => {
      const exponent = exponentOf(points);
      const costs = points.map(({ cost }) => shortNumber(cost));
      return `| ${[what, unit, ...costs, `^${exponent.toFixed(2)} ${nameOf(exponent)}`].join(" | ")} |`;
    });
    process.stdout.write(
      `\n## ${axis.of}\n\n| what | unit | ${sizes.join(" | ")} | grows |\n|${" --- |".repeat(sizes.length + 3)}\n${lines.join("\n")}\n`,
    );
    const file = join(import.meta.dir, "plots", `growth-${axis.name}.svg`);
    await Bun.write(file, drawGrowth(`How costs grow with ${axis.of}`, axis.of, growths));
  } finally {
    for (const work of cleanUps.reverse()) await work();
  }
}

const head = {
  date: new Date().toISOString(),
  machine: `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, ${Math.round(totalmem() / 1_073_741_824)} GiB`,
  seconds: Math.round((performance.now() - started) / 1000),
};
process.stdout.write(`\n${head.date.slice(0, 16)}Z, ${head.machine}, ${head.seconds} s in all\n`);
if (values.json !== undefined) await Bun.write(values.json, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
process.exit(0);
