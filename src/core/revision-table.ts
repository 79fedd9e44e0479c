// A revision for each of very many modules, in 16 bytes of each: removed modules are remembered by nothing else, and a
// record for each would be a quarter of a kilobyte, kept for readers that nearly never come.
//
// Open addressing with linear probing in typed arrays; a removal moves up what stood behind it, so there are no
// gravestones among the graves and a table that is added to and taken from for ever stays as full as it is.
import { finalMix } from "./hash.ts";
import type { ModuleKey } from "./module-key.ts";

export interface RevisionOfModule extends ModuleKey {
  readonly revision: number;
}

const LEAST_SLOTS = 16;
/** Of the slots, at most this share is taken. */
const MOST_FULL = 0.75;

export class RevisionTable {
  #size = 0;
  #mask = LEAST_SLOTS - 1;
  #modids = new Int32Array(LEAST_SLOTS);
  #cmdids = new Int32Array(LEAST_SLOTS);
  /** 0: the slot is free. */
  #revisions = new Float64Array(LEAST_SLOTS);

  get size(): number {
    return this.#size;
  }

  /** There is room for, at 16 bytes each. */
  get slots(): number {
    return this.#revisions.length;
  }

  /** 0: there is none. */
  get(modid: number, cmdid: number): number {
    return this.#revisions[this.#slotOf(modid, cmdid)]!;
  }

  /** `revision`: above 0. */
  set(modid: number, cmdid: number, revision: number): void {
    let slot = this.#slotOf(modid, cmdid);
    if (this.#revisions[slot] === 0) {
      if (++this.#size > MOST_FULL * (this.#mask + 1)) {
        this.#resize(2 * (this.#mask + 1));
        slot = this.#slotOf(modid, cmdid);
      }
      this.#modids[slot] = modid;
      this.#cmdids[slot] = cmdid;
    }
    this.#revisions[slot] = revision;
  }

  /** False when there was none. */
  delete(modid: number, cmdid: number): boolean {
    let free = this.#slotOf(modid, cmdid);
    if (this.#revisions[free] === 0) return false;
    this.#size--;
    for (let at = (free + 1) & this.#mask; this.#revisions[at] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#home(this.#modids[at]!, this.#cmdids[at]!);
      // It may stand no further forward than where it belongs.
      if (((at - home) & this.#mask) < ((at - free) & this.#mask)) continue;
      this.#copy(at, free);
      free = at;
    }
    this.#revisions[free] = 0;
    if (this.#mask >= LEAST_SLOTS && this.#size < (this.#mask + 1) / 8) this.#resize((this.#mask + 1) / 2);
    return true;
  }

  /** In no order. Not to be changed meanwhile. */
  *entries(): IterableIterator<RevisionOfModule> {
    for (let slot = 0; slot <= this.#mask; slot++) {
      const revision = this.#revisions[slot]!;
      if (revision !== 0) yield { modid: this.#modids[slot]!, cmdid: this.#cmdids[slot]!, revision };
    }
  }

  /** Those with a lower revision. */
  before(revision: number): readonly RevisionOfModule[] {
    return [...this.entries()].filter((entry) => entry.revision < revision);
  }

  /** The `count` with the lowest revisions, those first. */
  oldest(count: number): readonly RevisionOfModule[] {
    if (count <= 0) return [];
    const revisions = this.#revisions.filter((revision) => revision !== 0).sort();
    const last = revisions[Math.min(count, revisions.length) - 1] ?? 0;
    const found: RevisionOfModule[] = [];
    for (const entry of this.entries()) if (entry.revision <= last) found.push(entry);
    return found.sort((a, b) => a.revision - b.revision).slice(0, count);
  }

  #home(modid: number, cmdid: number): number {
    return finalMix((finalMix(modid) + cmdid) | 0) & this.#mask;
  }

  /** Where the module is, or where it would be put. */
  #slotOf(modid: number, cmdid: number): number {
    let slot = this.#home(modid, cmdid);
    while (this.#revisions[slot] !== 0 && (this.#modids[slot] !== modid || this.#cmdids[slot] !== cmdid)) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }

  #copy(from: number, to: number): void {
    this.#modids[to] = this.#modids[from]!;
    this.#cmdids[to] = this.#cmdids[from]!;
    this.#revisions[to] = this.#revisions[from]!;
  }

  #resize(slots: number): void {
    const [modids, cmdids, revisions] = [this.#modids, this.#cmdids, this.#revisions];
    this.#mask = slots - 1;
    this.#modids = new Int32Array(slots);
    this.#cmdids = new Int32Array(slots);
    this.#revisions = new Float64Array(slots);
    for (let old = 0; old < revisions.length; old++) {
      if (revisions[old] === 0) continue;
      const slot = this.#slotOf(modids[old]!, cmdids[old]!);
      this.#modids[slot] = modids[old]!;
      this.#cmdids[slot] = cmdids[old]!;
      this.#revisions[slot] = revisions[old]!;
    }
  }
}
