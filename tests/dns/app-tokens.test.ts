// Access at the dns service: which role may make which call, and how tokens are made, listed and taken back over HTTP.
import { describe, expect, test } from "bun:test";
import { DNS_CALLS } from "../../src/dns/api-access.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { expectProblem } from "../support/problems.ts";
import { CALLERS, type CallerRole, documentedCalls, documentedStatuses, outcomeOf } from "../support/role-table.ts";
import { ADMIN, type AppRig, loadedApp } from "./app-rig.ts";

/** The least role that may; "registrar" also means that it depends on the module. */
const CALLS: Readonly<Record<string, Exclude<CallerRole, "anonymous">>> = {
  "GET /v1/routes": "reader",
  "GET /v1/routes/{modid}/{cmdid}": "reader",
  "GET /v1/watch": "reader",
  "GET /v1/export": "reader",
  "GET /v1/modules": "reader",
  "GET /v1/changes": "reader",
  "GET /v1/changes/{revision}": "reader",
  "GET /v1/agents": "reader",
  "GET /v1/replica": "reader",
  "GET /v1/registrations": "reader",
  "GET /v1/registrations/{id}": "reader",
  "PUT /v1/registrations/{id}": "registrar",
  "PUT /v1/registrations/{id}/heartbeat": "registrar",
  "DELETE /v1/registrations/{id}": "registrar",
  "PUT /v1/routes/{modid}/{cmdid}": "editor",
  "DELETE /v1/routes/{modid}/{cmdid}": "editor",
  "POST /v1/routes/{modid}/{cmdid}/hosts": "editor",
  "PATCH /v1/routes/{modid}/{cmdid}/hosts/{endpoint}": "editor",
  "DELETE /v1/routes/{modid}/{cmdid}/hosts/{endpoint}": "editor",
  "PUT /v1/modules/{modid}": "editor",
  "PUT /v1/commands/{cmdid}": "editor",
  "POST /v1/import": "editor",
  "POST /v1/changes/{revision}/revert": "editor",
  "POST /v1/changes/{revision}/confirm": "editor",
  "GET /v1/tokens": "admin",
  "POST /v1/tokens": "admin",
  "DELETE /v1/tokens/{id}": "admin",
};

async function closedApp(): Promise<AppRig> {
  const rig = await loadedApp({ anonymousRead: false });
  for (const role of ["reader", "editor", "admin"] as const) rig.tokens.add(role, role);
  rig.tokens.add("registrar", "registrar", [{ modid: 1, cmdid: undefined }]);
  return rig;
}

const tokenOf = (role: CallerRole) => (role === "anonymous" ? undefined : role);

const calls = await documentedCalls((await loadedApp()).app);
const rows = calls.flatMap((call) => CALLERS.map((role) => [role, call] as const));

