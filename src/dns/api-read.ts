// The reads of the dns service's API: the list, one route (with ETag and long poll), the stream of changes, the export,
// connected agents. All are served from memory.
import { createRoute, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { formatModuleKey, type ModuleKey, parseModuleKey } from "../core/module-key.ts";
import { exists, type RouteRecord } from "../core/route-change.ts";
import { jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { idParam, intParam, moduleParam } from "../platform/http-schemas.ts";
import { type ApiContext, parseDuration, parseTags, unavailable } from "./api-context.ts";
import { policyJson } from "./api-policy.ts";
import { agentsOut, exportOut, hostJson, moduleParams, namesOut, routeListOut, routeOut } from "./api-schemas.ts";
import type { AgentDescription } from "./route-push.ts";
import type { RouteReplica } from "./route-replica.ts";
import type { Waiter } from "./route-watch.ts";
import type { ListPage, ListQuery } from "./sorted-routes.ts";

/** Longer waits than this are cut; connections of middleboxes seldom live longer. */
const MAX_WAIT_MS = 60_000;
const MAX_WATCHED_MODULES = 1000;
/** A comment line this often keeps a quiet stream open. */
const STREAM_PING_MS = 5000;

/** Routes and hosts that are looked at, or written, before others are served: some milliseconds. */
const STRETCH = 20_000;
const EXPORT_STRETCH = 5_000;
const AGENTS_STRETCH = 1_000;

const minRevision = intParam(0, Number.MAX_SAFE_INTEGER).optional();

const listRoute = createRoute({
  method: "get",
  path: "/v1/routes",
  summary: "The routes, in (modid, cmdid) order",
  request: {
    query: z.object({
      modid: idParam.optional(),
      q: z.string().max(255).optional().openapi({ description: "Part of a name, of modid.cmdid or of ip:port" }),
      limit: intParam(1, 10_000).optional(),
      after: moduleParam.optional(),
      minRevision,
    }),
  },
  responses: {
    200: { description: "A page of routes", ...jsonContent(routeListOut) },
    ...problemResponses(400, 401, 503),
  },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/routes/{modid}/{cmdid}",
  summary: "One route",
  description:
    "With `wait` (and `revision`) the answer is held back until the module's revision passes that, or the time is up.",
  request: {
    params: moduleParams,
    query: z.object({
      wait: z
        .string()
        .optional()
        .openapi({ example: "30s", description: `At most ${MAX_WAIT_MS / 1000}s` }),
      revision: intParam(0, Number.MAX_SAFE_INTEGER).optional(),
      minRevision,
    }),
  },
  responses: {
    200: { description: "The route; its ETag changes with it", ...jsonContent(routeOut) },
    304: { description: "As If-None-Match has it" },
    ...problemResponses(400, 401, 404, 503),
  },
});

const watchRoute = createRoute({
  method: "get",
  path: "/v1/watch",
  summary: "Changes of routes as Server-Sent Events",
  description:
    "An event `route` (id: the revision, data: the route) for every module at the start and at every change. With Last-Event-ID only modules changed since are sent at the start.",
  request: {
    query: z.object({ module: z.union([z.string(), z.array(z.string())]).openapi({ example: "1.1" }) }),
    headers: z.object({ "last-event-id": z.string().optional() }),
  },
  responses: {
    200: { description: "The stream", content: { "text/event-stream": { schema: z.string() } } },
    ...problemResponses(400, 401, 503),
  },
});

const exportRoute = createRoute({
  method: "get",
  path: "/v1/export",
  summary: "Everything, as JSON that can be imported",
  request: { query: z.object({ minRevision }) },
  responses: {
    200: { description: "All routes and names", ...jsonContent(exportOut) },
    ...problemResponses(401, 503),
  },
});

const namesRoute = createRoute({
  method: "get",
  path: "/v1/modules",
  summary: "What modids and cmdids are called",
  responses: { 200: { description: "All names", ...jsonContent(namesOut) }, ...problemResponses(401, 503) },
});

const agentsRoute = createRoute({
  method: "get",
  path: "/v1/agents",
  summary: "Agents connected to this instance",
  responses: { 200: { description: "The agents", ...jsonContent(agentsOut) }, ...problemResponses(401) },
});

export function routeJson(api: ApiContext, route: RouteRecord): z.infer<typeof routeOut> {
  const { modid, cmdid, revision, hosts, policy, vanishedFrom } = route;
  const name = api.replica.displayName(modid, cmdid);
  return {
    modid,
    cmdid,
    ...(name === "" ? {} : { name }),
    ...policyJson(policy),
    revision,
    ...(vanishedFrom === undefined ? {} : { vanishedFrom }),
    hosts: hosts.map(hostJson),
  };
}

/** A route as JSON, made once for each state of it: thousands may wait for the same change. */
class RouteTexts {
  readonly #api: ApiContext;
  readonly #texts = new WeakMap<RouteRecord, { readonly shownRevision: number; readonly text: string }>();

  constructor(api: ApiContext) {
    this.#api = api;
  }

  of(route: RouteRecord): string {
    // A name may change while the record stays.
    const shownRevision = this.#api.replica.shownRevision(route);
    const known = this.#texts.get(route);
    if (known?.shownRevision === shownRevision) return known.text;
    const text = JSON.stringify(routeJson(this.#api, route));
    this.#texts.set(route, { shownRevision, text });
    return text;
  }
}

export function addReads(api: ApiContext): void {
  const { app, deps, replica } = api;
  const texts = new RouteTexts(api);

  app.openapi(listRoute, async (c) => {
    const { minRevision, limit = 100, ...query } = c.req.valid("query");
    await api.awaitRoutes(minRevision);
    const { routes, more } = await listInStretches(replica, { ...query, limit });
    const last = routes.at(-1);
    return c.json(
      {
        revision: replica.revision,
        routes: routes.map(({ modid, cmdid, revision, hosts }) => {
          const name = replica.displayName(modid, cmdid);
          return { modid, cmdid, ...(name === "" ? {} : { name }), revision, hosts: hosts.length };
        }),
        ...(more && last !== undefined ? { next: formatModuleKey(last) } : {}),
      },
      200,
    );
  });

  app.openapi(getRoute, async (c) => {
    const key = c.req.valid("param");
    const { wait, revision = 0, minRevision } = c.req.valid("query");
    await api.awaitRoutes(minRevision);
    if (wait !== undefined) await waitForChange(api, key, revision, wait, c.req.raw.signal);
    const route = api.existing(key);
    const tag = replica.tag(key.modid, key.cmdid)!;
    c.header("etag", `"${tag}"`);
    c.header("cache-control", "no-cache");
    const known = parseTags(c.req.header("if-none-match"));
    if (known === "*" || known?.includes(tag)) return c.body(null, 304);
    // What the document says a typed answer is; this one is the same as text.
    return c.body(texts.of(route), 200, { "content-type": "application/json" }) as never;
  });

  app.openapi(watchRoute, async (c) => {
    const modules = watchedModules(c.req.valid("query").module);
    await api.awaitRoutes();
    const lastEventId = c.req.header("last-event-id");
    const since = lastEventId === undefined ? 0 : Number(lastEventId);
    if (!Number.isSafeInteger(since) || since < 0) {
      throw new ProblemError(400, `Last-Event-ID is ${JSON.stringify(lastEventId?.slice(0, 64))}; expected a revision`);
    }
    // HEAD gets headers alone: a stream would go on with nobody there to end it.
    if (c.req.raw.method === "HEAD") return new Response(null, { headers: { "content-type": "text/event-stream" } });
    return stream(c, api, texts, modules, since);
  });

  app.openapi(exportRoute, async (c) => {
    await api.awaitRoutes(c.req.valid("query").minRevision);
    const named = (scope: "modid" | "cmdid") =>
      [...replica.names()]
        .filter((record) => record.scope === scope && record.name !== "")
        .map(({ id, name }) => ({ id, name }))
        .sort((a, b) => a.id - b.id);
    const { routes } = replica.list({ limit: Number.MAX_SAFE_INTEGER });
    const { revision } = replica;
    const names = { modids: named("modid"), cmdids: named("cmdid") };
    const text = exportText({ format: "lars-routes", revision, names }, routes);
    // What the document says a typed answer is; this one is the same as text.
    return c.body(text, 200, { "content-type": "application/json" }) as never;
  });

  app.openapi(namesRoute, async (c) => {
    await api.awaitRoutes();
    const all = [...replica.names()].filter(({ name }) => name !== "").sort((a, b) => a.id - b.id);
    const named = (scope: "modid" | "cmdid") =>
      all.filter((record) => record.scope === scope).map(({ id, name }) => ({ id, name }));
    return c.json({ modids: named("modid"), cmdids: named("cmdid") }, 200);
  });

  app.openapi(agentsRoute, (c) => {
    // What the document says a typed answer is; this one is the same as text.
    return c.body(agentsText(deps.agents()), 200, { "content-type": "application/json" }) as never;
  });
}

/** Whether the module changed after `revision` (0: the caller knows nothing of it), which may be forgotten. */
function isNewer(replica: RouteReplica, { modid, cmdid }: ModuleKey, revision: number): boolean {
  const route = replica.route(modid, cmdid);
  return route === undefined ? revision > 0 && revision < replica.forgotten : route.revision > revision;
}

async function waitForChange(
  api: ApiContext,
  key: ModuleKey,
  revision: number,
  wait: string,
  signal: AbortSignal,
): Promise<void> {
  const { clock, watch, routes, maxAgeMs } = api.deps;
  const waitMs = parseDuration(wait);
  if (waitMs === undefined)
    throw new ProblemError(400, `wait is ${JSON.stringify(wait.slice(0, 64))}; expected a time like 30s or 500ms`);
  const deadlineMs = clock.nowMs() + Math.min(waitMs, MAX_WAIT_MS);
  // Given out by an instance that is ahead of this one: catch up. If nobody knows it, it is from before a restore, and
  // waiting for it to pass could take for ever.
  if (revision > api.replica.revision) await routes.refresh();
  if (revision > api.replica.revision) return;
  for (;;) {
    if (isNewer(api.replica, key, revision)) return;
    const leftMs = deadlineMs - clock.nowMs();
    if (leftMs <= 0 || signal.aborted) return;
    const outcome = await watch.next(key, Math.min(leftMs, maxAgeMs ?? leftMs), signal);
    if (outcome === "full") throw unavailable("too many callers wait for changes already; try again later or poll");
    if (maxAgeMs !== undefined) await routes.freshen(maxAgeMs);
  }
}

/**
 * The document as a stream, made in stretches as its reader takes them: all of a million hosts at once would be a hundred
 * megabytes, and seconds in which nobody else is served. Records are immutable, so it is of one moment all the same.
 */
function exportText(head: object, routes: readonly RouteRecord[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let at = 0;
  return new ReadableStream({
    start: (controller) => controller.enqueue(encoder.encode(`${JSON.stringify(head).slice(0, -1)},"routes":[`)),
    async pull(controller) {
      if (at > 0) await othersAreServed();
      const texts: string[] = [];
      for (let left = EXPORT_STRETCH; left > 0 && at < routes.length; at++) {
        const { modid, cmdid, name, policy, hosts } = routes[at]!;
        left -= 1 + hosts.length;
        const named = name === "" ? {} : { name };
        texts.push(JSON.stringify({ modid, cmdid, ...named, ...policyJson(policy), hosts: hosts.map(hostJson) }));
      }
      const isLast = at === routes.length;
      controller.enqueue(encoder.encode(`${texts.join(",")}${isLast ? "]}" : ","}`));
      if (isLast) controller.close();
    },
  });
}

/** A reader that takes as fast as is written would be served in one go otherwise. */
function othersAreServed(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** As `exportText`; agents that come or go while it is read are in it or not. */
function agentsText(agents: Iterable<AgentDescription>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const left = agents[Symbol.iterator]();
  let isFirst = true;
  return new ReadableStream({
    async pull(controller) {
      if (!isFirst) await othersAreServed();
      const texts: string[] = [];
      for (let i = 0; i < AGENTS_STRETCH; i++) {
        const { value, done } = left.next();
        if (done === true) break;
        const { connectedMs, ...agent } = value;
        texts.push(JSON.stringify({ ...agent, connectedSeconds: Math.round(connectedMs) / 1000 }));
      }
      const isLast = texts.length < AGENTS_STRETCH;
      const before = isFirst ? '{"agents":[' : texts.length === 0 ? "" : ",";
      isFirst = false;
      controller.enqueue(encoder.encode(`${before}${texts.join(",")}${isLast ? "]}" : ""}`));
      if (isLast) controller.close();
    },
  });
}

/** As `replica.list`, but others are served meanwhile. */
async function listInStretches(replica: RouteReplica, query: ListQuery): Promise<ListPage> {
  const found: RouteRecord[] = [];
  let { after } = query;
  for (;;) {
    const page = replica.list({ ...query, after, limit: query.limit - found.length, effort: STRETCH });
    found.push(...page.routes);
    if (page.stoppedAt === undefined) return { routes: found, more: page.more };
    after = page.stoppedAt;
    await othersAreServed();
  }
}

function watchedModules(given: string | string[]): readonly ModuleKey[] {
  const texts = (Array.isArray(given) ? given : [given]).flatMap((text) => text.split(","));
  if (texts.length > MAX_WATCHED_MODULES) {
    throw new ProblemError(
      400,
      `${texts.length} modules to watch; at most ${MAX_WATCHED_MODULES} a stream: open several`,
    );
  }
  return texts.map((text) => {
    const key = parseModuleKey(text);
    if (key === undefined)
      throw new ProblemError(400, `module is ${JSON.stringify(text.slice(0, 64))}; expected modid.cmdid`);
    return key;
  });
}

function stream(
  c: Parameters<typeof streamSSE>[0],
  api: ApiContext,
  texts: RouteTexts,
  modules: readonly ModuleKey[],
  since: number,
): Response {
  const { replica, deps } = api;
  // Modules whose route is to be sent: what a slow reader is owed is bounded by what it watches.
  const owed = new Map<string, ModuleKey>();
  let wake: (() => void) | undefined;
  const waiter: Waiter = {
    wake: ({ modid, cmdid }) => {
      owed.set(formatModuleKey({ modid, cmdid }), { modid, cmdid });
      wake?.();
    },
  };
  if (!deps.watch.watch(waiter, modules)) throw unavailable("too many callers watch already; try again later or poll");
  for (const key of modules) {
    const isOwed = since === 0 ? exists(replica.route(key.modid, key.cmdid)) : isNewer(replica, key, since);
    if (isOwed) owed.set(formatModuleKey(key), key);
  }
  return streamSSE(c, async (sse) => {
    let open = true;
    sse.onAbort(() => {
      open = false;
      wake?.();
    });
    let wroteAtMs = deps.clock.nowMs();
    try {
      while (open) {
        // In the order of their revisions, so that the last id seen is one to resume from.
        // One of which nothing is known was removed, or it would not be owed.
        const due = Array.from(
          owed.values(),
          (key) => replica.route(key.modid, key.cmdid) ?? replica.forgottenRoute(key),
        );
        owed.clear();
        for (const route of due.sort((a, b) => a.revision - b.revision)) {
          await sse.writeSSE({ event: "route", id: String(route.revision), data: texts.of(route) });
          wroteAtMs = deps.clock.nowMs();
        }
        if (owed.size > 0 || !open) continue;
        const woken = await new Promise<boolean>((resolve) => {
          const timer = setTimeout(() => resolve(false), Math.min(STREAM_PING_MS, deps.maxAgeMs ?? STREAM_PING_MS));
          wake = () => {
            clearTimeout(timer);
            resolve(true);
          };
        });
        wake = undefined;
        if (deps.maxAgeMs !== undefined) await deps.routes.freshen(deps.maxAgeMs);
        if (woken || !open || owed.size > 0 || deps.clock.nowMs() - wroteAtMs < STREAM_PING_MS) continue;
        await sse.write(": still here\n\n");
        wroteAtMs = deps.clock.nowMs();
      }
    } finally {
      deps.watch.drop(waiter);
    }
  });
}
