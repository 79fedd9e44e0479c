// The dns service's HTTP application in process, over a store in memory.
import { Access } from "../../src/auth/access.ts";
import { makeApp } from "../../src/dns/app.ts";
import { LeaseService } from "../../src/dns/lease-service.ts";
import { LeaseTime } from "../../src/dns/lease-time.ts";
import type { AgentDescription } from "../../src/dns/route-push.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { RouteWatch } from "../../src/dns/route-watch.ts";
import { type Clock, systemClock } from "../../src/platform/clock.ts";
import type { HttpApp } from "../../src/platform/http-app.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { MemoryRouteStore } from "../support/memory-route-store.ts";
import { MemoryTokenStore } from "../support/memory-token-store.ts";
import { RecordingLog } from "../support/recording-log.ts";

export const ADMIN = "an-admin-token-0123456789";

export interface AppRigOptions {
  readonly anonymousRead?: boolean;
  /** LARS_ADMIN_TOKEN. */
  readonly configuredToken?: string;
  readonly store?: MemoryRouteStore;
  readonly maxAgeMs?: number;
  readonly maxWatches?: number;
  readonly agents?: readonly AgentDescription[];
  readonly clock?: Clock;
}

export class AppRig {
  readonly store: MemoryRouteStore;
  readonly tokens = new MemoryTokenStore();
  /** Without debug lines, or every call would go the general way. */
  readonly log = new RecordingLog([], {}, false);
  readonly watch: RouteWatch;
  readonly routes: RouteService;
  readonly leases: LeaseService;
  readonly access: Access;
  readonly app: HttpApp;

  constructor(options: AppRigOptions = {}) {
    const clock = options.clock ?? systemClock;
    this.store = options.store ?? new MemoryRouteStore();
    this.watch = new RouteWatch(options.maxWatches ?? 100);
    this.routes = new RouteService({
      store: this.store,
      replica: new RouteReplica(),
      clock,
      log: this.log,
      fullReloadIntervalMs: () => 10_000,
      leaseMs: () => this.leases.time.known(),
    });
    this.leases = new LeaseService({
      store: this.store.leases,
      routes: this.routes,
      time: new LeaseTime(this.store.leases, clock, "test"),
      clock,
      log: this.log,
      max: () => 1000,
    });
    this.routes.onChange((changed) => this.watch.notify(changed));
    this.access = new Access({
      tokens: this.tokens,
      configuredToken: options.configuredToken ?? ADMIN,
      clock,
      digest: (text) => Bun.SHA256.hash(text, "hex"),
      log: this.log,
      metrics: silentMetrics,
    });
    this.app = makeApp({
      routes: this.routes,
      watch: this.watch,
      store: this.store,
      leases: this.leases,
      access: this.access,
      anonymousRead: () => options.anonymousRead ?? true,
      agents: () => options.agents ?? [],
      ...(options.maxAgeMs === undefined ? {} : { maxAgeMs: options.maxAgeMs }),
      log: this.log,
      metrics: silentMetrics,
      clock,
    });
  }

  async get(path: string, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
    return await this.app.request(path, { headers, ...(signal === undefined ? {} : { signal }) });
  }

  /** As admin, unless `headers` say otherwise. A text body goes as it is. */
  async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return await this.app.request(path, {
      method,
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
  }

  /** Sends, and expects it to be done. Returns the revision. */
  async done(method: string, path: string, body?: unknown): Promise<number> {
    const response = await this.send(method, path, body);
    const answer = (await response.json()) as { revision?: number };
    if (!response.ok || answer.revision === undefined) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.revision;
  }
}

export async function loadedApp(options: AppRigOptions = {}): Promise<AppRig> {
  const rig = new AppRig(options);
  await rig.routes.poll();
  return rig;
}

export interface ServerSentEvent {
  readonly event: string;
  readonly id: string;
  readonly data: unknown;
}

/** Reads a stream event by event. */
export class EventReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";
  /** Comment lines, which keep a stream open. */
  comments = 0;

  constructor(response: Response) {
    this.#reader = response.body!.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  }

  /** Waits for the next one. @throws when the stream ends */
  async next(): Promise<ServerSentEvent> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end >= 0) {
        const fields = new Map<string, string>();
        for (const line of this.#text.slice(0, end).split("\n")) {
          const colon = line.indexOf(": ");
          fields.set(line.slice(0, colon), line.slice(colon + 2));
        }
        this.#text = this.#text.slice(end + 2);
        const [event, id, data] = [fields.get("event"), fields.get("id"), fields.get("data")];
        if (event !== undefined && id !== undefined && data !== undefined) return { event, id, data: JSON.parse(data) };
        this.comments++;
        continue;
      }
      const { value, done } = await this.#reader.read();
      if (done) throw new Error("the stream ended");
      this.#text += this.#decoder.decode(value, { stream: true });
    }
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}
