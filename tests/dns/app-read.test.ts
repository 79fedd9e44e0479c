import { describe, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { expectProblem } from "../support/problems.ts";
import { AppRig, EventReader, loadedApp } from "./app-rig.ts";

const HOSTS = { hosts: [{ ip: "10.0.0.1", port: 80 }] };
const json = async (response: Response): Promise<Record<string, unknown>> => {
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
};

describe("GET /v1/routes/{modid}/{cmdid}", () => {
  test("answers the route with its hosts, name and revision; ids signed or unsigned", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", "/v1/routes/4294967295/2", {
      name: "shop",
      hosts: [
        { ip: "255.0.0.1", port: 80, weight: 5, zone: "eu", state: "draining" },
        { ip: "10.0.0.1", port: 81 },
      ],
    });
    for (const path of ["/v1/routes/4294967295/2", "/v1/routes/-1/2"]) {
      expect(await json(await rig.get(path))).toEqual({
        modid: -1,
        cmdid: 2,
        name: "shop",
        revision,
        hosts: [
          { ip: "10.0.0.1", port: 81, weight: 100, zone: "", state: "up" },
          { ip: "255.0.0.1", port: 80, weight: 5, zone: "eu", state: "draining" },
        ],
      });
    }
  });

  test("a module without hosts and name is 404; one with a name alone is there", async () => {
    const rig = await loadedApp();
    await expectProblem(await rig.get("/v1/routes/1/1"), 404);
    await rig.done("PUT", "/v1/routes/1/1", { name: "n", hosts: [] });
    expect(await json(await rig.get("/v1/routes/1/1"))).toMatchObject({ name: "n", hosts: [] });
  });

  test("answers 304 to the tag it gave, until the route or one of its names changes", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    const tag = (await rig.get("/v1/routes/1/1")).headers.get("etag")!;
    expect(tag).toMatch(/^"\d+"$/);
    for (const given of [tag, `W/${tag}`, `"x", ${tag}`, "*"]) {
      const response = await rig.get("/v1/routes/1/1", { "if-none-match": given });
      expect([response.status, await response.text(), response.headers.get("etag")]).toEqual([304, "", tag]);
    }
    await rig.done("PUT", "/v1/modules/1", { name: "shop" });
    const renamed = await rig.get("/v1/routes/1/1", { "if-none-match": tag });
    expect(await json(renamed)).toMatchObject({ name: "shop" });
    expect(renamed.headers.get("etag")).not.toBe(tag);
  });
});

describe("waiting for a change", () => {
  test("ends at once when the module's revision is past the one named, and at the module's next change otherwise", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    expect((await rig.get(`/v1/routes/1/1?wait=30s&revision=${revision - 1}`)).status).toBe(200);
    const waiting = rig.get(`/v1/routes/1/1?wait=30s&revision=${revision}`);
    await eventually(() => expect(rig.watch.size).toBe(1));
    await rig.done("PUT", "/v1/routes/2/2", HOSTS);
    expect(rig.watch.size).toBe(1);
    const next = await rig.done("PUT", "/v1/routes/1/1", { hosts: [], name: "n" });
    expect(await json(await waiting)).toMatchObject({ revision: next, name: "n" });
    expect(rig.watch.size).toBe(0);
  });

  test("for a module that does not exist yet ends when it is made; when it is removed, with 404", async () => {
    const rig = await loadedApp();
    const made = rig.get("/v1/routes/1/1?wait=30s");
    await eventually(() => expect(rig.watch.size).toBe(1));
    const revision = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    expect((await made).status).toBe(200);
    const removed = rig.get(`/v1/routes/1/1?wait=30s&revision=${revision}`);
    await eventually(() => expect(rig.watch.size).toBe(1));
    await rig.done("DELETE", "/v1/routes/1/1");
    await expectProblem(await removed, 404);
  });

  test("ends with the route as it is when the time is up, and when the caller goes away nobody waits any more", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    expect(await json(await rig.get(`/v1/routes/1/1?wait=1ms&revision=${revision}`))).toMatchObject({ revision });
    const caller = new AbortController();
    const waiting = rig.get(`/v1/routes/1/1?wait=30s&revision=${revision}`, {}, caller.signal);
    await eventually(() => expect(rig.watch.size).toBe(1));
    caller.abort();
    await waiting;
    expect(rig.watch.size).toBe(0);
  });

  test("for a revision from the future answers at once: after a restore it might never come", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    expect((await rig.get(`/v1/routes/1/1?wait=30s&revision=${revision + 1000}`)).status).toBe(200);
  });

  test("is refused with 503 when too many wait already", async () => {
    const rig = await loadedApp({ maxWatches: 1 });
    const waiting = rig.get("/v1/routes/1/1?wait=30s");
    await eventually(() => expect(rig.watch.size).toBe(1));
    const refused = await rig.get("/v1/routes/1/1?wait=30s");
    await expectProblem(refused, 503);
    expect(refused.headers.get("retry-after")).toBe("1");
    await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    expect((await waiting).status).toBe(200);
  });
});

