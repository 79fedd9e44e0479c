import { afterEach, expect, test } from "bun:test";
import { listenPrefixed, type PrefixedServer, type PrefixedServerOptions } from "../../src/net/prefixed-server.ts";
import { until } from "./until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** A server that sends every message back, unless told otherwise. */
function serve(options: Partial<PrefixedServerOptions> = {}): PrefixedServer {
  const server = listenPrefixed({
    hostname: "127.0.0.1",
    port: 0,
    maxConnections: 10,
    maxMessageBytes: 100,
    maxUnanswered: 4,
    idleTimeoutMs: 60_000,
    nowMs: () => performance.now(),
    answer: async (message) => message,
    onError: () => {},
    ...options,
  });
  cleanups.push(() => server.stop());
  return server;
}

interface Peer {
  readonly socket: Bun.Socket<undefined>;
  bytes: Buffer;
  closed: boolean;
}

async function dial(port: number): Promise<Peer> {
  const peer = { bytes: Buffer.alloc(0), closed: false } as Peer;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(_socket, chunk) {
        peer.bytes = Buffer.concat([peer.bytes, chunk]);
      },
      close() {
        peer.closed = true;
      },
      error() {},
    },
  });
  cleanups.push(() => socket.terminate());
  return Object.assign(peer, { socket });
}

const message = (...bytes: number[]): Uint8Array => Uint8Array.from([0, bytes.length, ...bytes]);

test("messages are answered, however they are cut into pieces, the empty one too", async () => {
  const peer = await dial(serve().port);
  const stream = Uint8Array.from([...message(1, 2, 3), ...message(), ...message(4)]);
  for (let cut = 0; cut <= stream.length; cut++) {
    peer.bytes = Buffer.alloc(0);
    peer.socket.write(stream.subarray(0, cut));
    peer.socket.flush();
    await Bun.sleep(0);
    peer.socket.write(stream.subarray(cut));
    await until(() => expect(peer.bytes.toString("hex")).toBe(Buffer.from(stream).toString("hex")));
  }
});

test("no answer is no answer, and an answer that fails is reported and costs the others nothing", async () => {
  const errors: unknown[] = [];
  const server = serve({
    answer: async (bytes) => {
      if (bytes[0] === 1) return undefined;
      if (bytes[0] === 2) throw new Error("broken");
      return bytes;
    },
    onError: (error) => errors.push(error),
  });
  const peer = await dial(server.port);
  peer.socket.write(Uint8Array.from([...message(1), ...message(2), ...message(3)]));
  await until(() => expect([...peer.bytes]).toEqual([...message(3)]));
  expect(errors.map(String)).toEqual(["Error: broken"]);
  expect(peer.closed).toBe(false);
});

test("a longer message than allowed cuts its sender off before it has come", async () => {
  const server = serve();
  const [bad, good] = [await dial(server.port), await dial(server.port)];
  bad.socket.write(Uint8Array.from([0, 101]));
  await until(() => bad.closed);
  expect(server.counters.cutOff).toBe(1);
  good.socket.write(message(9));
  await until(() => expect([...good.bytes]).toEqual([...message(9)]));
});

test("more questions at once than allowed cut their sender off", async () => {
  const server = serve({ answer: () => new Promise(() => {}) });
  const peer = await dial(server.port);
  for (let i = 0; i < 4; i++) peer.socket.write(message(i));
  await until(() => server.connections === 1);
  expect(server.counters.cutOff).toBe(0);
  peer.socket.write(message(5));
  await until(() => peer.closed && server.connections === 0);
  expect(server.counters.cutOff).toBe(1);
});

test("connections beyond the bound are refused; when one has gone there is room again", async () => {
  const server = serve({ maxConnections: 2 });
  const peers = [await dial(server.port), await dial(server.port)];
  await until(() => server.connections === 2);
  const third = await dial(server.port);
  await until(() => third.closed);
  expect(server.counters).toMatchObject({ accepted: 2, refused: 1 });
  peers[0]!.socket.end();
  await until(() => server.connections === 1);
  const fourth = await dial(server.port);
  fourth.socket.write(message(1));
  await until(() => expect([...fourth.bytes]).toEqual([...message(1)]));
});

test("who is silent, or sends half a message, is disconnected; who asks, or waits for an answer, is not", async () => {
  let nowMs = 0;
  const server = serve({
    idleTimeoutMs: 1000,
    nowMs: () => nowMs,
    answer: async (bytes) => (bytes[0] === 7 ? new Promise(() => {}) : bytes),
  });
  const [silent, half, asking, waiting] = await Promise.all([1, 2, 3, 4].map(() => dial(server.port)));
  await until(() => server.connections === 4);
  nowMs = 900;
  half!.socket.write(Uint8Array.from([0, 5, 1]));
  waiting!.socket.write(message(7));
  asking!.socket.write(message(1));
  await until(() => expect([...asking!.bytes]).toEqual([...message(1)]));
  nowMs = 1500;
  await until(() => silent!.closed && half!.closed);
  expect(asking!.closed || waiting!.closed).toBe(false);
  expect(server.counters.timedOut).toBe(2);
});

test("the longest answers arrive as a whole; a peer that does not read them is cut off", async () => {
  const answer = new Uint8Array(65_535).fill(3);
  const server = serve({ answer: async () => answer, maxMessageBytes: 10 });
  const reader = await dial(server.port);
  reader.socket.write(message(1));
  await until(() => reader.bytes.length === 65_537);
  expect(reader.bytes.readUInt16BE(0)).toBe(65_535);

  const deaf = await dial(server.port);
  deaf.socket.pause();
  await until(() => {
    if (server.counters.cutOff === 0) deaf.socket.write(message(1));
    return server.counters.cutOff === 1;
  }, 10_000);
});

test("after stop nobody is connected and the port is free", async () => {
  const server = serve();
  const peer = await dial(server.port);
  await until(() => server.connections === 1);
  server.stop();
  await until(() => peer.closed);
  const next = serve({ port: server.port });
  expect(next.port).toBe(server.port);
  expect(() => serve({ port: server.port })).toThrow(/cannot listen on TCP 127\.0\.0\.1:\d+: EADDRINUSE; choose/);
});
