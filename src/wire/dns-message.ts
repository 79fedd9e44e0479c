// Messages of the Domain Name System (RFC 1035, EDNS by RFC 6891), as far as an authoritative server of few names needs
// them: queries in, answers out. By hand, because two things must hold that general decoders do not care for: the
// question goes back byte for byte (callers vary the case of its letters and compare), and an answer is cut to its limit
// record by record while it is written. `dns-packet` is the judge in the tests.
//
// The bytes are anybody's: whatever they are, reading them ends, allocates no more than they are long, and never throws.

export const DNS_HEADER_BYTES = 12;
/** What every receiver takes over UDP. */
export const DNS_PLAIN_UDP_BYTES = 512;

export const DNS_TYPES = { A: 1, SOA: 6, TXT: 16, SRV: 33, OPT: 41 } as const;
export const CLASS_IN = 1;

export const RCODES = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  /** Extended: its upper bits are in the OPT record, so it needs one. */
  BADVERS: 16,
} as const;
export type Rcode = (typeof RCODES)[keyof typeof RCODES];

const QR = 0x8000;
const OPCODE = 0x7800;
const AA = 0x0400;
const TC = 0x0200;
/** "Recursion desired" and "checking disabled" are given back as they came. */
const ECHOED = 0x0110;
const MAX_NAME_BYTES = 255;
const POINTER = 0xc000;
const MAX_POINTER = 0x3fff;
const QUESTION_POINTER = POINTER | DNS_HEADER_BYTES;

export interface DnsEdns {
  /** What the asker can take over UDP, as it says. */
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

export interface DnsQuery {
  readonly id: number;
  readonly flags: number;
  /** Name, type and class as they came; a view. */
  readonly question: Uint8Array;
  /** Of the name, in lower case, one character a byte, the root not included. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  readonly edns: DnsEdns | undefined;
}

/** Not a query that can be answered as asked. `reply`: what to say instead; without it there is nothing to say. */
export interface DnsRejected {
  readonly rejected: "not-a-query" | "malformed" | "opcode";
  readonly reply: Uint8Array | undefined;
}

function uint16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** A header without anything behind it. */
function bareReply(id: number, flags: number, rcode: Rcode): Uint8Array {
  const reply = new Uint8Array(DNS_HEADER_BYTES);
  const out = QR | (flags & (OPCODE | ECHOED)) | rcode;
  reply.set([id >> 8, id & 255, out >> 8, out & 255]);
  return reply;
}

interface Name {
  readonly labels: readonly string[];
  readonly end: number;
}

/** The question's name: first in the message, so a compressed one has nothing to point at. */
function readName(bytes: Uint8Array, start: number): Name | undefined {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) return { labels, end: at + 1 };
    const end = at + 1 + length;
    // The root's byte is to fit too.
    if (end >= bytes.length || end + 1 - start > MAX_NAME_BYTES) return undefined;
    labels.push(String.fromCharCode(...bytes.subarray(at + 1, end)).toLowerCase());
    at = end;
  }
}

/** Where a record's name ends. */
function skipName(bytes: Uint8Array, start: number): number | undefined {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if ((length & 0xc0) === 0xc0) return at + 2;
    if (length > 63) return undefined;
    at += 1 + length;
  }
}

/** The OPT record among the records from `start` on; null: none; undefined: malformed, or more than one. */
function readEdns(bytes: Uint8Array, start: number): DnsEdns | null | undefined {
  let edns: DnsEdns | null = null;
  let at = start;
  const additional = uint16(bytes, 10);
  // Every record is at least 11 bytes long, so the message's end bounds the loop before the counts do.
  for (let left = uint16(bytes, 6) + uint16(bytes, 8) + additional; left > 0; left--) {
    const nameEnd = skipName(bytes, at);
    if (nameEnd === undefined || nameEnd + 10 > bytes.length) return undefined;
    const end = nameEnd + 10 + uint16(bytes, nameEnd + 8);
    if (end > bytes.length) return undefined;
    if (left <= additional && uint16(bytes, nameEnd) === DNS_TYPES.OPT) {
      if (edns !== null || nameEnd !== at + 1) return undefined;
      edns = {
        udpBytes: uint16(bytes, nameEnd + 2),
        version: bytes[nameEnd + 5]!,
        dnssecOk: (bytes[nameEnd + 6]! & 0x80) !== 0,
      };
    }
    at = end;
  }
  return edns;
}

