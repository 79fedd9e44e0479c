// The dns service's HTTP API as a fetch handler, for any runtime that has fetch and Node's sockets (Node, Deno,
// serverless platforms). There is no poller and no TCP service: a request that comes looks at the database first when
// that was not done recently, and a caller that waits for a change keeps looking.
import { Access } from "../auth/access.ts";
import { systemClock } from "../platform/clock.ts";
import { type Environment, resolveConfig } from "../platform/config-values.ts";
import { createLog } from "../platform/log-output.ts";
import { createMetrics } from "../platform/metrics.ts";
import { databaseOptions } from "../store/database.ts";
import { openPortableDatabase } from "../store/portable.ts";
import { makeApp } from "./app.ts";
import { dnsConfig } from "./config.ts";
import { LeaseService } from "./lease-service.ts";
import { LeaseTime } from "./lease-time.ts";
import { RouteReplica } from "./route-replica.ts";
import { RouteService } from "./route-service.ts";
import { RouteWatch } from "./route-watch.ts";

const MAX_WATCHES = 10_000;

export interface FetchHandler {
  /** `caller`: its address, where the runtime knows it; guesses at tokens are counted by it. */
  fetch(request: Request, caller?: { readonly address?: string }): Promise<Response>;
  close(): Promise<void>;
}

/**
 * `env`: LARS_DATABASE_URL (mysql://…), LARS_ADMIN_TOKEN and any LARS_DNS__<SECTION>__<KEY>. Reads need a token unless
 * LARS_DNS__AUTH__ANONYMOUS_READ is "true": where such a handler listens is not for it to know.
 * @throws Error when the environment is not valid
 */
export async function createHandler(env: Environment): Promise<FetchHandler> {
  const resolved = resolveConfig(dnsConfig, { file: "environment", values: {}, env });
  if (!resolved.ok) throw new Error(resolved.message);
  const { config } = resolved;
  const log = createLog({ process: "dns", ...config.log });
  const database = await openPortableDatabase(config.database.url, databaseOptions(config.database));
  const watch = new RouteWatch(MAX_WATCHES);
  const routes = new RouteService({
    store: database.routes,
    replica: new RouteReplica(),
    clock: systemClock,
    log: log.with({ component: "routes" }),
    fullReloadIntervalMs: () => config.routes.full_reload_interval_s * 1000,
    maxVanishShare: () => config.routes.max_vanish_share,
  });
  routes.onChange((changed) => watch.notify(changed));
  const leases =
    database.leases &&
    new LeaseService({
      store: database.leases,
      routes,
      time: new LeaseTime(database.leases, systemClock, crypto.randomUUID()),
      clock: systemClock,
      log: log.with({ component: "leases" }),
      max: () => config.registrations.max,
      // There is no timer that would write them later, and none that ends leases: that takes one dns process beside.
      writesAtOnce: true,
    });
  const metrics = createMetrics("dns");
  const access = new Access({
    tokens: database.tokens,
    configuredToken: config.auth.admin_token,
    clock: systemClock,
    log: log.with({ component: "access" }),
    metrics,
  });
  const app = makeApp({
    routes,
    watch,
    store: database.routes,
    ...(leases === undefined ? {} : { leases }),
    access,
    anonymousRead: () => config.auth.anonymous_read === true,
    agents: () => [],
    maxAgeMs: config.routes.poll_interval_ms,
    log: log.with({ component: "http" }),
    metrics,
    clock: systemClock,
  });
  return {
    fetch: async (request, caller) => await app.fetch(request, caller),
    async close() {
      await access.close();
      await database.close();
    },
  };
}
