// JSON gone wrong: a valid document, one of its parts replaced by something of another shape, its text damaged.
import type { FuzzRandom } from "../support/fuzz-random.ts";

/** Written as they are: JSON.stringify would turn some of them into something harmless. */
const RAW = ["1e400", "-1e400", "1e-400", "-0", "123456789012345678901234567890", "0.1e1", "9007199254740993"];

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  4_294_967_296,
  2 ** 53,
  "",
  "0",
  "\u0000",
  "\ud800",
  "\u202e\ufeff",
  "ä".repeat(300),
  "x".repeat(70_000),
  "10.0.0.1",
  "999.0.0.1",
  [],
  [[]],
  [null],
  {},
  { ip: "10.0.0.1" },
  { "": 0 },
];
const KEYS = ["", "__proto__", "constructor", "toString", "hosts", "a_b", "latency_us", "\u0000", "x".repeat(5000)];

const RAW_MARK = "\u0001raw:";

function anyValue(random: FuzzRandom): unknown {
  if (random.int(0, 5) === 0) return RAW_MARK + random.pick(RAW);
  if (random.int(0, 20) === 0) return nested(random.int(20, 3000), random.int(0, 1) === 0);
  return random.pick(VALUES);
}

function nested(depth: number, inArrays: boolean): unknown {
  let value: unknown = 0;
  for (let i = 0; i < depth; i++) value = inArrays ? [value] : { a: value };
  return value;
}

/** A copy of `value` with one part of it gone, doubled, added or of another shape. */
function misshape(random: FuzzRandom, value: unknown): unknown {
  if (typeof value !== "object" || value === null || random.int(0, 5) === 0) return anyValue(random);
  if (Array.isArray(value)) {
    const copy = [...value] as unknown[];
    const at = random.int(0, Math.max(0, copy.length - 1));
    const how = random.int(0, 3);
    if (how === 0 || copy.length === 0) copy.push(anyValue(random));
    else if (how === 1) copy.splice(at, 1);
    else if (how === 2) copy.push(copy[at]);
    else copy[at] = misshape(random, copy[at]);
    return copy;
  }
  const entries = Object.entries(value);
  const at = random.int(0, Math.max(0, entries.length - 1));
  const how = random.int(0, 3);
  if (how === 0 || entries.length === 0) entries.push([random.pick(KEYS), anyValue(random)]);
  else if (how === 1) entries.splice(at, 1);
  else entries[at] = [entries[at]![0], misshape(random, entries[at]![1])];
  // From entries, for an object literal would take "__proto__" for something else.
  return Object.fromEntries(entries);
}

function render(value: unknown): string {
  const text = JSON.stringify(value) ?? "null";
  return text.replaceAll(/"\\u0001raw:([^"]*)"/g, "$1");
}

const utf8 = new TextEncoder();

/** The bytes of a body that is `valid` gone wrong; sometimes it still is valid. */
export function wrongJson(random: FuzzRandom, valid: unknown): Uint8Array {
  let value = valid;
  for (let times = random.int(0, 3); times > 0; times--) value = misshape(random, value);
  const bytes = utf8.encode(render(value));
  switch (random.int(0, 9)) {
    case 0:
      return bytes.slice(0, random.int(0, bytes.length));
    case 1: {
      const flipped = bytes.slice();
      if (flipped.length > 0) flipped[random.int(0, flipped.length - 1)]! ^= 1 << random.int(0, 7);
      return flipped;
    }
    case 2:
      return new Uint8Array([...bytes, ...random.bytes(random.int(1, 8))]);
    case 3:
      return random.bytes(random.int(0, 100));
    default:
      return bytes;
  }
}
