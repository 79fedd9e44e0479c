// Callers, agents and hosts in virtual time. Callers make calls at their own pace whatever comes of them (open loop: a
// slow host does not slow the demand down, which is how overload happens outside of tests). A call asks its agent's
// balancer for a host, goes to the simulated host, ends or is given up after `CALLER_TIMEOUT_MS`, and is reported.
//
// A run is a function of the scenario, the balancers and the seed.
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { type Balancer, SHEDDING } from "../../src/core/balancer.ts";
import { ABANDONED, CallLog, FAILED, OK, REFUSED } from "./call-log.ts";
import { EventHeap } from "./event-heap.ts";
import { type Answer, type HostSpec, SimulatedHost } from "./host-model.ts";
import { makePrng, type Prng } from "./prng.ts";

export const CALLER_TIMEOUT_MS = 1000;
/** Balancers see a clock that does not begin at 0: "never" must not look like "just now". */
const CLOCK_START_MS = 1_000_000;
/** Distinct stickiness keys among the callers' calls. */
const KEYS = 1000;

/** From a moment on, the route of every agent holds exactly these hosts, by their place in the scenario. */
export interface RouteChange {
  readonly atMs: number;
  readonly hosts: readonly number[];
}

/** What the engine needs to know of a scenario. */
export interface Setting {
  readonly durationMs: number;
  /** Calls a second, over all agents. */
  readonly rate: number;
  readonly arrivals: "poisson" | "fixed";
  readonly agents: number;
  readonly callersPerAgent: number;
  readonly hosts: readonly HostSpec[];
  /** The first one is at 0. Default: all hosts, always. */
  readonly routes?: readonly RouteChange[];
  readonly sendLatency: boolean;
  /** The part of the reports that never arrives. */
  readonly reportsLost?: number;
  /** How many callers a second die, and are replaced, over all agents. What they hold is never reported. */
  readonly callerDeathsPerSecond?: number;
  /** One way between caller and agent. Default 0. */
  readonly networkMs?: number;
}

/** Makes the balancer of one agent, without hosts. */
export type BalancerFactory = (agent: number) => Balancer;

class Agent {
  readonly random: () => number;

  constructor(
    readonly balancer: Balancer,
    prng: Prng,
  ) {
    this.random = prng.next;
  }
}

const ipOf = (host: number): number => 0x0a00_0001 + host;
const hostOf = (ip: number): number => ip - 0x0a00_0001;
const PORT = 80;

/** Plays a scenario. Every call of the log has its outcome when this returns. */
export function play(setting: Setting, factory: BalancerFactory, seed: number): CallLog {
  const { durationMs, rate, arrivals, agents: agentCount, callersPerAgent, sendLatency } = setting;
  const arrivalChance = makePrng(seed, "arrivals");
  const serviceChance = makePrng(seed, "service");
  const mishapChance = makePrng(seed, "mishaps");
  const networkMs = setting.networkMs ?? 0;
  const reportsLost = setting.reportsLost ?? 0;
  const deathsPerMs = (setting.callerDeathsPerSecond ?? 0) / 1000;

  const hosts = setting.hosts.map((spec) => new SimulatedHost(spec));
  const agents = Array.from(
    { length: agentCount },
    (_, index) => new Agent(factory(index), makePrng(seed, `agent ${index}`)),
  );
  const routes = [...(setting.routes ?? [{ atMs: 0, hosts: setting.hosts.map((_, index) => index) }])];
  const callerLives = new Uint16Array(agentCount * callersPerAgent);
  const log = new CallLog(fairShares(setting.hosts), Math.ceil((rate * durationMs * 1.1) / 1000) + 256);
  const heap = new EventHeap();
  const answer: Answer = { afterMs: 0, succeeded: false };
  const gapMs = 1000 / rate;

  const applyRoute = (change: RouteChange): void => {
    const route: readonly Host[] = change.hosts.map((index) => {
      const weight = setting.hosts[index]!.weight;
      return makeHost(ipOf(index), PORT, weight === undefined ? {} : { weight });
    });
    for (const { balancer } of agents) balancer.update(route, CLOCK_START_MS + change.atMs);
  };

  const call = (nowMs: number): void => {
    const caller = callerLives.length === 1 ? 0 : arrivalChance.below(callerLives.length);
    const keyHash = 1 + arrivalChance.below(KEYS) * 2_147_483;
    const agentIndex = Math.floor(caller / callersPerAgent);
    const agent = agents[agentIndex]!;
    const index = log.begin(nowMs, agentIndex, caller, callerLives[caller]!);
    const picked = agent.balancer.pick(CLOCK_START_MS + nowMs, agent.random, keyHash);
    if (picked === SHEDDING || picked.kind !== "host") {
      log.result[index] = REFUSED;
      return;
    }
    const host = hostOf(picked.ip);
    hosts[host]!.serve(nowMs + networkMs, serviceChance, answer);
    const inTime = answer.afterMs < CALLER_TIMEOUT_MS;
    log.host[index] = host;
    log.result[index] = inTime && answer.succeeded ? OK : FAILED;
    log.tookMs[index] = inTime ? answer.afterMs : CALLER_TIMEOUT_MS;
    heap.push(nowMs + log.tookMs[index]! + 2 * networkMs, index);
  };

  const end = (index: number, nowMs: number): void => {
    if (log.callerLife[index] !== callerLives[log.caller[index]!]) {
      log.result[index] = ABANDONED;
      return;
    }
    if (reportsLost > 0 && mishapChance.next() < reportsLost) return;
    const { balancer } = agents[log.agent[index]!]!;
    // As an agent does it: a report names an endpoint, which may have left the route since.
    const host = balancer.find(ipOf(log.host[index]!), PORT);
    if (host === undefined) return;
    const latencyUs = sendLatency ? Math.max(1, Math.round(log.tookMs[index]! * 1000)) : 0;
    balancer.report(host, log.result[index] === OK, latencyUs, CLOCK_START_MS + nowMs);
  };

  const nextGap = arrivals === "poisson" ? () => gapMs * arrivalChance.exponential() : () => gapMs;
  const nextLife = (): number => mishapChance.exponential() / deathsPerMs;
  let arrivalMs = nextGap();
  let deathMs = deathsPerMs > 0 ? nextLife() : Number.POSITIVE_INFINITY;
  for (;;) {
    const routeMs = routes[0]?.atMs ?? Number.POSITIVE_INFINITY;
    const endMs = heap.nextMs;
    const nextMs = Math.min(routeMs, deathMs, endMs, arrivalMs);
    if (nextMs === Number.POSITIVE_INFINITY) return log;
    if (routeMs === nextMs) {
      applyRoute(routes.shift()!);
    } else if (deathMs === nextMs) {
      callerLives[mishapChance.below(callerLives.length)]!++;
      deathMs += nextLife();
      if (deathMs >= durationMs) deathMs = Number.POSITIVE_INFINITY;
    } else if (endMs === nextMs) {
      end(heap.pop(), endMs);
    } else {
      call(arrivalMs);
      arrivalMs += nextGap();
      if (arrivalMs >= durationMs) arrivalMs = Number.POSITIVE_INFINITY;
    }
  }
}

function fairShares(hosts: readonly HostSpec[]): readonly number[] {
  const total = hosts.reduce((sum, host) => sum + (host.fairShare ?? 1), 0);
  return hosts.map((host) => (host.fairShare ?? 1) / total);
}
