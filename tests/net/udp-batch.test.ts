// The socket that is read by system call. Its thread blocks, so here everything it is to receive is sent before it looks.
import { afterEach, describe, expect, test } from "bun:test";
import { createSocket, type Socket } from "node:dgram";
import { closeUdp, type OpenUdp, openUdp, ring, UdpBatch } from "../../src/net/udp-batch.ts";
import { MAX_UDP_FRAME_BYTES } from "../../src/wire/frame.ts";
import { until } from "./until.ts";

const LOOPBACK = 0x7f00_0001;
const BUFFER = 1 << 20;

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function open(hostname = "127.0.0.1", port = 0): OpenUdp {
  const socket = openUdp(hostname, port, BUFFER);
  if (socket === undefined) throw new Error("these tests need Linux with glibc");
  cleanups.push(() => closeUdp(socket));
  return socket;
}

interface Got {
  readonly bytes: Uint8Array;
  readonly port: number;
  readonly address: number;
}

class Rig {
  readonly socket: OpenUdp;
  readonly got: Got[] = [];
  readonly errors: unknown[] = [];
  readonly batch: UdpBatch;
  wakes = 0;

  constructor(onDatagram?: (rig: Rig, got: Got) => void, hostname?: string) {
    this.socket = open(hostname);
    this.batch = new UdpBatch(
      this.socket,
      (datagram, port, address) => {
        const got = { bytes: datagram.slice(), port, address };
        this.got.push(got);
        onDatagram?.(this, got);
      },
      (error) => this.errors.push(error),
    );
  }

  receive(timeoutMs = 1000): number {
    return this.batch.receive(timeoutMs, () => this.wakes++);
  }
}

class Peer {
  readonly got: Uint8Array[] = [];
  private constructor(readonly socket: Socket) {
    socket.on("message", (message) => this.got.push(new Uint8Array(message)));
    cleanups.push(() => socket.close());
  }
  static async make(): Promise<Peer> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new Peer(socket);
  }
  get port(): number {
    return this.socket.address().port;
  }
  send(bytes: Uint8Array, port: number): Promise<void> {
    return new Promise((resolve, reject) =>
      this.socket.send(bytes, port, "127.0.0.1", (error) => (error ? reject(error) : resolve())),
    );
  }
}

const bytes = (...values: number[]) => Uint8Array.from(values);

describe("receiving", () => {
  test("datagrams come in order with their sender, up to 64 at once, whatever their size", async () => {
    const rig = new Rig();
    const peer = await Peer.make();
    const large = new Uint8Array(MAX_UDP_FRAME_BYTES).map((_, i) => i);
    for (let i = 0; i < 69; i++) await peer.send(bytes(i), rig.socket.port);
    await peer.send(large.subarray(0, 65_507), rig.socket.port);
    expect(rig.receive()).toBe(64);
    expect(rig.receive()).toBe(6);
    expect(rig.got.slice(0, 69).map((got) => got.bytes[0])).toEqual(Array.from({ length: 69 }, (_, i) => i));
    expect(rig.got[69]!.bytes).toEqual(large.slice(0, 65_507));
    for (const { port, address } of rig.got) expect([port, address]).toEqual([peer.port, LOOPBACK]);
  });

  test("nothing comes within the time: 0, after having woken", () => {
    const rig = new Rig();
    expect(rig.receive(5)).toBe(0);
    expect(rig.receive(20)).toBe(0);
    expect(rig.wakes).toBe(2);
  });

  test("an empty datagram of a caller is handed over; a ring ends the wait and is not", async () => {
    const rig = new Rig();
    const peer = await Peer.make();
    await peer.send(bytes(), rig.socket.port);
    expect(rig.receive()).toBe(1);
    expect(rig.got.map((got) => got.bytes.length)).toEqual([0]);
    ring(rig.socket);
    expect(rig.receive()).toBe(1);
    expect(rig.got).toHaveLength(1);
  });

  test("a socket on every address can be rung", () => {
    const rig = new Rig(undefined, "0.0.0.0");
    ring(rig.socket);
    expect(rig.receive()).toBe(1);
    expect(rig.got).toEqual([]);
  });

  test("an exception costs the datagram it came with and is told", async () => {
    const rig = new Rig((_, { bytes }) => {
      if (bytes[0] === 1) throw new Error("mine");
    });
    const peer = await Peer.make();
    for (const value of [0, 1, 2]) await peer.send(bytes(value), rig.socket.port);
    expect(rig.receive()).toBe(3);
    expect(rig.got.map((got) => got.bytes[0])).toEqual([0, 1, 2]);
    expect(rig.errors.map(String)).toEqual(["Error: mine"]);
  });
});

