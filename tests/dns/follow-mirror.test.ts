// What a follower makes of its leader's answers: that it ends with what the leader has, whatever the leader's history was
// and however the answer was cut, and that what it serves never goes back.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ModuleMap } from "../../src/core/module-key.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import { LeaderMirror } from "../../src/dns/follow/leader-mirror.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { catchUp, contents, hosts, leaderOn, pageOf } from "./follow-rig.ts";

test("the first answer is everything the leader has, an empty leader's too; the next is what changed, removed routes and names included", async () => {
  const leader = await leaderOn();
  const mirror = new LeaderMirror();
  expect(await catchUp(mirror, leader)).toMatchObject({ outcome: "advanced", delta: { revision: 0, routes: [] } });
  expect(mirror.loaded).toBe(true);
  await leader.done("PUT", "/v1/routes/1/1", { name: "pay", policy: "random", hosts: hosts(1, 2) });
  const revision = await leader.done("PUT", "/v1/routes/1/2", { hosts: hosts(3) });
  expect(await catchUp(mirror, leader)).toMatchObject({ outcome: "advanced", delta: { revision }, compared: false });
  expect(await catchUp(mirror, leader)).toEqual({ outcome: "same" });
  await leader.done("DELETE", "/v1/routes/1/2");
  const named = await leader.done("PUT", "/v1/modules/1", { name: "payments" });
  const taken = await catchUp(mirror, leader);
  expect(taken).toMatchObject({
    outcome: "advanced",
    delta: {
      revision: named,
      routes: [{ modid: 1, cmdid: 2, hosts: [] }],
      names: [{ scope: "modid", id: 1, name: "payments" }],
    },
  });
  expect(contents(mirror.served())).toEqual(contents(leader.routes.replica.routes()));
});

test("an answer of 40 pages between which routes change is asked for again from the lowest revision, and ends with what the leader has then", async () => {
  const leader = await leaderOn();
  for (let cmdid = 0; cmdid < 40; cmdid++) await leader.done("PUT", `/v1/routes/1/${cmdid}`, { hosts: hosts(1) });
  const other = await leaderOn(leader.store);
  const mirror = new LeaderMirror();
  let pages = 0;
  for (; ; pages++) {
    // Every other page comes from the other instance, which remembers nothing of the first one's pages.
    const asked = pages % 2 === 0 ? leader : other;
    const taken = mirror.take(await pageOf(asked, mirror.request, 2));
    if (taken.outcome !== "more") break;
    if (pages < 30 && pages % 3 === 0) {
      await leader.done("PUT", `/v1/routes/1/${(pages * 7) % 40}`, { hosts: hosts(2, pages + 3) });
      await other.routes.poll();
    }
  }
  expect(pages).toBeGreaterThan(40);
  expect(mirror.revision).toBe(leader.routes.replica.revision);
  expect(contents(mirror.served())).toEqual(contents(leader.routes.replica.routes()));
  expect(await catchUp(mirror, leader)).toEqual({ outcome: "same" });
});

test("a leader that lags by one change is behind and nothing is taken from it; once it caught up it is followed", async () => {
  const leader = await leaderOn();
  const lagging = await leaderOn(leader.store);
  const mirror = new LeaderMirror();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  await catchUp(mirror, leader);
  const { revision } = lagging.routes.replica;
  expect(await catchUp(mirror, lagging)).toEqual({ outcome: "behind", revision });
  expect(contents(mirror.served())).toHaveLength(1);
  await lagging.routes.poll();
  expect(await catchUp(mirror, lagging)).toEqual({ outcome: "same" });
});

