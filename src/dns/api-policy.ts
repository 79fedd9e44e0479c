// A module's policy in the dns service's API: `policy`, a name, and `policyParameters`, numbers under the names that
// conf/agent.toml has for them. Here a person is told what is wrong; from the wire and the database the same is read
// leniently (core/policy-choice.ts).
import { z } from "@hono/zod-openapi";
import {
  isSteeringParameter,
  POLICIES,
  type PolicyChoice,
  type PolicyName,
  STEERING_PARAMETERS,
  type SteeringParameter,
} from "../core/policies.ts";
import { allowedValues, choiceEntries, hasChoice, isAllowedValue } from "../core/policy-choice.ts";

type Parameters = PolicyChoice["parameters"];

const NAMES = Object.keys(STEERING_PARAMETERS) as readonly SteeringParameter[];

const policyIn = z.enum(["", ...POLICIES]).openapi({
  description: 'How agents balance the module; "" is each agent\'s own default. Absent: as it is',
});

/** Bodies come with their names in lowerCamelCase, the names of this map too; agents' configuration has them in snake_case. */
function snakeName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const parametersIn = z
  .record(z.string(), z.unknown())
  .transform((values, context): Parameters => {
    const parameters: Partial<Record<SteeringParameter, number>> = {};
    for (const [given, value] of Object.entries(values)) {
      const name = snakeName(given);
      if (!isSteeringParameter(name)) {
        const message = `unknown parameter; allowed: ${NAMES.join(", ")}`;
        context.issues.push({ code: "custom", input: value, path: [name], message });
      } else if (!isAllowedValue(name, value)) {
        const message = `expected ${allowedValues(name)}, got ${JSON.stringify(value).slice(0, 64)}`;
        context.issues.push({ code: "custom", input: value, path: [name], message });
      } else parameters[name] = value;
    }
    return parameters;
  })
  .openapi({
    type: "object",
    properties: Object.fromEntries(
      NAMES.map((name) => {
        const { min, max, doc } = STEERING_PARAMETERS[name];
        return [name, { type: "number" as const, minimum: min, maximum: max, description: doc }];
      }),
    ),
    description: "What the module has other than the agents' [steering]. Given with the policy; absent: nothing",
  });

/** Fields of a route on its way in; check the object with {@link checkPolicy}. */
export const policyFields = { policy: policyIn.optional(), policyParameters: parametersIn.optional() };

interface PolicyInput {
  readonly policy?: PolicyName | "" | undefined;
  readonly policyParameters?: Parameters | undefined;
}

/** What the two fields must be to each other. */
export function checkPolicy(route: PolicyInput, context: z.RefinementCtx): void {
  const { policy, policyParameters: parameters } = route;
  if (parameters === undefined || Object.keys(parameters).length === 0) return;
  const path = ["policyParameters"];
  if (policy === undefined) {
    context.addIssue({ code: "custom", path, message: "given without `policy`; name the policy they are for" });
  } else if (policy === "" || policy === "lars") {
    const rest = POLICIES.filter((name) => name !== "lars").join(", ");
    const what = policy === "" ? "no policy" : "policy lars";
    const message = `given for ${what}, which takes none; they are for ${rest}`;
    context.addIssue({ code: "custom", path, message });
  }
}

/** undefined: the route says nothing about it. */
export function choiceOf({ policy, policyParameters }: PolicyInput): PolicyChoice | undefined {
  return policy === undefined ? undefined : { name: policy, parameters: policyParameters ?? {} };
}

/** Fields of a route on its way out. */
export const policyOutFields = {
  policy: z.enum(POLICIES).optional().openapi({ description: "Absent: each agent's own default" }),
  policyParameters: z.record(z.string(), z.number()).optional(),
};

export function policyJson(choice: PolicyChoice): { policy?: PolicyName; policyParameters?: Record<string, number> } {
  if (choice.name === "" || !hasChoice(choice)) return {};
  const entries = choiceEntries(choice);
  return {
    policy: choice.name,
    ...(entries.length === 0 ? {} : { policyParameters: Object.fromEntries(entries) }),
  };
}
