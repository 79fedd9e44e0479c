// Removed modules that are forgotten: whoever was away learns of the removal all the same, be it an agent, another
// instance, a follower or a reader over HTTP.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { exists, type RouteChange } from "../../src/core/route-change.ts";
import { LeaderMirror } from "../../src/dns/follow/leader-mirror.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { EventReader, loadedApp } from "./app-rig.ts";
import { catchUp, contents, hosts, leaderOn, pageOf } from "./follow-rig.ts";
import { PushToSource } from "./push-to-source.ts";

const ANN = { who: "ann", requestId: "" };
const put = (modid: number, ...ips: number[]): RouteChange => ({
  ...{ action: "put-route", modid, cmdid: 1 },
  hosts: ips.map((ip) => makeHost(ip, 80)),
});
const remove = (modid: number): RouteChange => ({ action: "remove-route", modid, cmdid: 1 });

class Rig {
  readonly clock = new ManualClock();
  readonly services: RouteService[];
  readonly agent: PushToSource;

  constructor(readonly store = new MemoryRouteStore()) {
    this.services = [0, 1].map(
      () =>
        new RouteService({
          ...{ store: this.store, replica: new RouteReplica(), clock: this.clock, log: new RecordingLog() },
          fullReloadIntervalMs: () => 10_000,
        }),
    );
    this.agent = new PushToSource(this.services);
  }
  async loaded(): Promise<this> {
    for (const service of this.services) await service.poll();
    return this;
  }
  async commit(instance: number, change: RouteChange): Promise<void> {
    await this.services[instance]!.commit(change, ANN);
    this.agent.settle();
  }
  async poll(...instances: number[]): Promise<void> {
    for (const instance of instances) await this.services[instance]!.poll();
    this.agent.settle();
  }
  forget(instance: number, keep = 0): Promise<void> {
    return this.services[instance]!.forgetRemoved(keep);
  }
  /** Addresses the agent holds of a module. */
  held(modid: number): number[] {
    const last = this.agent.taken.findLast((route) => route.modid === modid);
    return last?.hosts.map(({ ip }) => ip) ?? [];
  }
}

describe("an instance", () => {
  test("forgets those that were removed first when there are more than are kept, and a tenth more, in the database too", async () => {
    const rig = await new Rig().loaded();
    for (let modid = 1; modid <= 25; modid++) await rig.commit(0, put(modid, 1));
    for (let modid = 1; modid <= 25; modid++) await rig.commit(0, remove(modid));
    const { replica, counts } = rig.services[0]!;
    await rig.forget(0, 25);
    expect([replica.removedCount, counts.forgotten, rig.store.counts.forgets]).toEqual([25, 0, 0]);
    await rig.forget(0, 20);
    expect([replica.removedCount, counts.forgotten, replica.forgotten]).toEqual([18, 7, replica.revision - 18]);
    expect([replica.route(7, 1), replica.route(8, 1)?.hosts]).toEqual([undefined, []]);
    const { routes, forgotten } = await rig.store.readSince(0);
    expect([routes.length, forgotten]).toEqual([18, replica.forgotten]);
  });

  test("takes 2,500 away in transactions of 250, and goes on after a database that was away", async () => {
    const rig = await new Rig().loaded();
    const { replica } = rig.services[0]!;
    const routes = Array.from({ length: 2_500 }, (_, modid) => ({ modid, cmdid: 1, hosts: [makeHost(1, 80)] }));
    await rig.commit(0, { action: "import", routes, names: [], replace: true });
    await rig.commit(0, { action: "import", routes: [], names: [], replace: true });
    rig.store.away();
    await rig.forget(0);
    expect([replica.removedCount, replica.forgotten]).toEqual([2_500, 0]);
    rig.store.back();
    await rig.poll(0);
    await rig.forget(0);
    expect([replica.removedCount, rig.store.counts.forgets]).toEqual([0, 10]);
  });

  test("that was not there while modules were removed and forgotten tells its agents of them", async () => {
    const rig = await new Rig().loaded();
    for (const modid of [1, 2]) await rig.commit(0, put(modid, modid));
    await rig.poll(1);
    rig.agent.connect(1);
    for (const modid of [1, 2]) rig.agent.source.want(modid, 1);
    rig.agent.settle();
    expect([rig.held(1), rig.held(2)]).toEqual([[1], [2]]);
    await rig.commit(0, remove(1));
    await rig.forget(0);
    await rig.poll(1);
    expect([rig.held(1), rig.held(2), rig.agent.source.keptModules]).toEqual([[], [2], 0]);
    expect(rig.services[1]!.replica.forgotten).toBe(rig.services[0]!.replica.forgotten);
  });

  test("that writes before it polls learns of what was forgotten with the write", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    await rig.poll(1);
    await rig.commit(0, remove(1));
    await rig.forget(0);
    await rig.commit(1, put(2, 2));
    expect(exists(rig.services[1]!.replica.route(1, 1))).toBe(false);
    expect(rig.services[1]!.replica.forgotten).toBe(rig.services[0]!.replica.forgotten);
  });
});

