// Where an agent's routes come from: one TCP connection to some dns server, and the modules wanted over it.
//
// What is wanted is a set, not a queue: a module stays in it from the first caller's request until it is given up, and
// whenever a connection opens, everything in the set is asked for (which also subscribes to its changes). So nothing can
// be lost between connections. A server that takes requests and answers none in time is as bad as a dead one: the
// connection is dropped and the next address tried.
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { TcpClient } from "../net/tcp-client.ts";
import {
  HEADER_BYTES,
  MSG_GET_ROUTE_REQUEST,
  MSG_GET_ROUTE_RESPONSE,
  MSG_UNWATCH_ROUTE_REQUEST,
  sealFrame,
} from "../wire/frame.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest, GET_ROUTE_REQUEST_BYTES } from "../wire/route-codec.ts";
import type { RouteUpdate } from "./shard-modules.ts";

export interface RouteSourceOptions {
  readonly responseTimeoutMs: () => number;
  readonly maxModules: number;
  readonly nowMs: () => number;
  /** A route arrived that is not older than the last one. */
  readonly onRoute: (update: RouteUpdate) => void;
}

interface Wanted extends ModuleKey {
  /** When it was asked for and not answered yet; -1: no request is under way. */
  askedAtMs: number;
  heardAtMs: number;
  revision: number;
}

/** With nothing else to ask for, the route heard of longest ago is asked for this often: is the server still there? */
const PROBE_INTERVAL_MS = 5000;

export class RouteSource {
  readonly #wanted = new ModuleMap<Wanted>();
  /** To be asked for as soon as the connection takes it. */
  readonly #toAsk = new Set<Wanted>();
  /** Asked for, oldest first. */
  readonly #underWay = new Set<Wanted>();
  readonly #options: RouteSourceOptions;
  #client: TcpClient | undefined;
  #connected = false;
  #heardAtMs = Number.NEGATIVE_INFINITY;
  #probedAtMs = Number.NEGATIVE_INFINITY;
  readonly counts = {
    asked: 0,
    routes: 0,
    stale: 0,
    unasked: 0,
    malformed: 0,
    ignoredPolicyParts: 0,
    unknownFrames: 0,
    refused: 0,
    silences: 0,
  };

  constructor(options: RouteSourceOptions) {
    this.#options = options;
  }

  /** The connection to use; its callbacks are to be wired to the `on…` methods here. */
  attach(client: TcpClient): void {
    this.#client = client;
  }

  get connected(): boolean {
    return this.#connected;
  }

  get size(): number {
    return this.#wanted.size;
  }

  /** Milliseconds since any dns server was heard of; Infinity: never. */
  silenceMs(): number {
    return this.#options.nowMs() - this.#heardAtMs;
  }

  /** `revision`: of the route that is held already (a snapshot's), 0 for none. */
  want(modid: number, cmdid: number, revision = 0): void {
    let wanted = this.#wanted.get(modid, cmdid);
    if (wanted === undefined) {
      if (this.#wanted.size >= this.#options.maxModules) {
        this.counts.refused++;
        return;
      }
      wanted = { modid, cmdid, askedAtMs: -1, heardAtMs: Number.NEGATIVE_INFINITY, revision };
      this.#wanted.set(modid, cmdid, wanted);
    }
    if (wanted.askedAtMs < 0) this.#toAsk.add(wanted);
    this.#ask();
  }

  forget(modid: number, cmdid: number): void {
    const wanted = this.#wanted.get(modid, cmdid);
    if (wanted === undefined) return;
    this.#wanted.delete(modid, cmdid);
    this.#toAsk.delete(wanted);
    this.#underWay.delete(wanted);
    if (this.#connected) this.#send(MSG_UNWATCH_ROUTE_REQUEST, modid, cmdid);
  }

  #ask(): void {
    if (!this.#connected) return;
    const nowMs = this.#options.nowMs();
    for (const wanted of this.#toAsk) {
      // Full, or not taken: `onDrain` goes on from here. A request sent twice is answered twice, no more.
      if (!this.#send(MSG_GET_ROUTE_REQUEST, wanted.modid, wanted.cmdid)) return;
      this.#toAsk.delete(wanted);
      wanted.askedAtMs = nowMs;
      this.#underWay.add(wanted);
      this.counts.asked++;
    }
  }

  /** False: the connection is full now, or did not take it. */
  #send(msgid: number, modid: number, cmdid: number): boolean {
    const bytes = new Uint8Array(HEADER_BYTES + GET_ROUTE_REQUEST_BYTES);
    const end = sealFrame(bytes, 0, msgid, encodeGetRouteRequest(bytes, HEADER_BYTES, modid, cmdid));
    return this.#client?.send(bytes.subarray(0, end)) ?? false;
  }

  onOpen(): void {
    this.#connected = true;
    for (const wanted of this.#underWay) wanted.askedAtMs = -1;
    this.#underWay.clear();
    for (const wanted of this.#wanted.values()) this.#toAsk.add(wanted);
    this.#ask();
  }

  onDrain(): void {
    this.#ask();
  }

  onClose(): void {
    this.#connected = false;
  }

  onFrame(msgid: number, body: Uint8Array): void {
    this.#heardAtMs = this.#options.nowMs();
    if (msgid !== MSG_GET_ROUTE_RESPONSE) {
      this.counts.unknownFrames++;
      return;
    }
    const route = decodeGetRouteResponse(body, 0, body.length);
    // All hosts unusable is a fault of the data, not the end of the module.
    if (route === undefined || (route.hosts.length === 0 && route.badHosts > 0)) {
      this.counts.malformed++;
      return;
    }
    const wanted = this.#wanted.get(route.modid, route.cmdid);
    if (wanted === undefined) {
      this.counts.unasked++;
      return;
    }
    this.#underWay.delete(wanted);
    wanted.askedAtMs = -1;
    wanted.heardAtMs = this.#heardAtMs;
    if (route.revision !== 0 && route.revision < wanted.revision) {
      this.counts.stale++;
      return;
    }
    wanted.revision = route.revision;
    this.counts.routes++;
    this.counts.ignoredPolicyParts += route.badPolicy;
    const { modid, cmdid, revision, hosts, policy } = route;
    this.#options.onRoute({ modid, cmdid, revision, hosts, policy });
  }

  /** To be called a few times a second: notices a server that does not answer. */
  tick(): void {
    if (!this.#connected) return;
    const nowMs = this.#options.nowMs();
    const [oldest] = this.#underWay;
    if (oldest !== undefined) {
      const silentMs = nowMs - Math.max(oldest.askedAtMs, this.#heardAtMs);
      if (silentMs > this.#options.responseTimeoutMs()) {
        this.counts.silences++;
        this.#client?.reconnect(`no answer for ${Math.round(silentMs)} ms`);
      }
      return;
    }
    if (nowMs - Math.max(this.#heardAtMs, this.#probedAtMs) < PROBE_INTERVAL_MS) return;
    this.#probedAtMs = nowMs;
    const [first] = this.#wanted.values();
    if (first !== undefined) this.want(first.modid, first.cmdid);
  }
}
