// The dns service over HTTP. Portable: what it works on is handed in, so that the same application runs on Bun beside
// the TCP service, on any fetch runtime without it, and in tests.
import { guardCalls } from "../auth/call-guard.ts";
import { createHttpApp, type HttpApp } from "../platform/http-app.ts";
import { version } from "../platform/version.ts";
import { StoreUnavailable } from "../store/route-store.ts";
import { DNS_CALLS } from "./api-access.ts";
import { addChanges } from "./api-changes.ts";
import { ApiContext, type DnsAppDeps, unavailable } from "./api-context.ts";
import { addReads, routeJson } from "./api-read.ts";
import { addRegistrations, refusal } from "./api-registrations.ts";
import { addReplica } from "./api-replica.ts";
import { addTokens } from "./api-tokens.ts";
import { addWrites } from "./api-write.ts";
import { KeptByLeader, misdirected, refuseElsewhere } from "./follow/kept-by-leader.ts";
import { hotLeases } from "./hot-leases.ts";
import { hotRoute } from "./hot-route.ts";

const IMPORT_LIMIT = 64 * 1_048_576;

export function makeApp(deps: DnsAppDeps): HttpApp {
  const app = createHttpApp({
    process: "dns",
    version,
    title: "Lars dns service",
    description:
      "Keeps routes: which hosts serve a module. Reads are served from memory, writes are durable when answered.",
    log: deps.log,
    metrics: deps.metrics,
    clock: deps.clock,
    ready: () =>
      deps.routes.loaded ? undefined : `the routes are not loaded: ${deps.routes.failure ?? "just started"}`,
    bodyLimits: { "/v1/import": IMPORT_LIMIT },
    hot: [
      hotRoute(deps, (route) => routeJson(api, route)),
      ...(deps.leases === undefined ? [] : hotLeases(deps.access, deps.leases, (result) => refusal(result))),
    ],
    problemFor: (error) =>
      error instanceof KeptByLeader
        ? misdirected(error)
        : error instanceof StoreUnavailable
          ? unavailable(
              `the database is not available: ${error.message}; reads are served from memory, writes are refused until it is back`,
            )
          : undefined,
  });
  const api = new ApiContext(deps, app);
  if (deps.leaders !== undefined) refuseElsewhere(app, deps.leaders);
  app.use(
    "/v1/*",
    guardCalls({
      access: deps.access,
      rules: DNS_CALLS,
      anonymous: (need) => need === "read" && deps.anonymousRead(),
    }),
  );
  addReads(api);
  addReplica(api);
  addWrites(api);
  addChanges(api);
  addTokens(api);
  if (deps.leases !== undefined) addRegistrations(api, deps.leases);
  return app;
}
