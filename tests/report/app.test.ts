import { describe, expect, test } from "bun:test";
import { Access } from "../../src/auth/access.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { makeApp } from "../../src/report/app.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";
import { expectProblem } from "../support/problems.ts";
import { IntakeRig } from "./intake-rig.ts";

const RESULT = { ip: "10.0.0.1", port: 80, succ: 3, err: 1 };
const STATUS = { modid: 1, cmdid: 2, caller: "10.0.0.9", results: [RESULT] };

class Rig extends IntakeRig {
  readonly tokens = new MemoryTokenStore();
  readonly access = new Access({
    tokens: this.tokens,
    configuredToken: "reader",
    clock: systemClock,
    log: this.log,
    metrics: silentMetrics,
  });
  readonly app = makeApp({
    store: this.store,
    intake: this.intake,
    access: this.access,
    anonymous: (need) => need === "report",
    log: this.log,
    metrics: silentMetrics,
    clock: this.clock,
    ready: () => undefined,
  });
  async post(body: unknown, type = "application/json"): Promise<Response> {
    return await this.app.request("/v1/reports", {
      method: "POST",
      headers: { "content-type": type },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  }
  async status(query = "", authorization = "Bearer reader"): Promise<Response> {
    return await this.app.request(`/v1/status${query}`, { headers: { authorization } });
  }
}

describe("POST /v1/reports", () => {
  test("answers 202 when the reports are in the database, one or an array", async () => {
    const rig = new Rig();
    expect((await rig.post(STATUS)).status).toBe(202);
    expect(rig.store.texts).toEqual(["1.2 167772161:80 from 167772169: 3/1"]);
    expect((await rig.post([STATUS, { ...STATUS, modid: 5 }])).status).toBe(202);
    expect((await rig.post([])).status).toBe(202);
    expect((await rig.post({ ...STATUS, results: [] })).status).toBe(202);
    expect(rig.store.texts).toHaveLength(2);
  });

  test("with an instance takes totals, whose differences add up; a uint64 as text or exact number", async () => {
    const rig = new Rig();
    const report = { ...STATUS, instance: "18446744073709551615", seq: "1" };
    await rig.post(report);
    await rig.post({ ...report, seq: 2, results: [{ ...RESULT, succ: 10 }] });
    await rig.post({ ...report, seq: 1, results: [{ ...RESULT, succ: 99 }] });
    expect(rig.store.texts).toEqual(["1.2 167772161:80 from 167772169: 10/1"]);
  });

  test("the time is now when none is given", async () => {
    const rig = new Rig();
    await rig.post(STATUS);
    await rig.post({ ...STATUS, cmdid: 3, ts: 77 });
    const { status } = (await (await rig.status()).json()) as { status: { ts: number }[] };
    expect(status.map(({ ts }) => ts)).toEqual([Date.UTC(2026, 0, 1) / 1000, 77]);
  });

  test("is 503 with Retry-After when the database does not take them within 5 s, and nothing waits for it then", async () => {
    const rig = new Rig();
    rig.store.away();
    const posted = rig.post(STATUS);
    await rig.turn();
    await rig.wait(5000);
    const response = await posted;
    expect(response.headers.get("retry-after")).toBe("1");
    expect((await expectProblem(response, 503)).detail).toContain("connection refused");
    expect(rig.intake.awaited).toBe(0);
  });

  test("is 503 when there is no room for them", async () => {
    const rig = new Rig({ maxRows: 1 });
    rig.store.away();
    const response = await rig.post({ ...STATUS, results: [RESULT, { ...RESULT, port: 81 }] });
    expect(response.headers.get("retry-after")).toBe("1");
    await expectProblem(response, 503);
  });

  const wrong: [title: string, body: unknown, at: string][] = [
    ["a number", 7, ""],
    ["no results", { ...STATUS, results: undefined }, "results"],
    ["results that are no list", { ...STATUS, results: RESULT }, "results"],
    ["no caller", { ...STATUS, caller: undefined }, "caller"],
    ["a caller as number", { ...STATUS, caller: 1 }, "caller"],
    ["port 0", { ...STATUS, results: [{ ...RESULT, port: 0 }] }, "results[0].port"],
    ["a negative count", { ...STATUS, results: [{ ...RESULT, succ: -1 }] }, "results[0].succ"],
    ["a count of 2^32", { ...STATUS, results: [RESULT, { ...RESULT, err: 2 ** 32 }] }, "results[1].err"],
    ["a verdict as number", { ...STATUS, results: [{ ...RESULT, overload: 1 }] }, "results[0].overload"],
    ["an instance without seq", { ...STATUS, instance: "5" }, "seq"],
    ["an instance of 2^64", { ...STATUS, instance: "18446744073709551616", seq: 1 }, "instance"],
    ["a seq of 2^53", { ...STATUS, instance: "5", seq: "9007199254740992" }, "seq"],
    ["a ts in milliseconds", { ...STATUS, ts: 1_767_225_600_000 }, "ts"],
    ["an unknown field", { ...STATUS, extra: 1 }, "extra"],
    ["the second of an array", [STATUS, { ...STATUS, modid: "1" }], "[1].modid"],
  ];
  test.each(wrong)("%s is 422 with its place, and nothing is taken", async (_title, body, at) => {
    const rig = new Rig();
    const problem = await expectProblem(await rig.post(body), 422);
    expect(problem.errors!.map(({ path }) => path)).toContain(at);
    expect(rig.intake.size).toBe(0);
  });

  test("what is not JSON is 400, not declared as JSON 415, too large 413, too many 422", async () => {
    const rig = new Rig();
    await expectProblem(await rig.post("{"), 400);
    await expectProblem(await rig.post(STATUS, "text/plain"), 415);
    await expectProblem(await rig.post(`"${"x".repeat(1_048_576)}"`), 413);
    await expectProblem(await rig.post(new Array(1001).fill({ ...STATUS, results: [] })), 422);
  });
});

describe("GET /v1/status", () => {
  async function filled(): Promise<Rig> {
    const rig = new Rig();
    for (const modid of [1, -1, 2]) {
      for (const port of [80, 81]) await rig.post({ ...STATUS, modid, results: [{ ...RESULT, port }] });
    }
    return rig;
  }

  test("gives the latest per module, host and agent, page by page", async () => {
    const rig = await filled();
    const seen: string[] = [];
    for (let query = "?limit=4"; ; ) {
      const response = await rig.status(query);
      expect(response.status).toBe(200);
      const page = (await response.json()) as { status: { modid: number; port: number; ip: string }[]; next?: string };
      seen.push(...page.status.map(({ modid, ip, port }) => `${modid} ${ip}:${port}`));
      if (page.next === undefined) break;
      query = `?limit=4&after=${page.next}`;
    }
    // In the order of unsigned numbers, as SQL has them.
    expect(seen).toEqual([1, 2, -1].flatMap((modid) => [`${modid} 10.0.0.1:80`, `${modid} 10.0.0.1:81`]));
  });

  test("filters by module", async () => {
    const rig = await filled();
    const { status } = (await (await rig.status("?modid=4294967295&cmdid=2")).json()) as { status: unknown[] };
    expect(status).toHaveLength(2);
  });

  test("needs a reader's token where reads are not anonymous; wrong parameters are 400; a database that is away 503", async () => {
    const rig = await filled();
    await expectProblem(await rig.status("", "Bearer nobody"), 401);
    for (const query of [
      "?limit=0",
      "?modid=x",
      "?after=1.2.3",
      "?after=1.2.3.4.-5",
      "?after=a.b.c.d.e",
      "?limit=10001",
    ]) {
      await expectProblem(await rig.status(query), 400);
    }
    rig.store.away();
    await expectProblem(await rig.status(), 503);
  });
});
