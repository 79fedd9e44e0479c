// The agent as a name server, asked by a resolver that others wrote, over real sockets: what a module's hosts are, that
// load spreads, that hosts which fail are not told any more, and TCP for what UDP does not hold.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import * as dns from "dns-packet";
import { eventually } from "../support/eventually.ts";
import { type Lars, startLars } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

let lars: Lars;
let port: number;
const resolver = new Resolver({ timeout: 2000, tries: 2 });

beforeAll(async () => {
  lars = await startLars();
  port = lars.agent[0]!.ports.resolver;
  resolver.setServers([`127.0.0.1:${port}`]);
});
afterAll(() => lars.stop());

/** Puts a route; returns when the agent answers from it. */
async function put(module: string, hosts: readonly object[], policy: object = { policy: "round_robin" }) {
  const response = await lars.admin("PUT", `/v1/routes/${module}`, { hosts, ...policy });
  const { revision } = (await response.json()) as { revision: number };
  await eventually(async () => {
    await fetch(`${lars.agent[0]!.url}/v1/hosts/${module}`);
    const route = (await (await fetch(`${lars.agent[0]!.url}/v1/routes/${module}`)).json()) as { revision: number };
    expect(route.revision).toBeGreaterThanOrEqual(revision);
  });
}

const hostsAt = (...last: number[]) => last.map((n) => ({ ip: `10.0.0.${n}`, port: 80 }));

function query(name: string, type: string): Buffer {
  return dns.encode({ id: 99, type: "query", questions: [{ name, type, class: "IN" }] });
}

async function askUdp(message: Uint8Array): Promise<ReturnType<typeof dns.decode>> {
  const socket = createSocket("udp4");
  try {
    return await new Promise((resolve, reject) => {
      socket.once("message", (bytes) => resolve(dns.decode(bytes)));
      socket.once("error", reject);
      socket.send(message, port, "127.0.0.1");
    });
  } finally {
    socket.close();
  }
}

/** Sends `chunks` one by one and reads `answers` answers, or as many as come before the server closes. */
async function askTcp(chunks: readonly Uint8Array[], answers: number): Promise<Required<dns.Packet>[]> {
  const socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true);
  let bytes = Buffer.alloc(0);
  const read: Required<dns.Packet>[] = [];
  const done = new Promise<void>((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
        const end = 2 + bytes.readUInt16BE(0);
        read.push(dns.decode(bytes.subarray(2, end)));
        bytes = bytes.subarray(end);
      }
      if (read.length >= answers) resolve();
    });
    socket.on("close", () => resolve());
    socket.on("error", () => resolve());
  });
  for (const chunk of chunks) await new Promise<void>((resolve) => void socket.write(chunk, () => resolve()));
  await done;
  socket.destroy();
  return read;
}

function framed(message: Uint8Array): Buffer {
  return Buffer.from([message.length >> 8, message.length & 255, ...message]);
}

test("a module's hosts are told as A, SRV and TXT, and the targets of SRV have addresses", async () => {
  await put("8/1", [{ ip: "10.0.0.1", port: 8080, weight: 300 }]);
  expect(await resolver.resolve4("c1.m8.lars", { ttl: true })).toEqual([{ address: "10.0.0.1", ttl: 0 }]);
  expect(await resolver.resolveSrv("C1.M8.Lars")).toEqual([
    { name: "10-0-0-1.ip.lars", port: 8080, priority: 0, weight: 300 },
  ]);
  expect(await resolver.resolveTxt("c1.m8.lars")).toEqual([["10.0.0.1:8080"]]);
  expect(await resolver.resolve4("10-0-0-1.ip.lars")).toEqual(["10.0.0.1"]);
});

test("a module that does not exist is no such name; a module has no AAAA; other zones and ANY are refused", async () => {
  await put("8/2", hostsAt(1));
  await expect(resolver.resolve4("c77.m8.lars")).rejects.toMatchObject({ code: "ENOTFOUND" });
  await expect(resolver.resolve6("c2.m8.lars")).rejects.toThrow();
  const none = await askUdp(query("c2.m8.lars", "AAAA"));
  expect(none).toMatchObject({ rcode: "NOERROR", answers: [], authorities: [{ type: "SOA", name: "lars" }] });
  await expect(resolver.resolve4("example.com")).rejects.toMatchObject({ code: "EREFUSED" });
  expect((await askUdp(query("c2.m8.lars", "ANY"))).rcode).toBe("REFUSED");
});

test("a module nobody asked for before is answered as soon as its route has come; modules may be negative", async () => {
  const hosts = hostsAt(7, 8);
  expect((await lars.admin("PUT", "/v1/routes/-5/-6", { hosts })).status).toBe(200);
  await eventually(async () =>
    expect((await resolver.resolve4("c-6.m-5.lars")).sort()).toEqual(["10.0.0.7", "10.0.0.8"]),
  );
  expect((await resolver.resolve4("c4294967290.m4294967291.lars")).sort()).toEqual(["10.0.0.7", "10.0.0.8"]);
});