describe("every call x every role", () => {
  test("every call of /openapi.json has a rule, and one that is expected; every rule is of a call", () => {
    expect(Object.keys(DNS_CALLS).filter((call) => !calls.includes(call))).toEqual([]);
    expect(calls.filter((call) => !(call in DNS_CALLS))).toEqual([]);
    expect(calls.filter((call) => !(call in CALLS))).toEqual([]);
    expect(calls.length).toBeGreaterThan(20);
  });

  test.each(rows)("%s: %s", async (role, call) => {
    const rig = await closedApp();
    const least = CALLS[call];
    const enough = least !== undefined && CALLERS.indexOf(role) >= CALLERS.indexOf(least);
    const expected = enough ? "allowed" : role === "anonymous" ? 401 : 403;
    expect(await outcomeOf(call, { app: rig.app, token: tokenOf(role) })).toBe(expected);
    if (!enough) expect(rig.store.committed).toEqual([]);
    if (!enough) expect(rig.tokens.tokens).toHaveLength(4);
  });

  const documented = loadedApp();

  test.each(calls.map((call) => [call] as const))("%s documents 401, 429 and, when not for all, 403", async (call) => {
    const statuses = await documentedStatuses((await documented).app, call);
    expect(statuses).toContain(401);
    expect(statuses).toContain(429);
    if (CALLS[call] !== "reader") expect(statuses).toContain(403);
  });

  test.each(calls.map((call) => [call] as const))(
    "anonymous reads allowed: %s needs no token if readers may",
    async (call) => {
      const rig = await loadedApp({ anonymousRead: true });
      const outcome = await outcomeOf(call, { app: rig.app, token: undefined });
      expect(outcome).toBe(CALLS[call] === "reader" ? "allowed" : 401);
    },
  );

  test("HEAD is as GET; what is not there tells so only to those who may read", async () => {
    const rig = await closedApp();
    const status = async (method: string, path: string, token?: string) =>
      (
        await rig.app.request(path, {
          method,
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        })
      ).status;
    expect([await status("HEAD", "/v1/routes"), await status("HEAD", "/v1/routes", "reader")]).toEqual([401, 200]);
    expect([await status("HEAD", "/v1/tokens", "editor"), await status("HEAD", "/v1/tokens", "admin")]).toEqual([
      403, 200,
    ]);
    expect([await status("GET", "/v1/nothing"), await status("GET", "/v1/nothing", "reader")]).toEqual([401, 404]);
    expect([await status("POST", "/v1/nothing"), await status("POST", "/v1/nothing", "editor")]).toEqual([401, 404]);
    expect([await status("PATCH", "/v1/tokens", "reader"), await status("PATCH", "/v1/tokens", "editor")]).toEqual([
      403, 405,
    ]);
  });

  test.each([
    ["registrar", "its modules alone", 200, 403],
    ["editor", "any module", 200, 200],
    ["admin", "any module", 200, 200],
    ["reader", "none", 403, 403],
  ] as const)("%s: registers, renews and deregisters hosts of %s", async (role, _what, own, other) => {
    const rig = await closedApp();
    const terms = { ip: "10.0.0.1", port: 80, ttlSeconds: 10 };
    const as = (token: string, method: string, path: string, body?: unknown) =>
      rig.send(method, `/v1/registrations/${path}`, body, { authorization: `Bearer ${token}` });
    const outcomes = async (modid: number): Promise<readonly number[]> => {
      const id = `of-${modid}`;
      const registered = await as(role, "PUT", id, { ...terms, modid, cmdid: 5 });
      // So that there is something to renew and to remove.
      expect((await as("admin", "PUT", id, { ...terms, modid, cmdid: 5 })).status).toBe(200);
      const renewed = await as(role, "PUT", `${id}/heartbeat`);
      const removed = await as(role, "DELETE", id);
      expect((await as("reader", "GET", id)).status).toBe(removed.status === 200 ? 404 : 200);
      return [registered.status, renewed.status, removed.status];
    };
    expect(await outcomes(1)).toEqual([own, own, own]);
    expect(await outcomes(2)).toEqual([other, other, other]);
  });

  test("a registrar cannot take over what is registered for a module that is not its own, by using its id", async () => {
    const rig = await closedApp();
    const terms = { ip: "10.0.0.1", port: 80, ttlSeconds: 10, cmdid: 5 };
    const put = (token: string, modid: number) =>
      rig.send("PUT", "/v1/registrations/one", { ...terms, modid }, { authorization: `Bearer ${token}` });
    expect((await put("admin", 2)).status).toBe(200);
    await expectProblem(await put("registrar", 1), 403);
    const found = await rig.get("/v1/registrations/one", { authorization: "Bearer reader" });
    expect(await found.json()).toMatchObject({ modid: 2 });
  });

  test("outside of /v1 nothing needs a token", async () => {
    const rig = await closedApp();
    for (const path of ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"]) {
      expect([path, (await rig.get(path)).status]).toEqual([path, 200]);
    }
  });
});

