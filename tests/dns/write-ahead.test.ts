// Registrations that are planned while the transaction before theirs is under way, on a database in memory.
import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { formatModuleKey } from "../../src/core/module-key.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import type { CommitResult } from "../../src/dns/change-writer.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { StoreUnavailable } from "../../src/store/route-store.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const SVC = { who: "svc", requestId: "r" };

class Rig {
  readonly store = new MemoryRouteStore();
  readonly clock = new ManualClock();
  readonly service = new RouteService({
    store: this.store,
    replica: new RouteReplica(),
    clock: this.clock,
    log: new RecordingLog(),
    fullReloadIntervalMs: () => 10_000,
    leaseMs: () => 0,
  });
  /** Revisions told to listeners, by module. */
  readonly told = new Map<string, number>();
  readonly #known = new Set<string>();

  constructor() {
    this.store.foresees = true;
    this.service.onLeases(({ put, removed }) => {
      for (const { id } of put) this.#known.add(id);
      for (const id of removed) this.#known.delete(id);
    });
    this.service.onChange((routes: readonly RouteRecord[]) => {
      for (const route of routes) {
        const key = formatModuleKey(route);
        expect(route.revision).toBeGreaterThan(this.told.get(key) ?? 0);
        this.told.set(key, route.revision);
      }
    });
  }

