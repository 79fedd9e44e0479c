// A web application on Bun's server. Timeouts are here: a quiet connection is closed in the end, but not before the
// longest long poll is over.
import type { HttpApp, HttpBindings } from "./http-app.ts";

export interface HttpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly app: HttpApp;
}

export interface HttpServer {
  readonly port: number;
  readonly url: string;
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
export function serveHttp({ hostname, port, app }: HttpServerOptions): HttpServer {
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({
      hostname,
      port,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      maxRequestBodySize: MAX_BODY_BYTES,
      fetch: (request, server) => app.fetch(withHost(request), new Connection(request, server)),
    });
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on HTTP ${hostname}:${port}: ${code}; choose a free port and an address of this host`,
      {
        cause: error,
      },
    );
  }
  return {
    port: server.port!,
    url: `http://${hostname}:${server.port}`,
    async stop(graceMs) {
      const ended = server.stop(false);
      const timer = setTimeout(() => void server.stop(true), graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}
