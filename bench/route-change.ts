// What a change of a route takes of a shard's thread: processor time from the message to the new balancer, and of the
// slowest pick after it, for modules of several sizes. Callers wait for a turn of that thread, so the aim is the turn:
// 0.3 ms, whatever the module's size.
//
//   bun bench/route-change.ts            a table
//   bun bench/route-change.ts --json     the same as JSON
//
// How: as the worker does it, without the worker. The route is read from a cloned message, as it comes from the main
// thread, and applied; then a pick every half millisecond of virtual time until a table of consistent_hash would be whole.
// Every change is of one host, in turn its weight, its leaving and its coming back. All hosts are called before.
import { dlopen, FFIType, ptr } from "bun:ffi";
import { deserialize, serialize } from "bun:jsc";
import { parseArgs } from "node:util";
import { HeldRoute } from "../src/agent/held-route.ts";
import { ShardCounters } from "../src/agent/shard-counters.ts";
import { type RouteUpdate, ShardModules } from "../src/agent/shard-modules.ts";
import { type Host, makeHost } from "../src/core/assignment.ts";
import { LARS_DEFAULTS } from "../src/core/balancer-lars.ts";
import { CallStatistics } from "../src/core/call-statistics.ts";
import { DEFAULT_STEERING, NO_CHOICE, type PolicyName } from "../src/core/policies.ts";

const CASES: readonly (readonly [PolicyName, number])[] = [
  ["adaptive", 10],
  ["adaptive", 1000],
  ["adaptive", 5000],
  ["consistent_hash", 10],
  ["consistent_hash", 1000],
  ["consistent_hash", 5000],
];
const CHANGES = 90;
/** Those before are not counted: the code is still being compiled. */
const WARM_UP = 15;
const PICKS_AFTER = 120;
const CLOCK_THREAD_CPUTIME_ID = 3;

const libc = dlopen("libc.so.6", { clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 } });
const time = new BigInt64Array(2);
const timeAt = ptr(time);

/** Of this thread. */
function processorMs(): number {
  libc.symbols.clock_gettime(CLOCK_THREAD_CPUTIME_ID, timeAt);
  return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
}

interface Measured {
  readonly policy: PolicyName;
  readonly hosts: number;
  /** Medians and the 95th of a hundred. */
  readonly updateMs: number;
  readonly updateP95Ms: number;
  readonly pickMs: number;
  readonly pickP95Ms: number;
}

function quantile(values: readonly number[], share: number): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * share)]!;
}

function measure(policy: PolicyName, size: number): Measured {
  const limits = {
    ...{ maxModules: 10, maxUnknown: 10, maxWaiting: 10, maxNewPerSecond: 10 },
    ...{ resolveTimeoutMs: 100, negativeTtlMs: 1e9, updateTimeoutMs: 1e9, forgetAfterMs: 1e9 },
  };
  const modules = new ShardModules(
    limits,
    { policy, lars: LARS_DEFAULTS, steering: DEFAULT_STEERING, zone: "" },
    Math.random,
    new CallStatistics(2 * size, () => {}),
    new ShardCounters(),
    { want: () => {}, forget: () => {} },
  );
  const all = Array.from({ length: size }, (_, i) =>
    makeHost(0x0a00_0000 + 3 * i, 80, { weight: 50 + ((i * 37) % 200) }),
  );
  const changed = (change: number): readonly Host[] => {
    const at = (change * 7) % size;
    if (change % 3 === 0) return all.with(at, { ...all[at]!, weight: 1 + ((change * 13) % 999) });
    return change % 3 === 1 ? all.toSpliced(at, 1) : all;
  };
  let nowMs = 1e6;
  const call = (): void => {
    const host = modules.pick(1, 1, 1 + Math.floor(Math.random() * 0xffff_fffe), nowMs);
    if ("port" in host) modules.report(1, 1, host.ip, host.port, true, 1000, nowMs);
  };
  const update = (change: number): number => {
    const route = HeldRoute.of({ modid: 1, cmdid: 1, revision: change, hosts: changed(change), policy: NO_CHOICE });
    const message = serialize({ type: "routes", routes: [route.update()] });
    const begin = processorMs();
    const { routes } = deserialize(message) as { routes: readonly RouteUpdate[] };
    for (const each of routes) modules.applyRoute(each, nowMs);
    return processorMs() - begin;
  };
  update(2);
  for (let i = 0; i < 20_000 + 20 * size; i++) {
    nowMs += 0.1;
    call();
  }
  const updates: number[] = [];
  const picks: number[] = [];
  for (let change = 3; change < CHANGES + WARM_UP; change++) {
    const tookMs = update(change);
    let slowestMs = 0;
    for (let i = 0; i < PICKS_AFTER; i++) {
      nowMs += 0.5;
      const begin = processorMs();
      call();
      slowestMs = Math.max(slowestMs, processorMs() - begin);
    }
    if (change < WARM_UP) continue;
    updates.push(tookMs);
    picks.push(slowestMs);
  }
  return {
    policy,
    hosts: size,
    updateMs: quantile(updates, 0.5),
    updateP95Ms: quantile(updates, 0.95),
    pickMs: quantile(picks, 0.5),
    pickP95Ms: quantile(picks, 0.95),
  };
}

const { values: flags } = parseArgs({ options: { json: { type: "boolean", default: false } } });
const rows = CASES.map(([policy, hosts]) => measure(policy, hosts));
if (flags.json) process.stdout.write(`${JSON.stringify({ rows })}\n`);
else process.stdout.write(`${Bun.inspect.table(rows)}\n`);
