// The agent's routes in one place: what the dns service last said of every module in use. Shards have their own copies;
// this one feeds a shard that starts anew and the snapshot on disk.
import { ModuleMap } from "../core/module-key.ts";
import type { Log } from "../platform/log.ts";
import type { HeldRoute } from "./held-route.ts";
import type { RouteSnapshot } from "./route-snapshot.ts";
import type { RouteUpdate } from "./shard-modules.ts";

export class RouteBook {
  readonly #routes = new ModuleMap<HeldRoute>();
  readonly #snapshot: RouteSnapshot;
  readonly #log: Log;
  #dirty = false;
  #saving: Promise<void> | undefined;
  readonly counts = { saves: 0, saveFailures: 0 };

  constructor(snapshot: RouteSnapshot, log: Log) {
    this.#snapshot = snapshot;
    this.#log = log;
  }

  get size(): number {
    return this.#routes.size;
  }

  routes(): Iterable<HeldRoute> {
    return this.#routes.values();
  }

  /** The same as shards are told them, made one by one. */
  *updates(): IterableIterator<RouteUpdate> {
    for (const route of this.#routes.values()) yield route.update();
  }

  put(route: HeldRoute): void {
    const held = this.#routes.get(route.modid, route.cmdid);
    if (route.hosts.length === 0) this.#routes.delete(route.modid, route.cmdid);
    else this.#routes.set(route.modid, route.cmdid, route);
    // A route that was asked for again and is the same needs no writing.
    if (held === undefined ? route.hosts.length > 0 : held.revision !== route.revision || route.revision === 0)
      this.#dirty = true;
  }

  forget(modid: number, cmdid: number): void {
    if (this.#routes.delete(modid, cmdid)) this.#dirty = true;
  }

  /** Reads the snapshot; what is not readable is logged, and the agent begins without. */
  async load(): Promise<void> {
    const load = await this.#snapshot.load();
    if (load.outcome === "bad") {
      this.#log.error("the route snapshot is not usable; starting without", {
        path: this.#snapshot.path,
        reason: load.reason,
      });
    } else if (load.outcome === "loaded") {
      for (const route of load.routes) this.put(route);
      this.#dirty = false;
      this.#log.info("routes read from the snapshot", { path: this.#snapshot.path, modules: load.routes.length });
    }
  }

  /** Writes the snapshot when something changed. Never throws: a full disk is logged, counted and tried again. */
  save(): Promise<void> {
    this.#saving ??= this.#save().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #save(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    try {
      await this.#snapshot.save(this.#routes.values());
      this.counts.saves++;
    } catch (error) {
      this.#dirty = true;
      this.counts.saveFailures++;
      this.#log.error("the route snapshot was not written; the last one is kept", { path: this.#snapshot.path, error });
    }
  }
}
