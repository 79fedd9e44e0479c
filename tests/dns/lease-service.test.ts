import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import type { Lease } from "../../src/core/lease.ts";
import { LeaseInstance, LeaseWorld } from "./lease-rig.ts";

/** A started instance that moves the clock. */
async function started(max = 1_000): Promise<{ world: LeaseWorld; one: LeaseInstance }> {
  const world = new LeaseWorld();
  const one = await world.start("one", max);
  await world.pass(2_000);
  return { world, one };
}

/** Milliseconds until `id` is gone. */
async function untilGone(world: LeaseWorld, id: string, limitMs = 60_000): Promise<number> {
  for (let ms = 0; ms <= limitMs; ms += 250) {
    if (!world.ids.includes(id)) return ms;
    await world.pass(250);
  }
  return Number.POSITIVE_INFINITY;
}

describe("a lease", () => {
  test('ends between ttl and ttl + 1 s after it was granted, as a change of its own, by "system"', async () => {
    const { world, one } = await started();
    for (const ttlMs of [1_000, 10_000]) {
      await one.register("a", 2, { ttlMs });
      const tookMs = await untilGone(world, "a");
      expect(tookMs).toBeGreaterThanOrEqual(ttlMs);
      expect(tookMs).toBeLessThanOrEqual(ttlMs + 1_000);
    }
    expect(world.store.committed).toEqual(["register", "expire", "register", "expire"]);
    expect(await world.store.changes(0, 10)).toMatchObject([{ who: "svc" }, { who: "system" }, {}, {}]);
    expect(one.leases.counts).toMatchObject({ granted: 2, expired: 2, ended: 2 });
  });

  test.each([250, 700, 2_500, 9_000])(
    "that is renewed every %d ms lives on, and ends ttl to ttl + 0.75 s after the last time",
    async (everyMs) => {
      const { world, one } = await started();
      await one.register("a", 2);
      expect(await world.keep(["a"], 60_000, everyMs, () => one)).toEqual([]);
      await one.beat("a");
      await world.pass(300);
      // So soon after the one before that it waits for its turn to be written.
      await one.beat("a");
      const tookMs = await untilGone(world, "a");
      expect(tookMs).toBeGreaterThanOrEqual(10_000);
      expect(tookMs).toBeLessThanOrEqual(10_750);
    },
  );

  test("of 1 s that is renewed three times a second is never lost", async () => {
    const { world, one } = await started();
    await one.register("a", 2, { ttlMs: 1_000 });
    expect(await world.keep(["a"], 20_000, 333, () => one)).toEqual([]);
    expect(world.ids).toEqual(["a"]);
  });

  test("ends when it is deregistered, and then its heartbeat says so at once", async () => {
    const { one } = await started();
    await one.register("a", 2);
    expect(await one.beaten("a")).toBe("renewed");
    expect(await one.deregister("a")).toMatchObject({ ok: true, changed: true });
    expect(await one.beaten("a")).toBe("gone");
    expect(await one.deregister("a")).toMatchObject({ ok: false, reason: "not-found" });
  });

  test("ends when an operator takes its host out: heartbeats say so here at once, elsewhere after the next write", async () => {
    const { world, one } = await started();
    const two = await world.start("two!");
    await one.register("a", 2);
    expect([await one.beaten("a"), await two.beaten("a")]).toEqual(["renewed", "renewed"]);
    await one.routes.commit(
      { action: "remove-host", modid: 1, cmdid: 1, endpoint: makeHost(2, 80) },
      { who: "ann", requestId: "" },
    );
    expect(await one.beaten("a")).toBe("gone");
    await two.beat("a");
    await world.pass(1_500);
    expect([await two.beaten("a"), world.ids]).toEqual(["gone", []]);
  });

  test("ends when an old tool deletes its row, and comes back with the next registration", async () => {
    const { world, one } = await started();
    await one.register("a", 2);
    world.store.oldPut(1, 1, []);
    expect([await one.hosts(), world.ids, await one.beaten("a")]).toEqual([[], [], "gone"]);
    expect(await one.register("a", 2)).toMatchObject({ changed: true });
  });

  test("on a host that an old tool entered, without a sign, is adopted as that tool's and outlives the lease", async () => {
    const { world, one } = await started();
    world.store.oldPut(1, 1, [makeHost(2, 80)], false);
    expect(await one.register("a", 2)).toMatchObject({ ok: true, changed: false });
    expect(world.store.committed).toEqual(["adopt"]);
    await untilGone(world, "a");
    expect(await one.hosts()).toEqual([makeHost(2, 80)]);
  });
});

