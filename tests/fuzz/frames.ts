// Frames to fuzz with: valid ones, and what bad networks, other programs and attackers make of them.

import { frameOf, HEADER_BYTES, MAX_BODY_BYTES, writeHeader } from "../../src/wire/frame.ts";
import { encodeGetHostRequest } from "../../src/wire/host-codec.ts";
import { encodeReportRequest } from "../../src/wire/report-codec.ts";
import { encodeGetRouteRequest } from "../../src/wire/route-codec.ts";
import { encodeReportStatusRequest, makeReportStatusRequest, reportStatusBytes } from "../../src/wire/status-codec.ts";
import type { FuzzRandom } from "../support/fuzz-random.ts";

const IDS = [-2_147_483_648, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65, 0x0400_0000, 2_147_483_647];
const LENGTHS = [-2_147_483_648, -65_528, -1, 0, 1, 7, 65_499, 65_527, 65_528, 65_535, 65_536, 2_147_483_647];

function encoded(msgid: number, bytes: number, encode: (body: Uint8Array) => number): Uint8Array {
  const body = new Uint8Array(bytes);
  return frameOf(msgid, body.subarray(0, encode(body)));
}

export function getHost(seq: number, modid: number, cmdid: number, hashKey?: Uint8Array): Uint8Array {
  return encoded(4, 64 + (hashKey?.length ?? 0), (body) => encodeGetHostRequest(body, 0, seq, modid, cmdid, hashKey));
}

export function report(modid: number, cmdid: number, ip: number, port: number, retcode: number): Uint8Array {
  return encoded(6, 128, (body) => encodeReportRequest(body, 0, { modid, cmdid, ip, port, retcode, latencyUs: 5 }));
}

export function getRoute(modid: number, cmdid: number, msgid: number): Uint8Array {
  return encoded(msgid, 32, (body) => encodeGetRouteRequest(body, 0, modid, cmdid));
}

export function status(random: FuzzRandom, modid: number, instance: number): Uint8Array {
  const made = makeReportStatusRequest();
  made.modid = modid;
  made.cmdid = random.int(0, 2);
  made.caller = 0x7f00_0001;
  made.ts = 1_767_225_600;
  made.instanceLow = instance;
  made.seq = instance === 0 ? 0 : random.int(1, 1_000_000);
  made.resultCount = random.int(0, 4);
  for (let i = 0; i < made.resultCount; i++) {
    made.results.push({ ip: i, port: 8000, succ: random.int(0, 1000), err: random.int(0, 9), overload: i === 0 });
  }
  return encoded(3, reportStatusBytes(made.resultCount), (body) => encodeReportStatusRequest(body, 0, made));
}

type Mutation = (random: FuzzRandom, frame: Uint8Array, other: Uint8Array) => Uint8Array;

const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

function withHeader(frame: Uint8Array, msgid: number, length: number): Uint8Array {
  const copy = concat(frame.length < HEADER_BYTES ? new Uint8Array(HEADER_BYTES) : frame);
  writeHeader(copy, 0, msgid, length);
  return copy;
}

function flip(random: FuzzRandom, frame: Uint8Array, from: number): Uint8Array {
  const copy = frame.slice();
  if (copy.length <= from) return copy;
  for (let flips = random.int(1, 8); flips > 0; flips--)
    copy[random.int(from, copy.length - 1)]! ^= 1 << random.int(0, 7);
  return copy;
}

const idOf = (frame: Uint8Array): number => new DataView(frame.buffer, frame.byteOffset).getInt32(0, true);

const MUTATIONS: readonly Mutation[] = [
  (random, frame) => flip(random, frame, 0),
  // The header right, the body not: what reaches the decoders of bodies.
  (random, frame) => flip(random, frame, HEADER_BYTES),
  (random, frame) => flip(random, frame, HEADER_BYTES),
  (random, frame) => frame.slice(0, random.int(0, frame.length)),
  (random, frame) => frameOf(idOf(frame), frame.slice(HEADER_BYTES, random.int(HEADER_BYTES, frame.length))),
  (random, frame) => concat(frame, random.bytes(random.int(1, 20))),
  (random, frame, other) =>
    concat(frame.slice(0, random.int(0, frame.length)), other.slice(random.int(0, other.length))),
  (random, frame, other) => {
    const body = concat(frame.slice(HEADER_BYTES), other.slice(random.int(HEADER_BYTES, other.length)));
    return frameOf(idOf(frame), body);
  },
  (_random, frame, other) => concat(frame, other),
  (random, frame) => withHeader(frame, idOf(frame), random.pick(LENGTHS)),
  (random, frame) => withHeader(frame, random.pick(IDS), frame.length - HEADER_BYTES),
  (random) => frameOf(random.pick(IDS), new Uint8Array(0)),
  (random) => random.bytes(random.int(0, 64)),
  (random, frame) => frameOf(idOf(frame), random.bytes(random.int(0, 200))),
];

/** One in so many is large; they cost a hundred times as much as others. */
const ONE_LARGE_IN = 500;

/** `frame` gone wrong in some way. `other`: a second one to mix it with. `largest`: bytes of body. */
export function mutate(
  random: FuzzRandom,
  frame: Uint8Array,
  other: Uint8Array,
  largest: number = MAX_BODY_BYTES,
): Uint8Array {
  if (random.int(1, ONE_LARGE_IN) === 1) {
    const body = new Uint8Array(random.pick([largest, random.int(1000, largest)]));
    body.set(random.bytes(Math.min(32, body.length)));
    return frameOf(idOf(frame), body);
  }
  return random.pick(MUTATIONS)(random, frame, other);
}
