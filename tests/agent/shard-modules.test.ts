import { describe, expect, test } from "bun:test";
import { DESCRIBED_AT_ONCE } from "../../src/agent/shard-description.ts";
import { BALANCING, LIMITS, ShardRig } from "./shard-rig.ts";

describe("a module that does not exist", () => {
  test("is asked for again after negative_ttl and not before, however often callers ask", () => {
    const rig = new ShardRig().ask(1, 1, 1).route(1, 1, 10);
    for (let i = 0; i < 100; i++) rig.ask(2, 1, 1);
    expect(rig.wait(4999).ask(3, 1, 1).asked).toEqual(["1.1"]);
    expect(rig.wait(1).ask(4, 1, 1).ask(5, 1, 1).asked).toEqual(["1.1", "1.1"]);
    expect(new Set(rig.replies().map((text) => text.slice(-1)))).toEqual(new Set(["3"]));
  });

  test("serves from the moment its route comes", () => {
    const rig = new ShardRig().ask(1, 1, 1).route(1, 1, 10).route(1, 1, 11, 9);
    rig.replies();
    expect(rig.ask(2, 1, 1).replies()).toEqual(["seq 2: host 9:80"]);
    expect([rig.read("modules"), rig.read("unknown_modules")]).toEqual([1, 0]);
  });

  test("that had hosts stops serving when its last one goes", () => {
    const rig = new ShardRig().route(1, 1, 10, 9).route(1, 1, 11);
    expect(rig.ask(1, 1, 1).replies()).toEqual(["seq 1: retcode 3"]);
    expect([rig.read("modules"), rig.read("unknown_modules")]).toEqual([0, 1]);
  });
});

test("a module whose answer does not come is asked for again after negative_ttl, while callers ask for it", () => {
  const rig = new ShardRig().ask(1, 1, 1).wait(4999).ask(2, 1, 1);
  expect(rig.asked).toEqual(["1.1"]);
  expect(rig.wait(1).ask(3, 1, 1).ask(4, 1, 1).asked).toEqual(["1.1", "1.1"]);
});

describe("a known module", () => {
  test("in use is asked for again after update_timeout, once, and goes on serving meanwhile", () => {
    const rig = new ShardRig().route(1, 1, 10, 9).wait(14_999).ask(1, 1, 1);
    expect(rig.asked).toEqual([]);
    rig.wait(1).ask(2, 1, 1).ask(3, 1, 1);
    expect(rig.asked).toEqual(["1.1"]);
    expect(rig.wait(15_000).ask(4, 1, 1).asked).toEqual(["1.1", "1.1"]);
    rig.route(1, 1, 10, 9).wait(1).ask(5, 1, 1);
    expect(rig.asked).toHaveLength(2);
    expect(rig.replies().every((text) => text.endsWith("host 9:80"))).toBe(true);
  });

  test("that nobody asks for is forgotten after forget_after, with its unwatching; one in use is not", () => {
    const rig = new ShardRig().route(1, 1, 10, 9).route(2, 2, 10, 9).wait(59_999).ask(1, 1, 1);
    rig.modules.forgetIdle(rig.nowMs);
    expect(rig.forgotten).toEqual([]);
    rig.wait(1);
    rig.modules.forgetIdle(rig.nowMs);
    expect(rig.forgotten).toEqual(["2.2"]);
    expect(rig.read("modules")).toBe(1);
    expect(rig.ask(2, 2, 2).asked).toContain("2.2");
  });

  test("goes on counting the hosts it had before it was forgotten and came back", () => {
    const rig = new ShardRig().route(1, 1, 10, 9).report(1, 1, 9, 0).wait(60_000);
    rig.modules.forgetIdle(rig.nowMs);
    rig.report(1, 1, 9, 0).route(1, 1, 11, 9).report(1, 1, 9, 0);
    expect(rig.totals(1, 1)).toEqual([{ ip: 9, port: 80, succ: 3, err: 0, ejected: false }]);
  });
});

