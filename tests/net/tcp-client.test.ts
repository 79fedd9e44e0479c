import { dlopen, ptr } from "bun:ffi";
import { afterEach, describe, expect, test } from "bun:test";
import { connectTcp, type ServerAddress, type TcpClient, type TcpClientOptions } from "../../src/net/tcp-client.ts";
import { frameOf, MAX_BODY_BYTES, writeHeader } from "../../src/wire/frame.ts";
import { FrameDecoder } from "../../src/wire/frame-decoder.ts";
import { until } from "./until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const bytes = (length: number, fill = 7): Uint8Array => new Uint8Array(length).fill(fill);
const local = (port: number): ServerAddress => ({ host: "127.0.0.1", port });

interface Server {
  readonly port: number;
  readonly sockets: Bun.Socket<undefined>[];
  readonly frames: string[];
  stop(): void;
}

/** A raw server: `onOpen` may do to a connection what it wants. */
function serve(onOpen: (socket: Bun.Socket<undefined>) => void = () => {}, port = 0): Server {
  const sockets: Bun.Socket<undefined>[] = [];
  const frames: string[] = [];
  const decoder = new FrameDecoder();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (socket) => {
        sockets.push(socket);
        onOpen(socket);
      },
      data: (_socket, chunk) => void decoder.push(chunk, (msgid, body) => frames.push(`${msgid}:${body.toHex()}`)),
      error: () => {},
    },
  });
  const stop = (): void => listener.stop(true);
  cleanups.push(stop);
  return { port: listener.port, sockets, frames, stop };
}

function deadPort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

interface SilentServer {
  readonly port: number;
  /** Accepts one connection that waits; true when it turns out to be closed by the client. */
  acceptClosed(): boolean;
}

/**
 * A listener whose queue is full: the kernel drops every further SYN, so that a connect neither succeeds nor fails until
 * something is accepted.
 */
async function silentServer(): Promise<SilentServer> {
  const int = "i32" as const;
  const { symbols: c } = dlopen("libc.so.6", {
    socket: { args: [int, int, int], returns: int },
    bind: { args: [int, "ptr", int], returns: int },
    listen: { args: [int, int], returns: int },
    accept: { args: [int, "ptr", "ptr"], returns: int },
    recv: { args: [int, "ptr", "usize", int], returns: "i64" },
    getsockname: { args: [int, "ptr", "ptr"], returns: int },
    close: { args: [int], returns: int },
  });
  const [AF_INET, SOCK_STREAM, SOCK_NONBLOCK, MSG_DONTWAIT] = [2, 1, 0o4000, 0x40];
  const fd = c.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const address = new Uint8Array([AF_INET, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect([c.bind(fd, ptr(address), 16), c.listen(fd, 0)]).toEqual([0, 0]);
  c.getsockname(fd, ptr(address), ptr(new Uint32Array([16])));
  const port = address[2]! * 256 + address[3]!;
  const filler = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => {}, error: () => {} } });
  const accepted: number[] = [];
  cleanups.push(() => {
    filler.terminate();
    for (const open of [fd, ...accepted]) c.close(open);
  });
  return {
    port,
    acceptClosed() {
      const connection = c.accept(fd, null, null);
      if (connection >= 0) accepted.push(connection);
      return accepted.some((open) => Number(c.recv(open, ptr(new Uint8Array(1)), 1, MSG_DONTWAIT)) === 0);
    },
  };
}

interface Probe {
  readonly client: TcpClient;
  readonly events: string[];
  readonly lines: string[];
}

function connect(addresses: readonly ServerAddress[], options: Partial<TcpClientOptions> = {}): Probe {
  const events: string[] = [];
  const lines: string[] = [];
  const client = connectTcp({
    addresses: () => addresses,
    connectTimeoutMs: 1000,
    backoff: { baseMs: 2, maxMs: 20 },
    random: () => 0.5,
    onOpen: () => events.push("open"),
    onFrame: (msgid, body) => events.push(`frame ${msgid}:${body.toHex()}`),
    onClose: (reason) => events.push(`close ${reason}`),
    onDrain: () => events.push("drain"),
    log: (line) => lines.push(line),
    ...options,
  });
  cleanups.push(() => client.stop());
  return { client, events, lines };
}

