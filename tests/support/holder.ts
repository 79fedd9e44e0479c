// A process that does nothing but keep a namespace alive. It ends with this process, however that ends, because its
// standard input closes; with it (and with what was started inside) the namespace goes, so nothing is left behind: no
// name, no mount, no interface.

const COMMAND_TIMEOUT_MS = 30_000;

export interface Holder {
  readonly pid: number;
  end(): Promise<void>;
}

/**
 * Runs `script` (sh) in new namespaces and then waits. `kinds`: options of unshare(1).
 * @throws when that is not permitted here, or the script failed
 */
export async function holdNamespace(kinds: readonly string[], script = ":", ...args: string[]): Promise<Holder> {
  const child = Bun.spawn(
    ["unshare", ...kinds, "sh", "-c", `set -e; ${script}; echo ready; read -r _ || true`, "sh", ...args],
    { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
  );
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  if (value === undefined) {
    const said = (await new Response(child.stderr).text()).trim();
    throw new Error(
      `a namespace (unshare ${kinds.join(" ")}) could not be made: ${said || `exit ${await child.exited}`}`,
    );
  }
  child.unref();
  return {
    pid: child.pid,
    async end() {
      child.stdin.end();
      await child.exited;
    },
  };
}

/** Runs a command to its end. @throws with what it said, when it fails or takes longer than half a minute */
export async function runCommand(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: COMMAND_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const [code, out, err] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if (code !== 0) {
    const killed = child.signalCode === "SIGKILL" ? ` (killed, after ${COMMAND_TIMEOUT_MS} ms if by us)` : "";
    throw new Error(`${command.join(" ")} ended with ${code}${killed}: ${(err || out).trim()}`);
  }
  return out;
}
