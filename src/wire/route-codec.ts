// GetRouteRequest (also the body of UnwatchRouteRequest) and GetRouteResponse: which hosts serve a module.
//
// A response must fit what old peers can hold, and a module may have more hosts than that. Then as many as fit are sent,
// beginning at an index the caller moves on each time, so that over several answers every host is seen.
//
// Responses are decoded into fresh objects: they are kept (an Assignment is built from them) and they are rare. What the
// rest of the program could not work with is mended here, at the edge: an impossible port drops the host, a weight out of
// range is brought into it, a policy or parameter that is not known is left out.
import { DEFAULT_WEIGHT, type Host, MAX_WEIGHT, makeHost } from "../core/assignment.ts";
import { isPort } from "../core/endpoint.ts";
import type { ModuleKey } from "../core/module-key.ts";
import { NO_CHOICE, type PolicyChoice } from "../core/policies.ts";
import { readChoice } from "../core/policy-choice.ts";
import { HEADER_BYTES, MAX_FRAME_BYTES, MSG_GET_ROUTE_RESPONSE, writeHeader } from "./frame.ts";
import {
  MAX_POLICY_FIELD_BYTES,
  type PolicyFields,
  policyFieldBytes,
  putPolicyField,
  readPolicy,
} from "./policy-codec.ts";
import { ProtoReader } from "./proto-reader.ts";
import {
  int32Bytes,
  MAX_UINT53_BYTES,
  MAX_VARINT_BYTES,
  putInt32,
  putUint53,
  putVarint,
  uint53Bytes,
  varintBytes,
} from "./proto-writer.ts";

export interface GetRouteRequest {
  modid: number;
  cmdid: number;
  /** Of the route the sender has already; 0: it has none, or does not tell. */
  revision: number;
}

/** `badHosts`: hosts left out because their port is none (0, negative, above 65535). No host and no bad one: no such module. */
export interface GetRouteResponse extends ModuleKey {
  /** 0: the sender gives none (a C++ dns server). Exact up to 2^53. */
  readonly revision: number;
  /** In the order received; state "up". */
  readonly hosts: readonly Host[];
  readonly badHosts: number;
  /** NO_CHOICE: the sender names none, or none that we know. */
  readonly policy: PolicyChoice;
  /** How much of the policy was not understood and left out. */
  readonly badPolicy: number;
  /** Hosts that are not named were taken away on purpose. */
  readonly meant: boolean;
  /** The route is the one the request named by its revision; neither hosts nor policy are told. */
  readonly unchanged: boolean;
  /** Hosts of this revision were left out. */
  readonly partial: boolean;
}

/** What to send. What is 0, false, NO_CHOICE or absent is left out. Which states may leave is the caller's to decide: all hosts go. */
export interface RouteContentToSend extends ModuleKey {
  readonly revision?: number;
  readonly hosts: readonly Host[];
  readonly policy?: PolicyChoice;
  readonly meant?: boolean;
  readonly unchanged?: boolean;
  /** Said in any case when not all hosts fit. */
  readonly partial?: boolean;
}

export interface EncodedRoute {
  /** Header and body, memory of its own. */
  readonly frame: Uint8Array;
  /** Less than there are hosts when they did not fit. */
  readonly encodedHosts: number;
}

/** The most an encoded GetRouteRequest takes. */
export const GET_ROUTE_REQUEST_BYTES = 2 * (1 + MAX_VARINT_BYTES) + 2 + MAX_UINT53_BYTES;
/** Room for the header, ids, revision, flags and policy whatever their values, and for a plain host. */
export const MIN_ROUTE_FRAME_BYTES = 96 + MAX_POLICY_FIELD_BYTES;

export function makeGetRouteRequest(): GetRouteRequest {
  return { modid: 0, cmdid: 0, revision: 0 };
}

const UNCHOSEN = { choice: NO_CHOICE, ignored: 0 };
const reader = new ProtoReader();
const utf8Encoder = new TextEncoder();