describe("a connection", () => {
  test("carries frames both ways from onOpen on", async () => {
    const server = serve((socket) => void socket.write(frameOf(2, bytes(3))));
    const { client, events } = connect([local(server.port)], {
      onOpen: (connection) => {
        events.push("open");
        connection.send(frameOf(1, bytes(2)));
        client.send(frameOf(64, bytes(0)));
      },
    });
    expect([client.connected, client.send(bytes(8))]).toEqual([false, false]);
    await until(() => expect(server.frames).toEqual(["1:0707", "64:"]));
    await until(() => expect(events).toEqual(["open", "frame 2:070707"]));
    expect([client.connected, client.server, client.writable]).toEqual([true, `127.0.0.1:${server.port}`, true]);
    expect(client.counters).toMatchObject({
      attempts: 1,
      connects: 1,
      losses: 0,
      framesIn: 1,
      bytesIn: 11,
      bytesOut: 18,
    });
  });

  test("that is full says stop, and onDrain when the server has read", async () => {
    const server = serve((socket) => socket.pause());
    const { client, events } = connect([local(server.port)], { maxQueuedBytes: 100_000 });
    await until(() => client.connected);
    let taken = 0;
    for (let turn = 0; client.writable; turn++) {
      while (client.send(frameOf(3, bytes(5000)))) taken++;
      taken++;
      await Bun.sleep(0);
      if (turn > 1000) throw new Error("never full");
    }
    expect(client.send(frameOf(3, bytes(1)))).toBe(false);
    expect(client.queuedBytes).toBeLessThan(100_000 + 5008);
    server.sockets[0]!.resume();
    await until(() => expect(events).toEqual(["open", "drain"]));
    await until(() => expect(server.frames.length).toBe(taken));
  });

  test("an exception in a callback is counted and logged, and frames go on", async () => {
    const server = serve(
      (socket) => void socket.write(new Uint8Array([...frameOf(1, bytes(0)), ...frameOf(2, bytes(0))])),
    );
    const seen: number[] = [];
    const { client, lines } = connect([local(server.port)], {
      onOpen: () => {
        throw new Error("in open");
      },
      onFrame: (msgid) => {
        seen.push(msgid);
        throw new Error(`in frame ${msgid}`);
      },
    });
    await until(() => expect(seen).toEqual([1, 2]));
    expect(client.counters.callbackErrors).toBe(3);
    expect(lines.filter((line) => /in (open|frame [12])$/.test(line)).length).toBe(3);
    expect(client.connected).toBe(true);
  });
});

describe("a lost connection", () => {
  test("is made again at the next address, and nothing of the old one is sent there", async () => {
    const [one, two] = [serve(), serve()];
    const { client, events } = connect([local(one.port), local(two.port)], { random: () => 0 });
    await until(() => client.connected);
    expect(client.server).toBe(`127.0.0.1:${one.port}`);
    client.send(frameOf(1, bytes(1)));
    one.stop();
    await until(() => client.server === `127.0.0.1:${two.port}`);
    expect(events).toEqual(["open", expect.stringMatching(/^close /), "open"]);
    expect(two.frames).toEqual([]);
    expect(client.counters).toMatchObject({ connects: 2, losses: 1 });
  });

  test("with one dead address in the list the living ones are found, however long it takes", async () => {
    const [dead, server] = [deadPort(), serve()];
    const { client } = connect([local(dead), local(server.port), local(dead + 0)], { random: () => 0 });
    await until(() => client.connected);
    for (let loss = 1; loss <= 5; loss++) {
      server.sockets.at(-1)!.terminate();
      await until(() => client.counters.connects === loss + 1);
    }
    expect(client.counters.failedAttempts).toBeGreaterThanOrEqual(5);
  });

  test("comes back by itself when every server was away for a while", async () => {
    const first = serve();
    const { client, lines } = connect([local(first.port)]);
    await until(() => client.connected);
    first.stop();
    await until(() => client.counters.failedAttempts >= 3);
    expect([client.connected, client.send(frameOf(1, bytes(1)))]).toEqual([false, false]);
    expect(lines.some((line) => line.includes(`127.0.0.1:${first.port}`) && line.includes("ECONNREFUSED"))).toBe(true);
    const again = serve(() => {}, first.port);
    await until(() => client.connected);
    expect(again.frames).toEqual([]);
  });

  test("by reconnect moves on to the next address and tells the reason", async () => {
    const [one, two] = [serve(), serve()];
    const { client, events } = connect([local(one.port), local(two.port)], { random: () => 0 });
    await until(() => client.connected);
    client.reconnect("no answer in 3 s");
    expect([client.connected, events.at(-1)]).toEqual([false, "close no answer in 3 s"]);
    await until(() => client.server === `127.0.0.1:${two.port}`);
    client.reconnect("nor here");
    await until(() => client.server === `127.0.0.1:${one.port}`);
    expect(client.counters).toMatchObject({ connects: 3, losses: 2 });
  });

  test("after a protocol error is made anew", async () => {
    const header = new Uint8Array(8);
    writeHeader(header, 0, 2, MAX_BODY_BYTES + 1);
    let opened = 0;
    const server = serve((socket) => {
      if (opened++ === 0) socket.write(header);
    });
    const { client, events } = connect([local(server.port)]);
    await until(() => client.counters.connects === 2);
    expect(client.counters.protocolErrors).toBe(1);
    expect(events[1]).toMatch(/^close protocol error: .*65528/);
  });
});

