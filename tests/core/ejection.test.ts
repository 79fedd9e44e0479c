// Who is held out and who gets back, as sequences in virtual time. "+" and "x" are outcomes of calls.
import { describe, expect, test } from "bun:test";
import { makeFuzzRandom } from "../support/fuzz-random.ts";
import { Scene } from "./steered-scene.ts";

/** Host 1 among hosts that are known to answer. */
const among = (others: readonly number[], outcomes: string, options = {}): Scene => {
  const scene = new Scene([1, ...others], options);
  for (const ip of others) scene.report(ip, outcomes);
  return scene;
};

/** Enough calls of others, a few of which failed: they answer, but not so well that fewer failures leave no doubt. */
const FAIRLY_WELL = `${"+".repeat(18)}xx${"+".repeat(20)}`;
const WELL = "+".repeat(50);
/** Host 1 of 3 ejected by consecutive failures, in a module with 10 calls/s. */
const ejected = (options = {}): Scene => {
  const scene = new Scene([1, 2, 3], options);
  scene.traffic(3, 10);
  return scene.report(2, FAIRLY_WELL).report(3, FAIRLY_WELL).report(1, "xxxxx");
};

/** Steady calls, of which those to host 1 fail. Returns when it was picked, in seconds since the beginning. */
function probesDuring(scene: Scene, seconds: number, perSecond: number): number[] {
  const fromMs = scene.nowMs;
  const times: number[] = [];
  for (let i = 0; i < seconds * perSecond; i++) {
    scene.nowMs = fromMs + (i * 1000) / perSecond;
    const ip = scene.pick();
    if (ip === 1) times.push((scene.nowMs - fromMs) / 1000);
    scene.report(ip, ip === 1 ? "x" : "+");
  }
  return times;
}

describe("consecutive failures", () => {
  test("5 eject a host; 4 do not, and a success in between starts the count anew", () => {
    expect(among([2, 3], FAIRLY_WELL).report(1, "xxxx").ejected).toEqual([]);
    expect(among([2, 3], FAIRLY_WELL).report(1, "xxxxx").ejected).toEqual([1]);
    const mixed = among([2, 3], FAIRLY_WELL, { steering: { min_success_rate: 0, outlier_deviations: 0 } });
    expect(mixed.report(1, "xxxx+xxxx").ejected).toEqual([]);
    expect(mixed.report(1, "x").ejected).toEqual([1]);
  });

  test("3 are enough when the others hardly ever fail", () => {
    const scene = among([2, 3], WELL).report(1, "xx");
    expect(scene.ejected).toEqual([]);
    expect(scene.report(1, "x").ejected).toEqual([1]);
  });

  test("consecutive_failures 10 asks for 10, or for 6 when the others hardly ever fail", () => {
    const options = { steering: { consecutive_failures: 10, min_success_rate: 0, outlier_deviations: 0 } };
    expect(among([2], FAIRLY_WELL, options).report(1, "x".repeat(9)).ejected).toEqual([]);
    expect(among([2], FAIRLY_WELL, options).report(1, "x".repeat(10)).ejected).toEqual([1]);
    expect(among([2], WELL, options).report(1, "x".repeat(5)).ejected).toEqual([]);
    expect(among([2], WELL, options).report(1, "x".repeat(6)).ejected).toEqual([1]);
  });

  test("that last for a second count for more: 2 are enough when the others hardly ever fail, of 10 asked for 4", () => {
    const others = (scene: Scene): Scene => scene.report(2, WELL).report(3, WELL);
    expect(others(among([2, 3], WELL).report(1, "x").wait(0.9)).report(1, "x").ejected).toEqual([]);
    expect(others(among([2, 3], WELL).report(1, "x").wait(1)).report(1, "x").ejected).toEqual([1]);
    const options = { steering: { consecutive_failures: 10, min_success_rate: 0, outlier_deviations: 0 } };
    expect(others(among([2, 3], WELL, options).report(1, "xx").wait(1)).report(1, "x").ejected).toEqual([]);
    expect(others(among([2, 3], WELL, options).report(1, "xx").wait(1)).report(1, "xx").ejected).toEqual([1]);
  });

  test("eject nobody while no other host is known to answer: the fault may not be the host's", () => {
    expect(new Scene([1, 2, 3]).report(1, "x".repeat(50)).ejected).toEqual([]);
    expect(new Scene([1, 2, 3]).report(2, "+++x").report(1, "x".repeat(50)).ejected).toEqual([]);
  });

  test("a single host is never ejected, however it fails", () => {
    const scene = new Scene([1]).report(1, `${"+".repeat(50)}${"x".repeat(500)}`);
    expect(scene.ejected).toEqual([]);
    expect(scene.picks(3)).toBe("1 1 1");
  });

  test("the last host that is left is not ejected either", () => {
    const scene = new Scene([1, 2]).report(2, FAIRLY_WELL).report(1, "xxxxx").report(2, "x".repeat(50));
    expect(scene.ejected).toEqual([1]);
  });

  test("the reason says how many", () => {
    const scene = among([2, 3], FAIRLY_WELL).wait(1).report(1, "xxxxx");
    expect(scene.verdict(1)).toMatchObject({ verdict: "ejected", sinceMs: 1_001_000 });
    expect(scene.verdict(1).reason).toStartWith("ejected: 5 consecutive failures");
  });
});

