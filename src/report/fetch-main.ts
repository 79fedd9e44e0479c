// The report service as a fetch handler, for any runtime that has fetch and Node's sockets. Agents speak TCP to a report
// process; here reports come as JSON and are durable when they are answered, so nothing is left to flush at the end. There
// is no spool, which needs a disk: while the database is away reports are answered with 503.
import { Access } from "../auth/access.ts";
import { systemClock } from "../platform/clock.ts";
import { type Environment, resolveConfig } from "../platform/config-values.ts";
import { createLog } from "../platform/log-output.ts";
import { createMetrics } from "../platform/metrics.ts";
import { databaseOptions } from "../store/database.ts";
import { openPortableDatabase } from "../store/portable.ts";
import { makeApp } from "./app.ts";
import { reportConfig } from "./config.ts";
import { Intake } from "./intake.ts";

const CLOSE_MS = 5000;

export interface FetchHandler {
  /** `caller`: its address, where the runtime knows it; guesses at tokens are counted by it. */
  fetch(request: Request, caller?: { readonly address?: string }): Promise<Response>;
  close(): Promise<void>;
}

/**
 * `env`: LARS_DATABASE_URL (mysql://…), LARS_ADMIN_TOKEN and any LARS_REPORT__<SECTION>__<KEY>. Reads need a token unless
 * LARS_REPORT__AUTH__ANONYMOUS_READ is "true".
 * @throws Error when the environment is not valid
 */
export async function createHandler(env: Environment): Promise<FetchHandler> {
  const resolved = resolveConfig(reportConfig, { file: "environment", values: {}, env });
  if (!resolved.ok) throw new Error(resolved.message);
  const { config } = resolved;
  const log = createLog({ process: "report", ...config.log });
  const database = await openPortableDatabase(config.database.url, databaseOptions(config.database));
  const intake = new Intake({
    store: database.reports,
    clock: systemClock,
    log: log.with({ component: "intake" }),
    random: Math.random,
    maxRows: config.queue.max_rows,
    batchRows: () => config.queue.batch_rows,
    batchTargetMs: () => config.queue.batch_target_ms,
    flushIntervalMs: () => config.queue.flush_interval_ms,
    writers: config.queue.writers,
  });
  const metrics = createMetrics("report");
  const access = new Access({
    tokens: database.tokens,
    configuredToken: config.auth.admin_token,
    clock: systemClock,
    log: log.with({ component: "access" }),
    metrics,
  });
  const app = makeApp({
    store: database.reports,
    intake,
    access,
    anonymous: (need) =>
      (need === "read" && config.auth.anonymous_read === true) ||
      (need === "report" && config.auth.anonymous_report === true),
    log: log.with({ component: "http" }),
    metrics,
    clock: systemClock,
    ready: () => undefined,
  });
  return {
    fetch: async (request, caller) => await app.fetch(request, caller),
    async close() {
      await access.close();
      await intake.stop(CLOSE_MS);
      await database.close();
    },
  };
}
