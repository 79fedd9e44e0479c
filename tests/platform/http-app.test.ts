import { beforeEach, describe, expect, test } from "bun:test";
import { createRoute, z } from "@hono/zod-openapi";
import { createHttpApp, type HttpApp } from "../../src/platform/http-app.ts";
import { jsonBody, jsonContent, problemResponses, readJson } from "../../src/platform/http-json.ts";
import { ProblemError, problem } from "../../src/platform/http-problem.ts";
import { endpointParam, idParam, intParam, ipField, portField, weightField } from "../../src/platform/http-schemas.ts";
import { createMetrics } from "../../src/platform/metrics.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

class Unavailable extends Error {}

const hostSchema = z.strictObject({ ip: ipField, port: portField, weight: weightField.default(100) });
const leaseSchema = z.strictObject({ ttlSeconds: z.int().min(1), hosts: z.array(hostSchema).max(1000).optional() });

/** The example of a typed route: parameters and body arrive validated, answers are checked against `responses`. */
const putLease = createRoute({
  method: "put",
  path: "/v1/routes/{modid}/{cmdid}",
  request: {
    params: z.object({ modid: idParam, cmdid: idParam }),
    query: z.object({ limit: intParam(1, 10).default(5) }),
    body: jsonBody(leaseSchema),
  },
  responses: {
    200: {
      description: "What was understood",
      ...jsonContent(z.object({ modid: z.int(), ttl: z.int(), limit: z.int(), ips: z.array(z.int()) })),
    },
    ...problemResponses(400, 404, 422),
  },
});

function makeApp(log: RecordingLog, ready: () => string | undefined, clock: ManualClock): HttpApp {
  const app = createHttpApp({
    process: "dns",
    version: "1.2.3",
    title: "Test",
    description: "An app to test with",
    log,
    metrics: createMetrics("dns"),
    clock,
    ready,
    bodyLimit: 1000,
    bodyLimits: { "/v1/import": 5000 },
    problemFor: (error) => (error instanceof Unavailable ? new ProblemError(503, "the database is away") : undefined),
  });
  app.openapi(putLease, (c) => {
    const { modid, cmdid } = c.req.valid("param");
    const { limit } = c.req.valid("query");
    const { ttlSeconds, hosts } = c.req.valid("json");
    if (cmdid === 404) return problem(c, 404, "there is no module 1.404", { modid });
    return c.json({ modid, ttl: ttlSeconds, limit, ips: (hosts ?? []).map((host) => host.ip) }, 200);
  });
  app.post("/v1/import", async (c) => c.json(await readJson(c, z.union([leaseSchema, z.array(leaseSchema)]))));
  app.get("/v1/hosts/:endpoint", (c) => {
    const endpoint = endpointParam.safeParse(c.req.param("endpoint"));
    return c.json(endpoint.data ?? {});
  });
  app.get("/v1/id", (c) => {
    c.get("log").info("handled");
    return c.text(c.get("requestId"));
  });
  app.get("/v1/bug", () => {
    throw new TypeError("cannot read secret hunter2");
  });
  app.get("/v1/odd", () => {
    throw "a string";
  });
  app.get("/v1/away", () => {
    throw new Unavailable("ECONNREFUSED 10.0.0.1");
  });
  app.get("/v1/refuse", () => {
    throw new ProblemError(429, "slow down", {
      title: "Too fast",
      headers: { "retry-after": "3" },
      extra: { limit: 7 },
    });
  });
  app.get("/v1/elsewhere", () => Response.redirect("http://example.org/", 302));
  app.get("/v1/own-policy", (c) => c.text("x", 200, { "content-security-policy": "default-src 'none'", server: "me" }));
  return app;
}

let log: RecordingLog;
let clock: ManualClock;
let why: string | undefined;
let app: HttpApp;
beforeEach(() => {
  log = new RecordingLog();
  clock = new ManualClock();
  why = undefined;
  app = makeApp(log, () => why, clock);
});