  register(id: string, n: number, modid = 1): Promise<CommitResult> {
    const { ip, port, weight, zone } = makeHost(n, 80);
    const terms = { id, modid, cmdid: 1, ip, port, weight, zone, state: "up" as const, ttlMs: 10_000 };
    return this.service.commit({ action: "register", ...terms }, SVC, !this.#known.has(id));
  }
  /** What is written waits until the answer is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.store.gate = promise;
    return resolve;
  }
  ids(): string[] {
    return this.store.leases.all.map(({ id }) => id);
  }
  /** As another instance: a host of module 9. */
  async elsewhere(n: number): Promise<void> {
    await this.store.writeElsewhere(async (tx) => {
      const before = (await tx.readSince(0)).routes.find(({ modid }) => modid === 9);
      const added = [makeHost(n, 90)];
      const hosts = [...(before?.hosts ?? []).filter(({ ip }) => ip !== n), ...added].sort((a, b) => a.ip - b.ip);
      const diff = { added, changed: [], removed: [] };
      const edit = { modid: 9, cmdid: 1, before, name: "", policy: NO_CHOICE, hosts, diff };
      const entry = { atMs: 0, who: "x", requestId: "x", action: "add-host" };
      await tx.append({ revision: tx.revision + 1, ...entry, routes: [edit], names: [] });
    });
  }
  expectInStep(): void {
    const { replica } = this.service;
    for (const modid of [1, 2, 9]) {
      expect(replica.route(modid, 1)?.hosts ?? []).toEqual([...this.store.hostsOf(modid, 1)]);
    }
    expect(replica.revision).toBe(this.store.revision);
  }
}

/** One write the long way: it is known from then on how the tables stand. */
async function known(): Promise<Rig> {
  const rig = new Rig();
  await rig.service.poll();
  await rig.service.poll();
  await rig.service.commit({ action: "put-route", modid: 2, cmdid: 1, hosts: [makeHost(1, 80)] }, SVC);
  return rig;
}

describe("new registrations", () => {
  test("that come while a transaction is under way are planned on it and sent, as many together as the last were", async () => {
    const rig = await known();
    const release = rig.hold();
    const first = Array.from({ length: 2 }, (_, i) => rig.register(`a${i}`, i));
    await settle();
    const second = Array.from({ length: 3 }, (_, i) => rig.register(`b${i}`, 10 + i));
    await settle();
    const third = rig.register("c", 20);
    await settle();
    expect(rig.ids()).toEqual([]);
    release();
    const results = await Promise.all([...first, ...second, third]);
    const [revision] = results.map((result) => (result.ok ? result.revision : 0));
    const expected: CommitResult[] = results.map((_, i) => ({ ok: true, revision: revision! + i, changed: true }));
    expect<CommitResult[]>(results).toEqual(expected);
    expect(rig.store.counts).toMatchObject({ aheads: rig.service.counts.aheads });
    expect(rig.service.counts).toMatchObject({ misses: 0 });
    expect(rig.service.counts.aheads).toBeGreaterThanOrEqual(3);
    rig.expectInStep();
  });

  test("planned on what another instance overtook are written the long way, each once, and so is what was planned on them", async () => {
    const rig = await known();
    const release = rig.hold();
    const other = rig.elsewhere(5);
    const first = [rig.register("a", 1)];
    await settle();
    first.push(rig.register("b", 2));
    await settle();
    release();
    await other;
    expect((await Promise.all(first)).every((result) => result.ok && result.changed)).toBe(true);
    expect(rig.service.counts).toMatchObject({ aheads: 0, misses: 2 });
    expect(rig.ids()).toEqual(["a", "b"]);
    rig.expectInStep();
  });

  test("that overtake the transaction they were planned on are sent once more after it, and none is begun before", async () => {
    const rig = await known();
    const revision = rig.store.revision;
    const late = Promise.withResolvers<void>();
    rig.store.late.push(late.promise);
    const all = [rig.register("a", 1)];
    await settle();
    all.push(rig.register("b", 2));
    await settle();
    all.push(rig.register("c", 3));
    await settle();
    expect(rig.service.waiting).toBe(1);
    expect(rig.ids()).toEqual([]);
    late.resolve();
    const results = await Promise.all(all);
    const revisions = results.map((result) => (result.ok ? result.revision : 0));
    expect(revisions).toEqual([...revisions].sort((a, b) => a - b));
    expect(revisions[0]).toBeGreaterThan(revision);
    expect(rig.service.counts).toMatchObject({ aheads: 3, overtakings: 1, misses: 0 });
    expect(rig.store.counts.writes).toBe(2);
    expect(rig.ids()).toEqual(["a", "b", "c"]);
    rig.expectInStep();
  });

  test("whose mark an old tool set meanwhile are written the long way, after what it did was taken over", async () => {
    const rig = await known();
    rig.store.oldPut(1, 1, [makeHost(7, 80)]);
    expect(await rig.register("a", 7)).toMatchObject({ ok: true, changed: false });
    expect(rig.service.counts.misses).toBe(1);
    expect(rig.service.replica.route(1, 1)?.hosts).toEqual([makeHost(7, 80)]);
  });

  test("of an id that is there after all replace it, as ever", async () => {
    const rig = await known();
    await rig.store.writeElsewhere(async (tx) => {
      const lease = { id: "a", modid: 1, cmdid: 1, ip: 9, port: 80, weight: 100, zone: "", state: "up" as const };
      await tx.leases!.write([{ ...lease, ttlMs: 1, expiresMs: 1, registeredAtMs: 1, who: "x" }], []);
    });
    await rig.service.commit({ action: "put-route", modid: 2, cmdid: 1, hosts: [] }, SVC);
    expect(await rig.register("a", 3)).toMatchObject({ ok: true, changed: true });
    expect(rig.service.counts.misses).toBe(1);
    expect(rig.store.leases.all).toMatchObject([{ id: "a", ip: 3 }]);
  });

  test("whose answer was lost are refused, those planned on them answered: both are there", async () => {
    const rig = await known();
    const release = rig.hold();
    rig.store.losesAnswer = true;
    const first = rig.register("a", 1).catch((error: unknown) => error);
    await settle();
    const second = rig.register("b", 2, 2);
    await settle();
    release();
    expect(await first).toBeInstanceOf(StoreUnavailable);
    expect(await second).toMatchObject({ ok: true, changed: true });
    expect(rig.ids()).toEqual(["a", "b"]);
    rig.expectInStep();
  });

  test("wait for other changes, which go the long way when nothing is under way", async () => {
    const rig = await known();
    const release = rig.hold();
    const first = rig.register("a", 1);
    await settle();
    const put = rig.service.commit({ action: "put-route", modid: 2, cmdid: 1, hosts: [makeHost(2, 80)] }, SVC);
    const again = rig.register("b", 2);
    await settle();
    expect(rig.service.waiting).toBe(2);
    release();
    expect((await Promise.all([first, put, again])).every(({ ok }) => ok)).toBe(true);
    expect(rig.service.counts).toMatchObject({ aheads: 1, misses: 0 });
    rig.expectInStep();
  });
});

test("whatever goes wrong, what was answered is there, once, and the replica is what the database holds", async () => {
  for (let run = 0; run < fuzzCount(150); run++) {
    const seed = fuzzSeed() + run;
    const random = makeFuzzRandom(seed);
    const rig = await known();
    const held: (() => void)[] = [];
    const release = (): void => {
      for (const open of held.splice(0)) open();
    };
    const asked: Promise<void>[] = [];
    try {
      for (let step = 0; step < 60; step++) {
        const kind = random.int(0, 20);
        if (kind < 12) {
          const id = `i${random.int(0, 99)}`;
          const place = random.int(0, 60);
          asked.push(
            rig.register(id, place, random.int(1, 2)).then(
              ({ ok }) => void expect(ok).toBe(true),
              (error: unknown) => void expect(error).toBeInstanceOf(StoreUnavailable),
            ),
          );
        } else if (kind === 12) rig.store.losesAnswer = true;
        else if (kind === 20) {
          const { promise, resolve } = Promise.withResolvers<void>();
          rig.store.late.push(promise);
          held.push(resolve);
        } else if (kind === 13) asked.push(rig.elsewhere(random.int(1, 5)).catch(() => {}));
        else if (kind === 14) rig.store.oldMark();
        else if (kind === 15) held.push(rig.hold());
        else if (kind === 16) rig.store.away();
        else if (kind === 17) {
          const { revision } = rig.store;
          asked.push(
            rig.service
              .commit({ action: "put-route", modid: 2, cmdid: 1, hosts: [makeHost(random.int(1, 60), 80)] }, SVC)
              .then(
                ({ ok }) => void expect(ok && rig.store.revision >= revision).toBe(true),
                () => {},
              ),
          );
        } else if (kind === 18) asked.push(rig.service.poll());
        else {
          rig.store.back();
          release();
        }
        if (random.int(0, 2) > 0) await settle();
      }
      rig.store.back();
      rig.store.losesAnswer = false;
      release();
      await Promise.all(asked);
      await rig.service.poll();
      rig.expectInStep();
      const log = await rig.store.changes(0, 10_000);
      for (let i = 1; i < log.length; i++) expect(log[i]!.revision).toBeGreaterThan(log[i - 1]!.revision);
      const places = new Set(rig.store.leases.all.map((lease) => `${lease.modid} ${lease.ip}`));
      // A leased host is held, and each host is there once.
      for (const modid of [1, 2]) {
        const hosts = rig.store.hostsOf(modid, 1);
        expect(new Set(hosts.map(({ ip }) => ip)).size).toBe(hosts.length);
        for (const { ip, leased } of hosts) if (leased === true) expect(places.has(`${modid} ${ip}`)).toBe(true);
      }
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
}, 20_000);
