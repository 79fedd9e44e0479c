// A module names a remote service: modid + cmdid, two 32-bit integers. The wire carries them signed, old databases keep
// them unsigned, so the same module may arrive as -1 or as 4294967295. Inside there is one spelling, the signed one;
// edges convert with `| 0` (in) and `>>> 0` (to SQL).

/** A module's identity. Both numbers are signed 32-bit integers. */
export interface ModuleKey {
  readonly modid: number;
  readonly cmdid: number;
}

/** "modid.cmdid", for people: log lines, cursors, watch parameters. */
export function formatModuleKey(key: ModuleKey): string {
  return `${key.modid}.${key.cmdid}`;
}

const ID_PATTERN = /^(0|-?[1-9]\d{0,9})$/;

/** A decimal modid or cmdid, signed or unsigned, in its signed spelling; undefined when it is no 32-bit integer. */
export function parseModuleId(text: string): number | undefined {
  if (!ID_PATTERN.test(text)) return undefined;
  const value = Number(text);
  return value >= -0x8000_0000 && value <= 0xffff_ffff ? value | 0 : undefined;
}

/** "modid.cmdid" as {@link formatModuleKey} writes it; undefined when malformed. */
export function parseModuleKey(text: string): ModuleKey | undefined {
  const dot = text.indexOf(".");
  if (dot < 0) return undefined;
  const modid = parseModuleId(text.slice(0, dot));
  const cmdid = parseModuleId(text.slice(dot + 1));
  return modid === undefined || cmdid === undefined ? undefined : { modid, cmdid };
}

/** Orders by modid, then cmdid. */
export function compareModuleKeys(a: ModuleKey, b: ModuleKey): number {
  return a.modid - b.modid || a.cmdid - b.cmdid;
}

/** The modules of one modid. Nearly always there is one, and a map for one entry would cost five times its place. */
class Group<T> {
  cmdid: number;
  value: T | undefined;
  /** False: the one that came first has left, and others are still there. */
  hasFirst = true;
  others: Map<number, T> | undefined = undefined;

  constructor(cmdid: number, value: T) {
    this.cmdid = cmdid;
    this.value = value;
  }
}

/**
 * A map from module to T that never builds a key: 64 bits of identity do not fit a JavaScript number, and a string or
 * object per lookup would be garbage on the path of every pick. Two lookups at the most, O(1). As with a Map, entries may
 * be deleted and added while it is iterated.
 */
export class ModuleMap<T> {
  readonly #byModid = new Map<number, Group<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(modid: number, cmdid: number): T | undefined {
    const group = this.#byModid.get(modid);
    if (group === undefined) return undefined;
    return group.cmdid === cmdid && group.hasFirst ? group.value : group.others?.get(cmdid);
  }

  has(modid: number, cmdid: number): boolean {
    const group = this.#byModid.get(modid);
    if (group === undefined) return false;
    return (group.cmdid === cmdid && group.hasFirst) || (group.others?.has(cmdid) ?? false);
  }

  set(modid: number, cmdid: number, value: T): void {
    const group = this.#byModid.get(modid);
    if (group === undefined) {
      this.#byModid.set(modid, new Group(cmdid, value));
      this.#size++;
      return;
    }
    if (group.cmdid === cmdid && group.hasFirst) {
      group.value = value;
      return;
    }
    group.others ??= new Map();
    const before = group.others.size;
    group.others.set(cmdid, value);
    this.#size += group.others.size - before;
  }

  delete(modid: number, cmdid: number): boolean {
    const group = this.#byModid.get(modid);
    if (group === undefined) return false;
    const { others } = group;
    if (group.cmdid === cmdid && group.hasFirst) {
      // Another may not take its place: whoever iterates has passed it.
      group.hasFirst = false;
      group.value = undefined;
    } else if (others?.delete(cmdid) !== true) {
      return false;
    }
    this.#size--;
    if (others?.size === 0) group.others = undefined;
    if (!group.hasFirst && group.others === undefined) this.#byModid.delete(modid);
    return true;
  }

  clear(): void {
    this.#byModid.clear();
    this.#size = 0;
  }

  *values(): IterableIterator<T> {
    for (const group of this.#byModid.values()) {
      if (group.hasFirst) yield group.value as T;
      if (group.others !== undefined) yield* group.others.values();
    }
  }

  *entries(): IterableIterator<[ModuleKey, T]> {
    for (const [modid, group] of this.#byModid) {
      if (group.hasFirst) yield [{ modid, cmdid: group.cmdid }, group.value as T];
      for (const [cmdid, value] of group.others ?? []) yield [{ modid, cmdid }, value];
    }
  }
}
