import { beforeEach, describe, expect, test } from "bun:test";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { HealthResult } from "../../src/agent/health-check.ts";
import type { KeptRegistration, RegistrationSpec, RegistryAnswer, RegistryCall } from "../../src/agent/registration.ts";
import { RegistrationFile } from "../../src/agent/registration-file.ts";
import { RegistrationKeeper, type RegistrationKeeperOptions } from "../../src/agent/registration-keeper.ts";
import { parseIp } from "../../src/core/endpoint.ts";
import { temporaryFolder } from "../support/lars-processes.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";

const WAIT_MS = 50;

function specOf(id: string, given: Partial<RegistrationSpec> = {}): RegistrationSpec {
  return {
    id,
    modid: 1,
    cmdid: 1,
    ip: parseIp("10.0.0.1")!,
    port: 80,
    weight: undefined,
    zone: undefined,
    ttlSeconds: 9,
    check: { path: undefined, intervalMs: 1000, timeoutMs: 500, rise: 1, fall: 2 },
    ...given,
  };
}

const PASSED: HealthResult = { passed: true };
const FAILED: HealthResult = { passed: false, reason: "refused" };

/** A keeper in virtual time; what dns answers and how checks end is in `world`. */
function rig(options: Partial<RegistrationKeeperOptions> = {}) {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const calls: string[] = [];
  const world = {
    health: PASSED as HealthResult,
    answer: { outcome: "done", revision: 7, changed: true } as RegistryAnswer,
    saved: [] as readonly KeptRegistration[],
    diskFull: false,
  };
  const keeper = new RegistrationKeeper({
    call: async (call: RegistryCall, { id }: RegistrationSpec) => {
      calls.push(`${call} ${id}`);
      return world.answer;
    },
    file: {
      path: "x",
      load: async () => ({ outcome: "loaded", registrations: world.saved }),
      save: async (registrations) => {
        if (world.diskFull) throw new Error("ENOSPC: no space left on device");
        world.saved = structuredClone(registrations) as readonly KeptRegistration[];
      },
    },
    max: () => 3,
    drainGraceMs: () => 3000,
    forgetAfterMs: () => 86_400_000,
    log,
    nowMs: () => clock.nowMs(),
    random: () => 0.5,
    check: async () => world.health,
    ...options,
  });
  const run = async (ms: number) => {
    for (let i = 0; i < ms / 100; i++) {
      clock.advance(100);
      keeper.tick();
      await settle();
    }
  };
  return { clock, log, calls, world, keeper, run };
}

describe("PUT", () => {
  test("is answered with dns' own answer once the check passed, and is on disk by then", async () => {
    const { keeper, calls, world } = rig();
    expect(await keeper.put(specOf("a"), WAIT_MS)).toEqual({ outcome: "done", revision: 7, changed: true });
    expect(calls).toEqual(["register a"]);
    expect(world.saved).toEqual([{ spec: specOf("a"), mayHold: true, draining: false }]);
    expect(keeper.get("a")).toMatchObject({ state: "passing", lastError: "", leaseRemainingMs: 9000 });
  });

  test("says at once that it was kept when the check fails, and why; registered as soon as it passes", async () => {
    const { keeper, calls, world, run } = rig();
    world.health = FAILED;
    const outcome = await keeper.put(specOf("a"), 60_000);
    expect(outcome).toMatchObject({ outcome: "kept", view: { state: "starting", lastError: "refused" } });
    expect(world.saved).toHaveLength(1);
    world.health = PASSED;
    await run(1200);
    expect(calls).toEqual(["register a"]);
    expect(keeper.get("a")!.state).toBe("passing");
  });

  test("says that it was kept when no dns service answers, and goes on", async () => {
    const { keeper, calls, world, run } = rig();
    world.answer = { outcome: "away", reason: "nobody there" };
    expect(await keeper.put(specOf("a"), 60_000)).toMatchObject({
      outcome: "kept",
      view: { state: "waiting", lastError: "nobody there" },
    });
    await run(60_000);
    expect(calls.length).toBeGreaterThan(30);
    world.answer = { outcome: "done" };
    await run(2100);
    expect(keeper.get("a")!.state).toBe("passing");
  });

  test("of something dns refuses is refused and not kept; of something that was there, what was before goes on", async () => {
    const { keeper, world, run } = rig();
    const forbidden: RegistryAnswer = { outcome: "refused", status: 403, detail: "not your module" };
    world.answer = forbidden;
    expect(await keeper.put(specOf("a"), WAIT_MS)).toEqual(forbidden);
    expect([keeper.size, world.saved.length]).toEqual([0, 0]);
    world.answer = { outcome: "done" };
    await keeper.put(specOf("a"), WAIT_MS);
    world.answer = forbidden;
    expect(await keeper.put(specOf("a", { modid: 2 }), WAIT_MS)).toEqual(forbidden);
    expect(keeper.get("a")!.spec.modid).toBe(1);
    world.answer = { outcome: "done" };
    await run(70_000);
    expect(keeper.get("a")).toMatchObject({ state: "passing", spec: { modid: 1 } });
  });

  test("beyond the limit of 3 is refused and counted; replacing one of the 3 is not", async () => {
    const { keeper } = rig();
    for (const id of ["a", "b", "c"]) await keeper.put(specOf(id), WAIT_MS);
    expect(await keeper.put(specOf("d"), WAIT_MS)).toEqual({ outcome: "full" });
    expect((await keeper.put(specOf("a", { weight: 2 }), WAIT_MS)).outcome).toBe("done");
    expect(keeper.counts.refusedFull).toBe(1);
    expect(keeper.list().map(({ spec }) => spec.id)).toEqual(["a", "b", "c"]);
  });
});

