// A module's choice of policy where it comes in: from people, who are told what is wrong, and from the wire and the
// database, where a newer program may have put a policy or a parameter that this one does not know. There what is not
// known is left out and counted: to balance by the agent's default is right, to lose the route is not.
import {
  isPolicyName,
  isSteeringParameter,
  NO_CHOICE,
  type ParameterSpec,
  type PolicyChoice,
  STEERING_PARAMETERS,
  type SteeringParameter,
} from "./policies.ts";

const NAMES = Object.keys(STEERING_PARAMETERS) as readonly SteeringParameter[];

export function isAllowedValue(name: SteeringParameter, value: unknown): value is number {
  const { min, max, whole }: ParameterSpec = STEERING_PARAMETERS[name];
  return typeof value === "number" && value >= min && value <= max && (whole !== true || Number.isInteger(value));
}

/** "a number from 0 to 1". */
export function allowedValues(name: SteeringParameter): string {
  const { min, max, whole }: ParameterSpec = STEERING_PARAMETERS[name];
  return `${whole === true ? "an integer" : "a number"} from ${min} to ${max}`;
}

/** A choice read from outside, and how much of it was not understood. */
export interface ReadChoice {
  readonly choice: PolicyChoice;
  /** Names that are not known, values that are out of range, parameters of a policy that takes none. */
  readonly ignored: number;
}

/** Of parameters named twice the last counts. Without a name there is no choice, whatever the parameters say. */
export function readChoice(name: string, parameters: Iterable<readonly [name: string, value: unknown]>): ReadChoice {
  const values = new Map<SteeringParameter, unknown>();
  let ignored = 0;
  for (const [parameter, value] of parameters) {
    if (isSteeringParameter(parameter)) values.set(parameter, value);
    else ignored++;
  }
  if (!isPolicyName(name)) return { choice: NO_CHOICE, ignored: ignored + values.size + (name === "" ? 0 : 1) };
  const kept: Partial<Record<SteeringParameter, number>> = {};
  for (const parameter of NAMES) {
    if (!values.has(parameter)) continue;
    const value = values.get(parameter);
    if (name !== "lars" && isAllowedValue(parameter, value)) kept[parameter] = value;
    else ignored++;
  }
  return { choice: Object.freeze({ name, parameters: Object.freeze(kept) }), ignored };
}

export function hasChoice(choice: PolicyChoice): boolean {
  return choice.name !== "";
}

export function sameChoice(a: PolicyChoice, b: PolicyChoice): boolean {
  return a === b || (a.name === b.name && NAMES.every((name) => a.parameters[name] === b.parameters[name]));
}

/** Its parameters, in the order of their list. */
export function choiceEntries({ parameters }: PolicyChoice): readonly (readonly [SteeringParameter, number])[] {
  return NAMES.flatMap((name) => {
    const value = parameters[name];
    return value === undefined ? [] : [[name, value] as const];
  });
}
