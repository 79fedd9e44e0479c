import { expect, test } from "bun:test";
import { adoptVerdicts } from "../../src/core/adopt-verdicts.ts";
import { makeHost } from "../../src/core/assignment.ts";
import type { Balancer } from "../../src/core/balancer.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import { makeBalancer } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING, POLICIES, type PolicyName } from "../../src/core/policies.ts";

const HOSTS = Array.from({ length: 10 }, (_, i) => makeHost(i + 1, 80));
const NOW_MS = 5000;

function balancerOf(policy: PolicyName): Balancer {
  const balancer = makeBalancer({ policy, lars: LARS_DEFAULTS, steering: DEFAULT_STEERING, zone: "" });
  balancer.update(HOSTS, NOW_MS);
  return balancer;
}

const verdictsOf = (balancer: Balancer) =>
  balancer.describe(NOW_MS).map(({ ip, verdict, latencyMs }) => ({ ip, verdict, latencyMs }));

test.each([...POLICIES])(
  "under %s hosts 3 and 7 of 10 that were held out are held out in a new balancer, the others not",
  (policy) => {
    const old = balancerOf(policy);
    for (let round = 0; round < 30; round++) {
      for (const { ip, port } of HOSTS) old.report(old.find(ip, port)!, ip !== 3 && ip !== 7, ip * 1000, NOW_MS);
    }
    const ejected = verdictsOf(old).flatMap(({ ip, verdict }) => (verdict === "ejected" ? [ip] : []));
    expect(ejected).toEqual([3, 7]);

    const fresh = balancerOf(policy);
    adoptVerdicts(fresh, old.describe(NOW_MS), NOW_MS);
    const after = verdictsOf(fresh);
    expect(after.map(({ ip, verdict }) => [ip, verdict])).toEqual(
      verdictsOf(old).map(({ ip, verdict }) => [ip, verdict]),
    );
    for (const { ip, verdict, latencyMs } of after) {
      if (verdict === "available" && latencyMs !== undefined) expect([ip, Math.round(latencyMs)]).toEqual([ip, ip]);
    }
  },
);

test("a verdict on a host that has left the route meanwhile says nothing", () => {
  const old = balancerOf("lars");
  for (let i = 0; i < 30; i++) old.report(old.find(3, 80)!, false, 0, NOW_MS);
  const fresh = makeBalancer({ policy: "lars", lars: LARS_DEFAULTS, steering: DEFAULT_STEERING, zone: "" });
  fresh.update([makeHost(1, 80)], NOW_MS);
  adoptVerdicts(fresh, old.describe(NOW_MS), NOW_MS);
  expect(verdictsOf(fresh)).toEqual([{ ip: 1, verdict: "available", latencyMs: undefined }]);
});
