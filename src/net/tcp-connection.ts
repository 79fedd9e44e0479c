// One TCP connection that carries frames, on either side of it: what comes in is cut into frames, what goes out is
// gathered and written once per turn of the event loop.
//
// The out-queue is bounded. A peer that does not read cannot make us keep what it should have read: `send` says no, the
// owner remembers what it owes instead of the bytes, and sends the newest state when `onDrain` comes.
//
// A server holds thousands of these, nearly all idle, so an idle one is this object and its decoder: no closures, no
// timers, no buffers. The callbacks belong to the owner (server or client) and are shared by all its connections.
import { FrameDecoder, type ProtocolError } from "../wire/frame-decoder.ts";

/** What is needed of Bun's socket. */
export interface StreamSocket {
  write(data: Uint8Array, byteOffset: number, byteLength: number): number;
  end(): unknown;
  terminate(): void;
  pause(): unknown;
  resume(): unknown;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

export interface TransferCounters {
  bytesIn: number;
  bytesOut: number;
  framesIn: number;
  protocolErrors: number;
  /** Exceptions thrown by the owner's callbacks. */
  callbackErrors: number;
}

/** What a connection needs of its owner. None of these throws. */
export interface ConnectionOwner {
  /** `queuedBytes` may go beyond by one frame. */
  readonly maxQueuedBytes: number;
  readonly counters: TransferCounters;
  deliver(msgid: number, body: Uint8Array, connection: TcpConnection): void;
  drained(connection: TcpConnection): void;
  /** Calls `connection.flush()` when this turn of the event loop is over. */
  flushLater(connection: TcpConnection): void;
}

const NO_CHUNKS: Uint8Array[] = [];
// Small frames are gathered here so that a turn's worth of them is one system call.
const gather = new Uint8Array(64 * 1024);

export class TcpConnection {
  /** Unique among the connections of its server or client. */
  readonly id: number;
  /** The owner's own state. */
  data: unknown;
  readonly #owner: ConnectionOwner;
  readonly #socket: StreamSocket;
  readonly #decoder = new FrameDecoder();
  #chunks = NO_CHUNKS;
  /** Bytes of the first chunk that are written already. */
  #written = 0;
  #queuedBytes = 0;
  #closed = false;
  #flushScheduled = false;
  /** The socket took less than it was given; its drain event comes. */
  #blocked = false;
  /** The bound was reached: the owner is waiting for onDrain. */
  #full = false;

  constructor(id: number, owner: ConnectionOwner, socket: StreamSocket) {
    this.id = id;
    this.#owner = owner;
    this.#socket = socket;
  }

  /** The peer's IP address. */
  get remoteAddress(): string {
    return this.#socket.remoteAddress;
  }

  get remotePort(): number {
    return this.#socket.remotePort;
  }

  /** Bytes taken by send and not by the kernel yet. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether send takes a frame now. Once false, onDrain is called when the queue is empty again. */
  get writable(): boolean {
    return !this.#closed && !this.#full && this.#queuedBytes < this.#owner.maxQueuedBytes;
  }

  /**
   * Queues whole frames; they leave at the end of this turn. The memory is kept until then, so do not write to it again.
   * @returns false when to stop: the queue is full now and onDrain will be called, or the connection is closed. The
   * bytes that made it full are taken; what is sent after a false, before onDrain, is not.
   */
  send(bytes: Uint8Array): boolean {
    if (!this.writable) return false;
    if (bytes.length === 0) return true;
    if (this.#chunks === NO_CHUNKS) this.#chunks = [];
    this.#chunks.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes >= this.#owner.maxQueuedBytes) {
      // Full because of this turn's own sends is not full: only what the kernel does not take counts.
      this.flush();
      this.#full = !this.writable;
    } else if (!this.#flushScheduled && !this.#blocked) {
      this.#flushScheduled = true;
      this.#owner.flushLater(this);
    }
    return !this.#full;
  }

  /**
   * Stops reading from the peer. Frames of what was read already are still delivered. When the peer closes, onClose waits
   * until the rest is read; when it resets the connection, what has arrived is delivered at once, and onClose follows.
   */
  pause(): void {
    if (!this.#closed) this.#socket.pause();
  }

  resume(): void {
    if (!this.#closed) this.#socket.resume();
  }

  /** Writes what the kernel takes at once and closes. No frame is delivered after this. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    // Bun reports the close from within end(); that it was asked for is known before.
    this.markClosed();
    this.#socket.end();
  }

  /** For the owner, as all below: hands received bytes to the decoder. */
  receive(chunk: Uint8Array): ProtocolError | undefined {
    this.#owner.counters.bytesIn += chunk.length;
    return this.#decoder.push(chunk, deliver, this);
  }

  deliver(msgid: number, body: Uint8Array): void {
    this.#owner.counters.framesIn++;
    this.#owner.deliver(msgid, body, this);
  }

  /** The kernel takes bytes again. */
  drain(): void {
    this.#blocked = false;
    this.flush();
    if (this.#full && this.#queuedBytes === 0 && !this.#closed) {
      this.#full = false;
      this.#owner.drained(this);
    }
  }

  flush(): void {
    this.#flushScheduled = false;
    while (this.#queuedBytes > 0 && !this.#closed && !this.#blocked) {
      const first = this.#chunks[0]!;
      let source = first;
      let offset = this.#written;
      let length = first.length - offset;
      if (this.#chunks.length > 1 && length < gather.length) {
        length = this.#gather();
        source = gather;
        offset = 0;
      }
      const taken = this.#socket.write(source, offset, length);
      if (taken < 0) {
        // The socket is gone; its close event is on the way.
        this.#drop();
        return;
      }
      this.#owner.counters.bytesOut += taken;
      this.#consume(taken);
      this.#blocked = taken < length;
    }
  }

  /** The connection is over: drops what is queued and every frame to come. */
  markClosed(): void {
    this.#closed = true;
    this.#decoder.close();
    this.#drop();
  }

  terminate(): void {
    this.markClosed();
    this.#socket.terminate();
  }

  /** Copies from the head of the queue into the shared buffer until one of them ends. Returns how many bytes. */
  #gather(): number {
    let filled = 0;
    let from = this.#written;
    for (const chunk of this.#chunks) {
      const part = Math.min(chunk.length - from, gather.length - filled);
      gather.set(from === 0 && part === chunk.length ? chunk : chunk.subarray(from, from + part), filled);
      filled += part;
      from = 0;
      if (filled === gather.length) break;
    }
    return filled;
  }

  #consume(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (this.#queuedBytes === 0) {
      this.#drop();
      return;
    }
    let rest = bytes + this.#written;
    let whole = 0;
    while (rest >= this.#chunks[whole]!.length) rest -= this.#chunks[whole++]!.length;
    if (whole > 0) this.#chunks.splice(0, whole);
    this.#written = rest;
  }

  #drop(): void {
    this.#chunks = NO_CHUNKS;
    this.#written = 0;
    this.#queuedBytes = 0;
  }
}

function deliver(msgid: number, body: Uint8Array, connection: TcpConnection): void {
  connection.deliver(msgid, body);
}

/** Flushes connections once per turn: whatever one event makes an owner send to a peer leaves in one write. */
export class TurnFlusher {
  #waiting: TcpConnection[] = [];
  readonly #run = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const connection of waiting) connection.flush();
  };

  add(connection: TcpConnection): void {
    if (this.#waiting.push(connection) === 1) queueMicrotask(this.#run);
  }
}
