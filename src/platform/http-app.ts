// The web application every process starts from: what is the same on each of them (request ids, errors, limits, headers,
// health, metrics, documentation) stands here once, and a process adds its routes. Portable: it knows requests and
// responses, no server.
//
// Callers pick hosts through this, so the common part of a request is one middleware without closures, parsing or
// formatting it does not need.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, ErrorHandler, Next } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { matchedRoutes } from "hono/route";
import type { Clock } from "./clock.ts";
import { addDocs } from "./http-docs.ts";
import type { HttpBindings, HttpEnv } from "./http-env.ts";
import { type FailedCall, type HotCall, HotCalls, requestIdOf } from "./http-hot.ts";
import { inputErrors, invalidInput, JSON_TYPE_HINT, malformedJson } from "./http-json.ts";
import { ProblemError, problemOf } from "./http-problem.ts";
import { RequestMetrics } from "./http-request-metrics.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics-port.ts";

export type HttpApp = OpenAPIHono<HttpEnv>;

export interface HttpAppOptions {
  readonly process: string;
  readonly version: string;
  readonly title: string;
  readonly description: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Why the process cannot serve now; undefined when it can. */
  readonly ready: () => string | undefined;
  /** Largest body in bytes. Default 1 MiB. */
  readonly bodyLimit?: number;
  /** Other limits, by exact path. */
  readonly bodyLimits?: Readonly<Record<string, number>>;
  /** Turns known exceptions of the process (the database is away) into answers. */
  readonly problemFor?: (error: unknown) => ProblemError | undefined;
  /** Answered before all else where they can be (http-hot.ts). Each has its general route too. */
  readonly hot?: readonly HotCall[];
}

const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const BODILESS: readonly string[] = ["GET", "HEAD"];
export const CONTENT_SECURITY_POLICY =
  "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const SECURITY_HEADERS: readonly (readonly [string, string])[] = [
  ["content-security-policy", CONTENT_SECURITY_POLICY],
  ["x-content-type-options", "nosniff"],
  ["x-frame-options", "DENY"],
  ["referrer-policy", "no-referrer"],
  ["cross-origin-resource-policy", "same-origin"],
];

/** See the file's head. Add routes to what it returns; the last of them must be there before the first request. */
export function createHttpApp(options: HttpAppOptions): HttpApp {
  const app: HttpApp = new OpenAPIHono<HttpEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const errors = inputErrors(result.error.issues);
      if (result.target === "json" || result.target === "form") throw invalidInput(422, "body", errors);
      throw invalidInput(400, result.target === "param" ? "path" : result.target, errors);
    },
  });
  const requests = new RequestMetrics(options.metrics);
  const general = app.fetch;
  const hot = new HotCalls({
    calls: options.hot ?? [],
    series: ({ method, path }) => requests.of(method, path),
    headers: Object.fromEntries(SECURITY_HEADERS),
    clock: options.clock,
    log: options.log,
    problemFor: (error, failed, requestId) =>
      problemFor(options, error) ?? unexpected(options.log.with({ requestId }), error, failed, requestId),
  });
  hotCalls.set(app, hot);
  app.fetch = (request, bindings, context) =>
    hot.answer(request, bindings as HttpBindings | undefined, (plain) => general(plain, bindings, context));
  app.use("*", frame(options, requests));
  app.onError(errorAnswer(options));
  app.notFound((c) => unmatched(app, c));
  addHealth(app, options);
  addDocs(app, options);
  return app;
}

const hotCalls = new WeakMap<HttpApp, HotCalls>();

/** The application's hot calls, for whoever reads requests by himself. */
export function hotCallsOf(app: HttpApp): HotCalls {
  return hotCalls.get(app)!;
}

