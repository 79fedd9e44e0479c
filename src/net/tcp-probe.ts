// One look at a TCP port: does it take a connection, and what does it say first? For health checks. Everything is
// bounded: one address, one deadline for all, so many bytes read; whatever comes of it, the socket is gone afterwards,
// a connection that is still being made included (which Bun.connect cannot take back, and node's sockets can).
import { connect } from "node:net";

export interface TcpProbeOptions {
  /** An IPv4 address, never a name: what was registered is what is looked at. */
  readonly ip: string;
  readonly port: number;
  /** For connection and answer together. */
  readonly timeoutMs: number;
  /** Sent once connected. undefined: a connection is all that is asked for. */
  readonly request?: Uint8Array;
  /** Read at most. */
  readonly maxBytes?: number;
  /** Whether what was read so far is enough. */
  readonly enough?: (bytes: Uint8Array) => boolean;
}

export interface TcpProbe {
  readonly connected: boolean;
  /** What it said; empty without a request. */
  readonly bytes: Uint8Array;
  /** Why it ended early: refused, timed out, reset. undefined: all went well, or the peer closed. */
  readonly error: string | undefined;
}

/** Never rejects. */
export function probeTcp(options: TcpProbeOptions): Promise<TcpProbe> {
  const { ip, port, timeoutMs, request, maxBytes = 4096, enough } = options;
  return new Promise((resolve) => {
    let connected = false;
    let bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0);
    let ended = false;
    const end = (error?: string): void => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      socket.destroy();
      resolve({ connected, bytes, error });
    };
    const timer = setTimeout(
      () => end(`${connected ? "no answer" : "no connection"} in ${timeoutMs} ms`),
      Math.max(1, timeoutMs),
    );
    const socket = connect({ host: ip, port, family: 4 });
    socket.on("connect", () => {
      connected = true;
      if (request === undefined) end();
      else socket.write(request);
    });
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk.subarray(0, maxBytes - bytes.length)]);
      if (bytes.length >= maxBytes || enough?.(bytes) === true) end();
    });
    socket.on("end", () => end());
    socket.on("close", () => end());
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}