describe("a low share of successes", () => {
  test("ejects a host that fails every other call as soon as it has 5 calls", () => {
    const scene = among([2, 3], WELL).report(1, "x+x+");
    expect(scene.ejected).toEqual([]);
    expect(scene.report(1, "x").ejected).toEqual([1]);
    expect(scene.verdict(1).reason).toStartWith("ejected: 40 % of 5 calls succeeded, 100 % of the others'");
  });

  test("min_calls 20 waits for 20 calls", () => {
    const scene = among([2, 3], WELL, { steering: { min_calls: 20 } }).report(1, "x+".repeat(9));
    expect(scene.report(1, "x").ejected).toEqual([]);
    expect(scene.report(1, "x").ejected).toEqual([1]);
  });

  test("calls of more than 30 s ago do not count", () => {
    const scene = among([2, 3], WELL).report(1, "x+x+").wait(36);
    scene.report(2, WELL).report(3, WELL).report(1, "x+x+");
    expect(scene.ejected).toEqual([]);
  });

  test("min_success_rate 0 and outlier_deviations 0 switch the rules off", () => {
    const steering = { min_success_rate: 0, outlier_deviations: 0 };
    expect(among([2, 3], WELL, { steering }).report(1, "x+".repeat(200)).ejected).toEqual([]);
  });

  test("a host that fails every 10th call is an outlier among hosts that never fail, when it did so twice", () => {
    const scene = among([2, 3], "+".repeat(500)).report(1, `${"+".repeat(9)}x${"+".repeat(9)}`);
    expect(scene.ejected).toEqual([]);
    expect(scene.report(1, "x").ejected).toEqual([1]);
    expect(scene.verdict(1).reason).toStartWith("ejected: 90 % of 20 calls succeeded, 100 % of the others'");
  });

  test("a difference of less than 8 % is not worth a host, however sure it is", () => {
    const scene = among([2, 3], "+".repeat(2000));
    scene.report(1, `${"+".repeat(19)}x`.repeat(100));
    expect(scene.ejected).toEqual([]);
  });

  test("outlier_deviations 10 lets a host off that 3 ejects", () => {
    // 18 of 20 against 60 of 60 lies 2.5 standard deviations apart, 16 of 20 3.5.
    const calls = `${"+".repeat(8)}x`.repeat(4);
    const eject = (outlier_deviations: number): number[] =>
      among([2], "+".repeat(200), { steering: { outlier_deviations, min_success_rate: 0 } }).report(1, calls).ejected;
    expect(eject(3)).toEqual([1]);
    expect(eject(10)).toEqual([]);
  });

  test("hosts that fail alike are not outliers: nobody of five is ejected when all fail 30 %", () => {
    const scene = new Scene([1, 2, 3, 4, 5]);
    for (let round = 0; round < 60; round++) {
      for (const ip of [1, 2, 3, 4, 5]) scene.wait(0.01).report(ip, (round + 2 * ip) % 10 < 3 ? "x" : "+");
    }
    expect(scene.ejected).toEqual([]);
  });

  test("a host that fails clearly more than others that fail too is still found", () => {
    const scene = among([2, 3], `x${"+".repeat(8)}`.repeat(40)).report(1, "x+x+".repeat(10));
    expect(scene.ejected).toEqual([1]);
  });
});

