// Who is let in, who is refused and with which status, and how guessing is slowed. (What each call needs is tested where
// the calls are: tests/dns/app-tokens.test.ts, tests/report/app-access.test.ts.)
import { describe, expect, test } from "bun:test";
import { Access } from "../../src/auth/access.ts";
import type { Need } from "../../src/core/principal.ts";
import { ProblemError } from "../../src/platform/http-problem.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const ADMIN = "configured-admin-token";

class Rig {
  readonly clock = new ManualClock();
  readonly tokens = new MemoryTokenStore();
  readonly log = new RecordingLog();
  readonly access: Access;
  lastCallMs = 0;

  constructor(configuredToken = ADMIN) {
    this.access = new Access({
      tokens: this.tokens,
      configuredToken,
      clock: this.clock,
      setTimer: (ms, run) => this.clock.setTimer(ms, run),
      log: this.log,
      metrics: silentMetrics,
    });
    this.tokens.add("reader", "good");
    this.tokens.add("editor", "edits");
  }

  /** The principal's name, or the status it was refused with. */
  async call(token: string | undefined, address = "10.0.0.1", need: Need = "read"): Promise<string | number> {
    const authorization = token === undefined ? undefined : `Bearer ${token}`;
    this.lastCallMs = this.clock.wallMs();
    const answer = this.access.authorize({ authorization, address }, need).then(
      ({ name }) => name,
      (error: unknown) => {
        if (error instanceof ProblemError) return error.status;
        if (error instanceof StoreUnavailable) return "unavailable";
        throw error;
      },
    );
    // Looking for an unknown token waits for its turn.
    for (let pending = true; pending; ) {
      void answer.then(() => {
        pending = false;
      });
      await this.clock.advanceAsync(pending ? 10 : 0);
    }
    return await answer;
  }

  async refusal(token: string, address = "10.0.0.1", need: Need = "read"): Promise<ProblemError> {
    try {
      await this.access.authorize({ authorization: `Bearer ${token}`, address }, need);
    } catch (error) {
      if (error instanceof ProblemError) return error;
      throw error;
    }
    throw new Error("was let in");
  }
}

describe("a token", () => {
  test("that is known is a principal with id, name, role and modules; LARS_ADMIN_TOKEN is an admin's", async () => {
    const rig = new Rig();
    rig.tokens.add("registrar", "limited", [{ modid: 1, cmdid: undefined }]);
    const principal = await rig.access.authorize({ authorization: "Bearer limited", address: undefined }, "register");
    expect(principal).toMatchObject({ id: "limited", name: "the registrar", role: "registrar" });
    expect([principal.mayRegister(1, 9), principal.mayRegister(2, 9)]).toEqual([true, false]);
    const admin = await rig.access.authorize({ authorization: `bearer   ${ADMIN}`, address: "::1" }, "administer");
    expect(admin).toMatchObject({ id: "configured", name: "admin", role: "admin" });
    expect(rig.access.counts).toMatchObject({ ok: 2, refused: 0 });
  });

  test("that allows too little is refused with 403, which says whose it is and what is needed", async () => {
    const rig = new Rig();
    const { status, detail } = await rig.refusal("good", "10.0.0.1", "change");
    expect([status, detail]).toEqual([
      403,
      "the token \"the reader\" is a reader's; changing routes needs an editor's or an admin's",
    ]);
    expect(rig.access.counts).toMatchObject({ ok: 1, forbidden: 1, refused: 0 });
  });

  test.each([
    "",
    "Bearer",
    "Bearer ",
    "Basic Z29vZA==",
    "good",
    "Bearer a b",
    `Bearer ${"x".repeat(513)}`,
    "Bearer gööd",
  ])("shown as %p is none: 401, and no attempt", async (authorization) => {
    const rig = new Rig();
    for (let i = 0; i < 30; i++) {
      const call = rig.access.authorize({ authorization, address: "10.0.0.1" }, "read");
      await expect(call).rejects.toMatchObject({ status: 401 });
    }
    expect(rig.access.counts).toEqual({ ok: 0, refused: 0, limited: 0, forbidden: 0, unchecked: 0 });
    expect(rig.tokens.lists).toBe(0);
  });

  test("made by another instance a moment ago counts at once; revoked there it counts for 2 s at most, revoked here no more", async () => {
    const rig = new Rig();
    expect(await rig.call("good")).toBe("the reader");
    rig.tokens.add("admin", "new");
    expect(await rig.call("new")).toBe("the admin");
    await rig.tokens.remove("new", false);
    await rig.clock.advanceAsync(2000);
    expect(await rig.call("new")).toBe(401);
    expect(await rig.access.desk.revoke("good")).toBe("removed");
    expect(await rig.call("good")).toBe(401);
  });

  test("is not in the log, wherever it was refused", async () => {
    const rig = new Rig();
    for (let i = 0; i < 12; i++) await rig.call(`very-secret-${i}`);
    expect(rig.log.texts).toEqual([
      "warn an unknown access token was refused",
      "warn an address that showed too many wrong access tokens has to wait",
    ]);
    expect(rig.log.lines[1]!.fields).toMatchObject({ caller: "10.0.0.1" });
    expect(JSON.stringify(rig.log.lines)).not.toContain("very-secret");
  });
});

