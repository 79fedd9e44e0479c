// The web server around an application: what Bun's server does on its own must not show.
import { afterEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { listenHttpFront } from "../../src/net/http-front.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { createHttpApp, type HttpApp } from "../../src/platform/http-app.ts";
import type { HotCall } from "../../src/platform/http-hot.ts";
import { ProblemError } from "../../src/platform/http-problem.ts";
import { type HttpServer, type OpenHttpFront, serveHttp } from "../../src/platform/http-serve.ts";
import { silentLog } from "../../src/platform/log.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";

let server: HttpServer | undefined;
let direct: HttpServer | undefined;
afterEach(async () => {
  await server?.stop(0);
  await direct?.stop(0);
  direct = undefined;
});

function echoApp(hot: readonly HotCall[] = []): HttpApp {
  const app = createHttpApp({
    process: "test",
    version: "1",
    title: "test",
    description: "",
    log: silentLog,
    metrics: silentMetrics,
    clock: systemClock,
    ready: () => undefined,
    hot,
  });
  app.post("/echo", async (c) => c.text(await c.req.text()));
  return app;
}

function serve(): HttpServer {
  server = serveHttp({ hostname: "127.0.0.1", port: 0, app: echoApp() });
  return server;
}

function raw(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    let answer = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      answer += chunk;
      if (answer.includes("\r\n\r\n")) socket.destroy();
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", reject);
  });
}

test("a request without a Host header is answered as one with it", async () => {
  const { port } = serve();
  expect(await raw(port, "GET /healthz HTTP/1.0\r\n\r\n")).toStartWith("HTTP/1.1 200");
});

test("a body over the application's limit is refused as a problem that says the limit, however it is declared", async () => {
  const { url } = serve();
  const answer = await fetch(`${url}/echo`, { method: "POST", body: "x".repeat(3 * 1_048_576) });
  expect(answer.status).toBe(413);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(((await answer.json()) as { detail: string }).detail).toContain("1048576 bytes");
});

describe("behind a front", () => {
  const hot: HotCall = {
    method: "GET",
    path: "/v1/hot/:name",
    takesQuery: true,
    answer: ({ params, address, query }) =>
      params[0] === "left" || (query !== "" && query !== "key=a")
        ? undefined
        : params[0] === "gone"
          ? new ProblemError(503, "gone", { headers: { "retry-after": "1" } })
          : params[0] === "none"
            ? { body: undefined }
            : params[0] === "same"
              ? { body: undefined, etag: '"7"' }
              : { body: JSON.stringify({ name: params[0], address, query }), etag: '"7"' },
  };

  function serveBoth(): readonly [HttpServer, HttpServer] {
    const app = echoApp([hot]);
    app.get("/v1/hot/:name", (c) => c.json({ left: c.req.param("name"), address: c.env.address }));
    server = serveHttp({ hostname: "127.0.0.1", port: 0, app, front: listenHttpFront });
    direct = serveHttp({ hostname: "127.0.0.1", port: 0, app });
    return [server, direct];
  }

  test.each([
    "/v1/hot/a",
    "/v1/hot/none",
    "/v1/hot/same",
    "/v1/hot/gone",
    "/v1/hot/left",
    "/v1/hot/a?b",
    "/v1/nothing",
  ])("%s is answered as by a server alone, header for header, wherever the answer comes from", async (path) => {
    const [fronted, alone] = serveBoth();
    const [a, b] = await Promise.all(
      [fronted, alone].map(async ({ url }) => {
        const response = await fetch(`${url}${path}`, { headers: { "x-request-id": "mine" } });
        const { date, ...headers } = Object.fromEntries(response.headers);
        expect(Math.abs(Date.parse(date!) - Date.now())).toBeLessThan(10_000);
        return { status: response.status, reason: response.statusText, headers, body: await response.text() };
      }),
    );
    expect(a).toEqual(b!);
  });

  test("the server behind answers nobody who did not come through the front, whatever port of ours they come by", async () => {
    let behind = 0;
    const used: number[] = [];
    const open: OpenHttpFront = (options) => {
      behind = options.serverPort;
      const { callerAt, ...front } = listenHttpFront(options);
      const noting = (from: number) => {
        used.push(from);
        return callerAt(from);
      };
      return { ...front, callerAt: noting };
    };
    server = serveHttp({ hostname: "127.0.0.1", port: 0, app: echoApp([hot]), front: open });
    const { port } = server;
    expect((await fetch(`http://127.0.0.1:${behind}/healthz`)).status).toBe(403);
    // A connection that was handed on, and stays.
    const kept = connect(port, "127.0.0.1");
    kept.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    await new Promise((resolve) => kept.once("data", resolve));
    const status = await new Promise<string>((resolve, reject) => {
      const options = { host: "127.0.0.1", port: behind, localAddress: "127.0.0.2", localPort: used.at(-1)! };
      const stranger = connect(options, () => stranger.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
      stranger.once("data", (data) => {
        resolve(String(data).slice(0, 12));
        stranger.destroy();
      });
      stranger.once("error", reject);
    });
    expect(status).toBe("HTTP/1.1 403");
    kept.destroy();
  });

  test("hot calls in plain form are the front's, all else on a connection is the server's", async () => {
    const [{ url, front }, { front: none }] = serveBoth();
    expect(await (await fetch(`${url}/v1/hot/a?key=a`)).json()).toMatchObject({ query: "key=a" });
    expect(front!.counters).toMatchObject({ answered: 1, handedOn: 0 });
    await fetch(`${url}/echo`, { method: "POST", body: "x" });
    expect(front!.counters).toMatchObject({ answered: 1, handedOn: 1 });
    expect(none).toBeUndefined();
  });

  test("a port that is taken is refused with what to do", () => {
    const [{ port }] = serveBoth();
    const again = () => serveHttp({ hostname: "127.0.0.1", port, app: echoApp([hot]), front: listenHttpFront });
    expect(again).toThrow(/cannot listen on HTTP 127\.0\.0\.1:\d+: EADDRINUSE; choose a free port/);
  });
});

test("a port that is taken is refused with what to do", () => {
  const { port } = serve();
  expect(() => serveHttp({ hostname: "127.0.0.1", port, app: echoApp() })).toThrow(
    /cannot listen on HTTP 127\.0\.0\.1:\d+: EADDRINUSE; choose a free port/,
  );
});
