import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentConfig } from "../../src/agent/config.ts";
import { dnsConfig } from "../../src/dns/config.ts";
import { readStartup } from "../../src/platform/config-file.ts";
import { databaseUrl, projectPath, projectRoot } from "../../src/platform/project-paths.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lars-config-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the command line", () => {
  test("without arguments reads conf/<process>.toml of the project, wherever it is started from", () => {
    const startup = readStartup(agentConfig, [], {});
    if (startup.kind !== "run") throw new Error("not run");
    expect(startup.loaded.file).toBe(join(projectRoot, "conf/agent.toml"));
    expect(startup.loaded.config.udp.port).toBe(8888);
  });

  test("--config FILE reads that file", () => {
    const file = join(folder, "a.toml");
    writeFileSync(file, "[udp]\nport = 4000\n");
    const startup = readStartup(agentConfig, ["--config", file], {});
    expect(startup.kind === "run" && startup.loaded.config.udp.port).toBe(4000);
  });

  test("--config with a file that is missing is refused, naming it", () => {
    const file = join(folder, "missing.toml");
    expect(readStartup(agentConfig, ["--config", file], {})).toEqual({
      kind: "refused",
      message: `${file}: cannot be read (ENOENT); name another with --config FILE`,
    });
  });

  test.each([
    [["--confg", "x"], "Unknown option '--confg'; --help lists the options"],
    [["extra"], "Unexpected argument 'extra'; --help lists the options"],
    [["--config"], "Option '--config <value>' argument missing; --help lists the options"],
  ])("%p is refused with one line", (argv, message) => {
    expect(readStartup(agentConfig, argv, {})).toEqual({ kind: "refused", message });
  });

  test("--help names the options and the environment", () => {
    const startup = readStartup(dnsConfig, ["--help"], {});
    expect(startup.kind === "print" && startup.text).toMatch(/--config FILE[\s\S]*--print-config[\s\S]*LARS_DNS__/);
  });

  test("--print-config prints what is in force, the environment included", () => {
    const startup = readStartup(dnsConfig, ["--print-config"], { LARS_DNS__TCP__PORT: "5" });
    expect(startup.kind === "print" && startup.text).toContain('[tcp]\nhost = "127.0.0.1"\nport = 5\n');
  });
});

describe("a process with a wrong configuration", () => {
  test("writes one line on standard error and exits with 2", async () => {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../support/print-port.ts"), "--config", join(folder, "none.toml")],
      {
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    expect({ out, code }).toEqual({ out: "", code: 2 });
    expect(err).toBe(`dns: ${join(folder, "none.toml")}: cannot be read (ENOENT); name another with --config FILE\n`);
  });

  test("and with a right one it runs, from another folder too", async () => {
    const child = Bun.spawn([process.execPath, join(import.meta.dir, "../support/print-port.ts")], {
      cwd: folder,
      env: { ...process.env, LARS_DNS__TCP__PORT: "4711" },
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await child.stdout.text()).toBe("4711\n");
    expect(await child.exited).toBe(0);
  });
});

describe("relative paths", () => {
  const config = (url: string, dir: string) => ({ database: { url }, data: { dir } });

  test("count from the project's folder, absolute ones stay", () => {
    expect(projectPath("data")).toBe(join(projectRoot, "data"));
    expect(projectPath("/var/lars")).toBe("/var/lars");
  });

  test("the database file lies in data.dir while its URL is the default", () => {
    expect(databaseUrl(config("sqlite:./data/lars.db", "./data"))).toBe(`sqlite:${projectRoot}/data/lars.db`);
    expect(databaseUrl(config("sqlite:./data/lars.db", "/var/lars"))).toBe("sqlite:/var/lars/lars.db");
    expect(databaseUrl(config("sqlite:other.db", "/var/lars"))).toBe(`sqlite:${projectRoot}/other.db`);
    expect(databaseUrl(config("sqlite:/x/y.db", "/var/lars"))).toBe("sqlite:/x/y.db");
    expect(databaseUrl(config("mysql://u:p@h/d", "/var/lars"))).toBe("mysql://u:p@h/d");
  });
});
