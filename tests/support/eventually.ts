// Waiting in tests: until something is so, not for a while. An attempt that does not come back is given up too, some time
// after the end: else a test would stand still until its own time is up, and say nothing of where.

export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly intervalMs?: number;
}

const ATTEMPT_GRACE_MS = 20_000;

async function inTime<T>(attempt: Promise<T>, deadlineMs: number, timeoutMs: number): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    const lateMs = Math.max(0, deadlineMs - performance.now()) + ATTEMPT_GRACE_MS;
    const error = new Error(`an attempt has not come back ${ATTEMPT_GRACE_MS} ms after its ${timeoutMs} ms were over`);
    timer = setTimeout(() => reject(error), lateMs);
  });
  try {
    return await Promise.race([attempt, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Repeats `attempt` until it does not throw, and returns what it returned. @throws its last error when time is up */
export async function eventually<T>(attempt: () => T | Promise<T>, options: EventuallyOptions = {}): Promise<T> {
  const timeoutMs = options.timeoutMs ?? 4500;
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    try {
      const made = attempt();
      return made instanceof Promise ? await inTime(made, deadlineMs, timeoutMs) : made;
    } catch (error) {
      if (performance.now() >= deadlineMs) throw error;
      await Bun.sleep(options.intervalMs ?? 20);
    }
  }
}
