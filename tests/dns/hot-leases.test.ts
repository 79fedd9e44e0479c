// The hot way and the general way of registrations and heartbeats are one call: a query, which neither looks at, sends it
// the general way, so both can be asked of equal worlds and compared.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseModulePattern } from "../../src/core/module-pattern.ts";
import { principalOf } from "../../src/core/principal.ts";
import { hotLeases, plainTerms } from "../../src/dns/hot-leases.ts";
import type { HotRequest } from "../../src/platform/http-hot.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { ADMIN, AppRig } from "./app-rig.ts";

const SVC = { modid: 1, cmdid: 1, ip: "10.0.0.2", port: 8000, ttlSeconds: 15 };
const REGISTRAR = "a-registrar-of-module-7";

async function world(): Promise<AppRig> {
  const rig = new AppRig({ clock: new ManualClock({ nowMs: 5_000 }) });
  rig.tokens.add("registrar", REGISTRAR, [parseModulePattern("7.*")!]);
  rig.tokens.add("reader", "a-reader");
  await rig.routes.poll();
  await rig.leases.look();
  await rig.done("PUT", "/v1/registrations/there", SVC);
  // Tokens are known from here on; before, every call with one would go the general way.
  await rig.access.authorize({ authorization: `Bearer ${REGISTRAR}`, address: undefined }, "register");
  return rig;
}

type Ask = (rig: AppRig, path: string) => Promise<Response>;

async function answered(ask: Ask, path: string) {
  const rig = await world();
  const response = await ask(rig, path);
  const { headers, status } = response;
  rig.store.failure = undefined;
  return {
    ...{ status, headers: Object.fromEntries(headers), body: await response.text() },
    log: rig.log.lines.filter(({ level }) => level === "error").map(({ message }) => message),
    leases: await rig.leases.store.find(["there", "new"]),
    hosts: rig.store.hostsOf(1, 1),
    renewed: rig.leases.renewals.outcomes.renewed,
  };
}

async function expectSame(ask: Ask, path: string): Promise<number> {
  const hot = await answered(ask, path);
  expect(hot).toEqual(await answered(ask, `${path}?general=1`));
  return hot.status;
}

const put =
  (body: unknown, headers: Record<string, string> = {}): Ask =>
  (rig, path) => {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const length = text === undefined ? {} : { "content-length": String(Buffer.byteLength(text)) };
    return rig.send("PUT", path, text, { "x-request-id": "mine", ...length, ...headers });
  };

