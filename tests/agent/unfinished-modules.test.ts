// Tables of `consistent_hash` in an agent: two agents (or a shard and the main thread) name the same host for a key, from
// the first pick on, and 200 ms after a change whether anybody picked or not.
import { describe, expect, spyOn, test } from "bun:test";
import { finalMix } from "../../src/core/hash.ts";
import { MaglevFill } from "../../src/core/maglev-fill.ts";
import type { PolicyChoice } from "../../src/core/policies.ts";
import { LendingRig } from "./lending-rig.ts";
import { ShardRig } from "./shard-rig.ts";

const STICKY: PolicyChoice = { name: "consistent_hash", parameters: { bounded_load: 10, slow_start: 0 } };
const KEYS = Array.from({ length: 1000 }, (_, i) => finalMix(i + 1));
const HOSTS = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const OTHERS = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11];

const makeRig = (): ShardRig => new ShardRig().choose(STICKY.name, STICKY.parameters);

/** Whom a shard's module names for each key. */
const ownersAt = (rig: ShardRig, modid = 1): (number | string)[] =>
  KEYS.map((key) => {
    const picked = rig.modules.pick(modid, 1, key, rig.nowMs);
    if (!("port" in picked)) return picked.kind;
    rig.modules.report(modid, 1, picked.ip, picked.port, true, 0, rig.nowMs);
    return picked.ip;
  });

describe("keys have the same host at two agents", () => {
  test("from the first pick on", () => {
    const owners = ownersAt(makeRig().route(1, 1, 10, ...HOSTS));
    expect(new Set(owners)).toEqual(new Set(HOSTS));
    const other = makeRig().route(1, 1, 9, 77);
    other.route(1, 1, 10, ...HOSTS.toReversed());
    expect(ownersAt(other)).toEqual(owners);
  });

  test("40 ticks after a change, 200 ms, though nobody picked", () => {
    const rig = makeRig().route(1, 1, 10, ...HOSTS);
    const fresh = ownersAt(makeRig().route(1, 1, 11, ...OTHERS));
    ownersAt(rig);
    rig.route(1, 1, 11, ...OTHERS);
    expect(ownersAt(rig)).not.toEqual(fresh);
    expect(rig.modules.isUnfinished).toBe(true);
    rig.ticks(40);
    expect(ownersAt(rig)).toEqual(fresh);
    expect(rig.modules.isUnfinished).toBe(false);
  });

  test("40 turns of the main thread after a change of a module that is lent to it", () => {
    const deferred: (() => void)[] = [];
    const rig = new LendingRig((run) => void deferred.push(run));
    rig.policy = STICKY;
    rig.route(...HOSTS);
    rig.lend();
    expect(rig.isHeld).toBe(true);
    const owners = () =>
      KEYS.map((key) => {
        const ip = rig.pick(key) as number;
        rig.report(ip);
        return ip;
      });
    expect(owners()).toEqual(ownersAt(makeRig().route(1, 1, 10, ...HOSTS)) as number[]);
    rig.route(...OTHERS);
    const stretches = spyOn(MaglevFill.prototype, "goOn");
    let turns = 0;
    for (; deferred.length > 0; turns++) {
      for (const run of deferred.splice(0)) run();
      expect(stretches.mock.calls.length).toBeLessThanOrEqual(turns + 1);
    }
    stretches.mockRestore();
    expect(turns).toBeGreaterThan(10);
    expect(turns).toBeLessThanOrEqual(40);
    expect(owners()).toEqual(ownersAt(makeRig().route(1, 1, 11, ...OTHERS)) as number[]);
  });
});

test("a tick takes one stretch of 30,000 units of one module, however many have changed; each is whole in its turn", () => {
  const rig = makeRig();
  for (const modid of [1, 2, 3]) ownersAt(rig.route(modid, 1, 10, ...HOSTS), modid);
  for (const modid of [1, 2, 3]) rig.route(modid, 1, 11, ...OTHERS);
  const stretches = spyOn(MaglevFill.prototype, "goOn");
  let ticks = 0;
  for (; rig.modules.isUnfinished; ticks++) {
    const before = stretches.mock.calls.length;
    rig.ticks(1);
    expect(stretches.mock.calls.length - before).toBeLessThanOrEqual(1);
    expect(stretches.mock.calls.at(-1)?.[0] ?? 0).toBeLessThanOrEqual(30_000);
    if (ticks > 3 * 40) throw new Error(`not whole after ${ticks} ticks`);
  }
  stretches.mockRestore();
  expect(ticks).toBeGreaterThan(3 * 10);
  expect(ownersAt(rig, 1)).toEqual(ownersAt(rig, 3));
});

test("a module that is dropped, without hosts or of another policy meanwhile holds nobody up", () => {
  for (const end of [
    (rig: ShardRig) => rig.modules.drop(1, 1),
    (rig: ShardRig) => rig.route(1, 1, 12),
    (rig: ShardRig) => rig.choose("round_robin").route(1, 1, 12, ...OTHERS),
    (rig: ShardRig) => rig.choose("lars").route(1, 1, 12, ...OTHERS),
  ]) {
    const rig = makeRig();
    ownersAt(rig.route(1, 1, 10, ...HOSTS));
    rig.route(1, 1, 11, ...OTHERS);
    expect(rig.modules.isUnfinished).toBe(true);
    end(rig);
    rig.ticks(1);
    expect(rig.modules.isUnfinished).toBe(false);
  }
});

test("modules nobody has picked from are made nothing for: they have a table when it is asked for", () => {
  const stretches = spyOn(MaglevFill.prototype, "goOn");
  const rig = makeRig();
  for (let modid = 1; modid <= 50; modid++) {
    rig.route(modid, 1, 10, ...HOSTS);
    rig.route(modid, 1, 11, ...OTHERS);
  }
  expect(rig.modules.isUnfinished).toBe(false);
  rig.ticks(5);
  expect(stretches).not.toHaveBeenCalled();
  stretches.mockRestore();
});
