// A listener for HTTP that answers the plainest requests itself and leaves everything else to a real server behind it.
// Bun's server takes as long for what a request needs to become objects (an URL, Headers, a Response and its headers) as
// for sending and receiving it; a plain request is some hundred bytes of text whose answer is text too, and takes half.
//
// A connection begins here. While plain requests come that the owner has an answer to, they are answered in order, each
// before the next is looked at. With the first that is otherwise the whole connection goes to the server, for good
// (http-tunnel.ts): so nobody here has to understand where other requests end, or what they mean.
//
// The server behind listens on loopback. It is to answer nobody but us, who come from the ports that `callerAt` knows.
import { makePlainRequest, OTHER, PARTIAL, type PlainRequest, readPlainRequest } from "../wire/plain-request.ts";
import { HttpTunnel, type TunnelSocket } from "./http-tunnel.ts";

/** `head` ends with a whole line; the length of the body and the empty line are added. */
export interface FrontAnswer {
  readonly head: string;
  /** undefined: there is none, nor has it a length. */
  readonly body: string | undefined;
  /** Of the body, in UTF-8; undefined: not known. */
  readonly bytes?: number | undefined;
}

export interface HttpFrontOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  /** Of the server behind, on 127.0.0.1. */
  readonly serverPort: number;
  /**
   * The answer to a plain request, which is valid during the call only. undefined, also later: it is the server's. Must
   * not throw or reject. `address`: of the caller.
   */
  readonly answer: (
    request: PlainRequest,
    address: () => string,
  ) => FrontAnswer | Promise<FrontAnswer | undefined> | undefined;
  readonly idleTimeoutMs: number;
}

export interface HttpFrontCounters {
  /** Requests answered here. */
  answered: number;
  /** Connections handed on to the server. */
  handedOn: number;
  /** Connections closed because nothing came for long. */
  idle: number;
}

export interface HttpFront {
  readonly port: number;
  readonly counters: Readonly<HttpFrontCounters>;
  /** Connections there are now, handed on or not. */
  readonly connections: number;
  /** Whose connection to the server it is that comes from this port of ours; undefined: not one of ours. */
  callerAt(port: number): string | undefined;
  /**
   * Takes no more connections and closes those that are not handed on, after the answer under way. Resolves when all
   * are closed, those by the server too.
   */
  stop(): Promise<void>;
  /** Closes everything. */
  terminate(): void;
}

type FrontSocket = Bun.Socket<Caller>;

/** Bytes of later requests that are held while one is answered. */
const MAX_HELD = 65_536;

