// Who watches which module. A change must cost the watchers of that module and nobody else, and a watcher that goes
// must leave nothing behind, so the index runs both ways. W is whatever the owner pushes to: a TCP connection, a stream.
import { type ModuleKey, ModuleMap } from "./module-key.ts";

const NOBODY: ReadonlySet<never> = new Set<never>();

export class WatchIndex<W> {
  readonly #watchers = new ModuleMap<Set<W>>();
  readonly #modules = new Map<W, ModuleMap<true>>();
  #size = 0;

  /** Pairs of (watcher, module). */
  get size(): number {
    return this.#size;
  }

  /** How many modules a watcher watches. */
  countOf(watcher: W): number {
    return this.#modules.get(watcher)?.size ?? 0;
  }

  has(watcher: W, modid: number, cmdid: number): boolean {
    return this.#modules.get(watcher)?.has(modid, cmdid) ?? false;
  }

  /** False when it was watched already. */
  watch(watcher: W, modid: number, cmdid: number): boolean {
    let modules = this.#modules.get(watcher);
    if (modules === undefined) {
      modules = new ModuleMap();
      this.#modules.set(watcher, modules);
    }
    if (modules.has(modid, cmdid)) return false;
    modules.set(modid, cmdid, true);
    let watchers = this.#watchers.get(modid, cmdid);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(modid, cmdid, watchers);
    }
    watchers.add(watcher);
    this.#size++;
    return true;
  }

  /** False when it was not watched. */
  unwatch(watcher: W, modid: number, cmdid: number): boolean {
    const modules = this.#modules.get(watcher);
    if (modules === undefined || !modules.delete(modid, cmdid)) return false;
    if (modules.size === 0) this.#modules.delete(watcher);
    this.#forget(watcher, modid, cmdid);
    return true;
  }

  /** Ends all watches of a watcher. */
  drop(watcher: W): void {
    const modules = this.#modules.get(watcher);
    if (modules === undefined) return;
    this.#modules.delete(watcher);
    for (const [{ modid, cmdid }] of modules.entries()) this.#forget(watcher, modid, cmdid);
  }

  /** As with a Set, watchers may come and go while they are iterated. */
  watchersOf(modid: number, cmdid: number): ReadonlySet<W> {
    return this.#watchers.get(modid, cmdid) ?? NOBODY;
  }

  *modulesOf(watcher: W): IterableIterator<ModuleKey> {
    for (const [key] of this.#modules.get(watcher)?.entries() ?? []) yield key;
  }

  watchers(): Iterable<W> {
    return this.#modules.keys();
  }

  #forget(watcher: W, modid: number, cmdid: number): void {
    const watchers = this.#watchers.get(modid, cmdid);
    if (watchers?.delete(watcher) && watchers.size === 0) this.#watchers.delete(modid, cmdid);
    this.#size--;
  }
}
