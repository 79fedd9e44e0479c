import { afterEach, describe, expect, test } from "bun:test";
import type { RegistrationSpec } from "../../src/agent/registration.ts";
import { RegistryClient, type RegistryClientOptions } from "../../src/agent/registry-client.ts";
import { parseIp } from "../../src/core/endpoint.ts";
import { freePorts } from "../support/lars-processes.ts";
import { FakeRegistry } from "./fake-registry.ts";

const registries: FakeRegistry[] = [];
afterEach(async () => {
  for (const registry of registries.splice(0)) await registry.stop();
});

function makeRegistry(hostname?: string, port?: number): FakeRegistry {
  const registry = new FakeRegistry(hostname, port);
  registries.push(registry);
  return registry;
}

function clientOf(addresses: readonly string[], options: Partial<RegistryClientOptions> = {}): RegistryClient {
  return new RegistryClient({
    addresses: () => addresses,
    token: () => "secret-token",
    timeoutMs: () => 200,
    nowMs: () => performance.now(),
    random: () => 0,
    ...options,
  });
}

const SPEC: RegistrationSpec = {
  id: "pay/1@web-1",
  modid: -1,
  cmdid: 2,
  ip: parseIp("10.0.0.1")!,
  port: 80,
  weight: 300,
  zone: undefined,
  ttlSeconds: 5,
  check: undefined,
};

describe("what is sent", () => {
  test("registration, heartbeat, draining and removal, with the token, and what is not given left out", async () => {
    const registry = makeRegistry();
    const client = clientOf([registry.address]);
    expect(await client.call("register", SPEC)).toEqual({ outcome: "done", revision: 1, changed: true });
    expect(await client.call("renew", SPEC)).toEqual({ outcome: "done" });
    expect(await client.call("drain", SPEC)).toEqual({ outcome: "done", revision: 2, changed: true });
    expect(await client.call("deregister", SPEC)).toEqual({ outcome: "done", revision: 3, changed: true });
    const path = "/v1/registrations/pay%2F1%40web-1";
    const body = { modid: -1, cmdid: 2, ip: "10.0.0.1", port: 80, weight: 300, ttlSeconds: 5 };
    expect(registry.requests.map(({ method, path, body }) => ({ method, path, body }))).toEqual([
      { method: "PUT", path, body },
      { method: "PUT", path: `${path}/heartbeat`, body: undefined },
      { method: "PUT", path, body: { ...body, state: "draining" } },
      { method: "DELETE", path, body: undefined },
    ]);
    expect(new Set(registry.requests.map(({ authorization }) => authorization))).toEqual(
      new Set(["Bearer secret-token"]),
    );
    expect(await client.call("renew", SPEC)).toEqual({ outcome: "gone" });
    expect(await client.call("deregister", SPEC)).toEqual({ outcome: "gone" });
  });

  test("a token goes to no proxy and to no redirect", async () => {
    const proxy = makeRegistry();
    const elsewhere = makeRegistry();
    const redirecting = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => Response.redirect(`http://${elsewhere.address}/`, 307),
    });
    const before = process.env.http_proxy;
    process.env.http_proxy = `http://${proxy.address}`;
    try {
      const answer = await clientOf([`127.0.0.1:${redirecting.port}`]).call("register", SPEC);
      expect(answer).toEqual({ outcome: "refused", status: 307, detail: "status 307" });
    } finally {
      if (before === undefined) delete process.env.http_proxy;
      else process.env.http_proxy = before;
      await redirecting.stop(true);
    }
    expect([...proxy.requests, ...elsewhere.requests]).toEqual([]);
  });
});