/** All behind the head. */
function restOf({ body, bytes }: FrontAnswer): string {
  if (body === undefined) return "\r\n";
  return `Content-Length: ${bytes ?? Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** How many bytes more than characters there are. */
function extraBytes({ body, bytes }: FrontAnswer): number {
  return body === undefined ? 0 : (bytes ?? Buffer.byteLength(body)) - body.length;
}

/** A connection. */
class Caller {
  readonly #owner: HttpFrontOptions;
  readonly #counters: HttpFrontCounters;
  readonly #openTunnel: (tunnel: HttpTunnel, address: string) => void;
  #socket: FrontSocket | undefined;
  readonly #request = makePlainRequest();
  /** What came and is not answered, a character a byte. */
  #held = "";
  /** What is answered and not sent. */
  #unsent: Uint8Array | undefined;
  #isAnswering = false;
  #isPaused = false;
  #isEnding = false;
  #isClosed = false;
  tunnel: HttpTunnel | undefined;
  /** Since the last look. */
  isActive = true;
  #remote: string | undefined;
  readonly #address = (): string => {
    this.#remote ??= this.#socket!.remoteAddress;
    return this.#remote;
  };

  constructor(
    owner: HttpFrontOptions,
    counters: HttpFrontCounters,
    openTunnel: (tunnel: HttpTunnel, address: string) => void,
  ) {
    this.#owner = owner;
    this.#counters = counters;
    this.#openTunnel = openTunnel;
  }

  opened(socket: FrontSocket): void {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  receive(chunk: Buffer): void {
    this.isActive = true;
    if (this.tunnel !== undefined) {
      this.tunnel.fromClient(chunk);
      return;
    }
    const text = chunk.toString("latin1");
    this.#held = this.#held === "" ? text : this.#held + text;
    if (!this.#isAnswering && this.#unsent === undefined) this.#answerAll();
    else if (this.#held.length > MAX_HELD && !this.#isPaused) {
      this.#isPaused = true;
      this.#socket!.pause();
    }
  }

  #answerAll(): void {
    const text = this.#held;
    let at = 0;
    let out = "";
    let outBytes = 0;
    this.#held = "";
    while (at < text.length) {
      const end = readPlainRequest(text, at, this.#request);
      if (end === PARTIAL) break;
      const answer = end === OTHER ? undefined : this.#owner.answer(this.#request, this.#address);
      if (answer === undefined || answer instanceof Promise) {
        if (outBytes > 0) this.#send(out, outBytes);
        if (answer === undefined) this.#handOn(text.slice(at));
        else this.#answerLater(answer, text.slice(at, end), text.slice(end));
        return;
      }
      this.#counters.answered++;
      const rest = restOf(answer);
      out += answer.head + rest;
      outBytes += answer.head.length + rest.length + extraBytes(answer);
      at = end;
    }
    if (at < text.length) this.#held = text.slice(at);
    if (outBytes > 0) this.#send(out, outBytes);
  }

  #answerLater(answer: Promise<FrontAnswer | undefined>, asked: string, held: string): void {
    this.#isAnswering = true;
    this.#held = held;
    void answer.then((later) => {
      this.#isAnswering = false;
      if (this.#isClosed) return;
      if (later === undefined) {
        this.#handOn(asked + this.#held);
        return;
      }
      this.#counters.answered++;
      const rest = restOf(later);
      this.#send(later.head + rest, later.head.length + rest.length + extraBytes(later));
      this.#goOn();
    });
  }

  /** An answer is sent: on to the next. */
  #goOn(): void {
    if (this.#isClosed || this.#unsent !== undefined) return;
    if (this.#isEnding) {
      this.#socket!.end();
      return;
    }
    if (this.#isPaused) {
      this.#isPaused = false;
      this.#socket!.resume();
    }
    if (this.#held !== "") this.#answerAll();
  }

  #send(text: string, bytes: number): void {
    const taken = this.#socket!.write(text);
    // What is negative is closed, and will say so.
    if (taken >= 0 && taken < bytes) this.#unsent = Buffer.from(text).subarray(taken);
  }

  #handOn(text: string): void {
    this.#held = "";
    this.#counters.handedOn++;
    this.tunnel = new HttpTunnel(this.#socket!, Buffer.from(text, "latin1"), this.#unsent);
    this.#unsent = undefined;
    this.#openTunnel(this.tunnel, this.#address());
  }

  drained(): void {
    if (this.tunnel !== undefined) {
      this.tunnel.clientDrained();
      return;
    }
    if (this.#unsent === undefined) return;
    this.isActive = true;
    const taken = this.#socket!.write(this.#unsent);
    if (taken < 0) return;
    this.#unsent = taken < this.#unsent.length ? this.#unsent.subarray(taken) : undefined;
    this.#goOn();
  }

  /** The caller says no more. It may listen to what it was answered; one that waits has most likely gone. */
  ended(): void {
    if (this.tunnel !== undefined) this.tunnel.clientEnded();
    else if (this.#isAnswering) this.#socket!.end();
    else this.end();
  }

  closed(): void {
    this.#isClosed = true;
    this.#held = "";
    this.#unsent = undefined;
    this.tunnel?.clientClosed();
  }

  /** True: nothing came or went since the last look, and the owner has nothing to say. */
  isIdle(): boolean {
    if (this.isActive || this.#isAnswering || this.tunnel !== undefined) {
      this.isActive = false;
      return false;
    }
    return true;
  }

  /** Closes when what is answered is sent. A connection that was handed on is the server's to close. */
  end(): void {
    if (this.tunnel !== undefined || this.#isClosed) return;
    this.#isEnding = true;
    if (!this.#isAnswering && this.#unsent === undefined) this.#socket!.end();
  }

  terminate(): void {
    this.#socket?.terminate();
  }
}

/** @throws Error when the address cannot be listened on; its `code` says why */
export function listenHttpFront(options: HttpFrontOptions): HttpFront {
  const counters: HttpFrontCounters = { answered: 0, handedOn: 0, idle: 0 };
  const callers = new Set<Caller>();
  /** By the port that their connections to the server come from. */
  const addresses = new Map<number, string>();

  let whenEmpty = (): void => {};

  const openTunnel = (tunnel: HttpTunnel, address: string): void => {
    let port = 0;
    const connecting = Bun.connect({
      hostname: "127.0.0.1",
      port: options.serverPort,
      socket: {
        open(socket) {
          socket.setNoDelay(true);
          port = socket.localPort;
          addresses.set(port, address);
          tunnel.opened(socket as unknown as TunnelSocket);
        },
        data: (_socket, chunk) => tunnel.fromServer(chunk),
        drain: () => tunnel.serverDrained(),
        close() {
          addresses.delete(port);
          tunnel.serverClosed();
        },
        error() {},
        connectError: () => tunnel.serverClosed(),
      },
    });
    // Told above.
    connecting.catch(() => {});
  };

  const listener = Bun.listen<Caller>({
    hostname: options.hostname,
    port: options.port,
    data: undefined as unknown as Caller,
    allowHalfOpen: true,
    socket: {
      open(socket) {
        const caller = new Caller(options, counters, openTunnel);
        socket.data = caller;
        callers.add(caller);
        caller.opened(socket);
      },
      data: (socket, chunk) => socket.data.receive(chunk),
      drain: (socket) => socket.data.drained(),
      end: (socket) => socket.data.ended(),
      close(socket) {
        const caller = socket.data;
        if (!callers.delete(caller)) return;
        caller.closed();
        if (callers.size === 0) whenEmpty();
      },
      error() {},
    },
  });

  const sweep = setInterval(() => {
    for (const caller of callers) {
      if (!caller.isIdle()) continue;
      counters.idle++;
      caller.terminate();
    }
  }, options.idleTimeoutMs);
  sweep.unref();

  return {
    port: listener.port,
    counters,
    get connections() {
      return callers.size;
    },
    callerAt: (port) => addresses.get(port),
    stop() {
      listener.stop();
      clearInterval(sweep);
      for (const caller of callers) caller.end();
      return new Promise((resolve) => {
        whenEmpty = resolve;
        if (callers.size === 0) resolve();
      });
    },
    terminate() {
      for (const caller of callers) caller.terminate();
    },
  };
}
