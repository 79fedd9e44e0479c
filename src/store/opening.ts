// A database that is not there yet when a process starts: it is tried until it is, however long that takes, while the
// process serves what it can.
import { backoffDelay } from "../core/backoff.ts";
import type { Log } from "../platform/log.ts";

export interface Opening {
  /** Resolves when it succeeded; never when stopped before. */
  readonly opened: Promise<void>;
  stop(): void;
}

/** Calls `open` until it succeeds, with growing pauses; says so when it fails for the first time or in another way. */
export function openWhenReachable({ log, open }: { log: Log; open: () => Promise<void> }): Opening {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let said: string | undefined;
  const opened = new Promise<void>((resolve) => {
    const attempt = async (failures: number): Promise<void> => {
      try {
        await open();
        if (!stopped) resolve();
      } catch (error) {
        if (stopped) return;
        const text = error instanceof Error ? error.message : String(error);
        if (text !== said) log.error("the database is not usable yet; trying again", { error });
        said = text;
        const delayMs = backoffDelay(failures, { baseMs: 100, maxMs: 2000 }, Math.random());
        timer = setTimeout(() => void attempt(failures + 1), delayMs);
      }
    };
    void attempt(0);
  });
  return {
    opened,
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
