// The loop that keeps a follower in step, in virtual time, with leaders in process.
import { afterEach, expect, test } from "bun:test";
import type { LeaderAddress } from "../../src/dns/follow/leader-addresses.ts";
import { LeaderAddresses } from "../../src/dns/follow/leader-addresses.ts";
import type { Ask, AskOptions } from "../../src/dns/follow/leader-client.ts";
import { LeaderLink } from "../../src/dns/follow/leader-link.ts";
import { LeaderMirror } from "../../src/dns/follow/leader-mirror.ts";
import type { RouteDelta } from "../../src/store/route-store.ts";
import { ManualClock, settle } from "../support/manual-clock.ts";
import { RecordingLog } from "../support/recording-log.ts";
import type { AppRig } from "./app-rig.ts";
import { address, hosts, leaderOn, pageOf } from "./follow-rig.ts";

interface Asked {
  readonly base: string;
  readonly waitMs: number;
  readonly atMs: number;
}

/** Leaders by name; a question with a wait is held until `release`, a cut one for as long as the client waits. */
class Net {
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly mirror = new LeaderMirror();
  readonly leaders = new Map<string, AppRig>();
  readonly silent = new Set<string>();
  readonly asked: Asked[] = [];
  readonly deltas: RouteDelta[] = [];
  readonly link: LeaderLink;
  failedRounds = 0;
  random = 0.5;
  #held: (() => void)[] = [];

  constructor(...names: string[]) {
    const addresses: readonly LeaderAddress[] = names.map(address);
    this.link = new LeaderLink({
      mirror: this.mirror,
      addresses: async () => addresses,
      ask: (...question) => this.#ask(...question),
      token: () => "",
      waitMs: () => 2000,
      silenceMs: () => 1000,
      tls: () => ({ ca: undefined, cert: undefined, key: undefined }),
      clock: this.clock,
      setTimer: (delayMs, run) => this.clock.setTimer(delayMs, run),
      random: () => this.random,
      log: this.log,
      onDelta: (delta) => this.deltas.push(delta),
      onFailedRound: () => this.failedRounds++,
    });
  }