const JSON_TYPE = { "content-type": "application/json" };
const put = (path: string, body: string, headers: Record<string, string> = JSON_TYPE) =>
  app.request(path, { method: "PUT", headers, body });

interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  errors?: { path: string; message: string }[];
  [extra: string]: unknown;
}

async function problemBody(response: Response | Promise<Response>): Promise<ProblemBody> {
  const answer = await response;
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const body = (await answer.json()) as ProblemBody;
  expect(body.status).toBe(answer.status);
  expect(body.type).toBe("about:blank");
  return body;
}

describe("a typed route", () => {
  test("gets parameters, query and body validated and converted", async () => {
    const answer = await put(
      "/v1/routes/4294967295/-2?limit=7",
      '{"ttlSeconds":30,"hosts":[{"ip":"192.168.0.1","port":80}]}',
    );
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ modid: -1, ttl: 30, limit: 7, ips: [-1062731775] });
  });

  test("takes the proto's own snake_case names", async () => {
    expect(await (await put("/v1/routes/1/2", '{"ttl_seconds":30}')).json()).toMatchObject({ ttl: 30 });
  });

  test("may return a problem", async () => {
    expect(await problemBody(put("/v1/routes/1/404", '{"ttlSeconds":30}'))).toEqual({
      type: "about:blank",
      title: "Not Found",
      status: 404,
      detail: "there is no module 1.404",
      modid: 1,
    });
  });
});

