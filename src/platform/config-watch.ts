// Taking a changed configuration into a running process: on SIGHUP, and when the file changes. Only keys that say so are
// taken; the others keep the value the process runs with, and the log says that they need a restart. A file that is wrong
// changes nothing.
//
// Editors and orchestrators replace files rather than write them, so the folder is watched, not the file, and what counts
// is whether the text differs.
import { type FSWatcher, readFileSync, watch } from "node:fs";
import { dirname } from "node:path";
import { type LoadedConfig, readConfig } from "./config-file.ts";
import type { ConfigOf, ConfigSchema, ConfigSection } from "./config-schema.ts";
import type { Log } from "./log.ts";

type Sections = Readonly<Record<string, ConfigSection>>;

export interface ConfigChange<S extends Sections> {
  /** Reloadable keys at their new values, all others as the process runs with them. */
  readonly config: ConfigOf<ConfigSchema<S>>;
  /** "section.key" of what changed and is in force. */
  readonly reloaded: readonly string[];
  /** "section.key" of what the file says differently and a restart will bring. */
  readonly restartNeeded: readonly string[];
}

export interface WatchOptions<S extends Sections> {
  readonly log: Log;
  /** Called when at least one reloadable key changed. */
  readonly onChange: (change: ConfigChange<S>) => void;
  /** Quiet time before a changed file is read. Default 200 ms. */
  readonly debounceMs?: number;
  /** Default: process. */
  readonly signals?: Pick<NodeJS.EventEmitter, "on" | "off">;
}

export interface ConfigWatch<S extends Sections> {
  current(): ConfigOf<ConfigSchema<S>>;
  /** Reads the file now, as SIGHUP does. False when it was refused. */
  reload(): boolean;
  stop(): void;
}

export function watchConfig<S extends Sections>(loaded: LoadedConfig<S>, options: WatchOptions<S>): ConfigWatch<S> {
  const { schema, file, env } = loaded;
  const log = options.log.with({ component: "config" });
  let current = loaded.config;
  let lastText = textOf(file);
  let timer: ReturnType<typeof setTimeout> | undefined;

  const reload = (): boolean => {
    lastText = textOf(file);
    const result = readConfig(schema, file, env, false);
    if (!result.ok) {
      log.error(`configuration not reloaded, the old one stays: ${result.message}`);
      return false;
    }
    const change = mergeReloadable(schema, current, result.config);
    current = change.config;
    for (const name of change.reloaded) log.info(`configuration reloaded: ${name}`);
    for (const name of change.restartNeeded) log.warn(`configuration changed, but needs a restart: ${name}`);
    if (change.reloaded.length > 0) options.onChange(change);
    else if (change.restartNeeded.length === 0) log.info("configuration read again: nothing changed");
    return true;
  };
  const fileMayHaveChanged = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (textOf(file) !== lastText) reload();
    }, options.debounceMs ?? 200);
  };
  const onHangUp = () => {
    reload();
  };

  const watcher = watchFolder(dirname(file), fileMayHaveChanged, log);
  const signals = options.signals ?? process;
  signals.on("SIGHUP", onHangUp);
  return {
    current: () => current,
    reload,
    stop() {
      clearTimeout(timer);
      watcher?.close();
      signals.off("SIGHUP", onHangUp);
    },
  };
}

function watchFolder(folder: string, changed: () => void, log: Log): FSWatcher | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, changed);
    watcher.on("error", (error) =>
      log.warn("the configuration's folder is no longer watched; SIGHUP still reloads", { error }),
    );
    return watcher;
  } catch (error) {
    log.info("the configuration's folder cannot be watched; SIGHUP reloads", { error });
    return undefined;
  }
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** What of `next` a process running with `current` can take. */
export function mergeReloadable<S extends Sections>(
  schema: ConfigSchema<S>,
  current: ConfigOf<ConfigSchema<S>>,
  next: ConfigOf<ConfigSchema<S>>,
): ConfigChange<S> {
  type Values = Record<string, Record<string, unknown>>;
  const merged: Values = {};
  const reloaded: string[] = [];
  const restartNeeded: string[] = [];
  for (const [sectionName, section] of Object.entries(schema.sections)) {
    const values: Record<string, unknown> = { ...(current as Values)[sectionName] };
    merged[sectionName] = values;
    for (const [keyName, spec] of Object.entries(section.keys)) {
      const now = (next as Values)[sectionName]?.[keyName];
      if (JSON.stringify(now) === JSON.stringify(values[keyName])) continue;
      if (spec.reload === true) {
        values[keyName] = now;
        reloaded.push(`${sectionName}.${keyName}`);
      } else restartNeeded.push(`${sectionName}.${keyName}`);
    }
  }
  return { config: merged as ConfigOf<ConfigSchema<S>>, reloaded, restartNeeded };
}
