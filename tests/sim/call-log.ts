// What happened in a run, call by call, in the order the calls were made, and the questions asked of it. A call belongs
// to the moment it was made: "the first second" are the calls made in it, whenever they ended.

export const PENDING = 0;
export const OK = 1;
export const FAILED = 2;
export const REFUSED = 3;
/** Its caller died before it ended. Neither a success nor an error. */
export const ABANDONED = 4;

const NO_HOST = -1;

export class CallLog {
  length = 0;
  /** In ms from the start of the run. */
  startMs: Float64Array;
  /** What the caller waited, in ms. */
  tookMs: Float32Array;
  /** The host's place in the scenario; -1: none. */
  host: Int16Array;
  result: Uint8Array;
  agent: Uint16Array;
  caller: Uint16Array;
  /** How often the call's caller had died when it made the call. */
  callerLife: Uint16Array;

  constructor(
    /** Fair part of the calls of every host; sums to 1. */
    readonly fair: readonly number[],
    capacity: number,
  ) {
    this.startMs = new Float64Array(capacity);
    this.tookMs = new Float32Array(capacity);
    this.host = new Int16Array(capacity);
    this.result = new Uint8Array(capacity);
    this.agent = new Uint16Array(capacity);
    this.caller = new Uint16Array(capacity);
    this.callerLife = new Uint16Array(capacity);
  }

  /** Adds a call without outcome; returns its place. */
  begin(startMs: number, agent: number, caller: number, callerLife: number): number {
    const call = this.length++;
    if (call === this.startMs.length) this.#grow();
    this.startMs[call] = startMs;
    this.tookMs[call] = 0;
    this.host[call] = NO_HOST;
    this.result[call] = PENDING;
    this.agent[call] = agent;
    this.caller[call] = caller;
    this.callerLife[call] = callerLife;
    return call;
  }

  #grow(): void {
    const capacity = this.startMs.length * 2;
    const larger = <A extends Float64Array | Float32Array | Int16Array | Uint8Array | Uint16Array>(
      from: A,
      to: A,
    ): A => {
      to.set(from);
      return to;
    };
    this.startMs = larger(this.startMs, new Float64Array(capacity));
    this.tookMs = larger(this.tookMs, new Float32Array(capacity));
    this.host = larger(this.host, new Int16Array(capacity));
    this.result = larger(this.result, new Uint8Array(capacity));
    this.agent = larger(this.agent, new Uint16Array(capacity));
    this.caller = larger(this.caller, new Uint16Array(capacity));
    this.callerLife = larger(this.callerLife, new Uint16Array(capacity));
  }

  /** The first call made at `ms` or later. */
  at(ms: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.startMs[middle]! < ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** How many calls made in [from, until) had this result. */
  count(result: number, fromMs = 0, untilMs = Number.POSITIVE_INFINITY): number {
    let count = 0;
    const end = this.at(untilMs);
    for (let i = this.at(fromMs); i < end; i++) if (this.result[i] === result) count++;
    return count;
  }

  /** Calls that failed, of all that were made and not abandoned. Refused ones count as made. 0 when there were none. */
  errorShare(fromMs = 0, untilMs = Number.POSITIVE_INFINITY): number {
    return this.#shareOf(FAILED, fromMs, untilMs);
  }

  /** Calls that the balancer gave no host. */
  refusedShare(fromMs = 0, untilMs = Number.POSITIVE_INFINITY): number {
    return this.#shareOf(REFUSED, fromMs, untilMs);
  }

  #shareOf(result: number, fromMs: number, untilMs: number): number {
    let hits = 0;
    let all = 0;
    const end = this.at(untilMs);
    for (let i = this.at(fromMs); i < end; i++) {
      if (this.result[i] === result) hits++;
      if (this.result[i] !== ABANDONED) all++;
    }
    return all === 0 ? 0 : hits / all;
  }

  /** The part of the calls that these hosts got in [from, until), as a multiple of their fair part. */
  loadOf(hosts: readonly number[], fromMs: number, untilMs: number): number {
    let hits = 0;
    let all = 0;
    const end = this.at(untilMs);
    for (let i = this.at(fromMs); i < end; i++) {
      const host = this.host[i]!;
      if (host === NO_HOST) continue;
      all++;
      if (hosts.includes(host)) hits++;
    }
    let fair = 0;
    for (const host of hosts) fair += this.fair[host]!;
    return all === 0 ? 0 : hits / all / fair;
  }

  /** The largest part of the calls in [from, until) that any one host got, as a multiple of its fair part. */
  largestLoad(fromMs = 0, untilMs = Number.POSITIVE_INFINITY): number {
    const counts = new Float64Array(this.fair.length);
    let all = 0;
    const end = this.at(untilMs);
    for (let i = this.at(fromMs); i < end; i++) {
      const host = this.host[i]!;
      if (host === NO_HOST) continue;
      all++;
      counts[host]!++;
    }
    let largest = 0;
    for (let host = 0; host < counts.length; host++) {
      largest = Math.max(largest, all === 0 ? 0 : counts[host]! / all / this.fair[host]!);
    }
    return largest;
  }

  /** The largest load of any host in any stretch of `windowMs` that begins at a quarter of one. */
  worstWindowLoad(windowMs: number, fromMs: number, untilMs: number): number {
    let worst = 0;
    for (let ms = fromMs; ms + windowMs <= untilMs + 1e-6; ms += windowMs / 4) {
      worst = Math.max(worst, this.largestLoad(ms, ms + windowMs));
    }
    return worst;
  }

  /** What share `p` of the calls that had a host took at most, in ms. 0 when there were none. */
  percentiles(ps: readonly number[], fromMs = 0, untilMs = Number.POSITIVE_INFINITY): readonly number[] {
    const end = this.at(untilMs);
    const begin = this.at(fromMs);
    const values = new Float32Array(end - begin);
    let count = 0;
    for (let i = begin; i < end; i++) {
      if (this.host[i] !== NO_HOST && this.result[i] !== ABANDONED) values[count++] = this.tookMs[i]!;
    }
    return ps.map((p) => (count === 0 ? 0 : select(values, count, Math.min(count - 1, Math.ceil(p * count) - 1))));
  }

  percentile(p: number, fromMs = 0, untilMs = Number.POSITIVE_INFINITY): number {
    return this.percentiles([p], fromMs, untilMs)[0]!;
  }
}

/** The value that would stand at `place` if the first `count` values were sorted (Hoare's quickselect, in place). */
function select(values: Float32Array, count: number, place: number): number {
  let low = 0;
  let high = count - 1;
  const wanted = Math.max(0, place);
  while (low < high) {
    const pivot = values[(low + high) >>> 1]!;
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i <= j) {
        const swapped = values[i]!;
        values[i++] = values[j]!;
        values[j--] = swapped;
      }
    }
    if (wanted <= j) high = j;
    else if (wanted >= i) low = i;
    else break;
  }
  return values[wanted]!;
}
