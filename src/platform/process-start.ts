// The first lines of every process: configuration (or one line that says what is wrong with it), log, metrics, an orderly
// end on signals, and an end when the parent that it was started to live with is gone.
import { type LoadedConfig, loadProcessConfig } from "./config-file.ts";
import type { ConfigOf, ConfigSchema, ConfigSection } from "./config-schema.ts";
import type { logSection } from "./config-sections.ts";
import type { Log, LogLevel } from "./log.ts";
import { createLog } from "./log-output.ts";
import { createMetrics } from "./metrics.ts";
import type { Metrics } from "./metrics-port.ts";
import { watchParent } from "./parent-watch.ts";
import { addProcessMetrics } from "./process-metrics.ts";
import { createShutdown, type Shutdown } from "./shutdown.ts";

type Sections = Readonly<Record<string, ConfigSection>> & { readonly log: typeof logSection };

export interface StartedProcess<S extends Sections> {
  readonly loaded: LoadedConfig<S>;
  readonly config: ConfigOf<ConfigSchema<S>>;
  readonly log: Log & { setLevel(level: LogLevel): void };
  readonly metrics: Metrics;
  readonly shutdown: Shutdown;
}

export function startProcess<S extends Sections>(schema: ConfigSchema<S>): StartedProcess<S> {
  const loaded = loadProcessConfig(schema, process.argv.slice(2), process.env);
  const { level, format } = loaded.config.log as { level: LogLevel; format: "json" | "text" };
  const log = createLog({ process: schema.process, level, format });
  const metrics = createMetrics(schema.process);
  addProcessMetrics(metrics);
  const shutdown = createShutdown({ log, metrics });
  shutdown.onShutdown(
    "parent watch",
    watchParent(process.env, () => void shutdown.shutdown("the parent process is gone")),
  );
  return { loaded, config: loaded.config, log, metrics, shutdown };
}
