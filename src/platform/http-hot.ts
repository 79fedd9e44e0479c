// Requests that thousands of callers make every second, answered before anything else of the application runs. What the
// general way does for each (a chain of handlers, a logger of its own, headers set one by one, validation,
// serialisation) costs 40 us, and the server itself needs 10; so a hot call does by itself what belongs to every answer,
// in as little as it takes, and leaves all that is not plain (a query, an error to explain, a log line wanted) to the
// general way, which every hot call has too.
import type { Clock } from "./clock.ts";
import type { HttpBindings } from "./http-env.ts";
import { PROBLEM_TYPE, ProblemError, problemBody, problemOf, reasonOf } from "./http-problem.ts";
import type { RequestSeries } from "./http-request-metrics.ts";
import type { Log } from "./log.ts";
import { newRequestId } from "./request-id.ts";

export type HotHeader = "authorization" | "content-type" | "if-none-match";

export interface HotRequest {
  /** What stands for the pattern's parameters, in its order; none is empty or has an escape. */
  readonly params: readonly string[];
  /** What stands behind the question mark, of letters, digits and `-._~=&`; "": nothing. */
  readonly query: string;
  readonly requestId: string;
  /** The caller's; undefined where the runtime does not tell. */
  readonly address: string | undefined;
  header(name: HotHeader): string | undefined;
  readonly hasBody: boolean;
  /** Bytes of the body; undefined where that is not said before it comes. */
  readonly bodyBytes: number | undefined;
  /** The body, once. The request can be left to the general way after that too. */
  text(): string | Promise<string>;
}

export interface HotAnswer {
  /** JSON; undefined: none, and the status is 304 with an entity tag, else 204. */
  readonly body: string | undefined;
  /** Of the body, in UTF-8, where that is known without looking. */
  readonly bytes?: number;
  /** Quoted. */
  readonly etag?: string;
}

/** undefined: answer it the general way. */
export type HotResult = HotAnswer | ProblemError | undefined;

/** A request whose bytes were read by somebody who answers with bytes (src/net/http-front.ts). */
export interface PlainCall {
  readonly method: string;
  /** No escape. */
  readonly path: string;
  readonly query: string;
  /** "" for headers that were not given. */
  readonly requestId: string;
  readonly authorization: string;
  readonly contentType: string;
  readonly ifNoneMatch: string;
  readonly body: string;
}

/** `head` ends with a whole line; what is missing is the length of the body and an empty line. */
export interface PlainAnswer {
  readonly head: string;
  /** undefined: there is none, nor has it a length. */
  readonly body: string | undefined;
  /** Of the body, in UTF-8; undefined: not known. */
  readonly bytes: number | undefined;
}

export interface HotCall {
  readonly method: "GET" | "PUT" | "POST";
  /** The pattern, with `:name` for parameters, if it has any. */
  readonly path: string;
  /** Whether it is asked about queries too, where they are read as text. */
  readonly takesQuery?: boolean;
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
  readonly problemFor: (error: unknown, failed: FailedCall, requestId: string) => ProblemError;
}

