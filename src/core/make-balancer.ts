// From a policy's name to its balancer. The one place that knows all of them.
import type { Balancer } from "./balancer.ts";
import { LarsBalancer, type LarsParameters } from "./balancer-lars.ts";
import { SteeredBalancer } from "./balancer-steered.ts";
import type { MakePicker } from "./picker.ts";
import { AdaptivePicker } from "./picker-adaptive.ts";
import { ConsistentHashPicker } from "./picker-consistent-hash.ts";
import { LeastRequestPicker } from "./picker-least-request.ts";
import { RandomPicker } from "./picker-random.ts";
import { RoundRobinPicker } from "./picker-round-robin.ts";
import type { PolicyName, SteeringParameters } from "./policies.ts";

export interface BalancerSettings {
  readonly policy: PolicyName;
  readonly lars: LarsParameters;
  readonly steering: SteeringParameters;
  /** The zone the picks are made in; "" none. */
  readonly zone: string;
}

const PICKERS: Readonly<Record<Exclude<PolicyName, "lars">, MakePicker>> = {
  adaptive: () => new AdaptivePicker(),
  round_robin: () => new RoundRobinPicker(),
  random: () => new RandomPicker(),
  least_request: () => new LeastRequestPicker(),
  consistent_hash: (parameters) => new ConsistentHashPicker(parameters),
};

/** A balancer without hosts. */
export function makeBalancer(settings: BalancerSettings): Balancer {
  if (settings.policy === "lars") return new LarsBalancer(settings.lars);
  return new SteeredBalancer(settings.steering, settings.zone, PICKERS[settings.policy]);
}
