// From a policy's name to its balancer. The one place that knows all of them.
import type { Balancer } from "./balancer.ts";
import { LarsBalancer, type LarsParameters } from "./balancer-lars.ts";
import type { PolicyName, SteeringParameters } from "./policies.ts";

export interface BalancerSettings {
  readonly policy: PolicyName;
  readonly lars: LarsParameters;
  readonly steering: SteeringParameters;
  /** The zone the picks are made in; "" none. */
  readonly zone: string;
}

/** A balancer without hosts. */
export function makeBalancer(settings: BalancerSettings): Balancer {
  return new LarsBalancer(settings.lars);
}
