// Finagle (and Linkerd 1): power of two choices on peak EWMA, with failure accrual.
//
// Balancer, from its "Balancers" documentation: of two nodes chosen at random, the one with the lower
// estimate x (outstanding + 1) is taken. The estimate jumps to a slower answer at once and decays towards faster ones with
// e^(-time / 10 s), while nothing is heard too. A node without history that is already tried costs more than any other, so
// that it is tried once. When one of the two is not open, two more are drawn, up to five times (maxEffort).
//
// Failure accrual, from its "Clients" guide: five failures in a row, or fewer than 80 % successes over 30 s with at least
// five calls, mark a node dead for 5 s, doubling to 300 s, jittered over the upper half; then one call probes it, alone,
// and a success revives it.
//
// Not modelled: fail-fast on refused connections, aperture, retries and their budget.
import type { Host } from "../../../src/core/assignment.ts";
import { type BalancedHost, type Random, SHEDDING } from "../../../src/core/balancer.ts";
import type { BalancerFactory } from "../engine.ts";
import { Rival, RivalHost } from "./rival.ts";

const TAU_MS = 10_000;
/** What an unknown node costs while its first call is out, in ms: days. */
const PENALTY_MS = 2 ** 47 / 1e6;
const MAX_EFFORT = 5;
const CONSECUTIVE = 5;
const MIN_SUCCESS_RATE = 0.8;
const RATE_WINDOW_MS = 30_000;
const MIN_CALLS = 5;
const FIRST_DEAD_MS = 5000;
const LONGEST_DEAD_MS = 300_000;
/** The window of the success rate, in parts that are forgotten one at a time. */
const PARTS = 10;
const PART_MS = RATE_WINDOW_MS / PARTS;

class FinagleNode extends RivalHost {
  estimateMs = 0;
  stampMs = 0;
  consecutive = 0;
  readonly succ = new Float64Array(PARTS);
  readonly err = new Float64Array(PARTS);
  part = 0;
  deadUntilMs = 0;
  deaths = 0;
  isProbing = false;

  /** Decays the estimate to now, which reading it does too. */
  observe(latencyMs: number, nowMs: number): void {
    const elapsedMs = Math.max(0, nowMs - this.stampMs);
    this.stampMs = nowMs;
    const kept = Math.exp(-elapsedMs / TAU_MS);
    this.estimateMs = latencyMs > this.estimateMs ? latencyMs : this.estimateMs * kept + latencyMs * (1 - kept);
  }

  load(nowMs: number): number {
    this.observe(0, nowMs);
    if (this.estimateMs === 0 && this.inFlight > 0) return PENALTY_MS + this.inFlight;
    return this.estimateMs * (this.inFlight + 1);
  }

  isOpen(nowMs: number): boolean {
    return this.available || (!this.isProbing && nowMs >= this.deadUntilMs);
  }

  turn(nowMs: number): void {
    const part = Math.floor(nowMs / PART_MS);
    if (part - this.part >= PARTS) this.forget();
    else for (let old = this.part + 1; old <= part; old++) this.succ[old % PARTS] = this.err[old % PARTS] = 0;
    this.part = part;
  }

  forget(): void {
    this.succ.fill(0);
    this.err.fill(0);
  }
}

class Finagle extends Rival<FinagleNode> {
  #random: Random = () => 0.5;

  protected makeHost({ ip, port, weight }: Host, nowMs: number): FinagleNode {
    const node = new FinagleNode(ip, port, weight);
    node.stampMs = nowMs;
    return node;
  }

  pick(nowMs: number, random: Random): FinagleNode | typeof SHEDDING {
    this.#random = random;
    const size = this.list.length;
    if (size === 0) return SHEDDING;
    let node = this.list[0]!;
    for (let effort = 0; effort < MAX_EFFORT; effort++) {
      const one = Math.floor(random() * size);
      const other = size === 1 ? one : (one + 1 + Math.floor(random() * (size - 1))) % size;
      node = this.#better(this.list[one]!, this.list[other]!, nowMs);
      if (node.isOpen(nowMs)) break;
    }
    if (!node.available && node.isOpen(nowMs)) node.isProbing = true;
    node.inFlight++;
    return node;
  }

  #better(one: FinagleNode, other: FinagleNode, nowMs: number): FinagleNode {
    const isOneOpen = one.isOpen(nowMs);
    if (isOneOpen !== other.isOpen(nowMs)) return isOneOpen ? one : other;
    return one.load(nowMs) <= other.load(nowMs) ? one : other;
  }

  report(reported: BalancedHost, succeeded: boolean, latencyUs: number, nowMs: number): void {
    const node = reported as FinagleNode;
    node.inFlight--;
    node.observe(latencyUs / 1000, nowMs);
    if (!node.available) {
      // Answers to calls from before its death do not decide; only the probe does.
      if (!node.isProbing) return;
      node.isProbing = false;
      if (succeeded) this.#revive(node);
      else this.#kill(node, nowMs);
      return;
    }
    node.turn(nowMs);
    if (succeeded) {
      node.succ[node.part % PARTS]!++;
      node.consecutive = 0;
      node.deaths = 0;
      return;
    }
    node.err[node.part % PARTS]!++;
    node.consecutive++;
    const succ = node.succ.reduce((sum, count) => sum + count, 0);
    const calls = node.err.reduce((sum, count) => sum + count, succ);
    if (node.consecutive >= CONSECUTIVE || (calls >= MIN_CALLS && succ / calls < MIN_SUCCESS_RATE)) {
      this.#kill(node, nowMs);
    }
  }

  #kill(node: FinagleNode, nowMs: number): void {
    const longestMs = Math.min(LONGEST_DEAD_MS, FIRST_DEAD_MS * 2 ** node.deaths++);
    node.available = false;
    node.deadUntilMs = nowMs + longestMs / 2 + (this.#random() * longestMs) / 2;
  }

  #revive(node: FinagleNode): void {
    node.available = true;
    node.consecutive = 0;
    node.forget();
  }
}

export const finaglePeakEwma: BalancerFactory = () => new Finagle();
