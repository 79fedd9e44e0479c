// Waiting in tests: until something is so, not for a while.

export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

/** Repeats `attempt` until it does not throw, and returns what it returned. @throws its last error when time is up */
export async function eventually<T>(attempt: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? 4500);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() >= deadlineMs) throw error;
      await Bun.sleep(options.intervalMs ?? 20);
    }
  }
}