  #ask: Ask = async ({ base }, request, { waitMs, silenceMs, signal }: AskOptions) => {
    this.asked.push({ base, waitMs, atMs: this.clock.nowMs() });
    const name = base.slice("http://".length);
    const wait = async (ms: number): Promise<void> => {
      const ended = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => ended.resolve());
      this.#held.push(() => ended.resolve());
      const cancel = this.clock.setTimer(ms, () => ended.resolve());
      await ended.promise;
      cancel();
    };
    if (waitMs > 0) await wait(waitMs);
    if (this.silent.has(name)) {
      await wait(silenceMs);
      return { ok: false, why: "it was silent" };
    }
    const leader = this.leaders.get(name);
    return leader === undefined ? { ok: false, why: "refused" } : { ok: true, page: await pageOf(leader, request) };
  };

  /** Ends all waits: what the leader does when something changed. */
  async release(): Promise<void> {
    for (const end of this.#held.splice(0)) end();
    await this.settled();
  }

  /** The applications in between take several turns. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await settle();
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      this.clock.advance(Math.min(50, left));
      await this.settled();
    }
  }

  async start(): Promise<void> {
    this.link.start();
    await this.settled();
  }
}

let net: Net | undefined;
afterEach(async () => {
  await net?.link.stop();
});

test("the first question is answered at once, the next ones may be held back; a change then comes with the answer, without an interval", async () => {
  net = new Net("a");
  const leader = await leaderOn();
  net.leaders.set("a", leader);
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  await net.start();
  expect(net.asked.map(({ waitMs }) => waitMs)).toEqual([0, 2000]);
  expect(net.link.connected).toBe(true);
  await leader.done("PUT", "/v1/routes/1/2", { hosts: hosts(1) });
  await net.release();
  expect(net.deltas.map(({ routes }) => routes.map(({ cmdid }) => cmdid))).toEqual([[1], [2]]);
  expect(net.clock.nowMs()).toBe(0);
});

test("while nothing changes a leader is asked once in 2 s, 30 times a minute", async () => {
  net = new Net("a");
  net.leaders.set("a", await leaderOn());
  await net.start();
  const before = net.asked.length;
  await net.pass(60_000);
  expect(net.asked.length - before).toBe(30);
  expect(net.link.lagMs).toBeLessThanOrEqual(2000);
});

test("a link that is cut without a sign is given up after the wait and 1 s of silence, and the next leader is asked within the same moment", async () => {
  net = new Net("a", "b");
  const leader = await leaderOn();
  net.leaders.set("a", leader).set("b", leader);
  await net.start();
  net.silent.add("a");
  const cutAtMs = net.clock.nowMs();
  await net.pass(3000);
  const other = net.asked.find(({ base }) => base === "http://b")!;
  expect(other).toEqual({ base: "http://b", waitMs: 0, atMs: cutAtMs + 3000 });
  expect(net.link.connected).toBe(true);
  expect(net.link.counts).toMatchObject({ switches: 1, failures: 1 });
  expect(net.log.texts.filter((text) => text.startsWith("warn"))).toHaveLength(1);
});

test("with no leader left there is a pause after each round, doubling to at most 1 s and drawn at random; the link is up within 1 s of a leader's return", async () => {
  net = new Net("a", "b");
  net.random = 0.999;
  await net.start();
  await net.pass(10_000);
  const rounds = net.asked.filter(({ base }) => base === "http://a").map(({ atMs }) => atMs);
  const gaps = rounds.slice(1).map((atMs, i) => atMs - rounds[i]!);
  expect(gaps.slice(0, 6)).toEqual([50, 100, 200, 400, 800, 1000]);
  expect(Math.max(...gaps)).toBe(1000);
  expect(net.failedRounds).toBe(rounds.length);
  expect(net.link.failure).toContain("refused");
  expect(net.link.lagMs).toBe(10_000);
  net.leaders.set("b", await leaderOn());
  await net.pass(1000);
  expect(net.link.connected).toBe(true);
  expect(net.link.failure).toBeUndefined();
  // One line for the failure, not one for each of the rounds.
  expect(net.log.lines.filter(({ level }) => level === "warn" || level === "error")).toHaveLength(1);
});

test("a leader that lags is passed over for one that does not, and is said to be older once", async () => {
  net = new Net("a", "b");
  const ahead = await leaderOn();
  const lagging = await leaderOn(ahead.store);
  await ahead.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  net.leaders.set("a", ahead);
  await net.start();
  net.leaders.clear();
  net.leaders.set("b", lagging);
  const { revision } = net.mirror;
  await net.pass(5000);
  expect(net.link.connected).toBe(false);
  expect(net.link.counts.behind).toBeGreaterThan(3);
  expect(net.mirror.revision).toBe(revision);
  expect(net.log.texts.filter((text) => text.includes("older than what is served"))).toHaveLength(1);
  await lagging.routes.poll();
  await net.pass(1000);
  expect(net.link.connected).toBe(true);
  expect(net.link.leaderRevision).toBe(revision);
});

test("a leader that answers before its time although nothing changed is asked again after 50 to 100 ms, not at once", async () => {
  net = new Net("a");
  net.leaders.set("a", await leaderOn());
  await net.start();
  const before = net.asked.length;
  for (let i = 0; i < 20; i++) await net.release();
  expect(net.asked.length - before).toBe(0);
  await net.pass(100);
  expect(net.asked.length - before).toBe(1);
});

test("stopping ends a question that is held open at once", async () => {
  net = new Net("a");
  net.leaders.set("a", await leaderOn());
  await net.start();
  expect(net.asked.at(-1)?.waitMs).toBe(2000);
  await net.link.stop();
  expect(net.clock.nowMs()).toBe(0);
});

test("of a name all 3 addresses are asked in turn with the name as Host; while it cannot be looked up they stay, and https goes by name", async () => {
  let known: readonly string[] | undefined = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
  const addresses = new LeaderAddresses(
    ["http://dns.example:7780/", "https://safe.example:7780", "http://10.0.0.2:7780", "http://[::1]:7780"],
    async () => {
      if (known === undefined) throw new Error("no name server");
      return known;
    },
  );
  const expected = [
    { leader: "http://dns.example:7780/", base: "http://10.0.0.1:7780", host: "dns.example:7780" },
    { leader: "http://dns.example:7780/", base: "http://10.0.0.2:7780", host: "dns.example:7780" },
    { leader: "http://dns.example:7780/", base: "http://10.0.0.3:7780", host: "dns.example:7780" },
    { leader: "https://safe.example:7780", base: "https://safe.example:7780" },
    { leader: "http://[::1]:7780", base: "http://[::1]:7780" },
  ];
  expect(await addresses.list()).toEqual(expected);
  known = undefined;
  expect(await addresses.list()).toEqual(expected);
  known = ["10.0.0.9"];
  expect((await addresses.list()).map(({ base }) => base)).toEqual([
    "http://10.0.0.9:7780",
    "https://safe.example:7780",
    "http://10.0.0.2:7780",
    "http://[::1]:7780",
  ]);
});
