// Real Lars processes for tests: each with ports, a data folder and a log of its own, started, killed and started again
// as an operator would. Everything started is ended when the test process ends, however that is.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { eventually } from "./eventually.ts";

export const PROJECT_ROOT = resolve(import.meta.dir, "../..");
/** Of any request: longer than a long poll. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Of what a process answers from memory. */
const ANSWER_TIMEOUT_MS = 10_000;
export const ADMIN_TOKEN = "test-admin-token-0123456789";

export type ProcessName = "dns" | "report" | "agent";

export interface Ports {
  readonly tcp: number;
  readonly http: number;
  /** Of the first shard. */
  readonly udp: number;
  /** Of an agent: real DNS, UDP and TCP. */
  readonly resolver: number;
}

/**
 * Below what the kernel draws from for outgoing connections, or somebody's connection would sit on a port that was free.
 * Test processes that run side by side have a part each: between looking and listening lies the time of a start.
 */
const PORTS = portsOfLane(process.env.LARS_TEST_LANE);
let nextPort = PORTS.first + Math.floor(Math.random() * (PORTS.last - PORTS.first));

function portsOfLane(lane: string | undefined): { readonly first: number; readonly last: number } {
  const all = { first: 10_000, last: 32_000 };
  if (lane === undefined) return all;
  const [index, lanes] = lane.split("/").map(Number) as [number, number];
  const count = Math.floor((all.last - all.first) / lanes);
  return { first: all.first + index * count, last: all.first + (index + 1) * count };
}

function canListen(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const server = createServer();
    server.once("error", () => settle(false));
    server.listen(port, "127.0.0.1", () => server.close(() => settle(true)));
  });
}

/** The first of `count` ports in a row that nobody listens on. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    if (nextPort + count > PORTS.last) nextPort = PORTS.first;
    const first = nextPort;
    nextPort += count;
    const free = await Promise.all(Array.from({ length: count }, (_, i) => canListen(first + i)));
    if (free.every(Boolean)) return first;
  }
}

const running = new Set<LarsProcess>();
const folders = new Set<string>();

process.on("exit", () => {
  for (const child of running) child.kill();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `lars-${name}-`));
  folders.add(folder);
  return folder;
}

/** Where a process runs, when that is not simply this machine. */
export interface Placement {
  /** What it listens on and is reached by. Default 127.0.0.1. */
  readonly address?: string;
  /** What it is run under: enters namespaces and then becomes the program. */
  readonly command?: readonly string[];
  /** For the process itself, like --config FILE. */
  readonly options?: readonly string[];
}

/** One process of the system. Its ports and data outlive a restart. */
export class LarsProcess {
  readonly url: string;
  /** What every request to it needs: with TLS, whom to believe. */
  readonly #trust: BunFetchRequestInit;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;
  #output = "";

  constructor(
    readonly name: ProcessName,
    readonly ports: Ports,
    readonly env: Readonly<Record<string, string>>,
    readonly placement: Placement = {},
  ) {
    const secured = env[`LARS_${name.toUpperCase()}__TLS__CERT_FILE`] !== undefined;
    this.url = `${secured ? "https" : "http"}://${placement.address ?? "127.0.0.1"}:${ports.http}`;
    // As the command line takes it.
    this.#trust = secured ? { tls: { ca: readFileSync(env.LARS_CA_FILE!, "utf8") } } : {};
  }

  /** A request to its HTTP port. No call of ours may wait for ever, whatever failed. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const signal = init.signal ?? AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    return await fetch(`${this.url}${path}`, { ...init, ...this.#trust, signal });
  }

  get pid(): number {
    if (this.#child === undefined) throw new Error(`${this.name} is not running`);
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Everything the process wrote, over all its starts. */
  get output(): string {
    return this.#output;
  }

