import { afterEach, describe, expect, test } from "bun:test";
import { bindUdp, type UdpSocket, type UdpSocketOptions } from "../../src/net/udp-socket.ts";
import { MAX_UDP_FRAME_BYTES } from "../../src/wire/frame.ts";
import { until } from "./until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function bind(options: Partial<UdpSocketOptions> = {}): Promise<UdpSocket> {
  const socket = await bindUdp({
    hostname: "127.0.0.1",
    port: 0,
    receiveBufferBytes: 1 << 20,
    onDatagram: () => {},
    onError: () => {},
    ...options,
  });
  cleanups.push(() => socket.close());
  return socket;
}

/** A peer that is no code under test: it collects what it is sent, as "length:first byte". */
async function peer(): Promise<{
  readonly port: number;
  readonly got: string[];
  send(bytes: Uint8Array, port: number): void;
}> {
  const got: string[] = [];
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (_socket, datagram) => void got.push(`${datagram.length}:${datagram[0] ?? ""}`), error: () => {} },
  });
  cleanups.push(() => socket.close());
  return { port: socket.port, got, send: (bytes, port) => void socket.send(bytes, port, "127.0.0.1") };
}

/** A port on which nobody listens any more: a caller that has died. */
async function deadPort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}

const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);

describe("answers of one turn", () => {
  test("are copied when queued and leave together at the end of the turn", async () => {
    const client = await peer();
    const scratch = new Uint8Array(64);
    const socket = await bind();
    for (let i = 1; i <= 10; i++) {
      scratch.fill(i);
      socket.queueReply(scratch, i, client.port, "127.0.0.1");
    }
    scratch.fill(0);
    expect(socket.counters.out).toBe(0);
    await until(() => expect(client.got).toEqual(Array.from({ length: 10 }, (_, i) => `${i + 1}:${i + 1}`)));
    expect(socket.counters).toMatchObject({ out: 10, sendErrors: 0 });
  });

  test("leave when there are 64, without waiting for the turn to end", async () => {
    const client = await peer();
    const socket = await bind();
    for (let i = 0; i < 70; i++) socket.queueReply(bytes(4, i), 4, client.port, "127.0.0.1");
    expect(socket.counters.out).toBe(64);
    socket.flush();
    expect(socket.counters.out).toBe(70);
    await until(() => expect(client.got).toEqual(Array.from({ length: 70 }, (_, i) => `4:${i}`)));
  });

  test("go to whoever asked: request and answer make a round trip", async () => {
    const clients = [await peer(), await peer(), await peer()];
    const socket = await bind({
      onDatagram: (datagram, port, address) => socket.queueReply(datagram, datagram.length, port, address),
    });
    for (const [i, client] of clients.entries()) client.send(bytes(9, i), socket.port);
    await until(() => expect(clients.map(({ got }) => got)).toEqual([["9:0"], ["9:1"], ["9:2"]]));
    expect(socket.counters).toMatchObject({ in: 3, out: 3 });
  });
});

describe("a caller that has died", () => {
  test("does not cost its neighbours an answer, wherever in the batch it stands", async () => {
    for (const count of [2, 3, 10, 64]) {
      for (const at of [0, 1, Math.floor(count / 2), count - 1]) {
        const [client, dead] = [await peer(), await deadPort()];
        const socket = await bind();
        for (let i = 0; i < count; i++) socket.queueReply(bytes(4, i), 4, i === at ? dead : client.port, "127.0.0.1");
        const expected = Array.from({ length: count }, (_, i) => `4:${i}`).filter((_, i) => i !== at);
        await until(() => expect(client.got).toEqual(expected));
      }
    }
  });

  test("does not cost the next turn's answers, single or batched", async () => {
    const [client, dead] = [await peer(), await deadPort()];
    const socket = await bind();
    const expected: string[] = [];
    for (let round = 0; round < 20; round++) {
      socket.queueReply(bytes(4, 255), 4, dead, "127.0.0.1");
      socket.flush();
      for (let i = 0; i <= round % 3; i++) {
        socket.queueReply(bytes(5, round), 5, client.port, "127.0.0.1");
        expected.push(`5:${round}`);
      }
      socket.flush();
    }
    await until(() => expect(client.got).toEqual(expected));
    expect(socket.counters.peersGone).toBeGreaterThan(0);
  });

  test("a third of all callers dead: every living one is answered once, and no error is reported", async () => {
    const [client, dead] = [await peer(), await deadPort()];
    const errors: unknown[] = [];
    const socket = await bind({ onError: (error) => errors.push(error) });
    const expected: string[] = [];
    for (let i = 0; i < 240; i++) {
      socket.queueReply(bytes(6, i), 6, i % 3 === 0 ? dead : client.port, "127.0.0.1");
      if (i % 3 !== 0) expected.push(`6:${i}`);
    }
    socket.flush();
    await until(() => expect(client.got).toEqual(expected));
    expect(errors).toEqual([]);
  });
});

