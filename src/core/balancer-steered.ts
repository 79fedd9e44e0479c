// Every policy but `lars`: a picker that chooses, and around it what is alike for all of them. Hosts and their state over
// route updates, what is in flight and how long calls take, ejection, and zones: callers stay in their own zone while it
// can carry them, and spill over in proportion as it cannot.
//
// A pick allocates nothing; the sets that pickers choose from are rebuilt when a host comes, goes, is ejected or
// readmitted, which is rare.
import type { Host } from "./assignment.ts";
import type { BalancedHost, Balancer, HostVerdict, Random } from "./balancer.ts";
import { SHEDDING } from "./balancer.ts";
import { Ejection } from "./ejection.ts";
import type { Endpoint } from "./endpoint.ts";
import { type FreshHosts, HostSubset, HostTable } from "./host-table.ts";
import { PackedHosts } from "./packed-hosts.ts";
import { type HostSet, type MakePicker, NO_HOSTS, type Picker } from "./picker.ts";
import type { SteeringParameters } from "./policies.ts";
import { ReportLosses } from "./report-losses.ts";
import { type PickContext, SteeredHost } from "./steered-host.ts";

/** Until the first pick brings a better one. */
const HALF: Random = () => 0.5;
/** What a call that failed has cost its caller, in ms, however fast it failed. */
const FAILURE_MS = 1000;
/** In this time the lowest estimate that is remembered grows e-fold. */
const LEAST_GROWS_MS = 20_000;
/** Failing that much more often than the module as a whole is put down to chance. */
const FAILURE_SLACK = 0.05;
const FAILURE_FACTOR = 2;
/** A single call moves an estimate by at least and at most this much of the way. */
const MIN_STEP = 1 / 64;
const MAX_STEP = 0.75;
const FAILURE_SHARE_STEP = 0.02;

export class SteeredBalancer implements Balancer {
  #parameters: SteeringParameters;
  readonly #zone: string;
  /** Sorted by address. */
  #hosts: HostTable;
  #makePicker: MakePicker;
  #local: Picker;
  /** Made when it is first needed, here and below. */
  #remote: Picker | undefined;
  #all: Picker | undefined;
  #allIsStale = true;
  /** False: no picker is unfinished. */
  #mayBeUnfinished = false;
  #settled = 0;
  #localSize = 0;
  #remoteSize = 0;
  /** Share of picks that stay in the own zone. */
  #localShare = 1;
  #ejection: Ejection | undefined;
  readonly #losses = new ReportLosses();
  /** Share of all calls that fail lately. */
  #failureShare = 0;
  /** Estimates of the hosts that have one and are not ejected: how many, and their sum in ms. */
  #estimated = 0;
  #estimatesMs = 0;
  readonly #context: PickContext;
  #random: Random = HALF;
  readonly #fresh: FreshHosts;

