// Waiting for something that happens outside of virtual time: ask again and again, up to a deadline, instead of sleeping
// for as long as it usually takes.

/** Resolves when `check` returns without throwing or returns something other than false. @throws its last error */
export async function eventually(check: () => unknown, deadlineMs = 5000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    let failure: unknown = new Error(`not so within ${deadlineMs} ms`);
    try {
      if ((await check()) !== false) return;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > endMs) throw failure;
    await Bun.sleep(5);
  }
}