describe("sizes", () => {
  test("a datagram of 65,507 bytes goes both ways", async () => {
    const client = await peer();
    const socket = await bind({
      onDatagram: (datagram, port, address) => socket.queueReply(datagram, datagram.length, port, address),
    });
    client.send(bytes(MAX_UDP_FRAME_BYTES, 3), socket.port);
    await until(() => expect(client.got).toEqual([`${MAX_UDP_FRAME_BYTES}:3`]));
  });

  test("128 bytes, 129 and none are all sent as they are", async () => {
    const client = await peer();
    const socket = await bind();
    for (const length of [128, 129, 0]) socket.queueReply(bytes(200, length), length, client.port, "127.0.0.1");
    await until(() => expect([...client.got].sort()).toEqual(["0:", "128:128", "129:129"]));
  });

  test("an answer too large for a datagram and one to port 0 are counted and cost nobody anything", async () => {
    const client = await peer();
    const errors: unknown[] = [];
    const socket = await bind({ onError: (error) => errors.push(error) });
    socket.queueReply(bytes(4, 1), 4, client.port, "127.0.0.1");
    socket.queueReply(bytes(MAX_UDP_FRAME_BYTES + 1, 0), MAX_UDP_FRAME_BYTES + 1, client.port, "127.0.0.1");
    socket.queueReply(bytes(4, 2), 4, 0, "127.0.0.1");
    socket.queueReply(bytes(4, 3), 4, client.port, "127.0.0.1");
    await until(() => expect(client.got).toEqual(["4:1", "4:3"]));
    expect([socket.counters.sendErrors, errors]).toEqual([2, []]);
  });

  test("an address that is none costs its own answer only", async () => {
    const client = await peer();
    const errors: unknown[] = [];
    const socket = await bind({ onError: (error) => errors.push(error) });
    for (const [i, address] of ["127.0.0.1", "no address", "127.0.0.1"].entries()) {
      socket.queueReply(bytes(4, i), 4, client.port, address);
    }
    await until(() => expect(client.got).toEqual(["4:0", "4:2"]));
    expect(socket.counters.sendErrors).toBe(1);
    expect(errors.length).toBeGreaterThan(0);
  });
});

describe("receiving", () => {
  test("a burst of 3,000 datagrams that nobody reads meanwhile is received whole", async () => {
    let received = 0;
    const socket = await bind({
      receiveBufferBytes: 4 << 20,
      onDatagram: () => {
        received++;
      },
    });
    expect(socket.receiveBufferBytes).toBeGreaterThanOrEqual(4 << 20);
    const client = await peer();
    // No turn of the loop in between: all of them wait in the socket's buffer.
    for (let i = 0; i < 3000; i++) client.send(bytes(20, i), socket.port);
    expect(received).toBe(0);
    await until(() => expect(received).toBe(3000));
    expect(socket.droppedBySocket()).toBe(0);
  });

  test("what the kernel drops for want of room is told", async () => {
    let received = 0;
    const socket = await bind({
      receiveBufferBytes: 1,
      onDatagram: () => {
        received++;
      },
    });
    const client = await peer();
    for (let i = 0; i < 3000; i++) client.send(bytes(20, i), socket.port);
    expect(socket.droppedBySocket()).toBeGreaterThan(0);
    await until(() => expect(received + socket.droppedBySocket()).toBe(3000));
  });

  test("an exception in onDatagram is reported and the next datagram is received", async () => {
    const errors: unknown[] = [];
    const seen: number[] = [];
    const socket = await bind({
      onDatagram: (datagram) => {
        seen.push(datagram[0]!);
        if (datagram[0] === 1) throw new Error("one");
      },
      onError: (error) => {
        errors.push((error as Error).message);
        throw new Error("the reporter itself");
      },
    });
    const client = await peer();
    for (const fill of [0, 1, 2]) client.send(bytes(3, fill), socket.port);
    await until(() => expect(seen).toEqual([0, 1, 2]));
    expect(errors).toEqual(["one"]);
    expect(socket.counters).toMatchObject({ in: 3, errors: 1 });
  });
});

describe("the end", () => {
  test("close sends what is queued, takes nothing more and frees the port", async () => {
    const client = await peer();
    const socket = await bind();
    socket.queueReply(bytes(4, 1), 4, client.port, "127.0.0.1");
    socket.close();
    socket.close();
    socket.queueReply(bytes(4, 2), 4, client.port, "127.0.0.1");
    socket.flush();
    await until(() => expect(client.got).toEqual(["4:1"]));
    expect([socket.counters.sendErrors, socket.droppedBySocket()]).toEqual([1, 0]);
    expect((await bind({ port: socket.port })).port).toBe(socket.port);
  });

  test("an address in use is told with address, reason and what to do", async () => {
    const { port } = await bind();
    await expect(bind({ port })).rejects.toThrow(new RegExp(`127.0.0.1:${port}: EADDRINUSE; choose a free port`));
  });
});
