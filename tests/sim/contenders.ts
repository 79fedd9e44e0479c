// Who is compared: every policy of ours, as POLICIES lists them, with its defaults.
import type { LarsParameters } from "../../src/core/balancer-lars.ts";
import { makeBalancer } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING, POLICIES, type PolicyName, type SteeringParameters } from "../../src/core/policies.ts";
import type { BalancerFactory } from "./engine.ts";

export interface Contender {
  readonly name: string;
  readonly isOurs: boolean;
  /** A rival that is part of its caller always knows the latency; it plays only where callers send theirs. */
  readonly needsLatency: boolean;
  readonly factory: BalancerFactory;
}

/** The agent's defaults, which are the original's. */
const LARS_DEFAULTS: LarsParameters = {
  probe_num: 10,
  init_succ_cnt: 180,
  init_err_cnt: 5,
  err_rate: 0.1,
  succ_rate: 0.5,
  contin_err_limit: 15,
  contin_succ_limit: 15,
  window_err_rate: 0.7,
  idle_timeout: 15,
  overload_timeout: 15,
};

/** A policy of ours, with some of its numbers changed: for those who tune it. */
export function ours(policy: PolicyName, steering: Partial<SteeringParameters> = {}): BalancerFactory {
  return () => makeBalancer({ policy, lars: LARS_DEFAULTS, steering: { ...DEFAULT_STEERING, ...steering }, zone: "" });
}

export const CONTENDERS: readonly Contender[] = [
  ...POLICIES.map((policy) => ({ name: policy, isOurs: true, needsLatency: false, factory: ours(policy) })),
];
