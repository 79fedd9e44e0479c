import { describe, expect, test } from "bun:test";
import { expectProblem } from "../support/problems.ts";
import { ADMIN, type AppRig, loadedApp } from "./app-rig.ts";

const HOST = { ip: "10.0.0.1", port: 80 };
const ROUTE = "/v1/routes/1/1";

async function hosts(rig: AppRig, path = ROUTE): Promise<string[]> {
  const response = await rig.get(path);
  if (response.status === 404) return [];
  const { hosts: list } = (await response.json()) as {
    hosts: { ip: string; port: number; weight: number; zone: string; state: string }[];
  };
  return list.map(({ ip, port, weight, zone, state }) => `${ip}:${port} ${weight} ${zone || "-"} ${state}`);
}

describe("hosts", () => {
  test("are added (201), changed and removed one by one; each answers with the new revision", async () => {
    const rig = await loadedApp();
    const added = await rig.send("POST", `${ROUTE}/hosts`, { ...HOST, weight: 7 });
    expect(added.status).toBe(201);
    const { revision } = (await added.json()) as { revision: number };
    expect(await rig.done("PATCH", `${ROUTE}/hosts/10.0.0.1:80`, { state: "draining", zone: "eu" })).toBe(revision + 1);
    expect(await hosts(rig)).toEqual(["10.0.0.1:80 7 eu draining"]);
    expect(await rig.done("DELETE", `${ROUTE}/hosts/10.0.0.1:80`)).toBe(revision + 2);
    expect(await hosts(rig)).toEqual([]);
  });

  test("that are there are 409, that are not 404, and nothing changes", async () => {
    const rig = await loadedApp();
    await rig.done("POST", `${ROUTE}/hosts`, HOST);
    expect((await expectProblem(await rig.send("POST", `${ROUTE}/hosts`, HOST), 409)).detail).toContain("PATCH");
    await expectProblem(await rig.send("PATCH", `${ROUTE}/hosts/10.0.0.2:80`, { weight: 1 }), 404);
    await expectProblem(await rig.send("DELETE", `${ROUTE}/hosts/10.0.0.2:80`), 404);
    await expectProblem(await rig.send("DELETE", "/v1/routes/9/9"), 404);
    expect(rig.store.committed).toHaveLength(1);
  });

  test("put again as they are change nothing and say so", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const again = await rig.send("PUT", ROUTE, { hosts: [HOST, HOST] });
    expect(await again.json()).toEqual({ revision, changed: false });
  });
});

describe("If-Match", () => {
  test("lets the writer pass who saw the newest state and refuses all others with 412", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const tag = (await rig.get(ROUTE)).headers.get("etag")!;
    const put = (ifMatch: string) => rig.send("PUT", ROUTE, { hosts: [], name: "n" }, { "if-match": ifMatch });
    for (const wrong of ['"0"', "", "W/", '"*"', `${tag.slice(0, -1)}9"`]) await expectProblem(await put(wrong), 412);
    expect((await put(`"0", ${tag}`)).status).toBe(200);
    expect((await expectProblem(await put(tag), 412)).detail).toContain("read it again");
    expect((await put("*")).status).toBe(200);
    await expectProblem(await rig.send("PUT", "/v1/routes/9/9", { hosts: [HOST] }, { "if-match": "*" }), 412);
  });

  test("counts a change of the names a reader is shown", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const tag = (await rig.get(ROUTE)).headers.get("etag")!;
    await rig.done("PUT", "/v1/modules/1", { name: "renamed" });
    await expectProblem(await rig.send("DELETE", ROUTE, undefined, { "if-match": tag }), 412);
  });
});