interface TokenJson {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly modules: string[];
  readonly createdAt: string;
  readonly lastUsedAt?: string;
  readonly token?: string;
}

async function create(rig: AppRig, body: unknown, token = ADMIN): Promise<TokenJson> {
  const response = await rig.send("POST", "/v1/tokens", body, { authorization: `Bearer ${token}` });
  expect(response.status).toBe(201);
  expect(response.headers.get("cache-control")).toBe("no-store");
  return (await response.json()) as TokenJson;
}

async function list(rig: AppRig): Promise<readonly TokenJson[]> {
  const response = await rig.get("/v1/tokens", { authorization: `Bearer ${ADMIN}` });
  expect(response.status).toBe(200);
  expect(response.headers.get("cache-control")).toBe("no-store");
  return ((await response.json()) as { tokens: TokenJson[] }).tokens;
}

describe("tokens over HTTP", () => {
  test("one is made, shown once, works at once, is listed without its secret, and stops when it is revoked", async () => {
    const rig = await loadedApp({ anonymousRead: false });
    const made = await create(rig, { name: "payments", role: "editor" });
    expect(made).toEqual({
      id: expect.stringMatching(/^t_[0-9a-f]{12}$/),
      name: "payments",
      role: "editor",
      modules: [],
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      token: expect.stringMatching(/^lars_[\w-]{43}$/),
    });
    const { token, ...shown } = made;
    expect(await list(rig)).toEqual([shown]);
    const put = () => rig.send("PUT", "/v1/modules/1", { name: "n" }, { authorization: `Bearer ${token}` });
    expect((await put()).status).toBe(200);
    expect(await rig.store.changes(0, 1)).toMatchObject([{ who: "payments" }]);
    expect(await list(rig)).toEqual([{ ...shown, lastUsedAt: expect.any(String) }]);
    const revoked = await rig.send("DELETE", `/v1/tokens/${made.id}`);
    expect([revoked.status, await revoked.text()]).toEqual([204, ""]);
    await expectProblem(await put(), 401);
    expect(await list(rig)).toEqual([]);
    await expectProblem(await rig.send("DELETE", `/v1/tokens/${made.id}`), 404);
  });

  test("a registrar's names modules, which are shown as they count", async () => {
    const rig = await loadedApp();
    const { id, modules } = await create(rig, { name: "r", role: "registrar", modules: ["1.1", "4294967295.*"] });
    expect(modules).toEqual(["1.1", "-1.*"]);
    expect(await list(rig)).toMatchObject([{ id, modules: ["1.1", "-1.*"] }]);
  });

  test.each([
    [{ name: "n", role: "registrar" }, "modules"],
    [{ name: "n", role: "registrar", modules: [] }, "modules"],
    [{ name: "n", role: "registrar", modules: ["1"] }, "modules[0]"],
    [{ name: "n", role: "registrar", modules: ["*.*"] }, "modules[0]"],
    [{ name: "n", role: "registrar", modules: Array(65).fill("1.1") }, "modules"],
    [{ name: "n", role: "editor", modules: ["1.1"] }, "modules"],
    [{ name: "n", role: "root" }, "role"],
    [{ name: "n" }, "role"],
    [{ role: "reader" }, "name"],
    [{ name: "", role: "reader" }, "name"],
    [{ name: " n", role: "reader" }, "name"],
    [{ name: "a\nb", role: "reader" }, "name"],
    [{ name: "x".repeat(101), role: "reader" }, "name"],
    [{ name: "sql", role: "reader" }, "name"],
    [{ name: "admin", role: "reader" }, "name"],
    [{ name: "n", role: "reader", token: "mine" }, "token"],
  ])("%j is refused with 422 at %p, and nothing is made", async (body, path) => {
    const rig = await loadedApp();
    const { errors } = await expectProblem(await rig.send("POST", "/v1/tokens", body), 422);
    expect(errors?.map((error) => error.path)).toContain(path);
    expect(rig.tokens.tokens).toEqual([]);
  });

  test("64 modules of the longest ids fit where they are stored", async () => {
    const rig = await loadedApp();
    const modules = Array.from({ length: 64 }, (_, i) => `-20000000${String(i).padStart(2, "0")}.-2147483648`);
    await create(rig, { name: "r", role: "registrar", modules });
    expect(modules.join(",").length).toBeLessThanOrEqual(2048);
    expect((await list(rig))[0]!.modules).toEqual(modules);
  });

  test("making and revoking are logged with who did it and for whom, never with the secret or its hash", async () => {
    const rig = await loadedApp();
    const boss = await create(rig, { name: "boss", role: "admin" });
    const made = await create(rig, { name: "mine", role: "registrar", modules: ["1.*"] }, boss.token);
    await rig.send("DELETE", `/v1/tokens/${made.id}`, undefined, { authorization: `Bearer ${boss.token}` });
    const lines = rig.log.lines.filter(({ message }) => message.includes("access token"));
    expect(lines).toMatchObject([
      { level: "info", message: "an access token was made", fields: { who: "admin", by: "configured", id: boss.id } },
      {
        message: "an access token was made",
        fields: { who: "boss", by: boss.id, id: made.id, name: "mine", role: "registrar", modules: ["1.*"] },
      },
      { message: "an access token was revoked", fields: { who: "boss", by: boss.id, id: made.id } },
    ]);
    const text = JSON.stringify(rig.log.lines);
    for (const secret of [boss.token!, made.token!, ...rig.tokens.tokens.map(({ sha256 }) => sha256)]) {
      expect(text).not.toContain(secret);
    }
  });

  test("the last admin's token may go while LARS_ADMIN_TOKEN is configured", async () => {
    const rig = await loadedApp();
    const { id } = await create(rig, { name: "boss", role: "admin" });
    expect((await rig.send("DELETE", `/v1/tokens/${id}`)).status).toBe(204);
  });

  test("without LARS_ADMIN_TOKEN it may not: 409 says what to do first; it may when there is another admin", async () => {
    const rig = await loadedApp({ configuredToken: "" });
    rig.tokens.add("admin", "only");
    rig.tokens.add("editor", "editor");
    const authorization = { authorization: "Bearer only" };
    const { detail } = await expectProblem(await rig.send("DELETE", "/v1/tokens/only", undefined, authorization), 409);
    expect(detail).toContain("make another first");
    expect((await rig.send("DELETE", "/v1/tokens/editor", undefined, authorization)).status).toBe(204);
    const other = await create(rig, { name: "other", role: "admin" }, "only");
    expect((await rig.send("DELETE", "/v1/tokens/only", undefined, authorization)).status).toBe(204);
    const again = { authorization: `Bearer ${other.token}` };
    await expectProblem(await rig.send("DELETE", `/v1/tokens/${other.id}`, undefined, again), 409);
  });

  test("5000 tokens are enough: one more is refused with 409, and one revoked makes room", async () => {
    const rig = await loadedApp();
    rig.tokens.add("reader", "first");
    const [first] = rig.tokens.tokens;
    for (let i = 1; i < 5000; i++) rig.tokens.tokens.push({ ...first!, id: `t${i}` });
    await expectProblem(await rig.send("POST", "/v1/tokens", { name: "n", role: "reader" }), 409);
    await rig.send("DELETE", "/v1/tokens/t77");
    await create(rig, { name: "n", role: "reader" });
  });

  test("while the database is away making, listing and revoking are 503", async () => {
    const rig = await loadedApp();
    rig.tokens.failure = new StoreUnavailable("away");
    await expectProblem(await rig.send("POST", "/v1/tokens", { name: "n", role: "reader" }), 503);
    await expectProblem(await rig.send("GET", "/v1/tokens"), 503);
    await expectProblem(await rig.send("DELETE", "/v1/tokens/x"), 503);
  });
});
