// `bun run up` as a newcomer runs it: one command, lines to try that work as printed, Ctrl-C.
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { freePorts, PROJECT_ROOT, parseMetrics, temporaryFolder } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

interface Up {
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  output(): string;
}

const running: Up[] = [];

afterAll(async () => {
  for (const { child } of running) {
    child.kill("SIGTERM");
    await child.exited;
  }
});

async function ports(): Promise<Record<string, string>> {
  const first = await freePorts(9);
  const names = [
    "DNS__TCP",
    "DNS__HTTP",
    "REPORT__TCP",
    "REPORT__HTTP",
    "AGENT__HTTP",
    "AGENT__RESOLVER",
    "AGENT__UDP",
  ];
  return Object.fromEntries(names.map((name, i) => [`LARS_${name}__PORT`, String(first + i)]));
}

async function up(env: Record<string, string>, command: readonly string[] = ["run", "up"]): Promise<Up> {
  const child = Bun.spawn([process.execPath, ...command], {
    cwd: PROJECT_ROOT,
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output += decoder.decode(chunk, { stream: true });
  };
  void collect(child.stdout);
  void collect(child.stderr);
  const started = { child, output: () => output };
  running.push(started);
  await eventually(() => expect(output).toContain("Ctrl-C stops everything."), { timeoutMs: 20_000 });
  return started;
}

async function shell(line: string): Promise<string> {
  const child = Bun.spawn(["bash", "-c", line], { stdio: ["ignore", "pipe", "ignore"] });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return text;
}

test.concurrent("one command starts everything; its curl lines work as printed; the token is shown once; Ctrl-C ends all", async () => {
  const env: Record<string, string> = { ...(await ports()), LARS_DATA_DIR: temporaryFolder("up") };
  const first = await up(env);
  const token = /^ {2}(lars_\S+)$/m.exec(first.output())?.[1];
  expect(token).toBeDefined();

  const lines = first.output().match(/^ {2}curl .*$/gm)!;
  expect(lines).toHaveLength(3);
  const [list, pick, report] = await Promise.all(lines.map((line) => shell(line.replace("curl", "curl -sf"))));
  expect(JSON.parse(list!)).toMatchObject({
    routes: [
      { modid: 1, cmdid: 1, hosts: 3 },
      { modid: 1, cmdid: 2, hosts: 2 },
    ],
  });
  expect(JSON.parse(pick!)).toMatchObject({ modid: 1, cmdid: 1, ip: "127.0.0.1" });
  expect(report).toBe("");

  const dns = `http://127.0.0.1:${env.LARS_DNS__HTTP__PORT}`;
  const put = (authorization: string) =>
    fetch(`${dns}/v1/routes/2/2`, {
      method: "PUT",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ hosts: [{ ip: "10.0.0.1", port: 80 }] }),
    });
  expect((await put(`Bearer ${token}`)).status).toBe(200);
  expect((await put("Bearer lars_wrong")).status).toBe(401);

  first.child.kill("SIGINT");
  expect(await first.child.exited).toBe(0);
  await expect(fetch(`${dns}/healthz`)).rejects.toThrow();

  const again = await up(env);
  expect(again.output()).not.toContain("lars_");
  expect((await fetch(`${dns}/v1/routes/2/2`)).status).toBe(200);
  const { status } = (await (await fetch(`http://127.0.0.1:${env.LARS_REPORT__HTTP__PORT}/v1/status`)).json()) as {
    status: unknown[];
  };
  expect(status).toMatchObject([{ modid: 1, cmdid: 1, port: 9001, succ: 1, err: 0 }]);
});

test.concurrent("a child that dies is started again and counted; all end when `up` itself is killed", async () => {
  const env: Record<string, string> = {
    ...(await ports()),
    LARS_DATA_DIR: temporaryFolder("up"),
    LARS_ADMIN_TOKEN: "chosen-by-the-test",
  };
  // Not through `bun run`, a process of its own in between.
  const { child, output } = await up(env, ["src/up/main.ts"]);
  expect(output()).not.toContain("chosen-by-the-test");
  const agent = `http://127.0.0.1:${env.LARS_AGENT__HTTP__PORT}`;
  const pid = Number(/"message":"agent listens".*"pid":(\d+)/.exec(output())?.[1]);
  process.kill(pid, "SIGKILL");
  await eventually(
    async () => {
      const samples = parseMetrics(await (await fetch(`${agent}/metrics`)).text());
      expect(samples.get("lars_agent_restarts_total")).toBe(1);
      expect((await fetch(`${agent}/v1/hosts/1/1`)).status).toBe(200);
    },
    { timeoutMs: 10_000 },
  );
  child.kill("SIGKILL");
  await child.exited;
  const urls = [env.LARS_DNS__HTTP__PORT, env.LARS_REPORT__HTTP__PORT, env.LARS_AGENT__HTTP__PORT].map(
    (port) => `http://127.0.0.1:${port}/healthz`,
  );
  await eventually(async () => {
    for (const url of urls) await expect(fetch(url)).rejects.toThrow();
  });
});

test.concurrent("a wrong key or value stops it before anything starts, with one line", async () => {
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/up/main.ts")], {
    env: { PATH: process.env.PATH ?? "", LARS_AGENT__UDP__PORT: "eighty", LARS_DATA_DIR: temporaryFolder("up") },
    stdio: ["ignore", "pipe", "pipe"],
  });
  expect(await child.exited).toBe(2);
  expect(await new Response(child.stdout).text()).toBe("");
  const lines = (await new Response(child.stderr).text()).trim().split("\n");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('LARS_AGENT__UDP__PORT: udp.port is "eighty"; allowed: an integer from 1 to');
});
