// The rest of a connection, handed on to the real server as it is: bytes there and bytes back. Each way holds at most what
// came in one piece while its receiver was full; until that has left, nothing more is read.
export interface TunnelSocket {
  write(data: Uint8Array): number;
  pause(): unknown;
  resume(): unknown;
  /** Says that nothing more comes; the other way stays open. */
  shutdown(): unknown;
  end(): unknown;
  terminate(): unknown;
}

/** One way. Bytes that the sink does not take wait here, and their source is paused meanwhile. */
class Way {
  readonly #source: TunnelSocket;
  #sink: TunnelSocket | undefined;
  readonly #waiting: Uint8Array[];
  readonly #finish: (sink: TunnelSocket) => void;
  #ended = false;

  constructor(
    source: TunnelSocket,
    sink: TunnelSocket | undefined,
    finish: (sink: TunnelSocket) => void,
    waiting: Uint8Array[] = [],
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#finish = finish;
    this.#waiting = waiting;
  }

  /** The sink is there. */
  open(sink: TunnelSocket): void {
    this.#sink = sink;
    this.drain();
  }

  push(chunk: Uint8Array): void {
    if (this.#waiting.length === 0 && this.#sink !== undefined) {
      const taken = Math.max(0, this.#sink.write(chunk));
      if (taken === chunk.length) return;
      this.#waiting.push(chunk.subarray(taken));
    } else this.#waiting.push(chunk);
    this.#source.pause();
  }

  drain(): void {
    if (this.#sink === undefined) return;
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0]!;
      const taken = Math.max(0, this.#sink.write(first));
      if (taken < first.length) {
        this.#waiting[0] = first.subarray(taken);
        return;
      }
      this.#waiting.shift();
    }
    if (this.#ended) this.#finish(this.#sink);
    else this.#source.resume();
  }

  /** Nothing more comes: the sink is told when it has what waits. */
  end(): void {
    this.#ended = true;
    if (this.#waiting.length === 0 && this.#sink !== undefined) this.#finish(this.#sink);
  }
}

export class HttpTunnel {
  readonly #there: Way;
  #back: Way | undefined;
  #server: TunnelSocket | undefined;
  #isOver = false;
  readonly #unsent: Uint8Array[] = [];

  /** `first`: what of the connection was not answered. `unsent`: what it was answered and did not take yet. */
  constructor(
    private readonly client: TunnelSocket,
    first: Uint8Array,
    unsent: Uint8Array | undefined,
  ) {
    this.#there = new Way(client, undefined, (sink) => sink.shutdown());
    this.#there.push(first);
    if (unsent !== undefined) this.#unsent.push(unsent);
  }

  /** The connection to the server is open. */
  opened(server: TunnelSocket): void {
    if (this.#isOver) {
      server.terminate();
      return;
    }
    this.#server = server;
    this.#back = new Way(server, this.client, (sink) => sink.end(), this.#unsent);
    if (this.#unsent.length > 0) this.#back.drain();
    this.#there.open(server);
  }

  fromClient(chunk: Uint8Array): void {
    if (!this.#isOver) this.#there.push(chunk);
  }

  fromServer(chunk: Uint8Array): void {
    if (!this.#isOver) this.#back?.push(chunk);
  }

  /** The client takes bytes again. */
  clientDrained(): void {
    this.#back?.drain();
  }

  serverDrained(): void {
    this.#there.drain();
  }

  /** The client says no more; it may still listen. */
  clientEnded(): void {
    if (!this.#isOver) this.#there.end();
  }

  /** The client has gone: the server is to notice, whatever it is at. */
  clientClosed(): void {
    this.#isOver = true;
    this.#server?.terminate();
  }

  /** The server has closed, or could not be reached. */
  serverClosed(): void {
    if (this.#back === undefined) this.client.end();
    else this.#back.end();
  }
}
