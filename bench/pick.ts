// What a pick costs: nanoseconds per pick and per report, and heap bytes per pick, for every policy, by number of hosts,
// with equal and with different weights, and while a host is ejected. The aim for `adaptive`: 1 us at 100 hosts, flat
// from 3 to 1,000, nothing allocated.
//
//   bun bench/pick.ts                      all of it, some minutes
//   bun bench/pick.ts --policy adaptive --hosts 100 --calls 1000000
//   bun bench/pick.ts --json               the same as JSON; --no-heap leaves the heap alone
//
// How: calls are made in batches of 64, so that as many are in flight; the batch's picks and its reports are timed apart,
// and of several rounds the median counts (the machine's other work makes some rounds slower, never faster). Time is
// virtual, 100 us a pick; chance is Math.random, as in the agent. Latencies are drawn beforehand.
//
// Heap: JavaScriptCore does not count allocations, but between two collections its blocks only fill up. So after a full
// collection 200,000 calls are made, too few to start another one, and what the heap's capacity grew by is what they
// took; over 10,000,000 calls (50 times). A loop that makes one small object a call is measured alike, to show that the
// method sees it.

import { heapStats } from "bun:jsc";
import { parseArgs } from "node:util";
import { makeHost } from "../src/core/assignment.ts";
import type { BalancedHost, Balancer } from "../src/core/balancer.ts";
import { LARS_DEFAULTS } from "../src/core/balancer-lars.ts";
import { makeBalancer } from "../src/core/make-balancer.ts";
import { DEFAULT_STEERING, isPolicyName, POLICIES, type PolicyName } from "../src/core/policies.ts";

const BATCH = 64;
const ROUNDS = 15;
const PICK_EVERY_MS = 0.1;
const HEAP_CALLS = 10_000_000;
const HEAP_CHUNK = 200_000;

const CASES = ["equal", "weights", "one ejected"] as const;
type Case = (typeof CASES)[number];

interface Row {
  readonly policy: PolicyName;
  readonly case: Case;
  readonly hosts: number;
  readonly pickNs: number;
  readonly reportNs: number;
  /** Heap bytes per pick and its report; absent when it was not measured. */
  readonly bytesPerCall?: number;
}

const LARS = { ...LARS_DEFAULTS, overload_timeout: 86_400 };

/** A module with its callers. */
class Rig {
  readonly balancer: Balancer;
  readonly #picked: BalancedHost[] = new Array(BATCH);
  readonly #latencies = Float64Array.from({ length: 4096 }, () => Math.round(15_000 + Math.random() * 10_000));
  #latencyAt = 0;
  #nowMs = 1_000_000;
  pickNs = 0;
  reportNs = 0;

