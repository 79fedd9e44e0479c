// The TCP client as its owners see it, in a test's hands: frames sent are kept, fullness and loss are as the test says.
import type { TcpClient, TcpClientCounters } from "../../src/net/tcp-client.ts";
import { HEADER_BYTES, readInt32 } from "../../src/wire/frame.ts";

export interface SentFrame {
  readonly msgid: number;
  readonly body: Uint8Array;
}

export class FakeTcpClient implements TcpClient {
  readonly counters = {} as TcpClientCounters;
  readonly server = "127.0.0.1:1";
  readonly queuedBytes = 0;
  readonly reconnects: string[] = [];
  connected = true;
  /** Frames taken before `send` says stop; the one that fills it is taken. */
  room = Number.POSITIVE_INFINITY;
  #frames: SentFrame[] = [];

  get writable(): boolean {
    return this.connected && this.room > 0;
  }

  send(bytes: Uint8Array): boolean {
    if (!this.writable) return false;
    for (let at = 0; at < bytes.length; ) {
      const end = at + HEADER_BYTES + readInt32(bytes, at + 4);
      this.#frames.push({ msgid: readInt32(bytes, at), body: bytes.slice(at + HEADER_BYTES, end) });
      at = end;
    }
    return --this.room > 0;
  }

  reconnect(reason: string): void {
    this.reconnects.push(reason);
  }

  addressesChanged(): void {
    throw new Error("not in this fake");
  }

  stop(): void {
    this.connected = false;
  }

  /** Frames since the last call. */
  frames(): SentFrame[] {
    return this.#frames.splice(0);
  }
}
