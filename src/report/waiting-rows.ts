// The rows that wait for the database: a line in the order of arrival, in which a row is found by its key and replaced
// in its place. At 150,000 rows a second a Map of objects under text keys was the largest part of the process (a fifth of
// its time to make the keys, 500 bytes a row); here a row is a slot in columns of numbers, found by a hash over the six
// numbers of its key, and the line is a list linked through two more columns. Nothing is allocated for a row that is
// offered; a row becomes an object once, when it is taken to be stored.
//
// The hash is seeded by chance, or somebody could offer rows that all meet in one place.

/** What an agent says of one host. No instance (both halves 0): a C++ agent's window, which overwrites. */
export interface OfferedRow {
  modid: number;
  cmdid: number;
  ip: number;
  port: number;
  caller: number;
  succ: number;
  err: number;
  overload: boolean;
  /** Unix seconds. */
  ts: number;
  instanceHigh: number;
  instanceLow: number;
  seq: number;
}

/** A row on its way to the database or the spool. */
export interface TakenRow {
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: number;
  readonly port: number;
  readonly caller: number;
  readonly succ: number;
  readonly err: number;
  readonly overload: boolean;
  readonly ts: number;
  /** 16 hex digits; "" for a window. */
  readonly instance: string;
  readonly seq: number;
  /** It waited through a failure or in the spool: a window that somebody else stored meanwhile may be newer. */
  readonly late: boolean;
  /** Its place in the line. */
  readonly number: number;
  /** When it last changed, in the order of all changes. */
  readonly change: number;
}

export type Offered = "added" | "replaced" | "stale" | "full";

const NONE = -1;
const KEY = 6;
const FIRST_CAPACITY = 1024;
const WINDOW = 1 << 16;
const OVERLOAD = 1;
const LATE = 2;

function hex(half: number): string {
  return (half >>> 0).toString(16).padStart(8, "0");
}

/** The numbers of a row's key that say whose it is and what kind it is of. */
function sourceOf(row: Pick<TakenRow, "port" | "instance" | "caller">): { high: number; low: number; port: number } {
  const { port, instance, caller } = row;
  if (instance === "") return { high: caller, low: 0, port: port | WINDOW };
  return { high: Number.parseInt(instance.slice(0, 8), 16), low: Number.parseInt(instance.slice(8), 16), port };
}

export class WaitingRows {
  readonly #seed: number;
  #capacity = FIRST_CAPACITY;
  /** Slot + 1 of the row whose hash leads here; 0: none. Twice as large as the columns, so that probes stay short. */
  #table = new Int32Array(FIRST_CAPACITY * 2);
  /**
   * Six numbers a slot, side by side, for they are compared together: modid, cmdid, ip; the port, and whether it is a
   * window (the two kinds never replace each other); whose row it is: the halves of the instance, a window's caller and 0.
   */
  #keys = new Int32Array(FIRST_CAPACITY * KEY);
  #caller = new Int32Array(FIRST_CAPACITY);
  #succ = new Int32Array(FIRST_CAPACITY);
  #err = new Int32Array(FIRST_CAPACITY);
  #ts = new Int32Array(FIRST_CAPACITY);
  #flags = new Uint8Array(FIRST_CAPACITY);
  #seq = new Float64Array(FIRST_CAPACITY);
  #number = new Float64Array(FIRST_CAPACITY);
  #change = new Float64Array(FIRST_CAPACITY);
  #next = new Int32Array(FIRST_CAPACITY);
  #previous = new Int32Array(FIRST_CAPACITY);
  #first = NONE;
  #last = NONE;
  /** Slots that were used and are not: a stack through `#next`. */
  #freed = NONE;
  #used = 0;
  #size = 0;
  #lastNumber = 0;
  #lastChange = 0;

