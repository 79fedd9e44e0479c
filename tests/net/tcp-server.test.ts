import { afterEach, describe, expect, test } from "bun:test";
import { listenTcp, type TcpConnection, type TcpServer, type TcpServerOptions } from "../../src/net/tcp-server.ts";
import { frameOf, MAX_BODY_BYTES, writeHeader } from "../../src/wire/frame.ts";
import { FrameDecoder } from "../../src/wire/frame-decoder.ts";
import { until } from "./until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const bytes = (length: number, fill = 7): Uint8Array => new Uint8Array(length).fill(fill);
const nothing = (): void => {};

/** A server that sends every frame back, unless told otherwise. */
function serve(options: Partial<TcpServerOptions> = {}): TcpServer {
  const server = listenTcp({
    hostname: "127.0.0.1",
    port: 0,
    maxConnections: 100,
    maxQueuedBytes: 1 << 20,
    onOpen: nothing,
    onFrame: (connection, msgid, body) => void connection.send(frameOf(msgid, body.slice())),
    onDrain: nothing,
    onClose: nothing,
    ...options,
  });
  cleanups.push(() => server.stop());
  return server;
}

interface Peer {
  readonly socket: Bun.Socket<undefined>;
  readonly frames: string[];
  closed: boolean;
}

/** A raw peer: no code under test on this side but the decoder, which has tests of its own. */
async function dial(port: number): Promise<Peer> {
  const decoder = new FrameDecoder();
  const frames: string[] = [];
  const state = { closed: false };
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_socket, chunk) => void decoder.push(chunk, (msgid, body) => frames.push(`${msgid}:${body.toHex()}`)),
      close: () => {
        state.closed = true;
      },
      error: nothing,
    },
  });
  cleanups.push(() => socket.terminate());
  return {
    socket,
    frames,
    get closed() {
      return state.closed;
    },
  };
}

describe("frames over a connection", () => {
  test("arrive whole when sent byte by byte, and apart when sent together", async () => {
    const server = serve();
    const peer = await dial(server.port);
    for (const byte of frameOf(1, bytes(3))) {
      expect(peer.socket.write(new Uint8Array([byte]))).toBe(1);
      peer.socket.flush();
      await Bun.sleep(0);
    }
    peer.socket.write(new Uint8Array([...frameOf(2, bytes(0)), ...frameOf(3, bytes(2)), ...frameOf(4, bytes(1))]));
    await until(() => expect(peer.frames).toEqual(["1:070707", "2:", "3:0707", "4:07"]));
    expect(server.counters).toMatchObject({ accepted: 1, open: 1, framesIn: 4, bytesIn: 38, bytesOut: 38 });
  });

  test("a body of 65,527 bytes goes both ways", async () => {
    const server = serve();
    const peer = await dial(server.port);
    const frame = frameOf(2, bytes(MAX_BODY_BYTES));
    let sent = 0;
    await until(() => {
      sent += peer.socket.write(frame, sent);
      return sent === frame.length;
    });
    await until(() => expect(peer.frames[0]?.length).toBe(2 + 2 * MAX_BODY_BYTES));
  });

  test("what one event makes the owner send leaves in one write, in order", async () => {
    const server = serve({
      onFrame: (connection) => {
        for (let i = 0; i < 100; i++) connection.send(frameOf(i, bytes(i)));
        // Nothing has been handed to the kernel yet.
        expect(server.counters.bytesOut).toBe(0);
        expect(connection.queuedBytes).toBe(100 * 8 + 4950);
      },
    });
    const peer = await dial(server.port);
    peer.socket.write(frameOf(1, bytes(0)));
    await until(() => expect(peer.frames.length).toBe(100));
    expect(peer.frames.map((frame) => Number(frame.split(":")[0]))).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(server.counters.callbackErrors).toBe(0);
  });

  test("each connection has its own id, state and half-read frame", async () => {
    const seen: unknown[] = [];
    const server = serve({
      onOpen: (connection) => {
        connection.data = `state ${connection.id}`;
      },
      onFrame: (connection, msgid) => seen.push([connection.data, msgid, connection.remoteAddress]),
    });
    const [one, two] = [await dial(server.port), await dial(server.port)];
    const [a, b] = [frameOf(11, bytes(4)), frameOf(22, bytes(4))];
    one.socket.write(a.subarray(0, 9));
    await until(() => server.counters.bytesIn === 9);
    two.socket.write(b);
    await until(() => seen.length === 1);
    one.socket.write(a.subarray(9));
    await until(() => seen.length === 2);
    expect(seen).toEqual([
      ["state 2", 22, "127.0.0.1"],
      ["state 1", 11, "127.0.0.1"],
    ]);
  });
});

