import { afterEach, expect, test } from "bun:test";
import { connect } from "node:tls";
import { systemClock } from "../../src/platform/clock.ts";
import { createHttpApp, type HttpApp } from "../../src/platform/http-app.ts";
import { type HttpServer, type HttpTls, serveHttp } from "../../src/platform/http-serve.ts";
import { silentLog } from "../../src/platform/log.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { TlsAuthority } from "../support/tls-authority.ts";

const authority = new TlsAuthority();
let server: HttpServer | undefined;
afterEach(async () => {
  await server?.stop(0);
});

/** What a stream sends next. */
let push: (text: string) => void = () => {};

function streamingApp(): HttpApp {
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
  app.get("/stream", () => {
    const body = new ReadableStream<string>({
      start(controller) {
        push = (text) => controller.enqueue(text);
      },
    });
    push("begun ");
    return new Response(body);
  });
  return app;
}

function serve(tls: HttpTls): HttpServer {
  server = serveHttp({ hostname: "127.0.0.1", port: 0, app: streamingApp(), tls });
  return server;
}

const trust = { tls: { ca: authority.ca } };

function shownBy(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca: authority.ca }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("https is served to who trusts the CA; who does not, and plain HTTP, get nothing", async () => {
  const { url, port } = serve(authority.issue());
  expect(url).toBe(`https://127.0.0.1:${port}`);
  expect((await fetch(`${url}/healthz`, trust)).status).toBe(200);
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow();
  expect((await fetch(`${url}/healthz`, trust)).status).toBe(200);
});

test("with a client CA only those with a certificate of it are answered", async () => {
  const { url } = serve({ ...authority.issue(), clientCa: authority.ca });
  const stranger = new TlsAuthority().issue();
  await expect(fetch(`${url}/healthz`, trust)).rejects.toThrow();
  await expect(fetch(`${url}/healthz`, { tls: { ca: authority.ca, ...stranger } })).rejects.toThrow();
  expect((await fetch(`${url}/healthz`, { tls: { ca: authority.ca, ...authority.issue() } })).status).toBe(200);
});

test("a renewed certificate is shown to new connections while a stream begun before goes on, until stop ends it", async () => {
  const { url, port, renewTls, stop } = serve(authority.issue({ name: "first" }));
  const stream = await fetch(`${url}/stream`, trust);
  const reader = stream.body!.getReader();
  const decoder = new TextDecoder();
  const next = async (): Promise<string> => decoder.decode((await reader.read()).value);
  expect(await next()).toBe("begun ");
  expect(renewTls(authority.issue({ name: "second" }))).toBeUndefined();
  expect(await shownBy(port)).toBe("second");
  push("and on");
  expect(await next()).toBe("and on");
  expect((await fetch(`${url}/healthz`, trust)).status).toBe(200);
  expect(() => serveHttp({ hostname: "127.0.0.1", port, app: streamingApp() })).toThrow("EADDRINUSE");
  // The stream would go on for ever: the grace period ends it.
  await stop(10);
  await reader.read().then(
    ({ done }) => expect(done).toBe(true),
    () => {},
  );
});

test("a certificate that no server can be made with is refused with a reason, and the old one is shown still", async () => {
  const { port, renewTls } = serve(authority.issue({ name: "first" }));
  expect(renewTls({ cert: authority.issue().cert, key: authority.issue().key })).toContain("KEY_VALUES_MISMATCH");
  expect(await shownBy(port)).toBe("first");
});
