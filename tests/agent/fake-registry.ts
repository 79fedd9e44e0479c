// A dns service as far as registrations go: keeps them, remembers who asked for what, and fails as it is told to.

export type RegistryMood = "well" | "hangs" | "unavailable" | "no such token" | "forbidden" | "old" | "follower";

export interface RegistryRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | null;
  readonly host: string | null;
  readonly body: Record<string, unknown> | undefined;
}

export class FakeRegistry {
  mood: RegistryMood = "well";
  readonly held = new Map<string, Record<string, unknown>>();
  readonly requests: RegistryRequest[] = [];
  #revision = 0;
  readonly #hanging = new Set<() => void>();
  readonly #server: Bun.Server<undefined>;

  constructor(hostname = "127.0.0.1", port = 0) {
    this.#server = Bun.serve({ hostname, port, idleTimeout: 0, fetch: (request) => this.#answer(request) });
  }

  get port(): number {
    return this.#server.port!;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** "PUT", "PUT heartbeat", "PUT draining", "DELETE", in order. */
  get calls(): readonly string[] {
    return this.requests.map(({ method, path, body }) => {
      if (path.endsWith("/heartbeat")) return "PUT heartbeat";
      return body?.state === undefined ? method : `${method} ${String(body.state)}`;
    });
  }

  async stop(): Promise<void> {
    for (const release of this.#hanging) release();
    await this.#server.stop(true);
  }

  async #answer(request: Request): Promise<Response> {
    const path = new URL(request.url).pathname;
    const text = await request.text();
    this.requests.push({
      method: request.method,
      path,
      authorization: request.headers.get("authorization"),
      host: request.headers.get("host"),
      body: text === "" ? undefined : (JSON.parse(text) as Record<string, unknown>),
    });
    if (this.mood === "hangs") await new Promise<void>((release) => this.#hanging.add(release));
    if (this.mood === "unavailable") return problem(503, "the database is away");
    if (this.mood === "follower") return problem(421, "this dns follows another one; ask that");
    if (this.mood === "no such token") return problem(401, "this needs an access token");
    if (this.mood === "forbidden") return problem(403, "this token may not register 1.1");
    if (this.mood === "old") return problem(404, `there is nothing at ${path}`);
    const [, , , encoded = "", heartbeat] = path.split("/");
    const id = decodeURIComponent(encoded);
    if (heartbeat === "heartbeat") {
      const held = this.held.get(id);
      return held === undefined
        ? problem(404, "no such registration; register again")
        : Response.json({ ttlSeconds: held.ttlSeconds });
    }
    if (request.method === "DELETE") {
      if (!this.held.delete(id)) return problem(404, "no such registration");
      return Response.json({ revision: ++this.#revision, changed: true });
    }
    this.held.set(id, JSON.parse(text) as Record<string, unknown>);
    return Response.json({ revision: ++this.#revision, changed: true });
  }
}

function problem(status: number, detail: string): Response {
  return Response.json({ type: "about:blank", title: "x", status, detail }, { status });
}
