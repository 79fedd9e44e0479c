// Sockets answer when they answer: ask again until it is so, up to a deadline, instead of sleeping for as long as it
// usually takes.

/** Resolves when `check` returns without throwing and not false. @throws its last error when the time is up */
export async function until(check: () => unknown, deadlineMs = 5000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let failure: unknown = new Error(`not so within ${deadlineMs} ms: ${check}`);
    try {
      if (check() !== false) return;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > endMs) throw failure;
    await Bun.sleep(2);
  }
}