describe("access", () => {
  test("reads need no token where anonymous reads are allowed, and any known one where they are not; writes always do", async () => {
    const open = await loadedApp();
    expect((await open.get("/v1/routes")).status).toBe(200);
    const closed = await loadedApp({ anonymousRead: false });
    closed.tokens.add("reader", "secret-of-a-reader");
    for (const headers of [
      {},
      { authorization: "Bearer wrong" },
      { authorization: ADMIN },
      { authorization: `Basic ${ADMIN}` },
    ]) {
      const response = await closed.get("/v1/routes", headers);
      await expectProblem(response, 401);
      expect(response.headers.get("www-authenticate")).toStartWith("Bearer");
    }
    expect((await closed.get("/v1/routes", { authorization: "bearer secret-of-a-reader" })).status).toBe(200);
    expect((await closed.get("/v1/routes", { authorization: `Bearer ${ADMIN}` })).status).toBe(200);
    expect((await closed.get("/healthz")).status).toBe(200);
  });

  test("writes are for editors and admins: others get 403 with who they are, nobody gets 401", async () => {
    const rig = await loadedApp();
    const put = (authorization: string) => rig.send("PUT", ROUTE, { hosts: [HOST] }, { authorization });
    for (const role of ["reader", "registrar", "editor", "admin"] as const) rig.tokens.add(role, `secret-${role}`);
    await expectProblem(await put(""), 401);
    expect((await expectProblem(await put("Bearer secret-reader"), 403)).detail).toContain("the reader");
    await expectProblem(await put("Bearer secret-registrar"), 403);
    expect(rig.store.committed).toEqual([]);
    expect((await put("Bearer secret-editor")).status).toBe(200);
    expect(await rig.store.changes(0, 1)).toMatchObject([{ who: "the editor" }]);
  });

  test("is asked for before the body is looked at", async () => {
    const rig = await loadedApp();
    await expectProblem(await rig.send("PUT", ROUTE, "{", { authorization: "" }), 401);
    await expectProblem(await rig.send("PUT", "/v1/routes/x/y", "{", { authorization: "" }), 401);
  });

  test("tokens last read go on to count while the database is away; when none could ever be read it is 503", async () => {
    const rig = await loadedApp({ anonymousRead: false });
    rig.tokens.add("reader", "secret");
    rig.tokens.failure = rig.store.failure = new (await import("../../src/store/route-store.ts")).StoreUnavailable(
      "away",
    );
    await expectProblem(await rig.get("/v1/routes", { authorization: "Bearer secret" }), 503);
    expect((await rig.get("/v1/routes", { authorization: `Bearer ${ADMIN}` })).status).toBe(200);
    rig.tokens.failure = undefined;
    expect((await rig.get("/v1/routes", { authorization: "Bearer secret" })).status).toBe(200);
  });

  test("the same token is not looked up in the database at every request", async () => {
    const rig = await loadedApp({ anonymousRead: false });
    rig.tokens.add("reader", "secret");
    for (let i = 0; i < 20; i++) await rig.get("/v1/routes", { authorization: "Bearer secret" });
    expect(rig.tokens.lists).toBe(1);
  });

  test("no token is ever in the log or in an answer", async () => {
    const rig = await loadedApp({ anonymousRead: false });
    const response = await rig.get("/v1/routes", { authorization: "Bearer very-secret-wrong-token" });
    expect(await response.text()).not.toContain("very-secret");
    expect(JSON.stringify(rig.log.lines)).not.toContain("very-secret");
  });
});

describe("import and export", () => {
  const DOCUMENT = {
    format: "lars-routes",
    names: { modids: [{ id: 1, name: "shop" }], cmdids: [] },
    routes: [
      { modid: 1, cmdid: 1, name: "cart", hosts: [{ ...HOST, weight: 5, zone: "eu", state: "down" }] },
      { modid: 4294967295, cmdid: 0, hosts: [{ ip: "255.255.255.255", port: 65535 }] },
    ],
  };

  test("a dry run tells what would change and changes nothing; the import does exactly that, as one change", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST, { ip: "10.0.0.2", port: 80 }] });
    const dry = (await (await rig.send("POST", "/v1/import?dryRun=true", DOCUMENT)).json()) as Record<string, unknown>;
    expect(dry).toMatchObject({
      changed: true,
      dryRun: true,
      names: [{ scope: "modid", id: 1, before: "", after: "shop" }],
    });
    expect((dry.routes as Record<string, unknown>[])[0]).toEqual({
      modid: 1,
      cmdid: 1,
      name: "cart",
      added: [],
      changed: [{ ...HOST, weight: 5, zone: "eu", state: "down" }],
      removed: [{ ip: "10.0.0.2", port: 80, weight: 100, zone: "", state: "up" }],
    });
    expect([rig.store.committed, await hosts(rig)]).toEqual([
      ["put-route"],
      ["10.0.0.1:80 100 - up", "10.0.0.2:80 100 - up"],
    ]);
    const real = (await (await rig.send("POST", "/v1/import", DOCUMENT)).json()) as Record<string, unknown>;
    expect(real).toMatchObject({ changed: true, dryRun: false, routes: dry.routes, names: dry.names });
    expect(rig.store.committed).toEqual(["put-route", "import"]);
    expect(await hosts(rig)).toEqual(["10.0.0.1:80 5 eu down"]);
    expect(await hosts(rig, "/v1/routes/-1/0")).toEqual(["255.255.255.255:65535 100 - up"]);
    const again = (await (await rig.send("POST", "/v1/import", DOCUMENT)).json()) as Record<string, unknown>;
    expect(again).toMatchObject({ changed: false, routes: [], names: [] });
  });

  test("what is exported from one service and imported into another is exported again the same", async () => {
    const [one, other] = [await loadedApp(), await loadedApp()];
    await one.done("POST", "/v1/import", DOCUMENT);
    await one.done("PUT", "/v1/commands/0", { name: "zero \u{1f6d2}" });
    await other.done("PUT", "/v1/routes/77/7", { hosts: [HOST] });
    const exported = (await (await one.get("/v1/export")).json()) as Record<string, unknown>;
    expect((await other.send("POST", "/v1/import?replace=true", exported)).status).toBe(200);
    const back = (await (await other.get("/v1/export")).json()) as Record<string, unknown>;
    expect({ ...back, revision: 0 }).toEqual({ ...exported, revision: 0 });
  });

  test("a document that is wrong in one place changes nothing anywhere", async () => {
    const rig = await loadedApp();
    const wrong = { routes: [...DOCUMENT.routes, { modid: 5, cmdid: 5, hosts: [{ ip: "10.0.0.1", port: 0 }] }] };
    const problem = await expectProblem(await rig.send("POST", "/v1/import", wrong), 422);
    expect(problem.errors!.map(({ path }) => path)).toEqual(["routes[2].hosts[0].port"]);
    expect(rig.store.committed).toEqual([]);
  });
});