describe("answering", () => {
  test("200 callers' answers of every size reach each caller, in order", async () => {
    const rig = new Rig((self, { bytes, port, address }) => {
      const answer = new Uint8Array(1 + bytes[0]! * 2).fill(bytes[0]!);
      self.batch.queueReply(answer, answer.length, port, address);
    });
    const peers = await Promise.all([1, 2, 3, 4].map(() => Peer.make()));
    for (let i = 0; i < 200; i++) await peers[i % 4]!.send(bytes(i), rig.socket.port);
    for (let left = 200; left > 0; left -= rig.receive());
    await until(() => peers.every(({ got }) => got.length === 50));
    for (const [p, peer] of peers.entries()) {
      // Those beyond a batch's slot leave at once and may overtake.
      const sent = Array.from({ length: 50 }, (_, i) => p + i * 4);
      expect(peer.got.map((got) => got[0]!).sort((a, b) => a - b)).toEqual(sent);
      for (const got of peer.got) expect(got).toEqual(new Uint8Array(1 + got[0]! * 2).fill(got[0]!));
    }
    expect(rig.batch.counters).toEqual({ out: 200, sendErrors: 0 });
  });

  test("the buffer answers were made in may be used again at once", async () => {
    const out = bytes(0);
    const rig = new Rig((self, got) => {
      out[0] = got.bytes[0]!;
      self.batch.queueReply(out, 1, got.port, got.address);
    });
    const peer = await Peer.make();
    for (const value of [7, 8, 9]) await peer.send(bytes(value), rig.socket.port);
    rig.receive();
    await until(() => peer.got.length === 3);
    expect(peer.got).toEqual([bytes(7), bytes(8), bytes(9)]);
  });

  test("what cannot be sent is counted, and the others' answers leave", async () => {
    const rig = new Rig();
    const peer = await Peer.make();
    rig.batch.queueReply(bytes(1), 1, peer.port, LOOPBACK);
    rig.batch.queueReply(bytes(2), 1, 0, LOOPBACK);
    // Nobody may send to the broadcast address unasked.
    rig.batch.queueReply(bytes(3), 1, 9, -1);
    rig.batch.queueReply(bytes(4), 1, peer.port, LOOPBACK);
    rig.batch.flush();
    await until(() => peer.got.length === 2);
    expect(peer.got).toEqual([bytes(1), bytes(4)]);
    expect(rig.batch.counters).toEqual({ out: 2, sendErrors: 2 });
  });

  test("answers to a caller that has died harm nobody", async () => {
    const rig = new Rig();
    const dead = createSocket("udp4");
    await new Promise<void>((resolve) => dead.bind(0, "127.0.0.1", resolve));
    const { port } = dead.address();
    await new Promise<void>((resolve) => dead.close(() => resolve()));
    const peer = await Peer.make();
    for (let i = 0; i < 20; i++) {
      rig.batch.queueReply(bytes(1), 1, port, LOOPBACK);
      rig.batch.flush();
      rig.batch.queueReply(bytes(i), 1, peer.port, LOOPBACK);
      rig.batch.flush();
    }
    await until(() => peer.got.length === 20);
    expect(rig.batch.counters.sendErrors).toBe(0);
  });
});

describe("binding", () => {
  test("a port that is taken is an error that names it and says what to do", () => {
    const { port } = open();
    expect(() => openUdp("127.0.0.1", port, BUFFER)).toThrow(
      `cannot bind UDP 127.0.0.1:${port}: EADDRINUSE; choose a free port and an address of this host`,
    );
  });

  test("an address that is not this machine's is an error", () => {
    expect(() => openUdp("192.0.2.1", 0, BUFFER)).toThrow("cannot bind UDP 192.0.2.1:0: EADDRNOTAVAIL");
  });

  test("names and IPv6 addresses are left to the other socket; localhost is known", () => {
    expect(openUdp("::1", 0, BUFFER)).toBeUndefined();
    expect(openUdp("some.name", 0, BUFFER)).toBeUndefined();
    expect(open("localhost").ip).toBe(LOOPBACK);
  });

  test("a closed socket's port is free again", () => {
    const first = openUdp("127.0.0.1", 0, BUFFER)!;
    closeUdp(first);
    expect(open("127.0.0.1", first.port).port).toBe(first.port);
  });
});
