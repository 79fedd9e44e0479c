// How the calls of each (module, host) went, counted where they are reported and read where they are sent on, without
// a message in between: shared memory. A shard is the only writer of its table; the agent's main thread reads it once a
// second and compares with what it sent last. 32-bit counters wrap, as the wire's do; a reader may see one counter of a
// host a moment before the other, which the next reading settles.
//
// Entries are never taken back: totals must go on from where they were when a host leaves and returns, or when a shard's
// worker died and another goes on with its memory. So the table has a bound; hosts beyond it are not counted, which is
// itself counted.
import { finalMix } from "./hash.ts";
import { ModuleMap } from "./module-key.ts";

/** Entries per block of shared memory. */
export const BLOCK_ENTRIES = 4096;
const FIELDS = 7;
const MODID = 0;
const CMDID = 1;
const IP = 2;
const PORT = 3; // 0: the entry is free
const SUCC = 4;
const ERR = 5;
const EJECTED = 6;

/** One block: FIELDS columns of BLOCK_ENTRIES int32 each. */
export type StatisticsBlock = Int32Array<SharedArrayBuffer>;

function newBlock(): StatisticsBlock {
  return new Int32Array(new SharedArrayBuffer(FIELDS * BLOCK_ENTRIES * 4));
}

const FIRST_SLOTS = 64;
const NO_SLOTS = new Int32Array(0);
/** More than one, so that a table is whole long before it is full. */
const MOVED_AT_ONCE = 32;

/** The writing side. Entry numbers are stable for the lifetime of the table. */
export class CallStatistics {
  readonly #blocks: StatisticsBlock[];
  /**
   * A hash table over the entries, at most half full: entry number + 1, or 0. The keys are in the blocks already; a map of
   * maps would take more memory than what it leads to.
   */
  #slots = new Int32Array(FIRST_SLOTS);
  /** While the table grows: the smaller one before it, of whose entries the first `#moved` of `#toMove` are in both. */
  #before = NO_SLOTS;
  #moved = 0;
  #toMove = 0;
  readonly #maxEntries: number;
  readonly #onBlock: (block: StatisticsBlock) => void;
  #size = 0;
  /** Hosts that found the table full. */
  refused = 0;

