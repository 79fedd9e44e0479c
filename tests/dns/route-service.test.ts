import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeHost } from "../../src/core/assignment.ts";
import { formatModuleKey } from "../../src/core/module-key.ts";
import type { RouteChange, RouteRecord } from "../../src/core/route-change.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import type { Database } from "../../src/store/database.ts";
import { openDatabase } from "../../src/store/open.ts";
import { type RouteStore, StoreUnavailable } from "../../src/store/route-store.ts";
import { makeFuzzRandom, propertyRuns } from "../support/fuzz-random.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const a = makeHost(1, 80);
const b = makeHost(2, 80);
const c = makeHost(3, 80);
const ANN = { who: "ann", requestId: "r" };
const put = (modid: number, ...hosts: (typeof a)[]): RouteChange => ({ action: "put-route", modid, cmdid: 1, hosts });

class Rig {
  readonly log = new RecordingLog();
  readonly service: RouteService;
  /** "1.1@5: 1 2" for each route told to listeners. */
  readonly told: string[] = [];

  constructor(
    readonly store = new MemoryRouteStore(),
    readonly clock = new ManualClock(),
    maxWaiting = 100,
  ) {
    this.service = new RouteService({
      store,
      replica: new RouteReplica(),
      clock,
      log: this.log,
      fullReloadIntervalMs: () => 10_000,
      maxWaiting,
    });
    this.service.onChange((routes: readonly RouteRecord[]) => {
      for (const { modid, cmdid, revision, hosts } of routes) {
        // A listener reads the replica: what it is told of is there.
        expect(this.service.replica.route(modid, cmdid)?.revision ?? revision).toBe(revision);
        this.told.push(`${formatModuleKey({ modid, cmdid })}@${revision}: ${hosts.map(({ ip }) => ip).join(" ")}`);
      }
    });
  }
  commit(change: RouteChange) {
    return this.service.commit(change, ANN);
  }
  async polled(): Promise<this> {
    await this.service.poll();
    return this;
  }
  hosts(modid: number): number[] {
    return (this.service.replica.route(modid, 1)?.hosts ?? []).map(({ ip }) => ip);
  }
}

/** Loaded, and the whole table compared a moment ago. */
async function loaded(): Promise<Rig> {
  return await (await new Rig().polled()).polled();
}

/** The first revision on the manual clock's day. */
const FIRST = Date.UTC(2026, 0, 1) / 1000;

describe("a commit", () => {
  test("is in the replica and told to listeners when it is answered, at a revision not behind the clock", async () => {
    const rig = await loaded();
    expect(await rig.commit(put(1, a))).toEqual({ ok: true, revision: FIRST, changed: true });
    expect(rig.told).toEqual([`1.1@${FIRST}: 1`]);
    expect(rig.hosts(1)).toEqual([1]);
    expect(await rig.commit(put(1, b))).toEqual({ ok: true, revision: FIRST + 1, changed: true });
  });

  test("of what is so already changes nothing, takes no revision and leaves no log entry", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    expect(await rig.commit(put(1, a))).toEqual({ ok: true, revision: FIRST, changed: false });
    expect([rig.store.committed, rig.told.length]).toEqual([["put-route"], 1]);
  });

  test("is logged with who and what", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    expect(await rig.store.changes(0, 10)).toMatchObject([
      { revision: FIRST, who: "ann", requestId: "r", action: "put-route", atMs: rig.clock.wallMs() },
    ]);
  });

  test("those that come while one is under way go together in the next transaction, each with its own revision", async () => {
    const rig = await loaded();
    let open = (): void => {};
    rig.store.gate = new Promise((resolve) => {
      open = resolve;
    });
    const before = rig.store.counts.writes;
    const results = Array.from({ length: 50 }, (_, i) => rig.commit(put(i, a)));
    expect(rig.service.waiting).toBe(49);
    open();
    const revisions = (await Promise.all(results)).map((result) => (result.ok ? result.revision : 0));
    expect(revisions).toEqual(Array.from({ length: 50 }, (_, i) => FIRST + i));
    expect(rig.store.counts.writes - before).toBe(2);
    expect(rig.store.committed).toHaveLength(50);
  });

  test("each is planned against those before it in the batch; a refused one disturbs nobody", async () => {
    const rig = await loaded();
    const add: RouteChange = { action: "add-host", modid: 1, cmdid: 1, host: b };
    const results = await Promise.all([
      rig.commit(put(9, a)),
      rig.commit(add),
      rig.commit(add),
      rig.commit({ action: "remove-host", modid: 1, cmdid: 1, endpoint: c }),
      rig.commit({ action: "remove-host", modid: 1, cmdid: 1, endpoint: b }),
    ]);
    expect(results.map((result) => (result.ok ? result.changed : result.reason))).toEqual([
      true,
      true,
      "exists",
      "not-found",
      true,
    ]);
    expect(rig.hosts(1)).toEqual([]);
  });

  test("of two with the same If-Match in one batch the first is done, the second refused", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    const ifMatch = [rig.service.replica.tag(1, 1)!];
    const [first, second] = await Promise.all([
      rig.commit({ ...put(1, b), ifMatch } as RouteChange),
      rig.commit({ ...put(1, c), ifMatch } as RouteChange),
    ]);
    expect([first!.ok, second!.ok === false && second!.reason]).toEqual([true, "precondition-failed"]);
    expect(rig.hosts(1)).toEqual([2]);
  });

  test("beyond max_waiting is refused at once as unavailable; those that wait are done", async () => {
    const rig = await new Rig(undefined, undefined, 3).polled();
    const results = await Promise.allSettled(Array.from({ length: 6 }, (_, i) => rig.commit(put(i, a))));
    const outcome = results.map((r) => (r.status === "rejected" ? (r.reason as Error).name : "done"));
    expect(outcome).toEqual(["done", "done", "done", "done", "StoreUnavailable", "StoreUnavailable"]);
  });
});