describe("which instance", () => {
  test("the one that answered is asked again; when it is gone, silent or unable, another within the same call", async () => {
    for (const fate of ["gone", "hangs", "unavailable"] as const) {
      const [first, second] = [makeRegistry(), makeRegistry()];
      const client = clientOf([first.address, second.address]);
      expect((await client.call("register", SPEC)).outcome).toBe("done");
      const [used, other] = first.requests.length > 0 ? [first, second] : [second, first];
      for (let i = 0; i < 5; i++) expect((await client.call("renew", SPEC)).outcome).toBe("done");
      expect([used.requests.length, other.requests.length]).toEqual([6, 0]);
      other.held.set(SPEC.id, { ttlSeconds: 5 });
      if (fate === "gone") await used.stop();
      else used.mood = fate;
      const startedMs = performance.now();
      expect((await client.call("renew", SPEC)).outcome).toBe("done");
      expect(performance.now() - startedMs).toBeLessThan(1000);
      // From now on without the detour.
      const before = used.requests.length;
      for (let i = 0; i < 5; i++) expect((await client.call("renew", SPEC)).outcome).toBe("done");
      expect(used.requests.length).toBe(before);
      expect(client.server).toBe(other.address);
      expect(client.counts.moves).toBe(2);
    }
  });

  test("a name stands for all its addresses, asked for anew at every round; the Host header is the name", async () => {
    const port = await freePorts(1);
    const second = makeRegistry("127.0.0.2", port);
    let ips = ["127.0.0.1", "127.0.0.2"];
    let lookups = 0;
    const client = clientOf([`dns.test:${port}`], {
      lookup: async () => {
        lookups++;
        return ips;
      },
    });
    expect((await client.call("register", SPEC)).outcome).toBe("done");
    expect(client.server).toBe(`127.0.0.2:${port}`);
    expect(second.requests[0]!.host).toBe(`dns.test:${port}`);
    await second.stop();
    ips = ["127.0.0.3"];
    const third = makeRegistry("127.0.0.3", port);
    expect((await client.call("register", SPEC)).outcome).toBe("done");
    expect(third.requests).toHaveLength(1);
    expect(lookups).toBe(2);
  });

  test("a name that cannot be resolved costs a lookup, not the call", async () => {
    const registry = makeRegistry();
    const client = clientOf(["nowhere.test:1", registry.address], {
      lookup: async () => {
        throw new Error("no such name");
      },
    });
    expect((await client.call("register", SPEC)).outcome).toBe("done");
    expect(client.counts.failedLookups).toBe(1);
  });

  test("while nobody answers 200 calls are a few tries, and the reason says who was asked; then all is well at once", async () => {
    const registry = makeRegistry();
    registry.mood = "unavailable";
    let nowMs = 0;
    const client = clientOf([registry.address], { nowMs: () => nowMs, random: () => 0.999 });
    for (let i = 0; i < 200; i++) {
      nowMs += 1;
      const answer = await client.call("register", SPEC);
      expect(answer).toMatchObject({ outcome: "away" });
      if (answer.outcome === "away") expect(answer.reason).toContain(`${registry.address}: 503: the database is away`);
    }
    expect(registry.requests.length).toBeLessThan(5);
    registry.mood = "well";
    nowMs += 1000;
    expect((await client.call("register", SPEC)).outcome).toBe("done");
  });

  test("a follower among the addresses, which takes no registrations, is passed by within the same call", async () => {
    const [follower, leader] = [makeRegistry(), makeRegistry()];
    follower.mood = "follower";
    const client = clientOf([follower.address, leader.address]);
    for (const call of ["register", "renew", "drain", "deregister"] as const)
      expect((await client.call(call, SPEC)).outcome).toBe("done");
    expect(leader.requests.length).toBe(4);
    expect(follower.requests.length).toBeLessThanOrEqual(1);
    const alone = await clientOf([follower.address]).call("register", SPEC);
    expect(alone).toMatchObject({ outcome: "away", reason: expect.stringContaining("421: this dns follows another") });
  });

  test("what one instance refuses is not asked of another; an old dns service without registrations refuses", async () => {
    const [first, second] = [makeRegistry(), makeRegistry()];
    const client = clientOf([first.address, second.address]);
    first.mood = second.mood = "forbidden";
    expect(await client.call("register", SPEC)).toEqual({
      outcome: "refused",
      status: 403,
      detail: "this token may not register 1.1",
    });
    first.mood = second.mood = "old";
    expect((await client.call("register", SPEC)).outcome).toBe("refused");
    expect(first.requests.length + second.requests.length).toBe(2);
  });
});

test("32 calls are under way at most, the others wait and come in turn", async () => {
  let running = 0;
  let most = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async () => {
      most = Math.max(most, ++running);
      await Bun.sleep(0);
      running--;
      return Response.json({ ttlSeconds: 5 });
    },
  });
  const client = clientOf([`127.0.0.1:${server.port}`], { timeoutMs: () => 5000 });
  const answers = await Promise.all(Array.from({ length: 500 }, () => client.call("renew", SPEC)));
  expect(answers.every(({ outcome }) => outcome === "done")).toBe(true);
  expect(most).toBeLessThanOrEqual(32);
  expect(client.waiting).toBe(0);
  await server.stop(true);
});

test("an answer of more than 64 KiB is cut off, and the instance counts as none", async () => {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("x".repeat(100_000)) });
  const answer = await clientOf([`127.0.0.1:${server.port}`]).call("renew", SPEC);
  expect(answer).toMatchObject({ outcome: "away", reason: expect.stringContaining("more than 65536 bytes") });
  await server.stop(true);
});
