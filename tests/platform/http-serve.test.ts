// The web server around an application: what Bun's server does on its own must not show.
import { afterEach, expect, test } from "bun:test";
import { connect } from "node:net";
import { systemClock } from "../../src/platform/clock.ts";
import { createHttpApp, type HttpApp } from "../../src/platform/http-app.ts";
import { type HttpServer, serveHttp } from "../../src/platform/http-serve.ts";
import { silentLog } from "../../src/platform/log.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";

let server: HttpServer | undefined;
afterEach(async () => {
  await server?.stop(0);
});

function echoApp(): HttpApp {
  const app = createHttpApp({
    process: "test",
    version: "1",
    title: "test",
    description: "",
    log: silentLog,
    metrics: silentMetrics,
    clock: systemClock,
    ready: () => undefined,
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

test("a port that is taken is refused with what to do", () => {
  const { port } = serve();
  expect(() => serveHttp({ hostname: "127.0.0.1", port, app: echoApp() })).toThrow(
    /cannot listen on HTTP 127\.0\.0\.1:\d+: EADDRINUSE; choose a free port/,
  );
});
