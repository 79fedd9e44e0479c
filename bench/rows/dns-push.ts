// Fifteen thousand agents on one dns service: what they cost while nothing happens, how soon all of them know of a change,
// and whether anybody else notices.
import { ADMIN_TOKEN } from "../../tests/support/lars-processes.ts";
import { type Bench, count, importModules, median, megabytes, type Row } from "../bench.ts";
import { NativeProcess, runNative } from "../native.ts";
import { cpuSeconds, residentBytes, startSystem } from "../system.ts";

const AGENTS = 15_000;
const CHANGES = 10;
const IDLE_MS = 5_000;

export const dnsPush: Bench = {
  name: "push",
  about: "15,000 connected agents: memory, idle cost, a change reaching all of them",
  async run(context) {
    const lars = await startSystem(context, { agent: 0, report: 0 });
    const dns = lars.dns[0]!;
    await importModules(lars, 100, 10);
    const patch = async (modid: number, weight: number) => {
      const answer = await fetch(`${dns.url}/v1/routes/${modid}/1/hosts/10.${modid}.0.1:7000`, {
        method: "PATCH",
        headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
        body: JSON.stringify({ weight }),
      });
      if (!answer.ok) throw new Error(`the change was refused: ${await answer.text()}`);
    };
    const before = residentBytes(dns.pid);
    context.say(`connecting ${count(AGENTS)} agents`);
    const watchers = new NativeProcess("tcp-load", {
      mode: "watch",
      port: dns.ports.tcp,
      connections: AGENTS,
      spread: 1,
    });
    context.cleanUp(() => watchers.end());
    const ready = await watchers.line();
    const rows: Row[] = [];

    const cpuBefore = cpuSeconds(dns.pid);
    await Bun.sleep(IDLE_MS);
    const idleShare = (cpuSeconds(dns.pid) - cpuBefore) / (IDLE_MS / 1000);
    const memory = residentBytes(dns.pid);
    rows.push({
      what: `dns: ${count(AGENTS)} agents connected, memory of the process`,
      target: "150 MB; idle ones cost no CPU",
      reference: `without them ${megabytes(before)}`,
      ours: `${megabytes(memory)}; idle for ${IDLE_MS / 1000} s: ${(idleShare * 100).toFixed(1)} % of a core; all connected and answered in ${(ready.ms! / 1000).toFixed(1)} s`,
      met: memory <= 150 * 1_048_576 && idleShare < 0.03,
      data: { memory, before, idleShare, connectMs: ready.ms! },
    });

    const p99s: number[] = [];
    const slowest: number[] = [];
    let missing = 0;
    for (let i = 1; i <= CHANGES; i++) {
      watchers.tell(`mark ${AGENTS}`);
      await patch(1, i);
      const heard = await watchers.line();
      missing += heard.expected! - heard.heard!;
      p99s.push(heard.p99us! / 1000);
      slowest.push(heard.maxus! / 1000);
      context.say(`change ${i}: p99 ${p99s.at(-1)!.toFixed(0)} ms`);
    }
    rows.push({
      what: `dns: HTTP change asked for -> in ${count(AGENTS)} agents, p99`,
      target: "250 ms",
      reference: "",
      ours: `median of ${CHANGES} changes ${median(p99s).toFixed(0)} ms, worst ${Math.max(...p99s).toFixed(0)} ms; last agent ${Math.max(...slowest).toFixed(0)} ms; ${missing} missed`,
      met: median(p99s) <= 250 && missing === 0,
      data: { p99ms: median(p99s), worstP99ms: Math.max(...p99s), slowestMs: Math.max(...slowest), missing },
    });

    const framesBefore = (await dns.metrics()).get('lars_dns_push_events_total{event="frames"}') ?? 0;
    for (let i = 1; i <= CHANGES; i++) await patch(2, i);
    const frames = ((await dns.metrics()).get('lars_dns_push_events_total{event="frames"}') ?? 0) - framesBefore;
    rows.push({
      what: "dns: a change of a module that no agent watches",
      target: "costs nobody a frame",
      reference: "",
      ours: `${frames} frames for ${CHANGES} changes`,
      met: frames === 0,
      data: { frames },
    });

    const load = {
      port: dns.ports.http,
      connections: 8,
      rate: 2000,
      path: "/v1/routes/{n}/1",
      count: 60,
      milliseconds: 3000,
    };
    const quiet = await runNative("http-load", load);
    const reading = runNative("http-load", load);
    for (let i = 0; i < 4; i++) {
      watchers.tell(`mark ${AGENTS}`);
      await patch(1, 50 + i);
      await watchers.line();
    }
    const pushed = await reading;
    rows.push({
      what: "dns: HTTP reads (2,000/s) while 15,000 agents are pushed, p99",
      target: "",
      reference: `undisturbed ${(quiet.p99us! / 1000).toFixed(1)} ms`,
      ours: `${(pushed.p99us! / 1000).toFixed(1)} ms, longest ${(pushed.maxus! / 1000).toFixed(0)} ms`,
      data: { quietP99us: quiet.p99us!, p99us: pushed.p99us!, maxus: pushed.maxus! },
    });
    return rows;
  },
};
