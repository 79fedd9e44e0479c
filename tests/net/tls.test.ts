// TLS between our server and our client, and against peers that do it wrong: every refusal is counted, said in words, and
// harms nobody else.
import { afterEach, describe, expect, test } from "bun:test";
import { connectTcp, type TcpClient, type TcpClientOptions } from "../../src/net/tcp-client.ts";
import { listenTcp, type TcpConnection, type TcpServer, type TcpServerOptions } from "../../src/net/tcp-server.ts";
import type { ServerTls } from "../../src/net/tls-options.ts";
import { frameOf } from "../../src/wire/frame.ts";
import { type Issued, TlsAuthority, type Wanted } from "../support/tls-authority.ts";
import { until } from "./until.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const authority = new TlsAuthority();
const stranger = new TlsAuthority("another authority");
const DAY_MS = 86_400_000;
const nothing = (): void => {};
const bytes = (length: number, fill = 7): Uint8Array => new Uint8Array(length).fill(fill);

interface Served {
  readonly server: TcpServer;
  readonly drops: string[];
  readonly open: TcpConnection[];
}

/** Sends every frame back. */
function serve(tls: ServerTls = authority.issue(), options: Partial<TcpServerOptions> = {}): Served {
  const drops: string[] = [];
  const open: TcpConnection[] = [];
  const server = listenTcp({
    hostname: "127.0.0.1",
    port: 0,
    maxConnections: 100,
    maxQueuedBytes: 1 << 20,
    tls,
    onOpen: (connection) => open.push(connection),
    onFrame: (connection, msgid, body) => void connection.send(frameOf(msgid, body.slice())),
    onDrain: nothing,
    onClose: (connection) => void open.splice(open.indexOf(connection), 1),
    onDrop: (reason, detail) => drops.push(`${reason}: ${detail}`),
    ...options,
  });
  cleanups.push(() => server.stop());
  return { server, drops, open };
}

function mutual(): ServerTls {
  return { ...authority.issue(), clientCa: authority.ca };
}

interface Dialled {
  readonly client: TcpClient;
  readonly lines: string[];
  readonly frames: string[];
}

function dial(
  port: number,
  shown: Partial<Issued> = {},
  options: Partial<TcpClientOptions> = {},
  host = "127.0.0.1",
): Dialled {
  const lines: string[] = [];
  const frames: string[] = [];
  const client = connectTcp({
    addresses: () => [{ host, port }],
    connectTimeoutMs: 1000,
    backoff: { baseMs: 5, maxMs: 20 },
    random: () => 0,
    tls: () => ({ ca: authority.ca, ...shown }),
    onOpen: (connection) => void connection.send(frameOf(1, bytes(2))),
    onFrame: (msgid, body) => frames.push(`${msgid}:${body.toHex()}`),
    log: (line) => lines.push(line),
    lookup: async () => ["127.0.0.1"],
    ...options,
  });
  cleanups.push(() => client.stop());
  return { client, lines, frames };
}

describe("a connection with TLS", () => {
  test("carries frames both ways, and both sides say it is open only after the handshake", async () => {
    const { server, open } = serve();
    const { client, frames } = dial(server.port);
    await until(() => expect(frames).toEqual(["1:0707"]));
    expect([client.connected, open.length, server.counters.accepted, server.counters.handshakeFailures]).toEqual([
      true,
      1,
      1,
      0,
    ]);
    client.send(frameOf(2, bytes(65_527)));
    client.send(frameOf(3, bytes(1)));
    await until(() => expect(frames.length).toBe(3));
    expect(frames[2]).toBe("3:07");
  });

  test("is taken with a client certificate of the CA that is demanded", async () => {
    const { server } = serve(mutual());
    const { frames } = dial(server.port, authority.issue({ name: "agent", names: [], addresses: [] }));
    await until(() => expect(frames).toEqual(["1:0707"]));
  });

  test.each<[string, Wanted]>([
    ["a name", { names: ["dns.lars.test"], addresses: [] }],
    ["a wildcard", { names: ["*.lars.test"], addresses: [] }],
  ])("to an address that a name led to is checked against the name: %s", async (_, wanted) => {
    const { server } = serve(authority.issue(wanted));
    const { frames } = dial(server.port, {}, {}, "dns.lars.test");
    await until(() => expect(frames).toEqual(["1:0707"]));
  });
});

test("two names that lead to one address are two tries, each with its own name", async () => {
  const { server } = serve(authority.issue({ names: ["two.lars.test"], addresses: [] }));
  const addresses = ["one.lars.test", "two.lars.test"].map((host) => ({ host, port: server.port }));
  const { client, frames, lines } = dial(server.port, {}, { addresses: () => addresses });
  await until(() => expect(frames).toEqual(["1:0707"]));
  expect([client.counters.attempts, client.counters.handshakeFailures]).toEqual([2, 1]);
  expect(lines).toEqual([`connected to 127.0.0.1:${server.port}`]);
});

