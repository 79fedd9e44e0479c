// A shard and the main thread in virtual time, with messages between them that arrive when the test says so: control in
// order, forwarded datagrams in order, neither in order with the other, as with real ports.
import { LentModules } from "../../src/agent/lent-modules.ts";
import { Shard } from "../../src/agent/shard.ts";
import { ShardCounters } from "../../src/agent/shard-counters.ts";
import { ShardLending } from "../../src/agent/shard-lending.ts";
import { type RouteUpdate, ShardModules } from "../../src/agent/shard-modules.ts";
import { type PeerPort, ShardPeers } from "../../src/agent/shard-peers.ts";
import type { PeerBatch } from "../../src/agent/shard-protocol.ts";
import { makeHost } from "../../src/core/assignment.ts";
import { CallStatistics, StatisticsReader } from "../../src/core/call-statistics.ts";
import { NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import { mainShard } from "../../src/core/shard-map.ts";
import { BALANCING, getHostFrame, LIMITS, replyText, reportFrame } from "./shard-rig.ts";

const SETTINGS = { balancer: BALANCING, limits: LIMITS };
const ENTRIES = 1000;

/** Messages that are under way, oldest first. */
export class Wire {
  readonly messages: (() => void)[] = [];

  deliver(): boolean {
    const next = this.messages.shift();
    next?.();
    return next !== undefined;
  }
}

class FakePort implements PeerPort {
  onmessage: ((event: MessageEvent) => void) | null = null;
  other: FakePort | undefined;

  constructor(private readonly wire: Wire) {}

  postMessage(batch: PeerBatch): void {
    this.wire.messages.push(() => this.other?.onmessage?.({ data: structuredClone(batch) } as MessageEvent));
  }

  close(): void {
    this.onmessage = null;
  }
}

class ShardSide {
  readonly counters = new ShardCounters();
  readonly modules: ShardModules;
  readonly lending: ShardLending;
  readonly peers: ShardPeers;
  readonly shard: Shard;

  constructor(rig: LendingRig) {
    const statistics = new CallStatistics(ENTRIES, (block) => rig.reader.addBlock(block), rig.reader.blocks());
    const forget = (modid: number, cmdid: number): void => {
      rig.toMain.messages.push(() => rig.main.forgotten(modid, cmdid));
    };
    this.modules = new ShardModules(LIMITS, BALANCING, () => 0.5, statistics, this.counters, {
      want: () => {},
      forget,
    });
    this.lending = new ShardLending(0, 1, this.modules, statistics, {
      lent: (modid, cmdid, granted) => {
        const copy = structuredClone(granted);
        rig.toMain.messages.push(() => rig.main.lent(modid, cmdid, copy));
      },
      recall: (modid, cmdid) => void rig.toMain.messages.push(() => rig.main.recall(modid, cmdid)),
    });
    this.peers = new ShardPeers(
      { request: () => {}, reply: (bytes) => void rig.replies.push(replyText(bytes)) },
      this.counters,
      (flush) => flush(),
    );
    this.shard = new Shard(
      0,
      1,
      this.modules,
      this.counters,
      (to, datagram, port, address) => this.peers.forward(to, datagram, port, address),
      (modid, cmdid) => this.lending.ownerOf(modid, cmdid),
    );
  }
}

export class LendingRig {
  nowMs = 1_000_000;
  readonly toShard = new Wire();
  readonly toMain = new Wire();
  readonly datagramsToShard = new Wire();
  readonly datagramsToMain = new Wire();
  readonly reader = new StatisticsReader();
  readonly replies: string[] = [];
  readonly main: LentModules;
  shard: ShardSide;
  /** Of the routes that come from now on. */
  policy: PolicyChoice = NO_CHOICE;
  /** False: the shard died and its successor is not there yet. */
  isThere = true;
  #revision = 1;
  #route: RouteUpdate | undefined;

  constructor(defer: (run: () => void) => void = (run) => run()) {
    const send = (message: () => void): boolean => this.isThere && this.toShard.messages.push(message) > 0;
    this.main = new LentModules({
      shards: 1,
      settings: SETTINGS,
      maxStatisticsEntries: ENTRIES,
      output: {
        ask: (_shard, modid, cmdid) => send(() => this.shard.lending.ask(modid, cmdid, this.nowMs)),
        giveBack: (_shard, modid, cmdid, back) => {
          const copy = structuredClone(back);
          send(() => this.shard.lending.returned(modid, cmdid, copy, this.nowMs));
        },
        counted: (_shard, calls) => send(() => this.shard.lending.counted(calls)),
        used: (_shard, modules) => send(() => this.shard.lending.used(modules, this.nowMs)),
      },
      nowMs: () => this.nowMs,
      random: () => 0.5,
      defer,
    });
    this.shard = this.#startShard();
  }

  #startShard(): ShardSide {
    const shard = new ShardSide(this);
    const [here, there] = [new FakePort(this.datagramsToShard), new FakePort(this.datagramsToMain)];
    [here.other, there.other] = [there, here];
    this.main.connect(0, here, () => {});
    shard.peers.connect(mainShard(1), there, () => {});
    if (this.#route !== undefined) shard.modules.applyRoute(this.#route, this.nowMs);
    return shard;
  }

  /** The shard dies with all that was under way to and from it, and another takes its place. */
  kill(): void {
    for (const wire of [this.toShard, this.toMain, this.datagramsToShard, this.datagramsToMain]) {
      wire.messages.length = 0;
    }
    this.main.lost(0);
    this.shard = this.#startShard();
  }

  /** Module 1.1's. */
  route(...ips: number[]): void {
    const hosts = ips.map((ip) => makeHost(ip, 80));
    const route = { modid: 1, cmdid: 1, revision: this.#revision++, hosts, policy: this.policy };
    this.#route = route;
    this.toShard.messages.push(() => this.shard.modules.applyRoute(route, this.nowMs));
    this.main.route(route);
  }

  /** A pick over HTTP: the host's ip, "shed", …, or "at the shard". */
  pick(keyHash = 0): number | string {
    const answer = this.main.pick(1, 1, keyHash);
    if (answer === undefined) return "at the shard";
    return answer.outcome === "host" ? answer.ip : answer.outcome;
  }

  /** A report over HTTP. */
  report(ip: number, succeeded = true): void {
    const report = { modid: 1, cmdid: 1, ip, port: 80, succeeded, latencyUs: 0 };
    if (this.main.report(report)) return;
    this.toShard.messages.push(() => this.shard.shard.report(1, 1, ip, 80, succeeded, 0, this.nowMs));
  }

  readonly #sink = {
    reply: (bytes: Uint8Array, length: number): void => void this.replies.push(replyText(bytes.slice(0, length))),
  };

  /** By UDP. */
  ask(seq: number): void {
    this.shard.shard.handle(getHostFrame(seq, 1, 1), this.#sink, 5555, "127.0.0.1", this.nowMs);
  }

  reportByUdp(ip: number, retcode = 0): void {
    this.shard.shard.handle(reportFrame(1, 1, ip, 80, retcode), this.#sink, 5555, "127.0.0.1", this.nowMs);
  }

  get forwarded(): number {
    return this.shard.counters.read("forwarded");
  }

  get isHeld(): boolean {
    return this.main.holds(1, 1);
  }

  /** Everything under way arrives. */
  settle(): void {
    const wires = [this.toShard, this.toMain, this.datagramsToShard, this.datagramsToMain];
    while (wires.some((wire) => wire.deliver()));
  }

  /** Time passes for both, in ticks, and messages arrive. */
  wait(ms: number): void {
    for (let passed = 0; passed < ms; passed += 250) {
      this.nowMs += 250;
      this.shard.modules.tick(this.nowMs);
      this.shard.lending.tick(this.nowMs);
      this.settle();
      this.main.tick();
      this.settle();
    }
  }

  /** Makes the main thread have the module. */
  lend(): void {
    for (let i = 0; i < 16; i++) this.pick();
    this.settle();
    this.wait(250);
  }

  totals(): { succ: number; err: number } {
    let [succ, err] = [0, 0];
    for (const host of this.reader.take(true).get(1, 1) ?? []) {
      succ += host.succ;
      err += host.err;
    }
    return { succ, err };
  }
}
