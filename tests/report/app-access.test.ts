// Access at the report service: which role may make which call.
import { describe, expect, test } from "bun:test";
import { Access } from "../../src/auth/access.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { makeApp } from "../../src/report/app.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";
import { CALLERS, type CallerRole, documentedCalls, documentedStatuses, outcomeOf } from "../support/role-table.ts";
import { IntakeRig } from "./intake-rig.ts";

/** The least role that may. */
const CALLS: Readonly<Record<string, Exclude<CallerRole, "anonymous">>> = {
  "GET /v1/status": "reader",
  "POST /v1/reports": "registrar",
};

class Rig extends IntakeRig {
  readonly tokens = new MemoryTokenStore();
  /** What needs no token. */
  open: readonly string[] = [];
  readonly app = makeApp({
    store: this.store,
    intake: this.intake,
    access: new Access({
      tokens: this.tokens,
      configuredToken: "",
      clock: systemClock,
      log: this.log,
      metrics: silentMetrics,
    }),
    anonymous: (need) => this.open.includes(need),
    log: this.log,
    metrics: silentMetrics,
    clock: this.clock,
    ready: () => undefined,
  });

  constructor() {
    super();
    for (const role of ["reader", "registrar", "editor", "admin"] as const) this.tokens.add(role, role);
  }
}

const calls = await documentedCalls(new Rig().app);

describe("every call x every role", () => {
  test("every call of /openapi.json is expected", () => {
    expect(calls.filter((call) => !(call in CALLS))).toEqual([]);
    expect(calls.length).toBeGreaterThan(1);
  });

  test.each(calls.flatMap((call) => CALLERS.map((role) => [role, call] as const)))("%s: %s", async (role, call) => {
    const { app } = new Rig();
    const least = CALLS[call];
    const enough = least !== undefined && CALLERS.indexOf(role) >= CALLERS.indexOf(least);
    const token = role === "anonymous" ? undefined : role;
    expect(await outcomeOf(call, { app, token })).toBe(enough ? "allowed" : token === undefined ? 401 : 403);
    expect(await documentedStatuses(app, call)).toEqual(expect.arrayContaining([401, 429]));
  });
});

test.each([
  [["read"], ["allowed", 401]],
  [["report"], [401, "allowed"]],
  [
    ["read", "report"],
    ["allowed", "allowed"],
  ],
] as const)("with %p open to everybody, status and reports without a token are %p", async (open, expected) => {
  const rig = new Rig();
  rig.open = open;
  const outcomes = [];
  for (const call of ["GET /v1/status", "POST /v1/reports"]) {
    outcomes.push(await outcomeOf(call, { app: rig.app, token: undefined }));
  }
  expect(outcomes).toEqual([...expected]);
});
