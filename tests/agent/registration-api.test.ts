import { expect, test } from "bun:test";
import { addRegistrations } from "../../src/agent/api-registrations.ts";
import type { RegistryAnswer } from "../../src/agent/registration.ts";
import { RegistrationKeeper } from "../../src/agent/registration-keeper.ts";
import { createHttpApp } from "../../src/platform/http-app.ts";
import { silentLog } from "../../src/platform/log.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { expectProblem } from "../support/problems.ts";

const BODY = { modid: 1, cmdid: 2, ip: "10.0.0.1", port: 80, ttlSeconds: 9 };

function rig(answer: RegistryAnswer = { outcome: "done", revision: 7, changed: true }) {
  const clock = new ManualClock();
  const app = createHttpApp({
    ...{ process: "agent", version: "0", title: "x", description: "x", log: silentLog, metrics: silentMetrics, clock },
    ready: () => undefined,
  });
  const keeper = new RegistrationKeeper({
    call: async () => answer,
    file: { path: "x", load: async () => ({ outcome: "missing" }), save: async () => {} },
    max: () => 3,
    drainGraceMs: () => 0,
    forgetAfterMs: () => 86_400_000,
    log: silentLog,
    nowMs: () => clock.nowMs(),
    random: () => 0,
    check: async () => ({ passed: true }),
  });
  addRegistrations(app, { keeper, max: () => 3, nowMs: () => clock.nowMs(), drainGraceMs: () => 0 });
  const ask = async (method: string, path: string, body?: unknown): Promise<Response> =>
    await app.request(`/v1/registrations${path}`, {
      method,
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
  return { ask, clock };
}

test("a registration is shown as it was given, defaults of its check included, with state, age and lease", async () => {
  const { ask, clock } = rig();
  const checked = { ...BODY, ip: "10.0.0.2", weight: 5, zone: "eu", check: { http: "/up?full=1" } };
  expect(await (await ask("PUT", "/a", BODY)).json()).toEqual({ revision: 7, changed: true });
  expect((await ask("PUT", "/b%2F1@web", checked)).status).toBe(200);
  clock.advance(1500);
  const rest = { state: "passing", sinceSeconds: 1.5, leaseRemainingSeconds: 7.5 };
  expect(await (await ask("GET", "")).json()).toEqual({
    registrations: [
      { id: "a", ...BODY, ...rest },
      { id: "b/1@web", ...checked, intervalSeconds: 5, timeoutSeconds: 1, rise: 2, fall: 3, ...rest },
    ],
  });
  expect(await (await ask("GET", "?limit=1")).json()).toMatchObject({ registrations: [{ id: "a" }], next: "a" });
  expect(await (await ask("GET", "?after=a")).json()).toMatchObject({ registrations: [{ id: "b/1@web" }] });
  expect(await (await ask("GET", "?modid=2")).json()).toEqual({ registrations: [] });
  expect((await ask("GET", "/b%2F1@web")).status).toBe(200);
});

test("snake_case is understood; every field that is unknown, out of range or without its check is an error of its own", async () => {
  const { ask } = rig();
  const { ttlSeconds, ...rest } = BODY;
  expect((await ask("PUT", "/a", { ...rest, ttl_seconds: ttlSeconds, check: { tcp: true }, fall: 1 })).status).toBe(
    200,
  );
  const wrong: [string, unknown, string][] = [
    ["color", "red", "color"],
    ["state", "draining", "state"],
    ["ttlSeconds", 0.5, "ttlSeconds"],
    ["fall", 2, "fall"],
    ["ip", "localhost", "ip"],
    ["port", 0, "port"],
    ["check", { http: "healthz" }, "check.http"],
    ["check", { http: "/a b" }, "check.http"],
    ["check", { http: "/a\r\nX: y" }, "check.http"],
    ["check", { tcp: true, http: "/" }, "check"],
    ["check", { tcp: false }, "check.tcp"],
  ];
  for (const [name, value, path] of wrong) {
    const response = await ask("PUT", "/x", { ...BODY, [name]: value });
    expect(response.status).toBe(422);
    const { errors } = (await response.json()) as { errors: { path: string }[] };
    expect(errors[0]!.path).toStartWith(path);
  }
  for (const id of ["%20", "a%0Ab", "x".repeat(256), "%C3%BC"]) {
    expect((await ask("PUT", `/${id}`, BODY)).status).toBe(400);
  }
  expect((await (await ask("GET", "")).json()) as unknown).toMatchObject({ registrations: [{ id: "a" }] });
});

test("heartbeats tell the TTL; of an id nobody knows heartbeat, GET and DELETE are 404 and say to register", async () => {
  const { ask } = rig();
  await ask("PUT", "/a", BODY);
  expect(await (await ask("PUT", "/a/heartbeat")).json()).toEqual({ ttlSeconds: 9 });
  expect(await (await ask("DELETE", "/a")).json()).toEqual({ revision: 7, changed: true });
  for (const [method, path] of [
    ["PUT", "/a/heartbeat"],
    ["GET", "/a"],
    ["DELETE", "/a"],
  ] as const) {
    expect((await expectProblem(await ask(method, path), 404)).detail).toContain("register it");
  }
});

test("the 4th of 3 is 503; dns' 403 and 422 are passed on, its 401 is a fault of this agent's", async () => {
  const full = rig();
  for (const id of ["a", "b", "c"]) expect((await full.ask("PUT", `/${id}`, BODY)).status).toBe(200);
  const beyond = await expectProblem(await full.ask("PUT", "/d", BODY), 503);
  expect(beyond.detail).toMatch(/3 registrations, its limit.*registrations\.max/);
  const refusals = [
    [403, 403, /not your module/],
    [422, 422, /not your module/],
    [401, 503, /registrations\.token/],
    [404, 503, /refuses it \(404\)/],
  ] as const;
  for (const [status, answered, detail] of refusals) {
    const { ask } = rig({ outcome: "refused", status, detail: "not your module" });
    expect((await expectProblem(await ask("PUT", "/a", BODY), answered)).detail).toMatch(detail);
    expect(await (await ask("GET", "")).json()).toEqual({ registrations: [] });
  }
});

test("with nobody to register it at, 202 says what it waits for, and DELETE that it goes on", async () => {
  const { ask } = rig({ outcome: "away", reason: "no dns service could be asked (10.0.0.9:7780: ECONNREFUSED)" });
  const response = await ask("PUT", "/a", BODY);
  expect(response.status).toBe(202);
  expect(await response.json()).toMatchObject({
    status:
      "kept; it will be registered when a dns service answers: no dns service could be asked (10.0.0.9:7780: ECONNREFUSED)",
    registration: { id: "a", state: "waiting", leaseRemainingSeconds: 0 },
  });
});
