import { describe, expect, test } from "bun:test";
import { agentConfig } from "../../src/agent/config.ts";
import { shardSettings } from "../../src/agent/settings.ts";
import { DEFAULT_STEERING, STEERING_PARAMETERS, type SteeringParameter } from "../../src/core/policies.ts";
import { resolveConfig } from "../../src/platform/config-values.ts";

function resolve(env: Record<string, string>) {
  return resolveConfig(agentConfig, { file: "agent.toml", values: {}, env });
}

describe("[steering]", () => {
  test("has every parameter with the range, default, unit and cost of their list, and all can be reloaded", () => {
    const { keys } = agentConfig.sections.steering;
    expect(Object.keys(keys)).toEqual(Object.keys(STEERING_PARAMETERS));
    for (const [name, { min, max, cost, unit, doc }] of Object.entries(STEERING_PARAMETERS)) {
      const key = keys[name as SteeringParameter];
      expect({ name, ...key }).toMatchObject({ name, cost, unit, doc, reload: true });
      const accepts = [min, max, min - 1, max + 1].map((value) => key.schema.safeParse(value).success);
      expect([name, accepts]).toEqual([name, [true, true, false, false]]);
    }
    expect(keys.consecutive_failures.schema.safeParse(2.5).success).toBe(false);
  });

  test("reaches the shards, with the policy, the numbers of lars and the zone", () => {
    const resolved = resolve({
      LARS_AGENT__STEERING__DECAY: "7.5",
      LARS_AGENT__LOADBALANCE__POLICY: "random",
      LARS_AGENT__LOADBALANCE__PROBE_NUM: "3",
      LARS_AGENT__ZONE__NAME: "eu-1",
    });
    if (!resolved.ok) throw new Error(resolved.message);
    const { balancer } = shardSettings(resolved.config);
    expect(balancer).toMatchObject({ policy: "random", zone: "eu-1", lars: { probe_num: 3 } });
    expect(balancer.steering).toEqual({ ...DEFAULT_STEERING, decay: 7.5 });
    expect(Object.keys(balancer.lars)).not.toContain("update_timeout");
  });

  test("of an agent whose configuration says nothing is the list's defaults, and the policy adaptive", () => {
    const resolved = resolve({});
    if (!resolved.ok) throw new Error(resolved.message);
    expect(shardSettings(resolved.config).balancer).toMatchObject({ policy: "adaptive", steering: DEFAULT_STEERING });
  });
});