describe("both ways say and do the same", () => {
  test.each<[number, string, unknown, Record<string, string>]>([
    [200, "new", { ...SVC, port: 1 }, {}],
    [200, "new", { ...SVC, modid: 4294967295, cmdid: -1, ip: "200.1.2.3" }, {}],
    [200, "new", { ...SVC, weight: 7, zone: "eu-1", state: "draining", ttlSeconds: 1.5 }, {}],
    [200, "new", { ...SVC, zone: "é" }, {}],
    [200, "there", SVC, {}],
    [200, "there", { ...SVC, port: 9 }, {}],
    [200, "new", { ...SVC, modid: 7 }, { authorization: `Bearer ${REGISTRAR}` }],
    [200, "new", { ...SVC, modid: 7 }, { authorization: `bearer  ${REGISTRAR}` }],
    [200, "new", SVC, { "content-type": "application/json; charset=utf-8" }],
    [200, "n%65w", SVC, {}],
    [403, "new", SVC, { authorization: `Bearer ${REGISTRAR}` }],
    [403, "there", { ...SVC, modid: 7 }, { authorization: `Bearer ${REGISTRAR}` }],
    [403, "new", SVC, { authorization: "Bearer a-reader" }],
    [401, "new", SVC, { authorization: "Bearer nobody's" }],
    [401, "new", SVC, { authorization: "" }],
    [415, "new", SVC, { "content-type": "text/plain" }],
    [400, "new", "{", {}],
    [400, "x".repeat(256), SVC, {}],
    [422, "new", { ...SVC, ttlSeconds: 0.9 }, {}],
    [422, "new", { ...SVC, ttl_seconds: 9 }, {}],
    [422, "new", { ...SVC, leased: true }, {}],
    [422, "new", [SVC], {}],
    [422, "new", "null", {}],
  ])("%d: %s %j %j", async (status, id, body, headers) => {
    expect(await expectSame(put(body, headers), `/v1/registrations/${id}`)).toBe(status);
  });

  test.each<[number, string, Record<string, string>]>([
    [200, "there", {}],
    [404, "new", {}],
    [403, "there", { authorization: `Bearer ${REGISTRAR}` }],
    [401, "there", { authorization: "Bearer nobody's" }],
  ])("%d: a heartbeat of %s %j", async (status, id, headers) => {
    expect(await expectSame(put(undefined, headers), `/v1/registrations/${id}/heartbeat`)).toBe(status);
  });

  test("503 while the database is away, 500 and a log line for what nobody foresaw", async () => {
    const failing =
      (fail: (rig: AppRig) => void): Ask =>
      async (rig, path) => {
        fail(rig);
        return await put({ ...SVC, port: 3 })(rig, path);
      };
    expect(
      await expectSame(
        failing(({ store }) => store.away()),
        "/v1/registrations/new",
      ),
    ).toBe(503);
    const broken = failing(({ store }) => {
      store.failure = new RangeError("a bug");
    });
    expect(await expectSame(broken, "/v1/registrations/new")).toBe(500);
  });

  test("300 bodies of any kind", async () => {
    const rig = await world();
    const odd = fc.oneof(fc.integer(), fc.double(), fc.string(), fc.constant(null), fc.boolean(), fc.constant([]));
    const mostly = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof({ weight: 9, arbitrary }, { weight: 1, arbitrary: odd });
    const body = fc.record(
      {
        modid: mostly(fc.integer({ min: -0x8000_0001, max: 0x1_0000_0000 })),
        cmdid: mostly(fc.integer()),
        ip: mostly(fc.oneof(fc.ipV4(), fc.constant("1.2.3.4"))),
        port: mostly(fc.integer({ min: -1, max: 65_536 })),
        ttlSeconds: mostly(fc.double({ min: 0.5, max: 90_000, noNaN: true })),
        weight: mostly(fc.integer({ min: 0, max: 10_001 })),
        zone: mostly(fc.oneof(fc.string({ maxLength: 70 }), fc.string({ unit: "grapheme" }))),
        state: mostly(fc.constantFrom("up", "up", "draining", "down")),
      },
      { requiredKeys: ["modid", "cmdid", "ip", "port", "ttlSeconds"], noNullPrototype: true },
    );
    let plain = 0;
    await fc.assert(
      fc.asyncProperty(body, async (terms) => {
        const text = JSON.stringify(terms);
        const taken = plainTerms("fuzz", JSON.parse(text));
        if (taken === undefined) return;
        plain++;
        // What is plain is what the general way makes of it, to the last field.
        expect((await rig.send("PUT", "/v1/registrations/fuzz?general=1", text)).status).toBe(200);
        const [lease] = await rig.leases.store.find(["fuzz"]);
        expect(lease).toMatchObject({ ...taken });
      }),
      { numRuns: 300, seed: 7 },
    );
    expect(plain).toBeGreaterThan(20);
  });
});

test("what is plain takes the hot way: a registration that has its terms, a heartbeat of a lease that is known", async () => {
  const rig = await world();
  const [heartbeat, register] = hotLeases(rig.access, rig.leases, () => undefined);
  const call = (path: string, body = "", token = ADMIN): HotRequest => {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    if (body !== "") headers["content-type"] = "application/json";
    return {
      params: [path],
      query: "",
      requestId: "r",
      address: undefined,
      header: (name) => headers[name],
      hasBody: body !== "",
      bodyBytes: body === "" ? undefined : body.length,
      text: () => Promise.resolve(body),
    };
  };
  expect(await register!.answer(call("new", JSON.stringify(SVC)))).toEqual({
    body: expect.stringContaining("revision"),
  });
  expect(heartbeat!.answer(call("new"))).toEqual({ body: '{"ttlSeconds":15}' });
  expect(heartbeat!.answer(call("nobody"))).toBeUndefined();
  expect(heartbeat!.answer(call("new", undefined, "wrong"))).toBeUndefined();
  const may = principalOf("t", "t", "registrar", [parseModulePattern("7.*")!]).mayRegister;
  expect(rig.leases.renewals.renewed("new", may)).toBeUndefined();
});
