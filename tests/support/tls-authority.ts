// Certificates for tests, made in the moment with whatever is to be wrong about them: no tool on the PATH is needed, and
// nothing committed expires. An X.509 certificate is a nested list of tagged values (DER), so writing one takes little.
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Issued {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

export interface Wanted {
  readonly name?: string;
  /** DNS names the certificate is for. Default: localhost. */
  readonly names?: readonly string[];
  /** IPv4 addresses it is for. Default: 127.0.0.1. */
  readonly addresses?: readonly string[];
  readonly fromMs?: number;
  readonly untilMs?: number;
}

const DAY_MS = 86_400_000;
const ECDSA_SHA256 = "1.2.840.10045.4.3.2";
const COMMON_NAME = "2.5.4.3";
const SUBJECT_ALT_NAME = "2.5.29.17";
const BASIC_CONSTRAINTS = "2.5.29.19";
let serial = 1;

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const { length } = body;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), body]);
}

const sequence = (...parts: readonly Uint8Array[]): Uint8Array => der(0x30, ...parts);
const text = (value: string): Uint8Array => der(0x0c, Buffer.from(value));

function oid(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const digits = [part & 127];
    for (let left = part >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    bytes.push(...digits);
  }
  return der(6, Buffer.from(bytes));
}

/** UTCTime: years of two digits, from 1950 to 2049. */
function time(ms: number): Uint8Array {
  return der(
    0x17,
    Buffer.from(
      new Date(ms)
        .toISOString()
        .slice(2)
        .replace(/[-:T]|\.\d+/g, ""),
    ),
  );
}

function nameOf(commonName: string): Uint8Array {
  return sequence(der(0x31, sequence(oid(COMMON_NAME), text(commonName))));
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return sequence(oid(id), ...(critical ? [der(1, Buffer.from([255]))] : []), der(4, value));
}

function pem(label: string, bytes: Uint8Array): string {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** A CA of its own; every one has another key. */
export class TlsAuthority {
  /** PEM of the CA's own certificate. */
  readonly ca: string;
  readonly #name: Uint8Array;
  readonly #key: KeyObject;

  constructor(commonName = "test authority") {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.#key = privateKey;
    this.#name = nameOf(
      `${commonName} ${createHash("sha256")
        .update(publicKey.export({ type: "spki", format: "der" }))
        .digest("hex")
        .slice(0, 8)}`,
    );
    const isCa = extension(BASIC_CONSTRAINTS, true, sequence(der(1, Buffer.from([255]))));
    this.ca = this.#certificate(this.#name, publicKey, Date.now() - DAY_MS, Date.now() + 3650 * DAY_MS, [isCa]);
  }

  issue({ name = "test", names = ["localhost"], addresses = ["127.0.0.1"], ...dates }: Wanted = {}): Issued {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const alternatives = sequence(
      ...names.map((each) => der(0x82, Buffer.from(each))),
      ...addresses.map((each) => der(0x87, Buffer.from(each.split(".").map(Number)))),
    );
    const extensions = names.length + addresses.length > 0 ? [extension(SUBJECT_ALT_NAME, false, alternatives)] : [];
    const { fromMs = Date.now() - DAY_MS, untilMs = Date.now() + 90 * DAY_MS } = dates;
    return {
      cert: this.#certificate(nameOf(name), publicKey, fromMs, untilMs, extensions),
      key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    };
  }

  #certificate(
    subject: Uint8Array,
    publicKey: KeyObject,
    fromMs: number,
    untilMs: number,
    extensions: readonly Uint8Array[],
  ): string {
    const algorithm = sequence(oid(ECDSA_SHA256));
    const signed = sequence(
      der(0xa0, der(2, Buffer.from([2]))),
      der(2, Buffer.from([0x40, serial >> 8, serial++ & 255])),
      algorithm,
      this.#name,
      sequence(time(fromMs), time(untilMs)),
      subject,
      publicKey.export({ type: "spki", format: "der" }),
      ...(extensions.length > 0 ? [der(0xa3, sequence(...extensions))] : []),
    );
    const signature = sign("sha256", signed, this.#key);
    return pem("CERTIFICATE", sequence(signed, algorithm, der(3, Buffer.from([0]), signature)));
  }
}

/** Writes `<name>.crt` and `<name>.key` into a folder and returns their paths. */
export function writeIssued(folder: string, name: string, { cert, key }: Issued): { cert: string; key: string } {
  const paths = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  writeFileSync(paths.cert, cert);
  writeFileSync(paths.key, key, { mode: 0o600 });
  return paths;
}
