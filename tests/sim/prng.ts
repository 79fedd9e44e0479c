// Chance for the simulator: from a seed, and split into streams by name, so that two policies meet the same arrivals and
// the same service times whatever they themselves draw. Differences between them are then theirs, not luck's.

export interface Prng {
  /** Uniform in [0, 1). */
  readonly next: () => number;
  /** An integer, 0 <= n < bound. */
  below(bound: number): number;
  /** Standard normal. */
  normal(): number;
  /** Exponential with mean 1. */
  exponential(): number;
}

/** The stream called `name` of a run's seed. sfc32 (Chris Doty-Humphrey, public domain), which passes PractRand. */
export function makePrng(seed: number, name: string): Prng {
  let a = 0x9e37_79b9 | 0;
  let b = seed | 0;
  let c = 0x2545_f491 | 0;
  for (let i = 0; i < name.length; i++) c = Math.imul(c ^ name.charCodeAt(i), 0x0100_0193);
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return (sum >>> 0) / 0x1_0000_0000;
  };
  for (let i = 0; i < 15; i++) next();
  let spare: number | undefined;
  return {
    next,
    below: (bound) => Math.floor(next() * bound),
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      // Box-Muller; 1 - u keeps the logarithm's argument above 0.
      const radius = Math.sqrt(-2 * Math.log(1 - next()));
      const angle = 2 * Math.PI * next();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
    exponential: () => -Math.log(1 - next()),
  };
}
