// A UDP socket for many small answers. Answers given during one turn of the event loop leave together (one system call
// for up to 64), for the system call is most of what an answer costs.
//
// Two things about sending are not obvious. After an answer to a caller that has died, the kernel reports "connection
// refused" on whatever this socket sends next, to anybody, and drops that datagram: a send that fails so is repeated
// once. And a batch stops at its first failure, so what comes after it is sent on from there. UDP may lose datagrams;
// what cannot be sent is counted and forgotten.
import { MAX_UDP_FRAME_BYTES } from "../wire/frame.ts";
import { raiseSocketBuffers, socketDrops } from "./socket-options.ts";

/** An IP address as this socket gives it (text) or as udp-batch.ts does (IPv4, a signed 32-bit integer). */
export type UdpAddress = string | number;

export interface UdpSocketOptions {
  readonly hostname: string;
  /** 0: any free one. */
  readonly port: number;
  /** Asked of the kernel for receiving and sending; see `receiveBufferBytes` of the socket for what came of it. */
  readonly receiveBufferBytes: number;
  /** `datagram` is a copy of its own and may be kept. */
  readonly onDatagram: (datagram: Uint8Array, port: number, address: string) => void;
  /** What went wrong on the socket or was thrown by onDatagram. Peers that are gone are counted, not reported. */
  readonly onError: (error: unknown) => void;
}

export interface UdpCounters {
  in: number;
  out: number;
  /** Datagrams that could not be sent. */
  sendErrors: number;
  /** Times a peer turned out to be gone. */
  peersGone: number;
  /** Exceptions of onDatagram and errors of the socket. */
  errors: number;
}

export interface UdpSocket {
  readonly hostname: string;
  readonly port: number;
  /** The kernel's receive buffer as it accounts it (on Linux twice what it granted); 0: not known. */
  readonly receiveBufferBytes: number;
  readonly counters: Readonly<UdpCounters>;
  /** Copies `bytes` up to `length` and sends it at the end of this turn, or with the 64th. Never throws. */
  queueReply(bytes: Uint8Array, length: number, port: number, address: string): void;
  /** Sends what is queued now. */
  flush(): void;
  /** Datagrams lost because the receive buffer was full, since the socket was bound; 0 where the kernel does not tell. */
  droppedBySocket(): number;
  /** Sends what is queued and closes. */
  close(): void;
}

const BATCH = 64;
/** Answers up to this size are batched: every GetHostResponse is. Larger ones (routes) go out at once. */
const SLOT_BYTES = 128;
const GONE = new Set(["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN"]);

type Packets = (Uint8Array | number | string)[];
type BunUdpSocket = Bun.udp.Socket<"uint8array">;

/** @throws Error when the address cannot be bound */
export async function bindUdp(options: UdpSocketOptions): Promise<UdpSocket> {
  const counters: UdpCounters = { in: 0, out: 0, sendErrors: 0, peersGone: 0, errors: 0 };
  const report = (error: unknown): void => {
    if (isGone(error)) {
      counters.peersGone++;
      return;
    }
    counters.errors++;
    try {
      options.onError(error);
    } catch {
      // Whoever reports errors failed to; the count above is what is left to do.
    }
  };
  const { onDatagram } = options;
  let socket: BunUdpSocket;
  try {
    socket = await Bun.udpSocket({
      hostname: options.hostname,
      port: options.port,
      binaryType: "uint8array",
      socket: {
        data(_socket, datagram, port, address) {
          counters.in++;
          try {
            onDatagram(datagram, port, address);
          } catch (error) {
            report(error);
          }
        },
        // Bun hands over the error alone, whatever the types say.
        error: ((...args: unknown[]) => report(args.at(-1))) as (socket: BunUdpSocket, error: Error) => void,
      },
    });
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    throw new Error(
      `cannot bind UDP ${options.hostname}:${options.port}: ${code}; choose a free port and an address of this host`,
      { cause: error },
    );
  }
  return new BatchingSocket(socket, options, counters, report);
}

function isGone(error: unknown): boolean {
  return GONE.has((error as { code?: string } | undefined)?.code ?? "");
}

