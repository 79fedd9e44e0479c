// The modules that shards have lent to the main thread (shard-lending.ts): those that are asked for over HTTP often and
// over UDP not at all. It picks from them without leaving the thread, which makes a pick an ordinary call that returns:
// 11.5 us of processor time with its HTTP request, where one that goes to a shard and back takes 17.
//
// It is as one more shard: requests by UDP for what it has come forwarded, until the owner has it back. The calls it
// counts are handed to the owner a few times a second, so that each host's totals stand in one table.
import type { PickResult } from "../core/balancer.ts";
import { CallStatistics, StatisticsReader } from "../core/call-statistics.ts";
import { endpointKey } from "../core/endpoint.ts";
import { ModuleMap } from "../core/module-key.ts";
import { mainShard, shardOf } from "../core/shard-map.ts";
import type { UdpAddress } from "../net/udp-socket.ts";
import { type ReplySink, Shard } from "./shard.ts";
import { counterIndex, pickCounter, ShardCounters } from "./shard-counters.ts";
import type { ModuleDescription } from "./shard-description.ts";
import { type CallsCounted, MAX_LENT_HOSTS, type ModuleInHand } from "./shard-lending.ts";
import { type ResolveAnswer, type RouteUpdate, ShardModules } from "./shard-modules.ts";
import { type PeerPort, ShardPeers } from "./shard-peers.ts";
import type { CallReport, PickAnswer, ShardSettings } from "./shard-protocol.ts";

/** A module is worth having when it is asked for this often between two ticks (a quarter of a second). */
export const BUSY_PICKS = 16;
/** Each is a second balancer of its module. */
const MAX_LENT = 1024;
/** Module numbers whose picks are counted; callers may ask for any. */
const MAX_COUNTED = 4096;
/** Not asked for again so soon after UDP callers wanted it. */
export const RETRY_AFTER_MS = 60_000;
/** Not asked for over HTTP in this time: it goes back. */
export const IDLE_MS = 60_000;
/** A module that was given back answers datagrams that had been forwarded before. */
const FAREWELL_MS = 5000;

/** Datagrams that came before the module they are about; as many as may be under way from one shard. */
const MAX_EARLY = 4096;

export interface LentOutput {
  /** False: nobody is there to be asked. */
  ask(shard: number, modid: number, cmdid: number): boolean;
  /** `back` undefined: what the shard has is as good. */
  giveBack(shard: number, modid: number, cmdid: number, back: ModuleInHand | undefined): void;
  /** False: the shard cannot hear of them now; they are told again. */
  counted(shard: number, calls: readonly CallsCounted[]): boolean;
  /** They are in use, so that the shard asks for their routes now and then and does not forget them. */
  used(shard: number, modules: readonly number[]): void;
}

export interface LentOptions {
  readonly shards: number;
  readonly settings: ShardSettings;
  readonly maxStatisticsEntries: number;
  readonly output: LentOutput;
  readonly nowMs: () => number;
  readonly random: () => number;
  /** Runs something when the turn of the event loop is over. */
  readonly defer: (run: () => void) => void;
}

interface Forwarded {
  readonly datagram: Uint8Array;
  readonly sink: ReplySink;
  readonly port: number;
  readonly address: UdpAddress;
}

interface Lent {
  readonly modid: number;
  readonly cmdid: number;
  readonly shard: number;
  state: "counted" | "asked" | "held" | "given back";
  /** Picks since the last tick. */
  picks: number;
  /** When it got into its state; of "counted": when it may be asked for. */
  sinceMs: number;
  usedAtMs: number;
  /** The newest that came since it was asked for. */
  route: RouteUpdate | undefined;
}

const PICKS = counterIndex("picks");
const FORWARD_DROPPED = counterIndex("forward_dropped");

