// The load generators alone: what each does at the cheapest peer there is (the floor, a bare HTTP server, dns' answers
// from memory), and the processor time it takes for itself. What one processor of generator could do bounds every rate
// measured with it; where a service stays below that, the service is what was measured.
import { freePorts } from "../../tests/support/lars-processes.ts";
import { type Bench, count, importModules, median, type Row } from "../bench.ts";
import { type NativeOptions, NativeProcess, type NativeProgram, type NativeResult, runNative } from "../native.ts";
import { startSystem } from "../system.ts";

const MODULES = 60;

export const loadAlone: Bench = {
  name: "load",
  about: "what the load generators can do, and what they cost themselves",
  async run(context) {
    const lars = await startSystem(context, { agent: 0, report: 0 });
    await importModules(lars, MODULES, 10);
    const port = await freePorts(3);
    const floor = new NativeProcess("udp-floor", { port, shards: 3 });
    context.cleanUp(() => floor.end());
    await floor.line();
    const bare = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("{}") });
    context.cleanUp(() => bare.stop(true));

    const rows: Row[] = [];
    const measure = async (what: string, program: NativeProgram, each: string, options: NativeOptions) => {
      const results: NativeResult[] = [];
      for (let round = 0; round < context.rounds; round++) {
        results.push(await runNative(program, { milliseconds: context.milliseconds, ...options }));
        context.say(`${what}, round ${round + 1}: ${count(results[round]!.perSecond!)}/s`);
      }
      const perSecond = median(results.map((result) => result.perSecond!));
      const ownUs = median(
        results.map(({ ownCpuUs, perSecond: rate }) => ownCpuUs! / ((rate! * context.milliseconds) / 1000)),
      );
      rows.push({
        what,
        target: "",
        reference: "",
        ours: `${count(perSecond)} ${each}/s; ${ownUs.toFixed(1)} us of its own each: ${count(1e6 / ownUs)}/s with a processor to itself`,
        data: { perSecond, ownUs },
      });
    };
    const udp = { port, shards: 3, threads: 3, modules: MODULES };
    for (const window of [1, 8, 64])
      await measure(`udp-load at the floor, 3 x ${window}`, "udp-load", "pairs", { ...udp, window });
    await measure("http-load at a bare server, 32 connections", "http-load", "answers", {
      ...{ port: bare.port!, connections: 32, path: "/v1/hosts/{n}/1", count: MODULES },
    });
    await measure("tcp-load at dns, 32 connections", "tcp-load", "answers", {
      ...{ mode: "reads", port: lars.dns[0]!.ports.tcp, connections: 32, window: 16, spread: MODULES },
    });
    return rows;
  },
};
