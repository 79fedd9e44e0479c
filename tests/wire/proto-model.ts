// A protobuf reader that is right by being plain: it cuts a body into fields with slices and BigInt, and looks at the
// schema only afterwards. The hand-written decoders are held against it on mutated and random bytes, where protobuf-es
// cannot be the only judge. The model names what protobuf-es sees differently (its "oddities"):
// - it reads a known field whatever its wire type says; C++ protobuf, which deployed peers use, skips such a field, so we do;
// - it lets an embedded message's last field run over the message's end; C++ refuses, so we do;
// - it cuts a length to 32 bits; C++ refuses a long one, so we do;
// - it skips an unknown varint of any length; C++ and we refuse more than 10 bytes;
// - it accepts groups; nothing of Lars ever sent one, and refusing them keeps the skipping of fields free of recursion;
// - it refuses a hash key that is not UTF-8 (as C++ does); we only hash the key, and checking it would cost every datagram;
// - it drops a byte order mark at the start of a text; we keep texts as they are.
type Scalar = "int32" | "uint32" | "uint64" | "bool" | "double" | "string" | "bytes";
export type FieldKind = Scalar | { readonly one: Schema } | { readonly many: Schema };
/** Field number -> name and kind. */
export interface Schema {
  readonly [no: number]: readonly [name: string, kind: FieldKind];
}
export type Decoded = Record<string, unknown>;

export type Oddity =
  | "mistyped field"
  | "group"
  | "past the embedded message"
  | "long varint"
  | "long length"
  | "not UTF-8"
  | "byte order mark";

export interface ModelResult {
  /** undefined: malformed. */
  readonly message: Decoded | undefined;
  /** Why protobuf-es may see it differently. None: it must agree. */
  readonly oddities: ReadonlySet<Oddity>;
}

class Malformed extends Error {}

interface RawField {
  readonly no: number;
  readonly wireType: number;
  readonly value: bigint;
  readonly bytes: Uint8Array;
}

function wireTypeOf(kind: FieldKind): number {
  if (kind === "double") return 1;
  return typeof kind !== "string" || kind === "string" || kind === "bytes" ? 2 : 0;
}

function* rawFields(schema: Schema, body: Uint8Array, embedded: boolean, oddities: Set<Oddity>): Generator<RawField> {
  const refuse = (oddity?: Oddity): never => {
    if (oddity !== undefined) oddities.add(oddity);
    throw new Malformed();
  };
  const tooShort = embedded ? "past the embedded message" : undefined;
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let i = 0; i < 10; i++) {
      const byte = body[at++] ?? refuse(tooShort);
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    return refuse("long varint");
  };
  const take = (length: bigint): Uint8Array => {
    if (length >= 1n << 32n) refuse("long length");
    if (BigInt(at) + length > BigInt(body.length)) refuse(tooShort);
    const bytes = body.slice(at, at + Number(length));
    at += Number(length);
    return bytes;
  };
  const none = new Uint8Array(0);
  while (at < body.length) {
    const start = at;
    const tag = varint();
    if (at - start > 5 || tag >= 1n << 32n || tag < 8n) refuse();
    const no = Number(tag >> 3n);
    const wireType = Number(tag & 7n);
    const known = schema[no];
    if (known !== undefined && wireType !== wireTypeOf(known[1])) oddities.add("mistyped field");
    if (wireType === 0) yield { no, wireType, value: varint(), bytes: none };
    else if (wireType === 1) yield { no, wireType, value: 0n, bytes: take(8n) };
    else if (wireType === 2) yield { no, wireType, value: 0n, bytes: take(varint()) };
    else if (wireType === 5) yield { no, wireType, value: 0n, bytes: take(4n) };
    else refuse(wireType < 5 ? "group" : undefined);
  }
}

const ZERO = { int32: 0, uint32: 0, uint64: 0n, bool: false, double: 0, string: "", bytes: "" };

function scalar(kind: Scalar, { value, bytes }: RawField, oddities: Set<Oddity>): unknown {
  if (kind === "int32") return Number(BigInt.asIntN(32, value));
  if (kind === "uint32") return Number(BigInt.asUintN(32, value));
  if (kind === "uint64") return value;
  if (kind === "bool") return value !== 0n;
  if (kind === "double") return Buffer.from(bytes).readDoubleLE();
  if (bytes.toHex().startsWith("efbbbf")) oddities.add("byte order mark");
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return kind === "string" ? text : bytes.toHex();
  } catch {
    if (kind === "string") throw new Malformed();
    oddities.add("not UTF-8");
    return bytes.toHex();
  }
}

function merge(schema: Schema, body: Uint8Array, into: Decoded, embedded: boolean, oddities: Set<Oddity>): void {
  for (const [name, kind] of Object.values(schema) as (readonly [string, FieldKind])[]) {
    into[name] ??= typeof kind === "string" ? ZERO[kind] : "many" in kind ? [] : undefined;
  }
  for (const field of rawFields(schema, body, embedded, oddities)) {
    const entry = schema[field.no];
    if (entry === undefined) continue;
    const [name, kind] = entry;
    if (field.wireType !== wireTypeOf(kind)) continue;
    if (typeof kind === "string") {
      into[name] = scalar(kind, field, oddities);
    } else if ("many" in kind) {
      const item: Decoded = {};
      merge(kind.many, field.bytes, item, true, oddities);
      (into[name] as Decoded[]).push(item);
    } else {
      const item = (into[name] as Decoded | undefined) ?? {};
      merge(kind.one, field.bytes, item, true, oddities);
      into[name] = item;
    }
  }
}

/** Defaults are filled in, except that an absent embedded message is undefined. Bytes are hex. */
export function modelDecode(schema: Schema, body: Uint8Array): ModelResult {
  const message: Decoded = {};
  const oddities = new Set<Oddity>();
  try {
    merge(schema, body, message, false, oddities);
    return { message, oddities };
  } catch (error) {
    if (error instanceof Malformed) return { message: undefined, oddities };
    throw error;
  }
}
