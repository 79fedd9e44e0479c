// Ids for requests that came without one. The random part is drawn once and the rest counts: an id names a line in the
// log and guards nothing, and a fresh UUID for each was a tenth of what this side of an answer cost.

const DIGITS = 12;
/** Three hex digits each: what is joined to the digits before them, which change with every 4,096th id. */
const TRIPLES = Array.from({ length: 4096 }, (_, i) => i.toString(16).padStart(3, "0"));
/** At a million a second this comes round after nine years. */
const WRAPS_AT = 16 ** DIGITS;

let prefix: string | undefined;
let count = 0;
let stem = "";

/** Of a UUID's form; unlike any other of this process and, but for 1 in 2^74, of any process. */
export function newRequestId(): string {
  // Not before it is needed: some runtimes give out no randomness while modules are loaded.
  prefix ??= crypto.randomUUID().slice(0, -DIGITS);
  count = (count + 1) % WRAPS_AT;
  const last = count & 4095;
  if (last === 0 || stem === "") {
    stem = prefix + ((count - last) / 4096).toString(16).padStart(DIGITS - 3, "0");
  }
  return stem + TRIPLES[last]!;
}
