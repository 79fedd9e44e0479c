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

/**
 * A map from module to T that never builds a key: 64 bits of identity do not fit a JavaScript number, and a string or
 * object per lookup would be garbage on the path of every pick. Two nested maps, lookups O(1).
 */
export class ModuleMap<T> {
  readonly #byModid = new Map<number, Map<number, T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(modid: number, cmdid: number): T | undefined {
    return this.#byModid.get(modid)?.get(cmdid);
  }

  has(modid: number, cmdid: number): boolean {
    return this.#byModid.get(modid)?.has(cmdid) ?? false;
  }

  set(modid: number, cmdid: number, value: T): void {
    let inner = this.#byModid.get(modid);
    if (inner === undefined) {
      inner = new Map();
      this.#byModid.set(modid, inner);
    }
    const before = inner.size;
    inner.set(cmdid, value);
    this.#size += inner.size - before;
  }

  delete(modid: number, cmdid: number): boolean {
    const inner = this.#byModid.get(modid);
    if (inner === undefined || !inner.delete(cmdid)) return false;
    if (inner.size === 0) this.#byModid.delete(modid);
    this.#size--;
    return true;
  }

  clear(): void {
    this.#byModid.clear();
    this.#size = 0;
  }

  *values(): IterableIterator<T> {
    for (const inner of this.#byModid.values()) yield* inner.values();
  }

  *entries(): IterableIterator<[ModuleKey, T]> {
    for (const [modid, inner] of this.#byModid) for (const [cmdid, value] of inner) yield [{ modid, cmdid }, value];
  }
}
