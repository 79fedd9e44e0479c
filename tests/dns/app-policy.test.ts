// The choice of a policy over the dns service's HTTP API.
import { describe, expect, test } from "bun:test";
import { expectProblem } from "../support/problems.ts";
import { type AppRig, EventReader, loadedApp } from "./app-rig.ts";

const ROUTE = "/v1/routes/1/1";
const HOSTS = [{ ip: "10.0.0.1", port: 80 }];

async function policyOf(rig: AppRig, path = ROUTE): Promise<unknown> {
  const { policy, policyParameters } = (await (await rig.get(path)).json()) as Record<string, unknown>;
  return policyParameters === undefined ? policy : [policy, policyParameters];
}

describe("a module's policy", () => {
  test("is put with the route, shown, kept by a put that does not name it, and taken away by an empty name", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: HOSTS });
    expect(await policyOf(rig)).toBeUndefined();
    await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "adaptive", policyParameters: { decay: 2.5, min_calls: 9 } });
    expect(await policyOf(rig)).toEqual(["adaptive", { decay: 2.5, min_calls: 9 }]);
    await rig.done("PUT", ROUTE, { hosts: [...HOSTS, { ip: "10.0.0.2", port: 80 }] });
    expect(await policyOf(rig)).toEqual(["adaptive", { decay: 2.5, min_calls: 9 }]);
    await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "random" });
    expect(await policyOf(rig)).toBe("random");
    await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "" });
    expect(await policyOf(rig)).toBeUndefined();
  });

  test("takes parameters in either spelling, and shows them as the agents' configuration has them", async () => {
    const rig = await loadedApp();
    const policyParameters = { minCalls: 9, max_ejected_share: 0.25 };
    await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "random", policyParameters });
    expect(await policyOf(rig)).toEqual(["random", { min_calls: 9, max_ejected_share: 0.25 }]);
  });

  test("alone is a change: a revision, a new ETag, a log entry with what it was and what it is", async () => {
    const rig = await loadedApp();
    const first = await rig.done("PUT", ROUTE, { hosts: HOSTS });
    const before = (await rig.get(ROUTE)).headers.get("etag");
    const second = await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "lars", policyParameters: {} });
    expect(second).toBe(first + 1);
    expect((await rig.get(ROUTE)).headers.get("etag")).not.toBe(before);
    expect((await rig.get(ROUTE, { "if-none-match": before! })).status).toBe(200);
    expect(await (await rig.send("PUT", ROUTE, { hosts: HOSTS, policy: "lars" })).json()).toEqual({
      revision: second,
      changed: false,
    });
  });

  test("that changes ends a long poll and is sent to a stream", async () => {
    const rig = await loadedApp();
    const revision = await rig.done("PUT", ROUTE, { hosts: HOSTS });
    const poll = rig.get(`${ROUTE}?wait=30s&revision=${revision}`);
    const stream = new EventReader(await rig.get("/v1/watch?module=1.1"));
    expect(await stream.next()).toMatchObject({ data: { modid: 1, revision } });
    await rig.done("PUT", ROUTE, { hosts: HOSTS, policy: "round_robin", policyParameters: { slow_start: 0 } });
    const wanted = { policy: "round_robin", policyParameters: { slow_start: 0 }, revision: revision + 1 };
    expect(await stream.next()).toMatchObject({ event: "route", data: wanted });
    expect(await (await poll).json()).toMatchObject(wanted);
    await stream.cancel();
  });

  test("without hosts and name makes no module, and is there when the first host comes", async () => {
    const rig = await loadedApp();
    await rig.done("PUT", ROUTE, { hosts: [], policy: "random" });
    await expectProblem(await rig.get(ROUTE), 404);
    await rig.done("POST", `${ROUTE}/hosts`, HOSTS[0]);
    expect(await policyOf(rig)).toBe("random");
  });

  test("goes through export and import as it is; a dry run tells what it was and would be", async () => {
    const [from, to] = [await loadedApp(), await loadedApp()];
    await from.done("PUT", ROUTE, { hosts: HOSTS, policy: "adaptive", policyParameters: { bounded_load: 2 } });
    await from.done("PUT", "/v1/routes/1/2", { hosts: HOSTS });
    await to.done("PUT", ROUTE, { hosts: HOSTS, policy: "lars" });
    const exported = await (await from.get("/v1/export")).text();
    const dry = (await (await to.send("POST", "/v1/import?dryRun=true", exported)).json()) as { routes: object[] };
    expect(dry.routes).toMatchObject([
      {
        cmdid: 1,
        policy: { before: { policy: "lars" }, after: { policy: "adaptive", policyParameters: { bounded_load: 2 } } },
        added: [],
      },
      { cmdid: 2, added: [{}] },
    ]);
    expect(dry.routes[1]).not.toHaveProperty("policy");
    expect(await policyOf(to)).toBe("lars");
    await to.done("POST", "/v1/import", exported);
    const revisionless = (text: string): object => ({ ...(JSON.parse(text) as object), revision: 0 });
    expect(revisionless(await (await to.get("/v1/export")).text())).toEqual(revisionless(exported));
  });
});

describe("a policy that is wrong is refused with where and what is allowed:", () => {
  const cases: [title: string, body: object, path: string, message: string][] = [
    ["an unknown policy", { policy: "best" }, "policy", "adaptive"],
    [
      "an unknown parameter",
      { policy: "random", policyParameters: { dekay: 1 } },
      "policyParameters.dekay",
      "min_calls",
    ],
    [
      "a parameter out of range",
      { policy: "random", policyParameters: { minCalls: 0 } },
      "policyParameters.min_calls",
      "an integer from 1 to 10000, got 0",
    ],
    [
      "a parameter that is no number",
      { policy: "random", policyParameters: { decay: "2" } },
      "policyParameters.decay",
      'a number from 0.1 to 600, got "2"',
    ],
    ["parameters for lars", { policy: "lars", policyParameters: { decay: 1 } }, "policyParameters", "adaptive"],
    ["parameters for no policy", { policy: "", policyParameters: { decay: 1 } }, "policyParameters", "takes none"],
    ["parameters alone", { policyParameters: { decay: 1 } }, "policyParameters", "without `policy`"],
    ["a list of parameters", { policy: "random", policyParameters: [1] }, "policyParameters", "record"],
  ];
  test.each(cases)("%s", async (_title, body, path, message) => {
    const rig = await loadedApp();
    const problem = await expectProblem(await rig.send("PUT", ROUTE, { hosts: HOSTS, ...body }), 422);
    expect(problem.errors).toHaveLength(1);
    expect(problem.errors?.[0]?.path).toBe(path);
    expect(problem.errors?.[0]?.message).toContain(message);
    const document = { routes: [{ modid: 1, cmdid: 1, hosts: HOSTS, ...body }] };
    const imported = await expectProblem(await rig.send("POST", "/v1/import", document), 422);
    expect(imported.errors?.[0]?.path).toBe(`routes[0].${path}`);
    expect(rig.store.revision).toBe(0);
  });
});
