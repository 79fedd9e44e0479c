// What the code says to its operator. Only the interface and what needs no output is here, so that portable modules can
// log; `log-output.ts` writes the lines.
//
// A line that bad input can cause is a way to fill a disk: such places log through `rateLimited`, which counts what it
// held back and says so with the next line it lets through.
import type { Clock } from "./clock.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** An `error` field may hold an Error: it is written as name, message and causes. Never put secrets into fields. */
export type LogFields = Record<string, unknown>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with fields on every line. `component` and `requestId` become columns of their own. */
  with(fields: LogFields): Log;
  /** Whether a line of this level would be written; spares the work of making one. */
  enabled(level: LogLevel): boolean;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with() {
    return silentLog;
  },
  enabled() {
    return false;
  },
};

/**
 * Lets through at most `perSecond` lines a second (all levels together, a burst of as many at once). The first line
 * after a pause carries `suppressed`, the number of lines held back since.
 */
export function rateLimited(log: Log, perSecond: number, clock: Pick<Clock, "nowMs"> = performanceClock): Log {
  return new RateLimitedLog(log, { perSecond, clock, tokens: perSecond, atMs: clock.nowMs(), suppressed: 0 });
}

const performanceClock = { nowMs: () => performance.now() };

interface Budget {
  readonly perSecond: number;
  readonly clock: Pick<Clock, "nowMs">;
  tokens: number;
  atMs: number;
  suppressed: number;
}

class RateLimitedLog implements Log {
  readonly #log: Log;
  readonly #budget: Budget;

  constructor(log: Log, budget: Budget) {
    this.#log = log;
    this.#budget = budget;
  }

  debug(message: string, fields?: LogFields): void {
    this.#write("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#write("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#write("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.#write("error", message, fields);
  }
  /** Shares the budget: a peer cannot get more lines by having a name. */
  with(fields: LogFields): Log {
    return new RateLimitedLog(this.#log.with(fields), this.#budget);
  }
  enabled(level: LogLevel): boolean {
    return this.#log.enabled(level);
  }

  #write(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!this.#log.enabled(level)) return;
    const budget = this.#budget;
    const nowMs = budget.clock.nowMs();
    budget.tokens = Math.min(budget.perSecond, budget.tokens + ((nowMs - budget.atMs) / 1000) * budget.perSecond);
    budget.atMs = nowMs;
    if (budget.tokens < 1) {
      budget.suppressed++;
      return;
    }
    budget.tokens -= 1;
    if (budget.suppressed > 0) {
      this.#log[level](message, { ...fields, suppressed: budget.suppressed });
      budget.suppressed = 0;
    } else {
      this.#log[level](message, fields);
    }
  }
}

/** Passes a line on when it differs from the one before, or when that was a minute ago: retries say the same for hours. */
export function whenNew(write: (line: string) => void, nowMs = () => performance.now()): (line: string) => void {
  let last = "";
  let saidAtMs = Number.NEGATIVE_INFINITY;
  return (line) => {
    if (line === last && nowMs() - saidAtMs < 60_000) return;
    last = line;
    saidAtMs = nowMs();
    write(line);
  };
}