export class LentModules {
  readonly counters = new ShardCounters();
  readonly counts = { asked: 0, lent: 0, refused: 0, recalled: 0, idle: 0, lost: 0, full: 0 };
  readonly #shards: number;
  readonly #output: LentOutput;
  readonly #nowMs: () => number;
  readonly #defer: (run: () => void) => void;
  readonly #known = new ModuleMap<Lent>();
  readonly #modules: ShardModules;
  readonly #shard: Shard;
  readonly #peers: ShardPeers;
  readonly #statistics: CallStatistics;
  readonly #reader = new StatisticsReader();
  /** What of the counts was handed on. */
  readonly #handedOn = new ModuleMap<Map<number, { succ: number; err: number }>>();
  /** To be handed on, by shard. */
  readonly #calls: CallsCounted[][];
  #reported = false;
  /** In use: asked for, held or given back. */
  #size = 0;
  /** Asked for and not answered. */
  #asked = 0;
  #sink: ReplySink | undefined;
  readonly #early: Forwarded[] = [];

  constructor({ shards, settings, maxStatisticsEntries, output, nowMs, random, defer }: LentOptions) {
    this.#shards = shards;
    this.#output = output;
    this.#nowMs = nowMs;
    this.#defer = defer;
    this.#calls = Array.from({ length: shards }, () => []);
    this.#statistics = new CallStatistics(maxStatisticsEntries, (block) => this.#reader.addBlock(block));
    // Its shard asks for the routes and forgets the module.
    const unsaid = {
      want: () => {},
      forget: () => {},
      // A stretch a turn, until all is made: a tick is much too rare.
      unfinished: () => defer(() => this.#goOn()),
    };
    this.#modules = new ShardModules(
      settings.limits,
      settings.balancer,
      random,
      this.#statistics,
      this.counters,
      unsaid,
    );
    const index = mainShard(shards);
    this.#shard = new Shard(
      index,
      shards,
      this.#modules,
      this.counters,
      (_owner, datagram, port, address) => this.#keep(datagram, port, address),
      (modid, cmdid) => (this.#has(modid, cmdid) ? index : shardOf(modid, cmdid, shards)),
    );
    this.#peers = new ShardPeers(
      {
        request: (datagram, sink, port, address) => this.#handle({ datagram, sink, port, address }),
        reply: () => {},
      },
      this.counters,
      defer,
    );
  }

  #goOn(): void {
    if (this.#modules.goOn()) this.#defer(() => this.#goOn());
  }

  #handle(forwarded: Forwarded): void {
    const { datagram, sink, port, address } = forwarded;
    this.#reported = true;
    this.#sink = sink;
    this.#shard.handle(datagram, sink, port, address, this.#nowMs());
  }

  /** It came before the word that the module is here now: the two take different ways. */
  #keep(datagram: Uint8Array, port: number, address: UdpAddress): void {
    const mayStillCome = this.#asked > 0 && this.#early.length < MAX_EARLY;
    if (mayStillCome) this.#early.push({ datagram: datagram.slice(), sink: this.#sink!, port, address });
    else this.counters.values[FORWARD_DROPPED]! += 1;
  }

  #handleEarly(): void {
    for (const forwarded of this.#early.splice(0)) this.#handle(forwarded);
  }

  /** `posted` is called after every message to the shard. */
  connect(shard: number, port: PeerPort, posted: () => void): void {
    this.#peers.connect(shard, port, posted);
  }

  holds(modid: number, cmdid: number): boolean {
    return this.#known.get(modid, cmdid)?.state === "held";
  }

  #has(modid: number, cmdid: number): boolean {
    const state = this.#known.get(modid, cmdid)?.state;
    return state === "held" || state === "given back";
  }

  /** undefined: the module is its shard's; it is asked for if this happens often. */
  pick(modid: number, cmdid: number, keyHash: number): PickAnswer | undefined {
    const lent = this.#known.get(modid, cmdid);
    if (lent === undefined) {
      this.#count(modid, cmdid);
      return undefined;
    }
    lent.picks++;
    if (lent.state !== "held") {
      if (lent.state === "counted" && lent.picks >= BUSY_PICKS) this.#ask(lent);
      return undefined;
    }
    const picked: PickResult = this.#modules.pick(modid, cmdid, keyHash, this.#nowMs());
    this.counters.values[pickCounter(picked)]! += 1;
    if ("port" in picked) return { outcome: "host", ip: picked.ip, port: picked.port };
    return { outcome: picked.kind as "shedding" | "resolving" | "unknown" };
  }

  #count(modid: number, cmdid: number): void {
    if (this.#known.size >= MAX_COUNTED) return;
    const shard = shardOf(modid, cmdid, this.#shards);
    const fresh = { modid, cmdid, shard, picks: 1, sinceMs: 0, usedAtMs: 0, route: undefined };
    this.#known.set(modid, cmdid, { ...fresh, state: "counted" });
  }

  #ask(lent: Lent): void {
    const nowMs = this.#nowMs();
    if (nowMs < lent.sinceMs) return;
    if (this.#size >= MAX_LENT) {
      this.counts.full++;
      lent.sinceMs = nowMs + RETRY_AFTER_MS;
      return;
    }
    if (!this.#output.ask(lent.shard, lent.modid, lent.cmdid)) return;
    this.#size++;
    this.#asked++;
    this.counts.asked++;
    lent.state = "asked";
    lent.sinceMs = nowMs;
  }

  /** The shard's answer. undefined: it keeps the module. */
  lent(modid: number, cmdid: number, granted: ModuleInHand | undefined): void {
    const lent = this.#known.get(modid, cmdid);
    // The shard takes a module back that nobody has.
    if (lent?.state !== "asked") {
      if (granted !== undefined) this.#output.giveBack(shardOf(modid, cmdid, this.#shards), modid, cmdid, undefined);
      return;
    }
    const nowMs = this.#nowMs();
    this.#asked--;
    if (granted === undefined) {
      this.counts.refused++;
      this.#end(lent, nowMs + RETRY_AFTER_MS);
      return;
    }
    this.counts.lent++;
    lent.state = "held";
    lent.sinceMs = nowMs;
    lent.usedAtMs = nowMs;
    this.#modules.applyRoute(granted.route, nowMs);
    this.#modules.adopt(modid, cmdid, granted.verdicts, nowMs);
    const newer = lent.route;
    lent.route = granted.route;
    if (newer !== undefined) this.route(newer);
    this.#handleEarly();
  }

  /** A route came; its shard is told too. */
  route(update: RouteUpdate): void {
    const lent = this.#known.get(update.modid, update.cmdid);
    if (lent === undefined || lent.state === "counted") return;
    if (update.revision !== 0 && update.revision < (lent.route?.revision ?? 0)) return;
    if (lent.state !== "held") {
      lent.route = update;
      return;
    }
    if (update.hosts.length === 0) this.#giveBack(lent, false);
    else {
      // As it was before: to hand over what is thought of so many would hold up its shard.
      if (update.hosts.length > MAX_LENT_HOSTS) this.#giveBack(lent, true);
      this.#modules.applyRoute(update, this.#nowMs());
    }
    lent.route = update;
  }

  /** The shard would have the module back. */
  recall(modid: number, cmdid: number): void {
    const lent = this.#known.get(modid, cmdid);
    if (lent?.state !== "held") return;
    this.counts.recalled++;
    this.#giveBack(lent, true);
  }

  /** The shard has forgotten the module, which nobody asked for. */
  forgotten(modid: number, cmdid: number): void {
    const lent = this.#known.get(modid, cmdid);
    if (lent?.state === "held") this.#giveBack(lent, false);
  }

  #giveBack(lent: Lent, withVerdicts: boolean): void {
    const nowMs = this.#nowMs();
    const { modid, cmdid, shard } = lent;
    this.#handOn();
    const verdicts = withVerdicts ? this.#modules.standings(modid, cmdid, nowMs) : undefined;
    const back = verdicts === undefined ? undefined : { route: lent.route!, verdicts };
    this.#output.giveBack(shard, modid, cmdid, back);
    lent.state = "given back";
    lent.sinceMs = nowMs;
  }

  /** Over, also for what had been forwarded. */
  #end(lent: Lent, askAgainAtMs: number): void {
    this.#size--;
    this.#modules.drop(lent.modid, lent.cmdid);
    lent.state = "counted";
    lent.sinceMs = askAgainAtMs;
    lent.route = undefined;
  }

  /** A shard died: what it lent is its successor's. What was counted is told to that one. */
  lost(shard: number): void {
    for (const lent of this.#known.values()) {
      if (lent.shard !== shard || lent.state === "counted") continue;
      if (lent.state === "held") this.counts.lost++;
      if (lent.state === "asked") this.#asked--;
      this.#end(lent, 0);
    }
    this.#handleEarly();
  }

  /** False: the module is its shard's, and so is the report. */
  report({ modid, cmdid, ip, port, succeeded, latencyUs }: CallReport): boolean {
    if (!this.holds(modid, cmdid)) return false;
    this.#reported = true;
    this.#shard.report(modid, cmdid, ip, port, succeeded, latencyUs, this.#nowMs());
    return true;
  }

  /** undefined: the module is its shard's. */
  resolve(modid: number, cmdid: number, limit: number): ResolveAnswer | undefined {
    const lent = this.#known.get(modid, cmdid);
    if (lent?.state !== "held") return undefined;
    lent.picks++;
    const answer = this.#modules.resolve(modid, cmdid, limit, this.#nowMs());
    if (answer.outcome === "hosts" && answer.hosts.length > 0) this.counters.values[PICKS]! += 1;
    return answer;
  }

  /** undefined: the module is its shard's. The totals are only those of calls counted here: the shard has them all. */
  describe(modid: number, cmdid: number): ModuleDescription | undefined {
    if (!this.holds(modid, cmdid)) return undefined;
    this.#handOn();
    return this.#modules.describe(modid, cmdid, this.#nowMs());
  }

  configure(settings: ShardSettings): void {
    this.#modules.configure(settings.limits, settings.balancer);
  }

  /** To be called every quarter of a second. */
  tick(): void {
    const nowMs = this.#nowMs();
    this.#handOn();
    const used: number[][] = Array.from({ length: this.#shards }, () => []);
    for (const lent of [...this.#known.values()]) {
      if (lent.state === "held" && lent.picks > 0) {
        lent.usedAtMs = nowMs;
        used[lent.shard]!.push(lent.modid, lent.cmdid);
      }
      this.#age(lent, nowMs);
      lent.picks = 0;
    }
    used.forEach((modules, shard) => {
      if (modules.length > 0) this.#output.used(shard, modules);
    });
  }

  #age(lent: Lent, nowMs: number): void {
    switch (lent.state) {
      case "counted":
        if (lent.picks === 0 && nowMs >= lent.sinceMs) this.#known.delete(lent.modid, lent.cmdid);
        break;
      case "asked":
        // An answer comes, or the shard has died.
        break;
      case "held":
        if (nowMs - lent.usedAtMs < IDLE_MS) break;
        this.counts.idle++;
        this.#giveBack(lent, true);
        break;
      case "given back":
        if (nowMs - lent.sinceMs > FAREWELL_MS) this.#end(lent, nowMs + RETRY_AFTER_MS);
        break;
    }
  }

  /** Tells the owners of the calls that were counted since the last time. */
  #handOn(): void {
    if (this.#reported) {
      this.#reported = false;
      for (const [{ modid, cmdid }, hosts] of this.#reader.take(false).entries()) {
        const calls = this.#calls[shardOf(modid, cmdid, this.#shards)]!;
        let before = this.#handedOn.get(modid, cmdid);
        if (before === undefined) {
          before = new Map();
          this.#handedOn.set(modid, cmdid, before);
        }
        for (const { ip, port, succ, err, ejected } of hosts) {
          const key = endpointKey(ip, port);
          const told = before.get(key) ?? { succ: 0, err: 0 };
          calls.push({ modid, cmdid, ip, port, succ: (succ - told.succ) >>> 0, err: (err - told.err) >>> 0, ejected });
          before.set(key, { succ, err });
        }
      }
    }
    this.#calls.forEach((calls, shard) => {
      if (calls.length > 0 && this.#output.counted(shard, calls)) this.#calls[shard] = [];
    });
  }

  /** What was counted and not handed on goes now, if the shards can hear it. */
  stop(): void {
    this.#handOn();
  }
}

/** `here`: of the main thread, which has the module; `home`: of its shard, which has counted all its calls. */
export function withTotals(here: ModuleDescription, home: ModuleDescription | undefined): ModuleDescription {
  const totals = new Map(home?.hosts.map((host) => [endpointKey(host.ip, host.port), host]));
  return {
    ...here,
    ageMs: home?.ageMs ?? here.ageMs,
    hosts: here.hosts.map((host) => {
      const counted = totals.get(endpointKey(host.ip, host.port));
      return { ...host, totalSucc: counted?.totalSucc ?? 0, totalErr: counted?.totalErr ?? 0 };
    }),
  };
}
