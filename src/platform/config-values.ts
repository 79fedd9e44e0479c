// From a file's values and the environment to a configuration, or to one line that says what is wrong. Every error names
// where it stands (file or variable), the key, what was given and what is allowed; the last comes from the schema itself.
//
// Precedence: LARS_<PROCESS>__<SECTION>__<KEY>, then the key's short variable, then the file, then the default.
import * as z from "zod";
import {
  CONFIG_PROCESSES,
  type ConfigKey,
  type ConfigOf,
  type ConfigSchema,
  type ConfigSection,
  defaultConfig,
} from "./config-schema.ts";
import { maskUrl } from "./secrets.ts";

type Sections = Readonly<Record<string, ConfigSection>>;
export type Environment = Readonly<Record<string, string | undefined>>;

export interface ConfigSource {
  /** The file's name, for messages. */
  readonly file: string;
  /** What the file holds: sections of keys. */
  readonly values: unknown;
  readonly env: Environment;
}

export type ConfigResult<C> =
  | { readonly ok: true; readonly config: C }
  | { readonly ok: false; readonly message: string };

/** Thrown inside this file only: the first error ends the reading. */
class Refused extends Error {}

export function resolveConfig<S extends Sections>(
  schema: ConfigSchema<S>,
  source: ConfigSource,
): ConfigResult<ConfigOf<ConfigSchema<S>>> {
  const config = defaultConfig(schema) as Record<string, Record<string, unknown>>;
  try {
    applyFile(schema, source, config);
    applyEnvironment(schema, source.env, config);
  } catch (error) {
    if (error instanceof Refused) return { ok: false, message: error.message };
    throw error;
  }
  return { ok: true, config: config as ConfigOf<ConfigSchema<S>> };
}

/** The variable that overrides a key. */
export function variableOf(process: string, section: string, key: string): string {
  return `LARS_${process}__${section}__${key}`.toUpperCase();
}

function applyFile(schema: ConfigSchema, source: ConfigSource, config: Record<string, Record<string, unknown>>): void {
  for (const [sectionName, values] of Object.entries(asTable(source.values))) {
    const section = Object.hasOwn(schema.sections, sectionName) ? schema.sections[sectionName] : undefined;
    if (section === undefined) {
      const homes = Object.keys(schema.sections).filter((name) =>
        Object.hasOwn(schema.sections[name]!.keys, sectionName),
      );
      if (homes.length > 0) {
        const list = homes.map((name) => `[${name}]`).join(" or ");
        throw new Refused(`${source.file}: key ${sectionName} stands outside of a section; it belongs under ${list}`);
      }
      const known = Object.keys(schema.sections);
      const hint = suggestion(sectionName, known, (name) => `[${name}]`) ?? `known sections: ${known.join(", ")}`;
      throw new Refused(`${source.file}: unknown section [${shownName(sectionName)}]; ${hint}`);
    }
    if (typeof values !== "object" || values === null || Array.isArray(values)) {
      throw new Refused(
        `${source.file}: ${sectionName} is ${shown(values)}; allowed: a section of keys, [${sectionName}]`,
      );
    }
    for (const [keyName, value] of Object.entries(values)) {
      const spec = Object.hasOwn(section.keys, keyName) ? section.keys[keyName] : undefined;
      if (spec === undefined)
        throw new Refused(`${source.file}: unknown key ${unknownKey(schema, sectionName, keyName)}`);
      config[sectionName]![keyName] = checked(source.file, `${sectionName}.${keyName}`, spec, value);
    }
  }
}

function asTable(values: unknown): object {
  return typeof values === "object" && values !== null ? values : {};
}

function unknownKey(schema: ConfigSchema, sectionName: string, keyName: string): string {
  const known = Object.keys(schema.sections[sectionName]!.keys);
  const elsewhere = Object.keys(schema.sections).find(
    (name) => name !== sectionName && Object.hasOwn(schema.sections[name]!.keys, keyName),
  );
  const hint =
    suggestion(keyName, known, (name) => `${sectionName}.${name}`) ??
    (elsewhere === undefined
      ? `known keys of [${sectionName}]: ${known.join(", ")}`
      : `did you mean ${elsewhere}.${keyName}?`);
  return `${sectionName}.${shownName(keyName)}; ${hint}`;
}

function applyEnvironment(
  schema: ConfigSchema,
  env: Environment,
  config: Record<string, Record<string, unknown>>,
): void {
  const variables = new Map<string, [string, string]>();
  for (const [sectionName, section] of Object.entries(schema.sections)) {
    for (const [keyName, spec] of Object.entries(section.keys)) {
      variables.set(variableOf(schema.process, sectionName, keyName), [sectionName, keyName]);
      const text = spec.env === undefined ? undefined : env[spec.env];
      if (text === undefined || text === "") continue;
      config[sectionName]![keyName] = checked(spec.env!, `${sectionName}.${keyName}`, spec, fromText(text, spec));
    }
  }
  const own = `LARS_${schema.process.toUpperCase()}__`;
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || !/^LARS_.*?__/.test(name)) continue;
    if (!name.startsWith(own)) {
      refuseUnknownProcess(name);
      continue;
    }
    const target = variables.get(name);
    if (target === undefined) {
      const hint = suggestion(name, [...variables.keys()]) ?? `the form is ${own}<SECTION>__<KEY>`;
      throw new Refused(`${shownName(name)}: unknown variable; ${hint}`);
    }
    const [sectionName, keyName] = target;
    const spec = schema.sections[sectionName]!.keys[keyName]!;
    config[sectionName]![keyName] = checked(name, `${sectionName}.${keyName}`, spec, fromText(text, spec));
  }
}

