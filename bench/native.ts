// The load generators are C programs (native/*.c), because a generator that is slower than what it measures measures
// itself. They are compiled when they are first needed, into a folder named after their sources.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOURCES = join(import.meta.dir, "native");

export type NativeProgram = "udp-floor" | "udp-load" | "http-load" | "tcp-load" | "report-load";
export type NativeResult = Readonly<Record<string, number>>;
export type NativeOptions = Readonly<Record<string, number | string>>;

function compiled(program: NativeProgram): string {
  const hash = createHash("sha256");
  for (const file of readdirSync(SOURCES).sort()) hash.update(readFileSync(join(SOURCES, file)));
  const folder = join(tmpdir(), `lars-bench-${hash.digest("hex").slice(0, 16)}`);
  const binary = join(folder, program);
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const beside = `${binary}.${process.pid}`;
  const { exitCode, stderr } = Bun.spawnSync(["gcc", "-O2", "-o", beside, join(SOURCES, `${program}.c`), "-lpthread"]);
  if (exitCode !== 0) throw new Error(`gcc did not compile ${program}.c; install gcc: ${stderr.toString()}`);
  renameSync(beside, binary);
  return binary;
}

function argumentsOf(options: NativeOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/** Runs a program to its end and reads its last line. */
export async function runNative(program: NativeProgram, options: NativeOptions): Promise<NativeResult> {
  const child = Bun.spawn([compiled(program), ...argumentsOf(options)], { stdout: "pipe", stderr: "pipe" });
  const [output, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${errors.trim()}`);
  return JSON.parse(output.trim().split("\n").at(-1)!) as NativeResult;
}

/** A program that goes on: told by lines, answers by lines. */
export class NativeProcess {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncGenerator<NativeResult>;

  constructor(program: NativeProgram, options: NativeOptions) {
    this.#child = Bun.spawn([compiled(program), ...argumentsOf(options)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#lines = linesOf(this.#child.stdout);
  }

  get pid(): number {
    return this.#child.pid;
  }

  async line(): Promise<NativeResult> {
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the load generator ended with ${await this.#child.exited}`);
    return value;
  }

  tell(text: string): void {
    this.#child.stdin.write(`${text}\n`);
    this.#child.stdin.flush();
  }

  async end(): Promise<void> {
    this.#child.kill();
    await this.#child.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<NativeResult> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield JSON.parse(rest.slice(0, end)) as NativeResult;
      rest = rest.slice(end + 1);
    }
  }
}