/** Of a call that failed: what the log says of it. */
export interface FailedCall {
  readonly method: string;
  readonly path: string;
  /** The caller has gone away. */
  readonly aborted: boolean;
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

function properId(given: string | null): string {
  return given !== null && REQUEST_ID.test(given) ? given : newRequestId();
}

/** The caller's request id where it gave a proper one, or a new one. */
export function requestIdOf(headers: Headers): string {
  return properId(headers.get("x-request-id"));
}

interface Known {
  readonly call: HotCall;
  readonly series: RequestSeries;
  /** All before the first parameter. */
  readonly prefix: string;
  /** What follows it: a literal, or undefined for a parameter. */
  readonly rest: readonly (string | undefined)[];
  /** Of answers with an entity tag, and of those without: all that is the same in each. */
  readonly tagged: SharedHead;
  readonly untagged: SharedHead;
  /** Of answers without a body: 204, and 304. */
  readonly bodiless: SharedHead;
  readonly unchanged: SharedHead;
}

/**
 * `headers`: the same object for every answer, with the names and values that differ set just before a Response is made,
 * which copies it: the server's own copying takes a third of what reading ten names and values out of an object does.
 */
interface SharedHead {
  readonly status: number;
  readonly init: { readonly headers: Headers; readonly status: number };
  readonly text: string;
}

function headerLine(name: string, value: string): string {
  return `${name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase())}: ${value}\r\n`;
}

const REASONS = { 200: "OK", 204: "No Content", 304: "Not Modified" } as const;

function sharedHead(status: keyof typeof REASONS, headers: Readonly<Record<string, string>>): SharedHead {
  const lines = Object.entries(headers).map(([name, value]) => headerLine(name, value));
  return {
    status,
    init: { headers: new Headers(headers), status },
    text: `HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}`,
  };
}

function known(call: HotCall, series: RequestSeries, headers: Readonly<Record<string, string>>): Known {
  const first = call.path.indexOf(":");
  const rest = first < 0 ? [] : call.path.slice(first).split("/");
  const json = { "content-type": "application/json", ...headers };
  const isRead = call.method === "GET";
  return {
    call,
    series,
    prefix: first < 0 ? call.path : call.path.slice(0, first),
    rest: rest.map((segment) => (segment.startsWith(":") ? undefined : segment)),
    tagged: sharedHead(200, isRead ? { ...json, "cache-control": "no-cache" } : json),
    untagged: sharedHead(200, isRead ? { ...json, "cache-control": "no-store" } : json),
    bodiless: sharedHead(204, headers),
    unchanged: sharedHead(304, { ...headers, "cache-control": "no-cache" }),
  };
}

/** What is the same in all answers of that kind. */
function headOf({ tagged, untagged, bodiless, unchanged }: Known, { body, etag }: HotAnswer): SharedHead {
  if (body === undefined) return etag === undefined ? bodiless : unchanged;
  return etag === undefined ? untagged : tagged;
}

/** The parameters of the path at `start` of `url`, under the pattern's prefix; undefined: it is not of this pattern. */
function paramsOf(url: string, start: number, { prefix, rest }: Known): readonly string[] | undefined {
  const params: string[] = [];
  let from = start + prefix.length;
  if (rest.length === 0) return url.length === from ? params : undefined;
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

/** What a call is told of a request as the server hands it over. */
class FetchedCall implements HotRequest {
  readonly query = "";
  readonly #request: Request;
  readonly #bindings: HttpBindings | undefined;
  #read: string | undefined;

  constructor(
    request: Request,
    bindings: HttpBindings | undefined,
    readonly params: readonly string[],
    readonly requestId: string,
  ) {
    this.#request = request;
    this.#bindings = bindings;
  }

  get address(): string | undefined {
    return this.#bindings?.address;
  }

  get hasBody(): boolean {
    return this.#request.body !== null;
  }

  get bodyBytes(): number | undefined {
    const length = this.#request.headers.get("content-length");
    return length === null ? undefined : Number(length);
  }

  header(name: HotHeader): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  async text(): Promise<string> {
    this.#read = await this.#request.text();
    return this.#read;
  }

  /** For the general way: with its body, also when that was read. */
  left(): Request {
    if (this.#read === undefined) return this.#request;
    const { url, method, headers } = this.#request;
    return new Request(url, { method, headers, body: this.#read });
  }
}

/** What a call is told of a request that was read as text. */
class ReadCall implements HotRequest {
  readonly query: string;
  readonly #address: () => string | undefined;
  readonly #authorization: string;
  readonly #contentType: string;
  readonly #ifNoneMatch: string;
  readonly #body: string;

  constructor(
    { query, authorization, contentType, ifNoneMatch, body }: PlainCall,
    address: () => string | undefined,
    readonly params: readonly string[],
    readonly requestId: string,
  ) {
    this.query = query;
    this.#address = address;
    this.#authorization = authorization;
    this.#contentType = contentType;
    this.#ifNoneMatch = ifNoneMatch;
    this.#body = body;
  }

  get address(): string | undefined {
    return this.#address();
  }

  get hasBody(): boolean {
    return this.#body !== "";
  }

  /** It is ASCII. */
  get bodyBytes(): number {
    return this.#body.length;
  }

  header(name: HotHeader): string | undefined {
    const value =
      name === "authorization" ? this.#authorization : name === "content-type" ? this.#contentType : this.#ifNoneMatch;
    return value === "" ? undefined : value;
  }

  text(): string {
    return this.#body;
  }
}

export class HotCalls {
  readonly #options: HotOptions;
  readonly #byMethod: Readonly<Record<string, readonly Known[]>>;
  #second = -1;
  #date = "";

  constructor(options: HotOptions) {
    this.#options = options;
    const of = (method: string) =>
      options.calls
        .filter((call) => call.method === method)
        .map((call) => known(call, options.series(call), options.headers));
    this.#byMethod = { GET: of("GET"), PUT: of("PUT"), POST: of("POST") };
  }

  /** Whether there are any. */
  get size(): number {
    return this.#options.calls.length;
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
      const call = new FetchedCall(request, bindings, params, requestIdOf(request.headers));
      const finish = (result: HotResult): Response | Promise<Response> =>
        result === undefined ? general(call.left()) : this.#response(candidate, call.requestId, result, startedMs);
      const result = candidate.call.answer(call);
      if (!(result instanceof Promise)) return finish(result);
      return result.then(finish, (error: unknown) => {
        const failed = { method: request.method, path: url.slice(start), aborted: request.signal.aborted };
        return finish(this.#options.problemFor(error, failed, call.requestId));
      });
    }
    return general(request);
  }

  #response(known: Known, requestId: string, result: HotAnswer | ProblemError, startedMs: number): Response {
    const { clock, headers } = this.#options;
    const { series } = known;
    if (result instanceof ProblemError) {
      const response = problemOf(result);
      response.headers.set("x-request-id", requestId);
      for (const name in headers) response.headers.set(name, headers[name]!);
      series.count(response.status, clock.nowMs() - startedMs);
      return response;
    }
    const { body, etag } = result;
    const { init } = headOf(known, result);
    init.headers.set("x-request-id", requestId);
    if (etag !== undefined) init.headers.set("etag", etag);
    series.count(init.status, clock.nowMs() - startedMs);
    return new Response(body ?? null, init);
  }

  /** Answers a request that was read elsewhere, as text. undefined: it goes the general way. */
  reply(
    plain: PlainCall,
    address: () => string | undefined,
  ): PlainAnswer | Promise<PlainAnswer | undefined> | undefined {
    const { method, path } = plain;
    const calls = this.#byMethod[method];
    if (calls === undefined || this.#options.log.enabled("debug")) return undefined;
    for (const candidate of calls) {
      if (!path.startsWith(candidate.prefix)) continue;
      const params = paramsOf(path, 0, candidate);
      if (params === undefined) continue;
      if (plain.query !== "" && candidate.call.takesQuery !== true) return undefined;
      const startedMs = this.#options.clock.nowMs();
      const call = new ReadCall(plain, address, params, properId(plain.requestId === "" ? null : plain.requestId));
      const result = candidate.call.answer(call);
      if (!(result instanceof Promise)) return this.#text(candidate, call.requestId, result, startedMs);
      return result.then(
        (later) => this.#text(candidate, call.requestId, later, startedMs),
        (error: unknown) => {
          const problem = this.#options.problemFor(error, { method, path, aborted: false }, call.requestId);
          return this.#text(candidate, call.requestId, problem, startedMs);
        },
      );
    }
    return undefined;
  }

  #text(known: Known, requestId: string, result: HotResult, startedMs: number): PlainAnswer | undefined {
    if (result === undefined) return undefined;
    const { clock, headers } = this.#options;
    const { series } = known;
    const last = `x-request-id: ${requestId}\r\n${this.#dateLine()}`;
    if (result instanceof ProblemError) {
      const { status, options } = result;
      const own = { "content-type": PROBLEM_TYPE, ...options.headers, ...headers };
      const lines = Object.entries(own).map(([name, value]) => headerLine(name, value));
      series.count(status, clock.nowMs() - startedMs);
      return {
        head: `HTTP/1.1 ${status} ${reasonOf(status)}\r\n${lines.join("")}${last}`,
        body: problemBody(result),
        bytes: undefined,
      };
    }
    const { body, bytes, etag } = result;
    const { text, status } = headOf(known, result);
    series.count(status, clock.nowMs() - startedMs);
    const head = etag === undefined ? text + last : `${text}ETag: ${etag}\r\n${last}`;
    return { head, body, bytes };
  }

  #dateLine(): string {
    const second = Math.floor(this.#options.clock.wallMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#date = `Date: ${new Date(second * 1000).toUTCString()}\r\n`;
    }
    return this.#date;
  }
}
