// The agent over HTTP, for callers without a native client: which host, how the call went, and for people what the agent
// thinks of every host. The picks are the shards' own, so a module is balanced as one whatever way its callers come.
import { createRoute, z } from "@hono/zod-openapi";
import { formatIp } from "../core/endpoint.ts";
import { hashText } from "../core/hash.ts";
import { formatModuleKey } from "../core/module-key.ts";
import { POLICIES } from "../core/policies.ts";
import type { Clock } from "../platform/clock.ts";
import { createHttpApp, type HttpApp } from "../platform/http-app.ts";
import { jsonBody, jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { idField, idParam, ipField, ipText, portField } from "../platform/http-schemas.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import { version } from "../platform/version.ts";
import { addRegistrations, type RegistrationApiDeps } from "./api-registrations.ts";
import { hotPick } from "./hot-pick.ts";
import { hotReports } from "./hot-reports.ts";
import type { KeptDescription } from "./route-source.ts";
import type { ModuleDescription } from "./shard-description.ts";
import { ShardUnavailable } from "./shard-pool.ts";
import type { CallReport, PickAnswer } from "./shard-protocol.ts";

export interface AgentAppDeps {
  readonly pick: (modid: number, cmdid: number, keyHash: number) => PickAnswer | Promise<PickAnswer>;
  readonly describe: (modid: number, cmdid: number) => Promise<ModuleDescription | undefined>;
  readonly report: (reports: readonly CallReport[]) => void;
  readonly dnsConnected: () => boolean;
  /** Of a module whose hosts are kept although the dns service says that they are gone. */
  readonly kept: (modid: number, cmdid: number) => KeptDescription | undefined;
  readonly registrations: RegistrationApiDeps;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly ready: () => string | undefined;
}

const moduleParams = z.object({ modid: idParam, cmdid: idParam });
const MAX_REPORTS = 10_000;

const reportSchema = z
  .strictObject({
    modid: idField,
    cmdid: idField,
    ip: ipField,
    port: portField,
    retcode: z.int().min(-0x8000_0000).max(0x7fff_ffff).default(0).openapi({ description: "0: the call succeeded" }),
    latencyUs: z.int().min(0).max(0xffff_ffff).default(0).openapi({ description: "What the call took; 0: not told" }),
  })
  .openapi("CallReport");

const pickRoute = createRoute({
  method: "get",
  path: "/v1/hosts/{modid}/{cmdid}",
  summary: "Which host to call now",
  description: "Every call of the service asks anew and reports afterwards how it went.",
  request: {
    params: moduleParams,
    query: z.object({
      hashKey: z
        .string()
        .max(1024)
        .optional()
        .openapi({ description: "Calls with the same key go to the same host (policy consistent_hash)" }),
    }),
  },
  responses: {
    200: {
      description: "The host",
      ...jsonContent(z.object({ modid: z.int(), cmdid: z.int(), ip: ipText, port: portField }).openapi("Pick")),
    },
    ...problemResponses(400, 404, 503),
  },
});

const reportRoute = createRoute({
  method: "post",
  path: "/v1/reports",
  summary: "How calls went",
  request: { body: jsonBody(z.union([reportSchema, z.array(reportSchema).max(MAX_REPORTS)])) },
  responses: { 204: { description: "Taken" }, ...problemResponses(400, 413, 415, 422) },
});

const describeRoute = createRoute({
  method: "get",
  path: "/v1/routes/{modid}/{cmdid}",
  summary: "Every host of a module and what this agent thinks of it",
  request: { params: moduleParams },
  responses: {
    200: {
      description: "The module's hosts",
      ...jsonContent(
        z
          .object({
            modid: z.int(),
            cmdid: z.int(),
            revision: z.int(),
            ageSeconds: z.number().openapi({ description: "Since the route was last heard of" }),
            dnsConnected: z.boolean(),
            kept: z.object({ hostsTold: z.int(), sinceSeconds: z.number() }).optional().openapi({
              description:
                "The dns service says that only so many hosts are left, and not that it is meant: the hosts are kept",
            }),
            policy: z.enum(POLICIES).openapi({ description: "In effect: the module's own, or this agent's default" }),
            policyParameters: z
              .record(z.string(), z.number())
              .optional()
              .openapi({ description: "What the module has other than this agent's [steering]" }),
            hosts: z.array(
              z.object({
                ip: ipText,
                port: portField,
                weight: z.int(),
                zone: z.string(),
                verdict: z.enum(["available", "ejected"]),
                reason: z.string().openapi({ example: "ejected: 5 consecutive failures, probe in 3.2 s" }),
                sinceSeconds: z.number(),
                windowSucc: z.int(),
                windowErr: z.int(),
                succ: z.int().openapi({ description: "Since the agent began" }),
                err: z.int(),
                inFlight: z
                  .int()
                  .optional()
                  .openapi({ description: "Picks not reported yet; absent with policy lars" }),
                latencyMs: z.number().optional().openapi({ description: "What a call is expected to take" }),
              }),
            ),
          })
          .openapi("AgentRoute"),
      ),
    },
    ...problemResponses(400, 404, 503),
  },
});

function unavailable(detail: string, retryAfterSeconds: number): ProblemError {
  return new ProblemError(503, detail, { headers: { "retry-after": String(retryAfterSeconds) } });
}

function noModule(key: { modid: number; cmdid: number }): ProblemError {
  return new ProblemError(404, `there is no module ${formatModuleKey(key)}; its routes are kept at the dns service`);
}

function notKnownYet(key: { modid: number; cmdid: number }, deps: AgentAppDeps): ProblemError {
  const why = deps.dnsConnected() ? "the dns service has not answered yet" : "no dns service is connected";
  return unavailable(`the route of module ${formatModuleKey(key)} is not known yet: ${why}; ask again`, 1);
}

/** Why a pick gave no host; undefined when that is nothing a caller could be told. */
function pickProblem(
  key: { modid: number; cmdid: number },
  answer: PickAnswer | Error,
  deps: AgentAppDeps,
): ProblemError | undefined {
  if (answer instanceof Error) {
    return answer instanceof ShardUnavailable ? unavailable(answer.message, 1) : undefined;
  }
  switch (answer.outcome) {
    case "shedding":
      return unavailable(`every host of module ${formatModuleKey(key)} is ejected and this call is shed; try again`, 1);
    case "resolving":
      return notKnownYet(key, deps);
    case "unknown":
      return noModule(key);
    case "host":
      return undefined;
  }
}

export function makeApp(deps: AgentAppDeps): HttpApp {
  const app = createHttpApp({
    process: "agent",
    version,
    title: "Lars agent",
    description: "Tells callers which host to call now and learns from how the call went.",
    log: deps.log,
    metrics: deps.metrics,
    clock: deps.clock,
    ready: deps.ready,
    problemFor: (error) => (error instanceof ShardUnavailable ? unavailable(error.message, 1) : undefined),
    hot: [
      hotPick(deps.pick, (modid, cmdid, answer) => pickProblem({ modid, cmdid }, answer, deps)),
      hotReports(deps.report),
    ],
  });

  app.openapi(pickRoute, async (c) => {
    const key = c.req.valid("param");
    const { hashKey } = c.req.valid("query");
    const answer = await deps.pick(key.modid, key.cmdid, hashKey === undefined ? 0 : hashText(hashKey));
    if (answer.outcome === "host") {
      return c.json({ modid: key.modid, cmdid: key.cmdid, ip: formatIp(answer.ip), port: answer.port }, 200);
    }
    throw pickProblem(key, answer, deps)!;
  });

  app.openapi(reportRoute, (c) => {
    const body = c.req.valid("json");
    const reports = Array.isArray(body) ? body : [body];
    deps.report(
      reports.map(({ modid, cmdid, ip, port, retcode, latencyUs }) => ({
        modid,
        cmdid,
        ip,
        port,
        succeeded: retcode === 0,
        latencyUs,
      })),
    );
    return c.body(null, 204);
  });

  app.openapi(describeRoute, async (c) => {
    const key = c.req.valid("param");
    const module = await deps.describe(key.modid, key.cmdid);
    if (module === undefined || module.state === "unknown") throw noModule(key);
    if (module.state === "resolving") throw notKnownYet(key, deps);
    const kept = deps.kept(key.modid, key.cmdid);
    const policyParameters = Object.fromEntries(Object.entries(module.policyParameters));
    return c.json(
      {
        modid: key.modid,
        cmdid: key.cmdid,
        revision: module.revision,
        ageSeconds: seconds(module.ageMs),
        dnsConnected: deps.dnsConnected(),
        ...(kept === undefined ? {} : { kept: { hostsTold: kept.told, sinceSeconds: seconds(kept.forMs) } }),
        policy: module.policy,
        ...(Object.keys(policyParameters).length === 0 ? {} : { policyParameters }),
        hosts: module.hosts.map((host) => ({
          ip: formatIp(host.ip),
          port: host.port,
          weight: host.weight,
          zone: host.zone,
          verdict: host.verdict,
          reason: host.reason,
          sinceSeconds: seconds(host.forMs),
          windowSucc: host.succ,
          windowErr: host.err,
          succ: host.totalSucc,
          err: host.totalErr,
          ...(host.inFlight === undefined ? {} : { inFlight: host.inFlight }),
          ...(host.latencyMs === undefined ? {} : { latencyMs: Math.round(host.latencyMs * 1000) / 1000 }),
        })),
      },
      200,
    );
  });

  addRegistrations(app, deps.registrations);
  return app;
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000;
}
