// Starting something a process cannot do without: a port, a file. When that fails there is nothing to clean up and no
// stack to read; the operator needs one line.

/** Returns what `start` made, or prints `<process>: <why>` and ends the process with 1. */
export async function startOrExit<T>(name: string, start: () => T | Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}
