// Which requests are hot, by their method and path, and what becomes of those that are not.
import { describe, expect, test } from "bun:test";
import { type HotCall, HotCalls, type HotRequest, type HotResult } from "../../src/platform/http-hot.ts";
import { ProblemError } from "../../src/platform/http-problem.ts";
import { RequestSeries } from "../../src/platform/http-request-metrics.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

function rig(answer: (call: HotRequest, path: string) => HotResult | Promise<HotResult>) {
  const paths = ["PUT /v1/a/:id/beat", "PUT /v1/a/:id", "GET /v1/b/:x/:y", "POST /v1/c"];
  const calls: HotCall[] = paths.map((text) => {
    const [method, path] = text.split(" ") as ["GET" | "PUT" | "POST", string];
    return { method, path, answer: (call) => answer(call, path) };
  });
  const series = new RequestSeries("PUT", "all");
  const hot = new HotCalls({
    calls,
    series: () => series,
    headers: { "x-frame-options": "DENY" },
    clock: new ManualClock(),
    log: new RecordingLog([], {}, false),
    problemFor: (error) => new ProblemError(503, `failed: ${(error as Error).message}`),
  });
  const ask = async (method: string, path: string, init: RequestInit = {}): Promise<Response> =>
    await hot.answer(
      new Request(`http://127.0.0.1:1${path}`, { ...init, method }),
      undefined,
      async (request) => new Response(`general ${await request.text()}`),
    );
  return { ask, series };
}

describe("a pattern", () => {
  const { ask } = rig(({ params }, path) => ({ body: `${path} ${params}` }));
  test.each([
    ["PUT", "/v1/a/1", "/v1/a/:id 1"],
    ["PUT", "/v1/a/x:80", "/v1/a/:id x:80"],
    ["PUT", "/v1/a/1/beat", "/v1/a/:id/beat 1"],
    ["GET", "/v1/b/1/2", "/v1/b/:x/:y 1,2"],
    ["POST", "/v1/c", "/v1/c "],
  ])("is met by %s %s", async (method, path, body) => {
    expect(await (await ask(method, path)).text()).toBe(body);
  });

  test.each([
    ["GET", "/v1/a/1"],
    ["POST", "/v1/a/1"],
    ["HEAD", "/v1/b/1/2"],
    ["PUT", "/v1/a"],
    ["PUT", "/v1/a/"],
    ["PUT", "/v1/a/1/"],
    ["PUT", "/v1/a//beat"],
    ["PUT", "/v1/a/1/beat/"],
    ["PUT", "/v1/a/1/beats"],
    ["PUT", "/v1/a/1?x=1"],
    ["PUT", "/v1/a/%31"],
    ["GET", "/v1/b/1"],
    ["GET", "/v1/b/1/"],
    ["GET", "/v1/b//2"],
    ["GET", "/v1/b/1/2/3"],
    ["GET", "/"],
    ["GET", "/v1/c"],
    ["POST", "/v1/c/"],
    ["POST", "/v1/cc"],
    ["POST", "/v1/c?x=1"],
  ])("is not met by %s %s, which goes the general way", async (method, path) => {
    expect(await (await ask(method, path)).text()).toBe("general ");
  });
});

test("what is left to the general way comes there with its body, also after it was read", async () => {
  const body = "terms";
  const untouched = rig(() => undefined);
  expect(await (await untouched.ask("PUT", "/v1/a/1", { body })).text()).toBe("general terms");
  const read = rig(async (call) => {
    expect(await call.text()).toBe(body);
    return undefined;
  });
  expect(await (await read.ask("PUT", "/v1/a/1", { body })).text()).toBe("general terms");
  expect([untouched.series.statuses.size, read.series.statuses.size]).toEqual([0, 0]);
});

test("answers, refusals and failures carry the request id and the headers of all answers, and are counted", async () => {
  const { ask, series } = rig(async ({ params }) => {
    if (params[0] === "lost") throw new Error("away");
    return params[0] === "gone" ? new ProblemError(404, "gone") : { body: "{}" };
  });
  const headers = { "x-request-id": "mine" };
  for (const [id, status] of [
    ["here", 200],
    ["gone", 404],
    ["lost", 503],
  ] as const) {
    const response = await ask("PUT", `/v1/a/${id}`, { headers });
    expect([response.status, response.headers.get("x-request-id")]).toEqual([status, "mine"]);
    expect(response.headers.get("x-frame-options")).toBe("DENY");
  }
  expect([...series.statuses]).toEqual([
    [200, 1],
    [404, 1],
    [503, 1],
  ]);
});

test("answers that are all under way at once have the request id and the entity tag of their own", async () => {
  const { ask } = rig(({ params }) => ({
    body: params.join(),
    ...(params[1] === "2" ? {} : { etag: `"${params[0]}"` }),
  }));
  const all = await Promise.all(
    ["7/1", "8/2", "9/1"].map((at) => ask("GET", `/v1/b/${at}`, { headers: { "x-request-id": at.replace("/", "-") } })),
  );
  const headers = ["x-request-id", "etag", "cache-control", "content-type", "x-frame-options"];
  expect(all.map((response) => headers.map((name) => response.headers.get(name)))).toEqual([
    ["7-1", '"7"', "no-cache", "application/json", "DENY"],
    ["8-2", null, "no-store", "application/json", "DENY"],
    ["9-1", '"9"', "no-cache", "application/json", "DENY"],
  ]);
  all[0]!.headers.set("x-frame-options", "changed");
  expect((await ask("GET", "/v1/b/7/1")).headers.get("x-frame-options")).toBe("DENY");
});
