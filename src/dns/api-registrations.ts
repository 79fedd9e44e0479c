// Registrations over HTTP: a service says which host it is and for how long, says "still here" while it is, and says when
// it goes. The id in the path is the caller's own choice and what it renews by; whoever may register hosts of the module
// may use any id, so ids should not be guessed by accident (a host's name with its port is a good one).
import { createRoute, z } from "@hono/zod-openapi";
import { DEFAULT_WEIGHT } from "../core/assignment.ts";
import { formatIp } from "../core/endpoint.ts";
import { LEASE_STATES, type Lease, MAX_LEASE_ID_LENGTH, MAX_TTL_MS, MIN_TTL_MS } from "../core/lease.ts";
import { noRegistration } from "../core/lease-change.ts";
import { formatModuleKey, type ModuleKey } from "../core/module-key.ts";
import type { Principal } from "../core/principal.ts";
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
import { type ApiContext, refusedChange, unavailable } from "./api-context.ts";
import { writeOut } from "./api-schemas.ts";
import type { LeaseService, RegisterResult } from "./lease-service.ts";

const leaseId = z
  .string()
  .regex(/^[\x21-\x7e]+$/, { message: "expected printable ASCII characters without spaces" })
  .max(MAX_LEASE_ID_LENGTH)
  .openapi({ example: "payments-7.example:8000" });

const leaseParams = z.object({ id: leaseId });
const stateField = z.enum(LEASE_STATES);

const registrationIn = z
  .strictObject({
    modid: idField,
    cmdid: idField,
    ip: ipField,
    port: portField,
    weight: weightField.default(DEFAULT_WEIGHT),
    zone: zoneField.default(""),
    ttlSeconds: z
      .number()
      .min(MIN_TTL_MS / 1000)
      .max(MAX_TTL_MS / 1000)
      .openapi({ example: 15, description: "The host leaves its route when nothing was heard for so long" }),
    state: stateField
      .default("up")
      .openapi({ description: "draining: no new calls; to be said a while before deregistering" }),
  })
  .openapi("RegistrationInput");

const registrationOut = z
  .object({
    id: z.string(),
    modid: z.int(),
    cmdid: z.int(),
    ip: ipText,
    port: z.int(),
    weight: z.int(),
    zone: z.string(),
    state: stateField,
    ttlSeconds: z.number(),
    expiresInSeconds: z.number().openapi({ description: "By the lease clock, which stands while no dns service runs" }),
    registeredAt: z.string().openapi({ format: "date-time" }),
    who: z.string().openapi({ description: "Whose token it was" }),
  })
  .openapi("Registration");

const WRITE_PROBLEMS = problemResponses(400, 401, 403, 404, 415, 422, 503);

const register = createRoute({
  method: "put",
  path: "/v1/registrations/{id}",
  summary: "Registers a host under a lease, or replaces what this id registered",
  description:
    "Durable when answered. Unrenewed for ttlSeconds, the host leaves its route. A host that an operator entered is left as it is. `changed`: whether the route did.",
  request: { params: leaseParams, body: jsonBody(registrationIn) },
  responses: { 200: { description: "Registered", ...jsonContent(writeOut) }, ...WRITE_PROBLEMS },
});

const heartbeat = createRoute({
  method: "put",
  path: "/v1/registrations/{id}/heartbeat",
  summary: "Renews a lease",
  description:
    "At any dns service of the same database. 404: it ended, register again. 503: this one cannot write renewals now, ask another.",
  request: { params: leaseParams },
  responses: {
    200: { description: "Renewed", ...jsonContent(z.object({ ttlSeconds: z.number() }).openapi("Renewed")) },
    ...problemResponses(400, 401, 403, 404, 503),
  },
});

const deregister = createRoute({
  method: "delete",
  path: "/v1/registrations/{id}",
  summary: "Ends a lease; its host leaves the route unless another id holds it",
  request: { params: leaseParams },
  responses: { 200: { description: "Ended", ...jsonContent(writeOut) }, ...problemResponses(400, 401, 403, 404, 503) },
});

