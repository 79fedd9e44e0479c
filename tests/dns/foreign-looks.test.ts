// When the whole of the original's tables is compared, by whom, and that nobody waits for it.
import { describe, expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import type { Look } from "../../src/store/route-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const a = makeHost(1, 80);
const b = makeHost(2, 80);
const ANN = { who: "ann", requestId: "" };

class Scene {
  readonly clock = new ManualClock();
  readonly store = new MemoryRouteStore();
  readonly log = new RecordingLog();
  readonly service = this.instance();

  instance(): RouteService {
    const { store, clock, log } = this;
    return new RouteService({ store, replica: new RouteReplica(), clock, log, fullReloadIntervalMs: () => 10_000 });
  }

  /** Loaded, with module 1 at host a, and the whole table compared a moment ago. */
  async loaded(): Promise<this> {
    await this.service.poll();
    await this.put(1, a);
    await this.service.poll();
    this.clock.advance(1);
    return this;
  }

  put(modid: number, ...hosts: readonly Host[]) {
    return this.service.commit({ action: "put-route", modid, cmdid: 1, hosts }, ANN);
  }

  hosts(modid: number, service = this.service): readonly number[] {
    return (service.replica.route(modid, 1)?.hosts ?? []).map(({ ip }) => ip);
  }

  /** Looks take their snapshot and then wait until the returned function is called. */
  holdLooks(): () => Promise<void> {
    let release = (): void => {};
    this.store.lookGate = new Promise((resolve) => {
      release = resolve;
    });
    return async () => {
      release();
      await this.service.poll();
    };
  }
}

describe("a look at the whole table", () => {
  test("holds up neither polls, nor commits, nor another instance's writes", async () => {
    const scene = await new Scene().loaded();
    const other = scene.instance();
    await other.poll();
    const release = scene.holdLooks();
    scene.store.oldPut(2, 1, [a]);
    await scene.service.refresh();
    expect(scene.store.counts.looks).toBe(2);
    await scene.put(3, a);
    await other.commit({ action: "put-route", modid: 4, cmdid: 1, hosts: [a] }, ANN);
    await scene.service.refresh();
    expect([scene.hosts(2), scene.hosts(3), scene.hosts(4)]).toEqual([[], [1], [1]]);
    await release();
    expect(scene.hosts(2)).toEqual([1]);
    expect((await scene.store.head()).foreignMoved).toBe(false);
  });

  test("is not waited for by the first load", async () => {
    const { store, clock } = await new Scene().loaded();
    clock.advance(60_000);
    store.oldPut(1, 1, [a, b], false);
    let release = (): void => {};
    store.lookGate = new Promise((resolve) => {
      release = resolve;
    });
    const later = new RouteService({
      ...{ store, replica: new RouteReplica(), clock, log: new RecordingLog() },
      fullReloadIntervalMs: () => 10_000,
    });
    await later.refresh();
    expect([later.loaded, later.replica.route(1, 1)?.hosts.length]).toEqual([true, 1]);
    release();
    await later.poll();
    expect(later.replica.route(1, 1)?.hosts.length).toBe(2);
  });

  test("takes over what a module is by then, when it was changed again after the look's snapshot", async () => {
    const scene = await new Scene().loaded();
    const release = scene.holdLooks();
    scene.store.oldPut(1, 1, [a, b]);
    await scene.service.refresh();
    scene.store.oldPut(1, 1, [b], false);
    await release();
    expect(scene.hosts(1)).toEqual([2]);
    expect(scene.store.committed.filter((action) => action === "adopt")).toHaveLength(1);
  });

  test("settles nothing when the mark was moved once more meanwhile: the next poll looks again", async () => {
    const scene = await new Scene().loaded();
    const release = scene.holdLooks();
    scene.store.oldPut(2, 1, [a]);
    await scene.service.refresh();
    scene.store.oldPut(3, 1, [a]);
    scene.store.lookGate = Promise.resolve();
    await release();
    expect([scene.hosts(2), scene.hosts(3)]).toEqual([[1], []]);
    expect((await scene.store.head()).foreignMoved).toBe(true);
    await scene.service.poll();
    expect(scene.hosts(3)).toEqual([1]);
    expect((await scene.store.head()).foreignMoved).toBe(false);
  });

  test("is made by one of two instances that see the same mark, and its change is one", async () => {
    const scene = await new Scene().loaded();
    const other = scene.instance();
    await other.poll();
    const before = scene.store.counts.looks;
    scene.store.oldPut(2, 1, [a]);
    await Promise.all([scene.service.poll(), other.poll()]);
    await Promise.all([scene.service.poll(), other.poll()]);
    expect([scene.hosts(2), scene.hosts(2, other)]).toEqual([[1], [1]]);
    expect(scene.store.counts.looks - before).toBe(1);
    expect(scene.store.committed).toEqual(["put-route", "adopt"]);
  });

  test("that dies in the middle is made by another instance 2 s later", async () => {
    const scene = await new Scene().loaded();
    const other = scene.instance();
    await other.poll();
    scene.store.lookGate = new Promise(() => {});
    scene.store.oldPut(2, 1, [a]);
    await scene.service.refresh();
    scene.store.lookGate = Promise.resolve();
    await other.poll();
    expect(scene.hosts(2, other)).toEqual([]);
    // Its second look, 700 ms after the mark was seen, is its own to make.
    scene.clock.advance(699);
    await other.poll();
    expect(scene.hosts(2, other)).toEqual([]);
    scene.clock.advance(1301);
    await other.poll();
    expect(scene.hosts(2, other)).toEqual([1]);
  });

  test("that fails is said once and made again when somebody is patient", async () => {
    const scene = await new Scene().loaded();
    const look = scene.store.look.bind(scene.store);
    let failed = 0;
    scene.store.look = (): Promise<Look> => {
      failed++;
      return Promise.reject(new Error("too slow"));
    };
    scene.store.oldPut(2, 1, [a]);
    await scene.service.poll();
    scene.clock.advance(2_000);
    await scene.service.poll();
    expect([failed, scene.service.failure, scene.hosts(2)]).toEqual([2, undefined, []]);
    expect(scene.log.texts.filter((text) => text.startsWith("warn"))).toHaveLength(1);
    scene.store.look = look;
    scene.clock.advance(2_000);
    await scene.service.poll();
    expect(scene.hosts(2)).toEqual([1]);
  });

  test("begins as much before the interval's end as the last one took, and takes a fifth of the time at most", async () => {
    const scene = await new Scene().loaded();
    const look = scene.store.look.bind(scene.store);
    let takesMs = 1_000;
    scene.store.look = async () => {
      scene.clock.advance(takesMs);
      return await look();
    };
    const untilNext = async (): Promise<number> => {
      const before = scene.store.counts.looks;
      for (let ms = 0; ; ms += 100) {
        await scene.service.poll();
        if (scene.store.counts.looks > before) return ms;
        scene.clock.advance(100);
      }
    };
    await untilNext();
    // From the end of one to the beginning of the next.
    expect(await untilNext()).toBe(8_000);
    takesMs = 4_000;
    await untilNext();
    expect(await untilNext()).toBe(12_000);
  });
});

describe("rows of RouteChange", () => {
  test("name modules that are taken over at the poll that sees them, before the whole table is looked at", async () => {
    const scene = await new Scene().loaded();
    const release = scene.holdLooks();
    scene.store.oldPut(1, 1, [a, b], false);
    scene.store.oldPut(2, 1, [b], false);
    scene.store.oldMark({ modid: 1, cmdid: 1 });
    await scene.service.refresh();
    expect([scene.hosts(1), scene.hosts(2)]).toEqual([[1, 2], []]);
    await release();
    expect(scene.hosts(2)).toEqual([2]);
  });

  test("that a commit comes upon first are taken over by it, and the mark stays for the look", async () => {
    const scene = await new Scene().loaded();
    scene.store.oldPut(1, 1, [a, b], false);
    scene.store.oldPut(2, 1, [b], false);
    scene.store.oldMark({ modid: 1, cmdid: 1 });
    await scene.put(3, a);
    expect([scene.hosts(1), scene.hosts(2), scene.hosts(3)]).toEqual([[1, 2], [], [1]]);
    expect(await scene.store.head()).toMatchObject({ foreignMoved: true, unnoticed: false });
    await scene.service.poll();
    expect([scene.hosts(2), (await scene.store.head()).foreignMoved]).toEqual([[2], false]);
  });

  test("name a module that lost most of its hosts: it waits for the look, which tells a mistake from a wish", async () => {
    const scene = await new Scene().loaded();
    const hosts = Array.from({ length: 20 }, (_, i) => makeHost(100 + i, 80));
    for (const modid of [2, 3]) await scene.put(modid, ...hosts);
    for (const modid of [2, 3]) scene.store.oldPut(modid, 1, [], false);
    scene.store.oldMark({ modid: 2, cmdid: 1 });
    const release = scene.holdLooks();
    await scene.service.refresh();
    expect(scene.hosts(2)).toHaveLength(20);
    await release();
    expect([2, 3].map((modid) => scene.service.replica.route(modid, 1)?.vanishedFrom)).toEqual([20, 20]);
  });

  test("a commit to a module that lost most of its hosts is planned after a look at the whole", async () => {
    const scene = await new Scene().loaded();
    const hosts = Array.from({ length: 20 }, (_, i) => makeHost(100 + i, 80));
    for (const modid of [2, 3]) await scene.put(modid, ...hosts);
    for (const modid of [2, 3]) scene.store.oldPut(modid, 1, [], false);
    const looks = scene.store.counts.looks;
    await scene.service.commit({ action: "add-host", modid: 2, cmdid: 1, host: a }, ANN);
    expect(scene.store.counts.looks - looks).toBe(1);
    expect(scene.hosts(2)).toEqual([1]);
    expect(scene.service.replica.route(3, 1)?.vanishedFrom).toBe(20);
  });
});