/** Reads the body in `buf` from `start` up to `end`. False: malformed, and `into` is not to be used. */
export function decodeGetRouteRequest(buf: Uint8Array, start: number, end: number, into: GetRouteRequest): boolean {
  const r = reader;
  r.reset(buf, start, end);
  into.modid = 0;
  into.cmdid = 0;
  into.revision = 0;
  while (r.pos < r.end) {
    const tag = r.tag();
    if (tag === 8) into.modid = r.varint() | 0;
    else if (tag === 16) into.cmdid = r.varint() | 0;
    else if (tag === 128) into.revision = r.uint64();
    else r.skip(tag);
  }
  return r.ok;
}

/** Writes a body at `offset` and returns where it ends. */
export function encodeGetRouteRequest(
  out: Uint8Array,
  offset: number,
  modid: number,
  cmdid: number,
  revision = 0,
): number {
  return putRevision(out, putIds(out, offset, modid, cmdid), revision);
}

function putRevision(out: Uint8Array, offset: number, revision: number): number {
  if (revision === 0) return offset;
  out[offset] = 128;
  out[offset + 1] = 1;
  return putUint53(out, offset + 2, revision);
}

function putIds(out: Uint8Array, offset: number, modid: number, cmdid: number): number {
  let pos = offset;
  if (modid !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, modid);
  }
  if (cmdid !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, cmdid);
  }
  return pos;
}

/** Reads the body in `buf` from `start` up to `end`; undefined when malformed (a zone that is not UTF-8 included). */
export function decodeGetRouteResponse(buf: Uint8Array, start: number, end: number): GetRouteResponse | undefined {
  const r = reader;
  r.reset(buf, start, end);
  let modid = 0;
  let cmdid = 0;
  let revision = 0;
  let badHosts = 0;
  let meant = false;
  let unchanged = false;
  let partial = false;
  let policy: PolicyFields | undefined;
  const hosts: Host[] = [];
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        modid = r.varint() | 0;
        break;
      case 16:
        cmdid = r.varint() | 0;
        break;
      case 26: {
        const outer = r.enter();
        const host = readHost(r);
        r.leave(outer);
        if (isPort(host.port)) hosts.push(host);
        else badHosts++;
        break;
      }
      case 128:
        revision = r.uint64();
        break;
      case 138: {
        policy ??= { name: "", parameters: [] };
        const outer = r.enter();
        readPolicy(r, policy);
        r.leave(outer);
        break;
      }
      case 144:
        meant = r.bool();
        break;
      case 152:
        unchanged = r.bool();
        break;
      case 160:
        partial = r.bool();
        break;
      default:
        r.skip(tag);
    }
  }
  if (!r.ok) return undefined;
  const { choice, ignored } = policy === undefined ? UNCHOSEN : readChoice(policy.name, policy.parameters);
  return { modid, cmdid, revision, hosts, badHosts, policy: choice, badPolicy: ignored, meant, unchanged, partial };
}

function readHost(r: ProtoReader): Host {
  let ip = 0;
  let port = 0;
  let weight = 0;
  let zone = "";
  while (r.pos < r.end) {
    const tag = r.tag();
    switch (tag) {
      case 8:
        ip = r.varint() | 0;
        break;
      case 16:
        port = r.varint() | 0;
        break;
      case 128:
        weight = r.varint();
        break;
      case 138:
        zone = r.text();
        break;
      default:
        r.skip(tag);
    }
  }
  return makeHost(ip, port, { weight: weight === 0 ? DEFAULT_WEIGHT : Math.min(weight, MAX_WEIGHT), zone });
}

/**
 * A frame of at most `limitBytes` (header included; at least
 * MIN_ROUTE_FRAME_BYTES). When not all hosts fit, those from `startIndex`
 * (modulo their number) on are taken, going round; when all fit, they keep their order.
 */
