// Reports on the short way: what is taken there is what the general way takes, to the last field, and nothing else is.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { hotReports, plainReports } from "../../src/agent/hot-reports.ts";
import type { CallReport } from "../../src/agent/shard-protocol.ts";
import type { HotRequest } from "../../src/platform/http-hot.ts";
import { makeAgentApp } from "./app-rig.ts";

const ONE = { modid: 1, cmdid: 2, ip: "10.0.0.1", port: 80 };
const TAKEN = { modid: 1, cmdid: 2, ip: 0x0a00_0001, port: 80, succeeded: true, latencyUs: 0 };

/** What the general way takes; undefined: it refuses. */
async function generally(text: string): Promise<readonly CallReport[] | undefined> {
  const { app, reports } = makeAgentApp();
  const headers = { "content-type": "application/json; charset=utf-8" };
  const response = await app.request("/v1/reports", { method: "POST", headers, body: text });
  return response.status === 204 ? reports : undefined;
}

test("one report and several are taken, with what is not said filled in", () => {
  expect(plainReports(JSON.stringify(ONE))).toEqual([TAKEN]);
  expect(plainReports(JSON.stringify([ONE, { ...ONE, modid: 0xffff_ffff, retcode: -1, latencyUs: 250 }]))).toEqual([
    TAKEN,
    { ...TAKEN, modid: -1, succeeded: false, latencyUs: 250 },
  ]);
  expect(plainReports("[]")).toEqual([]);
});

describe("both ways take the same of", () => {
  test.each([
    ["", "{", "null", "1", '"a"', "[[]]", "[null]", JSON.stringify([ONE, 1])],
    ...Object.keys(ONE).map((name) => [JSON.stringify({ ...ONE, [name]: undefined })]),
    ['{"modid":1,"cmdid":2,"ip":"10.0.0.1","port":80,"__proto__":{}}'],
    ['{"modid":1,"modid":3,"cmdid":2,"ip":"10.0.0.1","port":80}'],
    ['{"modid":1.0,"cmdid":-0,"ip":"10.0.0.1","port":8e1}'],
  ])("%s", async (...texts) => {
    for (const text of texts) expect([text, plainReports(text)]).toEqual([text, await generally(text)]);
  });

  test("300 bodies of any kind", async () => {
    const number = fc.constantFrom(
      0,
      1,
      -1,
      80,
      1.5,
      65_535,
      65_536,
      0x7fff_ffff,
      0x8000_0000,
      0xffff_ffff,
      0x1_0000_0000,
      "1",
      null,
    );
    const report = fc.record(
      {
        modid: number,
        cmdid: number,
        ip: fc.constantFrom("10.0.0.1", "10.0.0.01", "1.2.3", "", 5, "255.255.255.255"),
        port: number,
        retcode: number,
        latencyUs: number,
        other: number,
      },
      { requiredKeys: ["modid", "cmdid", "ip", "port"] },
    );
    const good = fc.record(
      {
        modid: fc.integer(),
        cmdid: fc.integer(),
        ip: fc.ipV4(),
        port: fc.integer({ min: 1, max: 65_535 }),
        retcode: fc.integer(),
        latencyUs: fc.nat(),
      },
      { requiredKeys: ["modid", "cmdid", "ip", "port"] },
    );
    const one = fc.oneof(report, good, { weight: 3, arbitrary: good });
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(fc.oneof(one, fc.array(one, { maxLength: 4 })), async (value) => {
        const text = JSON.stringify(value);
        const short = plainReports(text);
        if (short !== undefined) taken++;
        expect(short).toEqual(await generally(text));
      }),
      { numRuns: 300, seed: 7 },
    );
    expect(taken).toBeGreaterThan(50);
  });
});

describe("the short way", () => {
  const ask = (text: string, type: string | undefined, bodyBytes: number | undefined = text.length) => {
    const reports: CallReport[] = [];
    const call: HotRequest = {
      params: [],
      query: "",
      requestId: "r",
      address: undefined,
      header: (name) => (name === "content-type" ? type : undefined),
      hasBody: true,
      bodyBytes,
      text: () => text,
    };
    return { result: hotReports((more) => void reports.push(...more)).answer(call), reports };
  };
  const text = JSON.stringify(ONE);

  test("answers without a body what is plain", () => {
    expect(ask(text, "application/json")).toEqual({ result: { body: undefined }, reports: [TAKEN] });
  });

  test.each([
    ["another type", text, "application/json; charset=utf-8", text.length],
    ["no type", text, undefined, text.length],
    ["a length that is not told", text, "application/json", Number.NaN],
    ["a body of more than 4,096 bytes", `${text}${" ".repeat(4096)}`, "application/json", 4096 + text.length],
    ["what is refused", "[1]", "application/json", 3],
  ])("leaves %s to the general way", (_what, body, type, bytes) => {
    expect(ask(body, type, bytes)).toEqual({ result: undefined, reports: [] });
  });
});

test("POST /v1/reports is answered 204 without a type, whichever way it goes", async () => {
  const { app, reports } = makeAgentApp();
  for (const type of ["application/json", "application/json; charset=utf-8"]) {
    const body = JSON.stringify(ONE);
    const headers = { "content-type": type, "content-length": String(body.length), "x-request-id": "mine" };
    const response = await app.fetch(new Request("http://a/v1/reports", { method: "POST", headers, body }));
    expect([response.status, response.headers.get("content-type"), response.headers.get("x-request-id")]).toEqual([
      204,
      null,
      "mine",
    ]);
    expect(response.headers.get("x-frame-options")).toBe("DENY");
  }
  expect(reports).toEqual([TAKEN, TAKEN]);
});
