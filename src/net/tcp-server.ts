// Accepts connections that speak frames. One connection's trouble stays its own: a protocol error closes that
// connection, an exception in the owner's code is reported and everything else goes on.
import { raiseBacklog } from "./socket-options.ts";
import { TcpConnection, type TransferCounters, TurnFlusher } from "./tcp-connection.ts";

export type { TcpConnection } from "./tcp-connection.ts";

/** Why a connection was closed or refused by us. */
export type ServerDropReason = "max-connections" | "protocol-error";

export interface TcpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly maxConnections: number;
  /** Bytes queued per connection before `send` refuses. What a peer that does not read can cost, less one frame. */
  readonly maxQueuedBytes: number;
  readonly onOpen: (connection: TcpConnection) => void;
  /** `body` is a view, valid during the call only. Ids that are not known are the owner's to count. */
  readonly onFrame: (connection: TcpConnection, msgid: number, body: Uint8Array) => void;
  /** The queue of a connection that was full is empty. */
  readonly onDrain: (connection: TcpConnection) => void;
  /** Once for each connection that was opened. */
  readonly onClose: (connection: TcpConnection) => void;
  readonly onDrop?: (reason: ServerDropReason, detail: string) => void;
  /** An exception thrown by one of these callbacks. Without it they are counted only. */
  readonly onError?: (error: unknown) => void;
}

export interface TcpServerCounters extends TransferCounters {
  /** Connections there are now. */
  open: number;
  accepted: number;
  /** Over `maxConnections`. */
  refused: number;
}

export interface TcpServer {
  readonly port: number;
  readonly hostname: string;
  readonly counters: Readonly<TcpServerCounters>;
  /** Closes the listener and every connection (what is queued is tried once). onClose has been called when it returns. */
  stop(): void;
}

type ServerSocket = Bun.Socket<TcpConnection | undefined>;

const KEEPALIVE_MS = 30_000;
const BACKLOG = 16_384;

/** @throws Error when the address cannot be listened on */
export function listenTcp(options: TcpServerOptions): TcpServer {
  const counters: TcpServerCounters = {
    open: 0,
    accepted: 0,
    refused: 0,
    protocolErrors: 0,
    callbackErrors: 0,
    framesIn: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
  const connections = new Set<TcpConnection>();
  const flusher = new TurnFlusher();
  let nextId = 1;

  const failed = (error: unknown): void => {
    counters.callbackErrors++;
    try {
      options.onError?.(error);
    } catch {
      // Whoever reports errors failed to; the count above is what is left to do.
    }
  };
  const call = <A extends unknown[]>(callback: (...args: A) => void, ...args: A): void => {
    try {
      callback(...args);
    } catch (error) {
      failed(error);
    }
  };

  const owner = {
    maxQueuedBytes: options.maxQueuedBytes,
    counters,
    deliver(msgid: number, body: Uint8Array, connection: TcpConnection): void {
      try {
        options.onFrame(connection, msgid, body);
      } catch (error) {
        failed(error);
      }
    },
    drained: (connection: TcpConnection): void => call(options.onDrain, connection),
    flushLater: (connection: TcpConnection): void => flusher.add(connection),
  };

  const forget = (connection: TcpConnection): void => {
    if (!connections.delete(connection)) return;
    connection.markClosed();
    counters.open--;
    call(options.onClose, connection);
  };

  const handlers = {
    binaryType: "uint8array" as const,
    open(socket: ServerSocket): void {
      if (connections.size >= options.maxConnections) {
        counters.refused++;
        socket.data = undefined;
        socket.terminate();
        if (options.onDrop !== undefined) {
          call(options.onDrop, "max-connections", `${options.maxConnections} connections are open already`);
        }
        return;
      }
      // Without these a small answer may wait for more, and a peer that lost its power is never noticed.
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEPALIVE_MS);
      const connection = new TcpConnection(nextId++, owner, socket);
      socket.data = connection;
      connections.add(connection);
      counters.accepted++;
      counters.open++;
      call(options.onOpen, connection);
    },
    data(socket: ServerSocket, chunk: Uint8Array): void {
      const connection = socket.data;
      if (connection === undefined || connection.closed) return;
      const error = connection.receive(chunk);
      if (error === undefined) return;
      counters.protocolErrors++;
      if (options.onDrop !== undefined) call(options.onDrop, "protocol-error", error.message);
      connection.terminate();
    },
    drain(socket: ServerSocket): void {
      socket.data?.drain();
    },
    close(socket: ServerSocket): void {
      if (socket.data !== undefined) forget(socket.data);
    },
    error(_socket: ServerSocket, error: Error): void {
      failed(error);
    },
  };

  let listener: Bun.TCPSocketListener<TcpConnection | undefined>;
  try {
    listener = Bun.listen<TcpConnection | undefined>({
      hostname: options.hostname,
      port: options.port,
      data: undefined,
      socket: handlers as unknown as Bun.SocketHandler<TcpConnection | undefined>,
    });
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on TCP ${options.hostname}:${options.port}: ${code}; choose a free port and an address of this host`,
      { cause: error },
    );
  }
  raiseBacklog((listener as { fd?: number }).fd ?? -1, BACKLOG);

  return {
    port: listener.port,
    hostname: options.hostname,
    counters,
    stop(): void {
      listener.stop();
      for (const connection of [...connections]) {
        connection.close();
        forget(connection);
      }
      listener.stop(true);
    },
  };
}