describe("several instances on one database", () => {
  test("see each other's changes at the next poll, and each change once", async () => {
    const one = await loaded();
    const other = await new Rig(one.store, one.clock).polled();
    await one.commit(put(1, a));
    await one.commit(put(1, a, b));
    await other.polled();
    expect(other.told).toEqual([`1.1@${FIRST + 1}: 1 2`]);
    await other.polled();
    expect(other.told).toHaveLength(1);
  });

  test("plan against the other's changes although they have not polled: none is lost", async () => {
    const one = await loaded();
    const other = await new Rig(one.store, one.clock).polled();
    await one.commit({ action: "add-host", modid: 1, cmdid: 1, host: a });
    const result = await other.commit({ action: "add-host", modid: 1, cmdid: 1, host: b });
    expect(result).toMatchObject({ ok: true, revision: FIRST + 1 });
    expect(other.hosts(1)).toEqual([1, 2]);
    expect(await other.commit({ action: "add-host", modid: 1, cmdid: 1, host: a })).toMatchObject({ reason: "exists" });
  });

  test("that notice the same change by plain SQL make one revision and one log entry of it", async () => {
    const one = await loaded();
    const others = await Promise.all([1, 2, 3].map(() => new Rig(one.store, one.clock).polled()));
    one.store.oldPut(1, 1, [a, b]);
    await Promise.all([one, ...others].map((rig) => rig.polled()));
    await Promise.all([one, ...others].map((rig) => rig.polled()));
    expect(one.store.committed).toEqual(["adopt"]);
    for (const rig of [one, ...others]) expect(rig.told).toEqual([`1.1@${FIRST}: 1 2`]);
  });
});

