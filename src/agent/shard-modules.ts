// The modules a shard knows and what it does about those it does not know yet.
//
// A module is resolving (asked for, no answer yet), known (has a balancer) or unknown (the dns service says that it does
// not exist; remembered, because a caller that asks for it asks again and again). A request for a resolving module may
// wait, within bounds: a first call should not fail because a route takes a millisecond to come. After the first wait
// ran out nobody waits for that module again until an answer comes, so a dead dns service costs each caller one delay
// and not one per call.
//
// Whoever sends datagrams can invent module numbers, so everything here that a number creates is bounded: how many
// modules, how many of them unknown (the oldest goes first), how many new ones per second, how many requests wait.
import { adoptVerdicts, type Standing, standingsOf } from "../core/adopt-verdicts.ts";
import type { Host } from "../core/assignment.ts";
import {
  type BalancedHost,
  type Balancer,
  type PickResult,
  type Random,
  RESOLVING,
  UNKNOWN,
} from "../core/balancer.ts";
import type { CallStatistics } from "../core/call-statistics.ts";
import type { Endpoint } from "../core/endpoint.ts";
import { type BalancerSettings, makeBalancer, reconfigured, settingsFor } from "../core/make-balancer.ts";
import { ModuleMap } from "../core/module-key.ts";
import { type HostNumbers, PackedHosts } from "../core/packed-hosts.ts";
import type { PolicyChoice } from "../core/policies.ts";
import { sameChoice } from "../core/policy-choice.ts";
import { counterIndex, type ShardCounters } from "./shard-counters.ts";
import {
  DESCRIBED_AT_ONCE,
  type DescriptionPiece,
  describeHosts,
  type ModuleDescription,
} from "./shard-description.ts";
import { Module, NOBODY, type Waiter, type Waiting } from "./shard-module.ts";
import { UnfinishedModules } from "./unfinished-modules.ts";
import { WaitQueue } from "./wait-queue.ts";

/** A route as it came from the dns service or the snapshot. No hosts: there is no such module. Revision 0: not told. */
export interface RouteUpdate {
  readonly modid: number;
  readonly cmdid: number;
  readonly revision: number;
  readonly hosts: readonly Host[] | HostNumbers;
  /** NO_CHOICE: balanced by this agent's default. */
  readonly policy: PolicyChoice;
  /** Hosts of this revision were left out of what the dns service sent. */
  readonly partial?: boolean;
}

export interface ModuleLimits {
  /** Known modules of this shard. */
  readonly maxModules: number;
  /** Modules remembered as unknown or still resolving. */
  readonly maxUnknown: number;
  readonly maxWaiting: number;
  /** New module numbers per second; a burst of ten seconds' worth may come at once. */
  readonly maxNewPerSecond: number;
  readonly resolveTimeoutMs: number;
  /** An unknown module is asked for again after this long. */
  readonly negativeTtlMs: number;
  /** A known module in use is asked for again after this long: Lars' update_timeout. */
  readonly updateTimeoutMs: number;
  /** A known module that nobody asked for in this long is given up. */
  readonly forgetAfterMs: number;
}

export interface ModuleOutput {
  /** Ask the dns service for the route (again). */
  want(modid: number, cmdid: number): void;
  /** The module is not needed any more. */
  forget(modid: number, cmdid: number): void;
  /** `goOn` has something to do now. Absent: it is called every few milliseconds anyway. */
  unfinished?(): void;
}

/** There was no room for the host in the statistics. */
const UNCOUNTED = -2;

export interface ResolvedHost {
  readonly ip: number;
  readonly port: number;
  readonly weight: number;
}

/** `hosts`: the pick first, then others that might have been picked; none when none were wanted. */
export type ResolveAnswer =
  | { readonly outcome: "hosts"; readonly hosts: readonly ResolvedHost[] }
  | { readonly outcome: "shedding" | "resolving" | "unknown" };

const MODULES = counterIndex("modules");
const UNKNOWN_MODULES = counterIndex("unknown_modules");
const WAITING = counterIndex("waiting");
const WAITED = counterIndex("waited");
const WAIT_TIMEOUTS = counterIndex("wait_timeouts");
const WAITING_FULL = counterIndex("waiting_full");
const MODULES_FULL = counterIndex("modules_full");
const RATE_LIMITED = counterIndex("resolve_rate_limited");
const STATISTICS_FULL = counterIndex("statistics_full");

