// An agent that moves between dns instances, one of which may lag: no step back, no change missed, nothing sent twice.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { makeHost } from "../../src/core/assignment.ts";
import type { RouteChange } from "../../src/core/route-change.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { PushToSource } from "./push-to-source.ts";

const ANN = { who: "ann", requestId: "" };
const put = (modid: number, ...ips: number[]): RouteChange => ({
  ...{ action: "put-route", modid, cmdid: 1 },
  hosts: ips.map((ip) => makeHost(ip, 80)),
});

class Rig {
  readonly store = new MemoryRouteStore();
  readonly clock = new ManualClock();
  readonly services: RouteService[];
  readonly agent: PushToSource;

  constructor(instances = 2) {
    this.services = Array.from(
      { length: instances },
      () =>
        new RouteService({
          store: this.store,
          replica: new RouteReplica(),
          clock: this.clock,
          log: new RecordingLog(),
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
  async poll(instance: number): Promise<void> {
    await this.services[instance]!.poll();
    this.agent.settle();
  }
  want(...modids: number[]): void {
    for (const modid of modids) this.agent.source.want(modid, 1);
    this.agent.settle();
  }
  /** "1: 8 9" for each route the agent took since the last call. */
  took(): string[] {
    return this.agent.taken.splice(0).map(({ modid, hosts }) => `${modid}: ${hosts.map(({ ip }) => ip).join(" ")}`);
  }
}

describe("an agent that moves to an instance that lags", () => {
  test("keeps the newer route, and gets the newest as soon as that instance has caught up", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    await rig.poll(1);
    await rig.commit(0, put(1, 1, 2));
    rig.agent.connect(0);
    rig.want(1);
    expect(rig.took()).toEqual(["1: 1 2"]);
    rig.agent.connect(1);
    expect([rig.took(), rig.agent.source.ahead]).toEqual([[], 1]);
    await rig.commit(0, put(1, 3));
    expect(rig.took()).toEqual([]);
    await rig.poll(1);
    expect([rig.took(), rig.agent.source.ahead]).toEqual([["1: 3"], 0]);
  });

  test("keeps a module of which that instance says that there is none, raises no alarm, and hears of its next change", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    rig.agent.connect(0);
    rig.want(1);
    rig.agent.connect(1);
    expect([rig.took(), rig.agent.source.keptModules]).toEqual([["1: 1"], 0]);
    await rig.poll(1);
    await rig.commit(0, put(1));
    expect(rig.took()).toEqual(["1: 1"]);
    await rig.poll(1);
    expect(rig.took()).toEqual(["1: "]);
  });

  test("does not bring back what was removed", async () => {
    const rig = await new Rig().loaded();
    await rig.commit(0, put(1, 1));
    await rig.poll(1);
    await rig.commit(0, put(1));
    rig.agent.connect(0);
    rig.want(1);
    rig.agent.connect(1);
    rig.want(1);
    expect(rig.took()).toEqual(["1: "]);
  });
});

describe("an agent that comes back", () => {
  test("to an instance that has what it has is told so in 30 bytes a module, whatever the module's size", async () => {
    const rig = await new Rig().loaded();
    const MODULES = 20;
    for (let modid = 0; modid < MODULES; modid++)
      await rig.commit(0, put(modid, ...Array.from({ length: 200 }, (_, i) => i)));
    await rig.poll(1);
    rig.agent.connect(0);
    rig.want(...Array.from({ length: MODULES }, (_, modid) => modid));
    const whole = rig.agent.bytesToAgent;
    rig.agent.bytesToAgent = 0;
    rig.agent.connect(1);
    expect(whole).toBeGreaterThan(MODULES * 200 * 5);
    expect(rig.agent.bytesToAgent).toBeLessThanOrEqual(MODULES * 30);
    expect(rig.agent.source.counts).toMatchObject({ unchanged: MODULES, stale: 0 });
  });

  test("is sent what changed meanwhile and nothing else", async () => {
    const rig = await new Rig().loaded();
    for (const modid of [1, 2, 3]) await rig.commit(0, put(modid, modid));
    rig.agent.connect(0);
    rig.want(1, 2, 3);
    rig.took();
    await rig.commit(1, put(2, 22));
    rig.agent.connect(1);
    expect(rig.took().sort()).toEqual(["1: 1", "2: 22", "3: 3"]);
    expect(rig.agent.source.counts.unchanged).toBe(2);
  });
});

test("whatever is changed, polled and moved, of each module the agent's revisions never go back and end on the last", async () => {
  const step = fc.record({
    what: fc.constantFrom("put", "put", "remove", "move", "move", "poll", "sql"),
    instance: fc.nat(1),
    modid: fc.nat(3),
    ips: fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
  });
  let moves = 0;
  let stale = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const rig = await new Rig().loaded();
      rig.agent.connect(0);
      rig.want(0, 1, 2, 3);
      for (const { what, instance, modid, ips } of steps) {
        if (what === "put") await rig.commit(instance, put(modid, ...ips));
        else if (what === "remove") await rig.commit(instance, { action: "remove-route", modid, cmdid: 1 });
        else if (what === "sql")
          rig.store.oldPut(
            modid,
            1,
            ips.map((ip) => makeHost(ip, 80)),
          );
        else if (what === "poll") await rig.poll(instance);
        else {
          rig.agent.connect(instance);
          moves++;
        }
      }
      for (const instance of [0, 1, 0]) await rig.poll(instance);
      const seen = new Map<number, number>();
      const last = new Map<number, string>();
      for (const { modid, revision, hosts } of rig.agent.taken) {
        last.set(modid, hosts.map(({ ip }) => ip).join(" "));
        // "No such module" from one that never heard of it has no revision.
        if (revision === 0) continue;
        expect(revision).toBeGreaterThanOrEqual(seen.get(modid) ?? 0);
        seen.set(modid, revision);
      }
      for (const modid of [0, 1, 2, 3]) {
        expect(last.get(modid)).toBe(
          rig.store
            .hostsOf(modid, 1)
            .map(({ ip }) => ip)
            .join(" "),
        );
      }
      expect([rig.agent.source.ahead, rig.agent.source.keptModules]).toEqual([0, 0]);
      stale += rig.agent.source.counts.stale;
    }),
    { seed: 11, numRuns: propertyRuns(150) },
  );
  expect(Math.min(moves, stale)).toBeGreaterThan(propertyRuns(50));
});
