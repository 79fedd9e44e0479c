import { afterAll, describe, expect, test } from "bun:test";
import { checkHealth } from "../../src/agent/health-check.ts";
import { parseIp } from "../../src/core/endpoint.ts";
import { freePorts } from "../support/lars-processes.ts";

const LOOPBACK = parseIp("127.0.0.1")!;
const stops: (() => void)[] = [];
afterAll(() => {
  for (const stop of stops) stop();
});

/** A server that says `said` to every request (or nothing), byte by byte if `slowly`. */
function rawServer(said: string | undefined, onData?: (text: string) => void): number {
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, data) {
        onData?.(data.toString());
        if (said !== undefined) socket.write(said);
      },
    },
  });
  stops.push(() => server.stop(true));
  return server.port;
}

const http = (port: number, path: string | undefined = "/healthz", timeoutMs = 300) =>
  checkHealth({ ip: LOOPBACK, port, path, timeoutMs });

describe("HTTP", () => {
  test("2xx and 3xx pass, others fail and say their status; a redirect is not followed", async () => {
    let followed = 0;
    const elsewhere = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(String(++followed)) });
    const seen: string[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        const { pathname } = new URL(request.url);
        seen.push(`${request.method} ${pathname} ${request.headers.get("host")}`);
        const status = Number(pathname.slice(1));
        return new Response(status === 204 ? null : "body", {
          status,
          headers: status === 302 ? { location: `http://127.0.0.1:${elsewhere.port}/` } : {},
        });
      },
    });
    stops.push(
      () => server.stop(true),
      () => elsewhere.stop(true),
    );
    const port = server.port!;
    for (const status of [200, 204, 302, 399]) expect(await http(port, `/${status}`)).toEqual({ passed: true });
    for (const status of [400, 404, 500, 503]) {
      expect(await http(port, `/${status}`)).toEqual({
        passed: false,
        reason: `GET http://127.0.0.1:${port}/${status}: status ${status}, expected 200 to 399`,
      });
    }
    expect(seen[0]).toBe(`GET /200 127.0.0.1:${port}`);
    expect(followed).toBe(0);
  });

  test("a service that takes the connection and says nothing fails after the time-out, a port without one at once", async () => {
    const startedMs = performance.now();
    const hanging = rawServer(undefined);
    expect(await http(hanging)).toEqual({
      passed: false,
      reason: `GET http://127.0.0.1:${hanging}/healthz: no answer in 300 ms`,
    });
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(295);
    const closed = await freePorts(1);
    expect(await http(closed)).toMatchObject({ passed: false, reason: expect.stringContaining("ECONNREFUSED") });
  });

  test("what is not HTTP fails; an answer in pieces or after interim ones is understood; a body without end is not read", async () => {
    expect(await http(rawServer("SSH-2.0-OpenSSH_9\r\n"))).toMatchObject({
      reason: expect.stringContaining("is not HTTP"),
    });
    expect(await http(rawServer("HTTP/1."))).toMatchObject({ reason: expect.stringContaining("no answer in") });
    expect(await http(rawServer("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"))).toEqual({
      passed: true,
    });
    expect((await http(rawServer(`HTTP/1.1 ${"x".repeat(20_000)}`))).passed).toBe(false);
    let bytes = 0;
    const endless = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () =>
        new Response(
          new ReadableStream({
            pull(controller) {
              bytes += 65_536;
              controller.enqueue(new Uint8Array(65_536));
            },
          }),
        ),
    });
    stops.push(() => endless.stop(true));
    expect(await http(endless.port!)).toEqual({ passed: true });
    expect(bytes).toBeLessThan(64 * 1_048_576);
  });
});

test("TCP: a connection is enough, whatever is said or not; none fails", async () => {
  const spoken: string[] = [];
  const port = rawServer(undefined, (text) => spoken.push(text));
  const tcp = (port: number) => checkHealth({ ip: LOOPBACK, port, path: undefined, timeoutMs: 300 });
  expect(await tcp(port)).toEqual({ passed: true });
  expect(spoken).toEqual([]);
  const closed = await freePorts(1);
  expect(await tcp(closed)).toEqual({
    passed: false,
    reason: `TCP 127.0.0.1:${closed}: ECONNREFUSED`,
  });
});

test("400 services that hang do not delay the check of the 401st", async () => {
  const hanging = rawServer(undefined);
  const well = rawServer("HTTP/1.1 200 OK\r\n\r\n");
  const hung = Array.from({ length: 400 }, () => http(hanging, "/", 1000));
  const startedMs = performance.now();
  expect(await http(well)).toEqual({ passed: true });
  expect(performance.now() - startedMs).toBeLessThan(500);
  expect((await Promise.all(hung)).every(({ passed }) => !passed)).toBe(true);
});
