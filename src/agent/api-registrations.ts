// Services register themselves at the agent of their machine: with a check that the agent makes, or with heartbeats of
// their own. Whoever reaches this port may, as for picks; which modules can be registered is for the agent's token to say.
//
// Answers tell the truth about the dns service: 200 is its own word, 202 means that the agent has it on disk and goes on
// by itself.
import { createRoute, z } from "@hono/zod-openapi";
import { formatIp } from "../core/endpoint.ts";
import { MAX_LEASE_ID_LENGTH, MAX_TTL_MS, MIN_TTL_MS } from "../core/lease.ts";
import type { HttpApp } from "../platform/http-app.ts";
import { jsonBody, jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import {
  idField,
  idParam,
  intParam,
  ipField,
  ipText,
  portField,
  weightField,
  zoneField,
} from "../platform/http-schemas.ts";
import { REGISTRATION_STATES, type RegistrationSpec } from "./registration.ts";
import type { RegistrationKeeper, RegistrationOutcome, RegistrationView } from "./registration-keeper.ts";

export interface RegistrationApiDeps {
  readonly keeper: Pick<RegistrationKeeper, "put" | "heartbeat" | "delete" | "get" | "list">;
  readonly max: () => number;
  readonly nowMs: () => number;
  readonly drainGraceMs: () => number;
}

/** How long a PUT waits for the check and the dns service. */
const PUT_WAIT_MS = 3000;
/** Beyond the grace, for the two calls to the dns service: one that answers late is better waited for than not. */
const DELETE_MARGIN_MS = 10_000;
const MAX_PAGE = 1000;

const REGISTRATION_ID = new RegExp(`^[\\x21-\\x7e]{1,${MAX_LEASE_ID_LENGTH}}$`);

const idPath = z.object({
  id: z
    .string()
    .regex(REGISTRATION_ID, `expected 1 to ${MAX_LEASE_ID_LENGTH} printable ASCII characters without spaces`)
    .openapi({ example: "payments@web-1" }),
});

const check = z
  .union([
    z.strictObject({ tcp: z.literal(true) }),
    z.strictObject({
      http: z
        .string()
        .regex(/^\/[\x21-\x7e]{0,1023}$/, "expected a path that begins with / and has no spaces, such as /healthz"),
    }),
  ])
  .openapi({ description: "Made against ip:port. Absent: the service heartbeats the agent" });

const CHECK_FIELDS = ["intervalSeconds", "timeoutSeconds", "rise", "fall"] as const;

const registrationIn = z
  .strictObject({
    modid: idField,
    cmdid: idField,
    ip: ipField,
    port: portField,
    weight: weightField.optional(),
    zone: zoneField.optional(),
    ttlSeconds: z
      .number()
      .min(MIN_TTL_MS / 1000)
      .max(MAX_TTL_MS / 1000)
      .openapi({ description: "After so long without a sign of life from agent and service, the host leaves" }),
    check: check.optional(),
    intervalSeconds: z.number().min(0.1).max(3600).optional().openapi({ description: "Between checks. Default 5" }),
    timeoutSeconds: z.number().min(0.01).max(60).optional().openapi({ description: "Of one check. Default 1" }),
    rise: z.int().min(1).max(1000).optional().openapi({ description: "Passes in a row after a failure. Default 2" }),
    fall: z.int().min(1).max(1000).optional().openapi({ description: "Failures in a row. Default 3" }),
  })
  .superRefine((body, context) => {
    if (body.check !== undefined) return;
    for (const name of CHECK_FIELDS) {
      if (body[name] === undefined) continue;
      context.addIssue({ code: "custom", path: [name], message: "belongs to a check, and there is no check" });
    }
  })
  .openapi("AgentRegistrationInput");

const registrationOut = z
  .object({
    id: z.string(),
    modid: z.int(),
    cmdid: z.int(),
    ip: ipText,
    port: portField,
    weight: z.int().optional(),
    zone: z.string().optional(),
    ttlSeconds: z.number(),
    check: check.optional(),
    intervalSeconds: z.number().optional(),
    timeoutSeconds: z.number().optional(),
    rise: z.int().optional(),
    fall: z.int().optional(),
    state: z.enum(REGISTRATION_STATES).openapi({
      description:
        "starting: not found well yet; passing: registered; failing: not well, not registered; draining: on its way out; waiting: well, but no dns service confirmed it; refused: the dns service will not have it",
    }),
    sinceSeconds: z.number(),
    lastError: z.string().optional(),
    leaseRemainingSeconds: z.number().openapi({ description: "As confirmed last; 0: none" }),
  })
  .openapi("AgentRegistration");

const doneOut = z
  .object({
    revision: z.int().optional().openapi({ description: "Absent when the dns service held nothing of it" }),
    changed: z.boolean(),
  })
  .openapi("Registered");

const keptOut = z.object({ status: z.string(), registration: registrationOut }).openapi("RegistrationKept");

const put = createRoute({
  method: "put",
  path: "/v1/registrations/{id}",
  summary: "Registers a service of this machine, or changes its registration",
  description:
    "With a check, the host is registered once the check passed, and stays while it passes. Without, while the service heartbeats.",
  request: { params: idPath, body: jsonBody(registrationIn) },
  responses: {
    200: { description: "Registered at the dns service", ...jsonContent(doneOut) },
    202: { description: "Kept on disk; the agent registers it as soon as it can", ...jsonContent(keptOut) },
    ...problemResponses(400, 401, 403, 409, 415, 422, 503),
  },
});

const heartbeat = createRoute({
  method: "put",
  path: "/v1/registrations/{id}/heartbeat",
  summary: "The service is alive (for registrations without a check)",
  request: { params: idPath },
  responses: {
    200: {
      description: "Send the next one well within this time",
      ...jsonContent(z.object({ ttlSeconds: z.number() }).openapi("Heartbeat")),
    },
    ...problemResponses(400, 404),
  },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/registrations/{id}",
  summary: "Drains the service, then removes it; answered when no caller is sent there any more",
  request: { params: idPath },
  responses: {
    200: { description: "Removed", ...jsonContent(doneOut) },
    202: { description: "No dns service answers yet; the agent goes on trying", ...jsonContent(keptOut) },
    ...problemResponses(400, 404),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/registrations",
  summary: "What is registered through this agent",
  request: {
    query: z.object({
      modid: idParam.optional(),
      cmdid: idParam.optional(),
      limit: intParam(1, MAX_PAGE).optional(),
      after: z.string().max(MAX_LEASE_ID_LENGTH).optional(),
    }),
  },
  responses: {
    200: {
      description: "In the order of their ids",
      ...jsonContent(
        z
          .object({ registrations: z.array(registrationOut), next: z.string().optional() })
          .openapi("AgentRegistrationList"),
      ),
    },
    ...problemResponses(400),
  },
});

const getOne = createRoute({
  method: "get",
  path: "/v1/registrations/{id}",
  summary: "How one registration is doing",
  request: { params: idPath },
  responses: {
    200: { description: "The registration", ...jsonContent(registrationOut) },
    ...problemResponses(400, 404),
  },
});

function unknown(id: string): ProblemError {
  return new ProblemError(404, `this agent has no registration ${JSON.stringify(id)}; register it (again) with PUT`);
}

function specOf(id: string, body: z.output<typeof registrationIn>): RegistrationSpec {
  const { check, intervalSeconds = 5, timeoutSeconds = 1, rise = 2, fall = 3, weight, zone, ...place } = body;
  return {
    id,
    ...place,
    weight,
    zone,
    check:
      check === undefined
        ? undefined
        : {
            path: "http" in check ? check.http : undefined,
            intervalMs: intervalSeconds * 1000,
            timeoutMs: timeoutSeconds * 1000,
            rise,
            fall,
          },
  };
}

function registrationJson(view: RegistrationView, nowMs: number): z.output<typeof registrationOut> {
  const { check, ip, weight, zone, ...spec } = view.spec;
  return {
    ...spec,
    ip: formatIp(ip),
    ...(weight === undefined ? {} : { weight }),
    ...(zone === undefined ? {} : { zone }),
    ...(check === undefined
      ? {}
      : {
          check: check.path === undefined ? { tcp: true as const } : { http: check.path },
          intervalSeconds: check.intervalMs / 1000,
          timeoutSeconds: check.timeoutMs / 1000,
          rise: check.rise,
          fall: check.fall,
        }),
    state: view.state,
    sinceSeconds: seconds(nowMs - view.sinceMs),
    ...(view.lastError === "" ? {} : { lastError: view.lastError }),
    leaseRemainingSeconds: seconds(view.leaseRemainingMs),
  };
}

function seconds(ms: number): number {
  return Math.max(0, Math.round(ms)) / 1000;
}

/** What a kept registration waits for, in a sentence. */
function whyKept({ state, lastError, spec }: RegistrationView): string {
  const because = lastError === "" ? "" : `: ${lastError}`;
  if (state === "draining") return `being removed; the agent goes on until a dns service has confirmed it${because}`;
  if (state === "starting" || state === "failing")
    return `kept; it will be registered when its check passes${because || ` (every ${spec.check?.intervalMs} ms)`}`;
  return `kept; it will be registered when a dns service answers${because}`;
}

export function addRegistrations(app: HttpApp, deps: RegistrationApiDeps): void {
  const { keeper } = deps;

  const kept = (outcome: RegistrationOutcome & { outcome: "kept" }) => ({
    status: whyKept(outcome.view),
    registration: registrationJson(outcome.view, deps.nowMs()),
  });
  const done = (outcome: RegistrationOutcome & { outcome: "done" }) => ({
    ...(outcome.revision === undefined ? {} : { revision: outcome.revision }),
    changed: outcome.changed ?? false,
  });

  app.openapi(put, async (c) => {
    const { id } = c.req.valid("param");
    const outcome = await keeper.put(specOf(id, c.req.valid("json")), PUT_WAIT_MS);
    if (outcome.outcome === "kept") return c.json(kept(outcome), 202);
    if (outcome.outcome === "done") return c.json(done(outcome), 200);
    throw refusal(outcome, deps);
  });

  app.openapi(heartbeat, (c) => {
    const { id } = c.req.valid("param");
    const answer = keeper.heartbeat(id);
    if (answer === undefined) throw unknown(id);
    return c.json(answer, 200);
  });

  app.openapi(remove, async (c) => {
    const { id } = c.req.valid("param");
    const outcome = await keeper.delete(id, deps.drainGraceMs() + DELETE_MARGIN_MS);
    if (outcome === undefined) throw unknown(id);
    if (outcome.outcome === "done") return c.json(done(outcome), 200);
    if (outcome.outcome === "kept") return c.json(kept(outcome), 202);
    throw refusal(outcome, deps);
  });

  app.openapi(list, (c) => {
    const { modid, cmdid, limit = MAX_PAGE, after = "" } = c.req.valid("query");
    const wanted = keeper
      .list()
      .filter(({ spec }) => (modid ?? spec.modid) === spec.modid && (cmdid ?? spec.cmdid) === spec.cmdid)
      .filter(({ spec }) => spec.id > after);
    const page = wanted.slice(0, limit);
    const nowMs = deps.nowMs();
    return c.json(
      {
        registrations: page.map((view) => registrationJson(view, nowMs)),
        ...(page.length === wanted.length ? {} : { next: page.at(-1)!.spec.id }),
      },
      200,
    );
  });

  app.openapi(getOne, (c) => {
    const { id } = c.req.valid("param");
    const view = keeper.get(id);
    if (view === undefined) throw unknown(id);
    return c.json(registrationJson(view, deps.nowMs()), 200);
  });
}

/** The dns service's own words. Its 401 is about this agent's token, which the caller cannot do anything about. */
function refusal(
  outcome: Exclude<RegistrationOutcome, { outcome: "done" | "kept" }>,
  { max }: RegistrationApiDeps,
): ProblemError {
  if (outcome.outcome === "full")
    return new ProblemError(
      503,
      `this agent holds ${max()} registrations, its limit; remove some or raise registrations.max`,
    );
  if (outcome.outcome === "ending")
    return new ProblemError(503, "this agent is ending and its services are being drained; register with the next one");
  const { status, detail } = outcome;
  if (status === 401)
    return new ProblemError(503, `the dns service does not know this agent's token (registrations.token): ${detail}`);
  const passed = [400, 403, 409, 422].includes(status) ? status : 503;
  return new ProblemError(passed, `the dns service refuses it (${status}): ${detail}`);
}
