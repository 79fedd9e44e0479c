// A steady writer of routes over HTTP, as an operator's script is one: it has a list of dns instances, stays with one
// and moves on when that one fails. Every write is recorded with when it began and ended and what came of it; an answer
// that says "503" or does not come at all leaves the outcome open, and the script goes on with its next change.
import { parseIp } from "../../src/core/endpoint.ts";
import { ADMIN_TOKEN } from "../support/lars-processes.ts";
import type { LoggedChange, Outcome, WriteRecord } from "./history.ts";
import { MARKER_PORT, markerIp, markerOf } from "./marker.ts";
import { readJson } from "./read-json.ts";

export interface RouteWriterOptions {
  /** Base URLs; the first is tried first. */
  readonly dns: readonly string[];
  /** "modid.cmdid"; written in turn. */
  readonly modules: readonly string[];
  readonly perSecond: number;
  /** The next write's number, counted by all writers of a history together. */
  readonly nextId: () => number;
  readonly timeoutMs?: number;
}

export const BASE_HOSTS = [1, 2, 3, 4].map((i) => ({ ip: `10.1.1.${i}`, port: 8000 }));

/** Of so many writes to a module one replaces the route and the others add a host to it. */
const REPLACE_EVERY = 4;

export class RouteWriter {
  readonly writes: WriteRecord[] = [];
  readonly #options: RouteWriterOptions;
  #current = 0;
  #turn = 0;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: RouteWriterOptions) {
    this.#options = options;
  }

  /** Which instance it writes to now. */
  get dns(): string {
    return this.#options.dns[this.#current]!;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** After the write under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { perSecond } = this.#options;
    let dueMs = performance.now();
    while (!this.#stopped) {
      await this.write();
      // Late writes are not made up for: it is one script.
      dueMs = Math.max(dueMs + 1000 / perSecond, performance.now());
      await Bun.sleep(dueMs - performance.now());
    }
  }

  /** One write; moves on to the next instance when it failed. */
  async write(): Promise<WriteRecord> {
    const { modules, nextId, dns } = this.#options;
    const turn = this.#turn++;
    const module = modules[turn % modules.length]!;
    const id = nextId();
    const replaces = Math.floor(turn / modules.length) % REPLACE_EVERY === 0;
    const startedMs = performance.now();
    const outcome = await this.#send(module, id, replaces);
    const record = { id, module, startedMs, endedMs: performance.now(), outcome };
    this.writes.push(record);
    if (outcome.kind === "unknown") this.#current = (this.#current + 1) % dns.length;
    return record;
  }

  async #send(module: string, id: number, replaces: boolean): Promise<Outcome> {
    const path = `${this.dns}/v1/routes/${module.replace(".", "/")}`;
    const host = { ip: markerIp(id), port: MARKER_PORT };
    try {
      const response = await fetch(replaces ? path : `${path}/hosts`, {
        method: replaces ? "PUT" : "POST",
        headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" },
        body: JSON.stringify(replaces ? { hosts: [...BASE_HOSTS, host] } : host),
        // On a connection that is used again fetch may send a request twice.
        keepalive: false,
        signal: AbortSignal.timeout(this.#options.timeoutMs ?? 1000),
      });
      const text = await response.text();
      if (response.ok) return { kind: "acknowledged", revision: (JSON.parse(text) as { revision: number }).revision };
      const kind = response.status >= 500 ? "unknown" : "refused";
      return { kind, why: `${response.status} ${text.slice(0, 300)}` };
    } catch (error) {
      return { kind: "unknown", why: String(error) };
    }
  }
}

interface LogPage {
  readonly changes: readonly {
    readonly revision: number;
    readonly items: readonly {
      readonly kind: string;
      readonly modid: number;
      readonly cmdid: number;
      readonly before: { readonly hosts?: readonly { ip: string }[] };
      readonly after: { readonly hosts?: readonly { ip: string }[] };
    }[];
  }[];
  readonly next?: number;
}

/** The change log of a dns instance after a revision, as far as it is about writes that carry a number. */
export async function readChangeLog(dns: string, after: number): Promise<readonly LoggedChange[]> {
  const log: LoggedChange[] = [];
  for (let next: number | undefined = after; next !== undefined; ) {
    const page: LogPage = await readJson(dns, `/v1/changes?after=${next}&limit=500`);
    for (const { revision, items } of page.changes) {
      const writes = items.flatMap(({ kind, modid, cmdid, before, after }) => {
        if (kind !== "route") return [];
        const old = new Set(before.hosts?.map(({ ip }) => ip));
        return (after.hosts ?? []).flatMap(({ ip }) => {
          const id = old.has(ip) ? undefined : markerOf(parseIp(ip)!);
          return id === undefined ? [] : [{ id, module: `${modid}.${cmdid}` }];
        });
      });
      log.push({ revision, writes });
    }
    next = page.next;
  }
  return log;
}
