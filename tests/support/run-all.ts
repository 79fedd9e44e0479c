// `bun run test:all`: what a change must pass. Installs what the tests need and this machine lacks (from the
// distribution's packages, saying so), then type-checks, lints and runs every test, also those that need a server.
// Ends with one line: "N passed, N failed".
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "../..");
const PATH = `${process.env.PATH ?? ""}:/usr/sbin:/usr/local/sbin`;

interface Need {
  readonly what: string;
  /** One of these is enough; absolute ones are files. */
  readonly programs: readonly string[];
  readonly debianPackage: string;
}

const NEEDS: readonly Need[] = [
  {
    what: "a MariaDB server (the original's database)",
    programs: ["mariadbd", "mysqld"],
    debianPackage: "mariadb-server",
  },
  {
    what: "Galera (the database as a cluster)",
    programs: ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"],
    debianPackage: "galera-4",
  },
  { what: "rsync (a Galera node takes its state by it)", programs: ["rsync"], debianPackage: "rsync" },
  { what: "curl (the README's lines are run)", programs: ["curl"], debianPackage: "curl" },
  {
    what: "unshare and nsenter (machines and disks of the tests' own)",
    programs: ["nsenter"],
    debianPackage: "util-linux",
  },
  { what: "ip (links that are cut)", programs: ["ip"], debianPackage: "iproute2" },
  { what: "faketime (clocks that are set)", programs: ["faketime"], debianPackage: "faketime" },
  { what: "Python 3 (a caller without a native client)", programs: ["python3"], debianPackage: "python3" },
  { what: "Java 17 (a caller without a native client)", programs: ["javac"], debianPackage: "openjdk-17-jdk-headless" },
];

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function stop(text: string): never {
  process.stderr.write(`test:all: ${text}\n`);
  process.exit(1);
}

async function run(command: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const child = Bun.spawn([...command], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit"],
  });
  return await child.exited;
}

function isThere(program: string): boolean {
  return program.startsWith("/") ? existsSync(program) : Bun.which(program, { PATH }) !== null;
}

async function installNeeds(): Promise<void> {
  const missing = NEEDS.filter(({ programs }) => !programs.some(isThere));
  if (missing.length === 0) return;
  const packages = missing.map(({ debianPackage }) => debianPackage);
  const wanted = missing.map(({ what, debianPackage }) => `${what}: package ${debianPackage}`).join("; ");
  if (process.getuid?.() !== 0 || Bun.which("apt-get") === null) {
    stop(
      `the tests need ${wanted}. It cannot be installed from here (not root, or no apt-get): install it and run this again.`,
    );
  }
  say(`The tests need ${wanted}. Installing from the distribution's packages …`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const update = await run(["apt-get", "update", "-qq"], env);
  const install = await run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...packages], env);
  if (install !== 0)
    stop(`apt-get install ${packages.join(" ")} ended with ${install} (apt-get update: ${update}); install it by hand`);
}

interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Runs bun test, passing its output on, and reads its summary. */
async function runTests(name: string, files: readonly string[]): Promise<Outcome> {
  say(`\n== ${name}`);
  const child = Bun.spawn([process.execPath, "test", "--timeout", "60000", ...files], {
    cwd: ROOT,
    env: { ...process.env, NO_COLOR: "1", LARS_TEST_ALL: "true" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      const part = decoder.decode(chunk, { stream: true });
      text += part;
      process.stdout.write(part);
    }
  };
  await Promise.all([collect(child.stdout), collect(child.stderr)]);
  const code = await child.exited;
  const count = (word: string): number => Number(new RegExp(`^\\s*(\\d+) ${word}$`, "m").exec(text)?.[1] ?? 0);
  const outcome = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
  // A run that ended badly without naming a failed test (a crash, an error between tests) is a failure all the same.
  return code !== 0 && outcome.failed === 0 ? { ...outcome, failed: 1 } : outcome;
}

function externalTests(): string[] {
  return readdirSync(join(ROOT, "tests"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".external.ts"))
    .sort()
    .map((file) => `./tests/${file}`);
}

const startedAt = performance.now();
await installNeeds();
const checks: readonly (readonly [string, readonly string[]])[] = [
  ["types", [process.execPath, "check"]],
  ["style", [process.execPath, "x", "biome", "ci", "--colors=off", "."]],
  ["unused code and dependencies", [process.execPath, "x", "--bun", "knip"]],
];
let failedChecks = 0;
for (const [name, command] of checks) {
  say(`\n== ${name}`);
  if ((await run(command, { NO_COLOR: "1" })) !== 0) {
    say(`FAILED: ${command.slice(1).join(" ")}`);
    failedChecks++;
  }
}
const plain = await runTests("tests that need no server", []);
const external = await runTests("tests that need a server", externalTests());

const skipped = plain.skipped + external.skipped;
const skipsFail = process.env.CI === "true" ? skipped : 0;
const passed = plain.passed + external.passed + checks.length - failedChecks;
const failed = plain.failed + external.failed + failedChecks + skipsFail;
say(`\n${Math.round((performance.now() - startedAt) / 1000)} s`);
if (skipsFail > 0) say(`${skipped} skipped: under CI=true a skip is a failure`);
say(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