describe("guessing", () => {
  test("100 guesses in a row: 10 are looked at, 90 get 429 with the seconds to wait", async () => {
    const rig = new Rig();
    const statuses: (string | number)[] = [];
    for (let i = 0; i < 100; i++) statuses.push(await rig.call(`guess-${i}`));
    const looked = statuses.filter((status) => status === 401).length;
    expect([looked, statuses.filter((status) => status === 429).length]).toEqual([10, 90]);
    expect(rig.access.counts).toMatchObject({ refused: 10, limited: 90 });
    const refusal = await rig.refusal("guess");
    expect(refusal.status).toBe(429);
    const wait = Number(refusal.options.headers?.["retry-after"]);
    expect(wait).toBeGreaterThanOrEqual(1);
    expect(wait).toBeLessThanOrEqual(6);
  });

  test("100 guesses at once are no more than 100 in a row: 10 are looked at", async () => {
    const rig = new Rig();
    const statuses = await Promise.all(Array.from({ length: 100 }, (_, i) => rig.call(`guess-${i}`)));
    expect(statuses.filter((status) => status === 401)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(90);
  });

  test("100 guesses that wait together for the first list, or for one that was too old, are no more either", async () => {
    const rig = new Rig();
    for (const address of ["10.0.0.1", "10.0.0.2"]) {
      await rig.clock.advanceAsync(10_000);
      let go = (): void => {};
      const held = new Promise<void>((resolve) => {
        go = resolve;
      });
      const list = rig.tokens.list.bind(rig.tokens);
      rig.tokens.list = async () => {
        await held;
        return await list();
      };
      const guesses = Array.from({ length: 100 }, (_, i) => rig.call(`guess-${i}`, address));
      await settle();
      go();
      const statuses = await Promise.all(guesses);
      expect(statuses.filter((status) => status === 401)).toHaveLength(10);
      expect(statuses.filter((status) => status === 429)).toHaveLength(90);
    }
  });

  test("an hour of guessing as fast as can be looks at 610: 10, and one every 6 s", async () => {
    const rig = new Rig();
    let looked = 0;
    for (let second = 0; second < 3600; second += 2) {
      while ((await rig.call(`guess-${second}-${looked}`)) === 401) looked++;
      await rig.clock.advanceAsync(2000 - (rig.clock.nowMs() % 2000));
    }
    expect(looked).toBeGreaterThan(600);
    expect(looked).toBeLessThanOrEqual(610);
  });

  test("while an address has to wait, not even the right token is looked at", async () => {
    const rig = new Rig();
    for (let i = 0; i < 10; i++) await rig.call(`guess-${i}`);
    expect(await rig.call("good")).toBe(429);
    expect(await rig.call(ADMIN)).toBe(429);
    expect(await rig.call("good", "10.0.0.2")).toBe("the reader");
    await rig.clock.advanceAsync(6000);
    expect(await rig.call("good")).toBe("the reader");
  });

  test("who had success before goes on to work beside somebody who guesses from the same address", async () => {
    const rig = new Rig();
    expect(await rig.call("good")).toBe("the reader");
    for (let i = 0; i < 50; i++) await rig.call(`guess-${i}`);
    for (let i = 0; i < 20; i++) expect(await rig.call("good")).toBe("the reader");
    expect(await rig.call("edits")).toBe(429);
  });

  test("a token that had success and was revoked since is looked at once more, then it waits like any other", async () => {
    const rig = new Rig();
    await rig.call("good");
    for (let i = 0; i < 10; i++) await rig.call(`guess-${i}`);
    await rig.access.desk.revoke("good");
    expect([await rig.call("good"), await rig.call("good")]).toEqual([401, 429]);
  });

  test("addresses of one IPv6 network are one caller, a mapped IPv4 address is the IPv4 one", async () => {
    const rig = new Rig();
    for (let i = 0; i < 10; i++) await rig.call(`guess-${i}`, `2001:db8::${i + 1}`);
    expect(await rig.call("guess", "2001:db8::ffff:1")).toBe(429);
    expect(await rig.call("guess", "2001:db8:0:1::1")).toBe(401);
    for (let i = 0; i < 10; i++) await rig.call(`guess-${i}`, "10.9.9.9");
    expect(await rig.call("guess", "::ffff:10.9.9.9")).toBe(429);
  });

  test("50 connections that show one new token at once use no attempt up, though this instance does not know it yet", async () => {
    const rig = new Rig();
    await rig.call("good", "10.0.0.9");
    rig.tokens.add("registrar", "new");
    const answers = await Promise.all(Array.from({ length: 50 }, () => rig.call("new")));
    expect(new Set(answers)).toEqual(new Set(["the registrar"]));
    for (let i = 0; i < 10; i++) expect(await rig.call(`guess-${i}`)).toBe(401);
    expect(rig.access.counts).toMatchObject({ ok: 51, refused: 10, limited: 0 });
  });
});

describe("while the database is away", () => {
  test("known tokens count, LARS_ADMIN_TOKEN too; of an unknown one nobody can say: 503, and it is an attempt all the same", async () => {
    const rig = new Rig();
    await rig.call("good");
    rig.tokens.failure = new StoreUnavailable("away");
    await rig.clock.advanceAsync(10_000);
    expect([await rig.call("good"), await rig.call(ADMIN)]).toEqual(["the reader", "admin"]);
    const statuses: (string | number)[] = [];
    for (let i = 0; i < 20; i++) statuses.push(await rig.call(`guess-${i}`, "10.0.0.5"));
    expect(statuses.filter((status) => status === 503)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(10);
    expect(rig.access.counts).toMatchObject({ unchecked: 10, limited: 10, refused: 0 });
  });

  test("an instance that never read the tokens knows LARS_ADMIN_TOKEN alone", async () => {
    const rig = new Rig();
    rig.tokens.failure = new StoreUnavailable("away");
    expect([await rig.call(ADMIN), await rig.call("good")]).toEqual(["admin", "unavailable"]);
    rig.tokens.failure = undefined;
    expect(await rig.call("good")).toBe("the reader");
  });
});

test("a request never writes: uses are noted and written at the end, in the list they show at once", async () => {
  const rig = new Rig();
  for (let i = 0; i < 100; i++) await rig.call("good");
  expect(rig.tokens.noted).toEqual([]);
  const used = (await rig.access.desk.list()).map(({ id, lastUsedAtMs }) => [id, lastUsedAtMs]);
  expect(used).toEqual([
    ["good", rig.lastCallMs],
    ["edits", undefined],
  ]);
  await rig.access.close();
  expect(rig.tokens.noted).toEqual([[{ id: "good", atMs: rig.lastCallMs }]]);
});

describe("letting in without waiting", () => {
  const digest = (text: string) => Bun.SHA256.hash(text, "hex");
  const access = (rig: Rig) =>
    new Access({
      tokens: rig.tokens,
      configuredToken: ADMIN,
      clock: rig.clock,
      setTimer: (ms, run) => rig.clock.setTimer(ms, run),
      digest,
      log: rig.log,
      metrics: silentMetrics,
    });
  const caller = (token: string, address = "10.0.0.1") => ({ authorization: `Bearer ${token}`, address });

  test("a known token with the right role is let in as by waiting, and counts alike", async () => {
    const rig = new Rig();
    const both = access(rig);
    const waited = await both.authorize(caller("edits"), "change");
    expect(both.admit(caller("edits"), "change")).toMatchObject({ name: waited.name, role: waited.role });
    expect(both.admit(caller(ADMIN), "administer")).toMatchObject({ id: "configured" });
    expect(both.counts).toMatchObject({ ok: 3, forbidden: 0 });
  });

  test("whatever else is left to who may wait: no list yet or one a second old, another role, unknown, no digest", async () => {
    const rig = new Rig();
    const both = access(rig);
    expect(both.admit(caller("edits"), "change")).toBeUndefined();
    await both.authorize(caller("edits"), "change");
    expect(both.admit(caller("good"), "change")).toBeUndefined();
    expect(both.admit(caller("nobody's"), "read")).toBeUndefined();
    expect(both.admit({ authorization: undefined, address: "10.0.0.1" }, "read")).toBeUndefined();
    expect(rig.access.admit(caller(ADMIN), "read")).toBeUndefined();
    await rig.clock.advanceAsync(1_000);
    expect(both.admit(caller("edits"), "change")).toBeUndefined();
    expect(both.counts).toMatchObject({ ok: 1, refused: 0, forbidden: 0, limited: 0 });
  });

  test("from an address that guesses, nobody is let in that way, and nothing is told of what was shown", async () => {
    const rig = new Rig();
    const both = access(rig);
    await both.authorize(caller("edits", "10.0.0.2"), "change");
    for (let i = 0; i < 10; i++) {
      const guess = both.authorize(caller(`guess-${i}`), "read").catch(() => undefined);
      await rig.clock.advanceAsync(200);
      await guess;
    }
    await both.authorize(caller("edits", "10.0.0.2"), "change");
    expect(both.admit(caller(ADMIN), "administer")).toBeUndefined();
    expect(both.admit(caller("edits"), "change")).toBeUndefined();
    expect(both.admit(caller("edits", "10.0.0.2"), "change")).toBeDefined();
  });
});