describe("DELETE", () => {
  test("drains, waits 3 s, removes, and is answered then; two of them are answered alike", async () => {
    const { keeper, calls, world, run } = rig();
    await keeper.put(specOf("a"), WAIT_MS);
    const both = Promise.all([keeper.delete("a", 60_000), keeper.delete("a", 60_000)]);
    await run(2900);
    expect(calls).toEqual(["register a", "drain a", "renew a"].slice(0, calls.length));
    expect(keeper.get("a")!.state).toBe("draining");
    await run(200);
    expect(await both).toEqual([
      { outcome: "done", revision: 7, changed: true },
      { outcome: "done", revision: 7, changed: true },
    ]);
    expect(calls.at(-1)).toBe("deregister a");
    expect(keeper.get("a")).toBeUndefined();
    expect(world.saved).toEqual([]);
    expect(await keeper.delete("a", WAIT_MS)).toBeUndefined();
    expect(keeper.heartbeat("a")).toBeUndefined();
  });

  test("of what was never registered is answered at once, and nothing is asked of dns", async () => {
    const { keeper, calls, world } = rig();
    world.health = FAILED;
    await keeper.put(specOf("a"), WAIT_MS);
    expect(await keeper.delete("a", 60_000)).toMatchObject({ outcome: "done" });
    expect(calls).toEqual([]);
  });

  test("with dns away is kept going until dns answers, over a restart of the agent too", async () => {
    const { keeper, world, run } = rig();
    await keeper.put(specOf("a"), WAIT_MS);
    world.answer = { outcome: "away", reason: "nobody there" };
    expect(await keeper.delete("a", WAIT_MS)).toMatchObject({ outcome: "kept", view: { state: "draining" } });
    await run(100);
    const next = rig();
    next.world.saved = world.saved;
    await next.keeper.load();
    await next.run(3500);
    expect(next.calls.filter((call) => call !== "renew a")).toEqual(["drain a", "deregister a"]);
    expect(next.keeper.size).toBe(0);
  });

  test("a PUT meanwhile takes it back, and the DELETE is told so", async () => {
    const { keeper, calls, run } = rig();
    await keeper.put(specOf("a"), WAIT_MS);
    const deleted = keeper.delete("a", 60_000);
    await run(1000);
    await keeper.put(specOf("a"), WAIT_MS);
    expect(await deleted).toMatchObject({ outcome: "kept", view: { state: "waiting" } });
    await run(10_000);
    expect(calls.filter((call) => call !== "renew a")).toEqual(["register a", "drain a", "register a"]);
  });
});

