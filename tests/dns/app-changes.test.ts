import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { expectProblem } from "../support/problems.ts";
import { type AppRig, loadedApp } from "./app-rig.ts";

const ROUTE = "/v1/routes/1/1";
const HOST = { ip: "10.0.0.1", port: 80 };
const OTHER = { ip: "10.0.0.2", port: 80 };

async function json(response: Response | Promise<Response>): Promise<Record<string, unknown>> {
  const answer = await response;
  expect(answer.status).toBe(200);
  return (await answer.json()) as Record<string, unknown>;
}

async function ips(rig: AppRig, path = ROUTE): Promise<string[]> {
  const { hosts } = (await json(rig.get(path))) as unknown as { hosts: { ip: string }[] };
  return hosts.map(({ ip }) => ip);
}

describe("one change", () => {
  test("is told with who, when, what was before and what after", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const revision = await rig.done("PUT", ROUTE, { name: "n", hosts: [{ ...HOST, weight: 7 }] });
    const host = { ...HOST, weight: 100, zone: "", state: "up" };
    expect(await json(rig.get(`/v1/changes/${revision}`))).toEqual({
      ...{ revision, who: "admin", action: "put-route", requestId: expect.any(String), at: expect.any(String) },
      items: [
        {
          ...{ kind: "route", modid: 1, cmdid: 1 },
          before: { name: "", hosts: [host] },
          after: { name: "n", hosts: [{ ...host, weight: 7 }] },
        },
      ],
    });
  });

  test("that never was is 404, and one that was pruned says so", async () => {
    const rig = await loadedApp();
    const first = await rig.done("PUT", ROUTE, { hosts: [HOST] });
    await rig.done("PUT", ROUTE, { hosts: [OTHER] });
    for (const [method, suffix] of [
      ["GET", ""],
      ["POST", "/revert"],
      ["POST", "/confirm"],
    ] as const) {
      const path = (revision: number) => `/v1/changes/${revision}${suffix}`;
      await expectProblem(await rig.send(method, path(first + 9)), 404);
    }
    await rig.store.prune(1);
    const { detail } = await expectProblem(await rig.send("POST", `/v1/changes/${first}/revert`), 404);
    expect(detail).toContain(`the log begins at revision ${first + 1}`);
    expect(await ips(rig)).toEqual([OTHER.ip]);
  });
});

describe("a change undone", () => {
  test("is a change of its own, in the log with whose it was and what it undid; undone again it is there again", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST, OTHER] });
    const removed = await rig.done("DELETE", ROUTE);
    const undone = await rig.done("POST", `/v1/changes/${removed}/revert`);
    expect(await ips(rig)).toEqual([HOST.ip, OTHER.ip]);
    expect(await json(rig.get(`/v1/changes/${undone}`))).toMatchObject({ action: "revert", who: "admin", of: removed });
    await rig.done("POST", `/v1/changes/${undone}/revert`);
    await expectProblem(await rig.get(ROUTE), 404);
  });

  test("of many modules is one revision and one entry", async () => {
    const rig = await loadedApp();
    const routes = Array.from({ length: 30 }, (_, i) => ({ modid: i, cmdid: 1, hosts: [HOST] }));
    await rig.done("POST", "/v1/import", { routes });
    const emptied = await rig.done("POST", "/v1/import?replace=true", { routes: [] });
    const undone = await rig.done("POST", `/v1/changes/${emptied}/revert`);
    expect(undone).toBe(emptied + 1);
    expect((await json(rig.get("/v1/routes"))).routes).toHaveLength(30);
    expect(rig.store.committed).toEqual(["import", "import", "revert"]);
  });

  test("is refused with 409 when something of it was changed since, naming it and the revision; nothing is undone", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const added = await rig.done("PUT", ROUTE, { hosts: [HOST, OTHER] });
    const since = await rig.done("PATCH", `${ROUTE}/hosts/10.0.0.2:80`, { weight: 3 });
    const { detail } = await expectProblem(await rig.send("POST", `/v1/changes/${added}/revert`), 409);
    expect(detail).toContain(`host 10.0.0.2:80 of 1.1 (revision ${since})`);
    expect(await ips(rig)).toEqual([HOST.ip, OTHER.ip]);
  });

  test("by plain SQL is undone in the original's tables too", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST, OTHER] });
    rig.store.oldPut(1, 1, []);
    await rig.routes.poll();
    const adopted = rig.routes.replica.revision;
    await expectProblem(await rig.get(ROUTE), 404);
    await rig.done("POST", `/v1/changes/${adopted}/revert`);
    expect(await ips(rig)).toEqual([HOST.ip, OTHER.ip]);
    expect((await rig.store.look()).foreign).toEqual({ routes: [], names: [], badRows: 0 });
  });

  test("sees what old tools did since although nobody has polled: it is refused, not overwritten", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const named = await rig.done("PUT", "/v1/modules/1", { name: "ours" });
    const put = await rig.done("PUT", ROUTE, { hosts: [OTHER] });
    rig.store.oldPut(1, 1, [makeHost(0x0a000003, 80)], false);
    await expectProblem(await rig.send("POST", `/v1/changes/${put}/revert`), 409);
    expect(await ips(rig)).toEqual(["10.0.0.3"]);
    rig.store.oldName("modid", 1, "theirs");
    await expectProblem(await rig.send("POST", `/v1/changes/${named}/revert`), 409);
  });

  test("that was a registration's doing, or a confirmation, is refused with 409 and what to do", async () => {
    const rig = await loadedApp();
    let revision = await rig.done("PUT", ROUTE, { hosts: [HOST] });
    for (const action of ["register", "deregister", "expire", "confirm"]) {
      const entry = { revision: ++revision, atMs: 0, who: "x", requestId: "", action, routes: [], names: [] };
      await rig.store.write((tx) => tx.append(entry));
      const { detail } = await expectProblem(await rig.send("POST", `/v1/changes/${revision}/revert`), 409);
      expect(detail).toContain(
        action === "confirm" ? "revert the change it confirmed" : "registrations are not reverted",
      );
    }
  });

  test("needs an editor: a reader gets 403", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", ROUTE, { hosts: [HOST] });
    rig.tokens.add("reader", "r");
    rig.tokens.add("editor", "e");
    const as = (token: string, what: string) =>
      rig.send("POST", `/v1/changes/${revision}/${what}`, undefined, { authorization: `Bearer ${token}` });
    for (const what of ["confirm", "revert"]) {
      await expectProblem(await as("r", what), 403);
      expect((await as("e", what)).status).toBe(200);
    }
  });
});

