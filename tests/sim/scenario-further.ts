// What the specification calls further cases: no numbers are given for them there, but for the rolling restart (no error)
// and for picks that must never be refused. The other limits are what a user may expect by analogy with the table; they
// are this file's own, and may be argued with.

import type { RouteChange } from "./engine.ts";
import { equalHosts, errors, load, ONE_AGENT, percentile, refusals, type ScenarioSketch, USUAL } from "./figures.ts";
import type { Fault, HostSpec } from "./host-model.ts";

/**
 * Six hosts restarted one after the other. Every 8 s the next one leaves the route (`draining`), goes down 3 s later, is
 * up again after 3 s more, and returns to the route 1 s after that, cold: three times slower for 2 s.
 */
function rollingRestart(): { hosts: readonly HostSpec[]; routes: readonly RouteChange[] } {
  const all = [0, 1, 2, 3, 4, 5];
  const routes: RouteChange[] = [{ atMs: 0, hosts: all }];
  const hosts = all.map((index) => {
    const atMs = 10_000 + index * 8000;
    routes.push({ atMs, hosts: all.filter((other) => other !== index) }, { atMs: atMs + 7000, hosts: all });
    const faults: Fault[] = [
      { kind: "refuse", fromMs: atMs + 3000, untilMs: atMs + 6000 },
      { kind: "slow", factor: 3, fromMs: atMs + 7000, untilMs: atMs + 9000 },
    ];
    return { latency: USUAL, faults };
  });
  return { hosts, routes };
}

