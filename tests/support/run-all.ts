// `bun run test:all`: what a change must pass. Installs what the tests need and this machine lacks (from the
// distribution's packages, saying so), then type-checks, lints and runs every test, also those that need a server.
// Ends with one line: "N passed, N failed".
//
// Most files start processes and wait for them, so two run at a time, each a process of its own that keeps its output to
// itself until it ended. More would only wait for the processors of a machine with two.
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

interface Job {
  readonly name: string;
  /** Its arguments to bun. */
  readonly command: readonly string[];
  /** Counted by its summary; a check that is none counts as one test. */
  readonly isTest: boolean;
}

const LANES = 2;

/** Begun first, or at the end one lane would wait for them. A name that is gone is passed over. */
const LONGEST = [
  "store/galera",
  "faults/galera",
  "store/mariadb",
  "faults/processes",
  "e2e/galera",
  "e2e/leases",
  "faults/links",
  "faults/disks-and-clocks",
].map((name) => `./tests/${name}.external.ts`);

function externalTests(): string[] {
  const all = readdirSync(join(ROOT, "tests"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".external.ts"))
    .sort()
    .map((file) => `./tests/${file}`);
  return [...LONGEST.filter((file) => all.includes(file)), ...all.filter((file) => !LONGEST.includes(file))];
}

function jobs(): Job[] {
  const test = (name: string, ...args: string[]): Job => ({
    name,
    command: ["test", "--timeout", "60000", ...args],
    isTest: true,
  });
  return [
    { name: "types", command: ["check"], isTest: false },
    { name: "style", command: ["x", "biome", "ci", "--colors=off", "."], isTest: false },
    { name: "unused code and dependencies", command: ["x", "--bun", "knip"], isTest: false },
    ...Array.from({ length: LANES }, (_, i) =>
      test(`tests that need no server, part ${i + 1} of ${LANES}`, `--shard=${i + 1}/${LANES}`),
    ),
    ...externalTests().map((file) => test(file.slice(2), file)),
  ];
}

/** Runs it to its end and prints what it said. */
async function runJob({ name, command, isTest }: Job, lane: number): Promise<Outcome> {
  const startedMs = performance.now();
  const child = Bun.spawn([process.execPath, ...command], {
    cwd: ROOT,
    env: { ...process.env, NO_COLOR: "1", LARS_TEST_ALL: "true", LARS_TEST_LANE: `${lane}/${LANES}` },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  const collect = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  await Promise.all([collect(child.stdout), collect(child.stderr)]);
  const code = await child.exited;
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  const busy = Math.round(Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6);
  say(`\n== ${name}: ${seconds} s, of a processor ${busy} s\n${text.trimEnd()}`);
  if (code !== 0) say(`FAILED: bun ${command.join(" ")}`);
  if (!isTest) return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
  const count = (word: string): number => Number(new RegExp(`^\\s*(\\d+) ${word}$`, "m").exec(text)?.[1] ?? 0);
  const outcome = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") };
  // A run that ended badly without naming a failed test (a crash, an error between tests) is a failure all the same, and
  // so is one without any test.
  const isBad = code !== 0 || outcome.passed + outcome.failed + outcome.skipped === 0;
  return isBad && outcome.failed === 0 ? { ...outcome, failed: 1 } : outcome;
}

const startedAt = performance.now();
await installNeeds();
const left = jobs().reverse();
const outcomes: Outcome[] = [];
const lanes = Array.from({ length: LANES }, async (_, lane) => {
  for (let job = left.pop(); job !== undefined; job = left.pop()) outcomes.push(await runJob(job, lane));
});
await Promise.all(lanes);

const sum = (what: keyof Outcome): number => outcomes.reduce((total, outcome) => total + outcome[what], 0);
const skipped = sum("skipped");
const skipsFail = process.env.CI === "true" ? skipped : 0;
const failed = sum("failed") + skipsFail;
say(`\n${Math.round((performance.now() - startedAt) / 1000)} s`);
if (skipsFail > 0) say(`${skipped} skipped: under CI=true a skip is a failure`);
say(`${sum("passed")} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
