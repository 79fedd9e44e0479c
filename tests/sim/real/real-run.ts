// One scenario in real time. What engine.ts computes, happens here: a call asks the agent over UDP, goes to the same
// simulated host, ends when the clock says so, and is reported over UDP. The log it leaves is the simulator's, so that
// the same figures are asked of it.
//
// The driver calls `advance` every millisecond. What is due is then done at once, and how late it was is recorded.
import type { ModuleKey } from "../../../src/core/module-key.ts";
import type { GetHostResponse } from "../../../src/wire/host-codec.ts";
import { RESULT_OVERLOAD, RESULT_SUCCESS } from "../../../src/wire/result-code.ts";
import { ABANDONED, CallLog, FAILED, OK, PENDING, REFUSED } from "../call-log.ts";
import { CALLER_TIMEOUT_MS, type RouteChange, type Setting } from "../engine.ts";
import { EventHeap } from "../event-heap.ts";
import { type Answer, type HostSpec, SimulatedHost } from "../host-model.ts";
import { makePrng, type Prng } from "../prng.ts";
import type { AgentLink } from "./agent-link.ts";
import type { Histogram } from "./histogram.ts";
import { endpointOf, hostAt, type RouteEditor } from "./route-editor.ts";

const KEYS = 1000;
const utf8 = new TextEncoder();
const HASH_KEYS = Array.from({ length: KEYS }, (_, key) => utf8.encode(`key-${key}`));

/** What went otherwise than in the simulator, which knows no loss. All 0 in a sound run. */
export interface Mishaps {
  /** Picks that the agent did not answer within the callers' patience. Their calls count as failed. */
  unanswered: number;
  /** Answers that the module is not known (retcode 3) or a system error (2). Their calls count as refused. */
  unknown: number;
  /** Answers to no question: late, twice, or with a host that is not the scenario's. */
  stray: number;
}

export interface RunMeters {
  /** How late calls were begun and ended. */
  readonly lag: Histogram;
  /** From a pick's request to its answer, as the driver saw it. */
  readonly picks: Histogram;
}

export class RealRun {
  readonly log: CallLog;
  readonly mishaps: Mishaps = { unanswered: 0, unknown: 0, stray: 0 };
  reports = 0;
  readonly #hosts: readonly SimulatedHost[];
  readonly #routes: RouteChange[];
  readonly #callerLives: Uint16Array;
  readonly #arrivalChance: Prng;
  readonly #serviceChance: Prng;
  readonly #mishapChance: Prng;
  readonly #heap = new EventHeap();
  readonly #answer: Answer = { afterMs: 0, succeeded: false };
  /** When the call set out for its host. */
  readonly #sentAtMs: number[] = [];
  /** Picks before this one are answered or given up. */
  #firstUnanswered = 0;
  #arrivalMs: number;
  #deathMs: number;

  constructor(
    private readonly setting: Setting,
    private readonly modules: readonly ModuleKey[],
    private readonly link: AgentLink,
    private readonly routes: RouteEditor,
    private readonly meters: RunMeters,
    seed: number,
  ) {
    this.#arrivalChance = makePrng(seed, "arrivals");
    this.#serviceChance = makePrng(seed, "service");
    this.#mishapChance = makePrng(seed, "mishaps");
    this.#hosts = setting.hosts.map((spec) => new SimulatedHost(spec));
    // The first route is written before the run begins.
    this.#routes = [...(setting.routes ?? [])].slice(1);
    this.#callerLives = new Uint16Array(setting.agents * setting.callersPerAgent);
    this.log = new CallLog(
      fairShares(setting.hosts),
      Math.ceil((setting.rate * setting.durationMs * 1.1) / 1000) + 256,
    );
    this.#arrivalMs = this.#nextGap();
    this.#deathMs = this.#nextLife();
  }

