// Requests that thousands of callers make every second, answered before anything else of the application runs. What the
// general way does for each (a logger of its own, headers set one by one, validation, serialisation) costs 15 us, and
// the server itself needs 10; so a hot route does by itself what belongs to every answer, in as little as it takes, and
// leaves all that is not plain (a query, an error to explain, a log line wanted) to the general way.
import type { Context, Handler, Next } from "hono";
import type { Clock } from "./clock.ts";
import type { HttpEnv } from "./http-env.ts";
import { ProblemError, problemOf } from "./http-problem.ts";
import type { RequestSeries } from "./http-request-metrics.ts";
import type { Log } from "./log.ts";

export interface HotAnswer {
  /** JSON. */
  readonly body: string;
  /** Quoted. */
  readonly etag?: string;
}

type HotResult = HotAnswer | ProblemError | undefined;

export interface HotGet {
  /** The pattern, with `:name` for parameters. */
  readonly path: string;
  /** undefined: answer it the general way. Must not throw. */
  answer(c: Context<HttpEnv>): HotResult | Promise<HotResult>;
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** The caller's request id where it gave a proper one, or a new one. */
export function requestIdOf(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && REQUEST_ID.test(given) ? given : crypto.randomUUID();
}

/** A handler for `hot`; `headers` are those of every answer. */
export function hotHandler(
  hot: HotGet,
  series: RequestSeries,
  headers: Readonly<Record<string, string>>,
  clock: Clock,
  log: Log,
): Handler<HttpEnv> {
  const finish = (c: Context<HttpEnv>, answer: HotAnswer | ProblemError, startedMs: number): Response => {
    if (answer instanceof ProblemError) {
      const response = problemOf(answer);
      response.headers.set("x-request-id", requestIdOf(c.req.raw.headers));
      for (const name in headers) response.headers.set(name, headers[name]!);
      series.count(response.status, clock.nowMs() - startedMs);
      return response;
    }
    const { body, etag } = answer;
    const own: Record<string, string> = {
      "content-type": "application/json",
      "cache-control": etag === undefined ? "no-store" : "no-cache",
      "x-request-id": requestIdOf(c.req.raw.headers),
      ...headers,
    };
    if (etag !== undefined) own.etag = etag;
    series.count(200, clock.nowMs() - startedMs);
    return new Response(body, { headers: own });
  };
  return (c: Context<HttpEnv>, next: Next) => {
    if (c.req.raw.method !== "GET" || log.enabled("debug")) return next() as unknown as Response;
    const startedMs = clock.nowMs();
    const answer = hot.answer(c);
    if (answer === undefined) return next() as unknown as Response;
    if (!(answer instanceof Promise)) return finish(c, answer, startedMs);
    return answer.then((later) =>
      later === undefined ? (next() as unknown as Response) : finish(c, later, startedMs),
    );
  };
}
