// Everything that goes wrong over HTTP is answered in one shape, RFC 9457 problem+json, so that a caller needs one piece
// of code for errors. Handlers either return `problem(…)` or throw a ProblemError; whatever else is thrown becomes a 500
// that tells nothing about the inside.
import type { Context, TypedResponse } from "hono";

/** One thing wrong with the input. `path` like `hosts[0].port`; "" is the body itself. */
export interface InputError {
  readonly path: string;
  readonly message: string;
}

/** Members besides type, title, status and detail. */
export interface ProblemExtra {
  readonly errors?: readonly InputError[];
  readonly [member: string]: unknown;
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

export interface ProblemOptions {
  readonly title?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly extra?: ProblemExtra;
  readonly cause?: unknown;
}

/** Thrown by a handler to end the request with this answer. `detail` goes to the caller: no secrets, no internals. */
export class ProblemError extends Error {
  override name = "ProblemError";
  readonly status: number;
  readonly options: ProblemOptions;

  constructor(status: number, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.options = options;
  }

  get detail(): string {
    return this.message;
  }
}

export const PROBLEM_TYPE = "application/problem+json";

/** What stands behind a status in the first line of an answer. */
export function reasonOf(status: number): string {
  return TITLES[status] ?? "Error";
}

function bodyOf(status: number, detail: string, options: ProblemOptions): string {
  return JSON.stringify({
    type: "about:blank",
    title: options.title ?? reasonOf(status),
    status,
    detail,
    ...options.extra,
  });
}

/** The text of a problem's body. */
export function problemBody(error: ProblemError): string {
  return bodyOf(error.status, error.detail, error.options);
}

function problemResponse(status: number, detail: string, options: ProblemOptions): Response {
  return new Response(bodyOf(status, detail, options), {
    status,
    headers: { ...options.headers, "content-type": PROBLEM_TYPE },
  });
}

/** The answer of a thrown ProblemError. */
export function problemOf(error: ProblemError): Response {
  return problemResponse(error.status, error.detail, error.options);
}

/** Fits the return type of every typed handler: a problem is outside what a route declares as its success. */
export type ProblemResponse = Response & TypedResponse<never, never, never>;

/** An answer for a handler to return. */
export function problem(_c: Context, status: number, detail: string, extra?: ProblemExtra): ProblemResponse {
  return problemResponse(status, detail, extra === undefined ? {} : { extra }) as ProblemResponse;
}
