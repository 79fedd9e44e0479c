// An agent that only watches: it asks for modules over TCP as agents do, and writes down every revision it is pushed, on
// each connection and over all of them (where it leaves out, as agents do, what is older than what it has).
import { parseModuleKey } from "../../src/core/module-key.ts";
import { connectTcp, type ServerAddress, type TcpClient } from "../../src/net/tcp-client.ts";
import { HEADER_BYTES, MSG_GET_ROUTE_REQUEST, MSG_GET_ROUTE_RESPONSE, sealFrame } from "../../src/wire/frame.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest, GET_ROUTE_REQUEST_BYTES } from "../../src/wire/route-codec.ts";
import type { Sighting, Watcher } from "./history.ts";

export class WatchingAgent {
  readonly #taken: Sighting[] = [];
  readonly #connections: Sighting[][] = [];
  readonly #held = new Map<string, number>();
  readonly #client: TcpClient;
  /** Frames left out because they were older than what was held. */
  stale = 0;

  constructor(
    readonly name: string,
    addresses: readonly ServerAddress[],
    private readonly modules: readonly string[],
  ) {
    this.#client = connectTcp({
      addresses: () => addresses,
      connectTimeoutMs: 1000,
      backoff: { baseMs: 20, maxMs: 200 },
      random: Math.random,
      onOpen: () => this.#ask(),
      onFrame: (msgid, body) => this.#take(msgid, body),
    });
  }

  get connections(): number {
    return this.#connections.length;
  }

  #ask(): void {
    this.#connections.push([]);
    for (const module of this.modules) {
      const { modid, cmdid } = parseModuleKey(module)!;
      const bytes = new Uint8Array(HEADER_BYTES + GET_ROUTE_REQUEST_BYTES);
      const end = encodeGetRouteRequest(bytes, HEADER_BYTES, modid, cmdid);
      this.#client.send(bytes.subarray(0, sealFrame(bytes, 0, MSG_GET_ROUTE_REQUEST, end)));
    }
  }

  #take(msgid: number, body: Uint8Array): void {
    if (msgid !== MSG_GET_ROUTE_RESPONSE) return;
    const route = decodeGetRouteResponse(body, 0, body.length);
    if (route === undefined) throw new Error(`${this.name} got a route that cannot be read`);
    const { modid, cmdid, revision } = route;
    const module = `${modid}.${cmdid}`;
    this.#connections.at(-1)!.push({ module, revision });
    if (revision < (this.#held.get(module) ?? 0)) {
      this.stale++;
      return;
    }
    this.#held.set(module, revision);
    this.#taken.push({ module, revision });
  }

  held(module: string): number {
    return this.#held.get(module) ?? 0;
  }

  /** As watchers of a history: all in all, and each connection by itself. */
  watchers(): readonly Watcher[] {
    return [
      { name: this.name, sightings: this.#taken },
      ...this.#connections.map((sightings, i) => ({
        name: `${this.name}, connection ${i + 1}`,
        sightings,
        partial: true,
      })),
    ];
  }

  /** It loses its connection, as when its machine moves. */
  reconnect(): void {
    this.#client.reconnect("the test says so");
  }

  stop(): void {
    this.#client.stop();
  }
}