describe("two instances", () => {
  test("a heartbeat is valid at the other one right after registering", async () => {
    const { world, one } = await started();
    const two = await world.start("two!");
    await one.register("a", 2, { ttlMs: 1_000 });
    await one.register("b", 3, { ttlMs: 30_000 });
    expect([await two.beaten("a"), await two.beaten("b"), await two.beaten("never")]).toEqual([
      "renewed",
      "renewed",
      "gone",
    ]);
  });

  test("the owner killed: those who renew at the other live on, the silent ones end within ttl + 2 s", async () => {
    const { world, one } = await started();
    const two = await world.start("two!");
    const ids = Array.from({ length: 30 }, (_, n) => `s${n}`);
    for (const [n, id] of ids.entries()) await (n % 2 === 0 ? one : two).register(id, n, { ttlMs: 4_000 });
    expect(await world.keep(ids, 8_000, 1_000, () => two)).toEqual([]);
    const silent = ids.filter((_, n) => n % 3 === 0);
    const going = ids.filter((id) => !silent.includes(id));
    for (const id of silent) await one.beat(id);
    await world.pass(250);
    one.kill();
    expect(await world.keep(going, 3_500, 500, () => two)).toEqual([]);
    expect(world.ids).toEqual([...ids].sort());
    expect(await world.keep(going, 2_500, 500, () => two)).toEqual([]);
    expect(world.ids).toEqual([...going].sort());
    expect(two.leases.time.isOwner).toBe(true);
  });

  test("a registration elsewhere with another ttl is what counts, and is told here within 15 s", async () => {
    const { world, one } = await started();
    const two = await world.start("two!");
    await one.register("a", 2, { ttlMs: 60_000 });
    await world.keep(["a"], 2_000, 500, () => one);
    await two.register("a", 2, { ttlMs: 4_000 });
    await world.keep(["a"], 12_000, 1_000, () => one);
    expect(await one.beat("a")).toEqual({ outcome: "renewed", ttlMs: 4_000 });
    expect(await untilGone(world, "a")).toBeLessThanOrEqual(6_000);
  });

  test("one that is cut off answers 503 after 2 s and loses nobody who then asks the other", async () => {
    const { world, one } = await started();
    const two = await world.start("two!");
    await one.register("a", 2, { ttlMs: 8_000 });
    await world.keep(["a"], 4_000, 500, () => one);
    one.cut();
    const outcomes = await world.keep(["a"], 3_500, 500, () => one);
    expect(outcomes[0]).toBe("a late");
    expect(outcomes.length).toBeLessThanOrEqual(4);
    expect(await world.keep(["a"], 20_000, 1_000, () => two)).toEqual([]);
    one.cut(false);
    await world.pass(1_000);
    expect(await one.beaten("a")).toBe("renewed");
  });
});

// What was written last decides: from then on until the lease is written again its clock runs, seen or not.
test.each(Array.from({ length: 14 }, (_, i) => 3_000 + 100 * i))(
  "an instance that falls silent towards the database %i ms after it granted a lease of 4 s answers no heartbeat with less than 2 s left, and its holder has time to ask another",
  async (silentAtMs) => {
    const world = new LeaseWorld();
    const [one, two] = [await world.start("one"), await world.start("other")];
    await one.register("a", 1, { ttlMs: 4_000 });
    const startedAtMs = world.clock.nowMs();
    world.clock.setTimer(silentAtMs, () => one.hang());
    let answered = 0;
    for (let i = 0; i < 10; i++) {
      const askedAtMs = world.clock.nowMs();
      const [{ expiresMs }] = world.store.leases.all as [Lease];
      const restMs = expiresMs - world.store.leases.clockMs;
      if ((await one.beaten("a")) !== "renewed") expect(await two.beaten("a")).toBe("renewed");
      else if (askedAtMs - startedAtMs > silentAtMs) {
        answered++;
        expect(restMs).toBeGreaterThan(2_000);
      }
      await world.pass(1_333 - (world.clock.nowMs() - askedAtMs));
    }
    expect(answered).toBeLessThanOrEqual(2);
    expect(await two.hosts()).toHaveLength(1);
  },
);

