// A process's configuration from its command line, file and environment. What can go wrong is one line on standard error
// and exit code 2, before anything has been opened.
import { readFileSync } from "node:fs";
import { isAbsolute, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { ConfigOf, ConfigSchema, ConfigSection } from "./config-schema.ts";
import { printConfig } from "./config-text.ts";
import { type ConfigResult, type Environment, resolveConfig } from "./config-values.ts";
import { projectPath } from "./project-paths.ts";
import { version } from "./version.ts";

type Sections = Readonly<Record<string, ConfigSection>>;

/** A configuration and where it came from, which is what a reload needs. */
export interface LoadedConfig<S extends Sections = Sections> {
  readonly schema: ConfigSchema<S>;
  readonly config: ConfigOf<ConfigSchema<S>>;
  /** Absolute. It may not exist when it is the default file. */
  readonly file: string;
  readonly env: Environment;
}

/** `file` is for messages; `text` is TOML. */
export function parseConfig<S extends Sections>(
  schema: ConfigSchema<S>,
  source: { readonly file: string; readonly text: string; readonly env: Environment },
): ConfigResult<ConfigOf<ConfigSchema<S>>> {
  let values: unknown;
  try {
    values = Bun.TOML.parse(source.text);
  } catch (error) {
    return { ok: false, message: `${source.file}: ${tomlError(error, source.text)}` };
  }
  return resolveConfig(schema, { file: source.file, values, env: source.env });
}

function tomlError(error: unknown, text: string): string {
  const message =
    error instanceof Error ? error.message.replace(/^TOML Parse error: /, "").replaceAll("\n", " ") : String(error);
  const line = lineOfError(text);
  return `not valid TOML${line === undefined ? "" : ` at line ${line}`}: ${message}`;
}

/** The parser does not tell where it stopped: the shortest beginning of the file, in whole lines, that fails for good. */
function lineOfError(text: string): number | undefined {
  const lines = text.split("\n");
  if (lines.length > 2000) return undefined;
  for (let end = lines.length; end > 0; end--) {
    try {
      Bun.TOML.parse(lines.slice(0, end - 1).join("\n"));
      return end;
    } catch {
      // still too much
    }
  }
  return undefined;
}

/** Reads and parses; a missing file is no error when `optional`. */
export function readConfig<S extends Sections>(
  schema: ConfigSchema<S>,
  file: string,
  env: Environment,
  optional: boolean,
): ConfigResult<ConfigOf<ConfigSchema<S>>> {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" && optional) text = "";
    else
      return {
        ok: false,
        message: `${shownFile(file)}: cannot be read (${code ?? String(error)}); name another with --config FILE`,
      };
  }
  return parseConfig(schema, { file: shownFile(file), text, env });
}

function shownFile(file: string): string {
  const short = relative(process.cwd(), file);
  return short.startsWith("..") ? file : short;
}

/** What a command line asks for. */
export type Startup<S extends Sections> =
  | { readonly kind: "run"; readonly loaded: LoadedConfig<S> }
  | { readonly kind: "print"; readonly text: string }
  | { readonly kind: "refused"; readonly message: string };

/** `argv`: the arguments after the program's name. A file given by --config counts from the current folder. */
export function readStartup<S extends Sections>(
  schema: ConfigSchema<S>,
  argv: readonly string[],
  env: Environment,
): Startup<S> {
  const defaultFile = projectPath(`conf/${schema.process}.toml`);
  let options: { config?: string | undefined; help?: boolean | undefined; "print-config"?: boolean | undefined };
  try {
    options = parseArgs({
      args: [...argv],
      options: {
        config: { type: "string" },
        help: { type: "boolean", short: "h" },
        "print-config": { type: "boolean" },
      },
      strict: true,
      allowPositionals: false,
    }).values;
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).split("\n")[0]!.replace(/\. .*$/, "");
    return { kind: "refused", message: `${reason}; --help lists the options` };
  }
  if (options.help === true) return { kind: "print", text: helpText(schema.process) };
  const file =
    options.config === undefined ? defaultFile : isAbsolute(options.config) ? options.config : resolve(options.config);
  const result = readConfig(schema, file, env, options.config === undefined);
  if (!result.ok) return { kind: "refused", message: result.message };
  if (options["print-config"] === true) return { kind: "print", text: printConfig(schema, result.config) };
  return { kind: "run", loaded: { schema, config: result.config, file, env } };
}

function helpText(process: string): string {
  const own = `LARS_${process.toUpperCase()}`;
  return `lars ${process} ${version}

Options:
  --config FILE    the configuration file (default: conf/${process}.toml of the project)
  --print-config   print the effective configuration, secrets masked, and end
  --help           print this and end

Every key can be set by the environment: ${own}__<SECTION>__<KEY>. SIGHUP reads the file again.
`;
}

/** As {@link readStartup}; prints and ends the process unless it is to run. */
export function loadProcessConfig<S extends Sections>(
  schema: ConfigSchema<S>,
  argv: readonly string[],
  env: Environment,
): LoadedConfig<S> {
  const startup = readStartup(schema, argv, env);
  if (startup.kind === "run") return startup.loaded;
  if (startup.kind === "print") {
    process.stdout.write(startup.text);
    process.exit(0);
  }
  process.stderr.write(`${schema.process}: ${startup.message}\n`);
  process.exit(2);
}