describe("GET /v1/watch", () => {
  test("sends every watched module that exists, then every change of them and of nothing else", async () => {
    const rig = await loadedApp();
    const first = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    const second = await rig.done("PUT", "/v1/routes/2/2", HOSTS);
    const response = await rig.get("/v1/watch?module=1.1&module=2.2&module=3.3");
    expect(response.headers.get("content-type")).toStartWith("text/event-stream");
    const events = new EventReader(response);
    expect((await events.next()).id).toBe(String(first));
    expect(await events.next()).toMatchObject({ event: "route", id: String(second), data: { modid: 2, cmdid: 2 } });
    await rig.done("PUT", "/v1/routes/9/9", HOSTS);
    const third = await rig.done("PUT", "/v1/routes/3/3", { hosts: [], name: "n" });
    expect(await events.next()).toMatchObject({ id: String(third), data: { modid: 3, name: "n", hosts: [] } });
    const gone = await rig.done("DELETE", "/v1/routes/1/1");
    expect(await events.next()).toMatchObject({ id: String(gone), data: { modid: 1, hosts: [] } });
    await events.cancel();
    await eventually(() => expect(rig.watch.size).toBe(0));
  });

  test("resumes after Last-Event-ID: what changed since is sent, a module removed since as one without hosts", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    await rig.done("PUT", "/v1/routes/2/2", HOSTS);
    const seen = await rig.done("PUT", "/v1/routes/3/3", HOSTS);
    await rig.done("DELETE", "/v1/routes/3/3");
    const last = await rig.done("PUT", "/v1/routes/1/1", { hosts: [], name: "n" });
    const events = new EventReader(await rig.get("/v1/watch?module=1.1,2.2,3.3", { "last-event-id": String(seen) }));
    expect(await events.next()).toMatchObject({ data: { modid: 3, hosts: [] } });
    expect(await events.next()).toMatchObject({ id: String(last), data: { modid: 1 } });
    const next = await rig.done("PUT", "/v1/routes/2/2", { hosts: [], name: "m" });
    expect((await events.next()).id).toBe(String(next));
    await events.cancel();
  });

  test("a reader that is slow gets the newest state of each module, not every step", async () => {
    const rig = await loadedApp();
    const events = new EventReader(await rig.get("/v1/watch?module=1.1"));
    let last = 0;
    for (let port = 1; port <= 100; port++) {
      last = await rig.done("PUT", "/v1/routes/1/1", { hosts: [{ ip: "10.0.0.1", port }] });
    }
    let steps = 1;
    while ((await events.next()).id !== String(last)) steps++;
    expect(steps).toBeLessThan(100);
    await events.cancel();
  });

  test("asked for with HEAD opens no stream and leaves no watcher behind", async () => {
    const rig = await loadedApp();
    const response = await rig.app.request("/v1/watch?module=1.1", { method: "HEAD" });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    expect(rig.watch.size).toBe(0);
  });

  test.each([
    ["no module", "/v1/watch", {}],
    ["a malformed one", "/v1/watch?module=1", {}],
    ["one malformed among others", "/v1/watch?module=1.1&module=x", {}],
    ["more than 1000", `/v1/watch?module=${new Array(1001).fill("1.1").join()}`, {}],
    ["a Last-Event-ID that is no revision", "/v1/watch?module=1.1", { "last-event-id": "yesterday" }],
    ["a negative one", "/v1/watch?module=1.1", { "last-event-id": "-1" }],
  ] as [string, string, Record<string, string>][])("%s is 400", async (_title, path, headers) => {
    const rig = await loadedApp();
    await expectProblem(await rig.get(path, headers), 400);
    expect(rig.watch.size).toBe(0);
  });
});

