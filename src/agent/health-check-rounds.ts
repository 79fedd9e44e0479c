// When which service is checked. Each has its own pace, begun at a moment of its own and jittered, so that services that
// came together (after a restart: all of them) are not checked together. A service has one check under way at most, so
// one that hangs delays only itself; the number of sockets open for checks is bounded above that, and whatever comes of
// a check that this process itself was too late to hear is not held against the service.
import type { HealthResult, HealthTarget } from "./health-check.ts";

export interface CheckedService extends HealthTarget {
  readonly intervalMs: number;
}

export interface HealthCheckRoundsOptions {
  readonly check: (target: HealthTarget) => Promise<HealthResult>;
  readonly onResult: (id: string, result: HealthResult) => void;
  readonly nowMs: () => number;
  /** 0 <= random() < 1 */
  readonly random: () => number;
  /** Checks at once. */
  readonly maxRunning?: number;
}

interface Planned {
  service: CheckedService;
  dueMs: number;
  running: boolean;
  /** Due, and counted as one that found no room. */
  delayed: boolean;
}

const MAX_RUNNING = 512;
/** A check that took this much longer than its time-out says something of this process. */
const LATE_MS = 1000;

export class HealthCheckRounds {
  readonly counts = { passed: 0, failed: 0, late: 0, delayed: 0 };
  readonly #options: HealthCheckRoundsOptions;
  readonly #planned = new Map<string, Planned>();
  #running = 0;

  constructor(options: HealthCheckRoundsOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#running;
  }

  get size(): number {
    return this.#planned.size;
  }

  /** The first check is at the next tick, or with `spread` some time within the interval. Bounded by the caller. */
  set(id: string, service: CheckedService, spread = false): void {
    const { nowMs, random } = this.#options;
    const dueMs = nowMs() + (spread ? service.intervalMs * random() : 0);
    this.#planned.set(id, { service, dueMs, running: false, delayed: false });
  }

  /** The one check that is asked for now, if it is due and there is room. */
  start(id: string): void {
    const planned = this.#planned.get(id);
    const nowMs = this.#options.nowMs();
    if (planned !== undefined && !planned.running && planned.dueMs <= nowMs && this.#room() > 0)
      void this.#run(id, planned, nowMs);
  }

  delete(id: string): void {
    this.#planned.delete(id);
  }

  /** Starts what is due, the longest due first. */
  tick(): void {
    const nowMs = this.#options.nowMs();
    const due: [string, Planned][] = [];
    for (const entry of this.#planned) if (!entry[1].running && entry[1].dueMs <= nowMs) due.push(entry);
    if (due.length === 0) return;
    const room = Math.max(0, this.#room());
    if (due.length > room) due.sort(([, a], [, b]) => a.dueMs - b.dueMs);
    for (const [id, planned] of due.slice(0, room)) void this.#run(id, planned, nowMs);
    for (const [, planned] of due.slice(room)) {
      if (!planned.delayed) this.counts.delayed++;
      planned.delayed = true;
    }
  }

  #room(): number {
    return (this.#options.maxRunning ?? MAX_RUNNING) - this.#running;
  }

  async #run(id: string, planned: Planned, startedMs: number): Promise<void> {
    const { check, onResult, nowMs, random } = this.#options;
    const { service } = planned;
    planned.running = true;
    planned.delayed = false;
    this.#running++;
    let result: HealthResult;
    try {
      result = await check(service);
    } catch (error) {
      result = { passed: false, reason: `the check itself failed: ${String(error)}` };
    }
    this.#running--;
    planned.running = false;
    planned.dueMs = startedMs + service.intervalMs * (0.9 + 0.2 * random());
    // Replaced or deleted meanwhile: this was about another service.
    if (this.#planned.get(id) !== planned) return;
    if (!result.passed && nowMs() - startedMs > service.timeoutMs + LATE_MS) {
      this.counts.late++;
      return;
    }
    this.counts[result.passed ? "passed" : "failed"]++;
    onResult(id, result);
  }
}