export const FURTHER: readonly ScenarioSketch[] = [
  {
    name: "flaps-1-of-5",
    title: "5 hosts, 200/s; host 0 refuses during the first half of every second from 10 s to 40 s; ends at 60 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 60_000,
    rate: 200,
    hosts: equalHosts(5, USUAL, [{ kind: "flap", periodMs: 1000, downMs: 500, fromMs: 10_000, untilMs: 40_000 }]),
    trouble: { hosts: [0], fromMs: 10_000, untilMs: 40_000 },
    figures: [
      errors("errors while it flaps (10-40 s)", 10, 40, { limit: { atMost: 0.01 } }),
      load("its load 10 s after (50-60 s)", [0], 50, 60, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "two-bad-of-8",
    title: "8 hosts, 300/s; host 0 refuses and host 1 hangs from 10 s to 30 s; ends at 45 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 45_000,
    rate: 300,
    hosts: equalHosts(
      8,
      USUAL,
      [{ kind: "refuse", fromMs: 10_000, untilMs: 30_000 }],
      [{ kind: "hang", fromMs: 10_000, untilMs: 30_000 }],
    ),
    trouble: { hosts: [0, 1], fromMs: 10_000, untilMs: 30_000 },
    figures: [
      errors("errors in the first 3 s (10-13 s)", 10, 13, { limit: { atMost: 0.03 } }),
      errors("errors from then on (13-30 s)", 13, 30, { limit: { atMost: 0.002 } }),
      load("their load 10 s after their return (40-45 s)", [0, 1], 40, 45, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "slow-and-failing-of-8",
    title: "8 hosts, 300/s; host 0 takes 200 ms and host 1 fails a third of its calls from 10 s to 40 s; ends at 40 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 40_000,
    rate: 300,
    hosts: equalHosts(
      8,
      USUAL,
      [{ kind: "latency", latency: { kind: "constant", ms: 200 }, fromMs: 10_000 }],
      [{ kind: "fail", share: 0.33, fromMs: 10_000 }],
    ),
    trouble: { hosts: [0, 1], fromMs: 10_000 },
    figures: [
      errors("errors (10-40 s)", 10, 40, { limit: { atMost: 0.01 } }),
      percentile("p99 (10-40 s)", 0.99, 10, 40, { limit: { atMost: 45 } }),
    ],
  },
  {
    name: "reports-lost-5-percent",
    title: "5 hosts, 200/s, 5 % of the reports get lost; host 0 refuses from 20 s to 40 s; ends at 60 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 60_000,
    rate: 200,
    reportsLost: 0.05,
    hosts: equalHosts(5, USUAL, [{ kind: "refuse", fromMs: 20_000, untilMs: 40_000 }]),
    trouble: { hosts: [0], fromMs: 20_000, untilMs: 40_000 },
    figures: [
      {
        name: "largest load of a host in any 5 s before (0-20 s)",
        unit: "x fair",
        measure: (log) => log.worstWindowLoad(5000, 0, 20_000),
        limit: { atMost: 1.3 },
      },
      errors("errors in the first second (20-21 s)", 20, 21, { limit: { atMost: 0.03 } }),
      errors("errors from then on (21-40 s)", 21, 40, { limit: { atMost: 0.0012 } }),
      load("its load 10 s after its return (50-60 s)", [0], 50, 60, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "callers-die",
    title: "5 hosts at N(100 ms, 25 ms), 300/s from 40 callers, of whom two die every second, for a minute",
    isRow: false,
    arrivals: "poisson",
    agents: 1,
    callersPerAgent: 40,
    durationMs: 60_000,
    rate: 300,
    callerDeathsPerSecond: 2,
    hosts: equalHosts(5, { kind: "normal", ms: 100, deviationMs: 25 }),
    figures: [
      {
        name: "largest load of a host in any 20 s",
        unit: "x fair",
        measure: (log) => log.worstWindowLoad(20_000, 0, 60_000),
        limit: { atMost: 1.2 },
      },
      errors("errors", 0, 60, { limit: { atMost: 0 } }),
    ],
  },
  {
    name: "callers-die-on-a-hung-host",
    title:
      "5 hosts, 200/s from 40 callers, of whom two die every second; host 0 hangs from 10 s to 30 s; ends at 100 s",
    isRow: false,
    arrivals: "poisson",
    agents: 1,
    callersPerAgent: 40,
    durationMs: 100_000,
    rate: 200,
    callerDeathsPerSecond: 2,
    hosts: equalHosts(5, USUAL, [{ kind: "hang", fromMs: 10_000, untilMs: 30_000 }]),
    trouble: { hosts: [0], fromMs: 10_000, untilMs: 30_000 },
    figures: [
      errors("errors from 3 s on (13-30 s)", 13, 30, { limit: { atMost: 0.0012 } }),
      load("its load when leases are over (90-100 s)", [0], 90, 100, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "fifty-agents-refuses-1-of-5",
    title: "5 hosts, 50 agents with 2 calls/s each; host 0 refuses from 10 s to 70 s; ends at 100 s",
    isRow: false,
    arrivals: "poisson",
    agents: 50,
    callersPerAgent: 4,
    durationMs: 100_000,
    rate: 100,
    hosts: equalHosts(5, USUAL, [{ kind: "refuse", fromMs: 10_000, untilMs: 70_000 }]),
    trouble: { hosts: [0], fromMs: 10_000, untilMs: 70_000 },
    figures: [
      // Each agent finds out for itself, at 0.4 calls a second to the dead host.
      errors("errors (10-70 s)", 10, 70, { limit: { atMost: 0.08 } }),
      errors("errors from 20 s on (30-70 s)", 30, 70, { limit: { atMost: 0.05 } }),
      load("its load 20 s after its return (90-100 s)", [0], 90, 100, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "fifty-agents-slow-1-of-5",
    title: "5 hosts, 50 agents with 2 calls/s each; host 0 takes 200 ms from 10 s to 70 s; ends at 100 s",
    isRow: false,
    arrivals: "poisson",
    agents: 50,
    callersPerAgent: 4,
    durationMs: 100_000,
    rate: 100,
    hosts: equalHosts(5, USUAL, [
      { kind: "latency", latency: { kind: "constant", ms: 200 }, fromMs: 10_000, untilMs: 70_000 },
    ]),
    trouble: { hosts: [0], fromMs: 10_000, untilMs: 70_000 },
    figures: [
      load("its load while it is slow (20-70 s)", [0], 20, 70, { limit: { atMost: 0.5 } }),
      percentile("p90 (20-70 s)", 0.9, 20, 70, { limit: { atMost: 45 } }),
      load("its load 20 s after its recovery (90-100 s)", [0], 90, 100, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "fifty-agents-equal-5",
    title: "5 equal hosts, 50 agents with 10 calls/s each, nothing wrong, for half a minute from a cold start",
    isRow: false,
    arrivals: "poisson",
    agents: 50,
    callersPerAgent: 4,
    durationMs: 30_000,
    rate: 500,
    hosts: equalHosts(5, USUAL),
    figures: [
      {
        // Agents that all begin with the same host would show here.
        name: "largest load of a host in any second",
        unit: "x fair",
        measure: (log) => log.worstWindowLoad(1000, 0, 30_000),
        limit: { atMost: 1.5 },
      },
    ],
  },
  {
    name: "rolling-restart",
    title:
      "6 hosts, 300/s; every 8 s one is drained for 3 s, down for 3 s, back after 1 s and slow for 2 s; ends at 65 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 65_000,
    rate: 300,
    ...rollingRestart(),
    figures: [
      {
        name: "failed calls",
        unit: "calls",
        measure: (log) => Math.round(log.errorShare() * log.length),
        limit: { atMost: 0 },
      },
      refusals("refused", 0, 65, { limit: { atMost: 0 } }),
      percentile("p99", 0.99, 0, 65, { limit: { atMost: 70 } }),
    ],
  },
  {
    name: "added-cold",
    title: "5 hosts, 300/s; a sixth joins at 15 s, ten times slower for its first 10 s; ends at 45 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 45_000,
    rate: 300,
    hosts: equalHosts(6, USUAL, [{ kind: "slow", factor: 10, fromMs: 15_000, untilMs: 25_000 }]),
    routes: [
      { atMs: 0, hosts: [1, 2, 3, 4, 5] },
      { atMs: 15_000, hosts: [0, 1, 2, 3, 4, 5] },
    ],
    figures: [
      percentile("p99 while it is cold (15-25 s)", 0.99, 15, 25, { limit: { atMost: 60 } }),
      load("its load 10 s later (35-45 s)", [0], 35, 45, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "capacity-1-2-4",
    title:
      "hosts that serve 2, 4 and 8 calls at a time in Exp(20 ms) and queue the rest, 490/s (70 % of all), for 40 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 40_000,
    rate: 490,
    hosts: [2, 4, 8].map((servers) => ({
      latency: { kind: "exponential", ms: 20 },
      servers,
      maxWaitMs: 5000,
      fairShare: servers,
    })),
    figures: [
      errors("errors from 5 s on (5-40 s)", 5, 40, { limit: { atMost: 0.001 } }),
      percentile("p99 (5-40 s)", 0.99, 5, 40, { limit: { atMost: 200 } }),
      {
        name: "largest load for its capacity (5-40 s)",
        unit: "x fair",
        measure: (log) => log.largestLoad(5000, 40_000),
        limit: { atMost: 1.4 },
      },
    ],
  },
  {
    name: "weights-1-2-4",
    title: "3 equal hosts with weights 1:2:4, 300/s, for half a minute",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 30_000,
    rate: 300,
    hosts: [1, 2, 4].map((fairShare) => ({ latency: USUAL, weight: fairShare * 100, fairShare })),
    figures: [
      {
        name: "largest load for its weight",
        unit: "x fair",
        measure: (log) => log.largestLoad(0, 30_000),
        limit: { atMost: 1.25 },
      },
    ],
  },
  {
    name: "all-fail-20s",
    title: "5 hosts, 200/s; every call fails from 10 s to 30 s; ends at 45 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 45_000,
    rate: 200,
    hosts: Array.from({ length: 5 }, () => ({
      latency: USUAL,
      faults: [{ kind: "fail", share: 1, fromMs: 10_000, untilMs: 30_000 }],
    })),
    figures: [
      refusals("refused", 0, 45, { limit: { atMost: 0 } }),
      errors("errors in the first 2 s after (30-32 s)", 30, 32, { limit: { atMost: 0.01 } }),
      {
        name: "largest load of a host from 10 s after (40-45 s)",
        unit: "x fair",
        measure: (log) => log.largestLoad(40_000, 45_000),
        limit: { atMost: 1.3 },
      },
    ],
  },
  {
    name: "all-fail-2-percent",
    title: "5 hosts, 100/s; every host fails 2 % of its calls, for two minutes: nobody is an outlier",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 120_000,
    rate: 100,
    hosts: Array.from({ length: 5 }, () => ({ latency: USUAL, faults: [{ kind: "fail", share: 0.02, fromMs: 0 }] })),
    figures: [
      {
        name: "largest load of a host in any 10 s",
        unit: "x fair",
        measure: (log) => log.worstWindowLoad(10_000, 0, 120_000),
        limit: { atMost: 1.4 },
      },
      refusals("refused", 0, 120, { limit: { atMost: 0 } }),
    ],
  },
  {
    name: "long-outage-1-of-5",
    title: "5 hosts, 200/s; host 0 refuses from 10 s to 130 s; ends at 200 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 200_000,
    rate: 200,
    hosts: equalHosts(5, USUAL, [{ kind: "refuse", fromMs: 10_000, untilMs: 130_000 }]),
    trouble: { hosts: [0], fromMs: 10_000, untilMs: 130_000 },
    figures: [
      errors("errors from 1 s on (11-130 s)", 11, 130, { limit: { atMost: 0.001 } }),
      load("its load 60 s after its return (190-200 s)", [0], 190, 200, { limit: { atLeast: 0.8 } }),
    ],
  },
  {
    name: "quiet-refuses-1-of-3",
    title: "3 hosts, 2/s; host 0 refuses from 30 s to 150 s; ends at 210 s",
    isRow: false,
    ...ONE_AGENT,
    durationMs: 210_000,
    rate: 2,
    hosts: equalHosts(3, USUAL, [{ kind: "refuse", fromMs: 30_000, untilMs: 150_000 }]),
    trouble: { hosts: [0], fromMs: 30_000, untilMs: 150_000 },
    figures: [
      errors("errors from 30 s on (60-150 s)", 60, 150, { limit: { atMost: 0.05 } }),
      load("its load 30 s after its return (180-210 s)", [0], 180, 210),
    ],
  },
];