describe("GET /v1/routes", () => {
  test("lists page by page, `next` leading on, until there is none", async () => {
    const rig = await loadedApp();
    for (let modid = 0; modid < 5; modid++) await rig.done("PUT", `/v1/routes/${modid}/1`, HOSTS);
    const seen: number[] = [];
    for (let path = "/v1/routes?limit=2", pages = 1; ; pages++) {
      const page = (await json(await rig.get(path))) as { routes: { modid: number; hosts: number }[]; next?: string };
      seen.push(...page.routes.map(({ modid }) => modid));
      expect(page.routes.every(({ hosts }) => hosts === 1)).toBe(true);
      if (page.next === undefined) {
        expect(pages).toBe(3);
        break;
      }
      path = `/v1/routes?limit=2&after=${page.next}`;
    }
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  test("filters by modid and text", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/routes/1/1", { ...HOSTS, name: "Payments" });
    await rig.done("PUT", "/v1/routes/2/2", HOSTS);
    const found = async (query: string) =>
      ((await json(await rig.get(`/v1/routes?${query}`))).routes as { modid: number }[]).map(({ modid }) => modid);
    expect(await found("modid=2")).toEqual([2]);
    expect(await found("q=pay")).toEqual([1]);
    expect(await found("q=10.0.0.1:80")).toEqual([1, 2]);
    expect(await found("q=%F0%9F%92%A9")).toEqual([]);
  });

  test.each([
    "limit=0",
    "limit=10001",
    "limit=x",
    "after=1",
    "modid=x",
    "minRevision=-1",
    `q=${"x".repeat(256)}`,
    "modid=1&modid=2",
  ])("?%s is 400 and names the parameter", async (query) => {
    const problem = await expectProblem(await (await loadedApp()).get(`/v1/routes?${query}`), 400);
    expect(problem.errors![0]!.path).toBe(query.split("=")[0]!);
  });
});

describe("minRevision", () => {
  test("waits for a change that another instance committed", async () => {
    const store = new MemoryRouteStore();
    const [one, other] = [await loadedApp({ store }), await loadedApp({ store })];
    const revision = await one.done("PUT", "/v1/routes/1/1", HOSTS);
    await expectProblem(await other.get("/v1/routes/1/1"), 404);
    expect((await other.get(`/v1/routes/1/1?minRevision=${revision}`)).status).toBe(200);
    expect(await json(await other.get(`/v1/routes?minRevision=${revision}`))).toMatchObject({ revision });
    expect(await json(await other.get(`/v1/export?minRevision=${revision}`))).toMatchObject({ revision });
  });

  test("that does not come is 503 after 5 s, with where this instance stands", async () => {
    let nowMs = 0;
    // A second goes by at every look, so that nobody waits for it.
    const rig = await loadedApp({ clock: { nowMs: () => (nowMs += 1000), wallMs: () => 1e12 } });
    const problem = await expectProblem(await rig.get("/v1/routes?minRevision=99"), 503);
    expect(problem.detail).toContain("99");
  });
});

describe("without a poller beside", () => {
  test("a request that finds the replica too old looks at the database first", async () => {
    const store = new MemoryRouteStore();
    const rig = new AppRig({ store, maxAgeMs: 0 });
    const other = await loadedApp({ store });
    await other.done("PUT", "/v1/routes/1/1", HOSTS);
    expect((await rig.get("/v1/routes/1/1")).status).toBe(200);
  });
});

describe("the change log, names and agents", () => {
  test("changes are listed oldest first, after a revision, page by page", async () => {
    const rig = await loadedApp();
    const first = await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    const second = await rig.done("DELETE", "/v1/routes/1/1");
    const page = await json(await rig.get("/v1/changes?limit=1"));
    expect(page).toMatchObject({ changes: [{ revision: first, who: "admin", action: "put-route" }], next: first });
    const rest = await json(await rig.get(`/v1/changes?after=${first}`));
    expect(rest.changes).toMatchObject([{ revision: second, action: "remove-route", at: expect.stringMatching(/Z$/) }]);
    expect(rest.next).toBeUndefined();
  });

  test("names are listed and exported; a name taken away is gone", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/modules/2", { name: "b" });
    await rig.done("PUT", "/v1/modules/1", { name: "a" });
    await rig.done("PUT", "/v1/commands/5", { name: "c" });
    await rig.done("PUT", "/v1/modules/2", { name: "" });
    expect(await json(await rig.get("/v1/modules"))).toEqual({
      modids: [{ id: 1, name: "a" }],
      cmdids: [{ id: 5, name: "c" }],
    });
  });

  test.each([0, 999, 1000, 2500])("%p agents are all told, and after every 1,000 others are served", async (count) => {
    const agents = Array.from({ length: count }, (_, i) => ({
      ...{ address: `10.0.0.9:${i}`, connectedMs: i, modules: i, behind: 0 },
    }));
    const rig = await loadedApp({ agents });
    let turns = 0;
    let isDone = false;
    const turn = (): void => {
      turns++;
      if (!isDone) setTimeout(turn, 0);
    };
    const response = await rig.get("/v1/agents");
    setTimeout(turn, 0);
    const told = (await json(response)) as { agents: { modules: number }[] };
    isDone = true;
    expect(told.agents.map(({ modules }) => modules)).toEqual(agents.map(({ modules }) => modules));
    expect(turns).toBeGreaterThanOrEqual(Math.floor(count / 1000));
  });

  test("agents are told with address, seconds, modules and what they are behind", async () => {
    const agents = [{ address: "10.0.0.9:4711", connectedMs: 1234, modules: 2, behind: 1 }];
    expect(await json(await (await loadedApp({ agents })).get("/v1/agents"))).toEqual({
      agents: [{ address: "10.0.0.9:4711", connectedSeconds: 1.234, modules: 2, behind: 1 }],
    });
  });
});