describe("what old tools do by plain SQL", () => {
  test("is taken over at the next poll when they moved RouteVersion, as one change by sql", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    rig.store.oldPut(1, 1, [a, b, b]);
    rig.store.oldPut(2, 1, [c]);
    rig.store.oldName("modid", 2, "shop");
    await rig.polled();
    expect([rig.hosts(1), rig.hosts(2), rig.service.replica.displayName(2, 1)]).toEqual([[1, 2], [3], "shop"]);
    expect((await rig.store.changes(FIRST, 10)).map(({ who, action }) => [who, action])).toEqual([["sql", "adopt"]]);
    expect(rig.service.counts.adoptions).toBe(1);
    expect(rig.log.texts).toContain("info changes made by plain SQL were taken over");
  });

  test("without moving it is found by the full comparison, within full_reload_interval", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a, b));
    rig.store.oldPut(1, 1, [b], false);
    rig.clock.advance(9999);
    expect((await rig.polled()).hosts(1)).toEqual([1, 2]);
    rig.clock.advance(1);
    expect((await rig.polled()).hosts(1)).toEqual([2]);
  });

  test("to the module that is being written is taken over first, so that the write does not undo it", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    rig.store.oldPut(1, 1, [a, b], false);
    await rig.commit({ action: "add-host", modid: 1, cmdid: 1, host: c });
    expect(rig.hosts(1)).toEqual([1, 2, 3]);
    expect(rig.store.committed).toEqual(["put-route", "adopt", "add-host"]);
  });

  test("makes an If-Match from before fail", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    const ifMatch = [rig.service.replica.tag(1, 1)!];
    rig.store.oldPut(1, 1, [b], false);
    expect(await rig.commit({ ...put(1, c), ifMatch } as RouteChange)).toMatchObject({ reason: "precondition-failed" });
    expect(rig.hosts(1)).toEqual([2]);
  });

  test("is looked for once more 700 ms after RouteVersion moved: some tools move it before they write", async () => {
    const rig = await loaded();
    rig.store.oldMark();
    await rig.polled();
    rig.store.oldPut(1, 1, [a], false);
    rig.clock.advance(699);
    expect((await rig.polled()).hosts(1)).toEqual([]);
    rig.clock.advance(1);
    expect((await rig.polled()).hosts(1)).toEqual([1]);
  });

  test("rows that cannot mean a host are skipped, counted, and said once", async () => {
    const rig = await loaded();
    rig.store.oldPut(1, 1, [a, { ...b, port: 0 }]);
    await rig.polled();
    expect([rig.hosts(1), rig.service.badRows]).toEqual([[1], 1]);
    rig.clock.advance(10_000);
    await rig.polled();
    expect(rig.log.texts.filter((text) => text.includes("skipped"))).toHaveLength(1);
  });
});

describe("an old database that was never seen by us", () => {
  test("is loaded when its tables were looked at, and not before", async () => {
    const store = new MemoryRouteStore();
    store.oldPut(1, 1, [a], false);
    const rig = new Rig(store);
    const write = store.write.bind(store);
    store.write = () => Promise.reject(new StoreUnavailable("away"));
    await rig.polled();
    expect([rig.service.loaded, rig.told]).toEqual([false, []]);
    store.write = write;
    await rig.polled();
    expect([rig.service.loaded, rig.hosts(1)]).toEqual([true, [1]]);
  });
});

describe("a database that is away", () => {
  test("refuses commits as unavailable while reads go on, and says so once; commits work again when it is back", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    rig.store.away();
    await expect(rig.commit(put(1, b))).rejects.toBeInstanceOf(StoreUnavailable);
    await rig.polled();
    await rig.polled();
    expect([rig.hosts(1), rig.service.loaded, rig.service.failure]).toEqual([[1], true, "connection refused"]);
    expect(rig.service.counts.pollFailures).toBe(2);
    rig.store.back();
    expect(await rig.commit(put(1, c))).toMatchObject({ ok: true, changed: true });
    await rig.polled();
    expect([rig.service.failure, rig.hosts(1)]).toEqual([undefined, [3]]);
    expect(rig.log.texts.filter((text) => text.startsWith("error"))).toHaveLength(1);
    expect(rig.log.texts.at(-1)).toBe("info the database answers");
  });

  test("from the start: nothing is loaded, and commits are refused, until it is there", async () => {
    const rig = new Rig();
    rig.store.away("no such host");
    await rig.polled();
    expect([rig.service.loaded, rig.service.failure]).toEqual([false, "no such host"]);
    await expect(rig.commit(put(1, a))).rejects.toThrow("no such host");
    rig.store.back();
    await rig.polled();
    expect(rig.service.loaded).toBe(true);
  });

  test("lost between work and commit: the batch fails whole, nothing of it is in the replica", async () => {
    const rig = await loaded();
    const write = rig.store.write.bind(rig.store);
    rig.store.write = (work) =>
      write(async (tx) => {
        const value = await work(tx);
        rig.store.away();
        return value;
      });
    const results = await Promise.allSettled([rig.commit(put(1, a)), rig.commit(put(2, a))]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect([rig.hosts(1), rig.hosts(2), rig.told]).toEqual([[], [], []]);
    rig.store.back();
    rig.store.write = write;
    await rig.polled();
    expect([rig.hosts(1), rig.store.committed]).toEqual([[], []]);
  });

  test("committed although the answer was lost: the change is found at the next poll, and told once", async () => {
    const rig = await loaded();
    const write = rig.store.write.bind(rig.store);
    rig.store.write = async (work) => {
      await write(work);
      throw new StoreUnavailable("connection lost");
    };
    await expect(rig.commit(put(1, a))).rejects.toBeInstanceOf(StoreUnavailable);
    rig.store.write = write;
    await rig.polled();
    expect(rig.told).toEqual([`1.1@${FIRST}: 1`]);
  });
});