/** Variables of the other processes are theirs to check; those of none are a mistake somebody should hear of. */
function refuseUnknownProcess(name: string): void {
  const process = /^LARS_(.*?)__/.exec(name)?.[1] ?? "";
  const known = CONFIG_PROCESSES.map((each) => each.toUpperCase());
  if (known.includes(process)) return;
  throw new Refused(
    `${shownName(name)}: unknown variable; it begins with LARS_${known.join("__, LARS_")}__ or is not ours`,
  );
}

// biome-ignore lint/suspicious/noExplicitAny: as in config-schema.ts
function checked(where: string, name: string, spec: ConfigKey<any>, value: unknown): unknown {
  const result = spec.schema.safeParse(value);
  if (result.success) return result.data;
  const index = result.error.issues[0]?.path[0];
  const item = typeof index === "number" && Array.isArray(value);
  const allowed = describe(item ? (jsonSchemaOf(spec.schema).items ?? {}) : jsonSchemaOf(spec.schema));
  const given = shown(item ? value[index as number] : value, spec.secret);
  throw new Refused(`${where}: ${name}${item ? `[${index as number}]` : ""} is ${given}; allowed: ${allowed}`);
}

/** Bounded, on one line, without the secret. */
function shown(value: unknown, secret: boolean | "url" = false): string {
  if (secret === true)
    return typeof value === "string" ? `a secret of ${value.length} characters` : `a ${typeof value}`;
  const known = secret === "url" && typeof value === "string" ? maskUrl(value) : value;
  const text = asText(known);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

function asText(value: unknown): string {
  if (typeof value === "number") return String(value);
  // Dates are objects to the parser; their own spelling is what stands in the file.
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const prototype = Object.getPrototypeOf(value);
    return prototype === Object.prototype || prototype === null ? "a table" : String(value);
  }
  return JSON.stringify(value) ?? String(value);
}

function shownName(name: string): string {
  return /^[\w.-]{1,80}$/.test(name) ? name : JSON.stringify(name.slice(0, 80));
}

interface JsonSchema {
  readonly type?: string;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
}

function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema;
}

/** What a key's schema allows, in words. */
export function allowedText(schema: z.ZodType): string {
  return describe(jsonSchemaOf(schema));
}

function describe(schema: JsonSchema): string {
  if (schema.description !== undefined) return schema.description;
  if (schema.anyOf !== undefined) return schema.anyOf.map(describe).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  switch (schema.type) {
    case "integer":
      return `an integer${range(schema.minimum, schema.maximum)}`;
    case "number":
      return `a number${range(schema.minimum, schema.maximum)}`;
    case "boolean":
      return "true or false";
    case "string":
      return `text${range(schema.minLength, schema.maxLength, "characters")}`;
    case "array":
      return `a list${range(schema.minItems, schema.maxItems, "items")}, each ${describe(schema.items ?? {})}`;
    default:
      return "any value";
  }
}

function range(low: number | undefined, high: number | undefined, of?: string): string {
  const unit = of === undefined ? "" : ` ${of}`;
  const word = of === undefined ? "" : " of";
  if (low !== undefined && high !== undefined)
    return of === undefined ? ` from ${low} to ${high}` : `${word} ${low} to ${high}${unit}`;
  if (low !== undefined) return `${word} at least ${low}${unit}`;
  if (high !== undefined) return `${word} at most ${high}${unit}`;
  return "";
}

// biome-ignore lint/suspicious/noExplicitAny: as in config-schema.ts
function fromText(text: string, spec: ConfigKey<any>): unknown {
  const readings = readingsOf(text, jsonSchemaOf(spec.schema));
  return readings.find((reading) => spec.schema.safeParse(reading).success) ?? readings[0];
}

/** What a variable's text can mean for a type: the type's own reading first, the text itself last. */
function readingsOf(text: string, schema: JsonSchema): unknown[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((branch) => readingsOf(text, branch));
  switch (schema.type) {
    case "integer":
    case "number":
      return [/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? Number(text) : text];
    case "boolean":
      return [text === "true" ? true : text === "false" ? false : text];
    case "array":
      return [text.trim() === "" ? [] : text.split(",").map((item) => readingsOf(item.trim(), schema.items ?? {})[0])];
    default:
      return [text];
  }
}

/** "did you mean …?" when a known name is within a third of the letters. */
function suggestion(name: string, known: readonly string[], show = (nearest: string) => nearest): string | undefined {
  if (name.length > 120) return undefined;
  let nearest: string | undefined;
  let distance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const d = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (d < distance) {
      nearest = candidate;
      distance = d;
    }
  }
  return nearest === undefined ? undefined : `did you mean ${show(nearest)}?`;
}

/** Levenshtein's distance, by rows. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
