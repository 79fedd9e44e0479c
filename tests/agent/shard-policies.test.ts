// Which policy a shard balances a module by, and what a change of it keeps.
import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { DEFAULT_STEERING, NO_CHOICE } from "../../src/core/policies.ts";
import { BALANCING, LIMITS, ShardRig } from "./shard-rig.ts";

const STEERED = { policy: "round_robin", steering: { ...DEFAULT_STEERING, slow_start: 0 } } as const;

/** Module 1.1 with hosts 8 and 9, host 8 ejected by failures in a row while 9 does well. */
function ejecting(balancing = {}): ShardRig {
  const rig = new ShardRig({}, { balancing: { ...STEERED, ...balancing } });
  rig.route(1, 1, 10, 8, 9);
  for (let i = 0; i < 5; i++) rig.ask(i, 1, 1).ask(i, 1, 1).report(1, 1, 9, 0).report(1, 1, 8, 1);
  rig.replies();
  return rig;
}

function described(rig: ShardRig) {
  return rig.modules.describe(1, 1, rig.nowMs)!;
}

function verdicts(rig: ShardRig): string[] {
  return described(rig).hosts.map(({ ip, verdict }) => `${ip} ${verdict}`);
}

describe("a module", () => {
  test("without a choice is balanced by the agent's default; with one by its own, its parameters over the agent's", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).route(1, 1, 10, 9);
    expect(described(rig)).toMatchObject({ policy: "round_robin", policyParameters: {} });
    rig.choose("random", { decay: 2 }).route(1, 1, 11, 9);
    expect(described(rig)).toMatchObject({ policy: "random", policyParameters: { decay: 2 } });
    rig.choose("").route(1, 1, 12, 9);
    expect(described(rig)).toMatchObject({ policy: "round_robin", policyParameters: {} });
  });

  test("is given its policy with its first route too", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).choose("lars").route(1, 1, 10, 9);
    expect(described(rig).policy).toBe("lars");
    // Only lars has no count of picks in flight.
    expect(described(rig).hosts[0]).not.toHaveProperty("inFlight");
  });

  test("whose route is older than the one held keeps its policy", () => {
    const rig = new ShardRig({}, { balancing: STEERED })
      .choose("random")
      .route(1, 1, 10, 9)
      .choose("lars")
      .route(1, 1, 9, 9);
    expect(described(rig).policy).toBe("random");
  });
});

describe("a change of policy", () => {
  test("between steered ones counts for the next pick and keeps who is ejected, what is in flight and the estimates", () => {
    const rig = ejecting();
    expect(verdicts(rig)).toEqual(["8 ejected", "9 available"]);
    rig.ask(50, 1, 1).ask(51, 1, 1);
    const before = described(rig).hosts.map(({ inFlight, latencyMs, reason }) => [inFlight, latencyMs, reason]);
    expect(before[1]?.[0]).toBe(2);
    rig.choose("consistent_hash").route(1, 1, 11, 8, 9);
    expect(described(rig).policy).toBe("consistent_hash");
    expect(described(rig).hosts.map(({ inFlight, latencyMs, reason }) => [inFlight, latencyMs, reason])).toEqual(
      before,
    );
    expect(rig.replies()).toHaveLength(2);
    expect(rig.ask(52, 1, 1).replies()).toEqual(["seq 52: host 9:80"]);
  });

  test("of parameters alone keeps all of that as well", () => {
    const rig = ejecting();
    rig.choose("round_robin", { consecutive_failures: 50 }).route(1, 1, 11, 8, 9);
    expect(verdicts(rig)).toEqual(["8 ejected", "9 available"]);
  });

  test("between steered ones chooses the new way with the next pick", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).choose("round_robin").route(1, 1, 10, 8, 9);
    const hostsOfKey = (): number =>
      new Set(Array.from({ length: 10 }, () => rig.modules.pick(1, 1, 12_345, rig.nowMs))).size;
    expect(hostsOfKey()).toBe(2);
    rig.choose("consistent_hash", { bounded_load: 10 }).route(1, 1, 11, 8, 9);
    expect(hostsOfKey()).toBe(1);
    rig.choose("").route(1, 1, 12, 8, 9);
    expect(hostsOfKey()).toBe(2);
  });

  test("to another success_window judges by the calls from then on", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).route(1, 1, 10, 8, 9);
    rig.report(1, 1, 8, 0).report(1, 1, 9, 0);
    rig.choose("round_robin", { success_window: 60 }).route(1, 1, 11, 8, 9).report(1, 1, 9, 0);
    expect(described(rig).hosts.map(({ succ, totalSucc }) => [succ, totalSucc])).toEqual([
      [0, 1],
      [1, 2],
    ]);
    rig.wait(45_000).report(1, 1, 9, 0);
    expect(described(rig).hosts[1]?.succ).toBe(2);
  });

  test("of parameters decides about the reports from then on", () => {
    const failures = (parameters: object): string[] => {
      const rig = new ShardRig({}, { balancing: STEERED }).choose("round_robin", parameters).route(1, 1, 10, 8, 9);
      rig.report(1, 1, 9, 0).report(1, 1, 8, 1).report(1, 1, 8, 1);
      return verdicts(rig);
    };
    expect(failures({})).toEqual(["8 available", "9 available"]);
    expect(failures({ consecutive_failures: 2 })).toEqual(["8 ejected", "9 available"]);
  });

  test("to lars and back begins anew with the hosts, and goes on counting in the same statistics", () => {
    const rig = ejecting();
    const [succ, err] = [5, 5];
    rig.choose("lars").route(1, 1, 11, 8, 9);
    expect(verdicts(rig)).toEqual(["8 available", "9 available"]);
    rig.report(1, 1, 8, 1).report(1, 1, 9, 0);
    rig.choose("adaptive").route(1, 1, 12, 8, 9).report(1, 1, 8, 1).report(1, 1, 9, 0);
    expect(rig.totals(1, 1).map(({ ip, succ, err }) => [ip, succ, err])).toEqual([
      [8, 0, err + 2],
      [9, succ + 2, 0],
    ]);
    expect(rig.statistics.size).toBe(2);
    expect(described(rig).hosts.map(({ totalSucc, totalErr }) => [totalSucc, totalErr])).toEqual([
      [0, err + 2],
      [succ + 2, 0],
    ]);
  });

  test("together with other hosts takes both", () => {
    const rig = ejecting();
    rig.choose("lars").route(1, 1, 11, 9, 10);
    expect(verdicts(rig)).toEqual(["9 available", "10 available"]);
    rig.report(1, 1, 10, 0);
    expect(rig.totals(1, 1).map(({ ip }) => ip)).toEqual([8, 9, 10]);
  });

  test("that comes with a route heard again as it was changes nothing", () => {
    const rig = new ShardRig({}, { balancing: { ...STEERED, policy: "round_robin" } }).route(1, 1, 10, 8, 9);
    // Each once a round, whatever is heard in between: a picker built anew would begin anew, with this chance at the same.
    const picks: string[] = [];
    for (let i = 0; i < 10; i++) picks.push(rig.ask(1, 1, 1).route(1, 1, 10, 8, 9).replies()[0]!);
    for (let i = 0; i < 10; i += 2) expect(new Set(picks.slice(i, i + 2)).size).toBe(2);
  });
});