describe("routes", () => {
  test("an older revision than the one held is ignored; the same and none at all are taken", () => {
    const rig = new ShardRig().route(1, 1, 10, 8);
    expect(rig.route(1, 1, 9, 7).ask(1, 1, 1).replies()).toEqual(["seq 1: host 8:80"]);
    expect(rig.route(1, 1, 9).ask(2, 1, 1).replies()).toEqual(["seq 2: host 8:80"]);
    expect(rig.route(1, 1, 10, 7).ask(3, 1, 1).replies()).toEqual(["seq 3: host 7:80"]);
    expect(rig.route(1, 1, 0, 6).ask(4, 1, 1).replies()).toEqual(["seq 4: host 6:80"]);
  });

  test("of modules nobody asked for are kept (a restarted shard is given its routes), those without hosts are not", () => {
    const rig = new ShardRig().route(1, 1, 10, 8).route(2, 2, 10);
    expect([rig.read("modules"), rig.read("unknown_modules")]).toEqual([1, 0]);
  });

  test("keep what the balancer learned of hosts that stay", () => {
    const rig = new ShardRig().route(1, 1, 10, 8, 9);
    for (let i = 0; i < 15; i++) rig.report(1, 1, 8, 1);
    rig.route(1, 1, 11, 8, 9, 10);
    const verdicts = rig.modules.describe(1, 1, rig.nowMs)!.hosts.map(({ ip, verdict }) => [ip, verdict]);
    expect(verdicts).toEqual([
      [8, "ejected"],
      [9, "available"],
      [10, "available"],
    ]);
  });
});

describe("numbers that callers invent", () => {
  test("push out the oldest unknown ones; a module that serves is never pushed out", () => {
    const rig = new ShardRig({ maxUnknown: 3 }).route(1, 1, 10, 9);
    for (let n = 10; n < 14; n++) rig.ask(n, n, n).route(n, n, 10);
    expect(rig.forgotten).toEqual(["10.10"]);
    expect([rig.read("modules"), rig.read("unknown_modules")]).toEqual([1, 3]);
    rig.replies();
    expect(rig.ask(1, 1, 1).replies()).toEqual(["seq 1: host 9:80"]);
  });

  test("do not push out one that somebody waits for: then the new one is refused at once", () => {
    const rig = new ShardRig({ maxUnknown: 2 }).ask(1, 1, 1).ask(2, 2, 2).ask(3, 3, 3);
    expect(rig.replies()).toEqual(["seq 3: retcode 3"]);
    expect(rig.read("modules_full")).toBe(1);
    expect(rig.forgotten).toEqual([]);
    rig.wait(100).ask(4, 4, 4);
    expect(rig.forgotten).toEqual(["1.1"]);
  });

  test("are taken up at max_new_per_second, ten seconds' worth at once; the rest is answered retcode 3 and not asked", () => {
    const rig = new ShardRig({ maxNewPerSecond: 2, maxUnknown: 1000 });
    for (let n = 0; n < 30; n++) rig.ask(n, 5, n);
    expect(rig.asked).toHaveLength(20);
    expect(rig.read("resolve_rate_limited")).toBe(10);
    rig.wait(1000);
    for (let n = 100; n < 110; n++) rig.ask(n, 5, n);
    expect(rig.asked).toHaveLength(22);
    rig.wait(100).wait(3_600_000);
    for (let n = 200; n < 300; n++) rig.ask(n, 5, n);
    expect(rig.asked).toHaveLength(42);
  });

  test("are refused while max_modules known ones are held, and those go on", () => {
    const rig = new ShardRig({ maxModules: 2 }).route(1, 1, 10, 9).route(2, 2, 10, 9).ask(3, 3, 3);
    expect(rig.replies()).toEqual(["seq 3: retcode 3"]);
    expect([rig.read("modules_full"), rig.asked.length]).toEqual([1, 0]);
    expect(rig.ask(1, 1, 1).replies()).toEqual(["seq 1: host 9:80"]);
  });

  test("limits that are reloaded count from the next request on", () => {
    const rig = new ShardRig().route(1, 1, 10, 9);
    rig.modules.configure({ ...LIMITS, maxModules: 1 }, BALANCING);
    expect(rig.ask(3, 3, 3).read("modules_full")).toBe(1);
  });
});