export class ShardModules {
  readonly #modules = new ModuleMap<Module>();
  /** Resolving and unknown ones, oldest first. */
  readonly #doubtful = new Set<Module>();
  readonly #unfinished: UnfinishedModules;
  readonly #queue = new WaitQueue<Waiting>();
  /** How often the settings were changed. */
  #settings = 0;
  #newTokens: number;
  #newTokensAtMs = 0;
  /** See `tick`; of modules that nobody ticks, nothing else is known. */
  #heardMs = Number.POSITIVE_INFINITY;
  readonly #counters: Float64Array;

  constructor(
    private limits: ModuleLimits,
    /** For modules that choose nothing of their own. */
    private balancing: BalancerSettings,
    private readonly random: Random,
    private readonly statistics: CallStatistics,
    counters: ShardCounters,
    private readonly output: ModuleOutput,
  ) {
    this.#newTokens = limits.maxNewPerSecond * 10;
    this.#unfinished = new UnfinishedModules(() => output.unfinished?.());
    this.#counters = counters.values;
    this.#counters[MODULES] = 0;
    this.#counters[UNKNOWN_MODULES] = 0;
    this.#counters[WAITING] = 0;
  }

  /** Counts from the next request, pick and report on, for the modules that are there too. */
  configure(limits: ModuleLimits, balancing: BalancerSettings): void {
    this.limits = limits;
    this.balancing = balancing;
    // Each module is brought to it when it is next used: all at once would hold up callers.
    this.#settings++;
  }

  /** The module's balancer, with the settings that hold now. */
  #balancerOf(module: Module, nowMs: number): Balancer | undefined {
    if (module.settings !== this.#settings) this.#rebalance(module, nowMs);
    return module.balancer;
  }