  #nextGap(): number {
    const gapMs = 1000 / this.setting.rate;
    return this.setting.arrivals === "poisson" ? gapMs * this.#arrivalChance.exponential() : gapMs;
  }

  #nextLife(): number {
    const deathsPerSecond = this.setting.callerDeathsPerSecond ?? 0;
    if (deathsPerSecond === 0) return Number.POSITIVE_INFINITY;
    return (this.#mishapChance.exponential() * 1000) / deathsPerSecond;
  }

  /** Every call has ended: answered or given up, and served. */
  get isOver(): boolean {
    const isOpen = this.#arrivalMs < this.setting.durationMs || this.#heap.size > 0;
    return !isOpen && this.#firstUnanswered === this.log.length;
  }

  /** Does what is due. `nowMs` counts from the beginning of the run. */
  advance(nowMs: number): void {
    const { durationMs } = this.setting;
    while (this.#routes.length > 0 && this.#routes[0]!.atMs <= nowMs)
      void this.routes.write(this.#routes.shift()!.hosts);
    while (this.#deathMs <= Math.min(nowMs, durationMs)) {
      this.#callerLives[this.#mishapChance.below(this.#callerLives.length)]!++;
      this.#deathMs += this.#nextLife();
    }
    while (this.#heap.nextMs <= nowMs) {
      this.meters.lag.record(nowMs - this.#heap.nextMs);
      this.#end(this.#heap.pop(), nowMs);
    }
    while (this.#arrivalMs <= nowMs && this.#arrivalMs < durationMs) {
      this.meters.lag.record(nowMs - this.#arrivalMs);
      this.#begin(nowMs);
      this.#arrivalMs += this.#nextGap();
    }
    this.#giveUp(nowMs);
  }

  #begin(nowMs: number): void {
    const { callersPerAgent } = this.setting;
    const caller = this.#callerLives.length === 1 ? 0 : this.#arrivalChance.below(this.#callerLives.length);
    const key = HASH_KEYS[this.#arrivalChance.below(KEYS)]!;
    const agent = Math.floor(caller / callersPerAgent);
    const call = this.log.begin(nowMs, agent, caller, this.#callerLives[caller]!);
    this.#sentAtMs.push(nowMs);
    this.link.pick(call, this.modules[agent]!, key);
  }

  /** The agent answered. */
  answered(call: number, response: Readonly<GetHostResponse>, nowMs: number): void {
    const { log, setting } = this;
    if (call >= log.length || log.result[call] !== PENDING) {
      this.mishaps.stray++;
      return;
    }
    const pickMs = nowMs - log.startMs[call]!;
    this.meters.picks.record(pickMs);
    if (response.retcode !== RESULT_SUCCESS) {
      if (response.retcode !== RESULT_OVERLOAD) this.mishaps.unknown++;
      log.result[call] = REFUSED;
      return;
    }
    const host = hostAt(response.ip, response.port, this.#hosts.length);
    if (host < 0) {
      this.mishaps.stray++;
      log.result[call] = FAILED;
      return;
    }
    const networkMs = setting.networkMs ?? 0;
    const answer = this.#hosts[host]!.serve(nowMs + networkMs, this.#serviceChance, this.#answer);
    const inTime = answer.afterMs < CALLER_TIMEOUT_MS;
    const tookMs = inTime ? answer.afterMs : CALLER_TIMEOUT_MS;
    log.host[call] = host;
    log.result[call] = inTime && answer.succeeded ? OK : FAILED;
    // What the caller waited: for the pick, and for the host. The driver's own lateness is not the product's.
    log.tookMs[call] = pickMs + tookMs;
    this.#sentAtMs[call] = nowMs;
    this.#heap.push(nowMs + tookMs + 2 * networkMs, call);
  }

  #end(call: number, nowMs: number): void {
    const { log, setting } = this;
    if (log.callerLife[call] !== this.#callerLives[log.caller[call]!]) {
      log.result[call] = ABANDONED;
      return;
    }
    const reportsLost = setting.reportsLost ?? 0;
    if (reportsLost > 0 && this.#mishapChance.next() < reportsLost) return;
    const { ip, port } = endpointOf(log.host[call]!);
    // By the caller's clock, as a caller would: lateness of the driver included.
    const latencyMs = nowMs - this.#sentAtMs[call]! - 2 * (setting.networkMs ?? 0);
    const latencyUs = setting.sendLatency ? Math.max(1, Math.round(latencyMs * 1000)) : 0;
    this.reports++;
    this.link.report(this.modules[log.agent[call]!]!, ip, port, log.result[call] === OK, latencyUs);
  }

  /** Picks are asked for in order, so those that were not answered in time are found at the front. */
  #giveUp(nowMs: number): void {
    const { log } = this;
    while (this.#firstUnanswered < log.length) {
      const call = this.#firstUnanswered;
      if (log.result[call] === PENDING) {
        if (nowMs - log.startMs[call]! < CALLER_TIMEOUT_MS) return;
        log.result[call] = FAILED;
        log.tookMs[call] = CALLER_TIMEOUT_MS;
        this.mishaps.unanswered++;
      }
      this.#firstUnanswered++;
    }
  }
}

function fairShares(hosts: readonly HostSpec[]): readonly number[] {
  const total = hosts.reduce((sum, host) => sum + (host.fairShare ?? 1), 0);
  return hosts.map((host) => (host.fairShare ?? 1) / total);
}
