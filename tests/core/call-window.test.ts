import { describe, expect, test } from "bun:test";
import { CallWindow } from "../../src/core/call-window.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";

const BUCKETS = 6;

/** Every call kept with its time; what counts is looked up each time. */
class Model {
  calls: { bucket: number; succeeded: boolean; host: number }[] = [];
  newest = 0;

  constructor(readonly bucketMs: number) {}

  advance(nowMs: number): void {
    this.newest = Math.max(this.newest, Math.floor(nowMs / this.bucketMs));
  }

  count(succeeded: boolean, host?: number): number {
    return this.calls.filter(
      (call) =>
        call.succeeded === succeeded &&
        call.bucket > this.newest - BUCKETS &&
        (host === undefined || call.host === host),
    ).length;
  }
}

describe("a window of 6 s", () => {
  test("a call counts for the second it happened in and the five after it", () => {
    const window = new CallWindow(6000);
    window.add(true, 100_000);
    window.add(false, 100_999);
    window.advance(105_999);
    expect([window.succ, window.err, window.calls]).toEqual([1, 1, 2]);
    window.advance(106_000);
    expect([window.succ, window.err, window.calls]).toEqual([0, 0, 0]);
  });

  test("seconds are forgotten one by one", () => {
    const window = new CallWindow(6000);
    for (let second = 0; second < 6; second++) window.add(true, 60_000 + second * 1000);
    const left = [66_000, 67_500, 68_000, 71_999].map((nowMs) => {
      window.advance(nowMs);
      return window.succ;
    });
    expect(left).toEqual([5, 4, 3, 0]);
  });

  test("a pause of any length leaves nothing behind", () => {
    for (const pauseMs of [6000, 7000, 11_000, 12_345, 1e9]) {
      const window = new CallWindow(6000);
      for (let second = 0; second < 6; second++) window.add(false, second * 1000);
      window.add(true, 5000 + pauseMs);
      expect([pauseMs, window.succ, window.err]).toEqual([pauseMs, 1, 0]);
    }
  });

  test("a clock that steps back loses no call and brings none back", () => {
    const window = new CallWindow(6000);
    window.add(true, 100_000);
    window.add(false, 40_000);
    window.advance(0);
    expect([window.succ, window.err]).toEqual([1, 1]);
    window.advance(106_000);
    expect(window.calls).toBe(0);
  });

  test("one host's calls are taken out of all, although its last one is long ago", () => {
    const all = new CallWindow(6000);
    const host = new CallWindow(6000);
    all.add(true, 100_000);
    host.addBeside(all, true);
    all.add(false, 105_000);
    all.remove(host, 105_000);
    expect([all.succ, all.err]).toEqual([0, 1]);
    all.remove(host, 107_000);
    expect([all.succ, all.err]).toEqual([0, 1]);
    all.advance(111_000);
    expect(all.calls).toBe(0);
  });

  test("a host's calls are taken out of the same seconds after the clock stepped back", () => {
    const all = new CallWindow(6000);
    const host = new CallWindow(6000);
    all.add(true, 109_000);
    all.add(false, 100_000);
    host.addBeside(all, false);
    all.remove(host, 100_000);
    // Were it taken out of another second, one of the two would turn up when that second is forgotten.
    for (const nowMs of [109_000, 110_000, 112_000, 114_000]) {
      all.advance(nowMs);
      expect([all.succ, all.err]).toEqual([1, 0]);
    }
    all.advance(115_000);
    expect([all.succ, all.err]).toEqual([0, 0]);
  });

  test("another length begins empty and counts in its own steps", () => {
    const window = new CallWindow(6000);
    window.add(true, 100_000);
    window.resize(60_000);
    expect(window.calls).toBe(0);
    window.add(true, 100_000);
    window.advance(149_999);
    expect(window.succ).toBe(1);
    window.advance(160_000);
    expect(window.succ).toBe(0);
  });
});

const SEED = fuzzSeed();
const HISTORIES = Math.ceil(fuzzCount(30_000) / 300);

test(`${HISTORIES} random histories of three hosts and their sum go as a list of all calls says (seed ${SEED})`, () => {
  for (let history = 0; history < HISTORIES; history++) {
    const random = makeFuzzRandom(SEED + history);
    const windowMs = random.pick([1000, 6000, 30_000, 7777]);
    const all = new CallWindow(windowMs);
    const hosts = [0, 1, 2].map(() => new CallWindow(windowMs));
    const model = new Model(windowMs / BUCKETS);
    let nowMs = random.int(0, 1e6);
    for (let step = 0; step < 300; step++) {
      nowMs = Math.max(0, nowMs + random.pick([0, 0, 1, 50, windowMs / 7, windowMs / 7, windowMs * 2, -windowMs / 3]));
      const host = random.int(0, 2);
      if (random.float() < 0.05) {
        all.remove(hosts[host]!, nowMs);
        hosts[host]!.clear();
        model.advance(nowMs);
        model.calls = model.calls.filter((call) => call.host !== host);
      } else {
        const succeeded = random.float() < 0.7;
        all.add(succeeded, nowMs);
        hosts[host]!.addBeside(all, succeeded);
        model.advance(nowMs);
        model.calls.push({ bucket: model.newest, succeeded, host });
        const got = [all.succ, all.err, hosts[host]!.succ, hosts[host]!.err];
        const wanted = [model.count(true), model.count(false), model.count(true, host), model.count(false, host)];
        if (got.join() !== wanted.join()) {
          expect(`seed ${SEED + history}, step ${step}: ${got}`).toBe(
            `seed ${SEED + history}, step ${step}: ${wanted}`,
          );
        }
      }
    }
  }
});