describe("wrong input is told as a problem with the path of each error", () => {
  const rows: [title: string, path: string, body: string, status: number, errors: [string, string | RegExp][]][] = [
    ["a path that is no integer", "/v1/routes/x/2", "{}", 400, [["modid", /^expected a 32-bit integer.*got "x"$/]]],
    ["an id too large", "/v1/routes/4294967296/2", "{}", 400, [["modid", /32-bit/]]],
    [
      "a query out of range",
      "/v1/routes/1/2?limit=11",
      '{"ttlSeconds":1}',
      400,
      [["limit", 'expected an integer from 1 to 10, got "11"']],
    ],
    ["a query given twice", "/v1/routes/1/2?limit=1&limit=2", '{"ttlSeconds":1}', 400, [["limit", /string/]]],
    ["a missing field", "/v1/routes/1/2", "{}", 422, [["ttlSeconds", "missing; expected number"]]],
    ["an unknown field", "/v1/routes/1/2", '{"ttlSeconds":1,"ttl":2}', 422, [["ttl", "unknown field"]]],
    [
      "a field spelt both ways",
      "/v1/routes/1/2",
      '{"ttlSeconds":1,"ttl_seconds":1}',
      422,
      [["ttlSeconds", "given twice, as ttlSeconds and as ttl_seconds"]],
    ],
    [
      "a nested field spelt both ways",
      "/v1/import",
      '{"ttlSeconds":1,"hosts":[{"a_b":1,"aB":2}]}',
      422,
      [["hosts[0].aB", /given twice/]],
    ],
    [
      "nested fields",
      "/v1/routes/1/2",
      '{"ttlSeconds":1,"hosts":[{"ip":"1.2.3.4","port":1},{"ip":"1.2.3","port":0,"x":1}]}',
      422,
      [
        ["hosts[1].ip", /dotted IPv4.*"1\.2\.3"/],
        ["hosts[1].port", /./],
        ["hosts[1].x", "unknown field"],
      ],
    ],
    ["a list for an object", "/v1/routes/1/2", "[]", 422, [["", /object/]]],
    ["null", "/v1/routes/1/2", "null", 422, [["", /object/]]],
    ["one of a list", "/v1/import", '[{"ttlSeconds":1},{"ttlSeconds":"x"}]', 422, [["[1].ttlSeconds", /number/]]],
    ["an object where a list is possible too", "/v1/import", '{"ttlSeconds":1,"zz":1}', 422, [["zz", "unknown field"]]],
    ["neither object nor list", "/v1/import", "3", 422, [["", /./]]],
    [
      "nesting without end",
      "/v1/import",
      `${"[".repeat(400)}${"]".repeat(400)}`,
      422,
      [[`${"[0]".repeat(32)}`, /more than 32 levels/]],
    ],
    [
      "a prototype's name",
      "/v1/routes/1/2",
      '{"ttlSeconds":1,"__proto__":{"a":1}}',
      422,
      [["__proto__", "unknown field"]],
    ],
  ];
  test.each(rows)("%s", async (_title, path, body, status, errors) => {
    const method = path.startsWith("/v1/import") ? "POST" : "PUT";
    const answer = await problemBody(app.request(path, { method, headers: JSON_TYPE, body }));
    expect(answer.status).toBe(status);
    expect(answer.errors?.map((error) => error.path)).toEqual(errors.map(([at]) => at));
    for (const [i, [, message]] of errors.entries()) {
      const told = answer.errors![i]!.message;
      if (typeof message === "string") expect(told).toBe(message);
      else expect(told).toMatch(message);
    }
  });

  test.each(["{", "", '{"a":1}}', "\u0000"])("a body that is not JSON (%p) is 400", async (body) => {
    for (const path of ["/v1/routes/1/2", "/v1/import"]) {
      const method = path === "/v1/import" ? "POST" : "PUT";
      const answer = await problemBody(app.request(path, { method, headers: JSON_TYPE, body }));
      expect([answer.status, answer.detail]).toEqual([400, expect.stringContaining("not well-formed JSON")]);
    }
  });

  test.each([{}, { "content-type": "text/plain" }, { "content-type": "application/x-www-form-urlencoded" }] as Record<
    string,
    string
  >[])("a body that is not declared as JSON (%p) is 415 and says what to send", async (headers) => {
    for (const path of ["/v1/routes/1/2", "/v1/import"]) {
      const method = path === "/v1/import" ? "POST" : "PUT";
      const answer = await problemBody(app.request(path, { method, headers, body: '{"ttlSeconds":1}' }));
      expect([answer.status, answer.detail]).toEqual([415, expect.stringContaining("Content-Type: application/json")]);
    }
  });

  test("JSON with a charset, or another JSON type, is JSON", async () => {
    for (const type of ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]) {
      expect(
        (
          await app.request("/v1/import", {
            method: "POST",
            headers: { "content-type": type },
            body: '{"ttlSeconds":1}',
          })
        ).status,
      ).toBe(200);
    }
  });

  test("a thousand errors are told as the first 20", async () => {
    const body = JSON.stringify({ ttlSeconds: 1, hosts: Array.from({ length: 150 }, () => ({})) });
    const answer = await problemBody(app.request("/v1/import", { method: "POST", headers: JSON_TYPE, body }));
    expect(answer.errors).toHaveLength(20);
    expect(answer.detail).toContain("the first ones are listed");
  });
});

describe("bodies are limited", () => {
  const big = (size: number) => JSON.stringify({ ttlSeconds: 1, pad: "x".repeat(size) });

  test("to the limit, or to that of their path", async () => {
    const answer = await problemBody(put("/v1/routes/1/2", big(1000)));
    expect([answer.status, answer.detail]).toEqual([
      413,
      "the body is larger than 1000 bytes, the limit here; send less at a time",
    ]);
    const post = (size: number) => app.request("/v1/import", { method: "POST", headers: JSON_TYPE, body: big(size) });
    expect((await post(4000)).status).toBe(422);
    expect((await post(5000)).status).toBe(413);
  });

  test("also when their length is not told", async () => {
    const chunks = Array.from({ length: 20 }, () => new TextEncoder().encode("x".repeat(100)));
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = chunks.pop();
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const request = new Request("http://x/v1/routes/1/2", { method: "PUT", headers: JSON_TYPE, body });
    expect((await problemBody(app.request(request))).status).toBe(413);
  });
});

