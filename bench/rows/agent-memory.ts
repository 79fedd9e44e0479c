// What an agent that knows much needs: 10,000 modules of ten hosts, a tenth of them in use, and whether it grows.
import { eventually } from "../../tests/support/eventually.ts";
import { sumMetric } from "../../tests/support/lars-processes.ts";
import { type Bench, count, importModules, megabytes, type Row } from "../bench.ts";
import { runNative } from "../native.ts";
import { peakBytes, residentBytes, startSystem } from "../system.ts";

const MODULES = 10_000;
const ACTIVE = 1_000;

export const agentMemory: Bench = {
  name: "agent-memory",
  about: "memory of an agent that knows 10,000 modules of 10 hosts, 1,000 of them in use",
  async run(context) {
    const lars = await startSystem(context);
    await importModules(lars, MODULES, 10);
    const agent = lars.agent[0]!;
    const load = (modules: number, milliseconds: number, rate = 0) =>
      runNative("udp-load", {
        port: agent.ports.udp,
        shards: 3,
        threads: 3,
        window: 8,
        milliseconds,
        modules,
        rate,
      });
    context.say("asking for every module once");
    await eventually(
      async () => {
        await load(MODULES, 1500, MODULES);
        const known = sumMetric(await agent.metrics(), "lars_agent_known_routes");
        if (known < MODULES) throw new Error(`${known} of ${MODULES} modules are known`);
      },
      { timeoutMs: 60_000 },
    );
    const known = residentBytes(agent.pid);
    const samples: number[] = [];
    for (let i = 0; i < 4; i++) {
      await load(ACTIVE, context.milliseconds);
      samples.push(residentBytes(agent.pid));
      context.say(`${count(ACTIVE)} in use: ${megabytes(samples.at(-1)!)}`);
    }
    const last = samples.at(-1)!;
    const rows: Row[] = [
      {
        what: `agent: ${count(MODULES)} modules x 10 hosts known, ${count(ACTIVE)} in use`,
        target: "200 MB",
        reference: `known, before the load ${megabytes(known)}`,
        ours: `${megabytes(last)}; at most ${megabytes(peakBytes(agent.pid))}; from the second to the fourth run ${megabytes(last - samples[1]!)}`,
        met: Math.max(...samples) <= 200 * 1_048_576,
        data: { known, last, peak: peakBytes(agent.pid), growth: last - samples[1]! },
      },
    ];
    return rows;
  },
};
