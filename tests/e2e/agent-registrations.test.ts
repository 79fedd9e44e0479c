// Services that register themselves through their agent: what callers of the agent and readers of the dns service see
// while services fail, return, leave in order, and while the agent is killed, restarted and stopped.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { freePorts, type Lars, LarsProcess, PROJECT_ROOT, startLars } from "../support/lars-processes.ts";

setDefaultTimeout(30_000);

const GRACE_MS = 500;
/** Long, so that nothing here happens because a lease ran out. */
const TTL_SECONDS = 60;
const CHECK = { check: { http: "/healthz" }, intervalSeconds: 0.1, timeoutSeconds: 0.2, rise: 2, fall: 2 };

/** A real little HTTP service, on one port over all its lives. */
class Service {
  calls = 0;
  #server: Bun.Server<undefined> | undefined;

  constructor(readonly port: number) {
    this.start();
  }

  start(): void {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: this.port,
      fetch: (request) => {
        if (new URL(request.url).pathname !== "/healthz") this.calls++;
        return new Response("ok");
      },
    });
  }

  async stop(): Promise<void> {
    await this.#server?.stop(true);
  }
}

let lars: Lars;
let agent: LarsProcess;
const services: Service[] = [];

async function makeService(): Promise<Service> {
  const service = new Service(await freePorts(1));
  services.push(service);
  return service;
}

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the tests look at
type Json = any;

