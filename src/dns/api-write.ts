// The writes of the dns service's API. Each is one change: planned, committed and logged as one, answered when it is
// durable, with the revision that a read on any instance can be asked to wait for.
import { createRoute, z } from "@hono/zod-openapi";
import { normalizeHosts } from "../core/assignment.ts";
import { NO_CHOICE, type PolicyChoice } from "../core/policies.ts";
import { sameChoice } from "../core/policy-choice.ts";
import { type NameContent, planChange, type RouteChange } from "../core/route-change.ts";
import { jsonBody, jsonContent, problemResponses } from "../platform/http-json.ts";
import { boolParam, idParam } from "../platform/http-schemas.ts";
import { type ApiContext, parseTags } from "./api-context.ts";
import { choiceOf, policyJson } from "./api-policy.ts";
import {
  exportDocument,
  hostIn,
  hostJson,
  hostParams,
  hostPatch,
  importOut,
  moduleParams,
  nameIn,
  routeIn,
  writeOut,
} from "./api-schemas.ts";

const ifMatch = z.object({ "if-match": z.string().optional() });
const written = { description: "Committed, at this revision", ...jsonContent(writeOut) };
const WRITE_PROBLEMS = problemResponses(400, 401, 403, 404, 409, 412, 415, 422, 503);

