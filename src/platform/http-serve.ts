// A web application on Bun's server. Timeouts are here: a quiet connection is closed in the end, but not before the
// longest long poll is over.
import type { HttpApp } from "./http-app.ts";

export interface HttpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly app: HttpApp;
  /** Largest body taken from the network, whatever the application then says. Bytes. */
  readonly maxBodyBytes: number;
}

export interface HttpServer {
  readonly port: number;
  readonly url: string;
  /** Takes no more requests; those under way get `graceMs`, then their connections are closed. */
  stop(graceMs: number): Promise<void>;
}

const IDLE_TIMEOUT_SECONDS = 120;

/** @throws Error when the address cannot be listened on */
export function serveHttp({ hostname, port, app, maxBodyBytes }: HttpServerOptions): HttpServer {
  let server: Bun.Server<undefined>;
  try {
    server = Bun.serve({
      hostname,
      port,
      idleTimeout: IDLE_TIMEOUT_SECONDS,
      maxRequestBodySize: maxBodyBytes,
      fetch: (request) => app.fetch(request),
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
