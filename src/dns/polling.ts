// The timer that looks at the database again and again, and now and then prunes what nobody needs any more.
import type { Log } from "../platform/log.ts";

export interface PollingOptions {
  readonly poll: () => Promise<void>;
  readonly intervalMs: () => number;
  readonly prune: () => Promise<number>;
  readonly log: Log;
}

const PRUNE_INTERVAL_MS = 600_000;

/** The next poll begins `intervalMs` after the last one ended, so that a slow database is not asked faster. */
export function keepPolling({ poll, intervalMs, prune, log }: PollingOptions): { stop(): Promise<void> } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  let running = Promise.resolve();
  let prunedAtMs = performance.now();
  const round = async (): Promise<void> => {
    await poll();
    if (performance.now() - prunedAtMs > PRUNE_INTERVAL_MS) {
      prunedAtMs = performance.now();
      await prune().catch((error: unknown) => log.warn("pruning the change log failed; tried again later", { error }));
    }
    if (!stopped) timer = setTimeout(next, intervalMs());
  };
  const next = (): void => {
    running = round();
  };
  next();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