  /** Brings a running balancer to what holds for its module now. Statistics go on where they were. */
  #rebalance(module: Module, nowMs: number): void {
    module.settings = this.#settings;
    const { balancer } = module;
    if (balancer === undefined) return;
    module.balancer = reconfigured(balancer, settingsFor(this.balancing, module.policy));
    if (module.balancer !== balancer) module.balancer.update(module.hosts, nowMs);
    this.#unfinished.note(module);
  }

  /** `goOn` has something to do. */
  get isUnfinished(): boolean {
    return !this.#unfinished.isEmpty;
  }

  /** What balancers make in stretches: another one of 0.1 ms; false: nothing is left. To be called every few milliseconds. */
  goOn(): boolean {
    return this.#unfinished.goOn();
  }

  /** Chooses a host. RESOLVING: the caller may `wait`. */
  pick(modid: number, cmdid: number, keyHash: number, nowMs: number): PickResult {
    const module = this.#modules.get(modid, cmdid);
    if (module === undefined) return this.#admit(modid, cmdid, nowMs) === undefined ? UNKNOWN : RESOLVING;
    module.usedAtMs = nowMs;
    if (module.state === "known") {
      if (nowMs - module.heardAtMs >= this.limits.updateTimeoutMs)
        this.#ask(module, this.limits.updateTimeoutMs, nowMs);
      const balancer = this.#balancerOf(module, nowMs)!;
      const picked = balancer.pick(nowMs, this.random, keyHash);
      if (balancer.isUnfinished === true) this.#unfinished.note(module);
      // From now on its calls count, also those that end when it has left the route.
      if (picked.kind === "host" && (picked as BalancedHost).tag === -1) {
        this.#openStatistics(modid, cmdid, picked as BalancedHost);
      }
      return picked;
    }
    // One that is still resolving too: the first request may have found no room in the agent's list of modules.
    this.#ask(module, this.limits.negativeTtlMs, nowMs);
    return module.state === "resolving" ? RESOLVING : UNKNOWN;
  }

  isKnown(modid: number, cmdid: number): boolean {
    return this.#modules.get(modid, cmdid)?.state === "known";
  }

  /** What is known of a module that somebody has a use for, and whose route is to be kept fresh. */
  use(modid: number, cmdid: number, nowMs: number): ModuleDescription["state"] {
    const module = this.#modules.get(modid, cmdid);
    if (module === undefined) return this.#admit(modid, cmdid, nowMs) === undefined ? "unknown" : "resolving";
    module.usedAtMs = nowMs;
    if (module.state !== "resolving") {
      this.#ask(module, module.state === "known" ? this.limits.updateTimeoutMs : this.limits.negativeTtlMs, nowMs);
    }
    return module.state;
  }

  /** A known module's hosts, as the API's GetRoute is answered. */
  hosts(modid: number, cmdid: number, nowMs: number): readonly Host[] | typeof RESOLVING {
    if (this.use(modid, cmdid, nowMs) === "resolving") return RESOLVING;
    return this.#modules.get(modid, cmdid)?.hosts.unpack() ?? [];
  }

  /**
   * Chooses a host, as `pick` does, and names up to `limit` - 1 others that could have been chosen: not held out, and in
   * the own zone or outside of it as the chosen one is. 0: chooses nothing, tells whether the module is there.
   */
  resolve(modid: number, cmdid: number, limit: number, nowMs: number): ResolveAnswer {
    if (limit === 0) {
      const state = this.use(modid, cmdid, nowMs);
      if (state === "resolving" || !this.#modules.has(modid, cmdid)) return { outcome: "resolving" };
      return state === "unknown" ? { outcome: "unknown" } : { outcome: "hosts", hosts: [] };
    }
    const picked = this.pick(modid, cmdid, 0, nowMs);
    const module = this.#modules.get(modid, cmdid);
    // No room for a new module is no proof that there is none.
    if (module === undefined) return { outcome: "resolving" };
    if (!("port" in picked)) return { outcome: picked.kind as "shedding" | "resolving" | "unknown" };
    return { outcome: "hosts", hosts: this.#withOthers(module, picked, limit) };
  }

  #withOthers(module: Module, picked: BalancedHost, limit: number): readonly ResolvedHost[] {
    const { hosts, balancer } = module;
    const { policy, zone } = settingsFor(this.balancing, module.policy);
    const isLocal = (index: number): boolean => policy !== "lars" && zone !== "" && hosts.zone(index) === zone;
    const start = hosts.indexOf(picked.ip, picked.port);
    if (start < 0) return [];
    const chosen: ResolvedHost[] = [];
    // From the picked one on and round: a limit must not leave out always the same.
    for (let i = 0; i < hosts.length && chosen.length < limit; i++) {
      const index = (start + i) % hosts.length;
      const { ip, port, weight } = hosts.host(index);
      const fits = balancer!.find(ip, port)?.available === true && isLocal(index) === isLocal(start);
      if (i === 0 || fits) chosen.push({ ip, port, weight });
    }
    return chosen;
  }

  /** A known module's route as it was heard; undefined for any other module. */
  route(modid: number, cmdid: number): RouteUpdate | undefined {
    const module = this.#modules.get(modid, cmdid);
    if (module?.state !== "known") return undefined;
    const { revision, hosts, policy } = module;
    return { modid, cmdid, revision, hosts: hosts.toMessage(), policy };
  }

  /** A module whose route was just taken is balanced on as it was elsewhere. */
  adopt(modid: number, cmdid: number, verdicts: readonly Standing[], nowMs: number): void {
    const module = this.#modules.get(modid, cmdid);
    const balancer = module && this.#balancerOf(module, nowMs);
    if (balancer === undefined) return;
    adoptVerdicts(balancer, verdicts, nowMs);
    this.#unfinished.note(module!);
  }

  /** Gives a module up. */
  drop(modid: number, cmdid: number): void {
    const module = this.#modules.get(modid, cmdid);
    if (module !== undefined) this.#remove(module);
  }

  #ask(module: Module, intervalMs: number, nowMs: number): void {
    if (nowMs - Math.max(module.askedAtMs, module.heardAtMs) < intervalMs) return;
    module.askedAtMs = nowMs;
    this.output.want(module.modid, module.cmdid);
  }

  /** Takes up a new module number; undefined when there is no room for it now. */
  #admit(modid: number, cmdid: number, nowMs: number): Module | undefined {
    const { maxModules, maxUnknown, maxNewPerSecond } = this.limits;
    const earned = ((nowMs - this.#newTokensAtMs) / 1000) * maxNewPerSecond;
    this.#newTokens = Math.min(maxNewPerSecond * 10, this.#newTokens + Math.max(0, earned));
    this.#newTokensAtMs = nowMs;
    if (this.#newTokens < 1) {
      this.#counters[RATE_LIMITED]! += 1;
      return undefined;
    }
    if (this.#modules.size - this.#doubtful.size >= maxModules) {
      this.#counters[MODULES_FULL]! += 1;
      return undefined;
    }
    if (this.#doubtful.size >= maxUnknown && !this.#evictUnknown()) {
      this.#counters[MODULES_FULL]! += 1;
      return undefined;
    }
    this.#newTokens -= 1;
    const module = new Module(modid, cmdid, nowMs, this.limits.resolveTimeoutMs);
    this.#insert(module);
    this.#doubtful.add(module);
    this.#count();
    this.output.want(modid, cmdid);
    return module;
  }

  #insert(module: Module): void {
    this.#modules.set(module.modid, module.cmdid, module);
  }

  /** Gives up the oldest module nobody waits for. */
  #evictUnknown(): boolean {
    for (const module of this.#doubtful) {
      if (module.unsettled > 0) continue;
      this.#remove(module);
      return true;
    }
    return false;
  }

  #remove(module: Module): void {
    this.#doubtful.delete(module);
    this.#unfinished.delete(module);
    this.#modules.delete(module.modid, module.cmdid);
    this.output.forget(module.modid, module.cmdid);
    this.#count();
  }

  #count(): void {
    this.#counters[MODULES] = this.#modules.size - this.#doubtful.size;
    this.#counters[UNKNOWN_MODULES] = this.#doubtful.size;
  }

  /** After RESOLVING: true when `waiter` was taken and will be settled; false: answer at once. */
  wait(modid: number, cmdid: number, waiter: Waiter, nowMs: number): boolean {
    const module = this.#modules.get(modid, cmdid);
    if (module === undefined || module.state !== "resolving") return false;
    if (Math.min(nowMs, this.#heardMs) >= module.waitUntilMs) return false;
    if (this.#counters[WAITING]! >= this.limits.maxWaiting) {
      this.#counters[WAITING_FULL]! += 1;
      return false;
    }
    const waiting: Waiting = { module, waiter };
    if (module.waiting === NOBODY) module.waiting = [];
    module.waiting.push(waiting);
    module.unsettled++;
    this.#queue.push(waiting, nowMs + this.limits.resolveTimeoutMs);
    this.#counters[WAITING]! += 1;
    this.#counters[WAITED]! += 1;
    return true;
  }

  /**
   * Settles the requests whose time was up at `heardMs`. To be called every few milliseconds.
   * `heardMs`: what was posted to the thread until then has been heard, routes too. A thread that did not get a processor
   * for longer than a request may wait finds the time up and the route at its door.
   */
  tick(nowMs: number, heardMs = nowMs): void {
    this.#heardMs = heardMs;
    for (;;) {
      const waiting = this.#queue.takeDue(heardMs);
      if (waiting === undefined) return;
      if (waiting.waiter !== undefined) this.#counters[WAIT_TIMEOUTS]! += 1;
      this.#settle(waiting, nowMs);
    }
  }

  #settle(waiting: Waiting, nowMs: number): void {
    const { waiter } = waiting;
    if (waiter === undefined) return;
    waiting.waiter = undefined;
    if (--waiting.module.unsettled === 0) waiting.module.waiting = NOBODY;
    this.#counters[WAITING]! -= 1;
    waiter.settle(nowMs);
  }

  /** Gives up known modules out of use. To be called now and then; O(modules). */
  forgetIdle(nowMs: number): void {
    for (const module of [...this.#modules.values()]) {
      if (module.state === "known" && nowMs - module.usedAtMs >= this.limits.forgetAfterMs) {
        this.#remove(module);
      }
    }
  }

  /**
   * A call to a host ended. False when neither the route nor the statistics know the host: a stray or invented report.
   * Calls to hosts that have left the route are still counted, where they were picked or reported before.
   */
  report(
    modid: number,
    cmdid: number,
    ip: number,
    port: number,
    succeeded: boolean,
    latencyUs: number,
    nowMs: number,
  ): boolean {
    const module = this.#modules.get(modid, cmdid);
    const balancer = module && this.#balancerOf(module, nowMs);
    const host = balancer?.find(ip, port);
    if (host !== undefined) {
      balancer!.report(host, succeeded, latencyUs, nowMs);
      if (balancer!.isUnfinished === true) this.#unfinished.note(module!);
      if (host.tag === -1) this.#openStatistics(modid, cmdid, host);
      if (host.tag >= 0) this.statistics.count(host.tag, succeeded, !host.available);
      return true;
    }
    const entry = this.statistics.find(modid, cmdid, ip, port);
    if (entry < 0) return false;
    this.statistics.count(entry, succeeded, false);
    return true;
  }

  /** Takes a route. One that is older than what is held is ignored. */
  applyRoute(update: RouteUpdate, nowMs: number): void {
    const { modid, cmdid, revision, hosts, policy } = update;
    let module = this.#modules.get(modid, cmdid);
    if (module === undefined) {
      if (hosts.length === 0) return;
      module = new Module(modid, cmdid, nowMs, 0);
      this.#insert(module);
      this.#doubtful.add(module);
    }
    if (revision !== 0 && revision < module.revision) return;
    module.heardAtMs = nowMs;
    module.revision = revision;
    const isNewPolicy = !sameChoice(module.policy, policy);
    // Else what it has, which for most modules is the one that all share.
    if (isNewPolicy) module.policy = policy;
    // Most routes are heard again as they are; building the pickers' tables anew would be for nothing.
    const packed = PackedHosts.of(hosts);
    const areNewHosts = !module.hosts.equals(packed);
    if (areNewHosts) module.hosts = packed;
    if (hosts.length === 0) {
      module.balancer?.update([], nowMs);
      module.balancer = undefined;
      module.state = "unknown";
      this.#doubtful.add(module);
    } else {
      if (isNewPolicy || module.settings !== this.#settings) this.#rebalance(module, nowMs);
      module.balancer ??= makeBalancer(settingsFor(this.balancing, policy));
      if (areNewHosts) {
        module.balancer.update(module.hosts, nowMs);
        this.#unfinished.note(module);
      }
      module.state = "known";
      this.#doubtful.delete(module);
    }
    this.#count();
    const settled = module.waiting;
    module.waiting = NOBODY;
    for (const waiting of settled) this.#settle(waiting, nowMs);
  }

  #openStatistics(modid: number, cmdid: number, host: BalancedHost): void {
    host.tag = this.statistics.open(modid, cmdid, host.ip, host.port);
    if (host.tag >= 0) return;
    host.tag = UNCOUNTED;
    this.#counters[STATISTICS_FULL]! += 1;
  }

  describe(modid: number, cmdid: number, nowMs: number): ModuleDescription | undefined {
    return this.describePiece(modid, cmdid, undefined, nowMs, Number.POSITIVE_INFINITY)?.description;
  }

  /** Some hosts: those after `after`. */
  describePiece(
    modid: number,
    cmdid: number,
    after: Endpoint | undefined,
    nowMs: number,
    limit = DESCRIBED_AT_ONCE,
  ): DescriptionPiece | undefined {
    const module = this.#modules.get(modid, cmdid);
    if (module === undefined) return undefined;
    this.#balancerOf(module, nowMs);
    const { hosts, more } = describeHosts(module, this.statistics, after, limit, nowMs);
    const description = {
      state: module.state,
      revision: module.revision,
      ageMs: nowMs - module.heardAtMs,
      policy: settingsFor(this.balancing, module.policy).policy,
      policyParameters: module.policy.parameters,
      hosts,
    };
    return { description, more };
  }

  /** What is thought of a module's hosts, for whoever balances it next. O(hosts). */
  standings(modid: number, cmdid: number, nowMs: number): readonly Standing[] {
    const module = this.#modules.get(modid, cmdid);
    const balancer = module && this.#balancerOf(module, nowMs);
    return balancer === undefined ? [] : standingsOf(balancer, nowMs);
  }
}
