// A UDP socket read and written by system call, for a thread that serves datagrams and little else.
//
// Bun's own socket calls back once a datagram, with a fresh buffer and an address as text, and between two datagrams of
// one caller lie several turns of its event loop: 35 us of processor time for a request and a report, where the same in C
// takes 10. So the thread blocks in recvmmsg itself, takes up to 64 datagrams at once into memory it keeps, and sends
// their answers with one sendmmsg: 14.5 us (measured with one request in flight; 5.8 against 5.1 with eight).
//
// What blocks hears no messages. A zero-length datagram from the socket to itself (`ring`) ends the wait; see
// shard-doorbell.ts for who rings when.
//
// All memory the kernel is pointed at is held by fields of this object: what only an address refers to is collected.
// Known to work on Linux with glibc, IPv4; elsewhere `openUdp` says so and callers use Bun's socket.
import { dlopen, type Pointer, ptr, read } from "bun:ffi";
import { parseIp } from "../core/endpoint.ts";
import { raiseSocketBuffers, socketDrops } from "./socket-options.ts";

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const MSG_DONTWAIT = 0x40;
const MSG_WAITFORONE = 0x10000;
const ERRORS: Readonly<Record<number, string>> = { 13: "EACCES", 98: "EADDRINUSE", 99: "EADDRNOTAVAIL" };

const BATCH = 64;
/** The largest datagram there is; of what no datagram fills, no page is ever touched. */
const IN_BYTES = 65_536;
/** Answers up to this size are batched: every GetHostResponse is. */
const OUT_BYTES = 128;
const SOCKADDR_BYTES = 16;
/** struct mmsghdr on 64-bit Linux, in 32-bit words: name, namelen, iov, iovlen, control, controllen, flags, msg_len. */
const MESSAGE_WORDS = 16;
const NAME_LENGTH_WORD = 2;
const RECEIVED_WORD = 14;
/** struct iovec, in 32-bit words. */
const IOV_WORDS = 4;
/** Lengths up to this have their views kept. */
const KEPT_VIEWS = 256;

function load() {
  if (process.platform !== "linux") return undefined;
  try {
    return dlopen("libc.so.6", {
      socket: { args: ["i32", "i32", "i32"], returns: "i32" },
      bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
      close: { args: ["i32"], returns: "i32" },
      getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
      setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
      recvmmsg: { args: ["i32", "ptr", "u32", "i32", "ptr"], returns: "i32" },
      sendmmsg: { args: ["i32", "ptr", "u32", "i32"], returns: "i32" },
      sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i32" },
      __errno_location: { args: [], returns: "ptr" },
    }).symbols;
  } catch {
    return undefined;
  }
}

type Library = NonNullable<ReturnType<typeof load>>;
let loaded: { readonly symbols: Library | undefined } | undefined;

function libc(): Library | undefined {
  loaded ??= { symbols: load() };
  return loaded.symbols;
}

function putAddress(into: Uint8Array, offset: number, ip: number, port: number): void {
  into[offset] = AF_INET;
  into[offset + 1] = 0;
  into[offset + 2] = port >> 8;
  into[offset + 3] = port & 255;
  into[offset + 4] = ip >>> 24;
  into[offset + 5] = (ip >>> 16) & 255;
  into[offset + 6] = (ip >>> 8) & 255;
  into[offset + 7] = ip & 255;
}

/** A bound socket. The descriptor belongs to the process: any thread may use it, and it outlives the thread that does. */
export interface OpenUdp {
  readonly fd: number;
  readonly port: number;
  /** As a signed 32-bit integer; what to send to in order to reach this socket. */
  readonly ip: number;
  /** As the kernel accounts it (twice what it granted); 0: not known. */
  readonly receiveBufferBytes: number;
}

/**
 * Binds a socket for {@link UdpBatch}. `port` 0: any free one.
 * @returns undefined where this is not possible: another system, no IPv4 address
 * @throws Error when the address cannot be bound
 */
