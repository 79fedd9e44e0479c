// Services that register themselves and say "still here", as when everything restarts at once: sixty-four callers, each
// waiting for its answer. A registration is answered when it is durable, so it is held against etcd's durable puts over
// its HTTP gateway on the same disk in the same minute. Processor time is told beside, because it does not depend on
// who else uses the machine.
import { rmSync } from "node:fs";
import { eventually } from "../../tests/support/eventually.ts";
import { ADMIN_TOKEN, freePorts, temporaryFolder } from "../../tests/support/lars-processes.ts";
import { type Bench, type BenchContext, count, median, type Row } from "../bench.ts";
import { type NativeOptions, type NativeResult, runNative } from "../native.ts";
import { cpuSeconds, startSystem } from "../system.ts";

const CONNECTIONS = 64;
const MODULES = 100;
/** Hosts that one round registers at most: one port each. */
const PORTS = 60_000;
/** In its first seconds a fifth of what dns takes is its compiler's; etcd is compiled. */
const WARM_MS = 8_000;
const AUTHORIZATION = `Authorization: Bearer ${ADMIN_TOKEN}`;

/** Its port, or why there is none. */
async function startEtcd(context: BenchContext): Promise<number | string> {
  const program = Bun.which("etcd");
  if (program === null) return "etcd is not installed";
  const first = await freePorts(2);
  const folder = temporaryFolder("etcd");
  const [client, peer] = [`http://127.0.0.1:${first}`, `http://127.0.0.1:${first + 1}`];
  const child = Bun.spawn(
    [
      ...[program, "--data-dir", folder, "--log-level", "error"],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`],
    ],
    { stdout: "ignore", stderr: "ignore" },
  );
  context.cleanUp(async () => {
    child.kill();
    await child.exited;
    rmSync(folder, { recursive: true, force: true });
  });
  await eventually(
    async () => {
      if (!(await fetch(`${client}/health`)).ok) throw new Error("etcd is not healthy yet");
    },
    { timeoutMs: 15_000 },
  );
  return first;
}

/** A put as large as a registration is here: a key of 8 base64 digits, and its terms as the value. */
function etcdPut(port: number): NativeOptions {
  const value = btoa('{"modid":1,"cmdid":1,"ip":"10.0.0.1","port":7000,"weight":100,"zone":"","ttlSeconds":60}');
  return {
    ...{ port, method: "POST", path: "/v3/kv/put", first: 1_000_000, count: 9_000_000 },
    body: `{"key":"k{n}","value":"${value}"}`,
  };
}

export const leases: Bench = {
  name: "leases",
  about: "registrations (durable) and heartbeats, 64 callers, beside etcd's durable puts",
  async run(context) {
    const lars = await startSystem(context, { agent: 0, report: 0 });
    const dns = lars.dns[0]!;
    const etcd = await startEtcd(context);
    const load = { connections: CONNECTIONS, milliseconds: context.milliseconds };
    const own = { port: dns.ports.http, header: AUTHORIZATION, method: "PUT", ...load };

    let round = 0;
    const register = (extra: NativeOptions = {}): Promise<NativeResult> => {
      round++;
      return runNative("http-load", {
        ...own,
        path: `/v1/registrations/r${round}-{n}`,
        body: `{"modid":{m},"cmdid":1,"ip":"10.0.${round >> 8}.${round & 255}","port":{n},"ttlSeconds":600}`,
        ...{ first: 1, count: PORTS, modules: MODULES },
        ...extra,
      });
    };
    const mustBeOk = (what: string, result: NativeResult): NativeResult => {
      if (result.ok === result.answered) return result;
      throw new Error(`${what}: not all were answered well: ${JSON.stringify(result)}`);
    };
    const transactions = async () => {
      const metrics = await dns.metrics();
      return metrics.get('lars_dns_route_events_total{event="transactions"}') ?? 0;
    };

    const warm = mustBeOk("registrations", await register({ milliseconds: WARM_MS }));
    if (typeof etcd === "number") await runNative("http-load", { ...load, ...etcdPut(etcd), milliseconds: 500 });
    const ours: number[] = [];
    const theirs: number[] = [];
    const costs: number[] = [];
    const sizes: number[] = [];
    let p99us = 0;
    for (let i = 0; i < context.rounds; i++) {
      if (typeof etcd === "number")
        theirs.push((await runNative("http-load", { ...load, ...etcdPut(etcd) })).perSecond!);
      const [cpuBefore, made] = [cpuSeconds(dns.pid), await transactions()];
      const result = mustBeOk("registrations", await register());
      costs.push(((cpuSeconds(dns.pid) - cpuBefore) / result.answered!) * 1e6);
      sizes.push(result.answered! / ((await transactions()) - made));
      ours.push(result.perSecond!);
      p99us = result.p99us!;
      context.say(`registrations, round ${i + 1}: ${count(ours[i]!)}/s, etcd ${count(theirs[i] ?? 0)}`);
    }
    const perSecond = median(ours);
    const etcdPerSecond = theirs.length === 0 ? 0 : median(theirs);
    const rows: Row[] = [
      {
        what: `dns: registrations, each durable before it is answered, ${CONNECTIONS} callers`,
        target: "15,000/s, 1.0 x etcd",
        reference: typeof etcd === "string" ? etcd : `etcd puts ${count(etcdPerSecond)}/s`,
        ours:
          `${count(perSecond)}/s${etcdPerSecond === 0 ? "" : `, ${(perSecond / etcdPerSecond).toFixed(2)} x etcd`}; ` +
          `p99 ${(p99us / 1000).toFixed(0)} ms; ${median(costs).toFixed(0)} us of dns each, ${median(sizes).toFixed(0)} a transaction`,
        met: perSecond >= 15_000 && perSecond >= etcdPerSecond,
        data: { perSecond, etcdPerSecond, p99us, cpuUs: median(costs), perTransaction: median(sizes) },
      },
    ];

    const beats: number[] = [];
    const beatCosts: number[] = [];
    const beating = {
      ...own,
      path: "/v1/registrations/r1-{n}/heartbeat",
      first: 1,
      count: Math.min(1000, warm.answered!),
    };
    mustBeOk("heartbeats", await runNative("http-load", { ...beating, milliseconds: 1000 }));
    for (let i = 0; i < context.rounds; i++) {
      const cpuBefore = cpuSeconds(dns.pid);
      const result = mustBeOk("heartbeats", await runNative("http-load", beating));
      beatCosts.push(((cpuSeconds(dns.pid) - cpuBefore) / result.answered!) * 1e6);
      beats.push(result.perSecond!);
      p99us = result.p99us!;
      context.say(`heartbeats, round ${i + 1}: ${count(beats[i]!)}/s`);
    }
    rows.push({
      what: `dns: heartbeats, ${CONNECTIONS} callers`,
      target: "40,000/s",
      reference: "",
      ours: `${count(median(beats))}/s; p99 ${(p99us / 1000).toFixed(1)} ms; ${median(beatCosts).toFixed(0)} us of dns each`,
      met: median(beats) >= 40_000,
      data: { perSecond: median(beats), p99us, cpuUs: median(beatCosts) },
    });
    return rows;
  },
};
