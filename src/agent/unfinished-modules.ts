// Which modules' balancers are making something in stretches (a table of `consistent_hash` after a change). Picks carry
// it on, and a module that is seldom picked from would be at it for a minute, answering otherwise than other agents; so
// it goes on with time too. One stretch of 0.1 ms each time, whoever waits longest first: callers wait for a turn of the
// thread, so many modules at once take longer, not more of a turn.
import type { Module } from "./shard-module.ts";

export class UnfinishedModules {
  /** As many as there are modules, at most. */
  readonly #modules = new Set<Module>();

  /** `begun`: there is something to do where there was nothing. */
  constructor(private readonly begun: () => void = () => {}) {}

  get isEmpty(): boolean {
    return this.#modules.size === 0;
  }

  /** To be called after whatever may have given the module's balancer something to make. */
  note(module: Module): void {
    if (module.balancer?.isUnfinished !== true || this.#modules.has(module)) return;
    this.#modules.add(module);
    if (this.#modules.size === 1) this.begun();
  }

  delete(module: Module): void {
    this.#modules.delete(module);
  }

  /** One stretch; false: nothing is left. */
  goOn(): boolean {
    for (const module of this.#modules) {
      if (module.balancer?.isUnfinished === true) {
        module.balancer.goOn?.();
        return true;
      }
      this.#modules.delete(module);
    }
    return false;
  }
}
