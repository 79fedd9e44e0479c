// A service on the agent's machine that registers itself there and says "still here", as services do: two heartbeats a
// second, and again from the beginning when the agent knows nothing of it. Beside it one that says nothing more, which the
// agent looks after: the check is made against the agent's own HTTP port, which is there while the agent runs. A process of
// its own, to be on that machine when its cable is pulled; it tells its parent nothing, what came of it is in the routes.
export interface RegisteringOptions {
  /** The agent's HTTP, as seen on its machine. */
  readonly agent: string;
  readonly ttlSeconds: number;
  /** The one that heartbeats, and the one that is checked. */
  readonly beating: RegisteredService;
  readonly checked: RegisteredService;
}

export interface RegisteredService {
  readonly id: string;
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: string;
  readonly port: number;
}

const BEAT_MS = 500;
const TIMEOUT_MS = 1000;

const { agent, ttlSeconds, beating, checked } = JSON.parse(process.argv[2]!) as RegisteringOptions;

/** 0: no answer. */
async function ask(method: string, path: string, body?: unknown): Promise<number> {
  try {
    const response = await fetch(`${agent}/v1/registrations/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      // A PUT waits for the dns service.
      signal: AbortSignal.timeout(body === undefined ? TIMEOUT_MS : 5 * TIMEOUT_MS),
    });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return 0;
  }
}

async function keep(path: string, method: string, { id, ...place }: RegisteredService, more: object): Promise<void> {
  for (;;) {
    if ((await ask(method, path)) === 404) await ask("PUT", id, { ...place, ttlSeconds, ...more });
    await Bun.sleep(BEAT_MS);
  }
}

process.on("disconnect", () => process.exit(0));
void keep(`${beating.id}/heartbeat`, "PUT", beating, {});
void keep(checked.id, "GET", checked, { check: { tcp: true }, intervalSeconds: 1 });
