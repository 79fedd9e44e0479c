// A TCP server for messages behind a length of two bytes, one answer a question, as DNS over TCP has them. What a peer
// can cost is bounded on every side: connections, the length of a message, questions that wait for their answers, answers
// that are not read, and how long it may be silent. Whoever goes beyond is cut off, for it breaks no promise made to it:
// askers of DNS connect again.

export interface PrefixedServerOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  readonly maxConnections: number;
  /** Of a message that comes in. Answers may have 65,535 bytes. */
  readonly maxMessageBytes: number;
  /** Questions of one connection whose answers are not written yet. */
  readonly maxUnanswered: number;
  /** Without a whole message for this long, and nothing to answer, a connection is closed. Checked every second. */
  readonly idleTimeoutMs: number;
  readonly nowMs: () => number;
  /** `message` is a copy of its own. Undefined: no answer. Answers leave in the order in which they are ready. */
  readonly answer: (message: Uint8Array) => Promise<Uint8Array | undefined>;
  /** What `answer` threw, and errors of sockets. */
  readonly onError: (error: unknown) => void;
}

export interface PrefixedCounters {
  accepted: number;
  /** Over `maxConnections`. */
  refused: number;
  /** Messages too long, too many questions at once, or answers that nobody read. */
  cutOff: number;
  timedOut: number;
}

export interface PrefixedServer {
  readonly port: number;
  readonly connections: number;
  readonly counters: Readonly<PrefixedCounters>;
  /** Closes the listener and all connections. */
  stop(): void;
}

type Socket = Bun.Socket<PrefixedConnection | undefined>;

const SWEEP_MS = 1000;
const PREFIX_BYTES = 2;
/** Answers of one connection that the peer has not read: the longest one and some. */
const MAX_QUEUED_BYTES = 128 * 1024;

class PrefixedConnection {
  readonly #socket: Socket;
  readonly #options: PrefixedServerOptions;
  /** The beginning of a message that is not whole yet. */
  #partial: Uint8Array = new Uint8Array(0);
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  unanswered = 0;
  heardAtMs: number;
  closed = false;

  constructor(socket: Socket, options: PrefixedServerOptions) {
    this.#socket = socket;
    this.#options = options;
    this.heardAtMs = options.nowMs();
  }

  /** False: the peer has gone too far. */
  receive(chunk: Uint8Array): boolean {
    let bytes = chunk;
    if (this.#partial.length > 0) {
      bytes = new Uint8Array(this.#partial.length + chunk.length);
      bytes.set(this.#partial);
      bytes.set(chunk, this.#partial.length);
    }
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      const length = (bytes[at]! << 8) | bytes[at + 1]!;
      if (length > this.#options.maxMessageBytes) return false;
      const end = at + PREFIX_BYTES + length;
      if (end > bytes.length) break;
      if (this.unanswered >= this.#options.maxUnanswered) return false;
      this.#ask(bytes.slice(at + PREFIX_BYTES, end));
      at = end;
    }
    // At most one message's length, for what is longer was refused above.
    this.#partial = bytes.slice(at);
    return true;
  }

  #ask(message: Uint8Array): void {
    this.heardAtMs = this.#options.nowMs();
    this.unanswered++;
    this.#options
      .answer(message)
      .then((answer) => this.#send(answer), this.#options.onError)
      .finally(() => {
        this.unanswered--;
      });
  }

  #send(answer: Uint8Array | undefined): void {
    if (answer === undefined || this.closed) return;
    const framed = new Uint8Array(PREFIX_BYTES + answer.length);
    framed.set([answer.length >> 8, answer.length & 255]);
    framed.set(answer, PREFIX_BYTES);
    this.#queue.push(framed);
    this.#queuedBytes += framed.length;
    this.drain();
  }

  /** Writes what the socket takes. */
  drain(): void {
    while (!this.closed) {
      const first = this.#queue[0];
      if (first === undefined) return;
      const written = this.#socket.write(first);
      if (written < 0) return;
      this.#queuedBytes -= written;
      if (written < first.length) {
        this.#queue[0] = first.subarray(written);
        return;
      }
      this.#queue.shift();
    }
  }

  get isOverfull(): boolean {
    return this.#queuedBytes > MAX_QUEUED_BYTES;
  }
}

/** @throws Error when the address cannot be listened on */
export function listenPrefixed(options: PrefixedServerOptions): PrefixedServer {
  const counters: PrefixedCounters = { accepted: 0, refused: 0, cutOff: 0, timedOut: 0 };
  const open = new Map<PrefixedConnection, Socket>();

  const end = (connection: PrefixedConnection, socket: Socket): void => {
    connection.closed = true;
    open.delete(connection);
    socket.terminate();
  };
  const cutOff = (connection: PrefixedConnection, socket: Socket): void => {
    counters.cutOff++;
    end(connection, socket);
  };

  let listener: Bun.TCPSocketListener<PrefixedConnection | undefined>;
  try {
    listener = Bun.listen<PrefixedConnection | undefined>({
      hostname: options.hostname,
      port: options.port,
      data: undefined,
      socket: {
        binaryType: "uint8array",
        open(socket: Socket): void {
          if (open.size >= options.maxConnections) {
            counters.refused++;
            socket.terminate();
            return;
          }
          socket.setNoDelay(true);
          const connection = new PrefixedConnection(socket, options);
          socket.data = connection;
          open.set(connection, socket);
          counters.accepted++;
        },
        data(socket: Socket, chunk: Uint8Array): void {
          const connection = socket.data;
          if (connection === undefined || connection.closed) return;
          if (!connection.receive(chunk) || connection.isOverfull) cutOff(connection, socket);
        },
        drain(socket: Socket): void {
          socket.data?.drain();
        },
        close(socket: Socket): void {
          if (socket.data === undefined) return;
          socket.data.closed = true;
          open.delete(socket.data);
        },
        error(_socket: Socket, error: Error): void {
          options.onError(error);
        },
      } as unknown as Bun.SocketHandler<PrefixedConnection | undefined>,
    });
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot listen on TCP ${options.hostname}:${options.port}: ${code}; choose a free port and an address of this host`,
      { cause: error },
    );
  }
  const sweeper = setInterval(() => {
    const nowMs = options.nowMs();
    for (const [connection, socket] of open) {
      if (connection.isOverfull) cutOff(connection, socket);
      else if (connection.unanswered === 0 && nowMs - connection.heardAtMs >= options.idleTimeoutMs) {
        counters.timedOut++;
        end(connection, socket);
      }
    }
  }, SWEEP_MS);

  return {
    port: listener.port,
    counters,
    get connections() {
      return open.size;
    },
    stop(): void {
      clearInterval(sweeper);
      listener.stop();
      for (const [connection, socket] of open) end(connection, socket);
      listener.stop(true);
    },
  };
}
