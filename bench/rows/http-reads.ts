// What the processes answer over HTTP and TCP: picks at the agent, routes at the dns service. The generator alone is held
// against a server that does nothing, so that it can be seen not to be what limits.
import { ADMIN_TOKEN } from "../../tests/support/lars-processes.ts";
import { type Bench, count, importModules, median, type Row } from "../bench.ts";
import { type NativeOptions, runNative } from "../native.ts";
import { startSystem } from "../system.ts";

const MODULES = 60;

export const httpReads: Bench = {
  name: "reads",
  about: "picks over HTTP at the agent, route reads over HTTP and TCP at dns",
  async run(context) {
    const lars = await startSystem(context);
    await importModules(lars, MODULES, 10);
    const bare = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("{}") });
    context.cleanUp(() => bare.stop(true));

    const rows: Row[] = [];
    const http = async (what: string, aim: number | undefined, options: NativeOptions) => {
      const load = { connections: 32, milliseconds: context.milliseconds, ...options };
      await runNative("http-load", { ...load, milliseconds: 1000 });
      const ours: number[] = [];
      const bares: number[] = [];
      let p99us = 0;
      for (let round = 0; round < context.rounds; round++) {
        bares.push((await runNative("http-load", { ...load, port: bare.port! })).perSecond!);
        const result = await runNative("http-load", load);
        if (result.ok !== result.answered)
          throw new Error(`${what}: not all were answered well: ${JSON.stringify(result)}`);
        ours.push(result.perSecond!);
        p99us = result.p99us!;
        context.say(`${what}, round ${round + 1}: ${count(ours[round]!)} of ${count(bares[round]!)}`);
      }
      const perSecond = median(ours);
      rows.push({
        what,
        target: aim === undefined ? "" : `${count(aim)}/s`,
        reference: `Bun.serve alone ${count(median(bares))}`,
        ours: `${count(perSecond)}/s; p99 ${p99us.toFixed(0)} us`,
        ...(aim === undefined ? {} : { met: perSecond >= aim }),
        data: { perSecond, bare: median(bares), p99us },
      });
    };
    await http("agent: picks over HTTP, 32 connections", 60_000, {
      port: lars.agent[0]!.ports.http,
      path: "/v1/hosts/{n}/1",
      count: MODULES,
    });
    // What UDP callers ask for as well is not lent to the thread that answers HTTP.
    const udpCallers = runNative("udp-load", {
      port: lars.agent[0]!.ports.udp,
      shards: 3,
      threads: 1,
      rate: MODULES * 20,
      modules: MODULES,
      milliseconds: 3000 + context.rounds * 2 * context.milliseconds,
    });
    await http("agent: the same, of modules that UDP callers ask for too", undefined, {
      port: lars.agent[0]!.ports.http,
      path: "/v1/hosts/{n}/1",
      count: MODULES,
    });
    await udpCallers;
    await http("dns: route reads over HTTP, 32 connections", 60_000, {
      port: lars.dns[0]!.ports.http,
      path: "/v1/routes/{n}/1",
      count: MODULES,
    });
    const guarded = await startSystem(context, {
      report: 0,
      agent: 0,
      env: { LARS_DNS__AUTH__ANONYMOUS_READ: "false" },
    });
    await importModules(guarded, MODULES, 10);
    await http("dns: the same where reads need a token", undefined, {
      port: guarded.dns[0]!.ports.http,
      path: "/v1/routes/{n}/1",
      count: MODULES,
      header: `Authorization: Bearer ${ADMIN_TOKEN}`,
    });

    const reads: number[] = [];
    for (let round = 0; round < context.rounds; round++) {
      const { perSecond } = await runNative("tcp-load", {
        mode: "reads",
        port: lars.dns[0]!.ports.tcp,
        connections: 32,
        window: 16,
        spread: MODULES,
        milliseconds: context.milliseconds,
      });
      reads.push(perSecond!);
      context.say(`TCP reads, round ${round + 1}: ${count(perSecond!)}`);
    }
    rows.push({
      what: "dns: route reads over TCP, 32 connections",
      target: "100,000/s",
      reference: "",
      ours: `${count(median(reads))}/s`,
      met: median(reads) >= 100_000,
      data: { perSecond: median(reads) },
    });
    return rows;
  },
};