describe("without a check", () => {
  const OWN = { check: undefined };

  test("heartbeats keep it; without one for its TTL it is removed, and the next heartbeat says register again", async () => {
    const { keeper, calls, run } = rig();
    await keeper.put(specOf("a", OWN), WAIT_MS);
    for (let i = 0; i < 5; i++) {
      await run(8000);
      expect(keeper.heartbeat("a")).toEqual({ ttlSeconds: 9 });
    }
    expect(calls.filter((call) => call === "renew a").length).toBeGreaterThan(12);
    await run(9200);
    expect(calls.at(-1)).toBe("deregister a");
    expect(keeper.heartbeat("a")).toBeUndefined();
    expect(keeper.counts.forgotten).toBe(1);
  });

  test("an agent that was stopped for an hour and goes on removes nobody", async () => {
    const { keeper, calls, clock, run } = rig();
    await keeper.put(specOf("a", OWN), WAIT_MS);
    await run(1000);
    clock.advance(3_600_000);
    await run(5000);
    expect(calls).not.toContain("deregister a");
    expect(keeper.counts.stalls).toBe(1);
    expect(keeper.heartbeat("a")).toEqual({ ttlSeconds: 9 });
  });
});

test("an orderly end drains all at once and keeps them on disk; who comes meanwhile is sent to the next agent", async () => {
  const { keeper, calls, world } = rig({ drainGraceMs: () => 40, nowMs: () => performance.now() });
  for (const id of ["a", "b", "c"]) await keeper.put(specOf(id), WAIT_MS);
  const ticking = setInterval(() => keeper.tick(), 10);
  const ended = keeper.drainAll();
  expect(await keeper.put(specOf("d"), WAIT_MS)).toEqual({ outcome: "ending" });
  await ended;
  clearInterval(ticking);
  expect(calls.slice(3, 6)).toEqual(["drain a", "drain b", "drain c"]);
  expect(calls.slice(6).sort()).toEqual(["deregister a", "deregister b", "deregister c"]);
  expect(world.saved).toEqual(["a", "b", "c"].map((id) => ({ spec: specOf(id), mayHold: false, draining: false })));
});

test("a full disk is logged and counted, nothing else is held up, and it is written when there is room", async () => {
  const { keeper, world, log, run } = rig();
  world.diskFull = true;
  expect((await keeper.put(specOf("a"), WAIT_MS)).outcome).toBe("done");
  await run(2500);
  expect(keeper.counts.saveFailures).toBeGreaterThanOrEqual(3);
  expect(keeper.counts.saveFailures).toBeLessThan(6);
  expect(log.lines.filter(({ level }) => level === "error")[0]!.message).toContain("not written to disk");
  world.diskFull = false;
  await run(1200);
  expect(world.saved).toHaveLength(1);
});

describe("the file", () => {
  let path: string;
  beforeEach(() => {
    path = join(temporaryFolder("registrations"), "deep", "agent-1.registrations");
  });

  const kept: readonly KeptRegistration[] = [
    { spec: specOf("a", { weight: 5, zone: "eu" }), mayHold: true, draining: false },
    {
      spec: specOf("b", { check: { path: "/h", intervalMs: 1, timeoutMs: 1, rise: 1, fall: 1 } }),
      mayHold: false,
      draining: true,
    },
    { spec: specOf("c", { check: undefined }), mayHold: true, draining: false },
  ];

  test("gives back what was written, none is missing, and none is not damaged", async () => {
    const file = new RegistrationFile(path);
    expect(await file.load()).toEqual({ outcome: "missing" });
    await file.save(kept);
    expect(await file.load()).toEqual({ outcome: "loaded", registrations: kept });
    await file.save([]);
    expect(await file.load()).toEqual({ outcome: "loaded", registrations: [] });
  });

  test("that is damaged anywhere is put aside, and the agent starts without", async () => {
    const file = new RegistrationFile(path);
    await file.save(kept);
    const text = await readFile(path, "utf8");
    const damages = [text.slice(0, -20), text.replace('"port":80', '"port":81'), "", "{}", text.replace("-1", "-9")];
    for (const damaged of damages) {
      await writeFile(path, damaged);
      expect((await file.load()).outcome).toBe("bad");
      expect(await readFile(`${path}.bad`, "utf8")).toBe(damaged);
      expect((await file.load()).outcome).toBe("missing");
    }
    const log = new RecordingLog();
    await writeFile(path, "not json");
    const { keeper } = rig({ file, log });
    await keeper.load();
    expect(keeper.size).toBe(0);
    expect(log.lines[0]).toMatchObject({ level: "error" });
  });
});