describe("a database that is away", () => {
  test("from the start: reads are 503 and /readyz says why; when it is there they are served", async () => {
    const store = new MemoryRouteStore();
    store.away("no such host");
    const rig = await loadedApp({ store });
    await expectProblem(await rig.get("/v1/routes"), 503);
    expect((await expectProblem(await rig.get("/readyz"), 503)).detail).toContain("no such host");
    expect((await rig.get("/healthz")).status).toBe(200);
    store.back();
    await rig.routes.poll();
    expect((await rig.get("/v1/routes")).status).toBe(200);
    expect((await rig.get("/readyz")).status).toBe(200);
  });

  test("later: reads go on from memory, the change log and writes are 503 with Retry-After, none of it an error here", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", "/v1/routes/1/1", HOSTS);
    rig.store.away();
    for (const path of ["/v1/routes", "/v1/routes/1/1", "/v1/export", "/v1/modules", "/readyz"]) {
      expect([path, (await rig.get(path)).status]).toEqual([path, 200]);
    }
    await expectProblem(await rig.get("/v1/changes"), 503);
    const refused = await rig.send("PUT", "/v1/routes/1/1", { hosts: [] });
    await expectProblem(refused, 503);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(rig.log.texts.filter((text) => text === "error request failed")).toEqual([]);
  });
});