  constructor(parameters: SteeringParameters, zone: string, makePicker: MakePicker) {
    this.#parameters = parameters;
    this.#zone = zone;
    this.#makePicker = makePicker;
    this.#context = {
      nowMs: 0,
      random: HALF,
      keyHash: 0,
      inFlight: 0,
      maxLeaseMs: parameters.pick_lease * 1000,
      lossy: false,
    };
    this.#local = makePicker(parameters);
    this.#fresh = { windowMs: parameters.success_window * 1000, sinceMs: 0 };
    this.#hosts = new HostTable(PackedHosts.NONE, this.#fresh);
  }

  /** New parameters, and another way to choose, count from the next pick and report on; hosts keep what they have earned. */
  configure(parameters: SteeringParameters, makePicker: MakePicker = this.#makePicker): void {
    this.#parameters = parameters;
    this.#context.maxLeaseMs = parameters.pick_lease * 1000;
    this.#fresh.windowMs = parameters.success_window * 1000;
    this.#ejection?.configure(parameters);
    if (makePicker === this.#makePicker) {
      // What they have built stays: a table of `consistent_hash` is dear.
      for (const picker of [this.#local, this.#remote, this.#all]) picker?.configure?.(parameters);
    } else {
      this.#makePicker = makePicker;
      this.#local = makePicker(parameters);
      this.#remote = undefined;
      this.#all = undefined;
    }
    this.#rebuild();
  }

  pick(nowMs: number, random: Random, keyHash: number): SteeredHost | typeof SHEDDING {
    if (this.#hosts.length === 0) return SHEDDING;
    this.#random = random;
    const context = this.#context;
    context.nowMs = nowMs;
    context.random = random;
    context.keyHash = keyHash;
    const ejection = this.#ejection!;
    ejection.countPick(nowMs);
    const host = ejection.ejected.length > 0 ? this.#pickAround(ejection, context) : this.#pickAvailable(context);
    if (!("take" in host)) return SHEDDING;
    this.#settleOne(context);
    if (this.#losses.isDue(nowMs)) this.#losses.judge(nowMs, this.#typicalMs());
    context.lossy = this.#losses.isLossy;
    this.#losses.picked();
    host.settle(context);
    context.inFlight += host.take(nowMs);
    return host;
  }

  /** Hosts that nobody looks at have lost reports too: one of all is seen to at every pick, in turn. */
  #settleOne(context: PickContext): void {
    this.#settled = (this.#settled + 1) % this.#hosts.length;
    this.#hosts.made(this.#settled)?.settle(context);
  }

  #pickAround(ejection: Ejection, context: PickContext): SteeredHost | typeof SHEDDING {
    const probe = ejection.probe(context.nowMs);
    if (probe !== undefined) return probe;
    const available = this.#localSize + this.#remoteSize;
    if (available > 0 && !ejection.panic) return this.#pickAvailable(context);
    if (this.#parameters.shedding >= 1) {
      return available > 0 && ejection.trial(context.nowMs) ? this.#pickAvailable(context) : SHEDDING;
    }
    this.#all ??= this.#makePicker(this.#parameters);
    if (this.#allIsStale) {
      this.#allIsStale = false;
      this.#all.rebuild(this.#hosts);
      this.#mayBeUnfinished = true;
    }
    return this.#all.pick(context);
  }

  #pickAvailable(context: PickContext): SteeredHost {
    if (this.#remoteSize === 0) return this.#local.pick(context);
    if (this.#localSize === 0) return this.#remote!.pick(context);
    const stays = this.#localShare >= 1 || context.random() < this.#localShare;
    return stays ? this.#local.pick(context) : this.#remote!.pick(context);
  }

  find(ip: number, port: number): SteeredHost | undefined {
    const index = this.#hosts.indexOf(ip, port);
    return index < 0 ? undefined : this.#hosts.at(index);
  }

  report(reported: BalancedHost, succeeded: boolean, latencyUs: number, nowMs: number): void {
    const host = reported as SteeredHost;
    if (host.hasLeft) return;
    const context = this.#context;
    context.nowMs = nowMs;
    host.settle(context);
    // The first estimate must not be of a pick that was never reported: later calls correct one that is too low within
    // moments, for they are made; one that is too high keeps them away.
    const age = host.estimateMs === 0 ? host.releaseLatest(nowMs) : host.release(nowMs);
    if (age >= 0) context.inFlight--;
    this.#losses.reported();
    this.#failureShare += ((succeeded ? 0 : 1) - this.#failureShare) * FAILURE_SHARE_STEP;
    const tookMs = latencyUs > 0 ? latencyUs / 1000 : age;
    this.#sumUp(host, -1);
    this.#estimate(host, succeeded, tookMs, nowMs);
    const changed = this.#ejection!.report(host, succeeded, nowMs);
    this.#sumUp(host, 1);
    if (!changed) return;
    this.#context.inFlight -= host.inFlight;
    host.forgetPicks();
    if (!host.ejected) {
      // Readmitted: what it was before says little; the others are a better guess.
      const estimateMs = Math.max(this.#typicalMs(), latencyUs / 1000);
      this.#sumUp(host, -1);
      host.estimateMs = estimateMs;
      this.#sumUp(host, 1);
      host.failureShare = 0;
      host.penaltyMs = 0;
    }
    this.#rebuild();
  }

  #estimate(host: SteeredHost, succeeded: boolean, tookMs: number, nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - host.estimatedAtMs);
    host.estimatedAtMs = nowMs;
    const timed = 1 - Math.exp(-elapsedMs / (this.#parameters.decay * 1000));
    const step = Math.min(MAX_STEP, Math.max(MIN_STEP, timed));
    host.failureShare += ((succeeded ? 0 : 1) - host.failureShare) * step;
    const excess = host.failureShare - FAILURE_FACTOR * this.#failureShare - FAILURE_SLACK;
    host.penaltyMs = FAILURE_MS * Math.max(0, excess);
    // A call that failed fast says nothing about how long calls take; one that failed late does.
    if (tookMs < 0 || (!succeeded && tookMs < host.estimateMs)) return;
    if (host.estimateMs === 0) host.estimateMs = tookMs;
    else host.estimateMs += (tookMs - host.estimateMs) * step;
    host.leastMs = Math.min(host.estimateMs, Math.max(0.1, host.leastMs) * Math.exp(elapsedMs / LEAST_GROWS_MS));
  }

  update(hosts: readonly Host[] | PackedHosts, nowMs: number): readonly BalancedHost[] {
    const before = this.#hosts;
    const route = PackedHosts.of(hosts).sorted();
    if (before.length === 0) {
      this.#fresh.sinceMs = nowMs;
      this.#takeTable(new HostTable(route, this.#fresh));
      return [];
    }
    const typicalMs = this.#typicalMs();
    const difference = route.differenceFrom(before.route);
    const left = difference.left.map((index) => before.view(index));
    const table = before.follow(route, difference);
    for (const index of difference.joined) {
      const { weight, zone } = route.host(index);
      const host = new SteeredHost(route.ip(index), route.port(index), weight, zone, this.#fresh.windowMs, nowMs);
      // A host that joins others is taken for one of them until it shows otherwise, and warms up.
      host.estimateMs = typicalMs;
      host.rampFromMs = nowMs;
      host.rampToMs = nowMs + this.#parameters.slow_start * 1000;
      host.reason = "joined the route";
      this.#sumUp(host, 1);
      table.put(index, host);
    }
    for (const host of left) {
      this.#sumUp(host, -1);
      host.hasLeft = true;
      this.#context.inFlight -= host.inFlight;
      this.#ejection?.forget(host, nowMs);
    }
    this.#takeTable(table);
    return left;
  }

  #takeTable(table: HostTable): void {
    this.#hosts = table;
    this.#ejection ??= new Ejection(this.#parameters, () => this.#random());
    this.#ejection.setHosts(table);
    this.#rebuild();
  }

  /** Takes the host's estimate into the sum (1) or out of it (-1): before and after whatever changes it. */
  #sumUp(host: SteeredHost, times: 1 | -1): void {
    if (host.ejected || host.estimateMs === 0) return;
    this.#estimated += times;
    this.#estimatesMs = this.#estimated === 0 ? 0 : this.#estimatesMs + times * host.estimateMs;
  }

  #typicalMs(): number {
    return this.#estimated === 0 ? 0 : Math.max(0, this.#estimatesMs) / this.#estimated;
  }

  #rebuild(): void {
    const hosts = this.#hosts;
    const local = this.#zone === "" ? undefined : hosts.route.marksOf(this.#zone);
    const hasLocal = local?.includes(1) === true;
    const ejected = this.#ejection?.ejected ?? [];
    this.#allIsStale = true;
    this.#localShare = 1;
    if (!hasLocal && ejected.length === 0) {
      this.#takeSets(hosts, NO_HOSTS);
      return;
    }
    const isEjected = new Uint8Array(hosts.length);
    for (const { ip, port } of ejected) isEjected[hosts.indexOf(ip, port)] = 1;
    if (hasLocal) this.#localShare = this.#shareThatStays(local, isEjected);
    const here = new Int32Array(hosts.length);
    const elsewhere = new Int32Array(hosts.length);
    let localSize = 0;
    let remoteSize = 0;
    for (let i = 0; i < isEjected.length; i++) {
      if (isEjected[i] === 1) continue;
      if (!hasLocal || local[i] === 1) here[localSize++] = i;
      else elsewhere[remoteSize++] = i;
    }
    const remote = remoteSize === 0 ? NO_HOSTS : new HostSubset(hosts, elsewhere.slice(0, remoteSize));
    this.#takeSets(new HostSubset(hosts, here.slice(0, localSize)), remote);
  }

  #takeSets(local: HostSet, remote: HostSet): void {
    this.#localSize = local.length;
    this.#remoteSize = remote.length;
    this.#local.rebuild(local);
    if (remote.length > 0) this.#remote ??= this.#makePicker(this.#parameters);
    this.#remote?.rebuild(remote);
    this.#mayBeUnfinished = true;
  }

  get isUnfinished(): boolean {
    if (this.#mayBeUnfinished) this.#mayBeUnfinished = this.#unfinished() !== undefined;
    return this.#mayBeUnfinished;
  }

  goOn(): void {
    this.#unfinished()?.goOn?.();
  }

  #unfinished(): Picker | undefined {
    if (this.#local.isUnfinished === true) return this.#local;
    if (this.#remote?.isUnfinished === true) return this.#remote;
    // It is brought up to date when it is next needed.
    return !this.#allIsStale && this.#all?.isUnfinished === true ? this.#all : undefined;
  }

  /** 1 while the own zone is healthy enough; less in proportion; never so little that a zone worse off is preferred. */
  #shareThatStays(isLocal: Uint8Array, isEjected: Uint8Array): number {
    const { route } = this.#hosts;
    const total = [0, 0];
    const healthy = [0, 0];
    for (let i = 0; i < isLocal.length; i++) {
      const weight = route.weight(i);
      total[isLocal[i]!]! += weight;
      if (isEjected[i] === 0) healthy[isLocal[i]!]! += weight;
    }
    const own = healthy[1]! / total[1]!;
    const others = total[0] === 0 ? 0 : healthy[0]! / total[0]!;
    if (others <= own) return 1;
    return Math.min(1, own * this.#parameters.zone_overprovision);
  }

  *hosts(): Iterable<SteeredHost> {
    for (let i = 0; i < this.#hosts.length; i++) yield this.#hosts.at(i);
  }

  /** How many hosts have a state of their own. */
  get states(): number {
    return this.#hosts.states;
  }

  /** Picks of the module that are not reported yet, as far as is known. */
  get inFlight(): number {
    return this.#context.inFlight;
  }

  describe(nowMs: number, some?: readonly Endpoint[]): readonly HostVerdict[] {
    const hosts = this.#hosts;
    if (some === undefined) return Array.from({ length: hosts.length }, (_, i) => verdictOf(hosts.view(i), nowMs));
    const indices = some.map(({ ip, port }) => hosts.indexOf(ip, port)).filter((index) => index >= 0);
    return indices.map((index) => verdictOf(hosts.view(index), nowMs));
  }
}

function verdictOf(host: SteeredHost, nowMs: number): HostVerdict {
  host.window.advance(nowMs);
  return {
    ip: host.ip,
    port: host.port,
    weight: host.weight,
    zone: host.zone,
    verdict: host.ejected ? "ejected" : "available",
    reason: host.ejected ? `${host.reason}, ${probeText(host, nowMs)}` : host.reason,
    sinceMs: host.sinceMs,
    succ: host.window.succ,
    err: host.window.err,
    inFlight: host.inFlight,
    ...(host.estimateMs > 0 ? { latencyMs: host.estimateMs } : {}),
  };
}

function probeText(host: SteeredHost, nowMs: number): string {
  if (host.probeUntilMs > nowMs) return "waiting for its report";
  const seconds = (host.probeAtMs - nowMs) / 1000;
  return seconds > 0 ? `probe in ${seconds.toFixed(1)} s` : "probe with the next pick";
}
