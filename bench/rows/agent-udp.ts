// The agent's main path: get_host and a report over UDP, the whole system running (adaptive policy, statistics flushed to
// a report service that stores them in MariaDB, dns connected), against the floor, in turn.

import { freePorts } from "../../tests/support/lars-processes.ts";
import { type Bench, count, importModules, median, type Row } from "../bench.ts";
import { NativeProcess, type NativeResult, runNative } from "../native.ts";
import { startSystem } from "../system.ts";

/** Threads x requests in flight; what the C++ original reached of its floor on a machine like this one. */
const LOADS = [
  { window: 1, originalShare: 31 / 117 },
  { window: 8, originalShare: 65 / 199 },
  { window: 64, originalShare: 48 / 233 },
] as const;
const MODULES = 60;

export const agentUdp: Bench = {
  name: "agent-udp",
  about: "get_host + report pairs a second over UDP, as a share of the floor",
  async run(context) {
    const lars = await startSystem(context);
    await importModules(lars, MODULES, 10);
    const agentPort = lars.agent[0]!.ports.udp;
    const floorPort = await freePorts(3);
    const floor = new NativeProcess("udp-floor", { port: floorPort, shards: 3 });
    context.cleanUp(() => floor.end());
    await floor.line();
    const load = (port: number, window: number, milliseconds = context.milliseconds) =>
      runNative("udp-load", { port, shards: 3, threads: 3, window, milliseconds, modules: MODULES });
    await load(agentPort, 8, 2000);

    const rows: Row[] = [];
    for (const { window, originalShare } of LOADS) {
      const floors: NativeResult[] = [];
      const ours: NativeResult[] = [];
      for (let round = 0; round < context.rounds; round++) {
        floors.push(await load(floorPort, window));
        ours.push(await load(agentPort, window));
        context.say(
          `3 x ${window}, round ${round + 1}: ${count(ours[round]!.perSecond!)} of ${count(floors[round]!.perSecond!)}`,
        );
      }
      const of = (results: readonly NativeResult[], key: string) => median(results.map((result) => result[key]!));
      const share = median(ours.map((result, i) => result.perSecond! / floors[i]!.perSecond!));
      const lost = ours.reduce((sum, result) => sum + result.lost! + result.overload! + result.noModule!, 0);
      rows.push({
        what: `agent over UDP, 3 x ${window}, pairs/s`,
        target: window === 1 ? "2.5 x the original's share" : "0.65 of the floor, 2.5 x the original's share",
        reference: `floor ${count(of(floors, "perSecond"))}`,
        ours: `${count(of(ours, "perSecond"))} = ${share.toFixed(2)}; ${(share / originalShare).toFixed(1)} x the original's share; ${lost} lost or refused`,
        met: (window === 1 || share >= 0.65) && share / originalShare >= 2.5 && lost === 0,
        data: { floor: of(floors, "perSecond"), ours: of(ours, "perSecond"), share, lost },
      });
      const ratio = median(ours.map((result, i) => result.p50us! / floors[i]!.p50us!));
      rows.push({
        what: `agent over UDP, 3 x ${window}, p50`,
        target: window === 1 ? "1.5 x the floor's" : "",
        reference: `floor ${of(floors, "p50us").toFixed(0)} us`,
        ours: `${of(ours, "p50us").toFixed(0)} us = ${ratio.toFixed(2)} x; p99 ${of(ours, "p99us").toFixed(0)} us (floor ${of(floors, "p99us").toFixed(0)})`,
        ...(window === 1 ? { met: ratio <= 1.5 } : {}),
        data: { floorP50us: of(floors, "p50us"), p50us: of(ours, "p50us"), ratio, p99us: of(ours, "p99us") },
      });
    }
    return rows;
  },
};
