// Policy `lars` as sequences of picks and reports, in virtual time. A history is written as text: what is done on the
// left, what comes of it on the right.
import { describe, expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { SHEDDING } from "../../src/core/balancer.ts";
import { LARS_DEFAULTS, LarsBalancer, type LarsParameters } from "../../src/core/balancer-lars.ts";

const hosts = (...ips: number[]): Host[] => ips.map((ip) => makeHost(ip, 80));

class Scene {
  nowMs = 1000;
  readonly balancer: LarsBalancer;

  constructor(ips: readonly number[], parameters: Partial<LarsParameters> = {}) {
    this.balancer = new LarsBalancer({ ...LARS_DEFAULTS, ...parameters });
    this.balancer.update(hosts(...ips), this.nowMs);
  }

  /** The last numbers of the addresses picked, "-" for a call that is shed. */
  picks(count: number): string {
    return Array.from({ length: count }, () => {
      const picked = this.balancer.pick(this.nowMs, Math.random, 0);
      return picked === SHEDDING ? "-" : (picked as { ip: number }).ip;
    }).join(" ");
  }

  /** Outcomes of calls to one host, "+" and "x". */
  report(ip: number, outcomes: string): this {
    for (const outcome of outcomes) {
      this.balancer.report(this.balancer.find(ip, 80)!, outcome === "+", 0, this.nowMs);
    }
    return this;
  }

  wait(seconds: number): this {
    this.nowMs += seconds * 1000;
    return this;
  }

  get ejected(): number[] {
    return [...this.balancer.hosts()].filter(({ available }) => !available).map(({ ip }) => ip);
  }

  verdict(ip: number) {
    return this.balancer.describe(this.nowMs).find((host) => host.ip === ip)!;
  }
}

describe("picks", () => {
  test("go round the hosts in turn while none is ejected", () => {
    expect(new Scene([1, 2, 3]).picks(7)).toBe("1 2 3 1 2 3 1");
  });

  test("a module without hosts sheds every call", () => {
    expect(new Scene([]).picks(12)).toBe("- - - - - - - - - - - -");
  });

  test("while hosts are ejected, 1 pick in 11 tries one of them, in turn", () => {
    const scene = new Scene([1, 2, 3, 4]).report(1, "x".repeat(15)).report(2, "x".repeat(15));
    expect(scene.ejected).toEqual([1, 2]);
    expect(scene.picks(11)).toBe("3 4 3 4 3 4 3 4 3 4 1");
    expect(scene.picks(11)).toBe("3 4 3 4 3 4 3 4 3 4 2");
    expect(scene.picks(11)).toBe("3 4 3 4 3 4 3 4 3 4 1");
  });

  test("while every host is ejected, all calls are shed except every 11th, which tries a host", () => {
    const scene = new Scene([1, 2]).report(1, "x".repeat(15)).report(2, "x".repeat(15));
    expect(scene.picks(11)).toBe("- - - - - - - - - - 1");
    expect(scene.picks(11)).toBe("- - - - - - - - - - 2");
  });

  test("the counter goes on from where it was when the last ejected host came back and another left", () => {
    const scene = new Scene([1, 2]).report(1, "x".repeat(15));
    expect(scene.picks(4)).toBe("2 2 2 2");
    scene.report(1, "+".repeat(15));
    expect(scene.ejected).toEqual([]);
    expect(scene.picks(4)).toBe("2 1 2 1");
    scene.report(2, "x".repeat(15));
    expect(scene.picks(7)).toBe("1 1 1 1 1 1 2");
  });

  test("probe_num 2 tries an ejected host at every 3rd pick", () => {
    const scene = new Scene([1, 2], { probe_num: 2 }).report(1, "x".repeat(15));
    expect(scene.picks(6)).toBe("2 2 1 2 2 1");
  });
});

describe("an available host", () => {
  test("15 consecutive failures eject a host; a success in between does not", () => {
    expect(new Scene([1, 2]).report(1, "x".repeat(14)).ejected).toEqual([]);
    expect(new Scene([1, 2]).report(1, "x".repeat(15)).ejected).toEqual([1]);
    expect(new Scene([1, 2]).report(1, `${"x".repeat(14)}+xxxxx`).ejected).toEqual([]);
  });

  test("is ejected when more than a tenth of its scored calls failed: the 21st failure on 180 credited successes", () => {
    // 20/200 is exactly err_rate and not over it; 21/201 is.
    const scene = new Scene([1, 2], { contin_err_limit: 1000 }).report(1, "x".repeat(20));
    expect(scene.ejected).toEqual([]);
    expect(scene.report(1, "x").ejected).toEqual([1]);
    expect(scene.verdict(1).reason).toContain("10.4 %");
  });

  test("is let off while its failures stay within err_rate, however many they are", () => {
    const scene = new Scene([1, 2]);
    for (let i = 0; i < 500; i++) scene.report(1, `${"+".repeat(10)}x`);
    expect(scene.ejected).toEqual([]);
  });

  test("is ejected when at the end of its 15 s at least 70 % of its real calls failed", () => {
    const scene = new Scene([1, 2]).report(1, "xxxxxxx++").wait(14.999);
    expect(scene.report(1, "+").ejected).toEqual([]);
    // 7 of 11 failed: not enough; the counters start afresh.
    expect(scene.wait(0.001).report(1, "+").ejected).toEqual([]);
    expect(scene.verdict(1)).toMatchObject({ succ: 0, err: 0 });
    scene.report(1, "xxxxxxx++").wait(15);
    expect(scene.report(1, "+").ejected).toEqual([1]);
    expect(scene.verdict(1).reason).toContain("70.0 %");
  });

  test("that had one call in its window, a failure, is ejected by the window rule", () => {
    expect(new Scene([1, 2]).wait(15).report(1, "x").ejected).toEqual([1]);
  });

  test("begins a window with its full credit again", () => {
    const scene = new Scene([1, 2])
      .report(1, `${"x".repeat(14)}${"+".repeat(10)}`)
      .wait(15)
      .report(1, "+");
    // 14 failures were forgotten: 14 more alone do not eject.
    expect(scene.report(1, "x".repeat(14)).ejected).toEqual([]);
  });
});

describe("an ejected host", () => {
  const ejected = (): Scene => new Scene([1, 2]).report(1, "x".repeat(15));

  test("is readmitted when more than half of its scored calls succeed: the 6th success against 5 charged failures", () => {
    expect(ejected().report(1, "+++++").ejected).toEqual([1]);
    expect(ejected().report(1, "++++++").ejected).toEqual([]);
    expect(ejected().report(1, "x++++++").ejected).toEqual([1]);
    expect(ejected().report(1, "x+++++++").ejected).toEqual([]);
  });

  test("is readmitted by 15 consecutive successes where the share alone does not suffice", () => {
    const scene = ejected().report(1, `${"x".repeat(30)}${"+".repeat(14)}`);
    expect(scene.ejected).toEqual([1]);
    expect(scene.report(1, "+").ejected).toEqual([]);
    expect(scene.verdict(1).reason).toContain("15 consecutive successes");
  });

  test("is readmitted by any report 15 s after its ejection, a failure too, and by none before", () => {
    expect(ejected().wait(14.999).report(1, "x").ejected).toEqual([1]);
    expect(ejected().wait(15).report(1, "x").ejected).toEqual([]);
  });

  test("goes to the back of the available ones, with full credit", () => {
    const scene = new Scene([1, 2, 3]).report(1, "x".repeat(15)).report(1, "++++++");
    expect(scene.picks(3)).toBe("2 3 1");
    expect(scene.report(1, "x".repeat(14)).ejected).toEqual([]);
  });

  test("goes to the back of the ejected ones when it is ejected again", () => {
    const scene = new Scene([1, 2, 3], { probe_num: 1 });
    scene.report(1, "x".repeat(15)).report(2, "x".repeat(15));
    scene.report(1, "++++++").report(1, "x".repeat(15));
    expect(scene.picks(4)).toBe("3 2 3 1");
  });
});

describe("a new route", () => {
  test("leaves the hosts that stay as they are, lets new ones in as available, and drops those that left", () => {
    const scene = new Scene([1, 2, 3]).report(1, "x".repeat(15)).report(2, "x".repeat(14));
    const left = scene.balancer.update(hosts(1, 2, 4), scene.nowMs);
    expect(left.map(({ ip }) => ip)).toEqual([3]);
    expect(scene.ejected).toEqual([1]);
    expect(scene.picks(3)).toBe("2 4 2");
    expect(scene.report(2, "x").ejected).toEqual([1, 2]);
    expect(scene.balancer.find(3, 80)).toBeUndefined();
  });

  test("a report for a host that has left does not bring it back", () => {
    const scene = new Scene([1, 2]);
    const gone = scene.balancer.find(1, 80)!;
    scene.balancer.update(hosts(2), scene.nowMs);
    for (let i = 0; i < 30; i++) scene.balancer.report(gone, false, 0, scene.nowMs);
    expect([...scene.balancer.hosts()].map(({ ip }) => ip)).toEqual([2]);
    expect(scene.picks(3)).toBe("2 2 2");
  });

  test("a host that left ejected and returns is available and has full credit", () => {
    const scene = new Scene([1, 2]).report(1, "x".repeat(15));
    scene.balancer.update(hosts(2), scene.nowMs);
    scene.balancer.update(hosts(1, 2), scene.nowMs);
    expect(scene.ejected).toEqual([]);
    expect(scene.report(1, "x".repeat(14)).ejected).toEqual([]);
  });

  test("a host that only changed weight or zone keeps its state and shows the new values", () => {
    const scene = new Scene([1, 2]).report(1, "x".repeat(15));
    scene.balancer.update([makeHost(1, 80, { weight: 7, zone: "z" }), makeHost(2, 80)], scene.nowMs);
    expect(scene.verdict(1)).toMatchObject({ verdict: "ejected", weight: 7, zone: "z" });
  });
});

test("parameters that are reloaded count from the next report on; what was earned stays", () => {
  const scene = new Scene([1, 2]).report(1, "xxxxx");
  scene.balancer.configure({ ...LARS_DEFAULTS, contin_err_limit: 6 });
  expect(scene.ejected).toEqual([]);
  expect(scene.report(1, "x").ejected).toEqual([1]);
});

test("what people are told names the rule, its numbers and since when", () => {
  const scene = new Scene([1, 2]).wait(3).report(1, `+${"x".repeat(15)}`);
  expect(scene.verdict(1)).toEqual({
    ip: 1,
    port: 80,
    weight: 100,
    zone: "",
    verdict: "ejected",
    reason: "ejected: 15 consecutive failures",
    sinceMs: 4000,
    succ: 0,
    err: 0,
  });
  expect(scene.verdict(2)).toMatchObject({ verdict: "available", sinceMs: 1000 });
});
