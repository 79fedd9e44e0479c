// Registrations over HTTP: what is taken, what is refused and how, and what everybody else sees of leased hosts.
import { describe, expect, test } from "bun:test";
import { expectProblem } from "../support/problems.ts";
import { type AppRig, loadedApp } from "./app-rig.ts";

const SVC = { modid: 1, cmdid: 1, ip: "10.0.0.2", port: 8000, ttlSeconds: 15 };

async function register(rig: AppRig, id = "a", body: object = {}, headers: Record<string, string> = {}) {
  return await rig.send("PUT", `/v1/registrations/${id}`, { ...SVC, ...body }, headers);
}

async function json(response: Response): Promise<Record<string, unknown>> {
  return (await response.json()) as Record<string, unknown>;
}

describe("registering", () => {
  test("answers the revision and whether the route changed; renewing the ttl; ending as registering", async () => {
    const rig = await loadedApp();
    const first = await json(await register(rig));
    expect(first).toEqual({ revision: rig.store.revision, changed: true });
    expect(await json(await register(rig))).toEqual({ revision: first.revision, changed: false });
    expect(await json(await register(rig, "a", { ttlSeconds: 1.5, weight: 5, zone: "z", state: "draining" }))).toEqual({
      revision: (first.revision as number) + 1,
      changed: true,
    });
    expect(await json(await rig.send("PUT", "/v1/registrations/a/heartbeat"))).toEqual({ ttlSeconds: 1.5 });
    expect(await json(await rig.send("DELETE", "/v1/registrations/a"))).toMatchObject({ changed: true });
    for (const [method, path] of [
      ["PUT", "/v1/registrations/a/heartbeat"],
      ["DELETE", "/v1/registrations/a"],
      ["GET", "/v1/registrations/a"],
    ] as const) {
      const problem = await expectProblem(await rig.send(method, path), 404);
      expect(problem.detail).toContain("register again");
    }
  });

  test("snake_case names are taken too", async () => {
    const rig = await loadedApp();
    const { ttlSeconds, ...rest } = SVC;
    expect((await rig.send("PUT", "/v1/registrations/a", { ...rest, ttl_seconds: ttlSeconds })).status).toBe(200);
  });

  test.each([
    [{ ttlSeconds: 0.999 }, "ttlSeconds"],
    [{ ttlSeconds: 86_400.1 }, "ttlSeconds"],
    [{ ttlSeconds: "15" }, "ttlSeconds"],
    [{ state: "down" }, "state"],
    [{ port: 0 }, "port"],
    [{ weight: 0 }, "weight"],
    [{ ip: "::1" }, "ip"],
    [{ leased: true }, "leased"],
  ])("%j is refused with 422 that names it", async (body, path) => {
    const rig = await loadedApp();
    const problem = await expectProblem(await register(rig, "a", body), 422);
    expect(problem.errors?.map((error) => error.path)).toEqual([path]);
    expect(rig.store.committed).toEqual([]);
  });

  test.each([["a b"], ["é"], ["x".repeat(256)], ["\u007f"]])("the id %j is refused with 400", async (id) => {
    const rig = await loadedApp();
    await expectProblem(await register(rig, encodeURIComponent(id)), 400);
  });

  test.each([["a"], ["x".repeat(255)], ["payments/7:8000?x=%41#"]])("the id %j is kept as it is", async (id) => {
    const rig = await loadedApp();
    expect((await register(rig, encodeURIComponent(id))).status).toBe(200);
    expect(rig.store.leases.all.map((lease) => lease.id)).toEqual([id]);
    expect((await rig.send("PUT", `/v1/registrations/${encodeURIComponent(id)}/heartbeat`)).status).toBe(200);
    expect(await json(await rig.get(`/v1/registrations/${encodeURIComponent(id)}`))).toMatchObject({ id });
  });

  test("while the database is away is 503, and so is a heartbeat of an id not known here", async () => {
    const rig = await loadedApp();
    await register(rig);
    rig.store.away();
    await expectProblem(await register(rig, "b"), 503);
    await expectProblem(await rig.send("PUT", "/v1/registrations/b/heartbeat"), 503);
    expect((await rig.send("PUT", "/v1/registrations/b/heartbeat")).headers.get("retry-after")).toBe("1");
  });
});

describe("a registrar", () => {
  test("registers, renews and ends registrations of its modules, and none of others, whatever the body says", async () => {
    const rig = await loadedApp();
    rig.tokens.add("registrar", "reg-1", [{ modid: 1, cmdid: undefined }]);
    const headers = { authorization: "Bearer reg-1" };
    expect((await register(rig, "a", {}, headers)).status).toBe(200);
    expect((await rig.send("PUT", "/v1/registrations/a/heartbeat", undefined, headers)).status).toBe(200);
    await expectProblem(await register(rig, "b", { modid: 2 }, headers), 403);
    expect((await register(rig, "theirs", { modid: 2 })).status).toBe(200);
    const problem = await expectProblem(await register(rig, "theirs", { modid: 1 }, headers), 403);
    expect(problem.detail).toContain("2.1");
    await expectProblem(await rig.send("PUT", "/v1/registrations/theirs/heartbeat", undefined, headers), 403);
    await expectProblem(await rig.send("DELETE", "/v1/registrations/theirs", undefined, headers), 403);
    expect((await rig.send("DELETE", "/v1/registrations/a", undefined, headers)).status).toBe(200);
    expect(rig.store.leases.all.map(({ id }) => id)).toEqual(["theirs"]);
  });
});

