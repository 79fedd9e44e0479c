// A shard without worker, socket and clock: datagrams in, replies as values out, time as the test says.

import { Shard } from "../../src/agent/shard.ts";
import { type ShardCounter, ShardCounters } from "../../src/agent/shard-counters.ts";
import { type ModuleLimits, ShardModules } from "../../src/agent/shard-modules.ts";
import { makeHost } from "../../src/core/assignment.ts";
import { LARS_DEFAULTS } from "../../src/core/balancer-lars.ts";
import { CallStatistics, type HostTotals, StatisticsReader } from "../../src/core/call-statistics.ts";
import type { BalancerSettings } from "../../src/core/make-balancer.ts";
import { DEFAULT_STEERING, NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import {
  frameOf,
  HEADER_BYTES,
  MSG_API_GET_ROUTE_REQUEST,
  MSG_API_GET_ROUTE_RESPONSE,
  MSG_GET_HOST_REQUEST,
  MSG_REPORT_REQUEST,
  readInt32,
} from "../../src/wire/frame.ts";
import {
  decodeGetHostResponse,
  encodeGetHostRequest,
  GET_HOST_REQUEST_BYTES,
  makeGetHostResponse,
} from "../../src/wire/host-codec.ts";
import { encodeReportRequest, REPORT_REQUEST_BYTES } from "../../src/wire/report-codec.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest, GET_ROUTE_REQUEST_BYTES } from "../../src/wire/route-codec.ts";

export const LIMITS: ModuleLimits = {
  maxModules: 100,
  maxUnknown: 100,
  maxWaiting: 10,
  maxNewPerSecond: 100,
  resolveTimeoutMs: 100,
  negativeTtlMs: 5000,
  updateTimeoutMs: 15_000,
  forgetAfterMs: 60_000,
};

export const BALANCING: BalancerSettings = {
  policy: "lars",
  lars: LARS_DEFAULTS,
  steering: DEFAULT_STEERING,
  zone: "",
};

export function getHostFrame(seq: number, modid: number, cmdid: number, hashKey = ""): Uint8Array {
  const key = new TextEncoder().encode(hashKey);
  const body = new Uint8Array(GET_HOST_REQUEST_BYTES + 10 + key.length);
  return frameOf(MSG_GET_HOST_REQUEST, body.subarray(0, encodeGetHostRequest(body, 0, seq, modid, cmdid, key)));
}

export function reportFrame(modid: number, cmdid: number, ip: number, port: number, retcode: number): Uint8Array {
  const body = new Uint8Array(REPORT_REQUEST_BYTES);
  const end = encodeReportRequest(body, 0, { modid, cmdid, ip, port, retcode, latencyUs: 0 });
  return frameOf(MSG_REPORT_REQUEST, body.subarray(0, end));
}

export function getRouteFrame(modid: number, cmdid: number, msgid = MSG_API_GET_ROUTE_REQUEST): Uint8Array {
  const body = new Uint8Array(GET_ROUTE_REQUEST_BYTES);
  return frameOf(msgid, body.subarray(0, encodeGetRouteRequest(body, 0, modid, cmdid)));
}

/** A reply as text: `seq 7: 10.1:80` is host 10.1... by its last number, `seq 7: retcode 3`, `route 1.1: 1 2`. */
export function replyText(frame: Uint8Array): string {
  const msgid = readInt32(frame, 0);
  if (readInt32(frame, 4) !== frame.length - HEADER_BYTES) return "a frame of the wrong length";
  if (msgid === MSG_API_GET_ROUTE_RESPONSE) {
    const route = decodeGetRouteResponse(frame, HEADER_BYTES, frame.length)!;
    return `route ${route.modid}.${route.cmdid}: ${route.hosts.map(({ ip }) => ip).join(" ")}`;
  }
  const answer = makeGetHostResponse();
  if (!decodeGetHostResponse(frame, HEADER_BYTES, frame.length, answer)) return "not decodable";
  return answer.hasHost
    ? `seq ${answer.seq}: host ${answer.ip}:${answer.port}`
    : `seq ${answer.seq}: retcode ${answer.retcode}`;
}

export interface RigOptions {
  readonly index?: number;
  readonly shards?: number;
  readonly entries?: number;
  readonly balancing?: Partial<BalancerSettings>;
}

export class ShardRig {
  nowMs = 1_000_000;
  #policy = NO_CHOICE;
  readonly counters = new ShardCounters();
  readonly reader = new StatisticsReader();
  readonly statistics: CallStatistics;
  readonly modules: ShardModules;
  readonly shard: Shard;
  /** What the dns service was asked for and freed of, in order. */
  readonly asked: string[] = [];
  readonly forgotten: string[] = [];
  readonly forwarded: { shard: number; datagram: Uint8Array; port: number; address: string }[] = [];
  readonly #replies: string[] = [];

  constructor(limits: Partial<ModuleLimits> = {}, options: RigOptions = {}) {
    this.statistics = new CallStatistics(options.entries ?? 1000, (block) => this.reader.addBlock(block));
    this.modules = new ShardModules(
      { ...LIMITS, ...limits },
      { ...BALANCING, ...options.balancing },
      () => 0.5,
      this.statistics,
      this.counters,
      {
        want: (modid, cmdid) => this.asked.push(`${modid}.${cmdid}`),
        forget: (modid, cmdid) => this.forgotten.push(`${modid}.${cmdid}`),
      },
    );
    this.shard = new Shard(
      options.index ?? 0,
      options.shards ?? 1,
      this.modules,
      this.counters,
      (shard, datagram, port, address) => this.forwarded.push({ shard, datagram, port, address: String(address) }),
    );
  }

  read(counter: ShardCounter): number {
    return this.counters.read(counter);
  }

  datagram(bytes: Uint8Array): this {
    this.shard.handle(bytes, this.sink, 5555, "127.0.0.1", this.nowMs);
    return this;
  }

  readonly sink = {
    // A reply is to be copied during the call; the buffer is used again.
    reply: (bytes: Uint8Array, length: number, port: number, address: string): void => {
      const to = port === 5555 && address === "127.0.0.1" ? "" : ` to ${address}:${port}`;
      this.#replies.push(replyText(bytes.slice(0, length)) + to);
    },
  };

  ask(seq: number, modid: number, cmdid: number): this {
    return this.datagram(getHostFrame(seq, modid, cmdid));
  }

  report(modid: number, cmdid: number, ip: number, retcode: number): this {
    return this.datagram(reportFrame(modid, cmdid, ip, 80, retcode));
  }

  route(modid: number, cmdid: number, revision: number, ...ips: number[]): this {
    const hosts = ips.map((ip) => makeHost(ip, 80));
    this.modules.applyRoute({ modid, cmdid, revision, hosts, policy: this.#policy }, this.nowMs);
    return this;
  }

  /** What the routes that come from now on say about their policy. */
  choose(name: PolicyChoice["name"], parameters: PolicyChoice["parameters"] = {}): this {
    this.#policy = { name, parameters };
    return this;
  }

  /** Ticks of the worker, 5 ms apart. */
  ticks(count: number): this {
    for (let i = 0; i < count; i++) {
      this.wait(5);
      this.modules.goOn();
    }
    return this;
  }

  /** Moves time on, as the worker's ticks do. */
  wait(ms: number): this {
    this.nowMs += ms;
    this.modules.tick(this.nowMs);
    return this;
  }

  /** The replies since the last call. */
  replies(): string[] {
    return this.#replies.splice(0);
  }

  totals(modid: number, cmdid: number): HostTotals[] {
    return this.reader.take(true).get(modid, cmdid) ?? [];
  }
}