describe("pauses between tries", () => {
  test("draws a delay before every round after the first, doubling up to the maximum", async () => {
    const draws: number[] = [];
    const random = (): number => {
      draws.push(performance.now());
      return 0.999;
    };
    const dead = deadPort();
    const { client } = connect([local(dead)], { backoff: { baseMs: 8, maxMs: 64 }, random });
    await until(() => client.counters.attempts >= 6);
    // One draw for where to begin, then one a pause. Rounds of one refused address take no time of their own.
    const gaps = draws.slice(1).map((at, i, all) => (all[i + 1] ?? Number.NaN) - at);
    const atLeast = [16, 32, 64, 64];
    for (const [i, ms] of atLeast.entries()) expect(gaps[i]!).toBeGreaterThan(ms * 0.9);
  });

  test("a server that accepts and closes at once is tried ever more slowly, one that worked at once", async () => {
    const server = serve((socket) => void socket.end());
    const bad = connect([local(server.port)], { backoff: { baseMs: 40, maxMs: 10_000 }, random: () => 0.999 });
    const startMs = performance.now();
    await until(() => bad.client.counters.connects === 3);
    // 80 ms after the first loss, 160 ms after the second.
    expect(performance.now() - startMs).toBeGreaterThan(0.9 * 240);

    const good = serve((socket) => void socket.write(frameOf(2, bytes(1))));
    const well = connect([local(good.port)], { backoff: { baseMs: 10, maxMs: 100_000 }, random: () => 0.999 });
    for (let loss = 1; loss <= 8; loss++) {
      // With doubling, the eighth pause alone would take 2.5 s.
      await until(() => well.client.counters.connects === loss && well.client.counters.framesIn === loss, 1000);
      good.sockets.at(-1)!.end();
    }
  });

  test("a try that neither succeeds nor fails is given up after its time and the next address taken", async () => {
    const [silent, server] = [await silentServer(), serve()];
    const { client, events, lines } = connect([local(silent.port), local(server.port)], {
      random: () => 0,
      connectTimeoutMs: 50,
    });
    await until(() => client.connected);
    expect(client.server).toBe(`127.0.0.1:${server.port}`);
    expect(client.counters).toMatchObject({ attempts: 2, failedAttempts: 1, connects: 1 });
    expect(lines).toEqual([`connected to 127.0.0.1:${server.port}`]);
    // The kernel goes on trying for a while. When the try succeeds after all, it is closed and nobody hears of it.
    await until(() => silent.acceptClosed());
    expect([events, client.counters.connects]).toEqual([["open"], 1]);
  });
});

describe("addresses", () => {
  test("the random draw decides where the first round begins", async () => {
    const servers = [serve(), serve(), serve()];
    for (const [i, draw] of [0, 0.4, 0.99].entries()) {
      const { client } = connect(
        servers.map(({ port }) => local(port)),
        { random: () => draw },
      );
      await until(() => client.connected);
      expect(client.server).toBe(`127.0.0.1:${servers[i]!.port}`);
    }
  });

  test("a name is resolved at each round and all its addresses are tried", async () => {
    const server = serve();
    const asked: string[] = [];
    const { client } = connect([{ host: "dns.lars.example", port: server.port }], {
      random: () => 0,
      connectTimeoutMs: 200,
      lookup: async (host) => {
        asked.push(host);
        // Nothing listens on 127.0.0.2 and 127.0.0.3; the server is at 127.0.0.1.
        return asked.length === 1 ? ["127.0.0.2"] : ["127.0.0.2", "127.0.0.3", "127.0.0.1"];
      },
    });
    await until(() => client.connected);
    expect(asked).toEqual(["dns.lars.example", "dns.lars.example"]);
    expect([client.server, client.counters.failedAttempts]).toEqual([`127.0.0.1:${server.port}`, 2]);
  });

  test("a name that cannot be resolved, or not in time, does not hold up the others", async () => {
    const server = serve();
    const { client, lines } = connect(
      [{ host: "unknown.example", port: 1 }, { host: "slow.example", port: 1 }, local(server.port)],
      {
        connectTimeoutMs: 30,
        lookup: (host) => (host.startsWith("slow") ? new Promise(() => {}) : Promise.reject(new Error("no such name"))),
      },
    );
    await until(() => client.connected);
    expect(client.counters.failedLookups).toBe(2);
    expect(lines.slice(0, 2).sort()).toEqual([
      "cannot resolve slow.example: no answer in 30 ms",
      "cannot resolve unknown.example: no such name",
    ]);
  });

  test("localhost is resolved by the system", async () => {
    const server = serve();
    const { client } = connect([{ host: "localhost", port: server.port }]);
    await until(() => client.connected);
    expect(client.server).toBe(`127.0.0.1:${server.port}`);
  });

  test("none at all, or a list that throws, is tried again until there is one", async () => {
    const server = serve();
    let asked = 0;
    const { client } = connect([], {
      addresses: () => {
        asked++;
        if (asked === 1) return [];
        if (asked === 2) throw new Error("no list");
        return asked === 3 ? [{ host: "127.0.0.1", port: 70_000 }] : [local(server.port)];
      },
    });
    await until(() => client.connected);
    expect([asked, client.counters.callbackErrors, client.counters.failedAttempts]).toEqual([4, 1, 1]);
  });
});

