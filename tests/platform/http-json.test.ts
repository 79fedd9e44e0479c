import { describe, expect, test } from "bun:test";
import { z } from "@hono/zod-openapi";
import fc from "fast-check";
import { camelKeys, formatPath, readJson } from "../../src/platform/http-json.ts";
import { ProblemError } from "../../src/platform/http-problem.ts";
import {
  boolParam,
  endpointParam,
  idField,
  idParam,
  intParam,
  ipField,
  moduleParam,
  portField,
  weightField,
  zoneField,
} from "../../src/platform/http-schemas.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

describe("names of fields", () => {
  test.each([
    ["ttl_seconds", "ttlSeconds"],
    ["a_b_c", "aBC"],
    ["latency_us", "latencyUs"],
    ["modid", "modid"],
    ["hashKey", "hashKey"],
    ["_private", "_private"],
    ["trailing_", "trailing_"],
    ["two__lines", "two__lines"],
    ["UPPER_CASE", "UPPER_CASE"],
    ["p_99", "p99"],
  ])("%s is read as %s", (given, read) => {
    const object = { [given]: 1 };
    expect(camelKeys(object)).toBeUndefined();
    expect(object).toEqual({ [read]: 1 });
  });

  test("values are left as they are, at any depth (against a model, from a seed)", () => {
    const name = fc.constantFrom("a", "b_c", "d_e_f", "gH", "_i", "j_");
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(fc.integer(), fc.constantFrom("x_y", "", "z"), fc.constant(null), fc.boolean()),
      tree: fc.oneof(
        { maxDepth: 5 },
        tie("leaf"),
        fc.array(tie("tree"), { maxLength: 3 }),
        fc.dictionary(name, tie("tree"), { maxKeys: 4 }),
      ),
    }));
    const renamed: Record<string, string> = { b_c: "bC", d_e_f: "dEF" };
    const model = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(model);
      if (typeof value !== "object" || value === null) return value;
      return Object.fromEntries(Object.entries(value).map(([key, child]) => [renamed[key] ?? key, model(child)]));
    };
    fc.assert(
      fc.property(tree, (value) => {
        const copy = structuredClone(value);
        expect(camelKeys(copy)).toBeUndefined();
        expect(copy).toEqual(model(value));
      }),
      { seed: 20260101 },
    );
  });
});

test("paths of errors are written as in the language of the caller", () => {
  expect(formatPath(["hosts", 0, "port"])).toBe("hosts[0].port");
  expect(formatPath([1, "a"])).toBe("[1].a");
  expect(formatPath([])).toBe("");
});

test("whatever JSON arrives, a strict schema gives a value or a problem of 400, 415 or 422 (from a seed)", async () => {
  const schema = z.union([
    z.strictObject({ ip: ipField, ttlSeconds: z.int() }),
    z.array(z.strictObject({ modid: idField, hosts: z.array(z.strictObject({ port: portField })) })),
  ]);
  const body = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.string(),
    fc
      .array(fc.dictionary(fc.constantFrom("modid", "hosts", "ip", "ttl_seconds", "__proto__", "x"), fc.jsonValue()))
      .map((value) => JSON.stringify(value)),
  );
  await fc.assert(
    fc.asyncProperty(body, async (text) => {
      const request = { req: { header: () => "application/json", text: async () => text } };
      try {
        await readJson(request, schema);
      } catch (error) {
        expect(error).toBeInstanceOf(ProblemError);
        expect([400, 415, 422]).toContain((error as ProblemError).status);
        expect(((error as ProblemError).options.extra?.errors ?? []).length).toBeLessThanOrEqual(20);
      }
    }),
    { seed: 20260102, numRuns: propertyRuns(500) },
  );
});

describe("shared fields", () => {
  const accepted: [string, z.ZodType, unknown, unknown][] = [
    ["a signed id", idParam, "-1", -1],
    ["the same id unsigned", idParam, "4294967295", -1],
    ["an id as a number", idField, 4294967295, -1],
    ["a module", moduleParam, "1.-2", { modid: 1, cmdid: -2 }],
    ["a high address", ipField, "192.168.0.1", -1062731775],
    ["an endpoint", endpointParam, "0.0.0.1:65535", { ip: 1, port: 65535 }],
    ["a zone of 64 bytes", zoneField, "ä".repeat(32), "ä".repeat(32)],
    ["the largest weight", weightField, 10_000, 10_000],
    ["an integer in a query", intParam(0, 10), "10", 10],
    ["true in a query", boolParam, "true", true],
  ];
  test.each(accepted)("%s is accepted", (_title, schema, given, value) => {
    expect(schema.parse(given)).toEqual(value);
  });

  const refused: [string, z.ZodType, unknown][] = [
    ["an id of 33 bits", idParam, "4294967296"],
    ["an id with a leading zero", idParam, "01"],
    ["an id with a fraction", idField, 1.5],
    ["an id as text in a body", idField, "1"],
    ["a module without a dot", moduleParam, "12"],
    ["an address with a leading zero", ipField, "10.0.0.01"],
    ["a name for an address", ipField, "localhost"],
    ["an endpoint without a port", endpointParam, "1.2.3.4"],
    ["port 0", portField, 0],
    ["port 65536", portField, 65_536],
    ["weight 0", weightField, 0],
    ["a zone of 65 bytes in 33 letters", zoneField, `${"ä".repeat(32)}a`],
    ["an integer out of its range", intParam(0, 10), "11"],
    ["hexadecimal in a query", intParam(0, 100), "0x10"],
    ["yes in a query", boolParam, "yes"],
  ];
  test.each(refused)("%s is refused", (_title, schema, given) => {
    expect(schema.safeParse(given).success).toBe(false);
  });
});