describe("a database restored from a backup", () => {
  async function restored(): Promise<Rig> {
    const rig = await loaded();
    await rig.commit(put(1, a));
    await rig.commit(put(2, a));
    const restore = rig.store.backup();
    await rig.commit(put(1, b));
    await rig.commit(put(3, c));
    await rig.commit({ action: "put-names", names: [{ scope: "modid", id: 2, name: "new" }] });
    rig.told.length = 0;
    restore();
    return rig;
  }

  test("is noticed, said, and what it holds is served, at revisions above all that were given out before", async () => {
    const rig = await restored();
    const held = rig.service.replica.revision;
    await rig.polled();
    expect([rig.hosts(1), rig.hosts(2), rig.hosts(3)]).toEqual([[1], [1], []]);
    expect(rig.service.replica.displayName(2, 1)).toBe("");
    expect(rig.told).toEqual([`1.1@${held + 1}: 1`, `3.1@${held + 1}: `]);
    expect(rig.store.revision).toBe(held + 1);
    expect(rig.log.texts.filter((text) => text.startsWith("warn"))).toHaveLength(1);
    await rig.polled();
    expect([rig.told.length, rig.store.hostsOf(1, 1)]).toEqual([2, [a]]);
  });

  test("refuses commits until its routes were taken over, then takes them", async () => {
    const rig = await restored();
    await expect(rig.commit(put(5, a))).rejects.toThrow("older");
    await rig.polled();
    expect(await rig.commit(put(5, a))).toMatchObject({ ok: true });
  });

  test("reaches other instances too, each module once", async () => {
    const rig = await restored();
    const other = new Rig(rig.store, rig.clock);
    await rig.polled();
    await other.polled();
    await rig.polled();
    expect([other.hosts(1), other.hosts(3), rig.told.length]).toEqual([[1], [], 2]);
    expect(rig.service.replica.revision).toBe(other.service.replica.revision);
  });

  test("in an SQLite file: the same, in our tables, the original's and the log", async () => {
    const folder = mkdtempSync(join(tmpdir(), "lars-restore-"));
    const open = async (name: string): Promise<Database> => {
      const database = await openDatabase(`sqlite:${join(folder, name)}`);
      await database.migrate();
      return database;
    };
    const lost = await open("lost.db");
    const kept = await open("kept.db");
    try {
      let current = lost.routes;
      const store = new Proxy({} as RouteStore, {
        get: (_, name) => {
          const value: unknown = current[name as keyof RouteStore];
          return typeof value === "function" ? value.bind(current) : value;
        },
      });
      const rig = await new Rig(store as MemoryRouteStore).polled();
      const other = await new Rig(kept.routes as unknown as MemoryRouteStore, rig.clock).polled();
      for (const one of [rig, other]) await one.commit(put(1, a, c));
      await rig.commit(put(1, { ...a, weight: 7 }, b));
      await rig.commit(put(2, b));
      const held = rig.service.replica.revision;
      rig.told.length = 0;
      current = kept.routes;
      await rig.polled();
      expect(rig.told.sort()).toEqual([`1.1@${held + 1}: 1 3`, `2.1@${held + 1}: `]);
      const fresh = await new Rig(kept.routes as unknown as MemoryRouteStore, rig.clock).polled();
      await fresh.polled();
      expect(fresh.service.replica.route(1, 1)!.hosts).toEqual([a, c]);
      expect(fresh.service.replica.revision).toBe(held + 1);
      // Nothing is left to adopt: the original's tables say the same, each host once.
      expect((await kept.routes.look()).foreign).toMatchObject({ routes: [], names: [] });
      expect((await kept.routes.changes(0, 10)).map(({ who, action }) => `${who} ${action}`)).toEqual([
        "ann put-route",
        "system adopt",
      ]);
    } finally {
      await Promise.all([lost.close(), kept.close()]);
      rmSync(folder, { recursive: true });
    }
  });

  test("a node of a cluster that only lags behind is not taken for one", async () => {
    const rig = await loaded();
    await rig.commit(put(1, a));
    await rig.commit(put(1, b));
    const head = rig.store.head.bind(rig.store);
    rig.store.head = async () => ({ ...(await head()), revision: FIRST });
    await rig.polled();
    expect([rig.hosts(1), rig.log.texts.filter((text) => text.startsWith("warn"))]).toEqual([[2], []]);
  });
});

