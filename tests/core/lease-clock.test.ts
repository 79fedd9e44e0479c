import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  LEASE_TICK_MS,
  LeaseClock,
  type LeaseClockRow,
  MAX_STEP_MS,
  TAKE_OVER_MS,
} from "../../src/core/lease-clock.ts";
import { propertyRuns } from "../support/fuzz-random.ts";

/** The row in the database, and how long it was away for whom. */
class Row {
  clockMs = 0;
  tick = 0;
  get(): LeaseClockRow {
    return { clockMs: this.clockMs, tick: this.tick };
  }
}

/** One dns instance: looks and moves as LeaseTime does, in no time. */
class Instance {
  clock = new LeaseClock();
  moves = 0;
  constructor(
    readonly row: Row,
    readonly world: { nowMs: number },
    /** What its own monotonic clock shows at the world's start. */
    readonly skewMs = 0,
  ) {}
  get nowMs(): number {
    return this.world.nowMs + this.skewMs;
  }
  look(idle = false): void {
    const step = this.clock.observe(this.row.get(), this.nowMs, idle);
    if (step.kind === "wait") return;
    const made = step.tick === this.row.tick;
    if (made) {
      this.row.tick++;
      this.row.clockMs += step.byMs;
      this.moves++;
    }
    this.clock.moved(made);
  }
  restart(): void {
    this.clock = new LeaseClock();
  }
}

class World {
  nowMs = 0;
  readonly row = new Row();
  readonly instances: Instance[];
  constructor(count: number) {
    this.instances = Array.from({ length: count }, (_, i) => new Instance(this.row, this, i * 1_000_000));
  }
  /** Those of `running` look every 250 ms. */
  pass(ms: number, running: readonly Instance[] = this.instances): number {
    const before = this.row.clockMs;
    for (let passed = 0; passed < ms; passed += LEASE_TICK_MS) {
      this.nowMs += LEASE_TICK_MS;
      for (const instance of running) instance.look();
    }
    return this.row.clockMs - before;
  }
}

describe("one instance", () => {
  test("takes the clock 600 ms after it came, and then moves it on in real time", () => {
    const world = new World(1);
    expect(world.pass(750)).toBe(0);
    expect(world.pass(250)).toBe(0);
    expect(world.row.tick).toBe(1);
    expect(world.pass(10_000)).toBe(10_000);
    expect(world.instances[0]!.clock.isOwner).toBe(true);
  });

  test("restarted after an hour goes on where the clock stood", () => {
    const world = new World(1);
    world.pass(5_000);
    const stood = world.row.clockMs;
    world.nowMs += 3_600_000;
    world.instances[0]!.restart();
    world.pass(1_000);
    expect(world.row.clockMs).toBe(stood);
    expect(world.pass(1_000)).toBe(1_000);
  });

  test("stopped for 30 s counts one ordinary step", () => {
    const world = new World(1);
    world.pass(5_000);
    const stood = world.row.clockMs;
    world.nowMs += 30_000;
    world.instances[0]!.look();
    expect(world.row.clockMs - stood).toBeLessThanOrEqual(LEASE_TICK_MS);
  });

  test("that looks only every 1.5 s still lets leases age, slower than real time", () => {
    const world = new World(1);
    world.pass(5_000);
    const stood = world.row.clockMs;
    for (let i = 0; i < 10; i++) {
      world.nowMs += 1_500;
      world.instances[0]!.look();
    }
    expect(world.row.clockMs - stood).toBe(10 * LEASE_TICK_MS);
  });

  test("does not count the time in which the database did not answer", () => {
    const world = new World(1);
    world.pass(5_000);
    const stood = world.row.clockMs;
    for (let i = 0; i < 40; i++) {
      world.nowMs += LEASE_TICK_MS;
      world.instances[0]!.clock.lost();
    }
    world.instances[0]!.look();
    expect(world.row.clockMs - stood).toBeLessThanOrEqual(LEASE_TICK_MS);
    expect(world.pass(1_000)).toBe(1_000);
  });

  test("does not count an outage of half a second either, though it is shorter than a stall", () => {
    const world = new World(1);
    world.pass(5_000);
    const stood = world.row.clockMs;
    for (let i = 0; i < 2; i++) {
      world.nowMs += LEASE_TICK_MS;
      world.instances[0]!.clock.lost();
    }
    world.nowMs += LEASE_TICK_MS;
    world.instances[0]!.look();
    expect(world.row.clockMs - stood).toBe(LEASE_TICK_MS);
  });

  test("does not move it while there is no lease, and goes on at once when there is one", () => {
    const world = new World(1);
    world.pass(5_000);
    const { clockMs, tick } = world.row;
    for (let i = 0; i < 100; i++) {
      world.nowMs += LEASE_TICK_MS;
      world.instances[0]!.look(true);
    }
    expect([world.row.clockMs, world.row.tick]).toEqual([clockMs, tick]);
    expect(world.pass(250)).toBe(250);
  });

  test("keeps fractions of milliseconds from adding up to a slower clock", () => {
    const row = new Row();
    const world = { nowMs: 0 };
    const instance = new Instance(row, world);
    for (let i = 0; i < 10; i++) {
      world.nowMs += 250.7;
      instance.look();
    }
    const [clockMs, startMs] = [row.clockMs, world.nowMs];
    for (let i = 0; i < 1000; i++) {
      world.nowMs += 250.7;
      instance.look();
    }
    expect(Math.abs(row.clockMs - clockMs - (world.nowMs - startMs))).toBeLessThanOrEqual(2);
  });
});

