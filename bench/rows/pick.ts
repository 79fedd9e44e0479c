// One pick in process. bench/pick.ts measures it for all policies; here the default policy is held against its aim, in a
// process of its own, whose heap nobody else fills.
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

export const pickInProcess: Bench = {
  name: "pick",
  about: "one pick in process, adaptive: time and heap",
  async run(context) {
    const sizes = SIZES.flatMap((size) => ["--hosts", String(size)]);
    context.say(`${SIZES.join(", ")} hosts`);
    const child = Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "../pick.ts"),
        ...["--policy", "adaptive", "--calls", "600000", "--json", ...sizes],
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    const text = await new Response(child.stdout).text();
    if ((await child.exited) !== 0) throw new Error(`bench/pick.ts ended with ${child.exitCode}`);
    const { rows, bytesPerObject } = JSON.parse(text) as { rows: readonly Measured[]; bytesPerObject: number };
    return [...new Set(rows.map((row) => row.case))].map((kind): Row => {
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
  },
};
