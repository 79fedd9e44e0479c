// Many hosts gone at once by plain SQL, as the dns service sees it: the change stands, the routes that shrank are marked.
import { describe, expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import type { RouteChange } from "../../src/core/route-change.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

const ANN = { who: "ann", requestId: "r" };
const hosts = (count: number): Host[] => Array.from({ length: count }, (_, i) => makeHost(i + 1, 80));

class Rig {
  readonly log = new RecordingLog();
  readonly service: RouteService;
  maxVanishShare = 0.5;

  constructor(
    readonly store = new MemoryRouteStore(),
    readonly clock = new ManualClock(),
  ) {
    this.service = new RouteService({
      store,
      replica: new RouteReplica(),
      clock,
      log: this.log,
      fullReloadIntervalMs: () => 10_000,
      maxVanishShare: () => this.maxVanishShare,
    });
  }
  async commit(change: RouteChange): Promise<void> {
    expect(await this.service.commit(change, ANN)).toMatchObject({ ok: true });
  }
  async put(modid: number, count: number): Promise<void> {
    await this.commit({ action: "put-route", modid, cmdid: 1, hosts: hosts(count) });
  }
  /** By plain SQL. */
  async left(counts: Record<number, number>): Promise<this> {
    for (const [modid, count] of Object.entries(counts)) this.store.oldPut(Number(modid), 1, hosts(count));
    await this.service.poll();
    return this;
  }
  /** "6 of 10", "6": hosts, and of how many when it is marked. */
  route(modid: number): string {
    const route = this.service.replica.route(modid, 1);
    if (route === undefined) return "none";
    return `${route.hosts.length}${route.vanishedFrom === undefined ? "" : ` of ${route.vanishedFrom}`}`;
  }
}

/** Modules 1, 2, … with so many hosts. */
async function rigWith(...counts: number[]): Promise<Rig> {
  const rig = new Rig();
  await rig.service.poll();
  for (const [i, count] of counts.entries()) await rig.put(i + 1, count);
  return rig;
}

describe("routes that shrink together", () => {
  const rows: [title: string, share: number, counts: Record<number, number>, routes: string[]][] = [
    [
      "by more than half of all hosts are marked, and only those that shrank",
      0.5,
      { 1: 0, 2: 3 },
      ["0 of 10", "3 of 10", "10"],
    ],
    ["by exactly half are not", 0.5, { 1: 0, 2: 5 }, ["0", "5", "10"]],
    ["by more than the share that is configured are", 0.2, { 1: 0 }, ["0 of 10", "10", "10"]],
    ["by fewer than 10 hosts are not, whatever the share", 0, { 1: 1 }, ["1", "10", "10"]],
    [
      "while a route grows are marked all the same: what grew is no stand-in",
      0.3,
      { 1: 0, 3: 40 },
      ["0 of 10", "10", "40"],
    ],
    ["are never marked at a share of 1", 1, { 1: 0, 2: 0, 3: 0 }, ["0", "0", "0"]],
  ];
  test.each(rows)("%s", async (_title, share, counts, routes) => {
    const rig = await rigWith(10, 10, 10);
    rig.maxVanishShare = share;
    await rig.left(counts);
    expect([1, 2, 3].map((modid) => rig.route(modid))).toEqual(routes);
    expect(rig.service.replica.vanishedCount).toBe(routes.filter((text) => text.includes("of")).length);
  });

  test("whose hosts were all replaced by as many others are not marked", async () => {
    const rig = await rigWith(20);
    rig.store.oldPut(
      1,
      1,
      Array.from({ length: 20 }, (_, i) => makeHost(1000 + i, 80)),
    );
    await rig.service.poll();
    expect(rig.route(1)).toBe("20");
  });

  test("are said once as an error, with how many and the two calls that settle it", async () => {
    const rig = await (await rigWith(10, 10)).left({ 1: 0, 2: 0 });
    await rig.service.poll();
    const errors = rig.log.lines.filter(({ level }) => level === "error");
    expect(errors).toHaveLength(1);
    const revision = rig.service.replica.revision;
    expect(errors[0]!.message).toContain(`POST /v1/changes/${revision}/revert`);
    expect(errors[0]!.message).toContain(`POST /v1/changes/${revision}/confirm`);
    expect(errors[0]!.fields).toMatchObject({ revision, modules: 2, hosts: 20, of: 20 });
    expect(rig.service.counts.vanishings).toBe(1);
  });

  test("by a change over the API are never marked: it is somebody's word", async () => {
    const rig = await rigWith(10, 10);
    await rig.commit({ action: "import", routes: [], names: [], replace: true });
    expect([rig.route(1), rig.route(2)]).toEqual(["0", "0"]);
  });

  test("are marked for every instance, as one change, and for one that starts later", async () => {
    const rig = await rigWith(10, 10);
    const other = new Rig(rig.store, rig.clock);
    await other.service.poll();
    await rig.left({ 1: 0, 2: 0 });
    await other.service.poll();
    const later = new Rig(rig.store, rig.clock);
    await later.service.poll();
    expect([other.route(1), later.route(1), later.service.replica.vanishedCount]).toEqual(["0 of 10", "0 of 10", 2]);
    expect(rig.store.committed.filter((action) => action === "adopt")).toHaveLength(1);
  });

  test("are marked also when a write to one of them is the first to notice", async () => {
    const rig = await rigWith(10, 10, 10);
    for (const modid of [1, 2, 3]) rig.store.oldPut(modid, 1, [], false);
    await rig.commit({ action: "add-host", modid: 1, cmdid: 1, host: makeHost(99, 80) });
    // Whoever writes to it has seen it; the others wait for a word.
    expect([1, 2, 3].map((modid) => rig.route(modid))).toEqual(["1", "0 of 10", "0 of 10"]);
  });
});

describe("a mark", () => {
  async function marked(): Promise<Rig> {
    return await (await rigWith(10, 10)).left({ 1: 0, 2: 0 });
  }

  test("stays while the rows come back one by one, and goes when there are as many as before", async () => {
    const rig = await marked();
    await rig.left({ 1: 4 });
    await rig.left({ 1: 9 });
    expect([rig.route(1), rig.route(2)]).toEqual(["9 of 10", "0 of 10"]);
    await rig.left({ 1: 10, 2: 12 });
    expect([rig.route(1), rig.route(2), rig.service.replica.vanishedCount]).toEqual(["10", "12", 0]);
  });

  test("goes with a change of the route over the API, and only that route's", async () => {
    const rig = await marked();
    await rig.put(1, 2);
    expect([rig.route(1), rig.route(2)]).toEqual(["2", "0 of 10"]);
  });

  test("goes with an import that names the route, or replaces all, though its hosts are what they are", async () => {
    const rig = await marked();
    await rig.commit({ action: "import", routes: [{ modid: 1, cmdid: 1, hosts: [] }], names: [], replace: false });
    expect([rig.route(1), rig.route(2)]).toEqual(["0", "0 of 10"]);
    await rig.commit({ action: "import", routes: [], names: [], replace: true });
    expect(rig.route(2)).toBe("0");
  });

  test("is confirmed by the change it came with, at a new revision for each of its routes", async () => {
    const rig = await marked();
    const { revision } = rig.service.replica;
    const routes = [1, 2].map((modid) => ({ modid, cmdid: 1 }));
    await rig.commit({ action: "confirm", of: revision, routes });
    expect([rig.route(1), rig.route(2)]).toEqual(["0", "0"]);
    expect(rig.service.replica.route(1, 1)?.revision).toBe(revision + 1);
  });
});

describe("a database put back from a backup", () => {
  test("of a time when most hosts were not there marks what vanishes with it", async () => {
    const rig = await rigWith(10);
    const restore = rig.store.backup();
    for (const modid of [2, 3, 4]) await rig.put(modid, 10);
    restore();
    await rig.service.poll();
    expect([1, 2, 3, 4].map((modid) => rig.route(modid))).toEqual(["10", "0 of 10", "0 of 10", "0 of 10"]);
    expect(rig.log.lines.filter(({ level }) => level === "error")).toHaveLength(1);
    // What was vouched for by the backup's database stands there too: another instance sees the marks.
    const later = new Rig(rig.store, rig.clock);
    await later.service.poll();
    expect(later.route(2)).toBe("0 of 10");
  });
});
