// Access with real processes: guesses over real sockets are slowed, a token means the same at every process, and no
// secret is in anything that any of them says.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { type Lars, type LarsProcess, makeLars, PROJECT_ROOT, sumMetric } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(60_000);

const CLOSED = {
  LARS_DNS__AUTH__ANONYMOUS_READ: "false",
  LARS_REPORT__AUTH__ANONYMOUS_READ: "false",
  LARS_REPORT__AUTH__ANONYMOUS_REPORT: "false",
};

interface Made {
  readonly id: string;
  readonly token: string;
}

async function lars(line: string, env: Record<string, string>): Promise<{ code: number; said: string }> {
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/cli/main.ts"), ...line.split(" ")], {
    env: { PATH: process.env.PATH ?? "", NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, said: said.join("") };
}

/** A GET from one of this machine's own addresses. */
function getFrom(localAddress: string, service: LarsProcess, path: string, token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(service.url);
    const headers = { authorization: `Bearer ${token}` };
    const sent = request({ host: hostname, port, path, localAddress, headers, agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode!));
    });
    sent.on("error", reject);
    sent.end();
  });
}

describe("dns and report on one database", () => {
  let system: Lars;
  let dns: LarsProcess;
  let report: LarsProcess;

  beforeAll(async () => {
    system = await makeLars({ agent: 0, env: CLOSED });
    [dns, report] = [system.dns[0]!, system.report[0]!];
    await Promise.all([dns.start(), report.start()]);
  });
  afterAll(async () => {
    await system.stop();
  });

  async function create(name: string, role: string): Promise<Made> {
    const response = await system.admin("POST", "/v1/tokens", { name, role });
    expect(response.status).toBe(201);
    return (await response.json()) as Made;
  }

  test("a token made at dns counts at report at once; revoked, it counts at dns no more and at report for 2 s at most", async () => {
    const status = (service: LarsProcess, path: string) => getFrom("127.0.0.7", service, path, token);
    const { id, token } = await create("somebody", "reader");
    expect([await status(report, "/v1/status"), await status(dns, "/v1/routes")]).toEqual([200, 200]);
    const revokedMs = performance.now();
    expect((await system.admin("DELETE", `/v1/tokens/${id}`)).status).toBe(204);
    expect(await status(dns, "/v1/routes")).toBe(401);
    await eventually(async () => expect(await status(report, "/v1/status")).toBe(401), { timeoutMs: 5000 });
    // On a machine that is busy with other tests.
    expect(performance.now() - revokedMs).toBeLessThan(4000);
  });

  test("of 200 guesses, 100 at once and then one after the other, a dozen are looked at; who had success goes on, others are not held up", async () => {
    const { token } = await create("a neighbour", "reader");
    expect(await getFrom("127.0.0.1", dns, "/v1/routes", token)).toBe(200);
    const before = await dns.metrics();
    const startedMs = performance.now();
    const many = Array.from({ length: 100 }, (_, i) => getFrom("127.0.0.1", dns, "/v1/routes", `guess-${i}`));
    const statuses = await Promise.all(many);
    for (let i = 0; i < 100; i++) statuses.push(await getFrom("127.0.0.1", dns, "/v1/routes", `more-${i}`));
    // Ten, and one for every six seconds it took.
    const allowed = 10 + Math.ceil((performance.now() - startedMs) / 6000);
    const looked = statuses.filter((status) => status === 401).length;
    expect(looked).toBeGreaterThanOrEqual(10);
    expect(looked).toBeLessThanOrEqual(allowed);
    expect(statuses.filter((status) => status === 429)).toHaveLength(200 - looked);
    for (let i = 0; i < 10; i++) expect(await getFrom("127.0.0.1", dns, "/v1/routes", token)).toBe(200);
    expect(await getFrom("127.0.0.8", dns, "/v1/routes", token)).toBe(200);
    const after = await dns.metrics();
    const moved = (event: string) => {
      const name = `lars_dns_auth_events_total{event="${event}"}`;
      return (after.get(name) ?? 0) - (before.get(name) ?? 0);
    };
    expect([moved("refused"), moved("limited"), moved("ok")]).toEqual([looked, 200 - looked, 11]);
    expect(sumMetric(await report.metrics(), "lars_report_auth_events_total")).toBeGreaterThan(0);
  });

  test("X-Forwarded-For does not make another caller of one", async () => {
    const statuses = await Promise.all(
      Array.from({ length: 15 }, async (_, i) => {
        const headers = { authorization: `Bearer guess-${i}`, "x-forwarded-for": `10.0.0.${i}` };
        return (await fetch(`${report.url}/v1/status`, { headers })).status;
      }),
    );
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(4);
  });

  test("the command line makes, lists and revokes tokens, and says when it was last used", async () => {
    const env = { LARS_DNS_URL: dns.url, LARS_ADMIN_TOKEN: "test-admin-token-0123456789" };
    const made = await lars("token create warehouse --role registrar --modules 1.1,2.*", env);
    expect(made.code).toBe(0);
    const { id, token } = JSON.parse(made.said) as Made;
    expect(await getFrom("127.0.0.6", dns, "/v1/routes", token)).toBe(200);
    const listed = await lars("token list", env);
    const { tokens } = JSON.parse(listed.said) as { tokens: { id: string }[] };
    expect(tokens.find((one) => one.id === id)).toEqual({
      id,
      name: "warehouse",
      role: "registrar",
      modules: ["1.1", "2.*"],
      createdAt: expect.any(String),
      lastUsedAt: expect.any(String),
    } as never);
    expect(listed.said).not.toContain(token);
    expect(await lars(`token revoke ${id}`, env)).toEqual({ code: 0, said: expect.stringContaining(id) });
    const again = await lars(`token revoke ${id}`, env);
    expect([again.code, again.said]).toEqual([1, expect.stringContaining("404")]);
    const wrong = await lars("token create x --role god", env);
    expect([wrong.code, wrong.said]).toEqual([1, expect.stringContaining("reader, registrar, editor, admin")]);
  });

  test("the last use of a token is in the database when its process has ended", async () => {
    const { id, token } = await create("late", "reader");
    expect(await getFrom("127.0.0.5", report, "/v1/status", token)).toBe(200);
    expect(await report.stop()).toBe(0);
    const answer = await system.admin("GET", "/v1/tokens");
    const { tokens } = (await answer.json()) as { tokens: { id: string; lastUsedAt?: string }[] };
    expect(tokens.find((one) => one.id === id)?.lastUsedAt).toBeString();
  });
});

