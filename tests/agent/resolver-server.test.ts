// The name server's sockets: one port for both, and what it does about too many queries.
import { afterEach, expect, test } from "bun:test";
import { createSocket, type Socket } from "node:dgram";
import * as dns from "dns-packet";
import { Resolver, type ResolverLookup } from "../../src/agent/resolver.ts";
import { type ResolverServer, type ResolverServerOptions, serveResolver } from "../../src/agent/resolver-server.ts";
import type { RateVerdict } from "../../src/agent/response-rate.ts";
import { eventually } from "../support/eventually.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

const one: ResolverLookup = async () => ({ outcome: "hosts", hosts: [{ ip: 1, port: 80, weight: 100 }] });

async function serve(lookup: ResolverLookup, options: Partial<ResolverServerOptions> = {}): Promise<ResolverServer> {
  const server = await serveResolver({
    hostname: "127.0.0.1",
    port: 0,
    resolver: new Resolver(lookup),
    rate: { judge: () => "answer" },
    nowMs: () => performance.now(),
    onError: (message) => {
      throw new Error(message);
    },
    ...options,
  });
  cleanups.push(() => server.stop());
  return server;
}

interface Asker {
  readonly socket: Socket;
  readonly answers: Required<dns.Packet>[];
  ask(id: number, name?: string): void;
}

function askerOf(port: number): Asker {
  const socket = createSocket("udp4");
  const answers: Required<dns.Packet>[] = [];
  socket.on("message", (bytes) => answers.push(dns.decode(bytes)));
  cleanups.push(() => socket.close());
  return {
    socket,
    answers,
    ask: (id, name = "c1.m1.lars") =>
      socket.send(dns.encode({ id, type: "query", questions: [{ name, type: "A" }] }), port, "127.0.0.1"),
  };
}

test("any free port is one port for UDP and TCP; after stop both are free", async () => {
  const server = await serve(one);
  const asker = askerOf(server.port);
  asker.ask(5);
  await eventually(() => expect(asker.answers).toMatchObject([{ id: 5, answers: [{ data: "0.0.0.1" }] }]));
  const message = dns.encode({ id: 6, type: "query", questions: [{ name: "c1.m1.lars", type: "A" }] });
  let received = Buffer.alloc(0);
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: server.port,
    socket: {
      data(_socket, chunk) {
        received = Buffer.concat([received, chunk]);
      },
    },
  });
  socket.write(Buffer.concat([Buffer.from([0, message.length]), message]));
  await eventually(() => expect(dns.decode(received.subarray(2))).toMatchObject({ id: 6, rcode: "NOERROR" }));
  expect(server.connections()).toBe(1);
  server.stop();
  expect((await serve(one, { port: server.port })).port).toBe(server.port);
});

test("a port that is taken is said to be so, and nothing stays open", async () => {
  const { port } = await serve(one);
  await expect(serve(one, { port })).rejects.toThrow(/cannot (bind UDP|listen on TCP) 127\.0\.0\.1:\d+: EADDRINUSE/);
});

test("an address beyond its rate is told to use TCP, or nothing, and nothing is looked up for it", async () => {
  const verdicts: RateVerdict[] = ["answer", "use-tcp", "drop", "answer"];
  let lookups = 0;
  const lookup: ResolverLookup = (...asked) => {
    lookups++;
    return one(...asked);
  };
  const judged: string[] = [];
  const rate = {
    judge(address: string): RateVerdict {
      judged.push(address);
      return verdicts[judged.length - 1]!;
    },
  };
  const asker = askerOf((await serve(lookup, { rate })).port);
  for (let id = 1; id <= 4; id++) {
    asker.ask(id);
    await eventually(() => expect(judged).toHaveLength(id));
  }
  await eventually(() => expect(asker.answers).toHaveLength(3));
  const told = asker.answers.map(({ id, flag_tc, answers }) => [id, flag_tc, answers.length]).sort();
  expect(told).toEqual([
    [1, false, 1],
    [2, true, 0],
    [4, false, 1],
  ]);
  expect(lookups).toBe(2);
  expect(new Set(judged)).toEqual(new Set(["127.0.0.1"]));
});

test("queries beyond those that may wait are dropped and counted; when the answers come there is room again", async () => {
  const release: (() => void)[] = [];
  const lookup: ResolverLookup = (...asked) =>
    new Promise((resolve) => release.push(() => void one(...asked).then(resolve)));
  const server = await serve(lookup);
  const asker = askerOf(server.port);
  let id = 0;
  await eventually(
    () => {
      for (let i = 0; i < 200; i++) asker.ask(++id & 0xffff);
      expect(server.overload.dropped).toBeGreaterThan(0);
    },
    { timeoutMs: 10_000, intervalMs: 1 },
  );
  expect(release).toHaveLength(4096);
  for (const answer of release.splice(0)) answer();
  await eventually(() => {
    asker.ask(++id & 0xffff);
    expect(release.length).toBeGreaterThan(0);
  });
});
