// A shard's way to its siblings: datagrams that came to the wrong port go to the owner and the answers come back, in
// batches (one message per loop turn and sibling, for a message costs as much as ten picks). What is under way to a
// sibling is bounded; beyond that a datagram is dropped and counted, as a full socket would.

import type { UdpAddress } from "../net/udp-socket.ts";
import type { ReplySink } from "./shard.ts";
import { counterIndex, type ShardCounters } from "./shard-counters.ts";
import type { PeerBatch, PeerDatagram } from "./shard-protocol.ts";

/** What is needed of a MessagePort. */
export interface PeerPort {
  postMessage(batch: PeerBatch): void;
  onmessage: ((event: MessageEvent) => void) | null;
  close(): void;
}

export interface PeerHandler {
  /** A sibling's client asks; answers go into `sink`. */
  request(datagram: Uint8Array, sink: ReplySink, port: number, address: UdpAddress): void;
  /** The answer for a client of this shard. */
  reply(bytes: Uint8Array, port: number, address: UdpAddress): void;
}

const MAX_UNDER_WAY = 4096;
const FORWARD_DROPPED = counterIndex("forward_dropped");

class Peer implements ReplySink {
  requests: PeerDatagram[] = [];
  replies: PeerDatagram[] = [];
  taken = 0;
  underWay = 0;

  constructor(
    readonly port: PeerPort,
    readonly posted: () => void,
    private readonly schedule: () => void,
  ) {}

  reply(bytes: Uint8Array, length: number, port: number, address: UdpAddress): void {
    this.replies.push({ bytes: bytes.slice(0, length), port, address });
    this.schedule();
  }
}

export class ShardPeers {
  readonly #peers = new Map<number, Peer>();
  #scheduled = false;
  /** Whose request is being handled. */
  #asking: number | undefined;

  constructor(
    private readonly handler: PeerHandler,
    private readonly counters: ShardCounters,
    private readonly defer: (flush: () => void) => void,
  ) {}

  /**
   * A sibling that was restarted brings a new port; what was under way to the old one is lost. `posted` is called after
   * every message to it.
   */
  connect(shard: number, port: PeerPort, posted: () => void): void {
    this.#peers.get(shard)?.port.close();
    const peer = new Peer(port, posted, () => this.#schedule());
    this.#peers.set(shard, peer);
    port.onmessage = (event) => this.#receive(shard, peer, event.data as PeerBatch);
  }

  forward(shard: number, datagram: Uint8Array, port: number, address: UdpAddress): void {
    const peer = this.#peers.get(shard);
    if (peer === undefined || peer.underWay >= MAX_UNDER_WAY) {
      this.counters.values[FORWARD_DROPPED]! += 1;
      return;
    }
    peer.underWay++;
    peer.requests.push({ bytes: datagram.slice(), port, address, via: this.#asking });
    this.#schedule();
  }

  #receive(shard: number, peer: Peer, batch: PeerBatch): void {
    peer.underWay -= batch.taken;
    for (const { bytes, port, address } of batch.replies) this.handler.reply(bytes, port, address);
    for (const { bytes, port, address, via } of batch.requests) {
      this.#asking = shard;
      // Handed on twice: the answer goes to the sibling whose socket it came by.
      const sink = via === undefined ? peer : this.#peers.get(via);
      if (sink !== undefined) this.handler.request(bytes, sink, port, address);
    }
    this.#asking = undefined;
    peer.taken += batch.requests.length;
    if (peer.taken > 0) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.defer(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    for (const peer of this.#peers.values()) {
      const { requests, replies, taken } = peer;
      if (requests.length === 0 && replies.length === 0 && taken === 0) continue;
      peer.requests = [];
      peer.replies = [];
      peer.taken = 0;
      peer.port.postMessage({ requests, replies, taken });
      peer.posted();
    }
  }
}
