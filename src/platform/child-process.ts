// A child process as something that can be supervised.
import type { Exit, Running } from "./supervise.ts";

export interface ChildOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** "inherit" (the default) shares our standard output and error. */
  readonly output?: "inherit" | "ignore";
  /** In a process group of its own: a terminal's Ctrl-C does not reach it, its parent decides when it ends. */
  readonly detached?: boolean;
}

/** Starts `command`. `stop` sends SIGTERM, `kill` SIGKILL. @throws when there is no such program */
export function spawnChild(command: readonly string[], options: ChildOptions = {}): Running & { readonly pid: number } {
  const output = options.output ?? "inherit";
  const child = Bun.spawn([...command], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...(options.env ?? process.env) },
    stdin: "ignore",
    stdout: output,
    stderr: output,
    detached: options.detached ?? false,
  });
  return {
    pid: child.pid,
    exited: child.exited.then(
      (code): Exit => ({ code: child.signalCode === null ? code : null, signal: signalName(child.signalCode) }),
    ),
    stop: () => child.kill("SIGTERM"),
    kill: () => child.kill("SIGKILL"),
  };
}

function signalName(signal: string | number | null): string | null {
  return signal === null ? null : String(signal);
}
