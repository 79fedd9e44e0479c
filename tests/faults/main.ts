// `bun run faults [--seconds N] [--only NAME]`: every fault at full length, and its figures into docs/FAULTS.md, where each
// table stands between two comments that name it. A test that fails leaves its table as it was.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { PROJECT_ROOT, temporaryFolder } from "../support/lars-processes.ts";

const DOCUMENT = join(PROJECT_ROOT, "docs/FAULTS.md");
const TEST_TIMEOUT_MS = 900_000;

type Row = Readonly<Record<string, string | number>>;

const names = readdirSync(import.meta.dir)
  .filter((file) => file.endsWith(".external.ts"))
  .map((file) => basename(file, ".external.ts"))
  .sort();

function stop(text: string): never {
  process.stderr.write(`faults: ${text}\n`);
  process.exit(1);
}

function readArguments(): { seconds: number; only: readonly string[] } {
  try {
    const { values } = parseArgs({ options: { seconds: { type: "string" }, only: { type: "string" } } });
    const seconds = Number(values.seconds ?? "20");
    if (!(seconds > 0 && seconds <= 3600)) stop(`--seconds is "${values.seconds}"; expected 1 to 3600`);
    if (values.only !== undefined && !names.includes(values.only))
      stop(`--only is "${values.only}"; expected one of ${names.join(", ")}`);
    return { seconds, only: values.only === undefined ? names : [values.only] };
  } catch (error) {
    return stop(`${error instanceof Error ? error.message : error}; expected [--seconds N] [--only NAME]`);
  }
}

function output(...command: string[]): string {
  return Bun.spawnSync(command, { cwd: PROJECT_ROOT }).stdout.toString().trim();
}

function markdown(rows: readonly Row[]): string {
  const columns = Object.keys(rows[0]!);
  const line = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;
  return [
    line(columns),
    line(columns.map((column) => (typeof rows[0]![column] === "number" ? "---:" : "---"))),
    ...rows.map((row) => line(columns.map((column) => row[column] ?? ""))),
  ].join("\n");
}

function putTable(name: string, text: string): void {
  const document = readFileSync(DOCUMENT, "utf8");
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  if (from < 0 || to < from) stop(`docs/FAULTS.md has no place for "${name}": write ${begin} and ${end} into it`);
  writeFileSync(DOCUMENT, `${document.slice(0, from + begin.length)}\n${text}\n${document.slice(to)}`);
}

const { seconds, only } = readArguments();
const folder = temporaryFolder("fault-rows");
const commit = `${output("git", "rev-parse", "--short", "HEAD")}${output("git", "status", "--porcelain", "--", "src") === "" ? "" : " and changes"}`;
let failures = 0;
for (const name of only) {
  const file = join(folder, name);
  const child = Bun.spawn(
    [process.execPath, "test", "--timeout", String(TEST_TIMEOUT_MS), `./tests/faults/${name}.external.ts`],
    {
      cwd: PROJECT_ROOT,
      env: { ...process.env, LARS_FAULT_SECONDS: String(seconds), LARS_FAULT_ROWS: file },
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  if ((await child.exited) !== 0) {
    failures++;
    continue;
  }
  const rows = (await Bun.file(file).exists())
    ? readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Row & { table: string })
    : [];
  if (rows.length === 0) stop(`${name} left no row: was it skipped?`);
  const date = new Date().toISOString().slice(0, 10);
  const machine = `${process.platform}, ${cpus().length} cores`;
  const how = `\`bun run faults --seconds ${seconds} --only ${name}\`, ${date}, ${machine}, commit ${commit}:`;
  const tables = [...new Set(rows.map(({ table }) => table))].map((table) =>
    markdown(rows.filter((row) => row.table === table).map(({ table: _, ...row }) => row)),
  );
  putTable(name, [how, ...tables].join("\n\n").concat("\n"));
}
rmSync(folder, { recursive: true, force: true });
process.exit(failures === 0 ? 0 : 1);