export function readDnsQuery(bytes: Uint8Array): DnsQuery | DnsRejected {
  if (bytes.length < DNS_HEADER_BYTES) return { rejected: "malformed", reply: undefined };
  const id = uint16(bytes, 0);
  const flags = uint16(bytes, 2);
  // Two servers that answer each other's answers would never stop.
  if ((flags & QR) !== 0) return { rejected: "not-a-query", reply: undefined };
  if ((flags & OPCODE) !== 0) return { rejected: "opcode", reply: bareReply(id, flags, RCODES.NOTIMP) };
  const malformed: DnsRejected = { rejected: "malformed", reply: bareReply(id, flags, RCODES.FORMERR) };
  if (uint16(bytes, 4) !== 1) return malformed;
  const name = readName(bytes, DNS_HEADER_BYTES);
  if (name === undefined || name.end + 4 > bytes.length) return malformed;
  const edns = readEdns(bytes, name.end + 4);
  if (edns === undefined) return malformed;
  return {
    id,
    flags,
    question: bytes.subarray(DNS_HEADER_BYTES, name.end + 4),
    labels: name.labels,
    type: uint16(bytes, name.end),
    class: uint16(bytes, name.end + 2),
    edns: edns ?? undefined,
  };
}

/** What an answer needs besides its records. */
export interface DnsAnswerOptions {
  readonly rcode: Rcode;
  readonly authoritative: boolean;
  /** No byte more is written, whatever is added. */
  readonly maxBytes: number;
  /** Told to askers that speak EDNS: what this server takes over UDP. */
  readonly udpBytes: number;
}

