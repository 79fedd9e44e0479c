// A web application on Bun's server. Timeouts are here: a quiet connection is closed in the end, but not before the
// longest long poll is over.
//
// A renewed certificate needs another server on the same port, since Bun fixes it when the server is made. The old one
// finishes what is under way (streams may take as long as they like) and closes connections that are idle; clients open
// others without noticing.
import type { HttpApp } from "./http-app.ts";
import type { HttpBindings } from "./http-env.ts";

export interface HttpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly app: HttpApp;
  /** Absent: plain HTTP. */
  readonly tls?: HttpTls | undefined;
}

/** PEM texts. `clientCa`: connections must show a certificate signed by one of these CAs. */
export interface HttpTls {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string | undefined;
}

export interface HttpServer {
  readonly port: number;
  readonly url: string;
  /**
   * New connections see this certificate. Returns why that failed and the old one stays, undefined when it did not.
   * @throws Error when the port could not be listened on again, with neither the new nor the old certificate
   */
  renewTls(tls: HttpTls): string | undefined;
  /** Takes no more requests; those under way get `graceMs`, then their connections are closed. */
  stop(graceMs: number): Promise<void>;
}

const IDLE_TIMEOUT_SECONDS = 120;
/** Far beyond what the applications take: they refuse with a problem that says their limit, the server without words. */
const MAX_BODY_BYTES = 256 * 1_048_576;

/** What the application is told of the connection; found out when it asks, which few requests do. */
class Connection implements HttpBindings {
  readonly #request: Request;
  readonly #server: Bun.Server<undefined>;

  constructor(request: Request, server: Bun.Server<undefined>) {
    this.#request = request;
    this.#server = server;
  }

  get address(): string | undefined {
    return this.#server.requestIP(this.#request)?.address;
  }
}

/** Without a Host header (HTTP/1.0, some health checks) the server hands over a bare path, which is no URL. */
function withHost(request: Request): Request {
  return request.url.startsWith("/") ? new Request(`http://localhost${request.url}`, request) : request;
}

/** @throws Error when the address cannot be listened on */
export function serveHttp({ hostname, port, app, tls }: HttpServerOptions): HttpServer {
  const serve = (at: number, secured: HttpTls | undefined): Bun.Server<undefined> =>
    Bun.serve({
      hostname,
      port: at,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      maxRequestBodySize: MAX_BODY_BYTES,
      ...(secured === undefined ? {} : { tls: bunTls(secured) }),
      fetch: (request, server) => app.fetch(withHost(request), new Connection(request, server)),
    });
  let server: Bun.Server<undefined>;
  let current = tls;
  try {
    server = serve(port, current);
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on HTTP ${hostname}:${port}: ${code}; choose a free port and an address of this host`,
      {
        cause: error,
      },
    );
  }
  const bound = server.port!;
  /** Servers of old certificates whose last requests are under way, and when they are over. */
  const retired = new Map<Bun.Server<undefined>, Promise<void>>();

  return {
    port: bound,
    url: `${tls === undefined ? "http" : "https"}://${hostname}:${bound}`,
    renewTls(renewed) {
      const old = server;
      retired.set(
        old,
        old.stop(false).finally(() => retired.delete(old)),
      );
      try {
        server = serve(bound, renewed);
        current = renewed;
        return undefined;
      } catch (error) {
        server = serve(bound, current);
        return `no server could be made with it: ${error instanceof Error ? error.message : String(error)}`;
      }
    },
    async stop(graceMs) {
      const servers = [server, ...retired.keys()];
      const ended = Promise.all([server.stop(false), ...retired.values()]);
      const timer = setTimeout(() => {
        for (const each of servers) void each.stop(true);
      }, graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

function bunTls({ cert, key, clientCa }: HttpTls): Bun.TLSOptions {
  if (clientCa === undefined) return { cert, key };
  return { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: true };
}
