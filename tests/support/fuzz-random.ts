// Randomness of the fuzz tests: from a seed, which a failing test prints and LARS_FUZZ_SEED sets, so that a failure can
// be had again. LARS_FUZZ_COUNT makes a run longer.

export interface FuzzRandom {
  /** 0 <= float() < 1. */
  readonly float: () => number;
  /** An integer from `min` to `max`, both included. */
  int(min: number, max: number): number;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Uint8Array;
}

/** Mulberry32 by Tommy Ettinger, public domain: 32 bits of state, good enough to choose test cases. */
export function makeFuzzRandom(seed: number): FuzzRandom {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const float = (): number => next() / 0x1_0000_0000;
  const int = (min: number, max: number): number => min + Math.floor(float() * (max - min + 1));
  return {
    float,
    int,
    pick: (items) => items[int(0, items.length - 1)]!,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
  };
}

function fromEnvironment(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === "") return undefined;
  if (!/^\d{1,10}$/.test(text)) throw new Error(`${name} is "${text}"; expected a whole number`);
  return Number(text);
}

export function fuzzSeed(): number {
  return fromEnvironment("LARS_FUZZ_SEED") ?? 20_260_101;
}

/**
 * How many drawn cases a property is tried on: a quarter in a plain `bun test`, which is run after every change, the whole
 * in test:all. The quarter is the whole's beginning.
 */
export function propertyRuns(whole: number): number {
  return process.env.LARS_TEST_ALL === "true" ? whole : Math.ceil(whole / 4);
}

/** The same of steps, messages and other small things, of which LARS_FUZZ_COUNT can ask for more. */
export function fuzzCount(whole: number): number {
  return fromEnvironment("LARS_FUZZ_COUNT") ?? propertyRuns(whole);
}

/** Messages for real processes. */
export function processFuzzCount(): number {
  return fuzzCount(100_000);
}