describe("a reload of the agent's configuration", () => {
  test("reaches modules without a choice, keeping their hosts' state; those with one keep their policy", () => {
    const rig = ejecting().choose("random", { decay: 3 }).route(2, 2, 10, 9);
    rig.modules.configure(LIMITS, { ...BALANCING, ...STEERED, policy: "least_request" });
    expect(described(rig).policy).toBe("least_request");
    expect(verdicts(rig)).toEqual(["8 ejected", "9 available"]);
    expect(rig.modules.describe(2, 2, rig.nowMs)).toMatchObject({ policy: "random", policyParameters: { decay: 3 } });
  });

  test("of [steering] counts from the next report on", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).route(1, 1, 10, 8, 9).report(1, 1, 9, 0);
    const steering = { ...STEERED.steering, consecutive_failures: 2 };
    rig.modules.configure(LIMITS, { ...BALANCING, ...STEERED, steering });
    rig.report(1, 1, 8, 1).report(1, 1, 8, 1);
    expect(verdicts(rig)).toEqual(["8 ejected", "9 available"]);
  });

  test("to policy lars and with other numbers of its own counts from the next report on", () => {
    const rig = new ShardRig({}, { balancing: STEERED }).route(1, 1, 10, 8, 9);
    rig.modules.configure(LIMITS, { ...BALANCING, lars: { ...BALANCING.lars, contin_err_limit: 2 } });
    rig.report(1, 1, 8, 1);
    expect(verdicts(rig)).toEqual(["8 available", "9 available"]);
    rig.report(1, 1, 8, 1);
    expect(verdicts(rig)).toEqual(["8 ejected", "9 available"]);
  });
});

test("a weight that changes counts for the next pick, whatever was heard before", () => {
  const rig = new ShardRig({}, { balancing: STEERED });
  const route = (revision: number, ...weights: number[]): void =>
    rig.modules.applyRoute(
      {
        modid: 1,
        cmdid: 1,
        revision,
        policy: NO_CHOICE,
        hosts: weights.map((weight, i) => makeHost(8 + i, 80, { weight })),
      },
      rig.nowMs,
    );
  const shares = (): number[] => {
    const counts = [0, 0];
    for (let i = 0; i < 40; i++) {
      const host = rig.modules.pick(1, 1, 0, rig.nowMs);
      if ("ip" in host) counts[host.ip - 8]! += 1;
    }
    return counts;
  };
  route(10, 100, 100);
  expect(shares()).toEqual([20, 20]);
  route(11, 100, 300);
  expect(shares()).toEqual([10, 30]);
});
