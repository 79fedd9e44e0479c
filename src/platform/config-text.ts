// A schema and a configuration as text: the commented file in conf/, rows for the README, the effective configuration
// without its secrets.
import type { ConfigSchema } from "./config-schema.ts";
import { allowedText, variableOf } from "./config-values.ts";
import { maskUrl } from "./secrets.ts";

const WIDTH = 120;

/** The whole commented file, every key at its default. */
export function renderToml(schema: ConfigSchema): string {
  const own = `LARS_${schema.process.toUpperCase()}`;
  const lines = [
    ...comment(
      `Configuration of the ${schema.process} process: every key with its meaning, range and default. Generated from ` +
        `src/${schema.process}/config.ts by \`bun run generate:conf\`; edit values freely, keys that are left out have their default.`,
    ),
    ...comment(`Each key can be set by the environment too: ${own}__<SECTION>__<KEY>, lists comma-separated.`),
  ];
  for (const [sectionName, section] of Object.entries(schema.sections)) {
    lines.push("", ...comment(section.doc), `[${sectionName}]`);
    for (const [keyName, spec] of Object.entries(section.keys)) {
      const facts = [`Allowed: ${allowedText(spec.schema)}${spec.unit === undefined ? "" : ` (${spec.unit})`}`];
      facts.push(`default: ${tomlValue(spec.default)}`);
      facts.push(spec.reload === true ? "reloadable" : "a change needs a restart");
      if (spec.env !== undefined) facts.push(`also ${spec.env}`);
      lines.push(...comment(spec.doc), ...comment(`${facts.join("; ")}.`));
      if (spec.cost !== undefined) lines.push(...comment(`Raising it: ${spec.cost}.`));
      lines.push(`${keyName} = ${tomlValue(spec.default)}`, "");
    }
    lines.pop();
  }
  return `${lines.join("\n")}\n`;
}

export interface ConfigRow {
  /** "section.key" */
  readonly key: string;
  readonly doc: string;
  readonly allowed: string;
  readonly default: string;
  readonly unit: string;
  readonly cost: string;
  readonly reload: boolean;
  /** The variables that set it, the strongest first. */
  readonly env: readonly string[];
}

/** One row a key, for a table in the documentation. */
export function describeConfig(schema: ConfigSchema): ConfigRow[] {
  return Object.entries(schema.sections).flatMap(([sectionName, section]) =>
    Object.entries(section.keys).map(([keyName, spec]) => ({
      key: `${sectionName}.${keyName}`,
      doc: spec.doc,
      allowed: allowedText(spec.schema),
      default: tomlValue(spec.default),
      unit: spec.unit ?? "",
      cost: spec.cost ?? "",
      reload: spec.reload === true,
      env: [variableOf(schema.process, sectionName, keyName), ...(spec.env === undefined ? [] : [spec.env])],
    })),
  );
}

/** The effective configuration as TOML, secrets masked: for people, and not to be read back where there are any. */
export function printConfig(
  schema: ConfigSchema,
  config: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): string {
  const lines: string[] = [];
  for (const [sectionName, section] of Object.entries(schema.sections)) {
    if (lines.length > 0) lines.push("");
    lines.push(`[${sectionName}]`);
    for (const [keyName, spec] of Object.entries(section.keys)) {
      lines.push(`${keyName} = ${tomlValue(masked(config[sectionName]?.[keyName], spec.secret))}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function masked(value: unknown, secret: boolean | "url" | undefined): unknown {
  if (typeof value !== "string" || value === "" || secret === undefined) return value;
  if (secret === "url") return maskUrl(value);
  return secret ? "***" : value;
}

/** JSON's spelling of strings, numbers, booleans and lists of them is TOML's too. */
function tomlValue(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(tomlValue).join(", ")}]` : JSON.stringify(value);
}

function comment(text: string): string[] {
  const lines: string[] = [];
  let line = "#";
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = "#";
    }
    line += ` ${word}`;
  }
  lines.push(line);
  return lines;
}