describe("the client refuses a server", () => {
  test.each<[string, ServerTls, string, RegExp]>([
    [
      "of another CA",
      stranger.issue(),
      "127.0.0.1",
      /as 127\.0\.0\.1: the certificate is not signed by a CA that is trusted/,
    ],
    [
      "whose certificate expired",
      authority.issue({ untilMs: Date.now() - DAY_MS / 2 }),
      "127.0.0.1",
      /the certificate has expired/,
    ],
    [
      "whose certificate begins tomorrow",
      authority.issue({ fromMs: Date.now() + DAY_MS }),
      "127.0.0.1",
      /not valid yet; are both clocks right/,
    ],
    [
      "of another name, though the address fits",
      authority.issue({ names: ["other.test"] }),
      "dns.test",
      /as dns\.test: the certificate is for another name/,
    ],
    [
      "of a name, asked for by address",
      authority.issue({ addresses: [] }),
      "127.0.0.1",
      /as 127\.0\.0\.1: the certificate is for another name or address/,
    ],
  ])("%s, with the reason in its log, and tries on", async (_, tls, host, reason) => {
    const { server, open } = serve(tls);
    const { client, lines } = dial(server.port, {}, {}, host);
    await until(() => expect(client.counters.attempts).toBeGreaterThan(2));
    expect(lines[0]).toMatch(reason);
    expect(lines[0]).toStartWith(`no server took a connection (127.0.0.1:${server.port} as`);
    expect([client.counters.connects, open.length]).toEqual([0, 0]);
    expect(client.counters.handshakeFailures).toBeGreaterThan(1);
    await until(() => expect(server.counters.handshakeFailures).toBeGreaterThan(1));
  });

  test("that speaks no TLS", async () => {
    const plain = listenTcp({
      hostname: "127.0.0.1",
      port: 0,
      maxConnections: 10,
      maxQueuedBytes: 1000,
      onOpen: (connection) => void connection.send(frameOf(1, bytes(30))),
      onFrame: nothing,
      onDrain: nothing,
      onClose: nothing,
    });
    cleanups.push(() => plain.stop());
    const { lines, client } = dial(plain.port);
    await until(() => expect(lines[0]).toMatch(/does not speak TLS on this port/));
    expect(client.counters.connects).toBe(0);
  });

  test("that accepts and says nothing, after the connect timeout, and closes that connection", async () => {
    const sockets: Bun.Socket<undefined>[] = [];
    let closed = 0;
    const silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (socket) => void sockets.push(socket),
        data: nothing,
        close: () => void closed++,
        error: nothing,
      },
    });
    cleanups.push(() => silent.stop(true));
    const { lines, client } = dial(silent.port, {}, { connectTimeoutMs: 50 });
    await until(() => expect(lines[0]).toContain("no TLS handshake in 50 ms"));
    await until(() => expect(closed).toBeGreaterThan(0));
    expect(client.counters.handshakeFailures).toBeGreaterThan(0);
  });

  test("when its own files cannot be read, and says so", async () => {
    const { server } = serve();
    const { lines } = dial(
      server.port,
      {},
      {
        tls: () => {
          throw new Error("client_tls.ca_file is gone");
        },
      },
    );
    await until(() => expect(lines[0]).toContain("client_tls.ca_file is gone"));
  });
});