describe("two instances", () => {
  test("one moves it, the other watches", () => {
    const world = new World(2);
    world.pass(10_000);
    expect(world.instances.map(({ clock }) => clock.isOwner).sort()).toEqual([false, true]);
    expect(Math.min(...world.instances.map(({ moves }) => moves))).toBe(0);
  });

  test("when the owner is killed the other has it 850 ms later at the latest, and what it watched meanwhile is counted", () => {
    const world = new World(2);
    world.pass(10_000);
    const [owner] = world.instances.filter(({ clock }) => clock.isOwner);
    const others = world.instances.filter((instance) => instance !== owner);
    const [killedAtMs, stood] = [world.nowMs, world.row.clockMs];
    while (world.row.clockMs === stood) world.pass(LEASE_TICK_MS, others);
    expect(world.nowMs - killedAtMs).toBeLessThanOrEqual(TAKE_OVER_MS + LEASE_TICK_MS);
    expect(world.row.clockMs - stood).toBe(world.nowMs - killedAtMs);
  });

  test("an owner that was stopped for 30 s and wakes up does not move it twice, and watches", () => {
    const world = new World(2);
    world.pass(10_000);
    const owner = world.instances.find(({ clock }) => clock.isOwner)!;
    const others = world.instances.filter((instance) => instance !== owner);
    const before = world.row.clockMs;
    world.pass(30_000, others);
    owner.look();
    expect(owner.clock.isOwner).toBe(false);
    expect(world.row.clockMs - before).toBe(30_000);
    expect(world.pass(10_000)).toBe(10_000);
  });

  test("an owner that read the row, was stopped, and then moves, finds that it is not its tick any more", () => {
    const world = new World(2);
    world.pass(10_000);
    const owner = world.instances.find(({ clock }) => clock.isOwner)!;
    world.nowMs += LEASE_TICK_MS;
    const step = owner.clock.observe(world.row.get(), owner.nowMs);
    world.pass(
      30_000,
      world.instances.filter((instance) => instance !== owner),
    );
    expect(step).toMatchObject({ kind: "advance" });
    expect(step.kind === "advance" && step.tick === world.row.tick).toBe(false);
    owner.clock.moved(false);
    expect(owner.clock.isOwner).toBe(false);
  });
});

