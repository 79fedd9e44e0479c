// From a policy's name to its balancer, and from a running balancer to one with other settings. The one place that knows
// all of them.
import type { Balancer } from "./balancer.ts";
import { LarsBalancer, type LarsParameters } from "./balancer-lars.ts";
import { SteeredBalancer } from "./balancer-steered.ts";
import type { MakePicker } from "./picker.ts";
import { AdaptivePicker } from "./picker-adaptive.ts";
import { ConsistentHashPicker } from "./picker-consistent-hash.ts";
import { LeastRequestPicker } from "./picker-least-request.ts";
import { RandomPicker } from "./picker-random.ts";
import { RoundRobinPicker } from "./picker-round-robin.ts";
import type { PolicyChoice, PolicyName, SteeringParameters } from "./policies.ts";

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

/** What holds for a module: the agent's settings, and over them what the module chose for itself. */
export function settingsFor(agent: BalancerSettings, { name, parameters }: PolicyChoice): BalancerSettings {
  if (name === "") return agent;
  return { ...agent, policy: name, steering: { ...agent.steering, ...parameters } };
}

/**
 * The balancer with other settings, from the next pick on. It is the same one, with all it has learned of its hosts, where
 * the rule book stays (between any two policies but `lars`). Otherwise it is a new one without hosts: what one rule book
 * counts means nothing in the other.
 */
export function reconfigured(balancer: Balancer, settings: BalancerSettings): Balancer {
  if (settings.policy === "lars") {
    if (!(balancer instanceof LarsBalancer)) return makeBalancer(settings);
    balancer.configure(settings.lars);
    return balancer;
  }
  if (!(balancer instanceof SteeredBalancer)) return makeBalancer(settings);
  balancer.configure(settings.steering, PICKERS[settings.policy]);
  return balancer;
}
