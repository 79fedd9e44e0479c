// The policies a module can be balanced by, and the numbers each can be tuned with. The list is the one that the
// configuration, the dns service's API and the balancers share. Append only: names are stored in databases.

export const POLICIES = ["lars", "adaptive", "round_robin", "random", "least_request", "consistent_hash"] as const;
export type PolicyName = (typeof POLICIES)[number];

export function isPolicyName(name: string): name is PolicyName {
  return (POLICIES as readonly string[]).includes(name);
}

export interface ParameterSpec {
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly doc: string;
  /** What raising it costs. */
  readonly cost: string;
  /** Whole numbers only. */
  readonly whole?: true;
}

/**
 * What tunes every policy but `lars` (whose numbers keep the original's names and stand in the agent's configuration
 * only). A module may override each of them.
 */
export const STEERING_PARAMETERS = {
  consecutive_failures: {
    default: 5,
    min: 1,
    max: 1000,
    whole: true,
    unit: "calls",
    doc: "Failures in a row that eject a host.",
    cost: "a dead host gets more calls before it is ejected",
  },
  min_success_rate: {
    default: 0.8,
    min: 0,
    max: 1,
    unit: "share of calls",
    doc: "A host whose share of successes within the window falls below this is ejected. 0 switches the rule off.",
    cost: "hosts are ejected for fewer failures",
  },
  success_window: {
    default: 30,
    min: 1,
    max: 3600,
    unit: "s",
    doc: "Over how long the share of successes is taken.",
    cost: "old calls count for longer; lowering it judges by fewer calls",
  },
  min_calls: {
    default: 5,
    min: 1,
    max: 10_000,
    whole: true,
    unit: "calls",
    doc: "Calls within the window that a host needs before its share of successes says anything.",
    cost: "hosts with little traffic are judged later",
  },
  outlier_deviations: {
    default: 3,
    min: 0,
    max: 10,
    unit: "standard deviations",
    doc: "A host whose share of successes is this far below the mean of all hosts is ejected. 0 switches the rule off.",
    cost: "worse hosts stay in",
  },
  base_ejection: {
    default: 5,
    min: 0.1,
    max: 3600,
    unit: "s",
    doc: "How long a host is ejected the first time, before it is probed; doubled each further time.",
    cost: "a host that recovered is noticed later; lowering it sends more probes to dead hosts",
  },
  max_ejection: {
    default: 300,
    min: 0.1,
    max: 86_400,
    unit: "s",
    doc: "The longest pause between probes.",
    cost: "a host that was dead for long is noticed later",
  },
  max_ejected_share: {
    default: 0.5,
    min: 0,
    max: 1,
    unit: "share of hosts",
    doc: "At most this share of the hosts is ejected for a low share of successes, and always one. Hosts that fail every call are ejected beyond it while others answer.",
    cost: "more hosts can be taken for outliers",
  },
  slow_start: {
    default: 3,
    min: 0,
    max: 600,
    unit: "s",
    doc: "How long a host that joined or was readmitted takes to reach its full share.",
    cost: "a host takes longer to carry its share",
  },
  decay: {
    default: 1.5,
    min: 0.1,
    max: 600,
    unit: "s",
    doc: "Time constant with which a latency estimate forgets (adaptive).",
    cost: "a host that became fast again is believed later",
  },
  pick_lease: {
    default: 60,
    min: 1,
    max: 3600,
    unit: "s",
    doc: "A pick that was not reported for this long counts as lost and no longer as in flight.",
    cost: "reports that never come weigh on a host for longer; calls that take longer than this are not seen as load",
  },
  zone_overprovision: {
    default: 1.4,
    min: 1,
    max: 100,
    unit: "factor",
    doc: "The own zone takes all calls while its healthy share of weight times this is at least 1; below, the rest spills over.",
    cost: "the own zone carries more before others help",
  },
  bounded_load: {
    default: 1.25,
    min: 1,
    max: 10,
    unit: "factor",
    doc: "A host is passed over while it carries more than this times its fair share of calls in flight (consistent_hash).",
    cost: "hot keys load their host more",
  },
  shedding: {
    default: 0,
    min: 0,
    max: 1,
    whole: true,
    unit: "0 or 1",
    doc: "1: while every host is ejected, calls beyond the probes are answered with retcode 1 instead of trying a host.",
    cost: "calls are refused that might have succeeded",
  },
} as const satisfies Readonly<Record<string, ParameterSpec>>;

export type SteeringParameter = keyof typeof STEERING_PARAMETERS;
export type SteeringParameters = Readonly<Record<SteeringParameter, number>>;

export function isSteeringParameter(name: string): name is SteeringParameter {
  return Object.hasOwn(STEERING_PARAMETERS, name);
}

export const DEFAULT_STEERING: SteeringParameters = Object.freeze(
  Object.fromEntries(Object.entries(STEERING_PARAMETERS).map(([name, spec]) => [name, spec.default])),
) as SteeringParameters;

/** A module's own choice, as stored and pushed. `name` "": the agent's default. `parameters`: overrides. */
export interface PolicyChoice {
  readonly name: PolicyName | "";
  readonly parameters: Readonly<Partial<Record<SteeringParameter, number>>>;
}

export const NO_CHOICE: PolicyChoice = Object.freeze({ name: "", parameters: Object.freeze({}) });