describe("polling", () => {
  test("one round runs at a time; who comes meanwhile shares it", async () => {
    const rig = await loaded();
    const before = rig.store.counts.heads;
    await Promise.all([rig.service.poll(), rig.service.poll(), rig.service.poll()]);
    expect(rig.store.counts.heads - before).toBe(1);
  });

  test("freshen polls when the last round is older than asked, and not otherwise", async () => {
    const rig = await loaded();
    const before = rig.store.counts.heads;
    rig.clock.advance(200);
    await rig.service.freshen(200);
    expect(rig.store.counts.heads - before).toBe(0);
    rig.clock.advance(1);
    await rig.service.freshen(200);
    expect(rig.store.counts.heads - before).toBe(1);
  });
});

test("random histories of two instances, an old tool and outages: all end with what the database holds, each revision once", async () => {
  const SEED = 20_260_201;
  for (let history = 0; history < propertyRuns(60); history++) {
    const random = makeFuzzRandom(SEED + history);
    const at = `seed ${SEED + history}`;
    const one = await loaded();
    const other = await new Rig(one.store, one.clock).polled();
    const host = () => makeHost(random.int(1, 3), 80, { weight: random.pick([1, 100]) });
    const answers: Promise<unknown>[] = [];
    for (let step = 0; step < 60; step++) {
      const rig = random.pick([one, other]);
      const key = { modid: random.int(1, 2), cmdid: 1 };
      const change = random.pick<() => RouteChange>([
        () => put(key.modid, ...Array.from({ length: random.int(0, 3) }, host)),
        () => ({ action: "add-host", ...key, host: host() }),
        () => ({ action: "remove-host", ...key, endpoint: host() }),
        () => ({ action: "remove-route", ...key }),
        () => ({ action: "import", routes: [{ ...key, hosts: [host()] }], names: [], replace: random.int(0, 1) === 1 }),
      ]);
      switch (random.int(0, 9)) {
        case 0:
          one.store.oldPut(key.modid, 1, [host(), host()], random.int(0, 1) === 1);
          break;
        case 1:
          one.store.away();
          break;
        case 2:
        case 3:
          one.store.back();
          await rig.polled();
          break;
        case 4:
          one.clock.advance(random.int(0, 11_000));
          break;
        default:
          answers.push(rig.commit(change()).catch((error: unknown) => expect(error).toBeInstanceOf(StoreUnavailable)));
      }
      if (random.int(0, 3) === 0) await Promise.all(answers.splice(0));
    }
    one.store.back();
    await Promise.all(answers);
    one.clock.advance(10_000);
    for (const rig of [one, other, one]) await rig.polled();
    for (const rig of [one, other]) {
      for (const modid of [1, 2]) {
        const ips = one.store.hostsOf(modid, 1).map(({ ip }) => ip);
        expect([at, modid, rig.hosts(modid)]).toEqual([at, modid, ips]);
      }
      expect([at, rig.service.replica.revision]).toEqual([at, one.store.revision]);
      expect([at, new Set(rig.told).size]).toEqual([at, rig.told.length]);
    }
    const revisions = (await one.store.changes(0, 1000)).map(({ revision }) => revision);
    expect([at, revisions]).toEqual([at, [...new Set(revisions)].sort((x, y) => x - y)]);
  }
});

test("a database that owes an answer is silent for as long as it owes it, and not while it answers or refuses", async () => {
  const rig = new Rig();
  await rig.service.poll();
  expect(rig.service.silentForMs).toBe(0);
  const { store, clock, service } = rig;
  const head = store.head.bind(store);
  let answer = (): void => {};
  store.head = async () => {
    await new Promise<void>((resolve) => (answer = resolve));
    return head();
  };
  for (const refuses of [false, true]) {
    if (refuses) store.away("no route to the database");
    const polled = service.refresh();
    clock.advance(4_000);
    expect([service.silentForMs, service.failure]).toEqual([4_000, undefined]);
    answer();
    await polled;
    expect(service.silentForMs).toBe(0);
  }
  expect(service.failure).toContain("no route to the database");
});
