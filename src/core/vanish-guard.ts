// Whether to believe that hosts are gone. A table emptied by mistake, or a dns service started on the wrong database, says
// so in good faith, and an agent that believes it fails every call of its callers. To keep hosts that are really gone
// costs little: calls to them fail and they are ejected. So hosts go when the server says that it is meant; otherwise only
// while few go at once.
//
// A server that gives revisions says `meant` whenever it can, so from such a one an empty route without that word is
// never believed. From others (C++ servers say neither) a share of the hosts held may vanish within half a minute. When
// it is exceeded, those that went in that half minute come back: they were the beginning of the same thing. What is kept
// counts as vanished for as long as it is kept, or an emptied table would be believed a share at a time.
//
// What counts is by how much a route is shorter than it was, so that hosts that are replaced by others are no loss.
import { type ModuleKey, ModuleMap } from "./module-key.ts";

export const VANISH_WINDOW_MS = 30_000;

export interface GuardedRoute extends ModuleKey {
  /** 0: the server gives none. */
  readonly revision: number;
  readonly hosts: { readonly length: number };
}

/** A route whose hosts are kept although a server says otherwise. */
export interface KeptRoute extends ModuleKey {
  /** Hosts there would be, had the server been believed. */
  readonly told: number;
  /** Hosts kept in spite of it. */
  readonly kept: number;
  readonly sinceMs: number;
}

export type Judgement<R> =
  | { readonly believed: true }
  /** `takenBack`: routes as they were before they shrank in the last half minute; they hold again. */
  | { readonly believed: false; readonly takenBack: readonly R[] };

/** Believed for now. */
interface Shrunk<R> {
  /** As it was before the first of the losses that count. */
  readonly before: R;
  readonly lost: number;
  readonly atMs: number;
}

const BELIEVED = { believed: true } as const;

export class VanishGuard<R extends GuardedRoute> {
  readonly #held = new ModuleMap<R>();
  #heldHosts = 0;
  readonly #kept = new ModuleMap<KeptRoute>();
  #keptHosts = 0;
  readonly #shrunk = new ModuleMap<Shrunk<R>>();
  /** Oldest first. */
  readonly #shrunkInOrder = new Set<Shrunk<R>>();
  #shrunkHosts = 0;

  /** Modules whose hosts are kept against what a server says. */
  get keptModules(): number {
    return this.#kept.size;
  }

  get keptHosts(): number {
    return this.#keptHosts;
  }

  keptRoutes(): Iterable<KeptRoute> {
    return this.#kept.values();
  }

  kept(modid: number, cmdid: number): KeptRoute | undefined {
    return this.#kept.get(modid, cmdid);
  }

  held(modid: number, cmdid: number): R | undefined {
    return this.#held.get(modid, cmdid);
  }

  /** Holds a route without judging it: one from before this guard was there, or one that was meant. */
  hold(route: R): void {
    const { modid, cmdid, hosts } = route;
    this.#heldHosts += hosts.length - (this.#held.get(modid, cmdid)?.hosts.length ?? 0);
    if (hosts.length === 0) this.#held.delete(modid, cmdid);
    else this.#held.set(modid, cmdid, route);
  }

  /** Nobody needs the module any more. */
  forget(modid: number, cmdid: number): void {
    this.#heldHosts -= this.#held.get(modid, cmdid)?.hosts.length ?? 0;
    this.#held.delete(modid, cmdid);
    this.settle(modid, cmdid);
  }

  /** What is held of the module is so: nothing of it counts as vanished or kept. */
  settle(modid: number, cmdid: number): void {
    this.#release(modid, cmdid);
    const shrunk = this.#shrunk.get(modid, cmdid);
    if (shrunk !== undefined) this.#dropShrunk(shrunk);
  }

  /** A server says `route`. When it is believed it is held from now on. `maxShare`: 0 to 1. */
  judge(route: R, meant: boolean, maxShare: number, nowMs: number): Judgement<R> {
    const { modid, cmdid, hosts, revision } = route;
    for (const shrunk of this.#shrunkInOrder) {
      if (nowMs - shrunk.atMs < VANISH_WINDOW_MS) break;
      this.#dropShrunk(shrunk);
    }
    const keptSinceMs = this.#kept.get(modid, cmdid)?.sinceMs;
    const held = this.#held.get(modid, cmdid);
    const before = this.#shrunk.get(modid, cmdid)?.before ?? held;
    this.settle(modid, cmdid);
    const lost = before === undefined ? 0 : before.hosts.length - hosts.length;
    if (before === undefined || meant || lost <= 0) {
      this.hold(route);
      return BELIEVED;
    }
    const vanishing = this.#keptHosts + this.#shrunkHosts + lost;
    const all = this.#heldHosts - (held?.hosts.length ?? 0) + before.hosts.length + this.#shrunkHosts;
    const areTooMany = vanishing > maxShare * all;
    if (areTooMany || (revision !== 0 && hosts.length === 0)) {
      const takenBack = areTooMany ? this.#takeBack(nowMs) : [];
      this.hold(before);
      this.#keep(before, hosts.length, keptSinceMs ?? nowMs);
      return { believed: false, takenBack: before === held ? takenBack : [...takenBack, before] };
    }
    this.hold(route);
    const shrunk: Shrunk<R> = { before, lost, atMs: nowMs };
    this.#shrunk.set(modid, cmdid, shrunk);
    this.#shrunkInOrder.add(shrunk);
    this.#shrunkHosts += lost;
    return BELIEVED;
  }

  #keep({ modid, cmdid, hosts }: R, told: number, sinceMs: number): void {
    this.#kept.set(modid, cmdid, { modid, cmdid, told, kept: hosts.length - told, sinceMs });
    this.#keptHosts += hosts.length - told;
  }

  #release(modid: number, cmdid: number): void {
    this.#keptHosts -= this.#kept.get(modid, cmdid)?.kept ?? 0;
    this.#kept.delete(modid, cmdid);
  }

  #takeBack(nowMs: number): readonly R[] {
    return Array.from(this.#shrunkInOrder, (shrunk) => {
      const { before, lost } = shrunk;
      this.#dropShrunk(shrunk);
      this.hold(before);
      this.#keep(before, before.hosts.length - lost, nowMs);
      return before;
    });
  }

  #dropShrunk(shrunk: Shrunk<R>): void {
    const { modid, cmdid } = shrunk.before;
    this.#shrunk.delete(modid, cmdid);
    this.#shrunkInOrder.delete(shrunk);
    this.#shrunkHosts -= shrunk.lost;
  }
}
