// Keeps one connection to one of several servers, for ever. Nothing is queued while there is none: the owner knows what
// it wants and says so again at every onOpen, so nothing stale is ever sent and nothing needs a bound.
//
// Where to connect: names are resolved at every round (a name may have several addresses, and they change), and a round
// tries each address once. The first round begins at a random address, so that many agents with the same list spread
// over it; a later one begins after the address that was used last, so that a server that accepts and then fails does
// not get all the tries. Between rounds there is a jittered, doubling pause. It is short after a connection that worked
// and grows for one that never did, so a server that accepts and closes at once is not hammered.
//
// With TLS a connection is one when the handshake has succeeded and the server's certificate is for the host that was
// asked for: the name, when it was a name, whatever address that led to. What is shown and believed is asked for anew at
// every try, so that renewed files count from the next connection on.
import { type BackoffLimits, backoffDelay } from "../core/backoff.ts";
import { parseIp } from "../core/endpoint.ts";
import { TcpConnection, type TransferCounters, TurnFlusher } from "./tcp-connection.ts";
import { isTlsError, tlsFailure } from "./tls-failure.ts";
import { bunClientTls, type ClientTls } from "./tls-options.ts";

export interface ServerAddress {
  /** IP address or name. */
  readonly host: string;
  readonly port: number;
}

export interface TcpClientOptions {
  /** Asked for at every round, so that it may change. */
  readonly addresses: () => readonly ServerAddress[];
  /** For resolving a name, and for each try to connect. */
  readonly connectTimeoutMs: number;
  readonly backoff: BackoffLimits;
  /** 0 <= random() < 1. */
  readonly random: () => number;
  /** Asked for at every try; one that throws is a try that failed, for that reason. Absent: plain TCP. */
  readonly tls?: (() => ClientTls) | undefined;
  /** Bytes queued before `send` says stop. Default 4 MiB. */
  readonly maxQueuedBytes?: number;
  readonly onOpen: (connection: TcpConnection) => void;
  /** `body` is a view, valid during the call only. */
  readonly onFrame: (msgid: number, body: Uint8Array, connection: TcpConnection) => void;
  /** Once for each onOpen. */
  readonly onClose?: (reason: string) => void;
  /** The queue was full and is empty. */
  readonly onDrain?: () => void;
  /** One line a round that failed, a connection made or lost, an exception in a callback. */
  readonly log?: (message: string) => void;
  /** The IPv4 addresses of a name; rejects when there are none. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
}

export interface TcpClientCounters extends TransferCounters {
  /** Tries to connect. */
  attempts: number;
  /** Tries that failed: refused, timed out, no TLS. */
  failedAttempts: number;
  /** Of these: TLS handshakes that failed. */
  handshakeFailures: number;
  /** Names that could not be resolved. */
  failedLookups: number;
  connects: number;
  losses: number;
}

export interface TcpClient {
  readonly connected: boolean;
  /** "ip:port" of the server connected to. */
  readonly server: string | undefined;
  readonly counters: Readonly<TcpClientCounters>;
  readonly queuedBytes: number;
  readonly writable: boolean;
  /** As TcpConnection.send; false without a connection. */
  send(bytes: Uint8Array): boolean;
  /** Drops the connection, if there is one, and moves on to the next address. */
  reconnect(reason: string): void;
  /** `addresses` answers otherwise now: new ones are tried at once, and a server that is not among them is left. */
  addressesChanged(): void;
  /** For good. onClose has been called when it returns. */
  stop(): void;
}

interface Candidate {
  readonly ip: string;
  readonly port: number;
  readonly key: string;
  /** What was looked up; undefined: an address was given. */
  readonly name: string | undefined;
}

/** A try to connect, from its start to the end of the connection it led to. Hangs on Bun's socket. */
interface Attempt {
  readonly candidate: Candidate;
  /** What came of it: a connection, or why there is none. Only the first call counts. */
  readonly settle: (outcome: TcpConnection | string) => void;
  connection: TcpConnection | undefined;
  /** With TLS, while its handshake goes on. */
  shaking: Bun.Socket<Attempt> | undefined;
  /** Our count of bytes when the connection was made. */
  bytesBefore: number;
  /** Timed out or stopped: if it still succeeds, it is closed at once. */
  abandoned: boolean;
}