test("hosts beyond the statistics' bound are picked and reported, not counted, and that is counted", () => {
  const rig = new ShardRig({}, { entries: 1 }).route(1, 1, 10, 8, 9).report(1, 1, 8, 0);
  expect(rig.read("statistics_full")).toBe(0);
  rig.report(1, 1, 9, 0).report(1, 1, 9, 0);
  expect(rig.read("statistics_full")).toBe(1);
  expect(rig.totals(1, 1)).toEqual([{ ip: 8, port: 80, succ: 1, err: 0, ejected: false }]);
  expect(rig.read("reports")).toBe(3);
  const replies = [1, 2, 3, 4].flatMap((seq) => rig.ask(seq, 1, 1).replies());
  expect(replies.filter((reply) => reply.endsWith("host 9:80")).length).toBe(2);
});

test("a host that was picked and left the route before its call ended is counted; one that never was is a stranger", () => {
  const rig = new ShardRig().route(1, 1, 5, 8).ask(1, 1, 1).route(1, 1, 6, 9).report(1, 1, 8, 0);
  expect(rig.totals(1, 1)).toEqual([{ ip: 8, port: 80, succ: 1, err: 0, ejected: false }]);
  rig.route(1, 1, 7, 10).report(1, 1, 9, 0);
  expect([rig.read("reports"), rig.read("reports_of_strangers")]).toEqual([1, 1]);
});

describe("a description in pieces", () => {
  const pieces = (rig: ShardRig, change: (told: number) => void = () => {}): number[] => {
    const ips: number[] = [];
    for (let after: { ip: number; port: number } | undefined; ; after = { ip: ips.at(-1)!, port: 80 }) {
      const { description, more } = rig.modules.describePiece(1, 1, after, rig.nowMs)!;
      ips.push(...description.hosts.map(({ ip }) => ip));
      expect(description.hosts.length).toBeLessThanOrEqual(DESCRIBED_AT_ONCE);
      if (!more) return ips;
      change(ips.length);
    }
  };
  const ips = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

  test.each([0, 1, 99, 100, 101, 250])(
    "has every one of %d hosts once, 100 at a time, whatever the policy",
    (count) => {
      for (const policy of ["lars", "adaptive"] as const) {
        const rig = new ShardRig({}, { balancing: { policy } }).route(1, 1, 10, ...ips(count).reverse(), 1000);
        expect(pieces(rig)).toEqual([...ips(count), 1000]);
      }
    },
  );

  test("misses and repeats no host that stays while the route changes between two of them", () => {
    const rig = new ShardRig({}, { balancing: { policy: "adaptive" } }).route(1, 1, 10, ...ips(250));
    const told = pieces(rig, (before) => rig.route(1, 1, 10 + before, ...ips(250).slice(before / 2)));
    expect(new Set(told).size).toBe(told.length);
    expect(told).toEqual(expect.arrayContaining(ips(250).slice(100)));
  });
});

test("a module is described by state, age, verdicts and totals", () => {
  const rig = new ShardRig().route(1, 1, 10, 9).report(1, 1, 9, 0).wait(250);
  expect(rig.modules.describe(1, 1, rig.nowMs)).toMatchObject({
    state: "known",
    revision: 10,
    ageMs: 250,
    hosts: [{ ip: 9, verdict: "available", forMs: 250, totalSucc: 1, totalErr: 0 }],
  });
  expect(rig.modules.describe(5, 5, rig.nowMs)).toBeUndefined();
  rig.ask(1, 5, 5);
  expect(rig.modules.describe(5, 5, rig.nowMs)).toMatchObject({ state: "resolving", hosts: [] });
});
