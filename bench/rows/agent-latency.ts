// What a caller waits at half of what the agent can carry, and beyond all it can carry. The load is open: requests leave
// at their times, so a stall shows in every call it delayed. Half load runs twice: undisturbed, and while routes change,
// statistics are flushed ten times as often and every HTTP request writes a log line.
import { ADMIN_TOKEN } from "../../tests/support/lars-processes.ts";
import { type Bench, type BenchContext, count, importModules, median, type Row } from "../bench.ts";
import { type NativeResult, runNative } from "../native.ts";
import { startSystem } from "../system.ts";

const MODULES = 60;

export const agentLatency: Bench = {
  name: "agent-latency",
  about: "p99 at half the saturation load, disturbed and not; behaviour at twice the saturation load",
  async run(context) {
    const lars = await startSystem(context, {
      env: { LARS_AGENT__REPORTER__FLUSH_INTERVAL_MS: "100", LARS_AGENT__LOG__LEVEL: "debug" },
    });
    await importModules(lars, MODULES, 10);
    const { ports, url } = lars.agent[0]!;
    const load = (options: Record<string, number>) =>
      runNative("udp-load", {
        port: ports.udp,
        shards: 3,
        threads: 2,
        modules: MODULES,
        milliseconds: context.milliseconds,
        ...options,
      });
    await load({ window: 8, milliseconds: 2000 });
    const saturation = median([(await load({ window: 32 })).perSecond!, (await load({ window: 32 })).perSecond!]);
    const half = Math.round(saturation / 2);
    context.say(`saturated at ${count(saturation)} pairs/s`);

    const rows: Row[] = [];
    const at = async (what: string, disturb: () => Promise<void>) => {
      const results: NativeResult[] = [];
      for (let round = 0; round < context.rounds; round++) {
        results.push(await disturbed(load({ rate: half }), disturb));
        context.say(`${what}, round ${round + 1}: p99 ${results[round]!.p99us!.toFixed(0)} us`);
      }
      const p99us = median(results.map((result) => result.p99us!));
      const p999us = median(results.map((result) => result.p999us!));
      const lost = results.reduce((sum, result) => sum + result.lost!, 0);
      rows.push({
        what: `agent at half load (${count(half)}/s), ${what}: p99`,
        target: "1 ms",
        reference: `saturated at ${count(saturation)}`,
        ours: `${p99us.toFixed(0)} us; p99.9 ${p999us.toFixed(0)} us; ${lost} lost`,
        met: p99us <= 1000,
        data: { half, p99us, p999us, lost },
      });
    };
    await at("undisturbed", async () => {});
    let weight = 1;
    await at("while routes change and logs are written", async () => {
      weight = (weight % 100) + 1;
      await fetch(
        `${lars.dns[0]!.url}/v1/routes/${weight % MODULES || 1}/1/hosts/10.${weight % MODULES || 1}.0.1:7000`,
        {
          method: "PATCH",
          headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
          body: JSON.stringify({ weight }),
        },
      );
      await fetch(`${url}/healthz`);
    });

    rows.push(await overload(context, load, saturation));
    return rows;
  },
};

/** Calls `work` every 20 ms until the load is over. */
async function disturbed<T>(load: Promise<T>, work: () => Promise<void>): Promise<T> {
  let over = false;
  const ended = load.finally(() => {
    over = true;
  });
  while (!over) {
    await work();
    await Promise.race([ended, Bun.sleep(20)]);
  }
  return await ended;
}

async function overload(
  context: BenchContext,
  load: (options: Record<string, number>) => Promise<NativeResult>,
  saturation: number,
): Promise<Row> {
  const results: NativeResult[] = [];
  for (let round = 0; round < context.rounds; round++) {
    results.push(await load({ rate: Math.round(saturation * 2) }));
    context.say(`twice the load, round ${round + 1}: ${count(results[round]!.perSecond!)} answered/s`);
  }
  const answered = median(results.map((result) => result.perSecond!));
  const p99us = median(results.map((result) => result.p99us!));
  const wrong = results.reduce((sum, result) => sum + result.wrong! + result.noModule! + result.systemError!, 0);
  const after = await load({ rate: Math.round(saturation / 2) });
  return {
    what: "agent offered twice what it can carry",
    target: "answers right, p99 bounded, no collapse",
    reference: `saturated at ${count(saturation)}`,
    ours: `${count(answered)}/s answered, p99 of these ${(p99us / 1000).toFixed(1)} ms, ${wrong} wrong; p99 right afterwards ${after.p99us!.toFixed(0)} us`,
    met: answered >= saturation * 0.5 && wrong === 0,
    data: { answered, p99us, wrong, afterP99us: after.p99us! },
  };
}