const DEFAULT_MAX_QUEUED_BYTES = 4 * 1024 * 1024;
const KEEPALIVE_MS = 30_000;

export function connectTcp(options: TcpClientOptions): TcpClient {
  return new ReconnectingClient(options);
}

async function lookupIpv4(host: string): Promise<readonly string[]> {
  const records = await Bun.dns.lookup(host, { family: 4 });
  return records.map(({ address }) => address);
}

class ReconnectingClient implements TcpClient {
  readonly counters: TcpClientCounters = {
    attempts: 0,
    failedAttempts: 0,
    handshakeFailures: 0,
    failedLookups: 0,
    connects: 0,
    losses: 0,
    protocolErrors: 0,
    callbackErrors: 0,
    framesIn: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
  readonly maxQueuedBytes: number;
  readonly #options: TcpClientOptions;
  readonly #flusher = new TurnFlusher();
  #attempt: Attempt | undefined;
  #connection: TcpConnection | undefined;
  #server: string | undefined;
  /** The address used last. */
  #last: string | undefined;
  #closed: (() => void) | undefined;
  #wake: (() => void) | undefined;
  #stopped = false;
  #nextId = 1;

  constructor(options: TcpClientOptions) {
    this.#options = options;
    this.maxQueuedBytes = options.maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES;
    void this.#run();
  }

  get connected(): boolean {
    return this.#connection !== undefined;
  }

  get server(): string | undefined {
    return this.#server;
  }

  get queuedBytes(): number {
    return this.#connection?.queuedBytes ?? 0;
  }

  get writable(): boolean {
    return this.#connection?.writable ?? false;
  }

  send(bytes: Uint8Array): boolean {
    return this.#connection?.send(bytes) ?? false;
  }

  reconnect(reason: string): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    // Bun reports the close from within: the reason given here must be there first. So below.
    this.#lost(connection, reason);
    connection.terminate();
  }

  addressesChanged(): void {
    this.#wake?.();
    void this.#leaveUnlessListed();
  }

