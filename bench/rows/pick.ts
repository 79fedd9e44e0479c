// One pick in process. bench/pick.ts measures it for all policies; here the default policy is held against its aim, in a
// process of its own, whose heap nobody else fills. And the turn of a shard's thread that a change of a route takes
// (bench/route-change.ts), which callers wait for.
import { join } from "node:path";
import type { Bench, Row } from "../bench.ts";

const SIZES = [3, 100, 1000] as const;

interface Measured {
  readonly case: string;
  readonly hosts: number;
  readonly pickNs: number;
  readonly reportNs: number;
  readonly bytesPerCall?: number;
}

/** Milliseconds of processor time. */
interface ChangeMeasured {
  readonly policy: string;
  readonly hosts: number;
  readonly updateMs: number;
  readonly updateP95Ms: number;
  readonly pickMs: number;
  readonly pickP95Ms: number;
}

async function runJson<T>(file: string, args: readonly string[]): Promise<T> {
  const command = [process.execPath, join(import.meta.dir, "..", file), "--json", ...args];
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error(`bench/${file} ended with ${child.exitCode}`);
  return JSON.parse(text) as T;
}

/** A row for each policy that was measured. */
async function routeChanges(): Promise<readonly Row[]> {
  const { rows } = await runJson<{ rows: readonly ChangeMeasured[] }>("route-change.ts", []);
  return [...new Set(rows.map(({ policy }) => policy))].map((policy): Row => {
    const sizes = rows.filter((row) => row.policy === policy);
    const ms = (value: number) => value.toFixed(2);
    return {
      what: `agent: a change of a route, ${policy}, processor time in the shard's thread`,
      target: "no turn above 0.3 ms, whatever the size",
      reference: "",
      ours: sizes
        .map(
          ({ hosts, updateMs, updateP95Ms, pickMs, pickP95Ms }) =>
            `${hosts} hosts: ${ms(updateMs)} ms (p95 ${ms(updateP95Ms)}), slowest pick after it ${ms(pickMs)} (${ms(pickP95Ms)})`,
        )
        .join("; "),
      met: sizes.every(({ updateMs, pickMs }) => updateMs <= 0.3 && pickMs <= 0.3),
      data: Object.fromEntries(
        sizes.flatMap(({ hosts, updateMs, pickMs }) => [
          [`updateMs${hosts}`, updateMs],
          [`pickMs${hosts}`, pickMs],
        ]),
      ),
    };
  });
}

export const pickInProcess: Bench = {
  name: "pick",
  about: "one pick in process, adaptive: time and heap",
  async run(context) {
    const sizes = SIZES.flatMap((size) => ["--hosts", String(size)]);
    context.say(`${SIZES.join(", ")} hosts`);
    const { rows, bytesPerObject } = await runJson<{ rows: readonly Measured[]; bytesPerObject: number }>("pick.ts", [
      ...["--policy", "adaptive", "--calls", "600000"],
      ...sizes,
    ]);
    context.say("changes of routes");
    const changes = await routeChanges();
    const kinds = [...new Set(rows.map((row) => row.case))].map((kind): Row => {
      const of = (hosts: number) => rows.find((row) => row.case === kind && row.hosts === hosts)!;
      const picks = SIZES.map((size) => of(size).pickNs);
      const bytes = rows.find((row) => row.case === kind && row.bytesPerCall !== undefined)!.bytesPerCall!;
      return {
        what: `agent: one pick in process, adaptive, ${kind === "equal" ? "equal hosts" : kind === "weights" ? "hosts of different weights" : kind}`,
        target: "1 us at 100 hosts, flat from 3 to 1,000, nothing allocated",
        reference: `one small object a call: ${bytesPerObject.toFixed(0)} bytes`,
        ours:
          `${picks.map((ns, i) => `${ns.toFixed(0)} ns at ${SIZES[i]}`).join(", ")}; its report ${of(100).reportNs.toFixed(0)} ns; ` +
          `${bytes.toFixed(2)} bytes a pick and report`,
        met: of(100).pickNs <= 1000 && picks.at(-1)! <= 1.5 * picks[0]! && bytes < 1,
        data: { ...Object.fromEntries(SIZES.map((size, i) => [`pickNs${size}`, picks[i]!])), bytes },
      };
    });
    return [...kinds, ...changes];
  },
};