const putRoute = createRoute({
  method: "put",
  path: "/v1/routes/{modid}/{cmdid}",
  summary: "Replaces the host list (and the name and the policy, when they are given)",
  request: { params: moduleParams, headers: ifMatch, body: jsonBody(routeIn) },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const deleteRoute = createRoute({
  method: "delete",
  path: "/v1/routes/{modid}/{cmdid}",
  summary: "Removes the module with its hosts and its name",
  request: { params: moduleParams, headers: ifMatch },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const postHost = createRoute({
  method: "post",
  path: "/v1/routes/{modid}/{cmdid}/hosts",
  summary: "Adds a host",
  request: { params: moduleParams, headers: ifMatch, body: jsonBody(hostIn) },
  responses: { 201: written, ...WRITE_PROBLEMS },
});

const patchHost = createRoute({
  method: "patch",
  path: "/v1/routes/{modid}/{cmdid}/hosts/{endpoint}",
  summary: "Changes a host's weight, zone or state",
  request: { params: hostParams, headers: ifMatch, body: jsonBody(hostPatch) },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const deleteHost = createRoute({
  method: "delete",
  path: "/v1/routes/{modid}/{cmdid}/hosts/{endpoint}",
  summary: "Removes a host",
  request: { params: hostParams, headers: ifMatch },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const putModuleName = createRoute({
  method: "put",
  path: "/v1/modules/{modid}",
  summary: 'Names a modid, for people; "" takes the name away',
  request: { params: z.object({ modid: idParam }), body: jsonBody(nameIn) },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const putCommandName = createRoute({
  method: "put",
  path: "/v1/commands/{cmdid}",
  summary: 'Names a cmdid, for people; "" takes the name away',
  request: { params: z.object({ cmdid: idParam }), body: jsonBody(nameIn) },
  responses: { 200: written, ...WRITE_PROBLEMS },
});

const importRoute = createRoute({
  method: "post",
  path: "/v1/import",
  summary: "Imports routes and names as one change",
  description:
    "Routes in the document replace those of the same module; others stay, or go with replace=true. With dryRun=true nothing is written and the answer says what would be.",
  request: {
    query: z.object({ dryRun: boolParam.optional(), replace: boolParam.optional() }),
    body: jsonBody(exportDocument),
  },
  responses: { 200: { description: "What changed, or would", ...jsonContent(importOut) }, ...WRITE_PROBLEMS },
});

export function addWrites(api: ApiContext): void {
  const { app, deps } = api;

  interface WriteRequest {
    readonly req: { header(name: string): string | undefined };
    get(key: "requestId" | "who"): string;
  }

  async function commit(c: WriteRequest, change: RouteChange): Promise<{ revision: number; changed: boolean }> {
    return api.committed(await deps.routes.commit(change, { who: c.get("who"), requestId: c.get("requestId") }));
  }

  function condition(c: WriteRequest) {
    return parseTags(c.req.header("if-match"));
  }

  app.openapi(putRoute, async (c) => {
    const { hosts, name, ...policy } = c.req.valid("json");
    const change = {
      action: "put-route",
      ...c.req.valid("param"),
      hosts: normalizeHosts(hosts),
      name,
      policy: choiceOf(policy),
      ifMatch: condition(c),
    } as const;
    return c.json(await commit(c, change), 200);
  });

  app.openapi(deleteRoute, async (c) =>
    c.json(await commit(c, { action: "remove-route", ...c.req.valid("param"), ifMatch: condition(c) }), 200),
  );

  app.openapi(postHost, async (c) => {
    const change = {
      action: "add-host",
      ...c.req.valid("param"),
      host: c.req.valid("json"),
      ifMatch: condition(c),
    } as const;
    return c.json(await commit(c, change), 201);
  });

  app.openapi(patchHost, async (c) => {
    const change = {
      action: "set-host",
      ...c.req.valid("param"),
      ...c.req.valid("json"),
      ifMatch: condition(c),
    } as const;
    return c.json(await commit(c, change), 200);
  });

  app.openapi(deleteHost, async (c) =>
    c.json(await commit(c, { action: "remove-host", ...c.req.valid("param"), ifMatch: condition(c) }), 200),
  );

  app.openapi(putModuleName, async (c) => {
    const names = [{ scope: "modid", id: c.req.valid("param").modid, name: c.req.valid("json").name }] as const;
    return c.json(await commit(c, { action: "put-names", names }), 200);
  });

  app.openapi(putCommandName, async (c) => {
    const names = [{ scope: "cmdid", id: c.req.valid("param").cmdid, name: c.req.valid("json").name }] as const;
    return c.json(await commit(c, { action: "put-names", names }), 200);
  });

  app.openapi(importRoute, async (c) => {
    const { dryRun = false, replace = false } = c.req.valid("query");
    const { routes: documents, names } = c.req.valid("json");
    const routes = documents.map(({ policy, policyParameters, ...route }) => ({
      ...route,
      policy: choiceOf({ policy, policyParameters }),
    }));
    const all: NameContent[] = [
      ...names.modids.map(({ id, name }) => ({ scope: "modid" as const, id, name })),
      ...names.cmdids.map(({ id, name }) => ({ scope: "cmdid" as const, id, name })),
    ];
    const change: RouteChange = { action: "import", routes, names: all, replace };
    await deps.routes.refresh();
    await api.awaitRoutes();
    // Planned against what is known now, for the answer; the commit plans again against what is there then.
    const plan = planChange(api.replica, change);
    const edits = plan.ok ? plan : { routes: [], names: [] };
    const result = dryRun
      ? { revision: api.replica.revision, changed: edits.routes.length > 0 || edits.names.length > 0 }
      : await commit(c, change);
    return c.json(
      {
        ...result,
        dryRun,
        routes: edits.routes.map(({ modid, cmdid, name, before, policy, diff }) => ({
          modid,
          cmdid,
          ...(name === "" ? {} : { name }),
          ...policyChange(before?.policy ?? NO_CHOICE, policy),
          added: diff.added.map(hostJson),
          changed: diff.changed.map(hostJson),
          removed: diff.removed.map(hostJson),
        })),
        names: edits.names.map(({ scope, id, before, name }) => ({ scope, id, before, after: name })),
      },
      200,
    );
  });
}

function policyChange(before: PolicyChoice, after: PolicyChoice) {
  return sameChoice(before, after) ? {} : { policy: { before: policyJson(before), after: policyJson(after) } };
}
