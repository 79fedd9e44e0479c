// Keeping something running: when it ends, for whatever reason, it is started again after a pause that doubles while it
// keeps failing (and is jittered, so that what fell together does not come back together), and is short again once it has
// held for a while. Written over a `start` function, so it serves processes and worker threads, and tests in virtual time.
import { type Clock, type SetTimer, systemClock, systemTimer } from "./clock.ts";
import type { Log } from "./log.ts";

export interface Exit {
  /** null when a signal ended it. */
  readonly code: number | null;
  readonly signal?: string | null;
}

/** Something started. */
export interface Running {
  readonly exited: Promise<Exit>;
  /** Asks it to end. */
  stop(): void;
  /** Ends it without asking. */
  kill(): void;
}

export interface SuperviseOptions {
  readonly name: string;
  /** May throw; that counts as an end. */
  readonly start: () => Running;
  readonly log: Log;
  /** Called at every restart: for a metric. */
  readonly onRestart?: () => void;
  /** First pause. Default 200 ms. */
  readonly minBackoffMs?: number;
  /** Longest pause. Default 30,000 ms. */
  readonly maxBackoffMs?: number;
  /** Having run this long, the next pause is the first again. Default 10,000 ms. */
  readonly stableAfterMs?: number;
  /** How long `stop` waits before it kills. Default 10,000 ms. */
  readonly stopTimeoutMs?: number;
  readonly clock?: Clock;
  readonly setTimer?: SetTimer;
  /** In [0, 1). */
  readonly random?: () => number;
}

export interface Supervised {
  /** Ends it for good; resolves when it has ended. */
  stop(): Promise<void>;
  readonly restarts: number;
  readonly running: boolean;
}

/** Starts it at once. */
export function supervise(options: SuperviseOptions): Supervised {
  const supervisor = new Supervisor(options);
  supervisor.start();
  return supervisor;
}

class Supervisor implements Supervised {
  readonly #options: SuperviseOptions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #setTimer: SetTimer;
  readonly #random: () => number;
  readonly #minBackoffMs: number;
  #backoffMs: number;
  #current: Running | undefined;
  #cancelPause: (() => void) | undefined;
  #stopping = false;
  #restarts = 0;

  constructor(options: SuperviseOptions) {
    this.#options = options;
    this.#log = options.log.with({ component: "supervise" });
    this.#clock = options.clock ?? systemClock;
    this.#setTimer = options.setTimer ?? systemTimer;
    this.#random = options.random ?? Math.random;
    this.#minBackoffMs = options.minBackoffMs ?? 200;
    this.#backoffMs = this.#minBackoffMs;
  }

  get restarts(): number {
    return this.#restarts;
  }

  get running(): boolean {
    return this.#current !== undefined;
  }

  start(): void {
    this.#cancelPause = undefined;
    const startedMs = this.#clock.nowMs();
    let running: Running;
    try {
      running = this.#options.start();
    } catch (error) {
      this.#pause(0, { error });
      return;
    }
    this.#current = running;
    running.exited.then(
      (exit) => this.#ended(running, startedMs, { code: exit.code, signal: exit.signal ?? undefined }),
      (error) => this.#ended(running, startedMs, { error }),
    );
  }

  #ended(running: Running, startedMs: number, why: Record<string, unknown>): void {
    if (this.#current === running) this.#current = undefined;
    if (this.#stopping) return;
    this.#pause(this.#clock.nowMs() - startedMs, why);
  }

  #pause(ranMs: number, why: Record<string, unknown>): void {
    if (ranMs >= (this.#options.stableAfterMs ?? 10_000)) this.#backoffMs = this.#minBackoffMs;
    // Between half and the whole of it.
    const pauseMs = Math.round(this.#backoffMs * (0.5 + this.#random() / 2));
    this.#backoffMs = Math.min(this.#backoffMs * 2, this.#options.maxBackoffMs ?? 30_000);
    this.#log.error(`${this.#options.name} ended; starting it again in ${pauseMs} ms`, {
      ...why,
      ranMs: Math.round(ranMs),
      restarts: this.#restarts,
    });
    this.#cancelPause = this.#setTimer(pauseMs, () => {
      this.#restarts++;
      this.#options.onRestart?.();
      this.start();
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelPause?.();
    this.#cancelPause = undefined;
    const running = this.#current;
    if (running === undefined) return;
    const timeoutMs = this.#options.stopTimeoutMs ?? 10_000;
    const cancelKill = this.#setTimer(timeoutMs, () => {
      this.#log.warn(`${this.#options.name} has not ended within ${timeoutMs} ms; killing it`);
      running.kill();
    });
    running.stop();
    await running.exited.catch(() => undefined);
    cancelKill();
    this.#current = undefined;
  }
}
