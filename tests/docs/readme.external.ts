// The README is run: what it tells a newcomer to type is typed, against `bun run up` on other ports. A line that stopped
// working is a failure here. Needs curl, Python and Java, as a reader of those lines would.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { freePorts, PROJECT_ROOT, temporaryFolder } from "../support/lars-processes.ts";
import { blocks } from "./readme-blocks.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

/** What the system is told in the environment; without what the shell around the test may have set. */
function environment(extra: Readonly<Record<string, string>>): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("LARS_"));
  return { ...Object.fromEntries(inherited), PYTHONDONTWRITEBYTECODE: "1", ...extra };
}

async function run(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
  stdin = "",
): Promise<string> {
  if (Bun.which(command[0]!) === null)
    throw new Error(`${command[0]} is not installed, and the README's lines need it`);
  const child = Bun.spawn([...command], {
    cwd: PROJECT_ROOT,
    env: environment(env),
    stdin: Buffer.from(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const texts = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  if ((await child.exited) !== 0)
    throw new Error(`${command.join(" ")}\n${stdin}\nended with ${child.exitCode}:\n${texts.join("\n")}`);
  return texts[0];
}

describe("what the README says to type", () => {
  let up: Bun.Subprocess<"ignore", "pipe", "inherit">;
  let output = "";
  /** Default port to the one that is used here. */
  const ports = new Map<number, number>();
  const folder = temporaryFolder("readme");

  function moved(text: string): string {
    return text.replace(/\b(77(78|79|80|81)|888[08]|8653)\b/g, (port) => String(ports.get(Number(port))));
  }

  function adminToken(): string {
    const token = /^ {2}(lars_\S+)$/m.exec(output)?.[1];
    if (token === undefined) throw new Error(`up printed no admin token:\n${output}`);
    return token;
  }

  beforeAll(async () => {
    const first = await freePorts(9);
    [7778, 7780, 7779, 7781, 8880, 8653, 8888].forEach((port, i) => {
      ports.set(port, first + i);
    });
    const at = (port: number) => String(ports.get(port));
    up = Bun.spawn([process.execPath, "run", "up"], {
      cwd: PROJECT_ROOT,
      env: environment({
        LARS_DATA_DIR: folder,
        LARS_DNS__TCP__PORT: at(7778),
        LARS_DNS__HTTP__PORT: at(7780),
        LARS_REPORT__TCP__PORT: at(7779),
        LARS_REPORT__HTTP__PORT: at(7781),
        LARS_AGENT__HTTP__PORT: at(8880),
        LARS_AGENT__RESOLVER__PORT: at(8653),
        LARS_AGENT__UDP__PORT: at(8888),
        LARS_AGENT__DNSSERVER__ADDRESSES: `127.0.0.1:${at(7778)}`,
        LARS_AGENT__REPORTER__ADDRESSES: `127.0.0.1:${at(7779)}`,
      }),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    process.on("exit", () => up.kill("SIGTERM"));
    void (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of up.stdout) output += decoder.decode(chunk, { stream: true });
    })();
    await eventually(() => expect(output).toContain("Ctrl-C stops everything"), { timeoutMs: 20_000 });
  }, 30_000);

  afterAll(async () => {
    up.kill("SIGINT");
    expect(await up.exited).toBe(0);
    rmSync(folder, { recursive: true, force: true });
  });

  test("its first three curl lines are those that `bun run up` prints", () => {
    const printed = [...output.matchAll(/^ {2}(curl .*)$/gm)].map((match) => match[1]!);
    expect(printed).toHaveLength(3);
    expect(blocks("sh").flatMap((block) => moved(block).split("\n"))).toEqual(expect.arrayContaining(printed));
    const [first] = blocks("sh").filter((block) => block.includes("curl"));
    expect(moved(first!).trim().split("\n")).toEqual(printed);
  });

  test("its curl lines answer, in the order of the page", async () => {
    const token = adminToken();
    const lines = blocks("sh").flatMap((block) =>
      moved(block)
        .split("\n")
        .filter((line) => line.startsWith("curl")),
    );
    expect(lines.length).toBeGreaterThanOrEqual(8);
    const answers: unknown[] = [];
    for (const line of lines) {
      const text = await run(["bash", "-c", line.replace(/^curl/, "curl -sS --fail-with-body")], { TOKEN: token });
      answers.push(text === "" ? undefined : JSON.parse(text));
    }
    const changes = answers.at(-1) as { changes: { action: string }[] };
    expect(changes.changes.map(({ action }) => action)).toEqual(["import", "put-route", "set-host"]);
  }, 30_000);

  test("its command lines change and show what the page says", async () => {
    const [block] = blocks("sh").filter((text) => text.includes("bun run lars"));
    const commands = block!.replaceAll("npx bun run", `${process.execPath} run --silent`);
    const url = (port: number) => `http://127.0.0.1:${ports.get(port)}`;
    const env = { TOKEN: adminToken(), LARS_DNS_URL: url(7780), LARS_AGENT_URL: url(8880) };
    const printed = await run(["bash", "-c", `set -e; ${commands}`], env);
    for (const host of ["10.0.0.2", '"changed": true', "9001"]) expect(printed).toContain(host);
    const route = (await (await fetch(`${url(7780)}/v1/routes/7/3`)).json()) as { hosts: { ip: string }[] };
    expect(route).toMatchObject({ policy: "consistent_hash", policyParameters: { bounded_load: 1.5 } });
    expect(route.hosts.map(({ ip }) => ip)).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  }, 30_000);

  test("its Python callers call a host and report it", async () => {
    const snippets = blocks("python");
    expect(snippets).toHaveLength(2);
    for (const snippet of snippets) {
      expect(await run(["python3", "-"], {}, moved(snippet))).toMatch(/^called 127\.0\.0\.1:900[123]\n$/);
    }
  });

  test("its Java caller, put into a main method, calls a host and reports it", async () => {
    const [snippet, ...more] = blocks("java");
    expect(more).toEqual([]);
    const main = join(folder, "Main.java");
    await Bun.write(
      main,
      `class Main { public static void main(String[] a) throws Exception {\n${moved(snippet!)}} }\n`,
    );
    await run(["javac", "-d", folder, "examples/java/LarsUdp.java", main]);
    expect(await run(["java", "-cp", folder, "Main"])).toMatch(/^called 127\.0\.0\.1:900[123]\n$/);
  }, 30_000);

  test("the example programs it starts count what they do", async () => {
    const lines = blocks("sh").flatMap((block) => block.split("\n").filter((line) => /^(python3|java) /.test(line)));
    expect(lines).toHaveLength(2);
    const agent = `--agent 127.0.0.1:${ports.get(8888)}`;
    const outputs: string[] = [];
    for (const line of lines) outputs.push(await run(["bash", "-c", `${line} ${agent}`]));
    for (const output of outputs) {
      expect(output).toMatch(/^1000 picks in [\s\S]*127\.0\.0\.1:900[23]: \d+ ok, 0 failed/);
      expect(output).not.toMatch(/127\.0\.0\.1:9001: [1-9]\d* ok/);
    }
    // The first finds out that 9001 fails; the agent may keep it from the second.
    expect(outputs[0]).toMatch(/127\.0\.0\.1:9001: 0 ok, \d+ failed/);
  }, 30_000);
});
