// A web application on Bun's server. Timeouts are here: a quiet connection is closed in the end, but not before the
// longest long poll is over.
//
// A renewed certificate needs another server on the same port, since Bun fixes it when the server is made. The old one
// finishes what is under way (streams may take as long as they like) and closes connections that are idle; clients open
// others without noticing.
//
// Where the application has hot calls and there is no TLS, a front may take the port and answer those that come in the
// plainest form; the server then stands behind it, on loopback, and knows the callers by the front's word.
import { exposeEvents } from "./event-counts.ts";
import { type HttpApp, hotCallsOf } from "./http-app.ts";
import type { HttpBindings } from "./http-env.ts";
import type { PlainAnswer, PlainCall } from "./http-hot.ts";
import type { Metrics } from "./metrics-port.ts";

export interface HttpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly app: HttpApp;
  /** Absent: plain HTTP. */
  readonly tls?: HttpTls | undefined;
  /** Opens a front for hot calls (src/net/http-front.ts). Absent: the server answers all. */
  readonly front?: OpenHttpFront;
}

/** @throws Error when the address cannot be listened on; its `code` says why */
export type OpenHttpFront = (options: {
  readonly hostname: string;
  readonly port: number;
  readonly serverPort: number;
  readonly answer: (
    call: PlainCall,
    address: () => string,
  ) => PlainAnswer | Promise<PlainAnswer | undefined> | undefined;
  readonly idleTimeoutMs: number;
}) => HttpFront;

export interface HttpFront {
  readonly port: number;
  readonly counters: object;
  readonly connections: number;
  /** Of the caller whose connection to the server comes from this port. */
  callerAt(port: number): string | undefined;
  /** Takes no more connections and closes those that the server does not have. Resolves when all are closed. */
  stop(): Promise<void>;
  terminate(): void;
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
  /** undefined: there is none. */
  readonly front: HttpFront | undefined;
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
const LIMITS = { idleTimeout: IDLE_TIMEOUT_SECONDS, maxRequestBodySize: MAX_BODY_BYTES } as const;

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

/** Where the server behind a front listens, and its callers come from. */
const LOOPBACK = "127.0.0.1";

type BunServer = Bun.Server<undefined>;

function serve(options: HttpServerOptions, tls: HttpTls | undefined): BunServer {
  const { hostname, port, app } = options;
  return Bun.serve({
    ...LIMITS,
    hostname,
    port,
    ...(tls === undefined ? {} : { tls: bunTls(tls) }),
    fetch: (request, server) => app.fetch(withHost(request), new Connection(request, server)),
  });
}

/** A server that answers nobody but the callers of a front, and the front. */
function serveBehindFront({ hostname, port, app }: HttpServerOptions, open: OpenHttpFront): [BunServer, HttpFront] {
  const hot = hotCallsOf(app);
  const server: BunServer = Bun.serve({
    ...LIMITS,
    hostname: LOOPBACK,
    port: 0,
    fetch(request, own) {
      const peer = own.requestIP(request);
      // Ports alone would let a stranger in who comes from another loopback address by a port that we use.
      const address = peer?.address === LOOPBACK ? front.callerAt(peer.port) : undefined;
      return address === undefined ? new Response(null, { status: 403 }) : app.fetch(withHost(request), { address });
    },
  });
  let front: HttpFront;
  try {
    front = open({
      hostname,
      port,
      serverPort: server.port!,
      answer: (call, address) => hot.reply(call, address),
      idleTimeoutMs: IDLE_TIMEOUT_SECONDS * 1000,
    });
  } catch (error) {
    void server.stop(true);
    throw error;
  }
  return [server, front];
}

/** @throws Error when the address cannot be listened on */
export function serveHttp(options: HttpServerOptions): HttpServer {
  const { hostname, port, app, tls } = options;
  let server: BunServer;
  let front: HttpFront | undefined;
  let current = tls;
  try {
    if (options.front !== undefined && tls === undefined && hotCallsOf(app).size > 0) {
      [server, front] = serveBehindFront(options, options.front);
    } else server = serve(options, current);
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on HTTP ${hostname}:${port}: ${code}; choose a free port and an address of this host`,
      {
        cause: error,
      },
    );
  }
  const bound = front?.port ?? server.port!;
  /** Servers of old certificates whose last requests are under way, and when they are over. */
  const retired = new Map<BunServer, Promise<void>>();

  return {
    port: bound,
    url: `${tls === undefined ? "http" : "https"}://${hostname}:${bound}`,
    front,
    renewTls(renewed) {
      const old = server;
      retired.set(
        old,
        old.stop(false).finally(() => retired.delete(old)),
      );
      try {
        server = serve({ ...options, port: bound }, renewed);
        current = renewed;
        return undefined;
      } catch (error) {
        server = serve({ ...options, port: bound }, current);
        return `no server could be made with it: ${error instanceof Error ? error.message : String(error)}`;
      }
    },
    async stop(graceMs) {
      const servers = [server, ...retired.keys()];
      const ended = Promise.all([front?.stop(), server.stop(false), ...retired.values()]);
      const timer = setTimeout(() => {
        for (const each of servers) void each.stop(true);
        front?.terminate();
      }, graceMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Nothing where there is no front. */
export function exposeFront(metrics: Metrics, { front }: HttpServer): void {
  if (front === undefined) return;
  exposeEvents(
    metrics,
    "http_front_events_total",
    "Requests answered before the HTTP server, connections handed on to it, connections closed as idle",
    front.counters,
  );
  metrics.gaugeFrom("http_front_connections", "Open HTTP connections", () => front.connections);
}

function bunTls({ cert, key, clientCa }: HttpTls): Bun.TLSOptions {
  if (clientCa === undefined) return { cert, key };
  return { cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: true };
}