describe("stop", () => {
  test("while connected closes at once, calls onClose, and connects no more", async () => {
    const server = serve();
    const { client, events } = connect([local(server.port)]);
    await until(() => client.connected);
    client.stop();
    client.stop();
    expect([client.connected, events]).toEqual([false, ["open", "close stopped"]]);
    expect(client.send(bytes(8))).toBe(false);
    // Another client's whole life passes; the stopped one stays away.
    const witness = connect([local(server.port)]);
    await until(() => witness.client.connected);
    expect(server.sockets.length).toBe(2);
    expect(client.counters.attempts).toBe(1);
  });

  test("while trying or pausing ends it: no callback comes any more", async () => {
    const dead = deadPort();
    const trying = connect([local((await silentServer()).port)]);
    const pausing = connect([local(dead)], { backoff: { baseMs: 60_000, maxMs: 60_000 } });
    await until(() => trying.client.counters.attempts === 1 && pausing.client.counters.failedAttempts === 1);
    trying.client.stop();
    pausing.client.stop();
    const server = serve(() => {}, dead);
    const witness = connect([local(server.port)]);
    await until(() => witness.client.connected);
    expect([trying.events, pausing.events, server.sockets.length]).toEqual([[], [], 1]);
  });
});

describe("a list of addresses that changes", () => {
  test("without the server connected to: it is left for one of the new ones, at once", async () => {
    const [old, next] = [serve(), serve()];
    const addresses = [local(old.port)];
    const { client, lines } = connect(addresses);
    await until(() => client.connected);
    addresses.splice(0, 1, local(next.port));
    client.addressesChanged();
    await until(() => client.server === `127.0.0.1:${next.port}`);
    expect(lines.join("\n")).toContain("its address is not in the list any more");
  });

  test("with it still there, by its name too: the connection stays", async () => {
    const server = serve();
    const addresses = [local(server.port)];
    let lookups = 0;
    const lookup = async (): Promise<readonly string[]> => {
      lookups++;
      return ["127.0.0.9", "127.0.0.1"];
    };
    const { client, events } = connect(addresses, { lookup });
    await until(() => client.connected);
    addresses.splice(0, 1, local(deadPort()), { host: "dns.example", port: server.port });
    client.addressesChanged();
    await until(() => lookups === 1);
    await Bun.sleep(0);
    expect([client.connected, events, client.counters.losses]).toEqual([true, ["open"], 0]);
  });

  test("to a name that cannot be looked up now: the connection stays, for it may be that name's", async () => {
    const server = serve();
    const addresses = [local(server.port)];
    const { client } = connect(addresses, { lookup: () => Promise.reject(new Error("no such name")) });
    await until(() => client.connected);
    addresses.splice(0, 1, { host: "dns.example", port: 1 });
    client.addressesChanged();
    await until(() => client.counters.failedLookups === 1);
    await Bun.sleep(0);
    expect([client.connected, client.counters.losses]).toEqual([true, 0]);
  });

  test("while pausing between rounds: the new one is tried without waiting for the end of the pause", async () => {
    const server = serve();
    const addresses = [local(deadPort())];
    const { client } = connect(addresses, { backoff: { baseMs: 60_000, maxMs: 60_000 } });
    await until(() => client.counters.failedAttempts === 1);
    addresses.splice(0, 1, local(server.port));
    // The pause begins some turns after the try failed.
    await until(() => {
      client.addressesChanged();
      return client.connected;
    });
  });
});
