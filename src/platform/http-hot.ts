// Requests that thousands of callers make every second, answered before anything else of the application runs. What the
// general way does for each (a chain of handlers, a logger of its own, headers set one by one, validation,
// serialisation) costs 40 us, and the server itself needs 10; so a hot call does by itself what belongs to every answer,
// in as little as it takes, and leaves all that is not plain (a query, an error to explain, a log line wanted) to the
// general way, which every hot call has too.
import type { Clock } from "./clock.ts";
import type { HttpBindings } from "./http-env.ts";
import { ProblemError, problemOf } from "./http-problem.ts";
import type { RequestSeries } from "./http-request-metrics.ts";
import type { Log } from "./log.ts";
import { newRequestId } from "./request-id.ts";

export interface HotRequest {
  readonly request: Request;
  readonly bindings: HttpBindings | undefined;
  /** What stands for the pattern's parameters, in its order; none is empty or has an escape. */
  readonly params: readonly string[];
  readonly requestId: string;
}

export interface HotAnswer {
  /** JSON. */
  readonly body: string;
  /** Quoted. */
  readonly etag?: string;
}

/** undefined: answer it the general way; so does a request, which is the same whose body was read. */
export type HotResult = HotAnswer | ProblemError | Request | undefined;

export interface HotCall {
  readonly method: "GET" | "PUT";
  /** The pattern, with `:name` for parameters. */
  readonly path: string;
  /** Must not throw; may reject. */
  answer(call: HotRequest): HotResult | Promise<HotResult>;
}

type General = (request: Request) => Response | Promise<Response>;

export interface HotOptions {
  readonly calls: readonly HotCall[];
  readonly series: (call: HotCall) => RequestSeries;
  /** Of every answer. */
  readonly headers: Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Log;
  /** The answer to a call that failed with `error`. */
  readonly problemFor: (error: unknown, request: Request, requestId: string) => ProblemError;
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** The caller's request id where it gave a proper one, or a new one. */
export function requestIdOf(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && REQUEST_ID.test(given) ? given : newRequestId();
}

interface Known {
  readonly call: HotCall;
  readonly series: RequestSeries;
  /** All before the first parameter. */
  readonly prefix: string;
  /** What follows it: a literal, or undefined for a parameter. */
  readonly rest: readonly (string | undefined)[];
  /** Of answers with an entity tag, and of those without: all that is the same in each. */
  readonly tagged: SharedInit;
  readonly untagged: SharedInit;
}

/**
 * The same object for every answer, with the names and values that differ set just before a Response is made, which
 * copies it: the server's own copying takes a third of what reading ten names and values out of an object does.
 */
interface SharedInit {
  readonly headers: Headers;
}

function sharedInit(call: HotCall, headers: Readonly<Record<string, string>>, cacheControl: string): SharedInit {
  const own: Record<string, string> = { "content-type": "application/json", ...headers };
  if (call.method === "GET") own["cache-control"] = cacheControl;
  return { headers: new Headers(own) };
}

function known(call: HotCall, series: RequestSeries, headers: Readonly<Record<string, string>>): Known {
  const first = call.path.indexOf(":");
  const rest = call.path.slice(first).split("/");
  return {
    call,
    series,
    prefix: call.path.slice(0, first),
    rest: rest.map((segment) => (segment.startsWith(":") ? undefined : segment)),
    tagged: sharedInit(call, headers, "no-cache"),
    untagged: sharedInit(call, headers, "no-store"),
  };
}

/** The parameters of the path at `start` of `url`, under the pattern's prefix; undefined: it is not of this pattern. */
function paramsOf(url: string, start: number, { prefix, rest }: Known): readonly string[] | undefined {
  const params: string[] = [];
  let from = start + prefix.length;
  for (let i = 0; i < rest.length; i++) {
    const slash = url.indexOf("/", from);
    const isLast = i === rest.length - 1;
    if (slash < 0 !== isLast) return undefined;
    const segment = url.slice(from, isLast ? url.length : slash);
    const literal = rest[i];
    if (literal === undefined ? segment === "" : segment !== literal) return undefined;
    if (literal === undefined) params.push(segment);
    from = slash + 1;
  }
  return params;
}

export class HotCalls {
  readonly #options: HotOptions;
  readonly #byMethod: Readonly<Record<string, readonly Known[]>>;

  constructor(options: HotOptions) {
    this.#options = options;
    const of = (method: string) =>
      options.calls
        .filter((call) => call.method === method)
        .map((call) => known(call, options.series(call), options.headers));
    this.#byMethod = { GET: of("GET"), PUT: of("PUT") };
  }

  /** Answers a request, by `general` what is not hot. */
  answer(request: Request, bindings: HttpBindings | undefined, general: General): Response | Promise<Response> {
    const { clock, log } = this.#options;
    const calls = this.#byMethod[request.method];
    if (calls === undefined || calls.length === 0) return general(request);
    const { url } = request;
    const start = url.indexOf("/", 8);
    for (const candidate of calls) {
      if (start < 0 || !url.startsWith(candidate.prefix, start)) continue;
      // A query is the general way's to read, and so is an escape.
      if (url.includes("?", start) || url.includes("%", start) || log.enabled("debug")) break;
      const params = paramsOf(url, start, candidate);
      if (params === undefined) continue;
      const startedMs = clock.nowMs();
      const call: HotRequest = { request, bindings, params, requestId: requestIdOf(request.headers) };
      const result = candidate.call.answer(call);
      if (result === undefined) break;
      if (!(result instanceof Promise)) return this.#finish(candidate, call, result, startedMs, general);
      return result.then(
        (later) => this.#finish(candidate, call, later, startedMs, general),
        (error: unknown) => {
          const problem = this.#options.problemFor(error, request, call.requestId);
          return this.#finish(candidate, call, problem, startedMs, general);
        },
      );
    }
    return general(request);
  }

  #finish(
    { series, tagged, untagged }: Known,
    { request, requestId }: HotRequest,
    result: HotResult,
    startedMs: number,
    general: General,
  ): Response | Promise<Response> {
    const { clock, headers } = this.#options;
    if (result === undefined) return general(request);
    if (result instanceof Request) return general(result);
    if (result instanceof ProblemError) {
      const response = problemOf(result);
      response.headers.set("x-request-id", requestId);
      for (const name in headers) response.headers.set(name, headers[name]!);
      series.count(response.status, clock.nowMs() - startedMs);
      return response;
    }
    const { body, etag } = result;
    const init = etag === undefined ? untagged : tagged;
    init.headers.set("x-request-id", requestId);
    if (etag !== undefined) init.headers.set("etag", etag);
    series.count(200, clock.nowMs() - startedMs);
    return new Response(body, init);
  }
}