describe("a peer that does not read", () => {
  const BOUND = 256 * 1024;

  /** Sends until told to stop; gives the connection and how much was taken. */
  async function fill(): Promise<{
    connection: TcpConnection;
    peer: Peer;
    taken: number;
    drains: () => number;
    server: TcpServer;
  }> {
    let connection: TcpConnection | undefined;
    let drains = 0;
    const server = serve({
      maxQueuedBytes: BOUND,
      onOpen: (opened) => {
        connection = opened;
      },
      onDrain: () => drains++,
    });
    const peer = await dial(server.port);
    peer.socket.pause();
    await until(() => connection !== undefined);
    const frame = frameOf(9, bytes(10_000));
    let taken = 0;
    for (let turn = 0; connection!.writable; turn++) {
      while (connection!.send(frame)) taken++;
      taken++;
      await Bun.sleep(0);
      if (turn > 1000) throw new Error("the kernel took 10 GB for a peer that does not read");
    }
    return { connection: connection!, peer, taken, drains: () => drains, server };
  }

  test("costs at most the bound and one frame, and further sends are refused", async () => {
    const { connection, server } = await fill();
    expect(connection.queuedBytes).toBeGreaterThanOrEqual(BOUND);
    expect(connection.queuedBytes).toBeLessThan(BOUND + 10_008);
    const queued = connection.queuedBytes;
    expect(connection.send(frameOf(1, bytes(1)))).toBe(false);
    expect([connection.queuedBytes, connection.writable]).toEqual([queued, false]);
    expect(server.counters.open).toBe(1);
  });

  test("and then reads gets every frame taken, whole and in order, and one onDrain", async () => {
    const { connection, peer, taken, drains } = await fill();
    expect(drains()).toBe(0);
    peer.socket.resume();
    await until(() => peer.frames.length === taken);
    expect(new Set(peer.frames.map((frame) => frame.length))).toEqual(new Set([2 + 20_000]));
    expect([connection.queuedBytes, connection.writable, drains()]).toEqual([0, true, 1]);
    expect(connection.send(frameOf(5, bytes(1)))).toBe(true);
    await until(() => peer.frames.at(-1) === "5:07");
  });

  test("and then goes away leaves nothing queued", async () => {
    const { connection, peer, server } = await fill();
    peer.socket.terminate();
    await until(() => server.counters.open === 0);
    expect([connection.queuedBytes, connection.closed, connection.send(bytes(9))]).toEqual([0, true, false]);
  });
});

describe("trouble on one connection", () => {
  test("a protocol error closes that connection, is counted, and the others go on", async () => {
    const drops: string[] = [];
    const closed: number[] = [];
    const server = serve({
      onDrop: (reason, detail) => drops.push(`${reason} ${detail}`),
      onClose: ({ id }) => closed.push(id),
    });
    const [good, bad] = [await dial(server.port), await dial(server.port)];
    const header = new Uint8Array(8);
    writeHeader(header, 0, 3, MAX_BODY_BYTES + 1);
    bad.socket.write(new Uint8Array([...frameOf(1, bytes(1)), ...header]));
    await until(() => bad.closed);
    good.socket.write(frameOf(2, bytes(1)));
    await until(() => good.frames.length === 1);
    expect(server.counters).toMatchObject({ open: 1, protocolErrors: 1 });
    expect(drops).toEqual([expect.stringMatching(/^protocol-error .*65528/)]);
    expect(closed).toEqual([2]);
  });

  test("an exception in any callback is reported, and the connection and the others go on", async () => {
    const errors: string[] = [];
    const server = serve({
      onOpen: () => {
        throw new Error("open");
      },
      onFrame: (connection, msgid, body) => {
        if (msgid === 13) throw new Error("frame");
        connection.send(frameOf(msgid, body.slice()));
      },
      onClose: () => {
        throw new Error("close");
      },
      onError: (error) => {
        errors.push((error as Error).message);
        throw new Error("the reporter itself");
      },
    });
    const [one, two] = [await dial(server.port), await dial(server.port)];
    one.socket.write(new Uint8Array([...frameOf(13, bytes(1)), ...frameOf(1, bytes(1))]));
    two.socket.write(frameOf(2, bytes(1)));
    await until(() => one.frames.length === 1 && two.frames.length === 1);
    one.socket.end();
    await until(() => server.counters.open === 1);
    expect(errors).toEqual(["open", "open", "frame", "close"]);
    expect(server.counters.callbackErrors).toBe(4);
  });

  test("closing from within onFrame delivers no further frame and calls onClose once", async () => {
    const events: string[] = [];
    const server = serve({
      onFrame: (connection, msgid) => {
        events.push(`frame ${msgid}`);
        connection.send(frameOf(99, bytes(0)));
        connection.close();
        connection.close();
      },
      onClose: () => events.push("close"),
    });
    const peer = await dial(server.port);
    peer.socket.write(new Uint8Array([...frameOf(1, bytes(0)), ...frameOf(2, bytes(0))]));
    await until(() => peer.closed && server.counters.open === 0);
    expect(events).toEqual(["frame 1", "close"]);
    // What was queued before the close was still written.
    expect(peer.frames).toEqual(["99:"]);
  });
});

