// The change log over HTTP: what was changed, by whom, and what to do about a change: undo it, or say that it was meant
// when so many hosts vanished with it that agents do not believe it. Both are changes of their own, in the log too.
import { createRoute, z } from "@hono/zod-openapi";
import type { RouteChange } from "../core/route-change.ts";
import { undoOf } from "../core/route-revert.ts";
import { jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { intParam } from "../platform/http-schemas.ts";
import type { ChangeLogEntry } from "../store/route-store.ts";
import type { ApiContext } from "./api-context.ts";
import { writeOut } from "./api-schemas.ts";

const changeOut = z
  .object({
    revision: z.int(),
    at: z.string().openapi({ format: "date-time" }),
    who: z.string(),
    action: z.string(),
    requestId: z.string(),
    of: z.int().optional().openapi({ description: "Of a revert or confirm: the revision it is about" }),
    items: z.array(z.unknown()).openapi({ description: "What differs, before and after" }),
  })
  .openapi("Change");

const revisionParam = z.object({ revision: intParam(1, Number.MAX_SAFE_INTEGER) });

const listChanges = createRoute({
  method: "get",
  path: "/v1/changes",
  summary: "The change log, oldest first",
  request: {
    query: z.object({ after: intParam(0, Number.MAX_SAFE_INTEGER).optional(), limit: intParam(1, 1000).optional() }),
  },
  responses: {
    200: {
      description: "Changes after a revision",
      ...jsonContent(z.object({ changes: z.array(changeOut), next: z.int().optional() }).openapi("Changes")),
    },
    ...problemResponses(400, 401, 503),
  },
});

const getChange = createRoute({
  method: "get",
  path: "/v1/changes/{revision}",
  summary: "One change",
  request: { params: revisionParam },
  responses: { 200: { description: "The change", ...jsonContent(changeOut) }, ...problemResponses(400, 401, 404, 503) },
});

const revertChange = createRoute({
  method: "post",
  path: "/v1/changes/{revision}/revert",
  summary: "Undoes a change, as a change of its own",
  description:
    "Everything the change set is put back as it was, in one transaction, and nothing else is touched. When something of it was changed since, nothing is undone (409).",
  request: { params: revisionParam },
  responses: {
    200: { description: "Committed, at this revision", ...jsonContent(writeOut) },
    ...problemResponses(400, 401, 403, 404, 409, 503),
  },
});

const confirmChange = createRoute({
  method: "post",
  path: "/v1/changes/{revision}/confirm",
  summary: "Says that the hosts that vanished with a change were meant to",
  description:
    "Agents keep the hosts of routes that were emptied by plain SQL all at once. After this they let them go. Of a change that did no such thing nothing changes.",
  request: { params: revisionParam },
  responses: {
    200: { description: "Committed, at this revision", ...jsonContent(writeOut) },
    ...problemResponses(400, 401, 403, 404, 503),
  },
});

function changeJson({ atMs, items, ...entry }: ChangeLogEntry): z.infer<typeof changeOut> {
  return { ...entry, items: [...items], at: new Date(atMs).toISOString() };
}

const LEASE_ACTIONS: readonly string[] = ["register", "deregister", "expire"];

function revertOf({ revision, action, items }: ChangeLogEntry): RouteChange {
  if (LEASE_ACTIONS.includes(action)) {
    throw new ProblemError(
      409,
      `change ${revision} (${action}) is not undone: registrations are not reverted; their owners register again or deregister`,
    );
  }
  if (action === "confirm") {
    throw new ProblemError(
      409,
      `change ${revision} only confirmed another and changed no route; revert the change it confirmed`,
    );
  }
  return { action: "revert", of: revision, ...undoOf(items) };
}

export function addChanges(api: ApiContext): void {
  const { app, deps } = api;

  /** @throws ProblemError 404 */
  async function entryAt(revision: number): Promise<ChangeLogEntry> {
    const [entry] = await deps.store.changes(revision - 1, 1);
    if (entry?.revision === revision) return entry;
    const [oldest] = await deps.store.changes(0, 1);
    if (entry !== undefined && oldest !== undefined && revision < oldest.revision) {
      throw new ProblemError(
        404,
        `change ${revision} is not in the log (any more): older entries are pruned, and the log begins at revision ${oldest.revision}`,
      );
    }
    throw new ProblemError(404, `there is no change at revision ${revision}; GET /v1/changes lists them`);
  }

  app.openapi(listChanges, async (c) => {
    const { after = 0, limit = 100 } = c.req.valid("query");
    const changes = await deps.store.changes(after, limit);
    const last = changes.at(-1);
    const next = changes.length === limit && last !== undefined ? { next: last.revision } : {};
    return c.json({ changes: changes.map(changeJson), ...next }, 200);
  });

  app.openapi(getChange, async (c) => c.json(changeJson(await entryAt(c.req.valid("param").revision)), 200));

  app.openapi(revertChange, async (c) => {
    const change = revertOf(await entryAt(c.req.valid("param").revision));
    const author = { who: c.get("who"), requestId: c.get("requestId") };
    return c.json(api.committed(await deps.routes.commit(change, author)), 200);
  });

  app.openapi(confirmChange, async (c) => {
    const { revision, items } = await entryAt(c.req.valid("param").revision);
    const routes = items.flatMap((item) => (item.kind === "route" ? [{ modid: item.modid, cmdid: item.cmdid }] : []));
    const author = { who: c.get("who"), requestId: c.get("requestId") };
    const result = await deps.routes.commit({ action: "confirm", of: revision, routes }, author);
    return c.json(api.committed(result), 200);
  });
}