async function at(process: LarsProcess, method: string, path: string, body?: unknown): Promise<[number, Json]> {
  const response = await fetch(`${process.url}${path}`, {
    method,
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  return [response.status, await response.json()];
}

function register(id: string, module: string, { port }: Service, more: object = CHECK): Promise<[number, Json]> {
  const [modid, cmdid] = module.split("/").map(Number);
  return at(agent, "PUT", `/v1/registrations/${id}`, {
    ...{ modid, cmdid, ip: "127.0.0.1", port, ttlSeconds: TTL_SECONDS },
    ...more,
  });
}

/** As the dns service tells the module: "port state", sorted. */
async function route(module: string): Promise<readonly string[]> {
  const response = await lars.admin("GET", `/v1/routes/${module}`);
  if (response.status === 404) return [];
  const { hosts } = (await response.json()) as { hosts: { port: number; state: string }[] };
  return hosts.map(({ port, state }) => `${port} ${state}`).sort();
}

/** What happened to a module's hosts, from the change log: "action: port state, …", the newest `count`. */
async function history(module: string, count: number): Promise<readonly string[]> {
  const { changes } = (await (await lars.admin("GET", "/v1/changes?after=0&limit=1000")).json()) as Json;
  const told = (changes as Json[]).flatMap(({ action, items }) =>
    (items as Json[])
      .filter(({ modid, cmdid }) => `${modid}/${cmdid}` === module)
      .map(({ after }) => `${action}: ${(after.hosts as Json[]).map(({ port, state }) => `${port} ${state}`)}`),
  );
  return told.slice(-count);
}

async function pick(module: string): Promise<number> {
  const [status, body] = await at(agent, "GET", `/v1/hosts/${module}`);
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body.port;
}

beforeAll(async () => {
  lars = await startLars({
    report: 0,
    agent: 1,
    env: { LARS_AGENT__REGISTRATIONS__DRAIN_GRACE_MS: String(GRACE_MS), LARS_AGENT__ROUTES__NEGATIVE_TTL_MS: "50" },
  });
  agent = lars.agent[0]!;
});
afterAll(async () => {
  // An orderly end would look for a dns that ends at the same time, to drain what is registered.
  await agent?.kill();
  await lars?.stop();
  for (const service of services) await service.stop();
});

test("a service is picked once its check passed, leaves when it fails (not at its TTL), and returns with it", async () => {
  const service = await makeService();
  const [status, answer] = await register("a", "1/1", service);
  expect([status, answer.changed]).toEqual([200, true]);
  expect(answer.revision).toBeGreaterThan(0);
  await eventually(async () => expect(await pick("1/1")).toBe(service.port));
  expect((await at(agent, "GET", "/v1/registrations/a"))[1]).toMatchObject({ state: "passing", ip: "127.0.0.1" });

  const killedMs = performance.now();
  await service.stop();
  await eventually(async () => expect(await route("1/1")).toEqual([]));
  // interval x fall + timeout, and what a busy machine needs; the lease would have gone on for a minute.
  expect(performance.now() - killedMs).toBeLessThan(2 * 100 + 200 + 3000);
  expect((await at(agent, "GET", "/v1/registrations/a"))[1]).toMatchObject({
    state: "failing",
    lastError: expect.stringContaining("ECONNREFUSED"),
  });

  service.start();
  await eventually(async () => expect(await route("1/1")).toEqual([`${service.port} up`]));
});

test("DELETE drains: shown as draining, no longer picked, and no call through the agent fails though the service ends", async () => {
  const [leaving, staying] = [await makeService(), await makeService()];
  await register("b1", "2/1", leaving);
  await register("b2", "2/1", staying);
  await eventually(async () => expect(new Set([await pick("2/1"), await pick("2/1")]).size).toBe(2));

  const failures: string[] = [];
  let stopping = false;
  const callers = Array.from({ length: 4 }, async () => {
    while (!stopping) {
      try {
        const port = await pick("2/1");
        const response = await fetch(`http://127.0.0.1:${port}/work`);
        await response.text();
        const one = { modid: 2, cmdid: 1, ip: "127.0.0.1", port, retcode: response.ok ? 0 : 1 };
        await fetch(`${agent.url}/v1/reports`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(one),
        });
        if (!response.ok) failures.push(`status ${response.status}`);
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  await eventually(() => expect(leaving.calls).toBeGreaterThan(20));
  const [status] = await at(agent, "DELETE", "/v1/registrations/b1");
  expect(status).toBe(200);
  // It said that nobody is sent there any more: so the service may end now.
  const callsAtEnd = leaving.calls;
  await leaving.stop();
  expect(await route("2/1")).toEqual([`${staying.port} up`]);
  expect(await history("2/1", 2)).toEqual([`register: ${leaving.port} draining`, "deregister: "]);
  const before = staying.calls;
  await eventually(() => expect(staying.calls).toBeGreaterThan(before + 100));
  stopping = true;
  await Promise.all(callers);
  expect(failures).toEqual([]);
  expect(leaving.calls).toBe(callsAtEnd);
  expect(leaving.calls + staying.calls).toBeGreaterThan(120);
  expect((await at(agent, "DELETE", "/v1/registrations/b1"))[0]).toBe(404);
});

test("an agent killed with SIGKILL and started again goes on renewing, and the host never leaves", async () => {
  const service = await makeService();
  const [, { revision }] = await register("c", "3/1", service, { ...CHECK, ttlSeconds: 2 });
  const own = await register("d", "3/2", service, { ttlSeconds: 30 });
  expect(own[0]).toBe(200);
  await agent.kill();
  await agent.start();
  const startedMs = performance.now();
  // Longer than the TTL after the kill: only renewals can have kept it.
  await eventually(async () => {
    expect(performance.now() - startedMs).toBeGreaterThan(2200);
    expect((await at(agent, "GET", "/v1/registrations/c"))[1]).toMatchObject({ state: "passing" });
    expect((await at(agent, "PUT", "/v1/registrations/d/heartbeat"))[1]).toEqual({ ttlSeconds: 30 });
  });
  // Had one left and come back, its route had another revision.
  for (const [module, made] of [
    ["3/1", revision],
    ["3/2", own[1].revision],
  ]) {
    const response = await lars.admin("GET", `/v1/routes/${module}`);
    expect([module, ((await response.json()) as { revision: number }).revision]).toEqual([module, made]);
  }
});

test("an agent that is stopped drains and removes its services first, and they return with the next agent", async () => {
  const before = await route("3/1");
  expect(before).toHaveLength(1);
  expect(await agent.stop()).toBe(0);
  expect(await route("3/1")).toEqual([]);
  expect(await history("3/1", 2)).toEqual([`register: ${before[0]!.replace("up", "draining")}`, "deregister: "]);
  expect(await route("1/1")).toEqual([]);
  await agent.start();
  await eventually(async () => expect(await route("3/1")).toEqual(before));
});

test("what the agent's token may not register is refused with the dns service's words, and not kept", async () => {
  const created = await lars.admin("POST", "/v1/tokens", { name: "web-1", role: "registrar", modules: ["4.*"] });
  expect(created.status).toBe(201);
  const { token } = (await created.json()) as { token: string };
  const first = await freePorts(6);
  const limited = new LarsProcess(
    "agent",
    { tcp: first, http: first + 1, udp: first + 2, resolver: first + 5 },
    {
      ...agent.env,
      LARS_AGENT_TOKEN: token,
      LARS_AGENT__REGISTRATIONS__ON_STOP: "keep",
      LARS_AGENT__HTTP__PORT: String(first + 1),
      LARS_AGENT__UDP__PORT: String(first + 2),
      LARS_AGENT__RESOLVER__PORT: String(first + 5),
    },
  );
  await limited.start();
  try {
    const service = await makeService();
    const body = { cmdid: 1, ip: "127.0.0.1", port: service.port, ttlSeconds: TTL_SECONDS, check: { tcp: true } };
    expect((await at(limited, "PUT", "/v1/registrations/e", { ...body, modid: 4 }))[0]).toBe(200);
    const [status, problem] = await at(limited, "PUT", "/v1/registrations/f", { ...body, modid: 5 });
    expect([status, problem.detail]).toEqual([403, expect.stringContaining("5.1")]);
    expect((await at(limited, "GET", "/v1/registrations"))[1].registrations.map(({ id }: Json) => id)).toEqual(["e"]);
    // on_stop = "keep": its end is not the services' end, and their leases go on.
    expect(await limited.stop()).toBe(0);
    expect(await route("4/1")).toEqual([`${service.port} up`]);
    expect(limited.output).not.toContain(token);
  } finally {
    await limited.kill();
  }
});

test("examples/python/register.py registers itself, and on SIGTERM ends only when nobody is sent there any more", async () => {
  const command = ["python3", "-u", "examples/python/register.py", "--module", "7.1", "--agent", agent.url.slice(7)];
  if (Bun.which("python3") === null) throw new Error("python3 is not installed: the examples need it");
  const child = Bun.spawn(command, { cwd: PROJECT_ROOT, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const output = new Response(child.stdout).text();
  try {
    const port = await eventually(() => pick("7/1"));
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("ok\n");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expect(await route("7/1")).toEqual([]);
    expect(await history("7/1", 2)).toEqual([`register: ${port} draining`, "deregister: "]);
    expect(await output).toBe(`serving on 127.0.0.1:${port}; registered\nleft: no caller is sent here any more\n`);
  } finally {
    child.kill("SIGKILL");
  }
});

test("with the dns service away a registration is kept and made when it answers; unknown fields are errors", async () => {
  const service = await makeService();
  await lars.dns[0]!.stop();
  const [status, answer] = await register("g", "6/1", service);
  expect(status).toBe(202);
  expect(answer).toMatchObject({
    status: expect.stringContaining("it will be registered when a dns service answers"),
    registration: { id: "g", state: "waiting" },
  });
  await lars.dns[0]!.start();
  await eventually(async () => expect(await route("6/1")).toEqual([`${service.port} up`]));
  expect((await register("h", "6/1", service, { ...CHECK, colour: "red" }))[0]).toBe(422);
  expect((await register("h", "6/1", service, { rise: 2 }))[1].errors).toEqual([
    { path: "rise", message: "belongs to a check, and there is no check" },
  ]);
});
