// A module's policy in lars_route: its name, and its parameters as JSON. People may edit the columns by hand and a newer
// program may have written them, so what cannot be read is no choice; a route is not lost over it.
import { NO_CHOICE, type PolicyChoice } from "../../core/policies.ts";
import { choiceEntries, readChoice } from "../../core/policy-choice.ts";

const NO_COLUMNS = ["", ""] as const;

/** [policy, policy_parameters]. Both "" when there is no choice. */
export function policyColumns(choice: PolicyChoice): readonly [string, string] {
  if (choice === NO_CHOICE) return NO_COLUMNS;
  const parameters = choiceEntries(choice);
  return [choice.name, parameters.length === 0 ? "" : JSON.stringify(Object.fromEntries(parameters))];
}

export function policyOfColumns(name: string, parameters: string): PolicyChoice {
  if (name === "") return NO_CHOICE;
  const entries = entriesOf(parameters);
  return entries === undefined ? NO_CHOICE : readChoice(name, entries).choice;
}

function entriesOf(text: string): [string, unknown][] | undefined {
  if (text === "") return [];
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return Object.entries(value);
  } catch {
    // as if it were no object
  }
  return undefined;
}