export function openUdp(hostname: string, port: number, receiveBufferBytes: number): OpenUdp | undefined {
  const c = libc();
  const ip = parseIp(hostname === "localhost" ? "127.0.0.1" : hostname);
  if (c === undefined || ip === undefined) return undefined;
  const fd = c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return undefined;
  const address = new Uint8Array(SOCKADDR_BYTES);
  putAddress(address, 0, ip, port);
  if (c.bind(fd, ptr(address), SOCKADDR_BYTES) !== 0) {
    const errno = read.i32(c.__errno_location() as Pointer);
    c.close(fd);
    throw new Error(
      `cannot bind UDP ${hostname}:${port}: ${ERRORS[errno] ?? `error ${errno}`}; choose a free port and an address of this host`,
    );
  }
  const length = new Uint32Array([SOCKADDR_BYTES]);
  c.getsockname(fd, ptr(address), ptr(length));
  return {
    fd,
    port: (address[2]! << 8) | address[3]!,
    ip: ip === 0 ? 0x7f00_0001 : ip,
    receiveBufferBytes: raiseSocketBuffers(fd, receiveBufferBytes, receiveBufferBytes),
  };
}

export function closeUdp({ fd }: OpenUdp): void {
  libc()?.close(fd);
}

/** Ends the wait of whoever blocks in `receive` of this socket. */
export function ring({ fd, ip, port }: OpenUdp): void {
  const address = new Uint8Array(SOCKADDR_BYTES);
  putAddress(address, 0, ip, port);
  libc()?.sendto(fd, ptr(address), 0, MSG_DONTWAIT, ptr(address), SOCKADDR_BYTES);
}

export interface UdpBatchCounters {
  out: number;
  /** Datagrams that could not be sent. */
  sendErrors: number;
}

/** `datagram` is a view, valid during the call only; `address` the sender's IPv4 as a signed 32-bit integer. */
export type OnDatagram = (datagram: Uint8Array, port: number, address: number) => void;

export class UdpBatch {
  readonly counters: UdpBatchCounters = { out: 0, sendErrors: 0 };
  readonly #c: Library;
  readonly #socket: OpenUdp;
  readonly #onDatagram: OnDatagram;
  readonly #onError: (error: unknown) => void;
  readonly #in = new Uint8Array(BATCH * IN_BYTES);
  readonly #out = new Uint8Array(BATCH * OUT_BYTES);
  readonly #senders = new Uint8Array(BATCH * SOCKADDR_BYTES);
  readonly #receivers = new Uint8Array(BATCH * SOCKADDR_BYTES);
  readonly #inParts = new BigUint64Array(BATCH * 2);
  readonly #outParts = new BigUint64Array(BATCH * 2);
  readonly #inMessages = new BigUint64Array(BATCH * (MESSAGE_WORDS / 2));
  readonly #outMessages = new BigUint64Array(BATCH * (MESSAGE_WORDS / 2));
  readonly #inWords = new Uint32Array(this.#inMessages.buffer);
  readonly #outPartWords = new Uint32Array(this.#outParts.buffer);
  readonly #inPointer: Pointer;
  readonly #outPointer: Pointer;
  readonly #timeout = new BigInt64Array(2);
  readonly #address = new Uint8Array(SOCKADDR_BYTES);
  readonly #views: (Uint8Array | undefined)[][] = Array.from({ length: BATCH }, () => []);
  #timeoutMs = 0;
  #queued = 0;

