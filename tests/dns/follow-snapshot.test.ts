// A follower's routes on disk: they come back as they were, damage is noticed wherever it is, and a disk that takes
// nothing costs the file alone.
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import { FollowerSnapshot } from "../../src/dns/follow/follower-snapshot.ts";
import { SnapshotKeeper } from "../../src/dns/follow/snapshot-keeper.ts";
import type { RouteDelta } from "../../src/store/route-store.ts";
import { eventually } from "../support/eventually.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { host } from "./follow-rig.ts";

const folder = mkdtempSync(join(tmpdir(), "lars-follow-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function delta(modules: number): RouteDelta {
  const routes = Array.from(
    { length: modules },
    (_, i): RouteRecord => ({
      modid: -1 - i,
      cmdid: i,
      name: i % 3 === 0 ? `name ${i}\u2028` : "",
      policy: NO_CHOICE,
      revision: i + 1,
      hosts: i % 5 === 0 ? [] : [host(1, { leased: true }), host(2, { zone: "z", state: "down" })],
      ...(i % 7 === 0 ? { vanishedFrom: 3 } : {}),
    }),
  );
  return { revision: modules, routes, names: [{ scope: "modid", id: 5, name: "five", revision: 2 }] };
}

test.each([0, 1, 1500])(
  "%d modules come back as they were saved, removed ones included, with the time of the save",
  async (modules) => {
    const snapshot = new FollowerSnapshot(join(folder, `a-${modules}`, "follower.routes"));
    expect(await snapshot.load()).toEqual({ outcome: "missing" });
    await snapshot.save(delta(modules), 1234);
    expect(await snapshot.load()).toEqual({ outcome: "loaded", delta: delta(modules), savedAtMs: 1234 });
    expect(readdirSync(join(folder, `a-${modules}`))).toEqual(["follower.routes"]);
  },
);

test("a file with any of 200 bytes changed, or cut off anywhere, is put aside and nothing of it is used", async () => {
  const path = join(folder, "damaged.routes");
  const snapshot = new FollowerSnapshot(path);
  await snapshot.save(delta(40), 1);
  const good = readFileSync(path);
  const step = Math.floor(good.length / 200);
  for (let at = 0; at < good.length; at += step) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1;
    writeFileSync(path, bad);
    expect([at, (await snapshot.load()).outcome]).toEqual([at, "bad"]);
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, good.subarray(0, at));
    expect([at, (await snapshot.load()).outcome]).toEqual([at, "bad"]);
  }
  expect(existsSync(`${path}.bad`)).toBe(true);
  writeFileSync(path, good);
  expect((await snapshot.load()).outcome).toBe("loaded");
});

interface Rig {
  readonly clock: ManualClock;
  readonly log: RecordingLog;
  readonly keeper: SnapshotKeeper;
}

function keeperOf(save: (delta: RouteDelta) => Promise<void>): Rig {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const snapshot = { path: "", save, load: async () => ({ outcome: "missing" }) } as unknown as FollowerSnapshot;
  const keeper = new SnapshotKeeper({
    snapshot,
    routes: () => delta(1),
    intervalMs: () => 1000,
    clock,
    setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
    log,
  });
  return { clock, log, keeper };
}

test("100 changes within a second are one write, and one that takes 2 s leaves 40 s for everything else", async () => {
  let saves = 0;
  const rig = keeperOf(async () => {
    saves++;
    rig.clock.advance(2000);
  });
  for (let i = 0; i < 100; i++) rig.keeper.changed();
  await rig.clock.advanceAsync(1000);
  expect(saves).toBe(1);
  rig.keeper.changed();
  await rig.clock.advanceAsync(39_999);
  expect(saves).toBe(1);
  await rig.clock.advanceAsync(1);
  expect(saves).toBe(2);
  await rig.clock.advanceAsync(100_000);
  expect(saves).toBe(2);
});

test("a disk that is full for 30 s is said once and counted 30 times; the first write after it has everything", async () => {
  let full = true;
  let saves = 0;
  const rig = keeperOf(async () => {
    if (full) throw new Error("ENOSPC: no space left on device");
    saves++;
  });
  rig.keeper.changed();
  for (let second = 0; second < 30; second++) await rig.clock.advanceAsync(1000);
  expect(rig.keeper.counts).toEqual({ saves: 0, failures: 30 });
  expect(rig.log.texts).toEqual(["error the routes could not be saved; serving goes on, tried again"]);
  full = false;
  await rig.clock.advanceAsync(1000);
  expect(saves).toBe(1);
  await rig.keeper.stop();
  expect(saves).toBe(1);
});

test("stopping writes what is not written yet, and plans nothing more", async () => {
  let saves = 0;
  const rig = keeperOf(async () => {
    saves++;
  });
  rig.keeper.changed();
  await rig.keeper.stop();
  expect([saves, rig.clock.pendingTimers]).toEqual([1, 0]);
  await settle();
  await eventually(() => expect(rig.keeper.counts).toEqual({ saves: 1, failures: 0 }));
});

test("a file that cannot be written leaves the last good one and nothing beside it", async () => {
  const path = join(folder, "kept", "follower.routes");
  const snapshot = new FollowerSnapshot(path);
  await snapshot.save(delta(2), 1);
  const broken = {
    ...delta(2),
    get routes(): readonly RouteRecord[] {
      // After the head and the names were written.
      throw new Error("ENOSPC");
    },
  };
  await expect(snapshot.save(broken, 2)).rejects.toThrow("ENOSPC");
  expect(readdirSync(join(folder, "kept"))).toEqual(["follower.routes"]);
  expect(await snapshot.load()).toMatchObject({ outcome: "loaded", savedAtMs: 1 });
});
