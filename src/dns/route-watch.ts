// HTTP callers that wait for a module to change: a long poll waits for one module once, a stream for several again and
// again. Both are woken for their own modules only, and read the replica when they are: a wake-up carries no data, so
// a slow reader misses no state, only intermediate steps. Each that is woken makes an answer, so of very many some are
// woken and others are served before the next are.
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { RouteRecord } from "../core/route-change.ts";
import { WatchIndex } from "../core/watch-index.ts";

export interface Waiter {
  /** Called when a watched module changed; may be called again before the first call was acted on. */
  wake(route: RouteRecord): void;
}

/** Woken before others are served. */
const WOKEN_AT_ONCE = 64;

/** Those who waited for a module when it changed, and how many of them were woken. */
interface Waking {
  readonly route: RouteRecord;
  readonly waiters: readonly Waiter[];
  woken: number;
  /** It changed again meanwhile: those who wait by then are to be woken too. */
  again: RouteRecord | undefined;
}

export class RouteWatch {
  readonly #index = new WatchIndex<Waiter>();
  readonly #waking = new ModuleMap<Waking>();
  /** Those who wait for a change of anything. */
  readonly #any = new Set<() => void>();
  readonly #maxWatches: number;

  /** `maxWatches`: pairs of waiter and module, over all waiters. */
  constructor(maxWatches: number) {
    this.#maxWatches = maxWatches;
  }

  get size(): number {
    return this.#index.size + this.#any.size;
  }

  /** To be called with every change that reached the replica. */
  notify(routes: readonly RouteRecord[]): void {
    const isIdle = this.#waking.size === 0;
    for (const route of routes) {
      const waking = this.#waking.get(route.modid, route.cmdid);
      if (waking === undefined) this.#begin(route);
      else waking.again = route;
    }
    if (isIdle) this.#wakeSome();
  }

  #begin(route: RouteRecord): void {
    // Who waits again at once waits for the next change.
    const waiters = [...this.#index.watchersOf(route.modid, route.cmdid)];
    if (waiters.length > 0) {
      this.#waking.set(route.modid, route.cmdid, { route, waiters, woken: 0, again: undefined });
    }
  }

  #wakeSome(): void {
    let left = WOKEN_AT_ONCE;
    for (const waking of this.#waking.values()) {
      const { route, waiters } = waking;
      for (; left > 0 && waking.woken < waiters.length; left--) waiters[waking.woken++]!.wake(route);
      if (waking.woken < waiters.length) break;
      this.#waking.delete(route.modid, route.cmdid);
      if (waking.again !== undefined) this.#begin(waking.again);
    }
    if (this.#waking.size > 0) setTimeout(() => this.#wakeSome(), 0);
  }

  /** To be called whenever the revision moved, also when only names changed. */
  notifyAdvance(): void {
    for (const wake of [...this.#any]) wake();
  }

  /** False when too many watch already; nothing is watched then. */
  watch(waiter: Waiter, modules: readonly ModuleKey[]): boolean {
    if (this.size + modules.length > this.#maxWatches) return false;
    for (const { modid, cmdid } of modules) this.#index.watch(waiter, modid, cmdid);
    return true;
  }

  drop(waiter: Waiter): void {
    this.#index.drop(waiter);
  }

  /**
   * Resolves true at the module's next change, false after `timeoutMs` or when `signal` aborts; "full" when too many
   * wait already.
   */
  next(key: ModuleKey, timeoutMs: number, signal: AbortSignal): Promise<boolean | "full"> {
    return waitOnce(timeoutMs, signal, (wake) => {
      const waiter: Waiter = { wake };
      return this.watch(waiter, [key]) ? () => this.drop(waiter) : undefined;
    });
  }

  /** As `next`, for a change of anything, names included. */
  nextAdvance(timeoutMs: number, signal: AbortSignal): Promise<boolean | "full"> {
    return waitOnce(timeoutMs, signal, (wake) => {
      if (this.size >= this.#maxWatches) return undefined;
      this.#any.add(wake);
      return () => this.#any.delete(wake);
    });
  }
}

/** `begin` arranges for its argument to be called and returns what undoes that; undefined: there is no room. */
function waitOnce(
  timeoutMs: number,
  signal: AbortSignal,
  begin: (wake: () => void) => (() => void) | undefined,
): Promise<boolean | "full"> {
  return new Promise((resolve) => {
    const end = begin(() => finish(true));
    if (end === undefined) {
      resolve("full");
      return;
    }
    const finish = (changed: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      end();
      resolve(changed);
    };
    const abort = (): void => finish(false);
    const timer = setTimeout(() => finish(false), timeoutMs);
    if (signal.aborted) finish(false);
    else signal.addEventListener("abort", abort);
  });
}