describe("the reckoned clock", () => {
  test("runs on between moves, for the owner and for who watches, and never behind the row", () => {
    const world = new World(2);
    world.pass(10_000);
    for (const instance of world.instances) {
      for (const laterMs of [0, 100, 249]) {
        const reckoned = instance.clock.running(instance.nowMs + laterMs)!;
        expect(reckoned).toBeGreaterThanOrEqual(world.row.clockMs + laterMs);
        expect(reckoned).toBeLessThanOrEqual(world.row.clockMs + laterMs + LEASE_TICK_MS);
      }
    }
  });

  test("stops 1.1 s ahead of a clock that stands", () => {
    const world = new World(1);
    world.pass(10_000);
    expect(world.instances[0]!.clock.running(world.instances[0]!.nowMs + 60_000)).toBe(world.row.clockMs + 1_100);
    expect(new LeaseClock().running(5)).toBeUndefined();
  });

  test("what the clock stands at most goes on as long as it is not seen, and ends with the next look", () => {
    const world = new World(2);
    world.pass(10_000);
    const [one, two] = world.instances as [Instance, Instance];
    world.pass(5_000, [two]);
    expect(one.clock.latest(one.nowMs)).toBeGreaterThanOrEqual(world.row.clockMs);
    expect(one.clock.latest(one.nowMs)).toBeLessThanOrEqual(world.row.clockMs + TAKE_OVER_MS + 2 * LEASE_TICK_MS);
    world.pass(500);
    expect(one.clock.latest(one.nowMs)! - world.row.clockMs).toBeLessThanOrEqual(2 * LEASE_TICK_MS);
    expect(new LeaseClock().latest(5)).toBeUndefined();
  });
});

test("any number of instances that look, stall, lose the database, restart: the clock never goes back, never runs faster than real time, stands a step beyond what any of them thinks possible at most, and goes on while one looks steadily", () => {
  const action = fc.oneof(
    { weight: 10, arbitrary: fc.record({ kind: fc.constant("look" as const), who: fc.nat(2) }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 1, max: 400 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.integer({ min: 400, max: 40_000 }) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("lost" as const), who: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("restart" as const), who: fc.nat(2) }) },
    // Reads the row and moves it only later, after others did what they do.
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("begin" as const), who: fc.nat(2) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("finish" as const), who: fc.nat(2) }) },
    // The move was made and nobody was told.
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("unheard" as const), who: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("idle" as const), who: fc.nat(2) }) },
  );
  fc.assert(
    fc.property(fc.array(action, { minLength: 20, maxLength: 200 }), (actions) => {
      const world = new World(3);
      const begun = new Map<number, { tick: number; byMs: number; decidedAtMs: number }>();
      // When what the row shows was decided: what it may have counted lies before that.
      let decidedAtMs = 0;
      const apply = (step: { tick: number; byMs: number }, atMs: number): boolean => {
        if (step.tick !== world.row.tick) return false;
        expect(step.byMs).toBeGreaterThanOrEqual(0);
        expect(step.byMs).toBeLessThanOrEqual(MAX_STEP_MS);
        expect(step.byMs).toBeLessThanOrEqual(atMs - decidedAtMs);
        world.row.tick++;
        world.row.clockMs += step.byMs;
        decidedAtMs = atMs;
        return true;
      };
      for (const act of actions) {
        if (act.kind === "pass") {
          world.nowMs += act.ms;
          continue;
        }
        const instance = world.instances[act.who]!;
        const isBusy = begun.has(act.who);
        if (act.kind === "restart") {
          begun.delete(act.who);
          instance.restart();
        } else if (act.kind === "finish" || act.kind === "unheard" || (isBusy && act.kind === "lost")) {
          const step = begun.get(act.who);
          if (step === undefined) continue;
          begun.delete(act.who);
          if (act.kind === "finish") instance.clock.moved(apply(step, step.decidedAtMs));
          else {
            if (act.kind === "unheard") apply(step, step.decidedAtMs);
            instance.clock.lost();
          }
        } else if (act.kind === "lost") instance.clock.lost();
        else if (!isBusy) {
          const step = instance.clock.observe(world.row.get(), instance.nowMs, act.kind === "idle");
          if (step.kind === "advance") {
            if (act.kind === "begin") begun.set(act.who, { ...step, decidedAtMs: world.nowMs });
            else instance.clock.moved(apply(step, world.nowMs));
          }
        }
        expect(instance.clock.running(instance.nowMs) ?? world.row.clockMs).toBeGreaterThanOrEqual(0);
        for (const { clock, nowMs } of world.instances) {
          const most = clock.latest(nowMs) ?? Number.POSITIVE_INFINITY;
          if (most + MAX_STEP_MS < world.row.clockMs) throw new Error(`${world.row.clockMs}, and ${most} at most`);
        }
      }
      expect(world.row.clockMs).toBeLessThanOrEqual(world.nowMs);
      const [steady] = world.instances;
      world.pass(2_000, [steady!]);
      expect(world.pass(10_000, [steady!])).toBe(10_000);
    }),
    { seed: 20261120, numRuns: propertyRuns(2_000) },
  );
});
