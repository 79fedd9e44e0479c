import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  NO_CHOICE,
  type ParameterSpec,
  POLICIES,
  STEERING_PARAMETERS,
  type SteeringParameter,
} from "../../src/core/policies.ts";
import { allowedValues, choiceEntries, isAllowedValue, readChoice, sameChoice } from "../../src/core/policy-choice.ts";

const SPECS = Object.entries(STEERING_PARAMETERS) as [SteeringParameter, ParameterSpec][];

describe("a choice read from outside", () => {
  const table: [
    title: string,
    name: string,
    parameters: [string, unknown][],
    name2: string,
    kept: object,
    bad: number,
  ][] = [
    ["with nothing is no choice", "", [], "", {}, 0],
    ["keeps what is known", "random", [["decay", 3]], "random", { decay: 3 }, 0],
    ["of an unknown policy is no choice, all of it ignored", "best", [["decay", 3]], "", {}, 2],
    ["without a policy is no choice, whatever its parameters", "", [["decay", 3]], "", {}, 1],
    [
      "leaves out unknown parameters",
      "random",
      [
        ["__proto__", 1],
        ["decay", 3],
      ],
      "random",
      { decay: 3 },
      1,
    ],
    [
      "leaves out what is no number",
      "random",
      [
        ["decay", "3"],
        ["slow_start", null],
      ],
      "random",
      {},
      2,
    ],
    [
      "counts the last of equal names",
      "random",
      [
        ["decay", 3],
        ["decay", 4],
      ],
      "random",
      { decay: 4 },
      0,
    ],
    [
      "does not fall back to an earlier one",
      "random",
      [
        ["decay", 3],
        ["decay", -1],
      ],
      "random",
      {},
      1,
    ],
    ["of lars has no parameters", "lars", [["decay", 3]], "lars", {}, 1],
  ];
  test.each(table)("%s", (_title, name, parameters, wanted, kept, bad) => {
    expect(readChoice(name, parameters)).toEqual({ choice: { name: wanted as "", parameters: kept }, ignored: bad });
  });

  test("keeps every parameter at the ends of its range and at its default, and none beyond", () => {
    for (const [name, { min, max, default: value }] of SPECS) {
      for (const good of [min, max, value]) expect([name, isAllowedValue(name, good)]).toEqual([name, true]);
      for (const bad of [min - 1, max + 1, Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]) {
        expect([name, bad, isAllowedValue(name, bad)]).toEqual([name, bad, false]);
      }
    }
  });

  test("of what is counted in whole numbers takes whole ones only, and says so", () => {
    expect(isAllowedValue("consecutive_failures", 2.5)).toBe(false);
    expect(isAllowedValue("shedding", 0.5)).toBe(false);
    expect(isAllowedValue("min_success_rate", 0.5)).toBe(true);
    expect(allowedValues("shedding")).toBe("an integer from 0 to 1");
    expect(allowedValues("min_success_rate")).toBe("a number from 0 to 1");
  });
});

test("choices are the same when name and parameters are, in whatever order, and entries come in the order of the list", () => {
  const values = fc.dictionary(fc.constantFrom(...SPECS.map(([name]) => name)), fc.integer({ min: 0, max: 3 }));
  const choices = fc.record({ name: fc.constantFrom("" as const, ...POLICIES), parameters: values });
  fc.assert(
    fc.property(choices, choices, (a, b) => {
      const reversed = { name: a.name, parameters: Object.fromEntries(Object.entries(a.parameters).reverse()) };
      expect(sameChoice(a, reversed)).toBe(true);
      expect(choiceEntries(reversed)).toEqual(choiceEntries(a));
      expect(sameChoice(a, b)).toBe(a.name === b.name && Bun.deepEquals(a.parameters, b.parameters));
      expect(Object.fromEntries(choiceEntries(a))).toEqual(a.parameters);
    }),
    { seed: 21, numRuns: 500 },
  );
  expect(choiceEntries(NO_CHOICE)).toEqual([]);
});
