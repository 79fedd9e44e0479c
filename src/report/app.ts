// The report service over HTTP: statistics in, for agents and scripts without the TCP protocol, and the latest of them
// out. Portable, like the dns service's application.
import { createRoute, z } from "@hono/zod-openapi";
import type { Access } from "../auth/access.ts";
import { type CallRules, guardCalls } from "../auth/call-guard.ts";
import { formatIp } from "../core/endpoint.ts";
import type { Need } from "../core/principal.ts";
import type { Clock } from "../platform/clock.ts";
import { createHttpApp, type HttpApp } from "../platform/http-app.ts";
import { jsonBody, jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { idField, idParam, intParam, ipField, ipText, portField } from "../platform/http-schemas.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import { version } from "../platform/version.ts";
import type { ReportStore, StatusFilter } from "../store/report-store.ts";
import { StoreUnavailable } from "../store/route-store.ts";
import type { Intake } from "./intake.ts";
import type { OfferedRow } from "./waiting-rows.ts";

export interface ReportAppDeps {
  readonly store: ReportStore;
  readonly intake: Intake;
  readonly access: Access;
  /** Whether no token is needed for that. */
  readonly anonymous: (need: Need) => boolean;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly ready: () => string | undefined;
}

/** What each call needs. Which roles that means: src/core/principal.ts. */
const REPORT_CALLS: CallRules = { "POST /v1/reports": "report", "GET /v1/status": "read" };

/** How long a caller is kept waiting for its report to be durable. */
const DURABLE_TIMEOUT_MS = 5000;
const MAX_STATUSES = 1000;
const MAX_RESULTS = 4096;

const uint32 = z.int().min(0).max(0xffff_ffff);

/** proto3's JSON writes a uint64 as a string; a number is taken while it is exact. */
const instanceField = z
  .union([z.string().regex(/^\d{1,20}$/), z.int().min(0)])
  .transform((value, context) => {
    const instance = BigInt(value);
    if (instance < 1n << 64n) return instance;
    context.issues.push({ code: "custom", input: value, message: "expected an unsigned 64-bit integer" });
    return z.NEVER;
  })
  .openapi({ type: "string", format: "uint64" });

const seqField = z
  .union([z.string().regex(/^\d{1,16}$/), z.int().min(0)])
  .transform(Number)
  .refine((seq) => Number.isSafeInteger(seq), { message: "expected an integer below 2^53" })
  .openapi({ type: "string", format: "uint64" });

const statusSchema = z
  .strictObject({
    modid: idField,
    cmdid: idField,
    caller: ipField,
    results: z
      .array(
        z.strictObject({
          ip: ipField,
          port: portField,
          succ: uint32.default(0),
          err: uint32.default(0),
          overload: z.boolean().default(false),
        }),
      )
      .max(MAX_RESULTS),
    ts: uint32.optional().openapi({ description: "Unix seconds; now when absent" }),
    instance: instanceField.optional().openapi({
      description:
        "With it the counts are totals since that instance began; without, the current window, which overwrites",
    }),
    seq: seqField.optional(),
  })
  .refine((status) => status.instance === undefined || status.instance === 0n || status.seq !== undefined, {
    message: "expected seq beside instance: it orders the totals",
    path: ["seq"],
  })
  .openapi("ReportStatusRequest");

const postReports = createRoute({
  method: "post",
  path: "/v1/reports",
  summary: "How the hosts of modules did",
  request: { body: jsonBody(z.union([statusSchema, z.array(statusSchema).max(MAX_STATUSES)])) },
  responses: { 202: { description: "Durable" }, ...problemResponses(400, 401, 403, 413, 415, 422, 503) },
});

const getStatus = createRoute({
  method: "get",
  path: "/v1/status",
  summary: "The latest per module, host and agent",
  request: {
    query: z.object({
      modid: idParam.optional(),
      cmdid: idParam.optional(),
      limit: intParam(1, 10_000).optional(),
      after: z.string().optional(),
    }),
  },
  responses: {
    200: {
      description: "A page of statistics",
      ...jsonContent(
        z
          .object({
            status: z.array(
              z.object({
                modid: z.int(),
                cmdid: z.int(),
                ip: ipText,
                port: z.int(),
                caller: ipText,
                succ: z.int(),
                err: z.int(),
                overload: z.boolean(),
                ts: z.int(),
              }),
            ),
            next: z.string().optional(),
          })
          .openapi("StatusList"),
      ),
    },
    ...problemResponses(400, 401, 503),
  },
});

function unavailable(detail: string): ProblemError {
  return new ProblemError(503, detail, { headers: { "retry-after": "1" } });
}

export function makeApp(deps: ReportAppDeps): HttpApp {
  const app = createHttpApp({
    process: "report",
    version,
    title: "Lars report service",
    description: "Collects how the calls of every host went, as agents tell it.",
    log: deps.log,
    metrics: deps.metrics,
    clock: deps.clock,
    ready: deps.ready,
    problemFor: (error) =>
      error instanceof StoreUnavailable ? unavailable(`the database is not available: ${error.message}`) : undefined,
  });

  app.use("/v1/*", guardCalls({ access: deps.access, rules: REPORT_CALLS, anonymous: deps.anonymous }));

  app.openapi(postReports, async (c) => {
    const body = c.req.valid("json");
    let refused = 0;
    for (const status of Array.isArray(body) ? body : [body]) {
      for (const row of toRows(status, deps.clock.wallMs())) if (!deps.intake.offer(row)) refused++;
    }
    if (refused > 0) {
      throw unavailable(
        `${refused} results found no room: ${deps.intake.size} rows wait for the database; send them again later`,
      );
    }
    if (!(await deps.intake.durable(DURABLE_TIMEOUT_MS))) {
      throw unavailable(
        `not durable after ${DURABLE_TIMEOUT_MS} ms: ${deps.intake.failure ?? "the database is slow"}; send it again`,
      );
    }
    return c.body(null, 202);
  });

  app.openapi(getStatus, async (c) => {
    const { modid, cmdid, limit = 1000, after } = c.req.valid("query");
    const rows = await deps.store.status({ modid, cmdid, limit, after: parseCursor(after) });
    const last = rows.at(-1);
    return c.json(
      {
        status: rows.map(({ ip, caller, ...row }) => ({ ...row, ip: formatIp(ip), caller: formatIp(caller) })),
        ...(rows.length === limit && last !== undefined
          ? { next: [last.modid, last.cmdid, last.ip, last.port, last.caller].map((part) => part >>> 0).join(".") }
          : {}),
      },
      200,
    );
  });

  return app;
}

function toRows(status: z.output<typeof statusSchema>, nowMs: number): OfferedRow[] {
  const { modid, cmdid, caller, results, instance = 0n, seq = 0 } = status;
  const ts = status.ts ?? Math.floor(nowMs / 1000);
  const instanceHigh = Number(instance >> 32n);
  const instanceLow = Number(instance & 0xffff_ffffn);
  return results.map((result) => ({ modid, cmdid, caller, ts, ...result, instanceHigh, instanceLow, seq }));
}

function parseCursor(after: string | undefined): StatusFilter["after"] {
  if (after === undefined) return undefined;
  const parts = after.split(".").map(Number);
  if (parts.length === 5 && parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 0xffff_ffff)) {
    return parts as [number, number, number, number, number];
  }
  throw new ProblemError(400, `after is ${JSON.stringify(after.slice(0, 80))}; pass the "next" of the page before`);
}
