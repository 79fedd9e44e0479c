// Services that register themselves and go on saying that they are there, as real ones do: each beats on its own, asks
// the next dns service when one does not answer or says 503, and registers again when it is told that its lease ended.
// What it was told is kept, so that a test can say who lost a lease although it never fell silent.
export interface KeeperOptions {
  readonly urls: () => readonly string[];
  readonly token: string;
  readonly ttlSeconds: number;
}

export interface Kept {
  readonly id: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** Heartbeats that were answered with 200. */
  beats: number;
  /** It was told that its lease had ended though it was renewing it. */
  lost: number;
  /** When its last heartbeat was answered with 200 (or it registered), on performance.now. */
  heardAtMs: number;
  silent: boolean;
}

/** The first of all, of a service that is not there yet: nothing is late for it. */
const REGISTER_TIMEOUT_MS = 10_000;

export class LeaseKeeper {
  readonly services = new Map<string, Kept>();
  readonly #options: KeeperOptions;
  #stopped = false;
  readonly #loops: Promise<void>[] = [];
  /** What is waited for between beats; ended by `stop`. */
  readonly #pauses = new Set<() => void>();

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Registers (at the service `first`, where the first heartbeat does not go) and begins to beat. */
  async add(id: string, body: Readonly<Record<string, unknown>>, first = 0): Promise<Kept> {
    const kept: Kept = { id, body, beats: 0, lost: 0, heardAtMs: 0, silent: false };
    const response = await this.#send(kept, "", first, REGISTER_TIMEOUT_MS);
    if (response?.status !== 200) throw new Error(`${id} is not registered: ${await response?.text()}`);
    kept.heardAtMs = performance.now();
    this.services.set(id, kept);
    this.#loops.push(this.#keep(kept, first + 1));
    return kept;
  }

  async #keep(kept: Kept, next: number): Promise<void> {
    const everyMs = (this.#options.ttlSeconds * 1000) / 4;
    let server = next;
    while (!this.#stopped && !kept.silent) {
      const startedAtMs = performance.now();
      const response = await this.#send(kept, "/heartbeat", server);
      if (response?.status === 200) {
        kept.beats++;
        kept.heardAtMs = startedAtMs;
      } else if (response?.status === 404) {
        kept.lost++;
        await this.#send(kept, "", server);
      } else server++;
      await this.#pause(response?.status === 200 ? everyMs : 50);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#pauses.add(end);
      if (this.#stopped) end();
    });
  }

  async #send(
    kept: Kept,
    path: string,
    server: number,
    timeoutMs = Math.max(500, this.#options.ttlSeconds * 250),
  ): Promise<Response | undefined> {
    const urls = this.#options.urls();
    const authorization = `Bearer ${this.#options.token}`;
    try {
      const response = await fetch(`${urls[server % urls.length]}/v1/registrations/${kept.id}${path}`, {
        method: "PUT",
        headers: { authorization, "content-type": "application/json" },
        body: path === "" ? JSON.stringify({ ...kept.body, ttlSeconds: this.#options.ttlSeconds }) : null,
        signal: AbortSignal.timeout(timeoutMs),
      });
      if (response.status === 200) await response.arrayBuffer();
      return response;
    } catch {
      return undefined;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const end of [...this.#pauses]) end();
    await Promise.all(this.#loops);
  }
}