export function encodeGetRouteResponse(
  route: RouteContentToSend,
  limitBytes = MAX_FRAME_BYTES,
  startIndex = 0,
  msgid = MSG_GET_ROUTE_RESPONSE,
): EncodedRoute {
  if (limitBytes < MIN_ROUTE_FRAME_BYTES || limitBytes > MAX_FRAME_BYTES) {
    throw new RangeError(
      `a route frame limited to ${limitBytes} bytes: allowed are ${MIN_ROUTE_FRAME_BYTES} to ${MAX_FRAME_BYTES}`,
    );
  }
  const { modid, cmdid, hosts, policy = NO_CHOICE, revision = 0, meant = false, unchanged = false } = route;
  let partial = route.partial ?? false;
  const head =
    HEADER_BYTES +
    (modid === 0 ? 0 : 1 + int32Bytes(modid)) +
    (cmdid === 0 ? 0 : 1 + int32Bytes(cmdid)) +
    (revision === 0 ? 0 : 2 + uint53Bytes(revision)) +
    policyFieldBytes(policy) +
    (meant ? 3 : 0) +
    (unchanged ? 3 : 0);
  let first = 0;
  let fit = countFitting(hosts, first, limitBytes - head - (partial ? 3 : 0));
  if (fit.count < hosts.length) {
    partial = true;
    first = ((startIndex % hosts.length) + hosts.length) % hosts.length;
    fit = countFitting(hosts, first, limitBytes - head - 3);
  }
  const frame = new Uint8Array(head + (partial ? 3 : 0) + fit.bytes);
  writeHeader(frame, 0, msgid, frame.length - HEADER_BYTES);
  let pos = putIds(frame, HEADER_BYTES, modid, cmdid);
  for (let i = 0; i < fit.count; i++) pos = putHost(frame, pos, hosts[(first + i) % hosts.length]!);
  pos = putRevision(frame, pos, revision);
  pos = putPolicyField(frame, pos, policy);
  if (meant) pos = putTrue(frame, pos, 144);
  if (unchanged) pos = putTrue(frame, pos, 152);
  if (partial) putTrue(frame, pos, 160);
  return { frame, encodedHosts: fit.count };
}

/** A bool field whose tag takes two bytes. */
function putTrue(out: Uint8Array, offset: number, tag: number): number {
  const pos = putVarint(out, offset, tag);
  out[pos] = 1;
  return pos + 1;
}

function countFitting(hosts: readonly Host[], first: number, room: number): { count: number; bytes: number } {
  let bytes = 0;
  let count = 0;
  for (; count < hosts.length; count++) {
    const body = hostBytes(hosts[(first + count) % hosts.length]!);
    const size = 1 + varintBytes(body) + body;
    if (bytes + size > room) break;
    bytes += size;
  }
  return { count, bytes };
}

function hostBytes(host: Host): number {
  let bytes = 0;
  if (host.ip !== 0) bytes += 1 + int32Bytes(host.ip);
  if (host.port !== 0) bytes += 1 + int32Bytes(host.port);
  if (host.weight !== DEFAULT_WEIGHT) bytes += 2 + varintBytes(host.weight);
  if (host.zone !== "") {
    const length = utf8Bytes(host.zone);
    bytes += 2 + varintBytes(length) + length;
  }
  return bytes;
}

function putHost(out: Uint8Array, offset: number, host: Host): number {
  out[offset] = 26;
  let pos = putVarint(out, offset + 1, hostBytes(host));
  if (host.ip !== 0) {
    out[pos++] = 8;
    pos = putInt32(out, pos, host.ip);
  }
  if (host.port !== 0) {
    out[pos++] = 16;
    pos = putInt32(out, pos, host.port);
  }
  if (host.weight !== DEFAULT_WEIGHT) {
    out[pos++] = 128;
    out[pos++] = 1;
    pos = putVarint(out, pos, host.weight);
  }
  if (host.zone !== "") {
    const zone = utf8Encoder.encode(host.zone);
    out[pos++] = 138;
    out[pos++] = 1;
    pos = putVarint(out, pos, zone.length);
    out.set(zone, pos);
    pos += zone.length;
  }
  return pos;
}

function utf8Bytes(text: string): number {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return utf8Encoder.encode(text).length;
  return text.length;
}