const listRegistrations = createRoute({
  method: "get",
  path: "/v1/registrations",
  summary: "The registrations, by id",
  request: {
    query: z.object({
      modid: idParam.optional(),
      cmdid: idParam.optional(),
      limit: intParam(1, 10_000).optional(),
      after: z.string().max(MAX_LEASE_ID_LENGTH).optional(),
    }),
  },
  responses: {
    200: {
      description: "A page of registrations",
      ...jsonContent(
        z.object({ registrations: z.array(registrationOut), next: z.string().optional() }).openapi("Registrations"),
      ),
    },
    ...problemResponses(400, 401, 503),
  },
});

const getRegistration = createRoute({
  method: "get",
  path: "/v1/registrations/{id}",
  summary: "One registration",
  request: { params: leaseParams },
  responses: {
    200: { description: "The registration", ...jsonContent(registrationOut) },
    ...problemResponses(400, 401, 404, 503),
  },
});

function registrationJson(lease: Lease, leaseNowMs: number): z.infer<typeof registrationOut> {
  const { id, modid, cmdid, ip, port, weight, zone, state, ttlMs, expiresMs, registeredAtMs, who } = lease;
  return {
    ...{ id, modid, cmdid, ip: formatIp(ip), port, weight, zone, state, who },
    ttlSeconds: ttlMs / 1000,
    expiresInSeconds: Math.max(0, Math.round(expiresMs - leaseNowMs)) / 1000,
    registeredAt: new Date(registeredAtMs).toISOString(),
  };
}

/** Why a registration was not made. */
export function refusal(result: RegisterResult & { readonly ok: false }): ProblemError {
  return result.reason === "full" ? unavailable(result.detail) : refusedChange(result);
}

function notCovered(principal: Principal, key: ModuleKey): ProblemError {
  return new ProblemError(
    403,
    `the token "${principal.name}" does not cover module ${formatModuleKey(key)}; use one that names it`,
  );
}

/** Only where leases are kept: a follower has none. */
export function addRegistrations(api: ApiContext, leases: LeaseService): void {
  const { app } = api;

  app.openapi(register, async (c) => {
    const { id } = c.req.valid("param");
    const { ttlSeconds, ...terms } = c.req.valid("json");
    const principal = c.get("principal");
    if (!principal.mayRegister(terms.modid, terms.cmdid)) throw notCovered(principal, terms);
    const result = await leases.register(
      { id, ...terms, ttlMs: Math.round(ttlSeconds * 1000) },
      principal.mayRegister,
      { who: principal.name, requestId: c.get("requestId") },
    );
    if (!result.ok) throw refusal(result);
    return c.json(api.committed(result), 200);
  });

  app.openapi(heartbeat, async (c) => {
    const { id } = c.req.valid("param");
    const principal = c.get("principal");
    const answer = await leases.renewals.heartbeat(id, principal.mayRegister);
    switch (answer.outcome) {
      case "renewed":
        return c.json({ ttlSeconds: answer.ttlMs / 1000 }, 200);
      case "gone":
        throw new ProblemError(404, noRegistration(id));
      case "forbidden":
        throw notCovered(principal, answer.module);
      case "late":
        throw unavailable(`${answer.why}; ask another dns service, or this one again`);
    }
  });

  app.openapi(deregister, async (c) => {
    const { id } = c.req.valid("param");
    const principal = c.get("principal");
    const result = await leases.deregister(id, principal.mayRegister, {
      who: principal.name,
      requestId: c.get("requestId"),
    });
    return c.json(api.committed(result), 200);
  });

  app.openapi(listRegistrations, async (c) => {
    const { limit = 100, ...query } = c.req.valid("query");
    const found = await leases.store.list({ ...query, limit });
    const { clockMs } = await leases.store.clock();
    const last = found.at(-1);
    return c.json(
      {
        registrations: found.map((lease) => registrationJson(lease, clockMs)),
        ...(found.length === limit && last !== undefined ? { next: last.id } : {}),
      },
      200,
    );
  });

  app.openapi(getRegistration, async (c) => {
    const { id } = c.req.valid("param");
    const [lease] = await leases.store.find([id]);
    if (lease === undefined) throw new ProblemError(404, noRegistration(id));
    return c.json(registrationJson(lease, (await leases.store.clock()).clockMs), 200);
  });
}
