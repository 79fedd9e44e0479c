// One shard of the agent: datagrams in, replies out. A shard owns the modules that shard-map.ts gives it; a datagram for
// another shard's module (a client that computed a negative remainder, or another number of shards) is handed on and
// answered through the socket it came in by, because clients connect their sockets and take answers from one port only.
//
// Nothing here knows a socket, a worker or a clock. Per datagram it allocates nothing while the module is known.
import { RESOLVING, SHEDDING } from "../core/balancer.ts";
import { hashBytes } from "../core/hash.ts";
import { shardOf } from "../core/shard-map.ts";
import type { UdpAddress } from "../net/udp-socket.ts";
import {
  DROP_LENGTH_MISMATCH,
  DROP_TOO_SHORT,
  datagramFrame,
  HEADER_BYTES,
  MAX_UDP_FRAME_BYTES,
  MSG_API_GET_ROUTE_REQUEST,
  MSG_API_GET_ROUTE_RESPONSE,
  MSG_GET_HOST_REQUEST,
  MSG_GET_HOST_RESPONSE,
  MSG_REPORT_REQUEST,
  sealFrame,
} from "../wire/frame.ts";
import {
  decodeGetHostRequest,
  encodeGetHostFailure,
  encodeGetHostSuccess,
  GET_HOST_RESPONSE_BYTES,
  makeGetHostRequest,
} from "../wire/host-codec.ts";
import { decodeReportRequest, makeReportRequest } from "../wire/report-codec.ts";
import { RESULT_NO_MODULE, RESULT_OVERLOAD } from "../wire/result-code.ts";
import { decodeGetRouteRequest, encodeGetRouteResponse, makeGetRouteRequest } from "../wire/route-codec.ts";
import { counterIndex, pickCounter, type ShardCounters } from "./shard-counters.ts";
import type { ShardModules } from "./shard-modules.ts";

/** Where an answer goes: the socket of this shard, or back to the shard that handed the request on. */
export interface ReplySink {
  /** Sends the first `length` bytes; they are copied before this returns. */
  reply(bytes: Uint8Array, length: number, port: number, address: UdpAddress): void;
}

/** Takes a datagram to the shard that owns its module. `datagram` may be written to once this returns. */
export type Forward = (shard: number, datagram: Uint8Array, port: number, address: UdpAddress) => void;

const DATAGRAMS = counterIndex("datagrams");
const REPORTS = counterIndex("reports");
const STRANGERS = counterIndex("reports_of_strangers");
const ROUTE_REQUESTS = counterIndex("route_requests");
const TOO_SHORT = counterIndex("dropped_too_short");
const LENGTH_MISMATCH = counterIndex("dropped_length_mismatch");
const UNKNOWN_ID = counterIndex("dropped_unknown_id");
const MALFORMED = counterIndex("dropped_malformed");
const FORWARDED = counterIndex("forwarded");
const OVERSIZE_ROUTES = counterIndex("oversize_routes");

export class Shard {
  readonly #out = new Uint8Array(HEADER_BYTES + GET_HOST_RESPONSE_BYTES);
  readonly #getHost = makeGetHostRequest();
  readonly #report = makeReportRequest();
  readonly #getRoute = makeGetRouteRequest();
  readonly #counters: Float64Array;
  /** Where the next answer begins when a route does not fit a datagram. */
  #rotation = 0;

  constructor(
    readonly index: number,
    readonly shards: number,
    readonly modules: ShardModules,
    counters: ShardCounters,
    private readonly forward: Forward,
    /** Of every module; `index` where it is this shard's. */
    private readonly ownerOf: (modid: number, cmdid: number) => number = (modid, cmdid) =>
      shardOf(modid, cmdid, shards),
  ) {
    this.#counters = counters.values;
  }

  /** Handles one datagram from `address`:`port`. Never throws on bad input: it is dropped and counted. */
  handle(datagram: Uint8Array, sink: ReplySink, port: number, address: UdpAddress, nowMs: number): void {
    this.#counters[DATAGRAMS]! += 1;
    const msgid = datagramFrame(datagram);
    switch (msgid) {
      case MSG_GET_HOST_REQUEST:
        this.#handleGetHost(datagram, sink, port, address, nowMs);
        return;
      case MSG_REPORT_REQUEST:
        this.#handleReport(datagram, port, address, nowMs);
        return;
      case MSG_API_GET_ROUTE_REQUEST:
        this.#handleGetRoute(datagram, sink, port, address, nowMs);
        return;
      default: {
        const reason =
          msgid === DROP_TOO_SHORT ? TOO_SHORT : msgid === DROP_LENGTH_MISMATCH ? LENGTH_MISMATCH : UNKNOWN_ID;
        this.#counters[reason]! += 1;
      }
    }
  }

