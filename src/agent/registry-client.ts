// The registrations of this agent at the dns service, over HTTP. Any instance will do, so the one that answered last is
// asked first, and when it cannot be reached, is silent, or says that it cannot serve (5xx, 429, 421), the others follow in
// the same call: every address of every name, the one that failed longest ago first.
//
// While nobody answers, calls fail at once for a short, jittered while, so that a thousand registrations that want to be
// renewed are one try and not a thousand. Redirects are not followed and proxies not used: a token goes to the addresses
// that were configured and nowhere else.
import { type BackoffLimits, backoffDelay } from "../core/backoff.ts";
import { formatIp, parseIp } from "../core/endpoint.ts";
import type { RegistrationSpec, RegistryAnswer, RegistryCall } from "./registration.ts";

export interface RegistryClientOptions {
  /** "host:port" of the dns service's HTTP; asked for at every call. */
  readonly addresses: () => readonly string[];
  /** "": none is sent. */
  readonly token: () => string;
  /** Of one try at one address. */
  readonly timeoutMs: () => number;
  /** Given: https. Asked for at every call, since files are renewed. */
  readonly tls?: () => RegistryTls | undefined;
  readonly nowMs: () => number;
  /** 0 <= random() < 1 */
  readonly random: () => number;
  readonly onMove?: (line: string) => void;
  readonly lookup?: (host: string) => Promise<readonly string[]>;
}

/** PEM texts. */
export interface RegistryTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

interface Target {
  readonly host: string;
  readonly ip: string;
  readonly port: number;
  readonly key: string;
}

/** What one address made of it: an answer, or why the next one is to be asked. */
type Attempt = RegistryAnswer | { readonly outcome: "next"; readonly reason: string };

const MAX_CONCURRENT = 32;
/** A registration has one call under way, so this is beyond what `registrations.max` allows. */
const MAX_QUEUED = 20_000;
const MAX_ANSWER_BYTES = 65_536;
/** The only instance there is gets so many times the time-out. */
const ALONE_PATIENCE = 4;
const ALL_DOWN: BackoffLimits = { baseMs: 100, maxMs: 1000 };

async function lookupIpv4(host: string): Promise<readonly string[]> {
  const records = await Bun.dns.lookup(host, { family: 4 });
  return records.map(({ address }) => address);
}

export class RegistryClient {
  readonly counts = {
    register: 0,
    renew: 0,
    drain: 0,
    deregister: 0,
    gone: 0,
    refused: 0,
    away: 0,
    moves: 0,
    failedTries: 0,
    failedLookups: 0,
    queueFull: 0,
  };
  readonly #options: RegistryClientOptions;
  /** The one that answered last, and since when others failed. */
  #current: Target | undefined;
  #failedAtMs = new Map<string, number>();
  /** Addresses known at the last round. */
  #targets = 0;
  #running = 0;
  readonly #queue: (() => void)[] = [];
  #allDown = { untilMs: Number.NEGATIVE_INFINITY, attempts: 0, reason: "" };

  constructor(options: RegistryClientOptions) {
    this.#options = options;
  }

