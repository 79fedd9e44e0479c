import { describe, expect, test } from "bun:test";
import { hotPick } from "../../src/agent/hot-pick.ts";
import { ShardUnavailable } from "../../src/agent/shard-pool.ts";
import type { PickAnswer } from "../../src/agent/shard-protocol.ts";
import { hashText } from "../../src/core/hash.ts";
import { expectProblem } from "../support/problems.ts";
import { makeAgentApp as rig } from "./app-rig.ts";

describe("GET /v1/hosts", () => {
  test("answers the host picked, its address dotted", async () => {
    const response = await rig().app.request("/v1/hosts/4294967295/2");
    expect([response.status, await response.json()]).toEqual([
      200,
      { modid: -1, cmdid: 2, ip: "255.255.255.255", port: 80 },
    ]);
  });

  test("hands the hash of hashKey on, none when there is none", async () => {
    const hashes: number[] = [];
    const { app } = rig({
      pick: async (_modid, _cmdid, keyHash) => {
        hashes.push(keyHash);
        return { outcome: "unknown" };
      },
    });
    await app.request("/v1/hosts/1/1?hashKey=user-1");
    await app.request("/v1/hosts/1/1");
    expect(hashes).toEqual([hashText("user-1"), 0]);
    await expectProblem(await app.request(`/v1/hosts/1/1?hashKey=${"x".repeat(1025)}`), 400);
  });

  test("a hash key that needs no escape is hashed on the short way as on the general one", () => {
    const hashes: number[] = [];
    const call = hotPick(
      (_modid, _cmdid, keyHash) => {
        hashes.push(keyHash);
        return { outcome: "host", ip: 1, port: 80 };
      },
      () => undefined,
    );
    const ask = (query: string) =>
      call.answer({
        params: ["1", "1"],
        query,
        requestId: "r",
        address: undefined,
        header: () => undefined,
        hasBody: false,
        bodyBytes: 0,
        text: () => "",
      });
    for (const query of ["hashKey=user-1", "", "hashKey=a.b_c~0"]) expect(ask(query)).toMatchObject({ bytes: 46 });
    expect(hashes).toEqual([hashText("user-1"), 0, hashText("a.b_c~0")]);
    const others = ["hashKey=", "hashkey=a", "hashKey=a&b=1", "hashKey=a=b", "a", `hashKey=${"x".repeat(1025)}`];
    for (const query of others) expect([query, ask(query)]).toEqual([query, undefined]);
    expect(hashes.length).toBe(3);
  });

  const table: [outcome: PickAnswer["outcome"], connected: boolean, status: number, detail: string][] = [
    ["unknown", true, 404, "no module 1.1"],
    ["shedding", true, 503, "every host"],
    ["resolving", true, 503, "has not answered yet"],
    ["resolving", false, 503, "no dns service is connected"],
  ];
  test.each(table)("%s (dns connected: %p) is answered %p: %p", async (outcome, connected, status, detail) => {
    const { app } = rig({ pick: async () => ({ outcome }) as PickAnswer, dnsConnected: () => connected });
    const response = await app.request("/v1/hosts/1/1");
    const problem = await expectProblem(response, status);
    expect(problem.detail).toContain(detail);
    expect(response.headers.get("retry-after")).toBe(status === 503 ? "1" : null);
  });

  test("a shard that is being restarted is 503 and no error in the log", async () => {
    const { app, log } = rig({ pick: async () => Promise.reject(new ShardUnavailable("shard 1 was restarted")) });
    await expectProblem(await app.request("/v1/hosts/1/1"), 503);
    expect(log.texts.filter((text) => text.startsWith("error"))).toEqual([]);
  });

  test.each(["/v1/hosts/x/1", "/v1/hosts/1/4294967296", "/v1/hosts/1/1.5", "/v1/hosts/%00/1", "/v1/hosts/%ff/1"])(
    "%s is 400",
    async (path) => {
      const problem = await expectProblem(await rig().app.request(path), 400);
      expect(problem.errors?.[0]?.path).toMatch(/modid|cmdid/);
    },
  );
});

