// What every error answer must be: RFC 9457, complete, and telling nothing of the inside.
import { expect } from "bun:test";

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

/** Checks status and shape; returns the body. */
export async function expectProblem(response: Response, status: number): Promise<ProblemBody> {
  const text = await response.text();
  expect([response.status, text]).toEqual([status, expect.any(String)]);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(response.headers.get("x-request-id")).toBeTruthy();
  const body = JSON.parse(text) as ProblemBody;
  expect(body).toMatchObject({ type: expect.any(String), title: expect.any(String), status });
  expect(body.detail.length).toBeGreaterThan(5);
  expect(text).not.toMatch(/node_modules|\.ts:\d|at \w+ \(/);
  for (const error of body.errors ?? []) {
    expect(error).toEqual({ path: expect.any(String), message: expect.any(String) });
  }
  return body;
}