test("a leader restored from a backup and started anew is waited for while it is older; its next change brings all that differs, under revisions above all that were served", async () => {
  const first = await leaderOn();
  const { store } = first;
  await first.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  await first.done("PUT", "/v1/routes/1/2", { hosts: hosts(1) });
  await first.done("PUT", "/v1/modules/1", { name: "old name" });
  const restore = store.backup();
  await first.done("PUT", "/v1/routes/1/1", { hosts: hosts(2) });
  await first.done("DELETE", "/v1/routes/1/2");
  await first.done("PUT", "/v1/routes/1/3", { hosts: hosts(3) });
  await first.done("PUT", "/v1/modules/1", { name: "new name" });
  await first.done("PUT", "/v1/commands/9", { name: "named since" });
  const mirror = new LeaderMirror();
  await catchUp(mirror, first);
  const served = mirror.revision;

  restore();
  const again = await leaderOn(store);
  expect(again.routes.replica.revision).toBeLessThan(served);
  expect(await catchUp(mirror, again)).toMatchObject({ outcome: "behind" });
  expect(mirror.revision).toBe(served);
  // Any change will do.
  let revision = 0;
  for (let last = 1; revision <= served; last++) {
    revision = await again.done("PUT", "/v1/routes/5/5", { hosts: hosts(last) });
  }
  const taken = await catchUp(mirror, again);
  if (taken.outcome !== "advanced") throw new Error(taken.outcome);
  expect(taken.compared).toBe(true);
  expect(taken.delta.routes.map(({ modid, cmdid }) => `${modid}.${cmdid}`).sort()).toEqual([
    "1.1",
    "1.2",
    "1.3",
    "5.5",
  ]);
  expect(taken.delta.names).toMatchObject([
    { scope: "cmdid", id: 9, name: "" },
    { scope: "modid", id: 1, name: "old name" },
  ]);
  for (const record of [...taken.delta.routes, ...taken.delta.names]) {
    expect(record.revision).toBeGreaterThan(served);
    expect(record.revision).toBeLessThanOrEqual(revision);
  }
  expect(contents(mirror.served())).toEqual(contents(again.routes.replica.routes()));
  // Compared once, not with every answer.
  await again.done("PUT", "/v1/routes/1/1", { hosts: hosts(7) });
  expect(await catchUp(mirror, again)).toMatchObject({ outcome: "advanced", compared: false });
  expect(await catchUp(mirror, again)).toEqual({ outcome: "same" });
});

test("another history at the very revision that was served is refused with one comparison, and taken at the next change", async () => {
  const make = async (last: number) => {
    const leader = await leaderOn();
    await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(9) });
    await leader.done("PUT", `/v1/routes/1/${last}`, { hosts: hosts(last) });
    return leader;
  };
  let [one, two] = [await make(2), await make(3)];
  // Revisions are seconds of the clock: made within one second they are the same.
  while (one.routes.replica.revision !== two.routes.replica.revision) [one, two] = [await make(2), await make(3)];
  const mirror = new LeaderMirror();
  await catchUp(mirror, one);
  const { revision } = mirror;
  expect(await catchUp(mirror, two)).toEqual({ outcome: "behind", revision });
  // Known by its digest now: one empty answer, not everything again.
  expect(mirror.take(await pageOf(two, mirror.request))).toEqual({ outcome: "behind", revision });
  await two.done("PUT", "/v1/routes/1/4", { hosts: hosts(4) });
  expect(await catchUp(mirror, two)).toMatchObject({ outcome: "advanced", compared: true });
  expect(contents(mirror.served())).toEqual(contents(two.routes.replica.routes()));
});

test("a leader with other revisions of the same routes, as after a restore it lived through, is followed without a change", async () => {
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const restore = leader.store.backup();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(2) });
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  restore();
  await leader.routes.poll();
  await leader.done("PUT", "/v1/routes/2/2", { hosts: hosts(1) });
  const other = await leaderOn(leader.store);
  expect(other.routes.replica.revision).toBe(leader.routes.replica.revision);
  expect(other.routes.replica.digest).not.toBe(leader.routes.replica.digest);
  const mirror = new LeaderMirror();
  await catchUp(mirror, leader);
  const taken = await catchUp(mirror, other);
  expect(taken).toMatchObject({ outcome: "advanced", compared: true, delta: { routes: [], names: [] } });
  expect(await catchUp(mirror, other)).toEqual({ outcome: "same" });
});