test("the first record is a pick: load spreads as the policy says, and every host is told", async () => {
  await put("8/3", hostsAt(1, 2, 3, 4));
  const first = new Map<string, number>();
  const before = (await lars.agent[0]!.metrics()).get('lars_agent_resolver_answers_total{event="answered"}')!;
  for (let i = 0; i < 40; i++) {
    const addresses = (await askUdp(query("c3.m8.lars", "A"))).answers.map(({ data }) => String(data));
    expect(addresses.toSorted()).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    first.set(addresses[0]!, (first.get(addresses[0]!) ?? 0) + 1);
    // Between them a question without hosts: it takes nobody's turn.
    await askUdp(query("c3.m8.lars", "AAAA"));
  }
  expect([...first.values()]).toEqual([10, 10, 10, 10]);
  const after = (await lars.agent[0]!.metrics()).get('lars_agent_resolver_answers_total{event="answered"}')!;
  expect(after - before).toBe(40);
});

async function report(cmdid: number, ip: string, retcode: number, calls: number): Promise<void> {
  const one = { modid: 8, cmdid, ip, port: 80, retcode };
  const response = await fetch(`${lars.agent[0]!.url}/v1/reports`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(Array(calls).fill(one)),
  });
  expect(response.status).toBe(204);
}

test("a host that fails is not told any more", async () => {
  const policyParameters = { consecutive_failures: 3, base_ejection: 300, max_ejection: 3600 };
  await put("8/4", hostsAt(1, 2, 3), { policy: "round_robin", policyParameters });
  for (const ip of ["10.0.0.1", "10.0.0.3"]) await report(4, ip, 0, 5);
  expect(await resolver.resolve4("c4.m8.lars")).toHaveLength(3);
  await report(4, "10.0.0.2", 1, 3);
  for (let i = 0; i < 10; i++) {
    expect((await resolver.resolve4("c4.m8.lars")).sort()).toEqual(["10.0.0.1", "10.0.0.3"]);
    expect(await resolver.resolveSrv("c4.m8.lars")).toHaveLength(2);
  }
});

test("every host ejected: SERVFAIL while calls are shed; the one that is probed is told alone", async () => {
  await put("8/5", hostsAt(1, 2), { policy: "lars" });
  for (const ip of ["10.0.0.1", "10.0.0.2"]) await report(5, ip, 1, 15);
  const outcomes: string[] = [];
  for (let i = 0; i < 22; i++) {
    const { rcode, answers } = await askUdp(query("c5.m8.lars", "A"));
    outcomes.push(rcode === "NOERROR" ? String(answers.map(({ data }) => data)) : rcode);
  }
  // The original's rule: one pick in probe_num + 1 goes to the ejected, in turn.
  expect(outcomes.filter((outcome) => outcome === "SERVFAIL")).toHaveLength(20);
  expect(outcomes.filter((outcome) => outcome !== "SERVFAIL").sort()).toEqual(["10.0.0.1", "10.0.0.2"]);
});

describe("over TCP", () => {
  const HOSTS = Array.from({ length: 200 }, (_, i) => ({ ip: `10.1.0.${i + 1}`, port: 9000 }));
  beforeAll(() => put("8/9", HOSTS));

  test("what UDP does not hold is truncated there and whole here; a resolver does that by itself", async () => {
    const short = await askUdp(query("c9.m8.lars", "SRV"));
    expect(short.flag_tc).toBe(true);
    expect(short.answers.length).toBeLessThan(20);
    const [whole] = await askTcp([framed(query("c9.m8.lars", "SRV"))], 1);
    expect(whole).toMatchObject({ flag_tc: false, id: 99 });
    expect(whole!.answers).toHaveLength(200);
    expect(await resolver.resolveSrv("c9.m8.lars")).toHaveLength(200);
  });

  test("queries may come in any pieces, several on one connection", async () => {
    const message = framed(query("c9.m8.lars", "A"));
    const stream = Buffer.concat([message, message, message]);
    const pieces = Array.from(stream, (_, i) => stream.subarray(i, i + 1));
    const answers = await askTcp(pieces, 3);
    expect(answers.map(({ answers }) => answers.length)).toEqual([8, 8, 8]);
  });

  test("a message longer than any query ends its connection, and only that", async () => {
    const cutOff = async () => (await lars.agent[0]!.metrics()).get('lars_agent_resolver_tcp_total{event="cutOff"}')!;
    const before = await cutOff();
    expect(await askTcp([Buffer.from([255, 255])], 1)).toEqual([]);
    expect(await cutOff()).toBe(before + 1);
    expect(await askTcp([framed(query("c9.m8.lars", "A"))], 1)).toHaveLength(1);
  });
});

test("with dns away, known modules are still told, and a module never heard of is SERVFAIL, not no such name", async () => {
  await put("8/6", hostsAt(1));
  await lars.dns[0]!.stop();
  expect(await resolver.resolve4("c6.m8.lars")).toEqual(["10.0.0.1"]);
  await expect(resolver.resolve4("c66.m8.lars")).rejects.toMatchObject({ code: "ESERVFAIL" });
  expect(await lars.agent[0]!.stop()).toBe(0);
});
