// Services that register themselves and say "still here": thousands of leases, each renewed at a third of its time at one
// dns instance or, when that one fails, at the next. What was acknowledged last is remembered for each.
import { formatIp } from "../../src/core/endpoint.ts";
import { ADMIN_TOKEN } from "../support/lars-processes.ts";

export interface HolderOptions {
  readonly dns: readonly string[];
  readonly count: number;
  readonly ttlSeconds: number;
  readonly modules: number;
  /** So that several sets of holders do not meet. */
  readonly firstModid?: number;
}

export interface Holder {
  readonly id: string;
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: string;
  readonly port: number;
  /** When the heartbeat that was acknowledged last was sent and when its answer came, on performance.now(). */
  sentMs: number;
  acknowledgedMs: number;
  /** It has stopped saying anything. */
  silent: boolean;
  /** What it asked last and what came of it, the newest last: for whoever wonders how a lease came to end. */
  readonly tries: Try[];
}

export interface Try {
  /** When it was sent, on performance.now(). */
  readonly atMs: number;
  readonly tookMs: number;
  /** Which instance was asked. */
  readonly dns: number;
  /** 0: none came in time. */
  readonly status: number;
}

const TICK_MS = 5;
/** fetch makes 256 requests at a time. */
const MAX_UNDER_WAY = 128;
const HEARTBEAT_TIMEOUT_MS = 1000;
/** Many thousands register at once, and each is durable when it is answered. */
const REGISTER_TIMEOUT_MS = 10_000;
const TRIES_KEPT = 20;

/** For people; `fromMs` is what its times count from. */
export function triesOf({ tries }: Holder, fromMs: number): string {
  const told = tries.map(
    ({ atMs, tookMs, dns, status }) =>
      `dns ${dns} at ${((atMs - fromMs) / 1000).toFixed(2)} s (${status || "no answer"} in ${Math.round(tookMs)} ms)`,
  );
  return told.join(", ");
}

export class LeaseHolders {
  readonly holders: readonly Holder[];
  heartbeats = 0;
  /** Answers other than 200, and none at all, each followed by a try at another instance. */
  readonly failures = new Map<string, number>();
  /** Leases that a dns said had ended although they were renewed; their holders register again. */
  readonly wronglyEnded: string[] = [];
  #underWay = 0;
  #timer: Timer | undefined;

  constructor(private readonly options: HolderOptions) {
    const { count, modules, firstModid = 500 } = options;
    this.holders = Array.from({ length: count }, (_, i) => ({
      id: `service-${firstModid}-${i}`,
      modid: firstModid,
      cmdid: 1 + (i % modules),
      ip: formatIp(0x0a64_0000 + i),
      port: 9000,
      sentMs: 0,
      acknowledgedMs: 0,
      silent: false,
      tries: [],
    }));
  }

  async #ask(i: number, path: string, body: unknown, timeoutMs: number): Promise<number> {
    const { dns } = this.options;
    const { tries } = this.holders[i]!;
    for (let attempt = 0; ; attempt++) {
      let status = 0;
      const asked = (i + attempt) % dns.length;
      const atMs = performance.now();
      try {
        const response = await fetch(`${dns[asked]}/v1/registrations/${path}`, {
          method: "PUT",
          headers: {
            authorization: `Bearer ${ADMIN_TOKEN}`,
            ...(body === undefined ? {} : { "content-type": "application/json" }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(timeoutMs),
        });
        await response.arrayBuffer();
        status = response.status;
      } catch {
        // Refused, cut or timed out: as a status of its own.
      }
      tries.push({ atMs, tookMs: performance.now() - atMs, dns: asked, status });
      if (tries.length > TRIES_KEPT) tries.shift();
      if (status === 200 || status === 404) return status;
      const what = status === 0 ? "no answer" : String(status);
      this.failures.set(what, (this.failures.get(what) ?? 0) + 1);
      if (attempt >= 2 * dns.length) return status;
    }
  }

  /** Registers all. @throws when one is refused */
  async register(): Promise<void> {
    const left = [...this.holders.entries()].reverse();
    const work = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) {
        const [i, holder] = next;
        const status = await this.#register(i);
        if (status !== 200) throw new Error(`registration ${holder.id} was answered ${status}`);
      }
    };
    await Promise.all(Array.from({ length: MAX_UNDER_WAY }, work));
  }

  async #register(i: number): Promise<number> {
    const holder = this.holders[i]!;
    const { id, modid, cmdid, ip, port } = holder;
    const { ttlSeconds } = this.options;
    const sentMs = performance.now();
    const status = await this.#ask(i, id, { modid, cmdid, ip, port, ttlSeconds }, REGISTER_TIMEOUT_MS);
    if (status === 200) {
      holder.sentMs = sentMs;
      holder.acknowledgedMs = performance.now();
    }
    return status;
  }

  /** Heartbeats of all that are registered and not silent, spread evenly, each at a third of its time to live. */
  start(): void {
    const { ttlSeconds, count } = this.options;
    const perMs = count / ((ttlSeconds * 1000) / 3);
    const startedMs = performance.now();
    let turn = 0;
    this.#timer = setInterval(() => {
      const due = (performance.now() - startedMs) * perMs;
      for (; turn < due && this.#underWay < MAX_UNDER_WAY; turn++) void this.#renew(turn % count);
    }, TICK_MS);
  }

  async #renew(i: number): Promise<void> {
    const holder = this.holders[i]!;
    if (holder.silent || holder.acknowledgedMs === 0) return;
    this.#underWay++;
    const sentMs = performance.now();
    const status = await this.#ask(i, `${holder.id}/heartbeat`, undefined, HEARTBEAT_TIMEOUT_MS);
    if (status === 200) {
      this.heartbeats++;
      holder.sentMs = sentMs;
      holder.acknowledgedMs = performance.now();
    } else if (status === 404 && !holder.silent) {
      this.wronglyEnded.push(holder.id);
      await this.#register(i);
    }
    this.#underWay--;
  }

  /** Ends the heartbeats; those under way are awaited. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#underWay > 0) await Bun.sleep(TICK_MS);
  }

  /** The holder of a host; undefined: none of these. */
  of(endpoint: string): Holder | undefined {
    this.#byEndpoint ??= new Map(this.holders.map((holder) => [`${holder.ip}:${holder.port}`, holder]));
    return this.#byEndpoint.get(endpoint);
  }
  #byEndpoint: ReadonlyMap<string, Holder> | undefined;
}