class BatchingSocket implements UdpSocket {
  readonly hostname: string;
  readonly port: number;
  readonly receiveBufferBytes: number;
  readonly counters: UdpCounters;
  readonly #socket: BunUdpSocket;
  readonly #fd: number;
  readonly #report: (error: unknown) => void;
  readonly #slots = Array.from({ length: BATCH }, () => new Uint8Array(SLOT_BYTES));
  /** Views of each slot by length, made when first needed: a view per answer would be garbage. */
  readonly #views: (Uint8Array | undefined)[][] = this.#slots.map(() => new Array(SLOT_BYTES + 1).fill(undefined));
  /** What sendMany takes: bytes, port, address; bytes, port, address; … */
  readonly #packets: Packets = [];
  #queued = 0;
  #scheduled = false;
  #closed = false;
  #drops = 0;
  readonly #flushTurn = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(
    socket: BunUdpSocket,
    options: UdpSocketOptions,
    counters: UdpCounters,
    report: (error: unknown) => void,
  ) {
    this.#socket = socket;
    this.#report = report;
    this.counters = counters;
    this.hostname = options.hostname;
    this.port = socket.port;
    this.#fd = (socket as BunUdpSocket & { fd?: number }).fd ?? -1;
    this.receiveBufferBytes = raiseSocketBuffers(this.#fd, options.receiveBufferBytes, options.receiveBufferBytes);
  }

  queueReply(bytes: Uint8Array, length: number, port: number, address: string): void {
    // Port 0 can be forged into a datagram; nothing can be sent there.
    if (this.#closed || port === 0 || length > MAX_UDP_FRAME_BYTES) {
      this.counters.sendErrors++;
      return;
    }
    if (length > SLOT_BYTES) {
      this.#sendOne(length === bytes.length ? bytes : bytes.subarray(0, length), port, address);
      return;
    }
    const index = this.#queued++;
    const slot = this.#slots[index]!;
    for (let i = 0; i < length; i++) slot[i] = bytes[i]!;
    const views = this.#views[index]!;
    let view = views[length];
    if (view === undefined) {
      view = slot.subarray(0, length);
      views[length] = view;
    }
    this.#packets.push(view, port, address);
    if (this.#queued === BATCH) this.flush();
    else if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flushTurn);
    }
  }

  flush(): void {
    const count = this.#queued;
    if (count === 0) return;
    const packets = this.#packets;
    if (count === 1) this.#sendOne(packets[0] as Uint8Array, packets[1] as number, packets[2] as string);
    else {
      const sent = this.#sendMany(packets);
      if (sent < count) this.#sendRest(packets, sent, count);
    }
    this.#queued = 0;
    packets.length = 0;
  }

  /** How many from the front were sent. */
  #sendMany(packets: Packets): number {
    try {
      const sent = this.#socket.sendMany(packets);
      this.counters.out += sent;
      return sent;
    } catch (error) {
      this.#report(error);
      return 0;
    }
  }

  /** The datagram where a batch stopped is sent alone, then the batch goes on after it. */
  #sendRest(packets: Packets, from: number, count: number): void {
    let next = from;
    while (next < count) {
      const at = next * 3;
      this.#sendOne(packets[at] as Uint8Array, packets[at + 1] as number, packets[at + 2] as string);
      next++;
      if (next < count) next += this.#sendMany(packets.slice(next * 3));
    }
  }

  #sendOne(bytes: Uint8Array, port: number, address: string): void {
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        // False: the send buffer is full. Waiting would hold up everybody else's answers.
        if (this.#socket.send(bytes, port, address)) this.counters.out++;
        else this.counters.sendErrors++;
        return;
      } catch (error) {
        if (attempt === 0 && isGone(error)) {
          this.counters.peersGone++;
          continue;
        }
        this.counters.sendErrors++;
        this.#report(error);
        return;
      }
    }
  }

  droppedBySocket(): number {
    if (!this.#closed) this.#drops = socketDrops(this.#fd);
    return this.#drops;
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.droppedBySocket();
    this.#closed = true;
    this.#socket.close();
  }
}