describe("bodies of every wrong shape are refused with a 4xx that names the place, and change nothing", () => {
  const HOSTS_PATH = `${ROUTE}/hosts`;
  const ONE_PATH = `${ROUTE}/hosts/10.0.0.1:80`;
  const deep = "[".repeat(5000) + "]".repeat(5000);
  const table: [method: string, path: string, body: unknown, status: number, at?: string][] = [
    ["PUT", ROUTE, "", 400],
    ["PUT", ROUTE, "{", 400],
    ["PUT", ROUTE, "nonsense", 400],
    ["PUT", ROUTE, '{"hosts":[]}x', 400],
    ["PUT", ROUTE, "\u0000", 400],
    ["PUT", ROUTE, deep, 422],
    ["PUT", ROUTE, `{"hosts":${deep}}`, 422],
    ["PUT", ROUTE, "null", 422],
    ["PUT", ROUTE, "true", 422],
    ["PUT", ROUTE, "0", 422],
    ["PUT", ROUTE, '"hosts"', 422],
    ["PUT", ROUTE, "[]", 422],
    ["PUT", ROUTE, {}, 422, "hosts"],
    ["PUT", ROUTE, { hosts: null }, 422, "hosts"],
    ["PUT", ROUTE, { hosts: {} }, 422, "hosts"],
    ["PUT", ROUTE, { hosts: "10.0.0.1:80" }, 422, "hosts"],
    ["PUT", ROUTE, { hosts: [null] }, 422, "hosts[0]"],
    ["PUT", ROUTE, { hosts: [[]] }, 422, "hosts[0]"],
    ["PUT", ROUTE, { hosts: [HOST, { ...HOST, port: "80" }] }, 422, "hosts[1].port"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, port: 0 }] }, 422, "hosts[0].port"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, port: 65536 }] }, 422, "hosts[0].port"],
    ["PUT", ROUTE, '{"hosts":[{"ip":"10.0.0.1","port":1e400}]}', 422, "hosts[0].port"],
    ["PUT", ROUTE, '{"hosts":[{"ip":"10.0.0.1","port":8.5}]}', 422, "hosts[0].port"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, ip: 167772161 }] }, 422, "hosts[0].ip"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, ip: "10.0.0.256" }] }, 422, "hosts[0].ip"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, ip: "::1" }] }, 422, "hosts[0].ip"],
    ["PUT", ROUTE, { hosts: [{ port: 80 }] }, 422, "hosts[0].ip"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, weight: 0 }] }, 422, "hosts[0].weight"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, weight: 10_001 }] }, 422, "hosts[0].weight"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, zone: "ä".repeat(33) }] }, 422, "hosts[0].zone"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, state: "UP" }] }, 422, "hosts[0].state"],
    ["PUT", ROUTE, { hosts: [{ ...HOST, wieght: 5 }] }, 422, "hosts[0].wieght"],
    ["PUT", ROUTE, { hosts: [], policy: "lars", extra: 1 }, 422],
    ["PUT", ROUTE, '{"hosts":[],"__proto__":{"name":"x"}}', 422, "__proto__"],
    ["PUT", ROUTE, '{"hosts":[],"constructor":1}', 422, "constructor"],
    ["PUT", ROUTE, { hosts: [], name: 5 }, 422, "name"],
    ["PUT", ROUTE, { hosts: [], name: "x".repeat(256) }, 422, "name"],
    ["PUT", ROUTE, { hosts: [], name: "a\u0000b" }, 422, "name"],
    ["PUT", "/v1/routes/x/1", { hosts: [] }, 400, "modid"],
    ["PUT", "/v1/routes/1/4294967296", { hosts: [] }, 400, "cmdid"],
    ["PUT", "/v1/routes/1/%00", { hosts: [] }, 400, "cmdid"],
    ["PUT", "/v1/routes/1/%E0%A4", { hosts: [] }, 400, "cmdid"],
    ["POST", HOSTS_PATH, [HOST], 422],
    ["POST", HOSTS_PATH, {}, 422, "ip"],
    ["PATCH", ONE_PATH, {}, 422],
    ["PATCH", ONE_PATH, { ip: "10.0.0.9" }, 422, "ip"],
    ["PATCH", ONE_PATH, { state: null }, 422, "state"],
    ["PATCH", `${HOSTS_PATH}/10.0.0.1`, { weight: 1 }, 400, "endpoint"],
    ["PATCH", `${HOSTS_PATH}/10.0.0.1:0`, { weight: 1 }, 400, "endpoint"],
    ["DELETE", `${HOSTS_PATH}/localhost:80`, undefined, 400, "endpoint"],
    ["PUT", "/v1/modules/1", {}, 422, "name"],
    ["PUT", "/v1/modules/1.1", { name: "n" }, 400, "modid"],
    ["PUT", "/v1/commands/1", { name: ["n"] }, 422, "name"],
    ["POST", "/v1/import", {}, 422, "routes"],
    ["POST", "/v1/import", { format: "other", routes: [] }, 422, "format"],
    ["POST", "/v1/import", { routes: {} }, 422, "routes"],
    ["POST", "/v1/import", { routes: [{ modid: 1, cmdid: 1 }] }, 422, "routes[0].hosts"],
    ["POST", "/v1/import", { routes: [{ modid: "1", cmdid: 1, hosts: [] }] }, 422, "routes[0].modid"],
    ["POST", "/v1/import", { routes: [], names: { modids: [{ id: 0.5, name: "" }] } }, 422, "names.modids[0].id"],
    ["POST", "/v1/import?dryRun=yes", { routes: [] }, 400, "dryRun"],
    ["POST", "/v1/import?dryRun=", { routes: [] }, 400, "dryRun"],
    ["POST", ROUTE, { hosts: [] }, 405],
    ["PUT", "/v1/nothing", {}, 404],
    ["PATCH", "/v1/import", {}, 405],
  ];

  const cases = table.map(([method, path, body, status, at]) => {
    const text = typeof body === "string" ? body : (JSON.stringify(body) ?? "no body");
    const shown = text.length > 80 ? `${text.slice(0, 60)}… (${text.length} characters)` : text;
    return { title: `${method} ${path} ${JSON.stringify(shown)} is ${status}`, method, path, body, status, at };
  });

  test.each(cases)("$title", async ({ method, path, body, status, at }) => {
    const rig = await loadedApp();
    const problem = await expectProblem(await rig.send(method, path, body), status);
    if (at !== undefined) expect(problem.errors?.map((error) => error.path)).toContain(at);
    expect(rig.store.committed).toEqual([]);
    expect(rig.log.texts.filter((text) => text.startsWith("error"))).toEqual([]);
  });

  test("a body that is not declared as JSON is 415, one over the limit 413", async () => {
    const rig = await loadedApp();
    for (const type of ["text/plain", "application/x-www-form-urlencoded", ""]) {
      await expectProblem(await rig.send("PUT", ROUTE, { hosts: [] }, { "content-type": type }), 415);
    }
    await expectProblem(await rig.send("PUT", ROUTE, `{"hosts":[],"name":"${"x".repeat(1_048_576)}"}`), 413);
  });
});