describe("POST /v1/reports", () => {
  const good = { modid: 1, cmdid: 2, ip: "10.0.0.1", port: 80 };

  test("takes one report or an array; an absent retcode is a success", async () => {
    const { post, reports } = rig();
    expect((await post(good)).status).toBe(204);
    expect(
      (
        await post([
          { ...good, retcode: -7 },
          { ...good, latency_us: 5 },
        ])
      ).status,
    ).toBe(204);
    expect((await post([])).status).toBe(204);
    expect(reports).toEqual([
      { modid: 1, cmdid: 2, ip: 0x0a00_0001, port: 80, succeeded: true, latencyUs: 0 },
      { modid: 1, cmdid: 2, ip: 0x0a00_0001, port: 80, succeeded: false, latencyUs: 0 },
      { modid: 1, cmdid: 2, ip: 0x0a00_0001, port: 80, succeeded: true, latencyUs: 5 },
    ]);
  });

  const wrong: [title: string, body: unknown, path: string][] = [
    ["null", null, ""],
    ["a number", 5, ""],
    ["no port", { ...good, port: undefined }, "port"],
    ["port 0", { ...good, port: 0 }, "port"],
    ["a port as text", { ...good, port: "80" }, "port"],
    ["a fraction", { ...good, port: 80.5 }, "port"],
    ["an address of five parts", { ...good, ip: "1.2.3.4.5" }, "ip"],
    ["an address as number", { ...good, ip: 1 }, "ip"],
    ["an id beyond 32 bits", { ...good, modid: 4294967296 }, "modid"],
    ["a negative latency", { ...good, latencyUs: -1 }, "latencyUs"],
    ["an unknown field", { ...good, extra: 1 }, "extra"],
    ["both spellings", { ...good, latencyUs: 1, latency_us: 1 }, "latencyUs"],
    ["the second of an array", [good, { ...good, retcode: true }], "[1].retcode"],
    ["an array of arrays", [[good]], ""],
  ];
  test.each(wrong)("%s is refused whole, with 422 and the place", async (_title, body, path) => {
    const { post, reports } = rig();
    const problem = await expectProblem(await post(body), 422);
    if (path !== "") expect(problem.errors?.map((error) => error.path)).toContain(path);
    expect(reports).toEqual([]);
  });

  test("more reports at once than allowed are refused; what is not JSON is 400, not declared as JSON 415", async () => {
    const { post } = rig();
    await expectProblem(await post(new Array(10_001).fill(good)), 422);
    await expectProblem(await post("{"), 400);
    await expectProblem(await post(good, "text/plain"), 415);
  });
});

describe("GET /v1/routes", () => {
  test("shows every host with verdict, reason, times in seconds and totals", async () => {
    const host = { ip: 1, port: 80, weight: 100, zone: "z", verdict: "ejected" as const, reason: "r", sinceMs: 5 };
    const { app } = rig({
      describe: async () => ({
        state: "known",
        revision: 9,
        ageMs: 1500,
        policy: "random",
        policyParameters: { decay: 2 },
        hosts: [{ ...host, succ: 1, err: 2, forMs: 250, totalSucc: 3, totalErr: 4, inFlight: 5, latencyMs: 1.23456 }],
      }),
    });
    expect(await (await app.request("/v1/routes/1/2")).json()).toEqual({
      modid: 1,
      cmdid: 2,
      revision: 9,
      ageSeconds: 1.5,
      dnsConnected: true,
      policy: "random",
      policyParameters: { decay: 2 },
      hosts: [
        {
          ip: "0.0.0.1",
          port: 80,
          weight: 100,
          zone: "z",
          verdict: "ejected",
          reason: "r",
          sinceSeconds: 0.25,
          windowSucc: 1,
          windowErr: 2,
          succ: 3,
          err: 4,
          inFlight: 5,
          latencyMs: 1.235,
        },
      ],
    });
  });

  test("leaves out what the policy in effect does not count, and parameters where there are none", async () => {
    const host = { ip: 1, port: 80, weight: 100, zone: "", verdict: "available" as const, reason: "r", sinceMs: 5 };
    const { app } = rig({
      describe: async () => ({
        ...({ state: "known", revision: 9, ageMs: 0, policy: "lars", policyParameters: {} } as const),
        hosts: [{ ...host, succ: 0, err: 0, forMs: 0, totalSucc: 0, totalErr: 0 }],
      }),
    });
    const answer = (await (await app.request("/v1/routes/1/2")).json()) as { hosts: object[] };
    expect(answer).toMatchObject({ policy: "lars" });
    expect(answer).not.toHaveProperty("policyParameters");
    expect(Object.keys(answer.hosts[0]!)).not.toContain("inFlight");
    expect(Object.keys(answer.hosts[0]!)).not.toContain("latencyMs");
  });

  test("a module that nobody asked for or that does not exist is 404, one still resolving 503", async () => {
    await expectProblem(await rig().app.request("/v1/routes/1/2"), 404);
    const empty = { revision: 0, ageMs: 0, policy: "lars" as const, policyParameters: {}, hosts: [] };
    for (const [state, status] of [["unknown", 404] as const, ["resolving", 503] as const]) {
      await expectProblem(
        await rig({ describe: async () => ({ state, ...empty }) }).app.request("/v1/routes/1/2"),
        status,
      );
    }
  });
});
