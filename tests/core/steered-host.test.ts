// What is in flight at a host, and for how long: leases in virtual time, and a fuzz against a plain list of times.
import { describe, expect, test } from "bun:test";
import { MAX_LEASES, type PickContext, SteeredHost } from "../../src/core/steered-host.ts";
import { fuzzCount, fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";

const START_MS = 1_000_000;
const makeSteered = (): SteeredHost => new SteeredHost(1, 80, 100, "", 30_000, START_MS);

/** The longest lease is short, so that it is the one that counts. */
const contextAt = (nowMs: number, maxLeaseMs = 200): PickContext => ({
  nowMs,
  random: () => 0.5,
  keyHash: 0,
  inFlight: 0,
  maxLeaseMs,
  lossy: false,
});

describe("leases", () => {
  test("a report takes the oldest pick away and says how old it is, whichever call it was for", () => {
    const host = makeSteered();
    for (const atMs of [0, 10, 30]) host.take(START_MS + atMs);
    expect(host.inFlight).toBe(3);
    expect([host.release(START_MS + 35), host.release(START_MS + 40), host.release(START_MS + 41)]).toEqual([
      35, 30, 11,
    ]);
    expect(host.inFlight).toBe(0);
  });

  test("a report without a pick (doubled, or from before a restart) is told by -1 and counts nothing below 0", () => {
    const host = makeSteered();
    expect(host.release(START_MS)).toBe(-1);
    host.take(START_MS);
    expect([host.release(START_MS + 5), host.release(START_MS + 5)]).toEqual([5, -1]);
    expect(host.inFlight).toBe(0);
  });

  test("a pick is given up when it is older than the longest lease, not before", () => {
    const host = makeSteered();
    host.take(START_MS);
    host.take(START_MS + 100);
    const context = contextAt(START_MS + 200);
    context.inFlight = 2;
    host.settle(context);
    expect([host.inFlight, context.inFlight]).toEqual([2, 2]);
    context.nowMs = START_MS + 201;
    host.settle(context);
    expect([host.inFlight, context.inFlight]).toEqual([1, 1]);
    context.nowMs = START_MS + 301;
    host.settle(context);
    expect([host.inFlight, context.inFlight]).toEqual([0, 0]);
  });

  test("a clock that steps back makes no age negative, and nothing is given up early or for ever", () => {
    const host = makeSteered();
    host.take(START_MS);
    host.take(START_MS - 5000);
    host.settle(contextAt(START_MS - 5000));
    expect(host.inFlight).toBe(2);
    expect(host.release(START_MS - 5000)).toBe(0);
    host.settle(contextAt(START_MS));
    expect(host.inFlight).toBe(0);
  });

  test("more than 65,536 in flight at one host are not counted, and are not missed when they are reported", () => {
    const host = makeSteered();
    for (let i = 0; i < MAX_LEASES + 10; i++) host.take(START_MS + i);
    expect(host.inFlight).toBe(MAX_LEASES);
    expect(host.take(START_MS)).toBe(0);
    for (let i = 0; i < MAX_LEASES; i++) expect(host.release(START_MS + MAX_LEASES)).toBe(MAX_LEASES - i);
    expect(host.release(START_MS)).toBe(-1);
  });

  test("picks that are forgotten are out of flight at once, and new ones count afresh", () => {
    const host = makeSteered();
    for (let i = 0; i < 20; i++) host.take(START_MS);
    host.forgetPicks();
    expect([host.inFlight, host.oldestMs(START_MS + 9)]).toEqual([0, 0]);
    host.take(START_MS + 10);
    expect(host.release(START_MS + 12)).toBe(2);
  });
});

test("the share ramps from a tenth to the whole in proportion to time, also when the clock steps back", () => {
  const host = makeSteered();
  host.rampFromMs = START_MS;
  host.rampToMs = START_MS + 1000;
  const ramps = [-500, 0, 500, 999.9, 1000, 5000].map((ms) => Number(host.ramp(START_MS + ms).toFixed(2)));
  expect(ramps).toEqual([0.1, 0.1, 0.55, 1, 1, 1]);
});

const SEED = fuzzSeed();
const HISTORIES = Math.ceil(fuzzCount(60_000) / 600);

test(`${HISTORIES} random histories of picks, reports and lost reports go as a list of times says (seed ${SEED})`, () => {
  for (let history = 0; history < HISTORIES; history++) {
    const random = makeFuzzRandom(SEED + history);
    const host = makeSteered();
    const leaseMs = random.int(1, 250);
    const context = contextAt(START_MS, leaseMs);
    let model: number[] = [];
    // Bursts fill the ring beyond its first size; droughts empty it.
    let picksShare = 0.5;
    for (let step = 0; step < 600; step++) {
      if (step % 60 === 0) picksShare = random.float();
      context.nowMs += random.pick([0, 0, 1, 5, leaseMs / 2, -3]);
      const { nowMs } = context;
      const dice = random.float();
      const at = `seed ${SEED + history}, step ${step}`;
      if (dice < 0.1) {
        host.settle(context);
        // Oldest first, up to the first that is young enough: that is what a queue can do when the clock stepped back.
        const kept = model.findIndex((pickedMs) => nowMs - pickedMs <= leaseMs);
        model = kept < 0 ? [] : model.slice(kept);
      } else if (dice < 0.1 + 0.9 * picksShare) {
        context.inFlight += host.take(nowMs);
        model.push(nowMs);
      } else {
        const age = host.release(nowMs);
        if (age >= 0) context.inFlight--;
        const pickedMs = model.shift();
        const wanted = pickedMs === undefined ? -1 : Math.max(0, nowMs - pickedMs);
        if (age !== wanted) expect(`${at}: age ${age}`).toBe(`${at}: age ${wanted}`);
      }
      const oldest = model.length === 0 ? 0 : nowMs - model[0]!;
      const got = `${at}: ${host.inFlight} ${context.inFlight} ${host.oldestMs(nowMs)}`;
      const wanted = `${at}: ${model.length} ${model.length} ${oldest}`;
      if (got !== wanted) expect(got).toBe(wanted);
    }
  }
});