describe("secrets", () => {
  const ADMIN = "S3CRET-admin-0123456789abcdef";
  const WRONG = "S3CRET-shown-by-a-caller";
  const PASSWORD = "S3CRET-database";
  const NOWHERE = `mysql://lars:${PASSWORD}@127.0.0.1:1/lars`;
  const MALFORMED = `mysql://lars:${PASSWORD} @127.0.0.1:1/lars`;

  async function provoke(service: LarsProcess, token: string): Promise<string> {
    const said: string[] = [];
    const send = async (method: string, path: string, shown: string, body?: string) => {
      const response = await fetch(`${service.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${shown}`, "content-type": "application/json", "x-request-id": "r1" },
        ...(body === undefined ? {} : { body }),
      });
      said.push(JSON.stringify([...response.headers]), await response.text());
    };
    for (const shown of [ADMIN, WRONG, token]) {
      for (const path of ["/v1/routes", "/v1/tokens", "/v1/changes", "/v1/status", "/v1/nothing", "/metrics"]) {
        await send("GET", path, shown);
      }
      await send("GET", "/openapi.json", shown);
      for (const path of ["/v1/tokens", "/v1/import", "/v1/reports", "/v1/routes/1/1/hosts"]) {
        for (const body of ["{", "{}", '{"name":"n","role":"reader"}', "[]"]) await send("POST", path, shown, body);
      }
      await send("PUT", "/v1/routes/1/1", shown, '{"hosts":[]}');
      await send("DELETE", "/v1/tokens/nobody", shown);
    }
    for (let i = 0; i < 15; i++) await send("GET", "/v1/tokens", `${WRONG}-${i}`);
    const { hostname, port } = new URL(service.url);
    said.push(
      await raw(
        hostname,
        Number(port),
        `GET /v1/tokens HTTP/1.1\r\nAuthorization: Bearer ${WRONG}\r\nBad Header\r\n\r\n`,
      ),
    );
    return said.join("\n");
  }

  function raw(host: string, port: number, bytes: string): Promise<string> {
    return new Promise((resolve) => {
      const socket = connect(port, host, () => socket.end(bytes));
      let answer = "";
      socket.setEncoding("utf8");
      socket.on("data", (chunk: string) => {
        answer += chunk;
      });
      socket.on("close", () => resolve(answer));
      socket.on("error", () => resolve(answer));
    });
  }

  test("that are configured, made or shown by callers are in no log, answer, metric or document, nor in what the command line says", async () => {
    const env = { ...CLOSED, LARS_ADMIN_TOKEN: ADMIN, LARS_DNS__LOG__LEVEL: "debug", LARS_REPORT__LOG__LEVEL: "debug" };
    const working = await makeLars({ agent: 0, env });
    const cut = await makeLars({ agent: 0, env, databaseUrl: NOWHERE });
    const malformed = await makeLars({ agent: 0, report: 0, env, databaseUrl: MALFORMED });
    const badToken = await makeLars({ agent: 0, report: 0, env: { ...env, LARS_ADMIN_TOKEN: `${ADMIN} ${WRONG}` } });
    const all = [working, cut, malformed, badToken].flatMap((system) => system.all);
    for (const service of working.all) service.launch();
    await Promise.all(working.all.map((service) => service.ready()));
    for (const service of all) if (!working.all.includes(service)) service.launch();
    const authorization = { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" };
    const body = JSON.stringify({ name: "made here", role: "editor" });
    const made = await fetch(`${working.dns[0]!.url}/v1/tokens`, { method: "POST", headers: authorization, body });
    const { token } = (await made.json()) as Made;
    const provoked = async () => {
      for (const service of cut.all) expect((await fetch(`${service.url}/readyz`)).status).toBe(503);
      for (const service of [...malformed.all, ...badToken.all]) expect(service.isRunning).toBe(false);
    };
    await eventually(provoked, { timeoutMs: 15_000 });

    const said = await Promise.all([...working.all, ...cut.all].map((service) => provoke(service, token)));
    const cli = { LARS_ADMIN_TOKEN: ADMIN, LARS_DNS_URL: cut.dns[0]!.url, LARS_REPORT_URL: cut.report[0]!.url };
    const commands = [
      "token list",
      `routes --token ${WRONG}`,
      "host add 1.1 10.0.0.1:80",
      `migrate ${NOWHERE}`,
      "status",
    ];
    for (const each of await Promise.all(commands.map((line) => lars(line, cli)))) {
      expect(each.code).toBe(1);
      said.push(each.said);
    }
    await Promise.all([working.stop(), cut.stop()]);
    said.push(...all.map((service) => service.output));

    // What is searched is what was meant to be provoked.
    const everything = said.join("\n");
    for (const part of [
      "an access token was made",
      "made here",
      "an unknown access token was refused",
      "has to wait",
      '"status":429',
      '"status":503',
      "database.url",
      "auth.admin_token",
      "lars_dns_auth_events_total",
      '"openapi"',
      "lars: ",
    ]) {
      expect(everything).toContain(part);
    }
    const hashOf = (secret: string) => new Bun.CryptoHasher("sha256").update(secret).digest("hex");
    for (const secret of ["S3CRET", token, hashOf(token), hashOf(ADMIN)]) {
      const at = everything.indexOf(secret);
      expect(at < 0 ? "" : everything.slice(Math.max(0, at - 300), at + 60)).toBe("");
    }
  });
});
