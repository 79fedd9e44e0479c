// What a caller waits at half of what the agent can carry, and beyond all it can carry. The load is open: requests leave
// at their times, so a stall shows in every call it delayed. Half load runs twice: as it is, and at an agent that flushes
// statistics ten times as often and writes a log line for each HTTP request, while routes change and requests come.
//
// dns, report and the database give way to callers and agent, as if they were elsewhere; with all of them on two
// processors the wait for a processor would be most of what is measured. It still is much of it: the floor's tells.
import { freePorts } from "../../tests/support/lars-processes.ts";
import { type Bench, type BenchContext, count, importModules, median, type Row } from "../bench.ts";
import { NativeProcess, type NativeResult, runNative } from "../native.ts";
import { startSystem } from "../system.ts";

const MODULES = 60;
const WARM_UP_MS = 4000;

/** Callers of the undisturbed agent, unless `options` names another port. */
type Load = (options: Record<string, number>) => Promise<NativeResult>;
/** Measures half load at `port` while `work` is done again and again. */
type Measure = (what: string, port: number, work: () => Promise<void>) => Promise<void>;

export const agentLatency: Bench = {
  name: "agent-latency",
  about: "p99 at half the saturation load, disturbed and not; behaviour at twice the saturation load",
  async run(context) {
    const calm = await startSystem(context, {}, true);
    await importModules(calm, MODULES, 10);
    const port = calm.agent[0]!.ports.udp;
    const floorPort = await freePorts(3);
    const floor = new NativeProcess("udp-floor", { port: floorPort, shards: 3 });
    context.cleanUp(() => floor.end());
    await floor.line();
    const load: Load = (options) =>
      runNative("udp-load", {
        port,
        shards: 3,
        threads: 2,
        modules: MODULES,
        milliseconds: context.milliseconds,
        ...options,
      });
    await load({ window: 8, milliseconds: WARM_UP_MS });
    const saturation = median([(await load({ window: 32 })).perSecond!, (await load({ window: 32 })).perSecond!]);
    const half = Math.round(saturation / 2);
    context.say(`saturated at ${count(saturation)} pairs/s`);

    const rows: Row[] = [];
    const measure: Measure = async (what, agentPort, work) => {
      const results: NativeResult[] = [];
      const floors: NativeResult[] = [];
      // Short and many: what else the machine does comes and goes within seconds.
      for (let round = 0; round < 3 * context.rounds; round++) {
        const options = { rate: half, milliseconds: context.milliseconds / 2 };
        floors.push(await load({ ...options, port: floorPort }));
        results.push(await beside(load({ ...options, port: agentPort }), work));
        context.say(`${what}, round ${round + 1}: p99 ${results[round]!.p99us!.toFixed(0)} us`);
      }
      const of = (from: readonly NativeResult[], key: string) => median(from.map((result) => result[key]!));
      const p99us = of(results, "p99us");
      const floorP99us = of(floors, "p99us");
      const lost = results.reduce((sum, result) => sum + result.lost!, 0);
      rows.push({
        what: `agent at half load (${count(half)}/s), ${what}: p99`,
        target: "1 ms",
        reference: `floor at that rate ${floorP99us.toFixed(0)} us; p99.9 ${of(floors, "p999us").toFixed(0)} us`,
        ours: `${p99us.toFixed(0)} us = ${(p99us / floorP99us).toFixed(2)} x; p99.9 ${of(results, "p999us").toFixed(0)} us; ${lost} lost`,
        met: p99us <= 1000,
        data: { half, p99us, p999us: of(results, "p999us"), floorP99us, lost },
      });
    };
    await measure("undisturbed", port, async () => {});
    await disturbed(context, load, measure);

    rows.push(await overload(context, load, floorPort, saturation));
    return rows;
  },
};

/** At a system of its own, whose agent has more to do beside. */
async function disturbed(context: BenchContext, load: Load, measure: Measure): Promise<void> {
  const env = { LARS_AGENT__REPORTER__FLUSH_INTERVAL_MS: "100", LARS_AGENT__LOG__LEVEL: "debug" };
  const lars = await startSystem(context, { env }, true);
  await importModules(lars, MODULES, 10);
  const { ports, url } = lars.agent[0]!;
  await load({ port: ports.udp, window: 8, milliseconds: WARM_UP_MS });
  let weight = 1;
  await measure("while routes change, statistics are flushed and logs are written", ports.udp, async () => {
    weight = (weight % 100) + 1;
    const module = 1 + (weight % MODULES);
    await lars.admin("PATCH", `/v1/routes/${module}/1/hosts/10.${module}.0.1:7000`, { weight });
    await fetch(`${url}/healthz`);
  });
}

/** Does `work` every 20 ms until the load is over. */
async function beside<T>(load: Promise<T>, work: () => Promise<void>): Promise<T> {
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

async function overload(context: BenchContext, load: Load, floorPort: number, saturation: number): Promise<Row> {
  const twice = { rate: Math.round(saturation * 2), "from-sent": 1 };
  const results: NativeResult[] = [];
  const floors: NativeResult[] = [];
  for (let round = 0; round < context.rounds; round++) {
    floors.push(await load({ ...twice, port: floorPort }));
    results.push(await load(twice));
    context.say(`twice the load, round ${round + 1}: ${count(results[round]!.perSecond!)} answered/s`);
  }
  const of = (from: readonly NativeResult[], key: string) => median(from.map((result) => result[key]!));
  const seconds = context.milliseconds / 1000;
  const answered = of(results, "perSecond");
  const wrong = results.reduce((sum, result) => sum + result.wrong! + result.noModule! + result.systemError!, 0);
  const after = await load({ rate: Math.round(saturation / 2) });
  return {
    what: `agent offered twice what it can carry (what left the generator: ${count(of(results, "sent") / seconds)}/s)`,
    target: "answers right, p99 bounded, no collapse",
    reference: `floor: ${count(of(floors, "perSecond"))}/s, p99 ${(of(floors, "p99us") / 1000).toFixed(0)} ms`,
    ours: `${count(answered)}/s answered, p50 ${(of(results, "p50us") / 1000).toFixed(0)} ms, p99 ${(of(results, "p99us") / 1000).toFixed(0)} ms, ${wrong} wrong; p99 right afterwards ${after.p99us!.toFixed(0)} us`,
    met: answered >= of(floors, "perSecond") * 0.5 && wrong === 0 && of(results, "p99us") < 500_000,
    data: { answered, p99us: of(results, "p99us"), wrong, afterP99us: after.p99us! },
  };
}