describe("the server refuses a client", () => {
  test.each<[string, Partial<Issued>, RegExp, RegExp]>([
    [
      "without a certificate",
      {},
      /showed no certificate, and one is demanded/,
      /set client_tls\.cert_file and key_file|before it sent anything/,
    ],
    [
      "with one of another CA",
      stranger.issue(),
      /not signed by a CA that is trusted here/,
      /before it sent anything; if it demands client certificates, its log/,
    ],
    [
      "with an expired one",
      authority.issue({ untilMs: Date.now() - DAY_MS / 2 }),
      /has expired/,
      /before it sent anything/,
    ],
  ])("%s: nothing of it is read, both logs say why", async (_, shown, serverSays, clientSays) => {
    let frames = 0;
    const { server, drops, open } = serve(mutual(), { onFrame: () => void frames++ });
    const { lines } = dial(server.port, shown);
    await until(() => expect(drops[0]).toMatch(serverSays));
    await until(() => expect(lines.find((line) => line.startsWith("lost"))).toMatch(clientSays));
    expect([frames, open.length, server.counters.accepted]).toEqual([0, 0, 0]);
    expect(drops[0]).toStartWith("tls-handshake: 127.0.0.1: ");
  });

  test("that sends plain bytes, and others do not notice", async () => {
    const { server, drops } = serve();
    const { client, frames } = dial(server.port);
    await until(() => expect(frames.length).toBe(1));
    const closed: boolean[] = [];
    for (const first of [frameOf(1, bytes(3)), Buffer.from("GET / HTTP/1.1\r\n\r\n"), bytes(40_000, 255)]) {
      await Bun.connect({
        hostname: "127.0.0.1",
        port: server.port,
        socket: {
          open: (socket) => void socket.write(first),
          data: nothing,
          error: nothing,
          close: () => void closed.push(true),
        },
      });
    }
    await until(() => expect(closed.length).toBe(3));
    expect(drops).toHaveLength(3);
    expect(drops[0]).toContain("does not speak TLS on this port");
    expect(server.counters).toMatchObject({ handshakeFailures: 3, accepted: 1, open: 1 });
    client.send(frameOf(9, bytes(1)));
    await until(() => expect(frames).toContain("9:07"));
  });

  test("that never shakes hands, after 100 ms when that is the limit; those who wait count as connections", async () => {
    const { server, drops } = serve(authority.issue(), { handshakeTimeoutMs: 100, maxConnections: 2 });
    const closed: number[] = [];
    const beginMs = performance.now();
    for (let i = 0; i < 3; i++) {
      await Bun.connect({
        hostname: "127.0.0.1",
        port: server.port,
        socket: { data: nothing, error: nothing, close: () => void closed.push(performance.now() - beginMs) },
      });
    }
    await until(() => expect(closed.length).toBe(3));
    expect(server.counters).toMatchObject({ refused: 1, handshakeTimeouts: 2, open: 0, accepted: 0 });
    expect(drops.filter((line) => line.startsWith("tls-timeout: 127.0.0.1 did not finish"))).toHaveLength(2);
    expect(closed[2]!).toBeGreaterThanOrEqual(100);
    const { frames } = dial(server.port);
    await until(() => expect(frames.length).toBe(1));
  });

  test("that speaks TLS 1.1 at most; 1.2 and 1.3 are taken", async () => {
    const { server } = serve();
    const shake = (version: string): Promise<string> =>
      new Promise((resolve) => {
        const { connect } = require("node:tls") as typeof import("node:tls");
        const socket = connect({
          host: "127.0.0.1",
          port: server.port,
          ca: authority.ca,
          minVersion: version as "TLSv1.1",
          maxVersion: version as "TLSv1.1",
        });
        socket.on("secureConnect", () => {
          resolve(socket.getProtocol() ?? "none");
          socket.destroy();
        });
        socket.on("error", () => resolve("refused"));
      });
    expect(await Promise.all(["TLSv1.1", "TLSv1.2", "TLSv1.3"].map(shake))).toEqual(["refused", "TLSv1.2", "TLSv1.3"]);
  });
});

describe("what waits for a peer that does not read", () => {
  test("is bounded by 256 KiB and a frame with TLS too, and all of it arrives when the peer reads again", async () => {
    const limit = 256 * 1024;
    const frame = frameOf(5, bytes(60_000));
    let drained = 0;
    const { server, open } = serve(authority.issue(), { maxQueuedBytes: limit, onDrain: () => void drained++ });
    let received = 0;
    let paused = true;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: server.port,
      tls: { ca: authority.ca },
      socket: {
        handshake: (each) => void each.pause(),
        data: (_socket, chunk) => {
          expect(paused).toBe(false);
          received += chunk.length;
        },
        error: nothing,
      },
    });
    cleanups.push(() => socket.terminate());
    await until(() => expect(open.length).toBe(1));
    const connection = open[0]!;
    let sent = 0;
    let most = 0;
    while (connection.writable) {
      connection.send(frame);
      sent++;
      most = Math.max(most, connection.queuedBytes);
      if (sent % 4 === 0) await Bun.sleep(0);
      expect(sent).toBeLessThan(10_000);
    }
    expect(most).toBeGreaterThanOrEqual(limit);
    expect(most).toBeLessThan(limit + frame.length);
    expect([connection.send(frame), drained, received]).toEqual([false, 0, 0]);
    paused = false;
    socket.resume();
    await until(() => expect([received, drained]).toEqual([sent * frame.length, 1]));
    expect(connection.queuedBytes).toBe(0);
  });

  test("a paused server connection delivers nothing until it is resumed", async () => {
    let delivered = 0;
    const { server, open } = serve(authority.issue(), {
      onFrame: (connection) => {
        delivered++;
        connection.pause();
      },
    });
    const { client } = dial(server.port);
    await until(() => expect(delivered).toBe(1));
    for (let i = 0; i < 5; i++) client.send(frameOf(2, bytes(10)));
    // Another connection's round trip: whatever would have been delivered has been by then.
    const other = dial(server.port);
    await until(() => expect(other.client.connected).toBe(true));
    expect(delivered).toBe(2);
    open[0]!.resume();
    await until(() => expect(delivered).toBeGreaterThan(2));
  });

  test("stop delivers what was sent before it", async () => {
    const { server, open } = serve();
    const { frames } = dial(server.port, {}, { onOpen: nothing });
    await until(() => expect(open.length).toBe(1));
    open[0]!.send(frameOf(4, bytes(1)));
    server.stop();
    await until(() => expect(frames).toEqual(["4:07"]));
  });
});

