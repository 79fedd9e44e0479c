import { expect, test } from "bun:test";
import type { HealthResult, HealthTarget } from "../../src/agent/health-check.ts";
import { HealthCheckRounds } from "../../src/agent/health-check-rounds.ts";
import { makePrng } from "../sim/prng.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";

const SERVICE = { ip: 1, port: 80, path: undefined, timeoutMs: 1000, intervalMs: 5000 };

function rig(maxRunning = 512) {
  const clock = new ManualClock();
  const results: string[] = [];
  const begun: { port: number; atMs: number; finish: (result: HealthResult) => void }[] = [];
  const random = makePrng(4, "checks");
  const rounds = new HealthCheckRounds({
    check: ({ port }: HealthTarget) => new Promise((finish) => begun.push({ port, atMs: clock.nowMs(), finish })),
    onResult: (id, { passed }) => results.push(`${id} ${passed}`),
    nowMs: () => clock.nowMs(),
    random: random.next,
    maxRunning,
  });
  const run = async (ms: number, finish?: (port: number) => boolean) => {
    for (let i = 0; i < ms / 100; i++) {
      clock.advance(100);
      rounds.tick();
      if (finish !== undefined) for (const one of begun) if (finish(one.port)) one.finish({ passed: true });
      await settle();
    }
  };
  return { clock, rounds, begun, results, run };
}

test("1000 services restored together are checked spread over the interval, each every 5 s give or take a tenth", async () => {
  const { rounds, begun, run } = rig();
  for (let i = 0; i < 1000; i++) rounds.set(String(i), { ...SERVICE, port: i + 1 }, true);
  await run(20_000, () => true);
  const perTick = new Map<number, number>();
  for (const { atMs } of begun) perTick.set(atMs, (perTick.get(atMs) ?? 0) + 1);
  expect(Math.max(...perTick.values())).toBeLessThan(60);
  const times = begun.filter(({ port }) => port === 7).map(({ atMs }) => atMs);
  expect(times.length).toBeGreaterThanOrEqual(3);
  for (let i = 1; i < times.length; i++) {
    expect(times[i]! - times[i - 1]!).toBeGreaterThanOrEqual(4500);
    expect(times[i]! - times[i - 1]!).toBeLessThanOrEqual(5700);
  }
});

test("a service that hangs has one check under way and delays nobody else", async () => {
  const { rounds, begun, run } = rig();
  rounds.set("hangs", { ...SERVICE, port: 1 });
  rounds.set("well", { ...SERVICE, port: 2 });
  await run(30_000, (port) => port === 2);
  expect(begun.filter(({ port }) => port === 1)).toHaveLength(1);
  expect(begun.filter(({ port }) => port === 2).length).toBeGreaterThanOrEqual(5);
});

test("no more than so many checks are under way; the longest due comes first, and the wait is counted", async () => {
  const { rounds, begun, run } = rig(10);
  for (let i = 0; i < 25; i++) rounds.set(String(i), { ...SERVICE, port: i + 1 });
  await run(100);
  expect([begun.length, rounds.running, rounds.counts.delayed]).toEqual([10, 10, 15]);
  for (const { finish } of begun) finish({ passed: true });
  await settle();
  await run(100);
  expect(begun.map(({ port }) => port)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
});

test("a result of before a change, or that this process heard too late, does not count", async () => {
  const { clock, rounds, begun, results, run } = rig();
  rounds.set("a", SERVICE);
  await run(100);
  rounds.set("a", { ...SERVICE, port: 81 });
  begun[0]!.finish({ passed: false, reason: "old" });
  await run(100);
  expect(begun).toHaveLength(2);
  // The process stood still for a minute, so the time-out says nothing of the service.
  clock.advance(60_000);
  begun[1]!.finish({ passed: false, reason: "no answer in 1000 ms" });
  await settle();
  expect(results).toEqual([]);
  expect(rounds.counts.late).toBe(1);
  await run(100);
  begun[2]!.finish({ passed: true });
  await settle();
  expect(results).toEqual(["a true"]);
  rounds.delete("a");
  await run(10_000);
  expect(begun).toHaveLength(3);
});