describe("the cap on ejections for a low share", () => {
  const bad = (scene: Scene, ips: readonly number[]): Scene => {
    for (const ip of ips) scene.report(ip, "x+".repeat(10));
    return scene;
  };

  test.each([
    [3, 0.1, 1],
    [9, 0.1, 1],
    [9, 0.5, 4],
    [20, 0.1, 2],
    [5, 0, 1],
    [4, 1, 3],
  ])("of %d hosts with max_ejected_share %f at most %d are held out", (size, max_ejected_share, most) => {
    const ips = Array.from({ length: size }, (_, i) => i + 1);
    const scene = new Scene(ips, { steering: { max_ejected_share } });
    scene.report(size, "+".repeat(1000));
    bad(scene, ips.slice(0, size - 1));
    expect(scene.ejected).toEqual(ips.slice(0, most));
  });

  test("does not keep hosts in that fail every call", () => {
    const ips = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    const scene = new Scene(ips, { steering: { max_ejected_share: 0.1 } });
    for (const ip of ips) scene.report(ip, WELL);
    for (const ip of [1, 2, 3, 4]) scene.report(ip, "xxxxx").report(9, WELL);
    expect(scene.ejected).toEqual([1, 2, 3, 4]);
  });

  test("holds for hosts on probation as well", () => {
    const scene = new Scene([1, 2, 3], { steering: { max_ejected_share: 0.1 } });
    scene.report(3, "+".repeat(300));
    scene.report(1, "xxxxx").waitForProbe(1);
    expect(scene.picks(1)).toBe("1");
    scene.report(1, "+");
    expect(scene.ejected).toEqual([]);
    scene.report(3, "+".repeat(300));
    bad(scene, [2]);
    expect(scene.ejected).toEqual([2]);
    expect(scene.report(1, "x").ejected).toEqual([2]);
  });
});

describe("probes", () => {
  test("an ejected host gets no pick for 5 s, then one", () => {
    const scene = ejected();
    expect(scene.pauseOf(1)).toBeCloseTo(5, 1);
    expect(scene.picks(6)).toBe("2 3 2 3 2 3");
    expect(scene.wait(4.99).picks(4)).toBe("2 3 2 3");
    expect(scene.wait(0.02).picks(5)).toBe("1 2 3 2 3");
    expect(scene.wait(4).picks(2)).toBe("2 3");
  });

  test("a success of the probe readmits, a failure does not", () => {
    const readmitted = ejected().waitForProbe(1);
    expect(readmitted.picks(1)).toBe("1");
    expect(readmitted.report(1, "+").ejected).toEqual([]);
    const still = ejected().waitForProbe(1);
    expect(still.picks(1)).toBe("1");
    expect(still.report(1, "x").ejected).toEqual([1]);
    expect(still.picks(4)).toBe("2 3 2 3");
  });

  test("each failed probe doubles the pause, up to max_ejection", () => {
    const probes = probesDuring(ejected({ steering: { max_ejection: 60 } }), 260, 10);
    const pauses = probes.map((at, i) => Math.round((at - (probes[i - 1] ?? 0)) / 5) * 5);
    expect(pauses).toEqual([5, 10, 20, 40, 60, 60, 60]);
  });

  test("the pause stops doubling where a probe costs less than a thousandth of the calls: 200/s, about 5.6 s", () => {
    const scene = new Scene([1, 2, 3]);
    scene.traffic(3, 200);
    scene.report(1, "xxxxx");
    const probes = probesDuring(scene, 60, 200);
    expect(probes.length).toBeGreaterThanOrEqual(9);
    expect(probes.length).toBeLessThanOrEqual(0.001 * 200 * 60);
  });

  test("a host that is ejected before anything is known of the module's traffic is probed after 5 s as well", () => {
    const scene = among([2, 3], FAIRLY_WELL).report(1, "xxxxx");
    expect(scene.pauseOf(1)).toBeCloseTo(5, 1);
  });

  test("the pause is jittered by 5 % either way", () => {
    const pauseWith = (value: number): number => {
      const scene = ejected();
      scene.random = () => value;
      scene.waitForProbe(1).picks(1);
      return scene.report(1, "x").pauseOf(1);
    };
    const middle = pauseWith(0.5);
    expect(pauseWith(0) / middle).toBeCloseTo(0.95, 5);
    expect(pauseWith(1 - 1e-9) / middle).toBeCloseTo(1.05, 5);
  });

  test("a probe that nobody reports is sent again after 5 s, not sooner", () => {
    const scene = ejected().waitForProbe(1);
    expect(scene.picks(3)).toBe("1 2 3");
    expect(scene.wait(4.99).picks(2)).toBe("2 3");
    expect(scene.wait(0.02).picks(3)).toBe("1 2 3");
    expect(scene.report(1, "+").ejected).toEqual([]);
  });

  test("a late success of a call from before the ejection does not readmit; the probe does", () => {
    const scene = among([2, 3], FAIRLY_WELL);
    expect(scene.picks(6)).toBe("1 2 3 1 2 3");
    scene.report(1, "xxxxx");
    expect(scene.report(1, "++").ejected).toEqual([1]);
    expect(scene.waitForProbe(1).picks(1)).toBe("1");
    expect(scene.report(1, "+").ejected).toEqual([]);
  });

  test("of several ejected hosts each is probed on its own, the one that waits longest first", () => {
    const scene = among([2, 3, 4], FAIRLY_WELL).report(2, "xxxxx").wait(1).report(1, "xxxxx");
    expect(scene.ejected).toEqual([1, 2]);
    expect(scene.wait(400).picks(5)).toBe("2 1 3 4 3");
  });

  test("who was ejected and why is said, with the time of the next probe", () => {
    const scene = ejected();
    expect(scene.wait(2).verdict(1).reason).toMatch(/^ejected: .* succeeded, .*, probe in 3\.0 s$/);
    expect(scene.wait(4).verdict(1).reason).toEndWith(", probe with the next pick");
    scene.picks(1);
    expect(scene.verdict(1).reason).toBe("ejected: a probe is under way, waiting for its report");
    expect(scene.wait(6).verdict(1).reason).toEndWith("probe with the next pick");
    scene.report(1, "x");
    expect(scene.verdict(1).reason).toMatch(/^ejected: the last probe failed, probe in \d+\.\d s$/);
  });
});