describe("a renewed certificate", () => {
  async function shownBy(port: number): Promise<string> {
    return await new Promise((resolve, reject) => {
      Bun.connect({
        hostname: "127.0.0.1",
        port,
        tls: { ca: authority.ca },
        socket: {
          handshake: (socket) => {
            resolve(socket.getPeerCertificate().subject.CN as string);
            socket.terminate();
          },
          data: nothing,
          error: nothing,
        },
      }).catch(reject);
    });
  }

  test("is shown to new connections 3 times in a row; the 5 that are open go on, in both directions", async () => {
    const { server, open } = serve(authority.issue({ name: "first" }));
    const dialled = Array.from({ length: 5 }, () => dial(server.port));
    await until(() => expect(dialled.every(({ frames }) => frames.length === 1)).toBe(true));
    for (const name of ["second", "third", "fourth"]) {
      expect(server.renewTls(authority.issue({ name }))).toBeUndefined();
      Bun.gc(true);
      expect(await shownBy(server.port)).toBe(name);
    }
    for (const { client } of dialled) client.send(frameOf(7, bytes(1)));
    for (const connection of open) connection.send(frameOf(8, bytes(1)));
    await until(() =>
      expect(dialled.every(({ frames }) => frames.includes("7:07") && frames.includes("8:07"))).toBe(true),
    );
    expect(dialled.map(({ client }) => client.counters.losses)).toEqual([0, 0, 0, 0, 0]);
    expect(server.counters).toMatchObject({ tlsRenewals: 3, open: 5 });
    server.stop();
    await until(() => expect(dialled.every(({ client }) => client.counters.losses === 1)).toBe(true));
  });

  test("a millisecond apart while 60 clients connect: all get through, none is lost", async () => {
    const { server } = serve();
    const dialled = Array.from({ length: 60 }, () => dial(server.port));
    const renewing = setInterval(() => expect(server.renewTls(authority.issue())).toBeUndefined(), 1);
    cleanups.push(() => clearInterval(renewing));
    await until(() => expect(dialled.every(({ frames }) => frames.length === 1)).toBe(true));
    await until(() => expect(server.counters.tlsRenewals).toBeGreaterThan(20));
    expect(dialled.reduce((sum, { client }) => sum + client.counters.losses, 0)).toBe(0);
    expect(server.counters.open).toBe(60);
  });

  test("leaves the port taken: a second server there is refused before and after", () => {
    const { server } = serve();
    const again = () => listenTcp({ ...plainOptions, port: server.port });
    expect(again).toThrow("EADDRINUSE");
    server.renewTls(authority.issue());
    expect(again).toThrow("EADDRINUSE");
  });

  test("that no listener can be made with is refused with a reason, and the old one is shown still", async () => {
    const { server } = serve(authority.issue({ name: "first" }));
    const reason = server.renewTls({ cert: authority.issue().cert, key: authority.issue().key });
    expect(reason).toContain("KEY_VALUES_MISMATCH");
    expect(await shownBy(server.port)).toBe("first");
    expect(server.counters.tlsRenewals).toBe(0);
  });

  test("of the client counts from its next connection on", async () => {
    const { server, drops } = serve(mutual());
    let shown: Issued = stranger.issue();
    const { client, frames } = dial(server.port, {}, { tls: () => ({ ca: authority.ca, ...shown }) });
    await until(() => expect(drops.length).toBeGreaterThan(1));
    expect(frames).toEqual([]);
    shown = authority.issue();
    await until(() => expect(frames).toEqual(["1:0707"]));
    expect(client.connected).toBe(true);
  });
});

const plainOptions: TcpServerOptions = {
  hostname: "127.0.0.1",
  port: 0,
  maxConnections: 10,
  maxQueuedBytes: 1000,
  onOpen: nothing,
  onFrame: nothing,
  onDrain: nothing,
  onClose: nothing,
};