  #handleGetHost(datagram: Uint8Array, sink: ReplySink, port: number, address: UdpAddress, nowMs: number): void {
    const request = this.#getHost;
    if (!decodeGetHostRequest(datagram, HEADER_BYTES, datagram.length, request)) {
      this.#counters[MALFORMED]! += 1;
      return;
    }
    const { seq, modid, cmdid, hashKeyLength } = request;
    if (this.#forwarded(modid, cmdid, datagram, port, address)) return;
    const keyHash = hashKeyLength === 0 ? 0 : hashBytes(datagram, request.hashKeyOffset, hashKeyLength);
    if (this.#answerGetHost(sink, seq, modid, cmdid, keyHash, port, address, nowMs, true)) return;
    const settle = (later: number): void => {
      this.#answerGetHost(sink, seq, modid, cmdid, keyHash, port, address, later, false);
    };
    if (!this.modules.wait(modid, cmdid, { settle }, nowMs)) settle(nowMs);
  }

  /** Picks and answers. With `mayWait`, a module that is still resolving gets no answer yet: false. */
  #answerGetHost(
    sink: ReplySink,
    seq: number,
    modid: number,
    cmdid: number,
    keyHash: number,
    port: number,
    address: UdpAddress,
    nowMs: number,
    mayWait: boolean,
  ): boolean {
    const out = this.#out;
    const picked = this.modules.pick(modid, cmdid, keyHash, nowMs);
    if (picked === RESOLVING && mayWait) return false;
    this.#counters[pickCounter(picked)]! += 1;
    let end: number;
    if ("port" in picked) {
      end = encodeGetHostSuccess(out, HEADER_BYTES, seq, modid, cmdid, picked.ip, picked.port);
    } else {
      const retcode = picked === SHEDDING ? RESULT_OVERLOAD : RESULT_NO_MODULE;
      end = encodeGetHostFailure(out, HEADER_BYTES, seq, modid, cmdid, retcode);
    }
    sink.reply(out, sealFrame(out, 0, MSG_GET_HOST_RESPONSE, end), port, address);
    return true;
  }

  #handleReport(datagram: Uint8Array, port: number, address: UdpAddress, nowMs: number): void {
    const report = this.#report;
    if (!decodeReportRequest(datagram, HEADER_BYTES, datagram.length, report)) {
      this.#counters[MALFORMED]! += 1;
      return;
    }
    const { modid, cmdid } = report;
    if (this.#forwarded(modid, cmdid, datagram, port, address)) return;
    this.report(modid, cmdid, report.ip, report.port, report.retcode === 0, report.latencyUs, nowMs);
  }

  /**
   * A call ended, whatever way that was told. A report for a module that is not known yet (the agent was restarted, or
   * the pick came from a sibling) waits for the route as a pick would; one for a host nobody knows is a stranger's.
   */
  report(
    modid: number,
    cmdid: number,
    ip: number,
    port: number,
    succeeded: boolean,
    latencyUs: number,
    nowMs: number,
  ): void {
    if (this.modules.report(modid, cmdid, ip, port, succeeded, latencyUs, nowMs)) {
      this.#counters[REPORTS]! += 1;
      return;
    }
    const settle = (laterMs: number): void => {
      const known = this.modules.report(modid, cmdid, ip, port, succeeded, latencyUs, laterMs);
      this.#counters[known ? REPORTS : STRANGERS]! += 1;
    };
    if (this.modules.isKnown(modid, cmdid) || this.modules.use(modid, cmdid, nowMs) !== "resolving") {
      this.#counters[STRANGERS]! += 1;
    } else if (!this.modules.wait(modid, cmdid, { settle }, nowMs)) {
      settle(nowMs);
    }
  }

  #handleGetRoute(datagram: Uint8Array, sink: ReplySink, port: number, address: UdpAddress, nowMs: number): void {
    const request = this.#getRoute;
    if (!decodeGetRouteRequest(datagram, HEADER_BYTES, datagram.length, request)) {
      this.#counters[MALFORMED]! += 1;
      return;
    }
    const { modid, cmdid } = request;
    if (this.#forwarded(modid, cmdid, datagram, port, address)) return;
    this.#counters[ROUTE_REQUESTS]! += 1;
    const answer = (mayWait: boolean, atMs: number): boolean => {
      const hosts = this.modules.hosts(modid, cmdid, atMs);
      if (hosts === RESOLVING && mayWait) return false;
      const known = "length" in hosts ? hosts : [];
      const { frame, encodedHosts } = encodeGetRouteResponse(
        { modid, cmdid, hosts: known },
        MAX_UDP_FRAME_BYTES,
        this.#rotation,
        MSG_API_GET_ROUTE_RESPONSE,
      );
      if (encodedHosts < known.length) {
        this.#rotation += encodedHosts;
        this.#counters[OVERSIZE_ROUTES]! += 1;
      }
      sink.reply(frame, frame.length, port, address);
      return true;
    };
    if (answer(true, nowMs)) return;
    if (!this.modules.wait(modid, cmdid, { settle: (later) => answer(false, later) }, nowMs)) answer(false, nowMs);
  }

  #forwarded(modid: number, cmdid: number, datagram: Uint8Array, port: number, address: UdpAddress): boolean {
    const owner = this.ownerOf(modid, cmdid);
    if (owner === this.index) return false;
    this.#counters[FORWARDED]! += 1;
    this.forward(owner, datagram, port, address);
    return true;
  }
}
