import { expect, test } from "bun:test";
import { ShardCounters } from "../../src/agent/shard-counters.ts";
import { type PeerHandler, type PeerPort, ShardPeers } from "../../src/agent/shard-peers.ts";
import type { PeerBatch } from "../../src/agent/shard-protocol.ts";

const MAX_UNDER_WAY = 4096;

/** A port that keeps what is posted until the test delivers it. */
class FakePort implements PeerPort {
  onmessage: ((event: MessageEvent) => void) | null = null;
  closed = false;
  readonly posted: PeerBatch[] = [];
  other: FakePort | undefined;

  postMessage(batch: PeerBatch): void {
    this.posted.push(batch);
  }
  close(): void {
    this.closed = true;
  }
  deliver(): void {
    for (const batch of this.posted.splice(0)) this.other?.onmessage?.({ data: batch } as MessageEvent);
  }
}

class Side {
  readonly counters = new ShardCounters();
  readonly requests: string[] = [];
  readonly replies: string[] = [];
  readonly peers: ShardPeers;
  #deferred: (() => void)[] = [];

  constructor(request: PeerHandler["request"] = () => {}) {
    this.peers = new ShardPeers(
      {
        request: (datagram, sink, port, address) => {
          this.requests.push(`${datagram.toHex()} ${address}:${port}`);
          request(datagram, sink, port, address);
        },
        reply: (bytes, port, address) => this.replies.push(`${bytes.toHex()} ${address}:${port}`),
      },
      this.counters,
      (flush) => this.#deferred.push(flush),
    );
  }
  turn(): void {
    for (const flush of this.#deferred.splice(0)) flush();
  }
  get dropped(): number {
    return this.counters.read("forward_dropped");
  }
}

function connect(a: Side, b: Side): [FakePort, FakePort] {
  const [pa, pb] = [new FakePort(), new FakePort()];
  pa.other = pb;
  pb.other = pa;
  a.peers.connect(1, pa, () => {});
  b.peers.connect(0, pb, () => {});
  return [pa, pb];
}

test("a datagram goes to its owner, and the answer comes back to the socket it came in by", () => {
  const reused = new Uint8Array(4);
  const owner = new Side((datagram, sink, port, address) => {
    // An answer's buffer is used again for the next: what is sent must have been copied.
    reused.set([0xaa, datagram[0]!]);
    sink.reply(reused, 2, port, address);
  });
  const asked = new Side();
  const [pa, pb] = connect(asked, owner);
  asked.peers.forward(1, new Uint8Array([1]), 11, "10.0.0.1");
  asked.peers.forward(1, new Uint8Array([2]), 22, "10.0.0.2");
  expect(pa.posted).toEqual([]);
  asked.turn();
  expect(pa.posted).toHaveLength(1);
  pa.deliver();
  owner.turn();
  pb.deliver();
  expect(asked.replies).toEqual(["aa01 10.0.0.1:11", "aa02 10.0.0.2:22"]);
  expect(owner.requests).toHaveLength(2);
});

test("an answer that comes later, after a wait, finds its way too", () => {
  let later: (() => void) | undefined;
  const owner = new Side((_datagram, sink, port, address) => {
    later = () => sink.reply(new Uint8Array([7]), 1, port, address);
  });
  const asked = new Side();
  const [pa, pb] = connect(asked, owner);
  asked.peers.forward(1, new Uint8Array([1]), 11, "a");
  asked.turn();
  pa.deliver();
  owner.turn();
  pb.deliver();
  later!();
  owner.turn();
  pb.deliver();
  expect(asked.replies).toEqual(["07 a:11"]);
});

test("what is under way to a sibling that takes nothing is bounded; what is beyond is dropped and counted", () => {
  const asked = new Side();
  const [pa, pb] = connect(asked, new Side());
  for (let i = 0; i < MAX_UNDER_WAY + 10; i++) {
    asked.peers.forward(1, new Uint8Array(1), 1, "a");
    if (i % 100 === 0) asked.turn();
  }
  asked.turn();
  expect(asked.dropped).toBe(10);
  expect(pa.posted.reduce((sum, { requests }) => sum + requests.length, 0)).toBe(MAX_UNDER_WAY);
  expect(pb.posted).toEqual([]);
});

test("what the sibling has taken makes room again, answered or not", () => {
  const asked = new Side();
  const owner = new Side();
  const [pa, pb] = connect(asked, owner);
  for (let i = 0; i < MAX_UNDER_WAY; i++) asked.peers.forward(1, new Uint8Array(1), 1, "a");
  asked.turn();
  pa.deliver();
  owner.turn();
  pb.deliver();
  for (let i = 0; i < MAX_UNDER_WAY; i++) asked.peers.forward(1, new Uint8Array(1), 1, "a");
  expect(asked.dropped).toBe(0);
  asked.peers.forward(1, new Uint8Array(1), 1, "a");
  expect(asked.dropped).toBe(1);
});

test("a sibling that is not connected yet costs a datagram, and is counted", () => {
  const asked = new Side();
  asked.peers.forward(2, new Uint8Array(1), 1, "a");
  expect(asked.dropped).toBe(1);
});

test("a restarted sibling brings a new port: the old is closed, what was under way is forgotten, and work goes on", () => {
  const asked = new Side();
  const [old] = connect(asked, new Side());
  for (let i = 0; i < MAX_UNDER_WAY; i++) asked.peers.forward(1, new Uint8Array(1), 1, "a");
  const owner = new Side((_datagram, sink, port, address) => sink.reply(new Uint8Array([5]), 1, port, address));
  const [pa, pb] = connect(asked, owner);
  expect(old.closed).toBe(true);
  asked.peers.forward(1, new Uint8Array(1), 9, "b");
  asked.turn();
  pa.deliver();
  owner.turn();
  pb.deliver();
  expect(asked.replies).toEqual(["05 b:9"]);
  expect(asked.dropped).toBe(0);
});

test("two shards that talk all at once, in messages of any interleaving, answer everything that was not dropped", () => {
  const echo: PeerHandler["request"] = (datagram, sink, port, address) => sink.reply(datagram, 1, port, address);
  const [a, b] = [new Side(echo), new Side(echo)];
  const [pa, pb] = connect(a, b);
  for (let round = 0; round < 500; round++) {
    for (let i = 0; i < 37; i++) {
      a.peers.forward(1, new Uint8Array([round & 255]), i + 1, "a");
      b.peers.forward(0, new Uint8Array([round & 255]), i + 1, "b");
    }
    if (round % 2 === 0) a.turn();
    if (round % 3 === 0) pa.deliver();
    if (round % 5 === 0) b.turn();
    if (round % 7 === 0) pb.deliver();
  }
  for (let i = 0; i < 3; i++)
    for (const step of [() => a.turn(), () => b.turn(), () => pa.deliver(), () => pb.deliver()]) step();
  expect([a.replies.length + a.dropped, b.replies.length + b.dropped]).toEqual([500 * 37, 500 * 37]);
  expect(a.dropped).toBe(0);
});

test("a datagram that was handed on twice is answered through the shard it came in by, and the one between sees no answer", () => {
  const [asked, between] = [
    new Side(),
    new Side((datagram, _sink, port, address) => between.peers.forward(2, datagram, port, address)),
  ];
  const last = new Side((_datagram, sink, port, address) => sink.reply(new Uint8Array([0xbb]), 1, port, address));
  const join = (a: Side, aIndex: number, b: Side, bIndex: number): [FakePort, FakePort] => {
    const [pa, pb] = [new FakePort(), new FakePort()];
    pa.other = pb;
    pb.other = pa;
    a.peers.connect(bIndex, pa, () => {});
    b.peers.connect(aIndex, pb, () => {});
    return [pa, pb];
  };
  const ports = [...join(asked, 0, between, 1), ...join(between, 1, last, 2), ...join(asked, 0, last, 2)];
  asked.peers.forward(1, new Uint8Array([1]), 11, "10.0.0.1");
  between.peers.forward(2, new Uint8Array([2]), 22, "10.0.0.2");
  for (let turn = 0; turn < 4; turn++) {
    for (const side of [asked, between, last]) side.turn();
    for (const port of ports) port.deliver();
  }
  expect([asked.replies, between.replies]).toEqual([["bb 10.0.0.1:11"], ["bb 10.0.0.2:22"]]);
});