describe("a readmitted host", () => {
  const readmitted = (): Scene => {
    const scene = ejected().waitForProbe(1);
    scene.picks(1);
    return scene.report(1, "+");
  };

  test("gets its share back over the next second, beginning with a tenth", () => {
    const scene = readmitted();
    const random = makeFuzzRandom(7);
    scene.random = random.float;
    const shares: number[] = [];
    for (let tenth = 0; tenth < 12; tenth++) {
      const picks = scene.picks(3000).split(" ");
      shares.push(picks.filter((ip) => ip === "1").length / 1000);
      scene.wait(0.1);
    }
    // In parts of a fair share. Skipped turns go to the others, so half the ramp is a little less than half the share.
    expect(shares[0]).toBeLessThan(0.2);
    expect(shares[5]).toBeGreaterThan(0.35);
    expect(shares[5]).toBeLessThan(0.75);
    expect(shares[11]).toBeCloseTo(1, 2);
  });

  test("is ejected again by a single failure while the others do well", () => {
    const scene = readmitted();
    scene.report(2, WELL).report(3, WELL);
    expect(scene.report(1, "+x").ejected).toEqual([1]);
    expect(scene.verdict(1).reason).toContain("failed again after it was readmitted");
  });

  test("is trusted again after its ramp and 5 successes in a row: a single failure then does nothing", () => {
    const scene = readmitted().wait(1);
    scene.report(2, WELL).report(3, WELL).report(1, "+++++");
    expect(scene.report(1, "x").ejected).toEqual([]);
  });

  test("that fails again is out for longer, and after it held for long enough as briefly as at first", () => {
    const scene = readmitted();
    scene.report(2, WELL).report(3, WELL).report(1, "x");
    const second = scene.pauseOf(1);
    scene.waitForProbe(1).picks(1);
    scene.report(1, "+");
    scene.traffic(3 * second, 10);
    scene.report(1, "xxxxx");
    expect(scene.ejected).toEqual([1]);
    const third = scene.pauseOf(1);
    expect(second).toBeGreaterThan(9);
    expect(third).toBeCloseTo(5, 1);
  });

  test("begins with a clean record: its failures from before count neither for it nor for the others", () => {
    const scene = readmitted();
    expect(scene.verdict(1)).toMatchObject({ verdict: "available", succ: 0, err: 0 });
    expect(scene.verdict(1).reason).toBe("readmitted: its probe succeeded");
  });
});