test("a whole that does not come to its digest is asked for once more, and believed then, not asked for for ever", async () => {
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const mirror = new LeaderMirror();
  const wrong = async () => {
    const page = await pageOf(leader, mirror.request);
    return { ...page, digest: (page.digest + 1) >>> 0 };
  };
  expect(mirror.take(await wrong())).toEqual({ outcome: "more" });
  expect(mirror.request).toEqual({ after: 0 });
  expect(mirror.take(await wrong())).toMatchObject({ outcome: "advanced" });
  expect(mirror.take(await wrong())).toEqual({ outcome: "same" });
  expect(contents(mirror.served())).toHaveLength(1);
});

const HISTORIES = propertyRuns(300);

test(`${HISTORIES} random histories of changes, restores, restarts and cut-off pages: what is served never goes back, and after one more change it is what the leader has`, async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("put" as const), cmdid: fc.nat(4), last: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ do: fc.constant("remove" as const), cmdid: fc.nat(4) }),
    fc.record({ do: fc.constant("name" as const), cmdid: fc.nat(2), name: fc.constantFrom("", "a", "b") }),
    fc.record({ do: fc.constant("backup" as const) }),
    fc.record({ do: fc.constant("restore" as const) }),
    fc.record({ do: fc.constant("restart" as const) }),
    fc.record({ do: fc.constant("follow" as const), limit: fc.constantFrom(1, 3, 20_000), pages: fc.nat(6) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const store = new MemoryRouteStore();
      let leader = await leaderOn(store);
      let restore = store.backup();
      let mirror = new LeaderMirror();
      const reader = new RouteReplica();
      const told = new ModuleMap<RouteRecord>();
      const take = async (limit: number, most: number) => {
        for (let page = 0; page < most; page++) {
          const taken = mirror.take(await pageOf(leader, mirror.request, limit));
          if (taken.outcome === "advanced") {
            for (const route of taken.delta.routes) {
              const before = told.get(route.modid, route.cmdid);
              expect(before === undefined || before.revision < route.revision).toBe(true);
              told.set(route.modid, route.cmdid, route);
            }
            reader.apply(taken.delta);
          }
          if (taken.outcome !== "more") return;
        }
      };
      const put = (cmdid: number, last: number) => leader.send("PUT", `/v1/routes/1/${cmdid}`, { hosts: hosts(last) });
      for (const it of steps) {
        if (it.do === "put") await put(it.cmdid, it.last);
        else if (it.do === "remove") await leader.send("DELETE", `/v1/routes/1/${it.cmdid}`);
        else if (it.do === "name") await leader.send("PUT", `/v1/commands/${it.cmdid}`, { name: it.name });
        else if (it.do === "backup") restore = store.backup();
        else if (it.do === "restore") {
          restore();
          await leader.routes.poll();
        } else if (it.do === "restart") {
          leader = await leaderOn(store);
          if (mirror.loaded) {
            // The follower too, with its file.
            const kept = {
              revision: mirror.revision,
              routes: [...mirror.served()],
              names: [...mirror.servedNames()],
            };
            mirror = new LeaderMirror();
            mirror.restore(kept);
          }
        } else await take(it.limit, it.pages);
      }
      let last = 6;
      do {
        await put(7, last++ % 250);
      } while (leader.routes.replica.revision <= mirror.revision);
      // Pages under way end at the revision they began at; the next answer brings the rest.
      await take(2, 1000);
      await take(2, 1000);
      expect(mirror.revision).toBe(leader.routes.replica.revision);
      expect(contents(reader.routes())).toEqual(contents(leader.routes.replica.routes()));
      const named = (names: Iterable<{ scope: string; id: number; name: string }>) =>
        [...names].flatMap(({ scope, id, name }) => (name === "" ? [] : [`${scope} ${id} ${name}`])).sort();
      expect(named(reader.names())).toEqual(named(leader.routes.replica.names()));
    }),
    { numRuns: HISTORIES, seed: 20_261_120 },
  );
});