describe("a table emptied by plain SQL", () => {
  async function emptied(): Promise<{ rig: AppRig; adopted: number }> {
    const rig = await loadedApp();
    const hosts = Array.from({ length: 6 }, (_, i) => ({ ip: `10.0.0.${i}`, port: 80 }));
    for (const modid of [1, 2]) await rig.done("PUT", `/v1/routes/${modid}/1`, { name: `m${modid}`, hosts });
    for (const modid of [1, 2]) rig.store.oldPut(modid, 1, []);
    await rig.routes.poll();
    return { rig, adopted: rig.routes.replica.revision };
  }

  test("is shown as it is, with what was there; confirmed, the mark is gone, at a new revision", async () => {
    const { rig, adopted } = await emptied();
    expect(await json(rig.get(ROUTE))).toMatchObject({ hosts: [], vanishedFrom: 6, revision: adopted });
    const confirmed = await rig.done("POST", `/v1/changes/${adopted}/confirm`);
    expect(confirmed).toBe(adopted + 1);
    const route = await json(rig.get(ROUTE));
    expect([route.hosts, route.revision, "vanishedFrom" in route]).toEqual([[], confirmed, false]);
    expect(await json(rig.get(`/v1/changes/${confirmed}`))).toMatchObject({ action: "confirm", of: adopted });
    // Once more there is nothing to confirm.
    expect(await json(rig.send("POST", `/v1/changes/${adopted}/confirm`))).toEqual({
      revision: confirmed,
      changed: false,
    });
  });

  test("is put back by undoing the change, and the mark goes with it", async () => {
    const { rig, adopted } = await emptied();
    await rig.done("POST", `/v1/changes/${adopted}/revert`);
    expect(await ips(rig, "/v1/routes/2/1")).toHaveLength(6);
    expect(await json(rig.get("/v1/routes/2/1"))).not.toHaveProperty("vanishedFrom");
    expect(rig.routes.replica.vanishedCount).toBe(0);
  });

  test("may be confirmed route by route by whoever changes one, with the same hosts or none too", async () => {
    const { rig } = await emptied();
    expect((await json(rig.send("PUT", ROUTE, { hosts: [] }))).changed).toBe(true);
    expect((await json(rig.send("DELETE", "/v1/routes/2/1"))).changed).toBe(true);
    expect(rig.routes.replica.vanishedCount).toBe(0);
  });
});

describe("two writers at once", () => {
  test("with If-Match: of each round exactly one wins, the other gets 412, and its retry works; no update is lost", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [HOST] });
    const ROUNDS = 20;
    let refused = 0;
    // Each adds a host of its own to the list it read, as a script would: read, change, write back.
    const add = async (writer: number, round: number): Promise<number> => {
      const read = await rig.get(ROUTE);
      const { hosts } = (await read.json()) as { hosts: { ip: string; port: number }[] };
      const wanted = [...hosts, { ip: `10.1.${writer}.${round}`, port: 80 }];
      const { status } = await rig.send("PUT", ROUTE, { hosts: wanted }, { "if-match": read.headers.get("etag")! });
      return status;
    };
    for (let round = 0; round < ROUNDS; round++) {
      const first = await Promise.all([add(1, round), add(2, round)]);
      expect(first.toSorted()).toEqual([200, 412]);
      const loser = first.indexOf(412) + 1;
      expect(await add(loser, round)).toBe(200);
      refused++;
    }
    expect((await ips(rig)).length).toBe(1 + 2 * ROUNDS);
    expect(refused).toBe(ROUNDS);
  });
});