/** Begins with header and question, takes records as long as they fit, and keeps room for the OPT record. */
export class DnsAnswer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #query: DnsQuery;
  readonly #options: DnsAnswerOptions;
  readonly #limit: number;
  #at: number;
  #truncated = false;
  readonly #counts = { answer: 0, authority: 0, additional: 0 };

  constructor(query: DnsQuery, options: DnsAnswerOptions) {
    this.#query = query;
    this.#options = options;
    this.#bytes = new Uint8Array(options.maxBytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#bytes.set(query.question, DNS_HEADER_BYTES);
    this.#at = DNS_HEADER_BYTES + query.question.length;
    this.#limit = options.maxBytes - (query.edns === undefined ? 0 : OPT_BYTES);
  }

  /** Name, type and so on of a record whose data is `dataBytes` long; false when it does not fit as a whole. */
  #begin(name: number | Uint8Array, type: number, ttl: number, dataBytes: number): boolean {
    const nameBytes = typeof name === "number" ? 2 : name.length;
    if (this.#truncated || this.#at + nameBytes + 10 + dataBytes > this.#limit) return false;
    if (typeof name === "number") this.#view.setUint16(this.#at, name);
    else this.#bytes.set(name, this.#at);
    const at = this.#at + nameBytes;
    this.#view.setUint16(at, type);
    this.#view.setUint16(at + 2, CLASS_IN);
    this.#view.setUint32(at + 4, ttl);
    this.#view.setUint16(at + 8, dataBytes);
    this.#at = at + 10;
    return true;
  }

  #put(data: Uint8Array): void {
    this.#bytes.set(data, this.#at);
    this.#at += data.length;
  }

  /** From here on records of the answer are left out, and the asker is told to come again over TCP. */
  truncate(): false {
    this.#truncated = true;
    return false;
  }

  get truncated(): boolean {
    return this.#truncated;
  }

  /** An address of the name that was asked for. False, here and below: it did not fit, and the answer is truncated. */
  a(ip: number, ttl: number): boolean {
    if (!this.#begin(QUESTION_POINTER, DNS_TYPES.A, ttl, 4)) return this.truncate();
    this.#view.setInt32(this.#at, ip);
    this.#at += 4;
    this.#counts.answer++;
    return true;
  }

  /** One text, of at most 255 bytes of ASCII. */
  txt(text: string, ttl: number): boolean {
    if (!this.#begin(QUESTION_POINTER, DNS_TYPES.TXT, ttl, 1 + text.length)) return this.truncate();
    this.#put(labelBytes(text));
    this.#counts.answer++;
    return true;
  }

  /** A service; where its target's name stands in the answer, for `additionalA`. Undefined: it did not fit. */
  srv(
    service: { readonly priority: number; readonly weight: number; readonly port: number; readonly target: Uint8Array },
    ttl: number,
  ): number | undefined {
    const { priority, weight, port, target } = service;
    if (!this.#begin(QUESTION_POINTER, DNS_TYPES.SRV, ttl, 6 + target.length)) {
      this.truncate();
      return undefined;
    }
    this.#view.setUint16(this.#at, priority);
    this.#view.setUint16(this.#at + 2, weight);
    this.#view.setUint16(this.#at + 4, port);
    this.#at += 6;
    const nameAt = this.#at;
    this.#put(target);
    this.#counts.answer++;
    return nameAt;
  }

  /** The address of a name that stands at `nameAt`. One that does not fit is left out without a word: it can be asked for. */
  additionalA(nameAt: number, name: Uint8Array, ip: number, ttl: number): void {
    if (!this.#begin(nameAt <= MAX_POINTER ? POINTER | nameAt : name, DNS_TYPES.A, ttl, 4)) return;
    this.#view.setInt32(this.#at, ip);
    this.#at += 4;
    this.#counts.additional++;
  }

  /** The zone's SOA record. `zoneLabels`: how many of the question's last labels are the zone's name. */
  soa(section: "answer" | "authority", zoneLabels: number, ttl: number): void {
    const { labels } = this.#query;
    let zoneAt = DNS_HEADER_BYTES;
    for (let i = 0; i < labels.length - zoneLabels; i++) zoneAt += 1 + labels[i]!.length;
    const zone = POINTER | zoneAt;
    const dataBytes = SOA_PRIMARY.length + SOA_MAILBOX.length + 4 + 20;
    // In an answer of 512 bytes there is room beside the longest question.
    if (!this.#begin(zone, DNS_TYPES.SOA, ttl, dataBytes)) return;
    for (const label of [SOA_PRIMARY, SOA_MAILBOX]) {
      this.#put(label);
      this.#view.setUint16(this.#at, zone);
      this.#at += 2;
    }
    // Serial, refresh, retry, expire: nobody transfers this zone. The last says how long "there is none" may be kept.
    for (const value of [1, 3600, 600, 86_400, ttl]) {
      this.#view.setUint32(this.#at, value);
      this.#at += 4;
    }
    this.#counts[section]++;
  }

  finish(): Uint8Array {
    const { id, flags, edns } = this.#query;
    const { rcode, authoritative, udpBytes } = this.#options;
    const view = this.#view;
    view.setUint16(0, id);
    const out = QR | (flags & ECHOED) | (authoritative ? AA : 0) | (this.#truncated ? TC : 0);
    view.setUint16(2, out | (rcode & 15));
    view.setUint16(4, 1);
    view.setUint16(6, this.#counts.answer);
    view.setUint16(8, this.#counts.authority);
    view.setUint16(10, this.#counts.additional + (edns === undefined ? 0 : 1));
    if (edns !== undefined) {
      view.setUint16(this.#at + 1, DNS_TYPES.OPT);
      view.setUint16(this.#at + 3, udpBytes);
      view.setUint8(this.#at + 5, rcode >> 4);
      view.setUint16(this.#at + 7, edns.dnssecOk ? 0x8000 : 0);
      this.#at += OPT_BYTES;
    }
    return this.#bytes.subarray(0, this.#at);
  }
}

/** Root name, type, size, extended code and flags, no options. */
const OPT_BYTES = 11;

function labelBytes(text: string): Uint8Array {
  return Uint8Array.from([text.length, ...Array.from(text, (char) => char.charCodeAt(0))]);
}

const SOA_PRIMARY = labelBytes("ns");
const SOA_MAILBOX = labelBytes("hostmaster");

/** A name as it is written, uncompressed. Labels: ASCII, 1 to 63 characters. */
export function dnsName(labels: readonly string[]): Uint8Array {
  return Uint8Array.from([...labels.flatMap((label) => [...labelBytes(label)]), 0]);
}