  async #leaveUnlessListed(): Promise<void> {
    const failedBefore = this.counters.failedLookups;
    const candidates = await this.#resolve();
    const server = this.#server;
    // A name that cannot be looked up now may be the server's.
    if (server === undefined || this.counters.failedLookups > failedBefore) return;
    if (!candidates.some(({ key }) => key === server)) this.reconnect("its address is not in the list any more");
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    const attempt = this.#attempt;
    if (attempt !== undefined && attempt.connection === undefined) {
      attempt.abandoned = true;
      attempt.settle("stopped");
      attempt.shaking?.terminate();
    }
    const connection = this.#connection;
    if (connection !== undefined) {
      this.#lost(connection, "stopped");
      connection.close();
    }
    this.#wake?.();
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stopped) {
      const candidates = await this.#resolve();
      const connection = await this.#round(candidates);
      if (this.#stopped) return;
      if (connection === undefined) {
        failures++;
      } else {
        const openedAtMs = performance.now();
        const bytesBefore = this.counters.bytesIn;
        await this.#untilClosed(connection);
        const worked =
          this.counters.bytesIn > bytesBefore || performance.now() - openedAtMs >= this.#options.backoff.maxMs;
        failures = worked ? 0 : failures + 1;
      }
      await this.#pause(backoffDelay(failures, this.#options.backoff, this.#options.random()));
    }
  }

  /** Every address of every name, each once. */
  async #resolve(): Promise<readonly Candidate[]> {
    let addresses: readonly ServerAddress[] = [];
    this.#call(() => {
      addresses = this.#options.addresses();
    });
    const found = await Promise.all(addresses.map((address) => this.#resolveOne(address)));
    // Two names of one address are two candidates where the name is checked.
    const identity = ({ key, name }: Candidate): string =>
      this.#options.tls === undefined ? key : `${key} ${name ?? ""}`;
    return [...new Map(found.flat().map((candidate) => [identity(candidate), candidate])).values()];
  }

  async #resolveOne({ host, port }: ServerAddress): Promise<readonly Candidate[]> {
    const isAddress = parseIp(host) !== undefined || host.includes(":");
    const at = (ip: string): Candidate => ({ ip, port, key: `${ip}:${port}`, name: isAddress ? undefined : host });
    if (isAddress) return [at(host)];
    try {
      const lookup = this.#options.lookup ?? lookupIpv4;
      return (await withTimeout(lookup(host), this.#options.connectTimeoutMs)).map(at);
    } catch (error) {
      this.counters.failedLookups++;
      this.#log(`cannot resolve ${host}: ${textOf(error)}`);
      return [];
    }
  }

  /** Tries every candidate once; the connection, or undefined when all failed. */
  async #round(candidates: readonly Candidate[]): Promise<TcpConnection | undefined> {
    const count = candidates.length;
    const last = candidates.findIndex(({ key }) => key === this.#last);
    const first = last >= 0 ? last + 1 : Math.floor(this.#options.random() * count);
    const failures: string[] = [];
    for (let i = 0; i < count && !this.#stopped; i++) {
      const candidate = candidates[(first + i) % count]!;
      const outcome = await this.#connect(candidate);
      if (typeof outcome !== "string") return outcome;
      failures.push(`${candidate.key} ${outcome}`);
    }
    if (!this.#stopped) this.#log(`no server took a connection (${failures.join(", ") || "no address"}); trying on`);
    return undefined;
  }

  #connect(candidate: Candidate): Promise<TcpConnection | string> {
    this.counters.attempts++;
    this.#last = candidate.key;
    return new Promise((resolve) => {
      const attempt: Attempt = {
        candidate,
        connection: undefined,
        shaking: undefined,
        bytesBefore: 0,
        abandoned: false,
        settle: (outcome) => {
          clearTimeout(timer);
          if (this.#attempt !== attempt) return;
          this.#attempt = undefined;
          if (typeof outcome === "string") this.counters.failedAttempts++;
          resolve(outcome);
        },
      };
      const timer = setTimeout(() => {
        // Bun cannot cancel it: the kernel gives up by itself in two minutes, so such tries stay few.
        attempt.abandoned = true;
        const { shaking } = attempt;
        const what = shaking === undefined ? "no answer" : "no TLS handshake";
        attempt.settle(`${what} in ${this.#options.connectTimeoutMs} ms`);
        if (shaking === undefined) return;
        this.counters.handshakeFailures++;
        shaking.terminate();
      }, this.#options.connectTimeoutMs);
      this.#attempt = attempt;
      void this.#open(attempt);
    });
  }

  /** Bun tells of success through the open handler, before anything can arrive. */
  async #open(attempt: Attempt): Promise<void> {
    try {
      const { ip, port, name } = attempt.candidate;
      const tls = this.#options.tls === undefined ? undefined : bunClientTls(this.#options.tls(), name);
      await Bun.connect<Attempt>({
        hostname: ip,
        port,
        data: attempt,
        ...(tls === undefined ? {} : { tls }),
        socket: (tls === undefined ? this.#handlers : this.#tlsHandlers) as unknown as Bun.SocketHandler<Attempt>,
      });
    } catch (error) {
      attempt.settle(textOf(error));
    }
  }

  readonly #handlers = {
    binaryType: "uint8array" as const,
    open: (socket: Bun.Socket<Attempt>): void => {
      const attempt = socket.data;
      if (attempt.abandoned) {
        socket.terminate();
        return;
      }
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEPALIVE_MS);
      const connection = new TcpConnection(this.#nextId++, this, socket);
      attempt.connection = connection;
      attempt.bytesBefore = this.counters.bytesIn;
      this.#connection = connection;
      this.#server = attempt.candidate.key;
      this.counters.connects++;
      this.#log(`connected to ${attempt.candidate.key}`);
      attempt.settle(connection);
      this.#call(() => this.#options.onOpen(connection));
    },
    data: (socket: Bun.Socket<Attempt>, chunk: Uint8Array): void => {
      const connection = socket.data.connection;
      if (connection === undefined || connection.closed) return;
      const error = connection.receive(chunk);
      if (error === undefined) return;
      this.counters.protocolErrors++;
      this.#lost(connection, `protocol error: ${error.message}`);
      connection.terminate();
    },
    drain: (socket: Bun.Socket<Attempt>): void => socket.data.connection?.drain(),
    close: (socket: Bun.Socket<Attempt>, error?: Error): void => {
      const { connection } = socket.data;
      if (connection === undefined) return;
      connection.markClosed();
      this.#lost(connection, error === undefined ? "closed by the server" : textOf(error));
    },
    error: (_socket: Bun.Socket<Attempt>, error: Error): void => this.#failed(error),
    connectError: (socket: Bun.Socket<Attempt>, error: Error): void => socket.data.settle(textOf(error)),
  };

  readonly #tlsHandlers = {
    ...this.#handlers,
    open: (socket: Bun.Socket<Attempt>): void => {
      if (socket.data.abandoned) socket.terminate();
      else socket.data.shaking = socket;
    },
    handshake: (socket: Bun.Socket<Attempt>, ok: boolean, error: Error | null): void => {
      const attempt = socket.data;
      attempt.shaking = undefined;
      if (ok && error === null) {
        this.#handlers.open(socket);
        return;
      }
      if (attempt.abandoned) return;
      this.counters.handshakeFailures++;
      attempt.settle(`as ${attempt.candidate.name ?? attempt.candidate.ip}: ${tlsFailure(error)}`);
      socket.terminate();
    },
    close: (socket: Bun.Socket<Attempt>, error?: Error): void => {
      const attempt = socket.data;
      if (attempt.connection === undefined) {
        attempt.settle("closed by the server during the TLS handshake");
      } else if (this.counters.bytesIn === attempt.bytesBefore) {
        // A server of TLS 1.3 refuses a client's certificate after the handshake is over for the client.
        attempt.connection.markClosed();
        const how = error === undefined ? "closed by the server" : textOf(error);
        const hint = "before it sent anything; if it demands client certificates, its log says why";
        this.#lost(attempt.connection, `${how} ${hint}`);
      } else this.#handlers.close(socket, error);
    },
    error: (socket: Bun.Socket<Attempt>, error: Error): void => {
      const { connection } = socket.data;
      if (connection === undefined || !isTlsError(error)) {
        this.#failed(error);
        return;
      }
      this.counters.handshakeFailures++;
      connection.markClosed();
      this.#lost(connection, tlsFailure(error));
    },
  };

  /** ConnectionOwner: */
  deliver(msgid: number, body: Uint8Array, connection: TcpConnection): void {
    try {
      this.#options.onFrame(msgid, body, connection);
    } catch (error) {
      this.#failed(error);
    }
  }

  drained(): void {
    this.#call(() => this.#options.onDrain?.());
  }

  flushLater(connection: TcpConnection): void {
    this.#flusher.add(connection);
  }

  #lost(connection: TcpConnection, reason: string): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    const server = this.#server;
    this.#server = undefined;
    this.counters.losses++;
    this.#log(`lost the connection to ${server}: ${reason}`);
    this.#call(() => this.#options.onClose?.(reason));
    this.#closed?.();
  }

  async #untilClosed(connection: TcpConnection): Promise<void> {
    if (this.#connection !== connection) return;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
    });
    this.#closed = undefined;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }

  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.counters.callbackErrors++;
    this.#log(`an exception in the owner's code: ${textOf(error)}`);
  }

  #log(message: string): void {
    try {
      this.#options.log?.(message);
    } catch {
      // Whoever writes logs failed to; the counters are what is left.
    }
  }
}

function textOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return [code, message].filter(Boolean).join(" ") || String(error);
}

async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