  launch(): void {
    const command = [...(this.placement.command ?? []), process.execPath];
    const program = [join(PROJECT_ROOT, `src/${this.name}/main.ts`), ...(this.placement.options ?? [])];
    const child = Bun.spawn([...command, ...program], {
      cwd: tmpdir(),
      // A network of the test's own is trusted.
      env: { ...cleanEnvironment(), ...(this.placement.address && { LARS_ALLOW_INSECURE: "true" }), ...this.env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#child = child;
    running.add(this);
    void this.#collect(child.stdout);
    void this.#collect(child.stderr);
    void child.exited.then(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      running.delete(this);
    });
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.#output += decoder.decode(chunk, { stream: true });
  }

  /** Starts it and waits until it says that it is ready. */
  async start(): Promise<this> {
    this.launch();
    await this.ready();
    return this;
  }

  async ready(timeoutMs = 15_000): Promise<void> {
    await eventually(
      async () => {
        if (this.#child === undefined) throw new Error(`${this.name} ended:\n${this.#output.slice(-2000)}`);
        const response = await this.fetch("/readyz", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
        if (!response.ok) throw new Error(`not ready: ${await response.text()}`);
      },
      { timeoutMs },
    );
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** SIGTERM; resolves with the exit code. */
  async stop(): Promise<number> {
    return await this.end("SIGTERM");
  }

  private async end(signal: NodeJS.Signals): Promise<number> {
    const child = this.#child;
    if (child === undefined) return 0;
    child.kill(signal);
    return await child.exited;
  }

  async metrics(): Promise<Map<string, number>> {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    return parseMetrics(await (await this.fetch("/metrics", { signal })).text());
  }
}

/** Sample name with labels -> value. */
export function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    const space = line.lastIndexOf(" ");
    if (space > 0 && !line.startsWith("#")) samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}

/** The sum over all label sets of a metric. */
export function sumMetric(samples: ReadonlyMap<string, number>, name: string): number {
  let sum = 0;
  for (const [sample, value] of samples) if (sample === name || sample.startsWith(`${name}{`)) sum += value;
  return sum;
}

function cleanEnvironment(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !name.startsWith("LARS_")) env[name] = value;
  }
  return env;
}

export interface LarsOptions {
  /** Default: an SQLite file in a folder of the test's own. */
  readonly databaseUrl?: string;
  readonly dns?: number;
  readonly report?: number;
  readonly agent?: number;
  /** LARS_… variables for all processes. */
  readonly env?: Readonly<Record<string, string>>;
  readonly place?: (name: ProcessName, index: number) => Placement;
}

/** Processes that know each other. */
export class Lars {
  constructor(
    readonly folder: string,
    readonly databaseUrl: string,
    readonly dns: readonly LarsProcess[],
    readonly report: readonly LarsProcess[],
    readonly agent: readonly LarsProcess[],
  ) {}

  get all(): readonly LarsProcess[] {
    return [...this.dns, ...this.report, ...this.agent];
  }

  /** A request to the first dns service, as admin. */
  async admin(method: string, path: string, body?: unknown, dns = this.dns[0]!): Promise<Response> {
    return await dns.fetch(path, {
      method,
      headers: {
        authorization: `Bearer ${ADMIN_TOKEN}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((process) => process.stop()));
    rmSync(this.folder, { recursive: true, force: true });
    folders.delete(this.folder);
  }
}

/** Prepares processes (one of each unless told otherwise) without starting them. */
export async function makeLars(options: LarsOptions = {}): Promise<Lars> {
  const folder = temporaryFolder("test");
  const databaseUrl = options.databaseUrl ?? `sqlite:${join(folder, "lars.db")}`;
  const base = { LARS_DATABASE_URL: databaseUrl, LARS_ADMIN_TOKEN: ADMIN_TOKEN, ...options.env };
  const make = async (name: ProcessName, count: number, extra: (ports: Ports, i: number) => Record<string, string>) => {
    const made: LarsProcess[] = [];
    for (let i = 0; i < count; i++) {
      const first = await freePorts(6);
      const ports: Ports = { tcp: first, http: first + 1, udp: first + 2, resolver: first + 5 };
      const placement = options.place?.(name, i) ?? {};
      const listen: Record<string, string> = {};
      if (placement.address !== undefined) {
        // An agent's callers are on its own machine.
        for (const section of name === "agent" ? ["HTTP"] : ["HTTP", "TCP"])
          listen[`LARS_${name.toUpperCase()}__${section}__HOST`] = placement.address;
      }
      made.push(new LarsProcess(name, ports, { ...extra(ports, i), ...listen, ...base }, placement));
    }
    return made;
  };
  const dns = await make("dns", options.dns ?? 1, ({ tcp, http }, i) => ({
    LARS_DNS__TCP__PORT: String(tcp),
    LARS_DNS__HTTP__PORT: String(http),
    LARS_DATA_DIR: join(folder, `dns-${i}`),
  }));
  const report = await make("report", options.report ?? 1, ({ tcp, http }, i) => ({
    LARS_REPORT__TCP__PORT: String(tcp),
    LARS_REPORT__HTTP__PORT: String(http),
    LARS_DATA_DIR: join(folder, `report-${i}`),
  }));
  const addresses = (processes: readonly LarsProcess[], listener: "tcp" | "http" = "tcp") =>
    processes.map(({ ports, placement }) => `${placement.address ?? "127.0.0.1"}:${ports[listener]}`).join(",");
  const agent = await make("agent", options.agent ?? 1, ({ udp, http, resolver }, i) => ({
    LARS_AGENT__UDP__PORT: String(udp),
    LARS_AGENT__RESOLVER__PORT: String(resolver),
    LARS_AGENT__HTTP__PORT: String(http),
    LARS_AGENT__DNSSERVER__ADDRESSES: addresses(dns) || "127.0.0.1:1",
    LARS_AGENT__REPORTER__ADDRESSES: addresses(report) || "127.0.0.1:1",
    LARS_AGENT__REGISTRATIONS__ADDRESSES: addresses(dns, "http") || "127.0.0.1:1",
    LARS_AGENT_TOKEN: ADMIN_TOKEN,
    LARS_DATA_DIR: join(folder, `agent-${i}`),
  }));
  return new Lars(folder, databaseUrl, dns, report, agent);
}

/** As makeLars, started and ready. */
export async function startLars(options: LarsOptions = {}): Promise<Lars> {
  const lars = await makeLars(options);
  try {
    // One dns first: several would wait for each other's migration, and an agent that finds nobody waits before it asks again.
    const [first, ...others] = lars.dns;
    await first?.start();
    await Promise.all([...others, ...lars.report, ...lars.agent].map((process) => process.start()));
  } catch (error) {
    await lars.stop();
    throw error;
  }
  return lars;
}