describe("panic", () => {
  const panicking = (options = {}): Scene => {
    const scene = among([2, 3], WELL, options).report(1, "xxxxx");
    scene.calls(30, [1, 2, 3]);
    return scene;
  };

  test("survivors carry on alone while they answer, also when they fail now and then", () => {
    const scene = ejected();
    for (let i = 0; i < 50; i++) scene.report(2, i % 5 === 0 ? "x" : "+").report(3, "+");
    expect(new Set(scene.picks(20).split(" "))).toEqual(new Set(["2", "3"]));
  });

  test("when the survivors fail too every host is tried, and nobody is ejected", () => {
    const scene = panicking();
    expect(scene.ejected).toEqual([1]);
    expect(new Set(scene.picks(12).split(" "))).toEqual(new Set(["1", "2", "3"]));
  });

  test("whoever succeeds is back, and the survivors' successes end it", () => {
    const scene = panicking();
    expect(scene.report(1, "+").ejected).toEqual([]);
    const other = panicking();
    other.report(2, "+".repeat(10)).report(3, "+".repeat(10));
    expect(other.ejected).toEqual([1]);
    expect(other.picks(6)).not.toContain("1");
  });

  test("after all were down and are up again every call succeeds, and all are back within a second", () => {
    const scene = new Scene([1, 2, 3, 4, 5]);
    scene.traffic(5, 100);
    scene.traffic(8, 100, [1, 2, 3, 4, 5]);
    const after = scene.traffic(1, 100);
    expect(after.get(0)).toBeUndefined();
    expect(scene.ejected).toEqual([]);
  });

  test("a route whose other hosts all left tries those that are ejected, and the first success brings one back", () => {
    const scene = new Scene([1, 2]).report(2, FAIRLY_WELL).report(1, "xxxxx").update([1]);
    expect(scene.picks(2)).toBe("1 1");
    expect(scene.report(1, "+").ejected).toEqual([]);
  });

  test("a host that joins a route of ejected ones gets the calls at once: there is somebody to carry on with", () => {
    const scene = new Scene([1, 2]).report(2, FAIRLY_WELL).report(1, "xxxxx").report(2, "+".repeat(10));
    expect(scene.update([1]).calls(2, [1])).toBe("1 1");
    scene.update([1, 3]).wait(4);
    expect(scene.calls(6)).toBe("3 3 3 3 3 3");
  });
});

describe("shedding = 1", () => {
  const options = { steering: { shedding: 1 } };

  test("sheds nothing while survivors answer", () => {
    const scene = among([2, 3], FAIRLY_WELL, options).report(1, "xxxxx");
    expect(scene.calls(6)).toBe("2 3 2 3 2 3");
  });

  test("sheds calls while every host is held out, except the probes", () => {
    const scene = new Scene([1, 2], options).report(2, FAIRLY_WELL).report(1, "xxxxx").update([1]);
    expect(scene.picks(4)).toBe("- - - -");
    expect(scene.waitForProbe(1).picks(3)).toBe("1 - -");
    expect(scene.report(1, "+").picks(2)).toBe("1 1");
  });

  test("when the survivors fail too, calls are shed except a trial now and then, one at a time", () => {
    const scene = among([2, 3], WELL, options).report(1, "xxxxx").wait(0.1);
    scene.report(2, "x".repeat(10)).report(3, "x".repeat(10));
    scene.wait(1);
    const picks = scene.picks(5).split(" ");
    expect(picks.slice(1)).toEqual(["-", "-", "-", "-"]);
    expect(["2", "3"]).toContain(picks[0]!);
  });

  test("survivors that are well again are found within seconds although host 1 stays dead", () => {
    const scene = new Scene([1, 2, 3], options);
    scene.traffic(5, 100);
    scene.traffic(5, 100, [1]);
    scene.traffic(5, 100, [1, 2, 3]);
    scene.traffic(3, 100, [1]);
    expect(scene.traffic(2, 100, [1]).get(0)).toBeUndefined();
  });

  test("sheds much while all are down, where shedding = 0 tries a host with every call", () => {
    const refused = (shedding: number): number => {
      const scene = new Scene([1, 2, 3], { steering: { shedding } });
      scene.traffic(5, 100);
      scene.traffic(5, 100, [1]);
      return scene.traffic(10, 100, [1, 2, 3]).get(0) ?? 0;
    };
    expect(refused(0)).toBe(0);
    expect(refused(1)).toBeGreaterThan(900);
  });
});
