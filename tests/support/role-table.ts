// Every call of an application x every role. The calls are read from the application's own /openapi.json, so a call that
// nobody decided about is found.
import { expect } from "bun:test";
import type { HttpApp } from "../../src/platform/http-app.ts";
import { expectProblem } from "./problems.ts";

export const CALLERS = ["anonymous", "reader", "registrar", "editor", "admin"] as const;
export type CallerRole = (typeof CALLERS)[number];

/** "METHOD /path" of every call under /v1. */
export async function documentedCalls(app: HttpApp): Promise<readonly string[]> {
  const { paths } = (await (await app.request("/openapi.json")).json()) as {
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
  };
  return Object.entries(paths)
    .filter(([path]) => path.startsWith("/v1/"))
    .flatMap(([path, calls]) => Object.keys(calls).map((method) => `${method.toUpperCase()} ${path}`));
}

/** The statuses a call documents. */
export async function documentedStatuses(app: HttpApp, call: string): Promise<readonly number[]> {
  const [method, path] = call.split(" ") as [string, string];
  const document = (await (await app.request("/openapi.json")).json()) as {
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
  };
  return Object.keys(document.paths[path]![method.toLowerCase()]!.responses).map(Number);
}

/** Values for the parameters of a path; nothing there exists, and none is malformed. */
const PARAMETERS: Readonly<Record<string, string>> = {
  modid: "77",
  cmdid: "77",
  endpoint: "10.7.7.7:77",
  revision: "999999999",
  id: "nobody",
};

export interface Shown {
  readonly app: HttpApp;
  /** undefined: none is shown. */
  readonly token: string | undefined;
}

/**
 * Sends the call with a path that fits and an empty object as its body, and says what came of it. "allowed": whatever it
 * was answered, it was not for who asked.
 */
export async function outcomeOf(call: string, { app, token }: Shown): Promise<"allowed" | 401 | 403> {
  const [method, pattern] = call.split(" ") as [string, string];
  const path = pattern.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = PARAMETERS[name];
    if (value === undefined) throw new Error(`${call}: say in tests/support/role-table.ts what to put for {${name}}`);
    return value;
  });
  const aborted = new AbortController();
  const response = await app.request(path, {
    method,
    signal: aborted.signal,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(method === "GET" ? {} : { "content-type": "application/json" }),
    },
    ...(method === "GET" || method === "DELETE" ? {} : { body: "{}" }),
  });
  if (response.status === 401 || response.status === 403) {
    await expectProblem(response, response.status);
    return response.status;
  }
  aborted.abort();
  await response.body?.cancel();
  expect([200, 201, 202, 204, 304, 400, 404, 409, 412, 415, 422, 503]).toContain(response.status);
  return "allowed";
}
