import { expect, test } from "bun:test";
import fc from "fast-check";
import { IDLE_MS, RETRY_AFTER_MS } from "../../src/agent/lent-modules.ts";
import { MAX_LENT_HOSTS } from "../../src/agent/shard-lending.ts";
import { PackedHosts } from "../../src/core/packed-hosts.ts";
import { LendingRig } from "./lending-rig.ts";

function rigOf(...ips: number[]): LendingRig {
  const rig = new LendingRig();
  rig.route(...ips);
  rig.settle();
  return rig;
}

function lentRig(...ips: number[]): LendingRig {
  const rig = rigOf(...ips);
  rig.lend();
  expect(rig.isHeld).toBe(true);
  return rig;
}

test("16 picks within a quarter of a second bring a module here after the shard looked for 250 ms; 15 do not", () => {
  const rig = rigOf(7, 8);
  for (let i = 0; i < 15; i++) expect(rig.pick()).toBe("at the shard");
  rig.wait(1000);
  expect(rig.main.counts.asked).toBe(0);
  for (let i = 0; i < 16; i++) expect(rig.pick()).toBe("at the shard");
  rig.settle();
  rig.nowMs += 249;
  rig.shard.lending.tick(rig.nowMs);
  rig.settle();
  expect(rig.pick()).toBe("at the shard");
  rig.nowMs += 1;
  rig.shard.lending.tick(rig.nowMs);
  rig.settle();
  expect([rig.pick(), rig.pick(), rig.pick()]).toEqual([7, 8, 7]);
});

test("one datagram while it is looked at keeps the module with its shard, and for 60 s it is not asked for again", () => {
  const rig = rigOf(7);
  for (let i = 0; i < 16; i++) rig.pick();
  rig.settle();
  rig.ask(1);
  rig.wait(250);
  expect([rig.isHeld, rig.replies, rig.main.counts.refused]).toEqual([false, ["seq 1: host 7:80"], 1]);
  const until = rig.nowMs + RETRY_AFTER_MS - 500;
  while (rig.nowMs < until) rig.lend();
  expect(rig.main.counts.asked).toBe(1);
  rig.wait(500);
  rig.lend();
  expect([rig.main.counts.asked, rig.isHeld]).toEqual([2, true]);
});

test("a module without a route is not lent", () => {
  const rig = new LendingRig();
  rig.lend();
  expect([rig.isHeld, rig.main.counts.refused]).toEqual([false, 1]);
});

const many = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test("a module of more than 200 hosts is not lent", () => {
  expect(lentRig(...many(MAX_LENT_HOSTS)).main.counts.lent).toBe(1);
  const rig = rigOf(...many(MAX_LENT_HOSTS + 1));
  rig.lend();
  expect([rig.isHeld, rig.main.counts.refused]).toEqual([false, 1]);
});

test("a module that grows beyond 200 hosts while it is lent goes back, with who is held out, and has all its hosts", () => {
  const rig = lentRig(3, 4, 5);
  for (let i = 0; i < 40; i++) rig.report(4);
  for (let i = 0; i < 40; i++) rig.report(3, false);
  const heldOut = (): number[] =>
    rig.shard.modules.describe(1, 1, rig.nowMs)!.hosts.flatMap(({ ip, verdict }) => (verdict === "ejected" ? ip : []));
  expect(heldOut()).toEqual([]);
  rig.route(...many(MAX_LENT_HOSTS + 1));
  rig.settle();
  expect([rig.isHeld, heldOut()]).toEqual([false, [3]]);
  expect(rig.shard.modules.describe(1, 1, rig.nowMs)!.hosts).toHaveLength(MAX_LENT_HOSTS + 1);
});

test("a datagram for a module that is lent is answered by who has it, and then the shard has it again", () => {
  const rig = lentRig(7, 8);
  expect(rig.pick()).toBe(7);
  rig.ask(1);
  rig.ask(2);
  expect(rig.replies).toEqual([]);
  rig.settle();
  // Handed over, the balancer begins its round anew.
  expect(rig.replies).toEqual(["seq 1: host 8:80", "seq 2: host 7:80"]);
  expect([rig.isHeld, rig.pick(), rig.forwarded, rig.main.counts.recalled]).toEqual([false, "at the shard", 2, 1]);
  rig.ask(3);
  expect([rig.replies.at(-1), rig.forwarded]).toEqual(["seq 3: host 7:80", 2]);
});