/** What surrounds every request. */
function frame(options: HttpAppOptions, requests: RequestMetrics) {
  const { log, clock } = options;
  const limits = new Map<string, ReturnType<typeof limitBody>>();
  for (const [path, bytes] of Object.entries(options.bodyLimits ?? {})) limits.set(path, limitBody(bytes));
  const limit = limitBody(options.bodyLimit ?? 1_048_576);
  const answer = errorAnswer(options);

  return async (c: Context<HttpEnv>, next: Next): Promise<void> => {
    const startedMs = clock.nowMs();
    const requestId = requestIdOf(c.req.raw.headers);
    c.set("requestId", requestId);
    c.set("log", log.with({ requestId }));
    try {
      if (BODILESS.includes(c.req.method)) await next();
      else {
        const refused = await (limits.get(c.req.path) ?? limit)(c, next);
        if (refused instanceof Response) c.res = refused;
      }
    } catch (thrown) {
      c.res = await answer(thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`), c);
    }
    addHeaders(c, requestId);
    const { status } = c.res;
    const elapsedMs = clock.nowMs() - startedMs;
    requests.of(c.req.raw.method, routeOf(c)).count(status, elapsedMs);
    if (log.enabled("debug")) {
      c.get("log").debug("request", { method: c.req.raw.method, path: c.req.path, status, ms: elapsedMs });
    }
  };
}

function addHeaders(c: Context, requestId: string): void {
  try {
    c.res.headers.set("x-request-id", requestId);
  } catch {
    // A response passed on from elsewhere has headers that cannot be changed.
    c.res = new Response(c.res.body, c.res);
    c.res.headers.set("x-request-id", requestId);
  }
  const { headers } = c.res;
  for (const [name, value] of SECURITY_HEADERS) if (!headers.has(name)) headers.set(name, value);
  headers.delete("server");
}

function limitBody(bytes: number) {
  return bodyLimit({
    maxSize: bytes,
    onError: () =>
      problemOf(new ProblemError(413, `the body is larger than ${bytes} bytes, the limit here; send less at a time`)),
  });
}

const UNMATCHED = "(unmatched)";

/** The pattern of the route that answered, never the path: label values must be few. */
function routeOf(c: Context): string {
  const path = matchedRoutes(c).at(-1)?.path;
  return path === undefined || path === "/*" || path === "*" ? UNMATCHED : path;
}

function errorAnswer(options: HttpAppOptions): ErrorHandler<HttpEnv> {
  return (error, c) => {
    const known = problemFor(options, error) ?? libraryProblem(error, c);
    if (known !== undefined) return problemOf(known);
    const { method, url, signal } = c.req.raw;
    const failed = { method, path: new URL(url).pathname, aborted: signal.aborted };
    return problemOf(unexpected(c.get("log") ?? options.log, error, failed, c.get("requestId")));
  };
}

/** What the process says of an error it foresaw. */
function problemFor(options: HttpAppOptions, error: unknown): ProblemError | undefined {
  return error instanceof ProblemError ? error : options.problemFor?.(error);
}

function unexpected(log: Log, error: unknown, failed: FailedCall, requestId: string): ProblemError {
  const where = { method: failed.method, path: failed.path, error };
  if (failed.aborted) log.debug("the caller went away", where);
  else log.error("request failed", where);
  return new ProblemError(500, "something went wrong inside; the log has it under this request id", {
    extra: { requestId },
  });
}

/** Exceptions of the web library in our words. */
function libraryProblem(error: Error, c: Context): ProblemError | undefined {
  if (!(error instanceof HTTPException)) return undefined;
  if (error.status === 415) {
    const type = c.req.header("content-type");
    return new ProblemError(
      415,
      `Content-Type is ${type === undefined ? "missing" : JSON.stringify(type)}; ${JSON_TYPE_HINT}`,
    );
  }
  if (error.status === 400 && /malformed json/i.test(error.message)) return new ProblemError(400, malformedJson());
  return error.status >= 500
    ? undefined
    : new ProblemError(error.status, error.message || "the request cannot be served");
}

/** No route answered: is it the path or only the method? */
function unmatched(app: HttpApp, c: Context): Response {
  const path = c.req.path;
  const allowed = METHODS.filter((method) => answers(app, method, path));
  if (allowed.length === 0 || allowed.includes(c.req.method)) {
    return problemOf(new ProblemError(404, `there is nothing at ${path.slice(0, 200)}; /docs lists what there is`));
  }
  if (allowed.includes("GET") && !allowed.includes("HEAD")) allowed.splice(allowed.indexOf("GET") + 1, 0, "HEAD");
  const allow = allowed.join(", ");
  return problemOf(
    new ProblemError(405, `${c.req.method} is not possible here; allowed: ${allow}`, { headers: { allow } }),
  );
}

function answers(app: HttpApp, method: string, path: string): boolean {
  return app.router.match(method, path)[0].some(([[, route]]) => route.method === method);
}

function addHealth(app: HttpApp, options: HttpAppOptions): void {
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const why = options.ready();
    if (why === undefined) return c.json({ status: "ok" });
    return problemOf(new ProblemError(503, why, { title: "Not ready" }));
  });
  app.get("/metrics", async (c) =>
    c.body(await options.metrics.render(), 200, { "content-type": options.metrics.contentType }),
  );
}