  /**
   * `blocks`: those of a predecessor, to go on with. `onBlock`: hands every new block to the reader.
   */
  constructor(maxEntries: number, onBlock: (block: StatisticsBlock) => void, blocks: readonly StatisticsBlock[] = []) {
    this.#maxEntries = maxEntries;
    this.#onBlock = onBlock;
    this.#blocks = [...blocks];
    for (const block of this.#blocks) {
      for (let j = 0; j < BLOCK_ENTRIES && block[PORT * BLOCK_ENTRIES + j] !== 0; j++) this.#remember(this.#size);
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Takes the next entry, which is written already, into the index. */
  #remember(entry: number): void {
    this.#size++;
    if (this.#size * 2 > this.#slots.length) {
      this.#before = this.#slots;
      this.#slots = new Int32Array(this.#before.length * 2);
      this.#toMove = entry;
      this.#moved = 0;
    }
    this.#insert(entry);
    // To move all at once would hold up the thread that answers callers: for 3 ms at 32,000 entries.
    const until = Math.min(this.#toMove, this.#moved + MOVED_AT_ONCE);
    while (this.#moved < until) this.#insert(this.#moved++);
    if (this.#moved === this.#toMove) this.#before = NO_SLOTS;
  }

  #insert(entry: number): void {
    const block = this.#blocks[(entry / BLOCK_ENTRIES) | 0]!;
    const offset = entry % BLOCK_ENTRIES;
    const at = (column: number): number => block[column * BLOCK_ENTRIES + offset]!;
    const mask = this.#slots.length - 1;
    let slot = hashOf(at(MODID), at(CMDID), at(IP), at(PORT)) & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = entry + 1;
  }

  /** The entry of a host that was opened before, or -1. */
  find(modid: number, cmdid: number, ip: number, port: number): number {
    const entry = this.#search(this.#slots, modid, cmdid, ip, port);
    if (entry >= 0 || this.#before.length === 0) return entry;
    return this.#search(this.#before, modid, cmdid, ip, port);
  }

  #search(slots: Int32Array, modid: number, cmdid: number, ip: number, port: number): number {
    const mask = slots.length - 1;
    for (let slot = hashOf(modid, cmdid, ip, port) & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]! - 1;
      if (entry < 0) return -1;
      const block = this.#blocks[(entry / BLOCK_ENTRIES) | 0]!;
      const offset = entry % BLOCK_ENTRIES;
      if (
        block[IP * BLOCK_ENTRIES + offset] === ip &&
        block[PORT * BLOCK_ENTRIES + offset] === port &&
        block[MODID * BLOCK_ENTRIES + offset] === modid &&
        block[CMDID * BLOCK_ENTRIES + offset] === cmdid
      )
        return entry;
    }
  }

  /** The entry of a host, made when there is none; -1 when the table is full. */
  open(modid: number, cmdid: number, ip: number, port: number): number {
    const known = this.find(modid, cmdid, ip, port);
    if (known >= 0) return known;
    if (this.#size >= this.#maxEntries) {
      this.refused++;
      return -1;
    }
    const entry = this.#size;
    const offset = entry % BLOCK_ENTRIES;
    // A predecessor may have died between making a block and using it: then it is there already.
    let block = this.#blocks[(entry / BLOCK_ENTRIES) | 0];
    if (block === undefined) {
      block = newBlock();
      this.#blocks.push(block);
      this.#onBlock(block);
    }
    block[MODID * BLOCK_ENTRIES + offset] = modid;
    block[CMDID * BLOCK_ENTRIES + offset] = cmdid;
    block[IP * BLOCK_ENTRIES + offset] = ip;
    // Last, and in order for other threads: an entry with a port is complete.
    Atomics.store(block, PORT * BLOCK_ENTRIES + offset, port);
    this.#remember(entry);
    return entry;
  }

  /** Counts modulo 2^32; zeros for entry -1. */
  totals(entry: number): { readonly succ: number; readonly err: number } {
    if (entry < 0) return { succ: 0, err: 0 };
    const block = this.#blocks[(entry / BLOCK_ENTRIES) | 0]!;
    const offset = entry % BLOCK_ENTRIES;
    return { succ: block[SUCC * BLOCK_ENTRIES + offset]! >>> 0, err: block[ERR * BLOCK_ENTRIES + offset]! >>> 0 };
  }

  /** A call ended. `ejected`: the host is held out of the ordinary picks now. `entry` must come from `open` or `find`. */
  count(entry: number, succeeded: boolean, ejected: boolean): void {
    const block = this.#blocks[(entry / BLOCK_ENTRIES) | 0]!;
    const offset = entry % BLOCK_ENTRIES;
    block[(succeeded ? SUCC : ERR) * BLOCK_ENTRIES + offset]! += 1;
    block[EJECTED * BLOCK_ENTRIES + offset] = ejected ? 1 : 0;
  }
}

function hashOf(modid: number, cmdid: number, ip: number, port: number): number {
  return finalMix(finalMix(modid ^ Math.imul(cmdid, 0x9e37_79b1)) ^ Math.imul(ip, 0x85eb_ca77) ^ port);
}

/** One host's totals, as read. Counts modulo 2^32. */
export interface HostTotals {
  readonly ip: number;
  readonly port: number;
  readonly succ: number;
  readonly err: number;
  readonly ejected: boolean;
}

/** The reading side, in another thread: which hosts' totals moved since they were last taken. */
export class StatisticsReader {
  readonly #blocks: { readonly live: StatisticsBlock; readonly sent: Int32Array }[] = [];

  addBlock(block: StatisticsBlock): void {
    // What was sent: SUCC, ERR, EJECTED of every entry; zero totals need not be told.
    this.#blocks.push({ live: block, sent: new Int32Array(3 * BLOCK_ENTRIES) });
  }

  blocks(): readonly StatisticsBlock[] {
    return this.#blocks.map(({ live }) => live);
  }

  /** Whether `take` would return anything. */
  hasMoved(): boolean {
    return this.#blocks.some(({ live, sent }) => {
      for (let i = 0; i < BLOCK_ENTRIES; i++) {
        if (live[PORT * BLOCK_ENTRIES + i] === 0) return false;
        for (let field = 0; field < 3; field++) {
          if (live[(SUCC + field) * BLOCK_ENTRIES + i] !== sent[field * BLOCK_ENTRIES + i]) return true;
        }
      }
      return false;
    });
  }

  /**
   * Totals that moved since the last call, by module; with `all`, every host that ever had a call. What is returned
   * counts as sent.
   */
  take(all: boolean): ModuleMap<HostTotals[]> {
    const moved = new ModuleMap<HostTotals[]>();
    for (const { live, sent } of this.#blocks) {
      for (let i = 0; i < BLOCK_ENTRIES; i++) {
        const port = Atomics.load(live, PORT * BLOCK_ENTRIES + i);
        if (port === 0) break;
        const succ = live[SUCC * BLOCK_ENTRIES + i]!;
        const err = live[ERR * BLOCK_ENTRIES + i]!;
        const ejected = live[EJECTED * BLOCK_ENTRIES + i]!;
        const same = succ === sent[i] && err === sent[BLOCK_ENTRIES + i] && ejected === sent[2 * BLOCK_ENTRIES + i];
        if (same && !(all && (succ !== 0 || err !== 0))) continue;
        sent[i] = succ;
        sent[BLOCK_ENTRIES + i] = err;
        sent[2 * BLOCK_ENTRIES + i] = ejected;
        const modid = live[MODID * BLOCK_ENTRIES + i]!;
        const cmdid = live[CMDID * BLOCK_ENTRIES + i]!;
        let hosts = moved.get(modid, cmdid);
        if (hosts === undefined) {
          hosts = [];
          moved.set(modid, cmdid, hosts);
        }
        hosts.push({
          ip: live[IP * BLOCK_ENTRIES + i]!,
          port,
          succ: succ >>> 0,
          err: err >>> 0,
          ejected: ejected !== 0,
        });
      }
    }
    return moved;
  }
}