describe("nothing ends because of", () => {
  test("a wall clock set by an hour, either way", async () => {
    const { world, one } = await started();
    await one.register("a", 2);
    for (const hours of [1, -1, 24]) {
      world.clock.setWallMs(world.clock.wallMs() + hours * 3_600_000);
      await world.pass(5_000);
      expect(await one.beaten("a")).toBe("renewed");
    }
    expect(world.ids).toEqual(["a"]);
  });

  test("a database that was away for a minute: who renews when it is back keeps the lease", async () => {
    const { world, one } = await started();
    await one.register("a", 2, { ttlMs: 3_000 });
    await world.keep(["a"], 5_000, 1_000, () => one);
    world.store.away();
    await world.keep(["a"], 60_000, 1_000, () => one);
    world.store.back();
    await world.pass(500);
    expect(await world.keep(["a"], 10_000, 1_000, () => one)).toEqual([]);
    expect(world.ids).toEqual(["a"]);
    expect(one.leases.renewals.counts.failures).toBeGreaterThan(3);
  });

  test("a restart of everything that takes an hour", async () => {
    const { world, one } = await started();
    for (const id of ["a", "b"]) await one.register(id, id.charCodeAt(0), { ttlMs: 3_000 });
    await world.keep(["a", "b"], 5_000, 1_000, () => one);
    one.kill();
    await world.pass(3_600_000);
    const again = await world.start("again");
    expect(await world.keep(["a"], 6_000, 1_000, () => again)).toEqual([]);
    expect(world.ids).toEqual(["a"]);
  });

  // A connection that died silently keeps a write for as long as its time-out, while looks at the clock go through another.
  test.each([1, 2])(
    "renewals that hang for 9 s at all of %i instances, whose looks at the clock do not",
    async (count) => {
      const world = new LeaseWorld();
      const instances: LeaseInstance[] = [];
      for (let i = 0; i < count; i++) instances.push(await world.start(`dns ${"!".repeat(i)}`));
      const [one] = instances as [LeaseInstance];
      await one.register("a", 2, { ttlMs: 4_000 });
      const beat = (forMs: number) =>
        world.keep(["a"], forMs, 500, () => instances[(world.clock.nowMs() / 500) % count]!);
      await beat(4_000);
      let open = (): void => {};
      world.store.leases.gate = new Promise((resolve) => {
        open = resolve;
      });
      const outcomes = await beat(9_000);
      expect(outcomes).toContain("a late");
      expect(world.ids).toEqual(["a"]);
      open();
      await beat(10_000);
      expect(world.ids).toEqual(["a"]);
      expect(await one.beaten("a")).toBe("renewed");
      // Now it falls silent.
      expect(await untilGone(world, "a")).toBeLessThanOrEqual(6_000);
    },
  );

  test("a lone instance that was stopped for a minute", async () => {
    const { world, one } = await started();
    await one.register("a", 2, { ttlMs: 1_000 });
    await world.keep(["a"], 2_000, 250, () => one);
    // All its timers are a minute late, at once.
    const { clock } = world;
    const monotonic = clock.nowMs;
    clock.nowMs = () => 60_000 + monotonic.call(clock);
    expect(await world.keep(["a"], 3_000, 250, () => one)).toEqual([]);
    expect(world.ids).toEqual(["a"]);
  });
});

describe("heartbeats", () => {
  test("of a thousand leases cost a write a second, not a thousand", async () => {
    const { world, one } = await started(2_000);
    const ids = Array.from({ length: 1_000 }, (_, n) => `s${n}`);
    await Promise.all(ids.map((id, n) => one.register(id, n, { ttlMs: 30_000 })));
    const before = world.store.leases.counts.renewals;
    expect(await world.keep(ids, 5_000, 250, () => one)).toEqual([]);
    expect(world.store.leases.counts.renewals - before).toBeLessThanOrEqual(8);
    expect(one.leases.renewals.outcomes.renewed).toBe(20_000);
  });

  test("of a thousand ids that are not known are looked up together", async () => {
    const { world, one } = await started(2_000);
    const ids = Array.from({ length: 1_000 }, (_, n) => `s${n}`);
    await Promise.all(ids.map((id, n) => one.register(id, n)));
    const two = await world.start("two!", 2_000);
    const before = world.store.leases.counts.finds;
    const answers = await Promise.all(ids.map((id) => two.beat(id)));
    expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(new Set(["renewed"]));
    expect(world.store.leases.counts.finds - before).toBeLessThanOrEqual(2);
  });

  test("while a write hangs: leases far from their end are renewed for 2 s, then all are refused; afterwards all goes on", async () => {
    const { world, one } = await started();
    await one.register("far", 2, { ttlMs: 60_000 });
    await one.register("near", 3, { ttlMs: 1_500 });
    let open = (): void => {};
    world.store.leases.gate = new Promise((resolve) => {
      open = resolve;
    });
    let near: string | undefined;
    void one.beat("near").then(({ outcome }) => (near = outcome));
    await world.pass(250);
    expect([near, (await one.beat("far")).outcome]).toEqual([undefined, "renewed"]);
    await world.pass(2_250);
    expect([near, (await one.beat("far")).outcome]).toEqual(["late", "late"]);
    open();
    await world.pass(500);
    expect(await one.beaten("far")).toBe("renewed");
  });

  test("a heartbeat near its lease's end hears within 0.5 s that a hanging write keeps it, in time to ask another instance", async () => {
    const world = new LeaseWorld();
    const [one, two] = [await world.start("one"), await world.start("other")];
    await one.register("a", 1, { ttlMs: 4_000 });
    await world.pass(3_000);
    one.hang();
    const askedAtMs = world.clock.nowMs();
    expect(await one.beaten("a")).toBe("late");
    expect(world.clock.nowMs() - askedAtMs).toBeLessThanOrEqual(750);
    expect(await two.beaten("a")).toBe("renewed");
    await world.pass(3_500);
    expect(await two.hosts()).toHaveLength(1);
  });

  test("while the database is away: who is not known gets StoreUnavailable, who waits is refused at once", async () => {
    const { world, one } = await started();
    await one.register("near", 3, { ttlMs: 1_500 });
    world.store.away();
    expect([await one.beaten("unknown"), await one.beaten("near")]).toEqual(["StoreUnavailable", "late"]);
  });

  test("by a token that does not cover the lease's module are refused and renew nothing", async () => {
    const { world, one } = await started();
    await one.register("a", 2, { modid: 5 });
    await world.keep([], 9_000, 1_000, () => one);
    expect(await one.beat("a", (modid) => modid === 1)).toEqual({
      outcome: "forbidden",
      module: { modid: 5, cmdid: 1 },
    });
    expect(await untilGone(world, "a")).toBeLessThanOrEqual(2_000);
  });

  test("are forgotten some time after the last; an instance remembers at most its limit, and refuses further ones", async () => {
    const { world, one } = await started();
    for (const n of [1, 2, 3, 4]) await one.register(`s${n}`, n, { ttlMs: 3_000 });
    const two = await world.start("two!", 2);
    expect([await two.beaten("s1"), await two.beaten("s2"), await two.beaten("s3")]).toEqual([
      "renewed",
      "renewed",
      "late",
    ]);
    expect(two.leases.renewals.known).toBe(2);
    await world.keep(["s1"], 20_000, 1_000, () => one);
    expect([two.leases.renewals.known, one.leases.renewals.known]).toEqual([0, 1]);
  });

  test("without timers are each written before they are answered", async () => {
    const { world, one } = await started();
    await one.register("a", 2, { ttlMs: 60_000 });
    const serverless = new LeaseInstance(world, "serverless", 10, true);
    const before = world.store.leases.counts.renewals;
    for (let i = 0; i < 3; i++) expect((await serverless.beat("a")).outcome).toBe("renewed");
    expect(world.store.leases.counts.renewals - before).toBe(3);
  });
});