test("a datagram that arrives after the module went back is answered all the same, for 5 s", () => {
  const rig = lentRig(7);
  rig.ask(1);
  rig.toMain.deliver();
  expect(rig.isHeld).toBe(false);
  rig.datagramsToMain.deliver();
  rig.settle();
  expect(rig.replies).toEqual(["seq 1: host 7:80"]);
});

test("a host that was held out stays held out on the way here and on the way back, and one that is found dead here too", () => {
  const rig = rigOf(...Array.from({ length: 10 }, (_, i) => i + 1));
  for (let i = 0; i < 20; i++) rig.report(3, false);
  rig.settle();
  rig.lend();
  for (let i = 0; i < 20; i++) rig.report(5, false);
  const heldOut = (hosts: readonly { readonly ip: number; readonly verdict: string }[]): number[] =>
    hosts.flatMap(({ ip, verdict }) => (verdict === "ejected" ? [ip] : []));
  expect(heldOut(rig.main.describe(1, 1)!.hosts)).toEqual([3, 5]);
  expect(heldOut(rig.shard.modules.describe(1, 1, rig.nowMs)!.hosts)).toEqual([3]);
  rig.ask(1);
  rig.settle();
  expect(heldOut(rig.shard.modules.describe(1, 1, rig.nowMs)!.hosts)).toEqual([3, 5]);
});

test("calls that are reported here are counted at the shard, each once, also those of datagrams", () => {
  const rig = lentRig(7, 8);
  rig.report(7);
  rig.report(8, false);
  rig.wait(250);
  expect(rig.totals()).toEqual({ succ: 1, err: 1 });
  rig.reportByUdp(7);
  rig.report(8);
  rig.settle();
  rig.wait(250);
  rig.report(7);
  rig.reportByUdp(7, -1);
  rig.settle();
  expect(rig.totals()).toEqual({ succ: 4, err: 2 });
});

test("a module that nobody picks from for 60 s goes back; one that is used stays, and its shard does not forget it", () => {
  const rig = lentRig(7);
  for (let i = 0; i < IDLE_MS / 10_000; i++) {
    rig.wait(20_000);
    expect(rig.pick()).toBe(7);
    rig.wait(250);
    rig.shard.modules.forgetIdle(rig.nowMs);
    rig.settle();
  }
  expect([...PackedHosts.of(rig.shard.modules.route(1, 1)!.hosts)].map(({ ip }) => ip)).toEqual([7]);
  rig.wait(IDLE_MS - 250);
  expect(rig.isHeld).toBe(true);
  rig.wait(250);
  expect([rig.isHeld, rig.main.counts.idle]).toEqual([false, 1]);
});

test("what the shard forgets is held no longer", () => {
  const rig = lentRig(7);
  rig.nowMs += 61_000;
  rig.shard.modules.forgetIdle(rig.nowMs);
  rig.settle();
  expect(rig.isHeld).toBe(false);
});

test("a new route counts here at once; a module without hosts is the shard's to refuse", () => {
  const rig = lentRig(7);
  rig.route(9);
  expect(rig.pick()).toBe(9);
  rig.route();
  expect(rig.pick()).toBe("at the shard");
  rig.settle();
  rig.ask(1);
  expect(rig.replies).toEqual(["seq 1: retcode 3"]);
});

test("a route that comes while the module is on its way here is not lost", () => {
  const rig = rigOf(7);
  for (let i = 0; i < 16; i++) rig.pick();
  rig.settle();
  rig.nowMs += 250;
  rig.shard.lending.tick(rig.nowMs);
  rig.route(9);
  rig.settle();
  expect([rig.isHeld, rig.pick()]).toEqual([true, 9]);
});

test("a datagram that overtakes the word that the module is lent waits for it", () => {
  const rig = rigOf(7);
  for (let i = 0; i < 16; i++) rig.pick();
  rig.settle();
  rig.nowMs += 250;
  rig.shard.lending.tick(rig.nowMs);
  rig.ask(1);
  rig.datagramsToMain.deliver();
  expect([rig.isHeld, rig.replies]).toEqual([false, []]);
  rig.settle();
  expect([rig.replies, rig.main.counters.read("forward_dropped")]).toEqual([["seq 1: host 7:80"], 0]);
});

test("when a shard dies the modules it lent are its successor's, and what was counted is told to that one", () => {
  const rig = lentRig(7);
  rig.report(7);
  rig.kill();
  expect([rig.pick(), rig.main.counts.lost]).toEqual(["at the shard", 1]);
  rig.ask(1);
  rig.wait(250);
  expect([rig.replies, rig.totals()]).toEqual([["seq 1: host 7:80"], { succ: 1, err: 0 }]);
});