describe("what is not there", () => {
  test("an unknown path is 404", async () => {
    const answer = await problemBody(app.request("/nothing/here"));
    expect([answer.status, answer.detail]).toEqual([
      404,
      "there is nothing at /nothing/here; /docs lists what there is",
    ]);
  });

  test.each([
    ["DELETE", "/v1/routes/1/2", "PUT"],
    ["GET", "/v1/import", "POST"],
    ["HEAD", "/v1/import", "POST"],
    ["POST", "/healthz", "GET, HEAD"],
  ])("%s %s is 405 and allows %s", async (method, path, allow) => {
    const answer = await app.request(path, { method });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, allow]);
    if (method !== "HEAD")
      expect((await problemBody(answer)).detail).toBe(`${method} is not possible here; allowed: ${allow}`);
  });
});

describe("faults inside", () => {
  test("are 500 without a word about the inside, and in the log with the request id", async () => {
    const answer = await app.request("/v1/bug", { headers: { "x-request-id": "r-1" } });
    const text = await answer.clone().text();
    expect(text).not.toMatch(/hunter2|TypeError|\.ts/);
    expect(await problemBody(answer)).toMatchObject({ status: 500, requestId: "r-1" });
    const line = log.lines.find((each) => each.level === "error");
    expect(line).toMatchObject({
      message: "request failed",
      fields: { requestId: "r-1", method: "GET", path: "/v1/bug" },
    });
    expect(line?.fields.error).toBeInstanceOf(TypeError);
  });

  test("thrown things that are no errors are 500 too", async () => {
    expect((await problemBody(app.request("/v1/odd"))).status).toBe(500);
  });

  test("that the process knows become its answer, and are no errors in the log", async () => {
    expect(await problemBody(app.request("/v1/away"))).toMatchObject({ status: 503, detail: "the database is away" });
    expect(log.lines.filter((line) => line.level === "error")).toEqual([]);
  });

  test("a ProblemError carries title, headers and further members", async () => {
    const answer = await app.request("/v1/refuse");
    expect(answer.headers.get("retry-after")).toBe("3");
    expect(await problemBody(answer)).toEqual({
      type: "about:blank",
      title: "Too fast",
      status: 429,
      detail: "slow down",
      limit: 7,
    });
  });
});