describe("limits", () => {
  test("beyond [registrations] max a new one is refused, one that is there registers again, and room is made by an end", async () => {
    const { world, one } = await started(2);
    for (const n of [1, 2]) expect(await one.register(`s${n}`, n)).toMatchObject({ ok: true });
    expect(await one.register("s3", 3)).toMatchObject({ ok: false, reason: "full" });
    expect(await one.register("s1", 9)).toMatchObject({ ok: true, changed: true });
    await one.deregister("s2");
    expect(await one.register("s3", 3)).toMatchObject({ ok: true });
    const other = await world.start("two!", 1);
    other.leases.start(() => () => {});
    expect(world.ids).toEqual(["s1", "s3"]);
  });

  test("2,100 that end at once end in transactions of two thousand, each one change", async () => {
    const { world, one } = await started(10_000);
    await Promise.all(
      Array.from({ length: 2_100 }, (_, n) => one.register(`s${n}`, n, { modid: n % 100, ttlMs: 5_000 })),
    );
    await world.pass(7_000);
    await one.leases.ended();
    expect([world.ids.length, world.store.committed.filter((action) => action === "expire").length]).toEqual([0, 2]);
  });
});

test("a restored database: leases it holds go on, hosts that it says are leased and nobody holds are swept", async () => {
  const { world, one } = await started();
  await one.register("kept", 1);
  const restore = world.store.backup();
  await one.register("later", 2);
  await one.routes.poll();
  restore();
  await one.hosts();
  expect((await one.hosts()).map(({ ip, leased }) => `${ip}${leased === true ? "~" : ""}`)).toEqual(["1~"]);
  expect([await one.beaten("kept"), world.ids]).toEqual(["renewed", ["kept"]]);
  await one.beat("later");
  await world.pass(1_500);
  expect(await one.beaten("later")).toBe("gone");
});

test("strays are taken out within a minute by the clock's owner, and told of", async () => {
  const { world, one } = await started();
  await one.register("a", 1, { ttlMs: 3_600_000 });
  await one.register("b", 2, { ttlMs: 3_600_000 });
  const { leases } = world.store;
  const [a, b] = leases.all;
  await world.store.write(async (tx) => {
    await tx.leases!.write([{ ...b!, id: "c", ip: 77 }], ["a"]);
  });
  expect(a?.id).toBe("a");
  await world.pass(62_000);
  expect([(await one.hosts()).map(({ ip }) => ip), world.ids]).toEqual([[2], ["b"]]);
  expect(one.log.lines.filter(({ level }) => level === "warn")).toHaveLength(1);
});
