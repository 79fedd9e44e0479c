// What every policy promises alike: names and parameters that hold together, and shares in proportion to weight.
import { describe, expect, test } from "bun:test";
import {
  DEFAULT_STEERING,
  isPolicyName,
  isSteeringParameter,
  type ParameterSpec,
  POLICIES,
  STEERING_PARAMETERS,
} from "../../src/core/policies.ts";
import { fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene } from "./steered-scene.ts";

const SEED = fuzzSeed();
const STEERED = ["adaptive", "round_robin", "random", "least_request", "consistent_hash"] as const;

describe("parameters", () => {
  const specs: [string, ParameterSpec][] = Object.entries(STEERING_PARAMETERS);

  test.each(specs)("%s: the default is allowed and is what DEFAULT_STEERING holds", (name, spec) => {
    expect(spec.default).toBeGreaterThanOrEqual(spec.min);
    expect(spec.default).toBeLessThanOrEqual(spec.max);
    if (spec.whole === true) expect(Number.isInteger(spec.default)).toBe(true);
    expect(isSteeringParameter(name)).toBe(true);
    expect(isSteeringParameter(name) && DEFAULT_STEERING[name]).toBe(spec.default);
  });

  test("a name that every object has is no parameter and no policy", () => {
    for (const name of ["", "toString", "__proto__", "constructor", "Adaptive", "adaptive "]) {
      expect([name, isSteeringParameter(name), isPolicyName(name)]).toEqual([name, false, false]);
    }
  });

  test("names of policies are stored in databases: none is renamed, none moves", () => {
    expect(POLICIES.slice(0, 6)).toEqual([
      "lars",
      "adaptive",
      "round_robin",
      "random",
      "least_request",
      "consistent_hash",
    ]);
  });
});

describe("weights", () => {
  const VECTORS: [string, number[]][] = [
    ["3 equal hosts", [100, 100, 100]],
    ["1:2:4", [100, 200, 400]],
    ["1:1:8", [1, 1, 8]],
    ["10 hosts, 1 to 10", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ["50 equal hosts", Array(50).fill(7)],
    ["50 hosts, 50 to 99", Array.from({ length: 50 }, (_, i) => 50 + i)],
    ["50 hosts, one of 1,000 among 100s", Array.from({ length: 50 }, (_, i) => (i === 7 ? 1000 : 100))],
  ];

  describe.each(STEERED)("%s", (policy) => {
    test.each(VECTORS)("%s: every host's share is within 5 %% of its weight's", (_name, weights) => {
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const lightest = Math.min(...weights) / total;
      // 10,000 picks, or where chance alone would be off by 5 % of a small share, as many as put that at 4.5 deviations.
      const needed = ((4.5 / 0.05) ** 2 * (1 - lightest)) / lightest;
      const picks = policy === "round_robin" ? 10_000 : Math.ceil(Math.max(10_000, needed));
      const hosts = weights.map((weight, i) => ({ ip: i + 1, weight }));
      const random = makeFuzzRandom(SEED).float;
      const scene = new Scene(hosts, { policy, random });
      const counts = new Float64Array(weights.length + 1);
      for (let i = 0; i < picks; i++) {
        scene.nowMs += 1;
        const host = scene.balancer.pick(scene.nowMs, random, 0);
        if (host.kind !== "host") throw new Error("shed");
        counts[host.ip]!++;
        scene.balancer.report(host, true, 20_000, scene.nowMs);
      }
      for (const [i, weight] of weights.entries()) {
        const ratio = counts[i + 1]! / picks / (weight / total);
        if (Math.abs(ratio - 1) > 0.05) expect(`host ${i + 1}, weight ${weight}: ${ratio}`).toBe("within 5 %");
      }
    });
  });
});
