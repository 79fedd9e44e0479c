// Ids for requests that came without one. The random part is drawn once and the rest counts: an id names a line in the
// log and guards nothing, and a fresh UUID for each was a tenth of what this side of an answer cost.

const DIGITS = 12;
/** Three hex digits each. */
const TRIPLES = Array.from({ length: 4096 }, (_, i) => i.toString(16).padStart(3, "0"));
/** At a million a second this comes round after nine years. */
const WRAPS_AT = 16 ** DIGITS;

let prefix: string | undefined;
let count = 0;

/** Of a UUID's form; unlike any other of this process and, but for 1 in 2^74, of any process. */
export function newRequestId(): string {
  // Not before it is needed: some runtimes give out no randomness while modules are loaded.
  prefix ??= crypto.randomUUID().slice(0, -DIGITS);
  count = (count + 1) % WRAPS_AT;
  const high = Math.floor(count / 0x100_0000);
  return (
    prefix + TRIPLES[high >>> 12]! + TRIPLES[high & 4095]! + TRIPLES[(count >>> 12) & 4095]! + TRIPLES[count & 4095]!
  );
}
