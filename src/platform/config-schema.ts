// A configuration key stated once: its type and range (zod), default, meaning, unit, cost of raising it, and whether a
// running process takes a change. From that one statement come the TypeScript type, the validation with its error text,
// the environment override, the commented file in conf/ and the table in the README, so that none of them can drift.
import type * as z from "zod";

export interface KeyOptions<T> {
  /** What it means, one or two sentences. */
  readonly doc: string;
  readonly default: T;
  readonly unit?: string;
  /** What raising it costs. */
  readonly cost?: string;
  /** A running process takes the change. Otherwise it needs a restart, and says so. */
  readonly reload?: boolean;
  /** Never printed, not even in errors. "url": it is a URL that may hold a password, and only that is hidden. */
  readonly secret?: boolean | "url";
  /** A short environment name, besides LARS_<PROCESS>__<SECTION>__<KEY>. Empty means not set. */
  readonly env?: string;
}

export interface ConfigKey<T> extends KeyOptions<T> {
  readonly schema: z.ZodType<T>;
}

export interface ConfigSection {
  readonly doc: string;
  // biome-ignore lint/suspicious/noExplicitAny: a key is invariant in its type, so only `any` admits all of them
  readonly keys: Readonly<Record<string, ConfigKey<any>>>;
}

export const CONFIG_PROCESSES = ["dns", "report", "agent"] as const;
export type ConfigProcess = (typeof CONFIG_PROCESSES)[number];

export interface ConfigSchema<
  S extends Readonly<Record<string, ConfigSection>> = Readonly<Record<string, ConfigSection>>,
> {
  readonly process: ConfigProcess;
  readonly sections: S;
}

type ValueOf<K> = K extends ConfigKey<infer T> ? T : never;

/** The plain object a schema describes: config.section.key, names as in the files. */
export type ConfigOf<C> =
  C extends ConfigSchema<infer S>
    ? { readonly [N in keyof S]: { readonly [K in keyof S[N]["keys"]]: ValueOf<S[N]["keys"][K]> } }
    : never;

export function key<S extends z.ZodType>(schema: S, options: KeyOptions<z.output<S>>): ConfigKey<z.output<S>> {
  return { ...options, schema: schema as z.ZodType<z.output<S>> };
}

/** @throws when a default violates its own schema: a mistake in the program */
export function defineConfig<const S extends Readonly<Record<string, ConfigSection>>>(
  process: ConfigProcess,
  sections: S,
): ConfigSchema<S> {
  for (const [sectionName, section] of Object.entries(sections)) {
    for (const [keyName, spec] of Object.entries(section.keys)) {
      if (!spec.schema.safeParse(spec.default).success) {
        throw new Error(`the default of ${process} ${sectionName}.${keyName} is not allowed by its schema`);
      }
    }
  }
  return { process, sections };
}

/** Every key at its default. */
export function defaultConfig<S extends Readonly<Record<string, ConfigSection>>>(
  schema: ConfigSchema<S>,
): ConfigOf<ConfigSchema<S>> {
  const config: Record<string, Record<string, unknown>> = {};
  for (const [sectionName, section] of Object.entries(schema.sections)) {
    const values: Record<string, unknown> = {};
    for (const [keyName, spec] of Object.entries(section.keys)) values[keyName] = spec.default;
    config[sectionName] = values;
  }
  return config as ConfigOf<ConfigSchema<S>>;
}