describe("an agent that comes back", () => {
  test("with a module that was removed and forgotten is told that it was meant", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    rig.agent.connect(0);
    rig.agent.source.want(1, 1);
    rig.agent.settle().leave();
    await rig.commit(0, remove(1));
    await rig.forget(0);
    rig.agent.connect(0);
    expect([rig.held(1), rig.agent.source.keptModules]).toEqual([[], 0]);
  });

  test("with one that is newer than anything that was forgotten keeps it: this may be the wrong database", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(9, 9));
    await rig.commit(0, remove(9));
    await rig.forget(0);
    const other = await new Rig().loaded();
    other.clock.advance(3_600_000);
    await other.commit(0, put(1, 1));
    rig.clock.advance(7_200_000);
    await rig.commit(0, put(2, 2));
    const agent = new PushToSource([other.services[0]!, rig.services[0]!]);
    agent.connect(0);
    agent.source.want(1, 1);
    agent.settle().connect(1);
    expect([agent.source.keptModules, agent.taken.at(-1)?.hosts.length]).toEqual([1, 1]);
  });

  test("to its reading after its module was removed and forgotten is told that it was meant", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    rig.agent.connect(0);
    rig.agent.source.want(1, 1);
    rig.agent.settle().reads(false);
    await rig.commit(0, remove(1));
    await rig.forget(0);
    rig.agent.source.want(1, 1);
    rig.agent.settle();
    expect(rig.held(1)).toEqual([1]);
    rig.agent.reads(true);
    expect([rig.held(1), rig.agent.source.keptModules]).toEqual([[], 0]);
  });
});

test("whatever is changed, forgotten, polled, moved, left and not read, an agent that comes back ends with the routes there are", async () => {
  const step = fc.record({
    what: fc.constantFrom(
      ...["put", "put", "remove", "remove", "forget", "forget", "move", "leave", "stall", "drain"],
      "poll",
    ),
    instance: fc.nat(1),
    modid: fc.nat(2),
    ips: fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
    keep: fc.nat(1),
  });
  let forgotten = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const rig = await new Rig().loaded();
      const { agent } = rig;
      agent.connect(0);
      for (const modid of [0, 1, 2]) agent.source.want(modid, 1);
      agent.settle();
      for (const { what, instance, modid, ips, keep } of steps) {
        if (what === "put") await rig.commit(instance, put(modid, ...ips));
        else if (what === "remove") await rig.commit(instance, remove(modid));
        else if (what === "forget") await rig.forget(instance, keep);
        else if (what === "poll") await rig.poll(instance);
        else if (what === "move") agent.connect(instance);
        else if (what === "leave") agent.leave();
        else agent.reads(what === "drain");
      }
      await rig.poll(0, 1);
      for (const { replica } of rig.services) {
        for (const modid of [0, 1, 2]) {
          expect(replica.route(modid, 1)?.hosts ?? []).toEqual(rig.store.hostsOf(modid, 1));
        }
        forgotten += Math.min(1, replica.forgotten);
      }
      agent.connect(1);
      for (const modid of [0, 1, 2]) {
        expect(rig.held(modid)).toEqual(rig.store.hostsOf(modid, 1).map(({ ip }) => ip));
      }
      expect([agent.source.ahead, agent.source.keptModules]).toEqual([0, 0]);
    }),
    { seed: 7, numRuns: propertyRuns(300) },
  );
  expect(forgotten).toBeGreaterThan(propertyRuns(150));
});

