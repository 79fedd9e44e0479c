// Accepts connections that speak frames. One connection's trouble stays its own: a protocol error closes that
// connection, an exception in the owner's code is reported and everything else goes on.
//
// With TLS a connection is one for the owner when its handshake has succeeded; until then it is a socket with a deadline.
// A renewed certificate needs another listener: Bun fixes it when the listener is made. The old one is closed first and
// the new one takes its port in the same breath, so nothing else runs in between and a port taken by somebody else is
// still noticed. Connections outlive their listener. What the kernel had queued but nobody had accepted yet is reset;
// agents try again within a moment.
import { raiseBacklog } from "./socket-options.ts";
import { TcpConnection, type TransferCounters, TurnFlusher } from "./tcp-connection.ts";
import { isTlsError, tlsFailure } from "./tls-failure.ts";
import { HandshakeGate } from "./tls-gate.ts";
import { bunServerTls, type ServerTls } from "./tls-options.ts";

export type { TcpConnection } from "./tcp-connection.ts";

/** Why a connection was closed or refused by us. */
export type ServerDropReason = "max-connections" | "protocol-error" | "tls-handshake" | "tls-timeout" | "tls-session";

export interface TcpServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly maxConnections: number;
  /** Bytes queued per connection before `send` refuses. What a peer that does not read can cost, less one frame. */
  readonly maxQueuedBytes: number;
  /** Absent: plain TCP. */
  readonly tls?: ServerTls | undefined;
  /** For a TLS handshake. Default 10 s. */
  readonly handshakeTimeoutMs?: number;
  /** With TLS: when the handshake has succeeded. */
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
  /** TLS: not TLS at all, no certificate or a bad one, no common version, hung up before the end. */
  handshakeFailures: number;
  /** TLS: silent for too long. */
  handshakeTimeouts: number;
  /** TLS listeners renewed with another certificate. */
  tlsRenewals: number;
}

export interface TcpServer {
  readonly port: number;
  readonly hostname: string;
  readonly counters: Readonly<TcpServerCounters>;
  /**
   * New connections see this certificate; those that are open stay as they are. Returns why that failed and the old
   * certificate stays, undefined when it did not.
   * @throws Error when the port could not be listened on again, with neither the new nor the old certificate
   */
  renewTls(tls: ServerTls): string | undefined;
  /** Closes the listener and every connection (what is queued is tried once). onClose has been called when it returns. */
  stop(): void;
}

type ServerSocket = Bun.Socket<TcpConnection | undefined>;
type Listener = Bun.TCPSocketListener<TcpConnection | undefined>;

const KEEPALIVE_MS = 30_000;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const BACKLOG = 16_384;

/** @throws Error when the address cannot be listened on */
export function listenTcp(options: TcpServerOptions): TcpServer {
  const counters: TcpServerCounters = {
    open: 0,
    accepted: 0,
    refused: 0,
    handshakeFailures: 0,
    handshakeTimeouts: 0,
    tlsRenewals: 0,
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

  const drop = (reason: ServerDropReason, detail: string): void => {
    if (options.onDrop !== undefined) call(options.onDrop, reason, detail);
  };
  const gate = new HandshakeGate<ServerSocket>(options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS, (socket) => {
    counters.handshakeTimeouts++;
    drop("tls-timeout", `${socket.remoteAddress} did not finish the TLS handshake in time; it may not speak TLS`);
    socket.terminate();
  });

  /** Whether one more has room; refuses it when not. */
  const hasRoom = (socket: ServerSocket): boolean => {
    if (connections.size + gate.size < options.maxConnections) return true;
    counters.refused++;
    socket.data = undefined;
    socket.terminate();
    drop("max-connections", `${options.maxConnections} connections are open already`);
    return false;
  };
  const admit = (socket: ServerSocket): void => {
    // Without these a small answer may wait for more, and a peer that lost its power is never noticed.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    const connection = new TcpConnection(nextId++, owner, socket);
    socket.data = connection;
    connections.add(connection);
    counters.accepted++;
    counters.open++;
    call(options.onOpen, connection);
  };

  const handlers = {
    binaryType: "uint8array" as const,
    open(socket: ServerSocket): void {
      if (hasRoom(socket)) admit(socket);
    },
    data(socket: ServerSocket, chunk: Uint8Array): void {
      const connection = socket.data;
      if (connection === undefined || connection.closed) return;
      const error = connection.receive(chunk);
      if (error === undefined) return;
      counters.protocolErrors++;
      drop("protocol-error", error.message);
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

  const tlsHandlers = {
    ...handlers,
    open(socket: ServerSocket): void {
      if (hasRoom(socket)) gate.add(socket);
    },
    /** `ok` says that both sides have keys. Whether the client's certificate is good is in `error`, and only if we asked. */
    handshake(socket: ServerSocket, ok: boolean, error: Error | null): void {
      if (!gate.remove(socket)) return;
      if (ok && (error === null || options.tls?.clientCa === undefined)) {
        admit(socket);
        return;
      }
      counters.handshakeFailures++;
      drop("tls-handshake", `${socket.remoteAddress}: ${tlsFailure(error)}`);
      // Not cut off: the alert that tells the peer why is on its way.
      socket.end();
    },
    close(socket: ServerSocket): void {
      if (gate.remove(socket)) counters.handshakeFailures++;
      handlers.close(socket);
    },
    error(socket: ServerSocket, error: Error): void {
      if (!isTlsError(error)) failed(error);
      else drop("tls-session", `${socket.remoteAddress}: ${tlsFailure(error)}`);
    },
  };

  const listen = (port: number, tls: ServerTls | undefined): Listener => {
    const made = Bun.listen<TcpConnection | undefined>({
      hostname: options.hostname,
      port,
      data: undefined,
      ...(tls === undefined ? {} : { tls: bunServerTls(tls) }),
      socket: (tls === undefined ? handlers : tlsHandlers) as unknown as Bun.SocketHandler<TcpConnection | undefined>,
    });
    raiseBacklog((made as { fd?: number }).fd ?? -1, BACKLOG);
    return made;
  };

  let listener: Listener;
  let { tls } = options;
  try {
    listener = listen(options.port, tls);
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on TCP ${options.hostname}:${options.port}: ${code}; choose a free port and an address of this host`,
      { cause: error },
    );
  }
  const { port } = listener;
  /** Listeners of old certificates; connections that came through them may be open. One a renewal. */
  const retired: Listener[] = [];

  return {
    port,
    hostname: options.hostname,
    counters,
    renewTls(renewed): string | undefined {
      listener.stop();
      retired.push(listener);
      try {
        listener = listen(port, renewed);
        tls = renewed;
        counters.tlsRenewals++;
        return undefined;
      } catch (error) {
        listener = listen(port, tls);
        return `no listener could be made with it: ${error instanceof Error ? error.message : String(error)}`;
      }
    },
    stop(): void {
      listener.stop();
      for (const socket of gate.clear()) socket.terminate();
      for (const connection of [...connections]) {
        connection.close();
        forget(connection);
      }
      for (const each of [...retired, listener]) each.stop(true);
    },
  };
}
