// Modules that a shard has lent to the main thread. A pick over HTTP that has to go to a shard and back costs three times
// what the pick and its HTTP request cost, and most modules are asked for in one way only; so the main thread may have
// a module that is asked for over HTTP and by nobody over UDP. The shard stays its home: it hears the routes, counts the
// calls and has the module back as soon as a datagram asks for it.
//
// A module has one balancer that counts at any time. While it is lent, datagrams for it go to the main thread as they
// would go to a sibling, and it is called back with the first of them.
import type { Standing } from "../core/adopt-verdicts.ts";
import type { CallStatistics } from "../core/call-statistics.ts";
import { ModuleMap } from "../core/module-key.ts";
import { mainShard, shardOf } from "../core/shard-map.ts";
import type { RouteUpdate, ShardModules } from "./shard-modules.ts";

/** A module is lent when no datagram asked for it in this time. */
export const LOOK_MS = 250;

/** To hand over the state of more would hold up callers by UDP: 200 take 0.2 ms of the shard's thread each way. */
export const MAX_LENT_HOSTS = 200;

/** A module as it goes from hand to hand: its route and what is thought of the hosts. */
export interface ModuleInHand {
  readonly route: RouteUpdate;
  readonly verdicts: readonly Standing[];
}

/** So many calls to a host ended since the last time. */
export interface CallsCounted {
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: number;
  readonly port: number;
  readonly succ: number;
  readonly err: number;
  readonly ejected: boolean;
}

export interface LendingOutput {
  /** The answer to `ask`; undefined: no, it is wanted here, has no route or many hosts. */
  lent(modid: number, cmdid: number, granted: ModuleInHand | undefined): void;
  /** UDP callers want it: it is to be given back. */
  recall(modid: number, cmdid: number): void;
}

interface Loan {
  readonly modid: number;
  readonly cmdid: number;
  readonly askedAtMs: number;
  state: "looked at" | "lent" | "recalled";
}

export class ShardLending {
  readonly #loans = new ModuleMap<Loan>();
  readonly #modules: ShardModules;
  readonly #statistics: CallStatistics;
  readonly #output: LendingOutput;
  /** Those that are looked at, oldest first. */
  #asked: Loan[] = [];

  constructor(
    private readonly index: number,
    private readonly shards: number,
    modules: ShardModules,
    statistics: CallStatistics,
    output: LendingOutput,
  ) {
    this.#modules = modules;
    this.#statistics = statistics;
    this.#output = output;
  }

  /** The main thread would have the module. As many as it asks for: it bounds them. */
  ask(modid: number, cmdid: number, nowMs: number): void {
    const loan: Loan = { modid, cmdid, askedAtMs: nowMs, state: "looked at" };
    this.#loans.set(modid, cmdid, loan);
    this.#asked.push(loan);
  }

  /** Lends what nobody asked for while it was looked at. To be called every few milliseconds. */
  tick(nowMs: number): void {
    while (this.#asked.length > 0 && nowMs - this.#asked[0]!.askedAtMs >= LOOK_MS) {
      const loan = this.#asked.shift()!;
      if (this.#loans.get(loan.modid, loan.cmdid) !== loan) continue;
      this.#lend(loan, nowMs);
    }
  }

  #lend(loan: Loan, nowMs: number): void {
    const { modid, cmdid } = loan;
    const route = this.#modules.route(modid, cmdid);
    if (route === undefined || route.hosts.length > MAX_LENT_HOSTS) {
      this.#loans.delete(modid, cmdid);
      this.#output.lent(modid, cmdid, undefined);
      return;
    }
    loan.state = "lent";
    this.#output.lent(modid, cmdid, { route, verdicts: this.#modules.standings(modid, cmdid, nowMs) });
  }

  /** Whose a datagram about the module is. */
  ownerOf(modid: number, cmdid: number): number {
    const owner = shardOf(modid, cmdid, this.shards);
    return owner === this.index && this.#loans.size > 0 && this.#isElsewhere(modid, cmdid)
      ? mainShard(this.shards)
      : owner;
  }

  #isElsewhere(modid: number, cmdid: number): boolean {
    const loan = this.#loans.get(modid, cmdid);
    if (loan === undefined) return false;
    if (loan.state === "looked at") {
      this.#loans.delete(modid, cmdid);
      this.#output.lent(modid, cmdid, undefined);
      return false;
    }
    if (loan.state === "lent") {
      loan.state = "recalled";
      this.#output.recall(modid, cmdid);
    }
    return true;
  }

  /** The main thread has it no more. What it learnt replaces what was known when it went; undefined: nothing did. */
  returned(modid: number, cmdid: number, back: ModuleInHand | undefined, nowMs: number): void {
    this.#loans.delete(modid, cmdid);
    if (back === undefined) return;
    this.#modules.applyRoute({ ...back.route, hosts: [] }, nowMs);
    this.#modules.applyRoute(back.route, nowMs);
    this.#modules.adopt(modid, cmdid, back.verdicts, nowMs);
  }

  /** Lent ones (modid, cmdid, modid, …) are in use: their routes are to be kept fresh. */
  used(modules: readonly number[], nowMs: number): void {
    for (let i = 0; i < modules.length; i += 2) this.#modules.use(modules[i]!, modules[i + 1]!, nowMs);
  }

  /** Calls ended that the main thread heard of. */
  counted(calls: readonly CallsCounted[]): void {
    for (const { modid, cmdid, ip, port, succ, err, ejected } of calls) {
      const entry = this.#statistics.open(modid, cmdid, ip, port);
      if (entry < 0) continue;
      for (let i = 0; i < succ; i++) this.#statistics.count(entry, true, ejected);
      for (let i = 0; i < err; i++) this.#statistics.count(entry, false, ejected);
    }
  }
}