  /** "ip:port" of the instance in use. */
  get server(): string | undefined {
    return this.#current?.key;
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Never rejects. */
  async call(call: RegistryCall, spec: RegistrationSpec): Promise<RegistryAnswer> {
    const answer = await this.#inTurn(() => this.#ask(call, spec));
    if (answer.outcome === "done") this.counts[call]++;
    else this.counts[answer.outcome]++;
    return answer;
  }

  async #inTurn(run: () => Promise<RegistryAnswer>): Promise<RegistryAnswer> {
    if (this.#running >= MAX_CONCURRENT) {
      if (this.#queue.length >= MAX_QUEUED) {
        this.counts.queueFull++;
        return { outcome: "away", reason: `${MAX_QUEUED} calls to the dns service are waiting already` };
      }
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    } else this.#running++;
    try {
      return await run();
    } catch (error) {
      return { outcome: "away", reason: textOf(error) };
    } finally {
      // The place is handed on, so nobody who comes meanwhile takes it.
      const next = this.#queue.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }

  async #ask(call: RegistryCall, spec: RegistrationSpec): Promise<RegistryAnswer> {
    const { nowMs, random } = this.#options;
    if (nowMs() < this.#allDown.untilMs) return { outcome: "away", reason: this.#allDown.reason };
    const failures: string[] = [];
    const tried = new Set<string>();
    for (const round of [() => this.#sticky(), () => this.#round()]) {
      for (const target of await round()) {
        if (tried.has(target.key)) continue;
        tried.add(target.key);
        const attempt = await this.#try(target, call, spec);
        if (attempt.outcome !== "next") {
          this.#answeredBy(target);
          return attempt;
        }
        this.#failed(target, attempt.reason);
        failures.push(`${target.key}: ${attempt.reason}`);
      }
    }
    const reason = `no dns service could be asked (${failures.join("; ") || "no address"})`.slice(0, 1000);
    const untilMs = nowMs() + backoffDelay(this.#allDown.attempts++, ALL_DOWN, random());
    this.#allDown = { ...this.#allDown, untilMs, reason };
    return { outcome: "away", reason };
  }

  async #sticky(): Promise<readonly Target[]> {
    const current = this.#current;
    if (current === undefined) return [];
    // The configuration may have changed meanwhile.
    return this.#options.addresses().includes(`${current.host}:${current.port}`) ? [current] : [];
  }

  /** Every address of every name, once; the one that failed longest ago first, those that never did in any order. */
  async #round(): Promise<readonly Target[]> {
    const found = await Promise.all(this.#options.addresses().map((address) => this.#resolve(address)));
    const targets = [...new Map(found.flat().map((target) => [target.key, target])).values()];
    const failedAtMs = new Map<string, number>();
    for (const { key } of targets) {
      const atMs = this.#failedAtMs.get(key);
      if (atMs !== undefined) failedAtMs.set(key, atMs);
    }
    this.#failedAtMs = failedAtMs;
    this.#targets = targets.length;
    const order = new Map(targets.map(({ key }) => [key, failedAtMs.get(key) ?? -this.#options.random()]));
    return targets.sort((a, b) => order.get(a.key)! - order.get(b.key)!);
  }

  async #resolve(address: string): Promise<readonly Target[]> {
    const colon = address.lastIndexOf(":");
    const host = address.slice(0, colon);
    const port = Number(address.slice(colon + 1));
    const at = (ip: string): Target => ({ host, ip, port, key: `${ip}:${port}` });
    if (parseIp(host) !== undefined) return [at(host)];
    const { promise: late, resolve: giveUp } = Promise.withResolvers<readonly string[]>();
    const timer = setTimeout(() => giveUp([]), this.#options.timeoutMs());
    try {
      const ips = await Promise.race([(this.#options.lookup ?? lookupIpv4)(host), late]);
      if (ips.length === 0) this.counts.failedLookups++;
      return ips.map(at);
    } catch {
      this.counts.failedLookups++;
      return [];
    } finally {
      clearTimeout(timer);
    }
  }

  async #try(target: Target, call: RegistryCall, spec: RegistrationSpec): Promise<Attempt> {
    const { method, path, body } = requestOf(call, spec);
    const { token, tls: options } = this.#options;
    // With nobody to turn to instead, to give up sooner would only mean to ask the same again.
    const timeoutMs = this.#options.timeoutMs() * (this.#targets === 1 ? ALONE_PATIENCE : 1);
    const tls = options?.();
    const secret = token();
    try {
      const response = await fetch(`${tls === undefined ? "http" : "https"}://${target.key}${path}`, {
        method,
        headers: {
          host: `${target.host}:${target.port}`,
          accept: "application/json",
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...(secret === "" ? {} : { authorization: `Bearer ${secret}` }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(tls === undefined ? {} : { tls: tlsOptions(target, tls) }),
        redirect: "manual",
        proxy: false,
        signal: AbortSignal.timeout(timeoutMs),
      });
      return read(call, response.status, await boundedText(response));
    } catch (error) {
      const timedOut = error instanceof Error && error.name === "TimeoutError";
      return { outcome: "next", reason: timedOut ? `no answer in ${timeoutMs} ms` : textOf(error) };
    }
  }

  #answeredBy(target: Target): void {
    this.#allDown = { untilMs: Number.NEGATIVE_INFINITY, attempts: 0, reason: "" };
    this.#failedAtMs.delete(target.key);
    if (this.#current?.key === target.key) return;
    this.#current = target;
    this.counts.moves++;
    this.#options.onMove?.(`registrations go to the dns service at ${target.key}`);
  }

  #failed(target: Target, reason: string): void {
    this.counts.failedTries++;
    this.#failedAtMs.set(target.key, this.#options.nowMs());
    if (this.#current?.key !== target.key) return;
    this.#current = undefined;
    this.#options.onMove?.(`the dns service at ${target.key} does not take registrations: ${reason}`);
  }
}

function tlsOptions({ host, ip }: Target, { ca, cert, key }: RegistryTls): BunFetchRequestInitTLS {
  return {
    // Of an address written as such the certificate must name the address, which is in the URL.
    ...(host === ip ? {} : { serverName: host }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

function requestOf(call: RegistryCall, spec: RegistrationSpec) {
  const path = `/v1/registrations/${encodeURIComponent(spec.id)}`;
  if (call === "renew") return { method: "PUT", path: `${path}/heartbeat` };
  if (call === "deregister") return { method: "DELETE", path };
  const { modid, cmdid, ip, port, weight, zone, ttlSeconds } = spec;
  const body = {
    ...{ modid, cmdid, ip: formatIp(ip), port, weight, zone, ttlSeconds },
    ...(call === "drain" ? { state: "draining" } : {}),
  };
  return { method: "PUT", path, body };
}

function read(call: RegistryCall, status: number, text: string): Attempt {
  if (status >= 200 && status < 300) {
    const { revision, changed } = objectOf(text);
    return {
      outcome: "done",
      ...(typeof revision === "number" ? { revision } : {}),
      ...(typeof changed === "boolean" ? { changed } : {}),
    };
  }
  // Of a registration that is made, a 404 says that there is nobody to make one: no dns service, or an old one.
  if (status === 404 && (call === "renew" || call === "deregister")) return { outcome: "gone" };
  const { detail } = objectOf(text);
  const said = typeof detail === "string" ? detail.slice(0, 500) : `status ${status}`;
  // A follower's 421 says that another is to be asked; which, the configuration says, since a token goes nowhere else.
  if (status >= 500 || status === 429 || status === 408 || status === 421)
    return { outcome: "next", reason: `${status}: ${said}` };
  return { outcome: "refused", status, detail: said };
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** @throws Error when the answer is larger than any of ours */
async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes: no dns service`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function textOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return code ?? message ?? String(error);
}
