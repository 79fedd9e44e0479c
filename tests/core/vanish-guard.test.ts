import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type GuardedRoute, VANISH_WINDOW_MS, VanishGuard } from "../../src/core/vanish-guard.ts";

interface Told {
  readonly revision?: number;
  readonly meant?: boolean;
}

class Scene {
  nowMs = 0;
  maxShare = 0.5;
  readonly guard = new VanishGuard<GuardedRoute>();

  /** Holds so many hosts of the modules 1, 2, …, at revision 1. */
  constructor(...hosts: number[]) {
    hosts.forEach((count, i) => {
      this.guard.hold(route(i + 1, count, 1));
    });
  }
  /** "believed", "kept", or "kept, back: 1 2" with the modules that came back. */
  says(modid: number, hosts: number, { revision = 0, meant = false }: Told = {}): string {
    const judgement = this.guard.judge(route(modid, hosts, revision), meant, this.maxShare, this.nowMs);
    if (judgement.believed) return "believed";
    const back = judgement.takenBack.map((each) => each.modid);
    return back.length === 0 ? "kept" : `kept, back: ${back.join(" ")}`;
  }
  held(): number[] {
    const held: number[] = [];
    for (let modid = 1; modid <= 12; modid++) held.push(this.guard.held(modid, 1)?.hosts.length ?? 0);
    return held.slice(0, held.findLastIndex((count) => count > 0) + 1);
  }
}

function route(modid: number, hosts: number, revision: number): GuardedRoute {
  return { modid, cmdid: 1, revision, hosts: new Array(hosts).fill(0) };
}

describe("one route", () => {
  const rows: [title: string, held: number, told: number, how: Told, verdict: string][] = [
    ["that is meant to be empty is believed", 9, 0, { revision: 5, meant: true }, "believed"],
    ["that is empty, from a server that gives revisions, is not without its word", 9, 0, { revision: 5 }, "kept"],
    ["that is empty and the only one, from a C++ server, is not", 9, 0, {}, "kept"],
    ["that is empty and of which nothing is held is believed", 0, 0, { revision: 5 }, "believed"],
    ["that loses half is believed", 10, 5, { revision: 5 }, "believed"],
    ["that loses more than half is not", 10, 4, { revision: 5 }, "kept"],
    ["that loses more than half and is meant to is believed", 10, 1, { revision: 5, meant: true }, "believed"],
    ["that grows is believed", 10, 11, { revision: 5 }, "believed"],
    ["whose hosts are all others, as many as before, is believed", 10, 10, {}, "believed"],
  ];
  test.each(rows)("%s", (_title, held, told, how, verdict) => {
    expect(new Scene(held).says(1, told, how)).toBe(verdict);
  });

  test("that is kept holds what it held, says since when, and is let go once it is meant", () => {
    const scene = new Scene(9);
    scene.nowMs = 10;
    scene.says(1, 0, { revision: 5 });
    scene.nowMs = 5000;
    scene.says(1, 2, { revision: 6 });
    expect(scene.guard.kept(1, 1)).toEqual({ modid: 1, cmdid: 1, told: 2, kept: 7, sinceMs: 10 });
    expect([scene.held(), scene.guard.keptModules, scene.guard.keptHosts]).toEqual([[9], 1, 7]);
    expect(scene.says(1, 2, { revision: 7, meant: true })).toBe("believed");
    expect([scene.held(), scene.guard.keptModules, scene.guard.keptHosts]).toEqual([[2], 0, 0]);
  });

  test("that is kept is not kept any more when the server says as many hosts again, or the module is forgotten", () => {
    const scene = new Scene(9, 9);
    for (const modid of [1, 2]) scene.says(modid, 0, { revision: 5 });
    expect(scene.says(1, 9, { revision: 6 })).toBe("believed");
    scene.guard.forget(2, 1);
    expect([scene.held(), scene.guard.keptModules, scene.guard.keptHosts]).toEqual([[9], 0, 0]);
  });
});