test("a module that is asked for while its shard is away is asked for again when that is there", () => {
  const rig = rigOf(7);
  rig.isThere = false;
  rig.lend();
  expect([rig.isHeld, rig.main.counts.asked]).toEqual([false, 0]);
  rig.isThere = true;
  rig.lend();
  expect(rig.isHeld).toBe(true);
});

test("of 5,000 modules asked for at once no more than 4,096 are counted, and none of them stays when nobody asks on", () => {
  const rig = rigOf(7);
  for (let modid = 2; modid < 5002; modid++) for (let i = 0; i < 20; i++) rig.main.pick(modid, 1, 0);
  expect(rig.main.counts.asked).toBe(1024);
  expect(rig.main.counts.full).toBe(4096 - 1024);
});

const STEPS = {
  pick: (rig: LendingRig) => {
    for (let i = 0; i < 16; i++) rig.pick();
  },
  "shard hears": (rig: LendingRig) => void rig.toShard.deliver(),
  "main hears": (rig: LendingRig) => void rig.toMain.deliver(),
  "shard gets a datagram": (rig: LendingRig) => void rig.datagramsToShard.deliver(),
  "main gets a datagram": (rig: LendingRig) => void rig.datagramsToMain.deliver(),
  "250 ms pass for the shard": (rig: LendingRig) => {
    rig.nowMs += 250;
    rig.shard.lending.tick(rig.nowMs);
  },
  "main ticks": (rig: LendingRig) => rig.main.tick(),
  route: (rig: LendingRig) => rig.route(...(rig.nowMs % 1000 === 0 ? [7, 8] : [7, 9])),
  // No message takes that long.
  "a long time passes": (rig: LendingRig) => {
    rig.settle();
    rig.nowMs += RETRY_AFTER_MS;
    rig.lend();
  },
};

test("in whatever order messages arrive, the shard picks for no datagram while the main thread picks, every datagram is answered once, and every call is counted once", () => {
  const step = fc.oneof(
    fc.constantFrom(...(Object.keys(STEPS) as (keyof typeof STEPS)[])),
    fc.constantFrom("ask" as const, "report" as const, "report by UDP" as const),
  );
  let held = 0;
  let recalled = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 150 }), (steps) => {
      const rig = lentRig(7, 8);
      let [asked, reported] = [0, 0];
      for (const name of steps) {
        if (name === "ask") {
          const isHeld = rig.isHeld;
          const before = rig.forwarded;
          rig.ask(++asked);
          if (isHeld) expect(rig.forwarded).toBe(before + 1);
        } else if (name === "report" || name === "report by UDP") {
          reported++;
          if (name === "report") rig.report(7);
          else rig.reportByUdp(7);
        } else STEPS[name](rig);
        if (rig.isHeld) held++;
      }
      rig.settle();
      rig.wait(500);
      const answered = rig.replies.map((reply) => Number(/^seq (\d+): host/.exec(reply)?.[1])).sort((a, b) => a - b);
      expect(answered).toEqual(Array.from({ length: asked }, (_, i) => i + 1));
      expect(rig.totals()).toEqual({ succ: reported, err: 0 });
      recalled += rig.main.counts.recalled;
    }),
    { numRuns: 200 },
  );
  // Otherwise it would have shown nothing.
  expect(held).toBeGreaterThan(1000);
  expect(recalled).toBeGreaterThan(100);
});

test("however often the shard dies, its successor picks for no datagram while the main thread picks, and lends anew", () => {
  const step = fc.constantFrom(
    ...(Object.keys(STEPS) as (keyof typeof STEPS)[]),
    "ask" as const,
    "the shard dies" as const,
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 100 }), (steps) => {
      const rig = lentRig(7, 8);
      for (const name of steps) {
        if (name === "the shard dies") rig.kill();
        else if (name === "ask") {
          const [isHeld, before] = [rig.isHeld, rig.forwarded];
          rig.ask(1);
          if (isHeld) expect(rig.forwarded).toBe(before + 1);
        } else STEPS[name](rig);
      }
      rig.settle();
      rig.wait(6000);
      rig.nowMs += RETRY_AFTER_MS;
      rig.lend();
      expect(rig.isHeld).toBe(true);
      rig.replies.length = 0;
      rig.ask(2);
      rig.settle();
      expect(rig.replies).toHaveLength(1);
    }),
    { numRuns: 100 },
  );
});