  /** `seed`: any 32 bits. */
  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#size;
  }

  /** The place of the row that was added last. */
  get lastNumber(): number {
    return this.#lastNumber;
  }

  get lastChange(): number {
    return this.#lastChange;
  }

  /** The place of the row that waits longest; undefined: none waits. */
  get firstNumber(): number | undefined {
    return this.#first === NONE ? undefined : this.#number[this.#first];
  }

  /** `mayAdd`: whether there is room for one more. `late`: it waited, or will, since the database is away. */
  offer(row: Readonly<OfferedRow>, mayAdd: boolean, late = false): Offered {
    const isWindow = row.instanceHigh === 0 && row.instanceLow === 0;
    const port = isWindow ? row.port | WINDOW : row.port;
    const high = isWindow ? row.caller : row.instanceHigh;
    const low = isWindow ? 0 : row.instanceLow;
    const held = this.#find(row.modid, row.cmdid, row.ip, port, high, low);
    if (held !== NONE) {
      // Windows carry seconds only: the one that arrives later wins, unless it is known to be late.
      if (isWindow ? late && row.ts < this.#ts[held]! >>> 0 : row.seq <= this.#seq[held]!) return "stale";
      this.#write(held, row, late);
      return "replaced";
    }
    if (!mayAdd) return "full";
    const slot = this.#add(row.modid, row.cmdid, row.ip, port, high, low);
    this.#number[slot] = ++this.#lastNumber;
    this.#write(slot, row, late);
    this.#linkLast(slot);
    return "added";
  }

  /** A row of the spool: it knows no better than what waits already, and there is room for it whatever waits. */
  restore(row: Readonly<Omit<TakenRow, "number" | "change" | "late">>): void {
    const number = this.#lastNumber + 1;
    if (this.#place({ ...row, number, late: true, change: this.#lastChange + 1 }) === undefined) return;
    this.#lastNumber = number;
    this.#lastChange++;
  }

  /** Takes the `most` rows that have waited longest out. */
  take(most: number): TakenRow[] {
    const taken: TakenRow[] = [];
    while (this.#first !== NONE && taken.length < most) {
      const slot = this.#first;
      taken.push(this.#read(slot));
      this.#remove(slot);
    }
    return taken;
  }

  /** Rows that were taken and not stored: they are first in line again, each as it is by now. */
  putBack(rows: readonly TakenRow[]): void {
    for (let i = rows.length - 1; i >= 0; i--) {
      const row = rows[i]!;
      const slot = this.#place(row) ?? this.#findTaken(row);
      this.#unlink(slot);
      this.#number[slot] = row.number;
      this.#linkFirst(slot);
    }
  }

  /** What changed after `change`, in line. */
  changedSince(change: number): TakenRow[] {
    const rows: TakenRow[] = [];
    for (let slot = this.#first; slot !== NONE; slot = this.#next[slot]!) {
      if (this.#change[slot]! > change) rows.push(this.#read(slot));
    }
    return rows;
  }

  #findTaken(row: Pick<TakenRow, "modid" | "cmdid" | "ip" | "port" | "instance" | "caller">): number {
    const { high, low, port } = sourceOf(row);
    return this.#find(row.modid, row.cmdid, row.ip, port, high, low);
  }

  /** Puts a row at the end of the line, or its newer totals into the row that holds its key. Undefined: that knows better. */
  #place(row: TakenRow): number | undefined {
    let slot = this.#findTaken(row);
    if (slot === NONE) {
      const { high, low, port } = sourceOf(row);
      slot = this.#add(row.modid, row.cmdid, row.ip, port, high, low);
      this.#number[slot] = row.number;
      this.#linkLast(slot);
    } else if (row.instance === "" || row.seq <= this.#seq[slot]!) {
      return undefined;
    }
    this.#fill(slot, row, true);
    this.#change[slot] = row.change;
    return slot;
  }

  #write(slot: number, row: Readonly<OfferedRow>, late: boolean): void {
    this.#fill(slot, row, late);
    this.#change[slot] = ++this.#lastChange;
  }

  #fill(slot: number, row: Readonly<Omit<OfferedRow, "instanceHigh" | "instanceLow">>, late: boolean): void {
    this.#caller[slot] = row.caller;
    this.#succ[slot] = row.succ;
    this.#err[slot] = row.err;
    this.#ts[slot] = row.ts;
    this.#seq[slot] = row.seq;
    this.#flags[slot] = (row.overload ? OVERLOAD : 0) | (late ? LATE : 0);
  }

  /** Rows of a frame stand together, so the text of the instance is mostly the one before. */
  #textHigh = 0;
  #textLow = 0;
  #text = hex(0) + hex(0);

  #instanceOf(slot: number): string {
    const high = this.#keys[slot * KEY + 4]!;
    const low = this.#keys[slot * KEY + 5]!;
    if (high !== this.#textHigh || low !== this.#textLow) {
      this.#textHigh = high;
      this.#textLow = low;
      this.#text = hex(high) + hex(low);
    }
    return this.#text;
  }

  #read(slot: number): TakenRow {
    const flags = this.#flags[slot]!;
    const keys = this.#keys;
    const key = slot * KEY;
    const port = keys[key + 3]!;
    return {
      modid: keys[key]!,
      cmdid: keys[key + 1]!,
      ip: keys[key + 2]!,
      port: port & 0xffff,
      caller: this.#caller[slot]!,
      succ: this.#succ[slot]! >>> 0,
      err: this.#err[slot]! >>> 0,
      overload: (flags & OVERLOAD) !== 0,
      ts: this.#ts[slot]! >>> 0,
      instance: (port & WINDOW) !== 0 ? "" : this.#instanceOf(slot),
      seq: this.#seq[slot]!,
      late: (flags & LATE) !== 0,
      number: this.#number[slot]!,
      change: this.#change[slot]!,
    };
  }

  #hash(modid: number, cmdid: number, ip: number, port: number, high: number, low: number): number {
    let hash = this.#seed;
    hash = Math.imul(hash ^ modid, 0x9e37_79b1);
    hash = Math.imul((hash ^ (hash >>> 15)) + cmdid, 0x85eb_ca6b);
    hash = Math.imul((hash ^ (hash >>> 13)) + ip, 0xc2b2_ae35);
    hash = Math.imul((hash ^ (hash >>> 16)) + port, 0x27d4_eb2f);
    hash = Math.imul((hash ^ (hash >>> 15)) + high, 0x1656_67b1);
    hash = Math.imul((hash ^ (hash >>> 13)) + low, 0x9e37_79b1);
    return hash ^ (hash >>> 16);
  }

  #hashOf(slot: number): number {
    const keys = this.#keys;
    const at = slot * KEY;
    return this.#hash(keys[at]!, keys[at + 1]!, keys[at + 2]!, keys[at + 3]!, keys[at + 4]!, keys[at + 5]!);
  }

  #find(modid: number, cmdid: number, ip: number, port: number, high: number, low: number): number {
    const table = this.#table;
    const keys = this.#keys;
    const mask = table.length - 1;
    for (let at = this.#hash(modid, cmdid, ip, port, high, low) & mask; ; at = (at + 1) & mask) {
      const slot = table[at]! - 1;
      if (slot === NONE) return NONE;
      const key = slot * KEY;
      if (
        keys[key + 2] === (ip | 0) &&
        keys[key] === (modid | 0) &&
        keys[key + 1] === (cmdid | 0) &&
        keys[key + 3] === port &&
        keys[key + 5] === (low | 0) &&
        keys[key + 4] === (high | 0)
      )
        return slot;
    }
  }

  #add(modid: number, cmdid: number, ip: number, port: number, high: number, low: number): number {
    let slot = this.#freed;
    if (slot !== NONE) this.#freed = this.#next[slot]!;
    else {
      if (this.#used === this.#capacity) this.#grow();
      slot = this.#used++;
    }
    const keys = this.#keys;
    const key = slot * KEY;
    keys[key] = modid;
    keys[key + 1] = cmdid;
    keys[key + 2] = ip;
    keys[key + 3] = port;
    keys[key + 4] = high;
    keys[key + 5] = low;
    this.#enter(slot);
    this.#size++;
    return slot;
  }

  #enter(slot: number): void {
    const mask = this.#table.length - 1;
    let at = this.#hashOf(slot) & mask;
    while (this.#table[at] !== 0) at = (at + 1) & mask;
    this.#table[at] = slot + 1;
  }

  #remove(slot: number): void {
    this.#unlink(slot);
    const mask = this.#table.length - 1;
    let hole = this.#hashOf(slot) & mask;
    while (this.#table[hole] !== slot + 1) hole = (hole + 1) & mask;
    // What was pushed on past this place moves up, so that no search stops at the hole before it.
    for (let at = (hole + 1) & mask; this.#table[at] !== 0; at = (at + 1) & mask) {
      const home = this.#hashOf(this.#table[at]! - 1) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.#table[hole] = this.#table[at]!;
      hole = at;
    }
    this.#table[hole] = 0;
    this.#next[slot] = this.#freed;
    this.#freed = slot;
    this.#size--;
  }

  #linkLast(slot: number): void {
    this.#next[slot] = NONE;
    this.#previous[slot] = this.#last;
    if (this.#last === NONE) this.#first = slot;
    else this.#next[this.#last] = slot;
    this.#last = slot;
  }

  #linkFirst(slot: number): void {
    this.#previous[slot] = NONE;
    this.#next[slot] = this.#first;
    if (this.#first === NONE) this.#last = slot;
    else this.#previous[this.#first] = slot;
    this.#first = slot;
  }

  #unlink(slot: number): void {
    const next = this.#next[slot]!;
    const previous = this.#previous[slot]!;
    if (previous === NONE) this.#first = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#last = previous;
    else this.#previous[next] = previous;
  }

  #grow(): void {
    this.#capacity *= 2;
    const ints = (from: Int32Array, each = 1): Int32Array<ArrayBuffer> => {
      const to = new Int32Array(this.#capacity * each);
      to.set(from);
      return to;
    };
    const doubles = (from: Float64Array): Float64Array<ArrayBuffer> => {
      const to = new Float64Array(this.#capacity);
      to.set(from);
      return to;
    };
    this.#keys = ints(this.#keys, KEY);
    this.#caller = ints(this.#caller);
    this.#succ = ints(this.#succ);
    this.#err = ints(this.#err);
    this.#ts = ints(this.#ts);
    this.#next = ints(this.#next);
    this.#previous = ints(this.#previous);
    this.#seq = doubles(this.#seq);
    this.#number = doubles(this.#number);
    this.#change = doubles(this.#change);
    const flags = new Uint8Array(this.#capacity);
    flags.set(this.#flags);
    this.#flags = flags;
    this.#table = new Int32Array(this.#capacity * 2);
    for (let slot = 0; slot < this.#used; slot++) this.#enter(slot);
  }
}
