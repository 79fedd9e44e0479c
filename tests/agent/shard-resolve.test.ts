// What a shard tells the resolver of a module: a pick, and others that could have been picked.
import { expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE, type PolicyName } from "../../src/core/policies.ts";
import { ShardRig } from "./shard-rig.ts";

function ipsOf(rig: ShardRig, limit: number, cmdid = 1): number[] | string {
  const answer = rig.modules.resolve(1, cmdid, limit, rig.nowMs);
  return answer.outcome === "hosts" ? answer.hosts.map(({ ip }) => ip) : answer.outcome;
}

test("the pick is the balancer's next one; the others follow from there, round the route", () => {
  const rig = new ShardRig().route(1, 1, 5, 7, 8, 9);
  expect([ipsOf(rig, 9), ipsOf(rig, 9), ipsOf(rig, 9), ipsOf(rig, 9)]).toEqual([
    [7, 8, 9],
    [8, 9, 7],
    [9, 7, 8],
    [7, 8, 9],
  ]);
  expect(ipsOf(rig, 2)).toEqual([8, 9]);
  expect(ipsOf(rig, 1)).toEqual([9]);
  // The next caller over UDP gets who is next.
  expect(rig.ask(1, 1, 1).replies()).toEqual(["seq 1: host 7:80"]);
});

test("with a limit of 0 nobody is picked", () => {
  const rig = new ShardRig().route(1, 1, 5, 7, 8);
  for (let i = 0; i < 3; i++) expect(ipsOf(rig, 0)).toEqual([]);
  expect(ipsOf(rig, 1)).toEqual([7]);
});

test("an ejected host is told only when it is the pick itself: a probe, with the others behind it", () => {
  const rig = new ShardRig().route(1, 1, 5, 7, 8, 9);
  for (let i = 0; i < 15; i++) rig.report(1, 1, 8, 1);
  const answers = Array.from({ length: 11 }, () => ipsOf(rig, 9) as number[]);
  for (const ips of answers.slice(0, 10)) expect(ips.toSorted()).toEqual([7, 9]);
  expect(answers[10]).toEqual([8, 9, 7]);
});

test("a module that is not known is asked for; how it came out is told", () => {
  const rig = new ShardRig();
  for (const limit of [0, 9]) expect(ipsOf(rig, limit)).toBe("resolving");
  expect(rig.asked).toEqual(["1.1"]);
  rig.route(1, 1, 5);
  for (const limit of [0, 9]) expect(ipsOf(rig, limit)).toBe("unknown");
  rig.route(1, 1, 6, 7);
  expect(ipsOf(rig, 9)).toEqual([7]);
});

test("a module for which there is no room is not said to be unknown", () => {
  const rig = new ShardRig({ maxModules: 1 }).route(1, 1, 5, 7);
  for (const limit of [0, 9]) expect(ipsOf(rig, limit, 2)).toBe("resolving");
  expect(rig.asked).toEqual([]);
});

test.each([
  ["round_robin", [[1, 2]]],
  [
    "lars",
    [
      [1, 2, 3, 4],
      [2, 3, 4, 1],
      [3, 4, 1, 2],
      [4, 1, 2, 3],
    ],
  ],
] as const)("policy %s, hosts in two zones: those that callers here would be sent to", (policy, expected) => {
  const rig = new ShardRig({}, { balancing: { policy: policy as PolicyName, zone: "here" } });
  const hosts = ["here", "here", "there", "there"].map((zone, i) => makeHost(i + 1, 80, { zone }));
  rig.modules.applyRoute({ modid: 1, cmdid: 1, revision: 5, hosts, policy: NO_CHOICE }, rig.nowMs);
  for (let i = 0; i < 8; i++) {
    const ips = ipsOf(rig, 9) as number[];
    if (policy === "lars") expect(ips).toEqual([...expected[i % 4]!]);
    else expect(ips.toSorted()).toEqual([...expected[0]]);
  }
});

test("once the own zone is down, the hosts of the others are told", () => {
  const rig = new ShardRig({}, { balancing: { policy: "round_robin", zone: "here" } });
  const hosts = ["here", "there", "there"].map((zone, i) => makeHost(i + 1, 80, { zone }));
  rig.modules.applyRoute({ modid: 1, cmdid: 1, revision: 5, hosts, policy: NO_CHOICE }, rig.nowMs);
  for (let i = 0; i < 10; i++) rig.report(1, 1, 2, 0).report(1, 1, 3, 0);
  expect(ipsOf(rig, 9)).toEqual([1]);
  for (let i = 0; i < 10; i++) rig.report(1, 1, 1, 1);
  expect((ipsOf(rig, 9) as number[]).toSorted()).toEqual([2, 3]);
});
