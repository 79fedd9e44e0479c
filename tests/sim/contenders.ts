// Who is compared: every policy of ours, as POLICIES lists them, and models of others, all with their defaults.
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import { makeBalancer } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING, POLICIES, type PolicyName, type SteeringParameters } from "../../src/core/policies.ts";
import type { BalancerFactory, Setting } from "./engine.ts";
import { envoyLeastRequest, envoyLeastRequestHalf, envoyRoundRobin, grpcRoundRobin } from "./rivals/envoy.ts";
import { finaglePeakEwma } from "./rivals/finagle.ts";
import { nacosRandom } from "./rivals/nacos.ts";

export interface Contender {
  readonly name: string;
  readonly isOurs: boolean;
  readonly factory: BalancerFactory;
}

/** A policy of ours, with some of its numbers changed: for those who tune it. */
export function ours(policy: PolicyName, steering: Partial<SteeringParameters> = {}): BalancerFactory {
  return () => makeBalancer({ policy, lars: LARS_DEFAULTS, steering: { ...DEFAULT_STEERING, ...steering }, zone: "" });
}

const RIVALS: Readonly<Record<string, BalancerFactory>> = {
  "envoy-round-robin": envoyRoundRobin,
  "envoy-least-request": envoyLeastRequest,
  "envoy-least-request-50": envoyLeastRequestHalf,
  "grpc-round-robin": grpcRoundRobin,
  "finagle-peak-ewma": finaglePeakEwma,
  "nacos-random": nacosRandom,
};

export const CONTENDERS: readonly Contender[] = [
  ...POLICIES.map((policy) => ({ name: policy, isOurs: true, factory: ours(policy) })),
  ...Object.entries(RIVALS).map(([name, factory]) => ({ name, isOurs: false, factory })),
];

/** Rivals are part of their caller: they time calls themselves, and neither reports nor callers get lost on them. */
export function plays(contender: Contender, scenario: Setting): boolean {
  const isFlawless = scenario.sendLatency && !scenario.reportsLost && !scenario.callerDeathsPerSecond;
  return contender.isOurs || isFlawless;
}