describe("the list", () => {
  test("is by id, by module, in pages, and says who and for how long", async () => {
    const rig = await loadedApp();
    for (const [n, id] of ["c", "a", "b"].entries()) await register(rig, id, { modid: 1 + (n % 2), port: 8000 + n });
    const ids = async (query: string) =>
      ((await json(await rig.get(`/v1/registrations${query}`))).registrations as { id: string }[]).map(({ id }) => id);
    expect(await ids("")).toEqual(["a", "b", "c"]);
    expect(await ids("?modid=1&cmdid=1")).toEqual(["b", "c"]);
    expect(await json(await rig.get("/v1/registrations?limit=2"))).toMatchObject({ next: "b" });
    expect(await ids("?limit=2&after=b")).toEqual(["c"]);
    const one = await json(await rig.get("/v1/registrations/c"));
    expect(one).toMatchObject({
      id: "c",
      ip: "10.0.0.2",
      ttlSeconds: 15,
      expiresInSeconds: 15,
      state: "up",
      who: "admin",
    });
    expect(Number.isNaN(Date.parse(one.registeredAt as string))).toBe(false);
  });
});

describe("leased hosts for everybody else", () => {
  test("are marked in the route, the export and the log; a route with nothing else exists", async () => {
    const rig = await loadedApp();
    await register(rig);
    const host = { ip: "10.0.0.2", port: 8000, weight: 100, zone: "", state: "up", leased: true };
    expect(await json(await rig.get("/v1/routes/1/1"))).toMatchObject({ hosts: [host] });
    expect(await json(await rig.get("/v1/export"))).toMatchObject({ routes: [{ hosts: [host] }] });
    expect(await json(await rig.get("/v1/changes"))).toMatchObject({
      changes: [{ action: "register", who: "admin", items: [{ after: { hosts: [host] } }] }],
    });
    await rig.send("DELETE", "/v1/registrations/a");
    expect((await rig.get("/v1/routes/1/1")).status).toBe(404);
  });

  test("a registration moves the route's ETag, and an If-Match from before it is refused", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port: 1 }] });
    const tag = (await rig.get("/v1/routes/1/1")).headers.get("etag")!;
    await register(rig);
    const late = await rig.send("PUT", "/v1/routes/1/1", { hosts: [] }, { "if-match": tag });
    await expectProblem(late, 412);
    const now = (await rig.get("/v1/routes/1/1")).headers.get("etag")!;
    await rig.send("PUT", "/v1/registrations/a/heartbeat");
    await register(rig);
    expect((await rig.get("/v1/routes/1/1")).headers.get("etag")).toBe(now);
  });

  test("what is read can be put back: GET then PUT, export then import with replace, each without a change", async () => {
    const rig = await loadedApp();
    await rig.done("POST", "/v1/routes/1/1/hosts", { ip: "10.0.0.1", port: 1 });
    await register(rig);
    const { hosts } = await json(await rig.get("/v1/routes/1/1"));
    expect(await json(await rig.send("PUT", "/v1/routes/1/1", { hosts }))).toMatchObject({ changed: false });
    const exported = await json(await rig.get("/v1/export"));
    for (const query of ["?dryRun=true&replace=true", "?replace=true"]) {
      expect(await json(await rig.send("POST", `/v1/import${query}`, exported))).toMatchObject({
        changed: false,
        routes: [],
      });
    }
  });

  test("an export imported elsewhere leaves its leased hosts out; an import with replace leaves those that are there", async () => {
    const [rig, elsewhere] = [await loadedApp(), await loadedApp()];
    await rig.done("POST", "/v1/routes/1/1/hosts", { ip: "10.0.0.1", port: 1 });
    await register(rig);
    await register(elsewhere, "b", { ip: "10.0.0.9" });
    const exported = await json(await rig.get("/v1/export"));
    const dry = await json(await elsewhere.send("POST", "/v1/import?dryRun=true&replace=true", exported));
    expect(dry).toMatchObject({ routes: [{ added: [{ ip: "10.0.0.1" }], removed: [], changed: [] }] });
    await elsewhere.done("POST", "/v1/import?replace=true", exported);
    const { hosts } = (await json(await elsewhere.get("/v1/routes/1/1"))) as { hosts: { ip: string; leased?: true }[] };
    expect(hosts.map(({ ip, leased }) => `${ip} ${leased ?? false}`)).toEqual(["10.0.0.1 false", "10.0.0.9 true"]);
  });

  test("PATCH sets what the operator wants of one; POST of one is a conflict, and none can be entered as leased", async () => {
    const rig = await loadedApp();
    await register(rig);
    await rig.done("PATCH", "/v1/routes/1/1/hosts/10.0.0.2:8000", { state: "down", weight: 3 });
    expect(await json(await register(rig))).toMatchObject({ changed: false });
    expect(await json(await rig.get("/v1/routes/1/1"))).toMatchObject({
      hosts: [{ state: "down", weight: 3, leased: true }],
    });
    await expectProblem(await rig.send("POST", "/v1/routes/1/1/hosts", { ip: "10.0.0.2", port: 8000 }), 409);
    await expectProblem(await rig.send("POST", "/v1/routes/1/1/hosts", { ip: "10.0.0.3", port: 1, leased: true }), 422);
  });

  test("a registration is not reverted: that is for DELETE", async () => {
    const rig = await loadedApp();
    const { revision } = await json(await register(rig));
    await expectProblem(await rig.send("POST", `/v1/changes/${revision}/revert`), 409);
    expect((await rig.send("PUT", "/v1/registrations/a/heartbeat")).status).toBe(200);
  });
});