describe("a server that gives neither revisions nor its word", () => {
  test("is believed that one of ten modules is gone", () => {
    const scene = new Scene(...new Array(10).fill(10));
    expect(scene.says(4, 0)).toBe("believed");
    expect(scene.held()[3]).toBe(0);
  });

  test("is not believed that all are: the sixth of ten is too many, and the five before come back", () => {
    const scene = new Scene(...new Array(10).fill(10));
    const verdicts = Array.from({ length: 10 }, (_, i) => scene.says(i + 1, 0));
    expect(verdicts).toEqual([...new Array(5).fill("believed"), "kept, back: 1 2 3 4 5", ...new Array(4).fill("kept")]);
    expect(scene.held()).toEqual(new Array(10).fill(10));
    expect([scene.guard.keptModules, scene.guard.keptHosts]).toEqual([10, 100]);
  });

  test("and says so again and again is never believed a share at a time", () => {
    const scene = new Scene(...new Array(10).fill(10));
    for (let round = 0; round < 20; round++) {
      for (let modid = 1; modid <= 10; modid++) scene.says(modid, 0);
      expect(scene.held()).toEqual(new Array(10).fill(10));
      scene.nowMs += VANISH_WINDOW_MS;
    }
  });

  test("and has its table back is believed again, one module at a time too", () => {
    const scene = new Scene(...new Array(10).fill(10));
    for (let modid = 1; modid <= 10; modid++) scene.says(modid, 0);
    for (let modid = 1; modid <= 9; modid++) scene.says(modid, 10);
    expect(scene.guard.keptModules).toBe(1);
    // One of ten may go, and does when it is said the next time.
    expect(scene.says(10, 0)).toBe("believed");
    expect(scene.guard.keptModules).toBe(0);
  });

  test("may let modules go one by one when that takes its time", () => {
    const scene = new Scene(...new Array(10).fill(10));
    for (let modid = 1; modid <= 9; modid++) {
      expect(scene.says(modid, 0)).toBe("believed");
      scene.nowMs += VANISH_WINDOW_MS;
    }
    expect(scene.held()).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
  });

  test("that takes a route away in steps within half a minute is judged by the sum, and all of it comes back", () => {
    const scene = new Scene(10);
    expect([scene.says(1, 8), scene.says(1, 5)]).toEqual(["believed", "believed"]);
    expect(scene.says(1, 4)).toBe("kept, back: 1");
    expect(scene.held()).toEqual([10]);
  });
});

describe("the share", () => {
  test("0 believes no loss that is not meant, 1 believes all but emptiness from a server that gives revisions", () => {
    const scene = new Scene(10, 10);
    scene.maxShare = 0;
    expect([scene.says(1, 9), scene.says(1, 9, { meant: true })]).toEqual(["kept", "believed"]);
    scene.maxShare = 1;
    expect([scene.says(1, 0), scene.says(2, 0, { revision: 3 }), scene.says(2, 0)]).toEqual([
      "believed",
      "kept",
      "believed",
    ]);
  });

  test("hosts that were let go on purpose do not count", () => {
    const scene = new Scene(10, 10, 10);
    expect(scene.says(1, 0, { revision: 3, meant: true })).toBe("believed");
    expect([scene.says(2, 5, { revision: 4 }), scene.says(3, 5, { revision: 4 })]).toEqual(["believed", "believed"]);
  });
});

test("whatever is said, the sums are those of what is held and kept, and no loss beyond the share is believed unmeant", () => {
  const step = fc.record({
    modid: fc.integer({ min: 1, max: 6 }),
    hosts: fc.nat(8),
    revision: fc.constantFrom(0, 1),
    meant: fc.boolean(),
    wait: fc.constantFrom(0, 0, 1000, VANISH_WINDOW_MS),
    forget: fc.integer({ min: 0, max: 9 }).map((draw) => draw === 0),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(0, 0.25, 0.5, 1), (steps, maxShare) => {
      const scene = new Scene(8, 8, 8, 8, 8, 8);
      scene.maxShare = maxShare;
      const sum = (counts: Iterable<number>) => [...counts].reduce((total, count) => total + count, 0);
      for (const { modid, hosts, wait, forget, ...how } of steps) {
        scene.nowMs += wait;
        const before = sum(scene.held());
        if (forget) scene.guard.forget(modid, 1);
        else {
          const heldBefore = scene.guard.held(modid, 1)?.hosts.length ?? 0;
          const verdict = scene.says(modid, hosts, how);
          if (verdict === "believed" && !how.meant) {
            expect(before - sum(scene.held())).toBeLessThanOrEqual(Math.max(0, maxShare * 48));
            if (hosts === 0 && how.revision === 1) expect(heldBefore).toBe(0);
          }
          // Nobody loses a host by a verdict that is not believed.
          if (verdict !== "believed") expect(sum(scene.held())).toBeGreaterThanOrEqual(before);
        }
        const kept = [...scene.guard.keptRoutes()];
        expect([scene.guard.keptModules, scene.guard.keptHosts]).toEqual([
          kept.length,
          sum(kept.map((each) => each.kept)),
        ]);
        for (const each of kept) {
          expect(each.told + each.kept).toBe(scene.guard.held(each.modid, 1)?.hosts.length ?? -1);
        }
      }
    }),
    { seed: 7, numRuns: 500 },
  );
});