  /** `onError`: of an exception thrown by `onDatagram`. */
  constructor(socket: OpenUdp, onDatagram: OnDatagram, onError: (error: unknown) => void) {
    const c = libc();
    if (c === undefined) throw new Error("there is no C library to call");
    this.#c = c;
    this.#socket = socket;
    this.#onDatagram = onDatagram;
    this.#onError = onError;
    const outWords = new Uint32Array(this.#outMessages.buffer);
    const point = (
      messages: BigUint64Array,
      words: Uint32Array,
      parts: BigUint64Array,
      names: Uint8Array,
      i: number,
    ) => {
      const at = i * (MESSAGE_WORDS / 2);
      messages[at] = BigInt(ptr(names) + i * SOCKADDR_BYTES);
      words[i * MESSAGE_WORDS + NAME_LENGTH_WORD] = SOCKADDR_BYTES;
      messages[at + 2] = BigInt(ptr(parts) + i * IOV_WORDS * 4);
      messages[at + 3] = 1n;
    };
    for (let i = 0; i < BATCH; i++) {
      this.#inParts[i * 2] = BigInt(ptr(this.#in) + i * IN_BYTES);
      this.#inParts[i * 2 + 1] = BigInt(IN_BYTES);
      this.#outParts[i * 2] = BigInt(ptr(this.#out) + i * OUT_BYTES);
      point(this.#inMessages, this.#inWords, this.#inParts, this.#senders, i);
      point(this.#outMessages, outWords, this.#outParts, this.#receivers, i);
    }
    this.#inPointer = ptr(this.#inMessages);
    this.#outPointer = ptr(this.#outMessages);
  }

  /**
   * Waits up to `timeoutMs` for datagrams, hands over as many as are there (at most 64) and sends the answers that were
   * queued.
   * `onWake` is called when the wait is over, before anything is handed over.
   * @returns how many came, rings included; 0: the time is up
   */
  receive(timeoutMs: number, onWake: () => void): number {
    this.#setTimeout(timeoutMs);
    const count = this.#c.recvmmsg(this.#socket.fd, this.#inPointer, BATCH, MSG_WAITFORONE, null);
    onWake();
    if (count <= 0) return 0;
    const words = this.#inWords;
    const senders = this.#senders;
    for (let i = 0; i < count; i++) {
      const length = words[i * MESSAGE_WORDS + RECEIVED_WORD]!;
      words[i * MESSAGE_WORDS + NAME_LENGTH_WORD] = SOCKADDR_BYTES;
      const at = i * SOCKADDR_BYTES;
      const port = (senders[at + 2]! << 8) | senders[at + 3]!;
      const address = (senders[at + 4]! << 24) | (senders[at + 5]! << 16) | (senders[at + 6]! << 8) | senders[at + 7]!;
      if (length === 0 && port === this.#socket.port && address === this.#socket.ip) continue;
      try {
        this.#onDatagram(this.#view(i, length), port, address);
      } catch (error) {
        this.#onError(error);
      }
    }
    this.flush();
    return count;
  }

  #view(slot: number, length: number): Uint8Array {
    const start = slot * IN_BYTES;
    if (length > KEPT_VIEWS) return this.#in.subarray(start, start + length);
    const views = this.#views[slot]!;
    let view = views[length];
    if (view === undefined) {
      view = this.#in.subarray(start, start + length);
      views[length] = view;
    }
    return view;
  }

  #setTimeout(timeoutMs: number): void {
    if (timeoutMs === this.#timeoutMs) return;
    this.#timeoutMs = timeoutMs;
    this.#timeout[0] = BigInt(Math.floor(timeoutMs / 1000));
    this.#timeout[1] = BigInt(Math.round((timeoutMs % 1000) * 1000));
    this.#c.setsockopt(this.#socket.fd, SOL_SOCKET, SO_RCVTIMEO, ptr(this.#timeout), 16);
  }

  /** Copies `bytes` up to `length`; it leaves with the next `flush`, or with the 64th. */
  queueReply(bytes: Uint8Array, length: number, port: number, address: number): void {
    // Port 0 can be forged into a datagram; nothing can be sent there.
    if (port === 0) {
      this.counters.sendErrors++;
      return;
    }
    if (length > OUT_BYTES) {
      this.#sendOne(bytes, length, port, address);
      return;
    }
    const slot = this.#queued++;
    const out = this.#out;
    const start = slot * OUT_BYTES;
    for (let i = 0; i < length; i++) out[start + i] = bytes[i]!;
    this.#outPartWords[slot * IOV_WORDS + 2] = length;
    putAddress(this.#receivers, slot * SOCKADDR_BYTES, address, port);
    if (this.#queued === BATCH) this.flush();
  }

  flush(): void {
    const count = this.#queued;
    if (count === 0) return;
    this.#queued = 0;
    for (let next = 0; next < count; ) {
      const pointer = (this.#outPointer + next * MESSAGE_WORDS * 4) as Pointer;
      const sent = this.#c.sendmmsg(this.#socket.fd, pointer, count - next, MSG_DONTWAIT);
      if (sent > 0) {
        this.counters.out += sent;
        next += sent;
      } else {
        // The one it stopped at cannot be sent now, or never. Waiting would hold up everybody else's answers.
        this.counters.sendErrors++;
        next++;
      }
    }
  }

  #sendOne(bytes: Uint8Array, length: number, port: number, address: number): void {
    putAddress(this.#address, 0, address, port);
    const { fd } = this.#socket;
    const sent = this.#c.sendto(fd, ptr(bytes), BigInt(length), MSG_DONTWAIT, ptr(this.#address), SOCKADDR_BYTES);
    if (sent === length) this.counters.out++;
    else this.counters.sendErrors++;
  }

  /** Datagrams lost because the receive buffer was full, since the socket was bound; 0 where the kernel does not tell. */
  droppedBySocket(): number {
    return socketDrops(this.#socket.fd);
  }
}