  constructor(policy: PolicyName, kind: Case, size: number) {
    // Ejected is ejected for the whole run: probes would be let back in.
    const steering = { ...DEFAULT_STEERING, base_ejection: 3600, max_ejection: 86_400 };
    this.balancer = makeBalancer({ policy, lars: LARS, steering, zone: "" });
    const hosts = Array.from({ length: size }, (_, i) =>
      makeHost(0x0a00_0001 + i, 80, { weight: kind === "weights" ? 50 + ((i * 37) % 200) : 100 }),
    );
    this.balancer.update(hosts, this.#nowMs);
    this.calls(20_000 + 20 * size);
    if (kind !== "one ejected") return;
    const victim = this.balancer.find(0x0a00_0001, 80)!;
    for (let i = 0; i < 20; i++) this.balancer.report(victim, false, 1000, this.#nowMs);
    if (victim.available) throw new Error(`${policy}: 20 failures in a row did not eject a host`);
  }

  /** So many picks, each reported as a success at the end of its batch. */
  calls(count: number): void {
    const { balancer } = this;
    const picked = this.#picked;
    for (let done = 0; done < count; done += BATCH) {
      const begin = Bun.nanoseconds();
      for (let i = 0; i < BATCH; i++) {
        this.#nowMs += PICK_EVERY_MS;
        const host = balancer.pick(this.#nowMs, Math.random, 1 + ((done + i) & 1023) * 2_654_435);
        if (host.kind !== "host") throw new Error("a call was shed");
        picked[i] = host;
      }
      const middle = Bun.nanoseconds();
      for (let i = 0; i < BATCH; i++) {
        const host = picked[i]!;
        // An ejected host's probe (lars tries it every 11th time) fails.
        const latencyUs = this.#latencies[this.#latencyAt++ & 4095]!;
        balancer.report(host, host.available, latencyUs, this.#nowMs);
      }
      this.reportNs += Bun.nanoseconds() - middle;
      this.pickNs += middle - begin;
    }
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;

/** Heap bytes per unit of work; `work(n)` does n of them. */
function bytesPer(work: (count: number) => void, total: number): number {
  work(HEAP_CHUNK);
  let grown = 0;
  for (let done = 0; done < total; done += HEAP_CHUNK) {
    Bun.gc(true);
    const before = heapStats().heapCapacity;
    work(HEAP_CHUNK);
    grown += Math.max(0, heapStats().heapCapacity - before);
  }
  return grown / total;
}

let sink: unknown;
/** What the method says of one object with one number in it a call. */
const calibrate = (): number =>
  bytesPer((count) => {
    for (let i = 0; i < count; i++) sink = { i };
  }, 2_000_000);

function measure(policy: PolicyName, kind: Case, size: number, calls: number, heap: boolean): Row {
  const rig = new Rig(policy, kind, size);
  rig.calls(200_000);
  const rounds = Array.from({ length: ROUNDS }, () => {
    rig.pickNs = 0;
    rig.reportNs = 0;
    const perRound = Math.ceil(calls / ROUNDS / BATCH) * BATCH;
    rig.calls(perRound);
    return [rig.pickNs / perRound, rig.reportNs / perRound] as const;
  });
  const row = {
    policy,
    case: kind,
    hosts: size,
    pickNs: median(rounds.map(([pickNs]) => pickNs)),
    reportNs: median(rounds.map(([, reportNs]) => reportNs)),
  };
  return heap ? { ...row, bytesPerCall: bytesPer((count) => rig.calls(count), HEAP_CALLS) } : row;
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`);
  process.exit(2);
}

const { values: flags } = parseArgs({
  options: {
    policy: { type: "string", multiple: true, default: [...POLICIES] },
    hosts: { type: "string", multiple: true, default: ["3", "10", "100", "1000"] },
    calls: { type: "string", default: "1500000" },
    json: { type: "boolean", default: false },
    "no-heap": { type: "boolean", default: false },
  },
});
const sizes = flags.hosts.map(Number);
if (!sizes.every((size) => Number.isInteger(size) && size >= 2 && size <= 65_535)) {
  fail(`--hosts is ${flags.hosts}; expected numbers from 2 to 65535`);
}
const calls = Number(flags.calls);
if (!Number.isInteger(calls) || calls < 1000) fail(`--calls is ${flags.calls}; expected a number from 1000 up`);

const write = (text: string): void => void process.stdout.write(text);
const column = (value: string | number, width: number): string => String(value).padStart(width);
const calibration = flags["no-heap"] ? undefined : calibrate();
if (!flags.json) {
  write(`${"policy".padEnd(16)}${"case".padEnd(13)} hosts   pick ns  report ns    both ns  bytes/call\n`);
}
const rows: Row[] = [];
for (const policy of flags.policy) {
  if (!isPolicyName(policy)) fail(`--policy is ${policy}; there are ${POLICIES.join(", ")}`);
  for (const kind of CASES) {
    for (const size of sizes) {
      // The heap does not depend on the number of hosts or their weights; one case of each kind is enough.
      const row = measure(policy, kind, size, calls, !flags["no-heap"] && size === sizes.at(-1));
      rows.push(row);
      if (flags.json) continue;
      const bytes = row.bytesPerCall === undefined ? "-" : row.bytesPerCall.toFixed(2);
      write(
        `${policy.padEnd(16)}${kind.padEnd(13)}${column(size, 6)}${column(row.pickNs.toFixed(0), 10)}${column(row.reportNs.toFixed(0), 11)}${column((row.pickNs + row.reportNs).toFixed(0), 11)}${column(bytes, 12)}\n`,
      );
    }
  }
}
if (flags.json) {
  write(`${JSON.stringify({ bun: Bun.version, calls, bytesPerObject: calibration, rows }, null, 2)}\n`);
} else if (calibration !== undefined) {
  write(`(one small object a call would be ${calibration.toFixed(1)} bytes)\n`);
}
if (sink === undefined && calibration !== undefined) fail("the calibration was optimized away");
