// That the real-time side still works: a session of three seconds on a real dns service and a real agent. Its figures are
// loose on purpose, since a busy machine is no defect of the balancer; `bun run sim --real` gives the exact ones.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../../support/eventually.ts";
import { PENDING } from "../call-log.ts";
import { equalHosts, errors, load, ONE_AGENT, USUAL } from "../figures.ts";
import type { Scenario } from "../scenario.ts";
import { makeGroups } from "./groups.ts";
import { Histogram } from "./histogram.ts";
import { RealSession } from "./real-session.ts";
import { stretch } from "./stretch.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

// In the plan's seconds; half as long in reality.
const SCALE = 0.5;
const TROUBLE: Scenario = {
  name: "refuses-then-drains",
  title: "5 hosts, 200/s; host 0 refuses from 1 s on, host 1 leaves the route at 3 s; ends at 6 s",
  isRow: false,
  ...ONE_AGENT,
  durationMs: 6000,
  rate: 200,
  hosts: equalHosts(5, USUAL, [{ kind: "refuse", fromMs: 1000 }]),
  routes: [
    { atMs: 0, hosts: [0, 1, 2, 3, 4] },
    { atMs: 3000, hosts: [0, 2, 3, 4] },
  ],
  sendLatency: true,
  figures: [errors("errors (1-6 s)", 1, 6), load("load of the host that left (5-6 s)", [1], 5, 6)],
};
const UNTIMED_AGENTS: Scenario = {
  ...TROUBLE,
  name: "three-agents-untimed",
  agents: 3,
  sendLatency: false,
};

describe("a session in real time", () => {
  let session: RealSession;
  beforeAll(async () => {
    session = await RealSession.start("adaptive", SCALE, 7);
  }, 20_000);
  afterAll(async () => session.stop());

  test("a host of five that refuses costs less than half of the 20 % it would unbalanced; a drained one gets no call", async () => {
    const { outcomes, reports, notSent, lag } = await session.play([TROUBLE, UNTIMED_AGENTS]);
    expect(notSent).toBe(0);
    expect(lag.count).toBeGreaterThan(1000);
    for (const { scenario, log, mishaps, routeFailures } of outcomes) {
      expect({ mishaps, routeFailures }).toEqual({
        mishaps: { unanswered: 0, unknown: 0, stray: 0 },
        routeFailures: [],
      });
      expect(log.length).toBeGreaterThan(450);
      expect(log.count(PENDING)).toBe(0);
      const [errorShare, drainedLoad] = scenario.figures.map((figure) => figure.measure(log)) as [number, number];
      // About 1 % with one agent; three agents find out three times.
      expect(errorShare).toBeGreaterThan(0);
      expect(errorShare).toBeLessThan(0.1);
      expect(log.loadOf([1], 0, 3000)).toBeGreaterThan(0.3);
      expect(drainedLoad).toBe(0);
    }
    const counts = await eventually(async () => {
      const now = await session.counts();
      expect(now.reports + now.reportsOfStrangers).toBe(reports);
      return now;
    });
    expect(counts.picks).toBe(outcomes.reduce((sum, { log }) => sum + log.length, 0));
  }, 15_000);
});

describe("around it", () => {
  test("groups hold every scenario once, and no group asks for more calls a second than allowed", () => {
    const scenarios = [300, 900, 600, 100, 400].map((rate, i) => ({ ...TROUBLE, name: `s${i}`, rate, durationMs: i }));
    const groups = makeGroups(scenarios, 1000);
    expect(
      groups
        .flat()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["s0", "s1", "s2", "s3", "s4"]);
    for (const group of groups) expect(group.reduce((sum, { rate }) => sum + rate, 0)).toBeLessThanOrEqual(1000);
    expect(groups.length).toBe(3);
  });

  test("a stretched plan moves faults, route changes and its end, and nothing else", () => {
    const half = stretch(TROUBLE, 0.5);
    expect(half.durationMs).toBe(3000);
    expect(half.rate).toBe(200);
    expect(half.routes?.map(({ atMs }) => atMs)).toEqual([0, 1500]);
    expect(half.hosts[0]).toEqual({ latency: USUAL, faults: [{ kind: "refuse", fromMs: 500 }] });
  });

  test("a histogram gives the median, the 99th percentile and the largest of what it was told", () => {
    const histogram = new Histogram();
    for (let i = 1; i <= 1000; i++) histogram.record(i / 10);
    histogram.record(5000);
    const { count, p50Ms, p99Ms, maxMs } = histogram.times();
    expect(count).toBe(1001);
    expect(p50Ms).toBeCloseTo(50.1, 0);
    expect(p99Ms).toBeCloseTo(99.1, 0);
    expect(maxMs).toBe(5000);
    expect(new Histogram().times().p99Ms).toBe(0);
  });
});