describe("every answer", () => {
  test("carries the caller's request id, which the handler and the log have too", async () => {
    const answer = await app.request("/v1/id", { headers: { "x-request-id": "abc-1.2:3_4" } });
    expect([answer.headers.get("x-request-id"), await answer.text()]).toEqual(["abc-1.2:3_4", "abc-1.2:3_4"]);
    expect(log.lines[0]).toMatchObject({ message: "handled", fields: { requestId: "abc-1.2:3_4" } });
  });

  test.each(["", "a b", "ä", "<script>", "x".repeat(129)])(
    "has an id of ours when the caller's is not fit (%p)",
    async (id) => {
      const answer = await app.request("/v1/id", { headers: { "x-request-id": encodeURI(id) === id ? id : "a b" } });
      expect(answer.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    },
  );

  test.each(["/healthz", "/nothing", "/v1/bug", "/v1/odd", "/v1/elsewhere", "/docs"])(
    "of %s has the security headers and an id, and names no server",
    async (path) => {
      const { headers } = await app.request(path);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toContain("default-src 'self'");
      expect(headers.get("x-frame-options")).toBe("DENY");
      expect(headers.get("x-request-id")).toBeTruthy();
      expect(headers.has("server")).toBe(false);
    },
  );

  test("keeps a policy of its own, and still names no server", async () => {
    const { headers } = await app.request("/v1/own-policy");
    expect(headers.get("content-security-policy")).toBe("default-src 'none'");
    expect(headers.has("server")).toBe(false);
  });

  test("is written to the log at debug with method, path, status and time", async () => {
    await app.request("/v1/hosts/1.2.3.4:5");
    expect(log.lines.at(-1)).toMatchObject({
      level: "debug",
      message: "request",
      fields: { method: "GET", path: "/v1/hosts/1.2.3.4:5", status: 200, ms: 0 },
    });
  });

  test("to HEAD is that to GET without a body", async () => {
    const answer = await app.request("/healthz", { method: "HEAD" });
    expect([answer.status, await answer.text(), answer.headers.get("x-content-type-options")]).toEqual([
      200,
      "",
      "nosniff",
    ]);
  });
});

describe("health and metrics", () => {
  test("/healthz is 200 as long as the process lives", async () => {
    why = "no routes yet";
    const answer = await app.request("/healthz");
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ok" }]);
  });

  test("/readyz says why the process cannot serve", async () => {
    expect((await app.request("/readyz")).status).toBe(200);
    why = "no routes yet: the database cannot be reached";
    expect(await problemBody(app.request("/readyz"))).toMatchObject({ status: 503, title: "Not ready", detail: why });
  });

  test("/metrics counts by method, route pattern and status, never by path", async () => {
    await app.request("/v1/hosts/1.2.3.4:5");
    await app.request("/v1/hosts/1.2.3.4:6");
    await app.request("/v1/bug");
    await app.request("/random/1");
    await app.request("/random/2", { method: "PROPFIND" });
    const text = await (await app.request("/metrics")).text();
    expect(text).toContain('lars_dns_http_requests_total{method="GET",route="/v1/hosts/:endpoint",status="200"} 2\n');
    expect(text).toContain('lars_dns_http_requests_total{method="GET",route="/v1/bug",status="500"} 1\n');
    expect(text).toContain('lars_dns_http_requests_total{method="GET",route="(unmatched)",status="404"} 1\n');
    expect(text).toContain('lars_dns_http_requests_total{method="other",route="(unmatched)",status="404"} 1\n');
    expect(text).toContain(
      'lars_dns_http_request_duration_seconds_count{method="GET",route="/v1/hosts/:endpoint"} 2\n',
    );
    expect(text).not.toMatch(/random|1\.2\.3\.4/);
  });
});

describe("documentation", () => {
  test("/openapi.json is OpenAPI 3.1 with the schemas of the routes", async () => {
    const document = (await (await app.request("/openapi.json")).json()) as {
      openapi: string;
      info: unknown;
      paths: Record<
        string,
        Record<string, { parameters: unknown[]; requestBody: unknown; responses: Record<string, unknown> }>
      >;
    };
    expect(document.openapi).toBe("3.1.0");
    expect(document.info).toEqual({ title: "Test", version: "1.2.3", description: "An app to test with" });
    const operation = document.paths["/v1/routes/{modid}/{cmdid}"]!.put!;
    expect(operation.parameters[0]).toMatchObject({
      name: "modid",
      in: "path",
      required: true,
      schema: { type: "integer" },
    });
    expect(operation.requestBody).toMatchObject({
      required: true,
      content: {
        "application/json": {
          schema: {
            required: ["ttlSeconds"],
            additionalProperties: false,
            properties: { hosts: { items: { properties: { ip: { type: "string", format: "ipv4" } } } } },
          },
        },
      },
    });
    expect(Object.keys(operation.responses)).toEqual(["200", "400", "404", "422"]);
    expect(operation.responses["404"]).toMatchObject({
      content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
    });
  });

  test("/docs is a page that loads nothing from elsewhere and runs no inline script", async () => {
    const page = await (await app.request("/docs")).text();
    const loaded = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
    expect(loaded).toEqual(["docs/docs.css", "docs/docs.js", "openapi.json"]);
    for (const path of loaded) expect((await app.request(`/${path}`)).status).toBe(200);
    expect(page).not.toMatch(/<script[^>]*>[^<]|\sstyle=|\son\w+=/);
    const script = await (await app.request("/docs/docs.js")).text();
    expect(() => new Bun.Transpiler({ loader: "js" }).transformSync(script)).not.toThrow();
    expect(script).not.toMatch(/innerHTML|eval\(|https?:/);
  });
});