describe("a follower", () => {
  test("that follows is not disturbed by what its leader forgets: nothing is compared", async () => {
    const leader = await leaderOn();
    const mirror = new LeaderMirror();
    for (const modid of [1, 2]) await leader.done("PUT", `/v1/routes/${modid}/1`, { hosts: hosts(1) });
    await catchUp(mirror, leader);
    await leader.done("DELETE", "/v1/routes/1/1");
    expect(await catchUp(mirror, leader)).toMatchObject({ outcome: "advanced", compared: false });
    await leader.routes.forgetRemoved(0);
    expect(await catchUp(mirror, leader)).toEqual({ outcome: "same" });
    await leader.done("PUT", "/v1/routes/3/1", { hosts: hosts(1) });
    const { forgotten } = leader.routes.replica;
    expect(await catchUp(mirror, leader)).toMatchObject({ outcome: "advanced", compared: false, delta: { forgotten } });
    expect([mirror.forgotten, [...mirror.served()].length]).toEqual([forgotten, 3]);
  });

  test("that was away meanwhile compares everything and serves the removal", async () => {
    const leader = await leaderOn();
    const mirror = new LeaderMirror();
    for (const modid of [1, 2]) await leader.done("PUT", `/v1/routes/${modid}/1`, { hosts: hosts(1) });
    await catchUp(mirror, leader);
    await leader.done("DELETE", "/v1/routes/1/1");
    await leader.routes.forgetRemoved(0);
    const { forgotten, revision } = leader.routes.replica;
    expect(await catchUp(mirror, leader)).toMatchObject({
      outcome: "advanced",
      delta: { revision, forgotten, routes: [{ modid: 1, hosts: [], revision }] },
    });
    expect(contents(mirror.served())).toEqual(contents(leader.routes.replica.routes()));
  });

  test("ends with what its leaders have, whatever they change and forget between two pages and it forgets itself", async () => {
    const step = fc.record({
      what: fc.constantFrom("put", "put", "remove", "remove", "forget", "page", "page", "page", "own"),
      modid: fc.nat(3),
      leader: fc.nat(1),
    });
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 25, maxLength: 60 }), async (steps) => {
        const store = new MemoryRouteStore();
        const leaders = [await leaderOn(store), await leaderOn(store)];
        const mirror = new LeaderMirror();
        const follower = new RouteReplica();
        const take = async (leader: number, limit: number): Promise<string> => {
          const taken = mirror.take(await pageOf(leaders[leader]!, mirror.request, limit));
          if (taken.outcome !== "advanced") return taken.outcome;
          if (taken.compared) compared++;
          follower.apply(taken.delta);
          return taken.outcome;
        };
        for (const { what, modid, leader } of steps) {
          const { routes } = leaders[leader]!;
          if (what === "put") await routes.commit(put(modid, 1 + leader), ANN);
          else if (what === "remove") await routes.commit(remove(modid), ANN);
          else if (what === "forget") await routes.forgetRemoved(0);
          else if (what === "page") await take(leader, 3);
          else {
            const removed = follower.oldestRemoved(2);
            mirror.forget(removed);
            follower.forget(removed);
          }
        }
        for (const leader of leaders) await leader.routes.poll();
        for (let pages = 0; (await take(0, 3)) !== "same"; pages++) expect(pages).toBeLessThan(50);
        expect(contents(mirror.served())).toEqual(contents(leaders[0]!.routes.replica.routes()));
        expect(contents(follower.routes())).toEqual(contents(leaders[0]!.routes.replica.routes()));
      }),
      { seed: 3, numRuns: propertyRuns(120) },
    );
    expect(compared).toBeGreaterThan(propertyRuns(10));
  });
});

describe("a reader over HTTP that knows a module from before", () => {
  test("is told by a stream that it is gone", async () => {
    const rig = await loadedApp();
    const seen = await rig.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
    await rig.done("DELETE", "/v1/routes/1/1");
    await rig.routes.forgetRemoved(0);
    await rig.done("PUT", "/v1/routes/2/1", { hosts: hosts(1) });
    const headers = { "last-event-id": String(seen) };
    const events = new EventReader(await rig.get("/v1/watch?module=1.1", headers));
    const { forgotten } = rig.routes.replica;
    expect(await events.next()).toMatchObject({ id: String(forgotten), data: { modid: 1, hosts: [] } });
    await events.cancel();
  });

  test("and waits for its change is told at once that there is none", async () => {
    const rig = await loadedApp();
    const seen = await rig.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
    await rig.done("DELETE", "/v1/routes/1/1");
    await rig.routes.forgetRemoved(0);
    const startMs = performance.now();
    expect((await rig.get(`/v1/routes/1/1?wait=30s&revision=${seen}`)).status).toBe(404);
    expect(performance.now() - startMs).toBeLessThan(10_000);
  });
});

test("a delta from before a module was removed and forgotten does not bring it back", () => {
  const replica = new RouteReplica();
  const record = { modid: 1, cmdid: 1, name: "", policy: NO_CHOICE, hosts: [makeHost(1, 80)] };
  replica.apply({ revision: 5, routes: [{ ...record, revision: 5 }], names: [] });
  replica.apply({ revision: 6, routes: [{ ...record, revision: 6, hosts: [] }], names: [] });
  replica.forget(replica.oldestRemoved(1));
  expect(replica.apply({ revision: 5, routes: [{ ...record, revision: 5 }], names: [] })).toEqual([]);
  expect([replica.size, replica.route(1, 1), replica.forgotten]).toEqual([0, undefined, 6]);
});