describe("limits and the end", () => {
  test("a connection over the limit is closed and counted; when one leaves, the next is taken", async () => {
    const drops: string[] = [];
    const server = serve({ maxConnections: 2, onDrop: (reason) => drops.push(reason) });
    const first = await dial(server.port);
    await dial(server.port);
    const third = await dial(server.port);
    await until(() => third.closed);
    expect(server.counters).toMatchObject({ open: 2, accepted: 2, refused: 1 });
    expect(drops).toEqual(["max-connections"]);
    first.socket.end();
    await until(() => server.counters.open === 1);
    const fourth = await dial(server.port);
    fourth.socket.write(frameOf(1, bytes(0)));
    await until(() => fourth.frames.length === 1);
  });

  test("a paused connection delivers nothing until resumed", async () => {
    const seen: number[] = [];
    let connection: TcpConnection | undefined;
    const server = serve({
      onOpen: (opened) => {
        connection = opened;
        opened.pause();
      },
      onFrame: (_connection, msgid) => seen.push(msgid),
    });
    const paused = await dial(server.port);
    paused.socket.write(frameOf(1, bytes(0)));
    await until(() => connection !== undefined);
    // A whole exchange on another connection passes meanwhile.
    const witness = serve();
    const probe = await dial(witness.port);
    probe.socket.write(frameOf(2, bytes(0)));
    await until(() => probe.frames.length === 1);
    expect(seen).toEqual([]);
    connection!.resume();
    await until(() => expect(seen).toEqual([1]));
    expect(server.counters.framesIn).toBe(1);
  });

  for (const end of ["closes", "resets"] as const) {
    test(`a peer that ${end} the connection while it is paused has told all 11 frames that arrived before the end`, async () => {
      const seen: (number | string)[] = [];
      let connection: TcpConnection | undefined;
      const server = serve({
        onFrame: (from, msgid) => {
          seen.push(msgid);
          if (msgid === 0) from.pause();
          connection = from;
        },
        onClose: () => seen.push("closed"),
      });
      const { socket } = await dial(server.port);
      socket.write(frameOf(0, bytes(0)));
      await until(() => expect(seen).toEqual([0]));
      // No more than the receiver's window has room for: what a peer has not sent is gone with a reset.
      const rest = Array.from({ length: 10 }, (_, i) => [...frameOf(i + 1, bytes(1000))]).flat();
      expect(socket.write(new Uint8Array(rest))).toBe(10_080);
      if (end === "closes") socket.end();
      else socket.terminate();
      if (end === "closes") {
        const probe = await dial(serve().port);
        probe.socket.write(frameOf(2, bytes(0)));
        await until(() => probe.frames.length === 1);
        expect(seen).toEqual([0]);
        connection!.resume();
      }
      await until(() => expect(seen).toEqual([...Array.from({ length: 11 }, (_, id) => id), "closed"]));
    });
  }

  test("stop closes every connection, calls onClose for each, and frees the port", async () => {
    const closed: number[] = [];
    const server = serve({ onClose: ({ id }) => closed.push(id) });
    const peers = [await dial(server.port), await dial(server.port)];
    await until(() => server.counters.open === 2);
    server.stop();
    expect(closed.sort()).toEqual([1, 2]);
    expect(server.counters.open).toBe(0);
    await until(() => peers.every(({ closed: gone }) => gone));
    expect(serve({ port: server.port }).port).toBe(server.port);
  });

  test("an address in use is told with address, reason and what to do", () => {
    const { port } = serve();
    expect(() => serve({ port })).toThrow(new RegExp(`127.0.0.1:${port}: EADDRINUSE; choose a free port`));
  });
});
