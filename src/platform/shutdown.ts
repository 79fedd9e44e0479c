// Ending a process in order. Steps are undone in the reverse order of their making (stop taking work, finish it, close
// what it needed), within a deadline, since an orchestrator kills what takes too long anyway. A second signal, a second later, means now.
//
// An error nobody caught means that the state is not what the code believes: it is logged, counted, and the process ends
// with 1 for its supervisor to start it afresh. Steps are not run then; they would work on that state.
import { type Clock, type SetTimer, systemClock, systemTimer } from "./clock.ts";
import type { Log } from "./log.ts";
import { logsWritten } from "./log-output.ts";
import type { Metrics } from "./metrics-port.ts";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

export interface ShutdownOptions {
  readonly log: Log;
  readonly metrics?: Metrics;
  /** For all steps together. Default 10,000 ms. */
  readonly deadlineMs?: number;
  /** Ends the process. For tests. */
  readonly exit?: (code: number) => void;
  /** Where signals and uncaught errors come from. For tests. */
  readonly events?: Pick<NodeJS.EventEmitter, "on" | "off">;
  readonly clock?: Pick<Clock, "nowMs">;
  readonly setTimer?: SetTimer;
}

export interface Shutdown {
  /** Registers a step; the returned function takes it back. */
  onShutdown(name: string, step: () => void | Promise<void>): () => void;
  /** Runs the steps, then exits with `code`, or with 1 when a step failed or the deadline passed. Once. */
  shutdown(reason: string, code?: number): Promise<void>;
  readonly stopping: boolean;
  /** Forgets the signals; for tests. */
  detach(): void;
}

/** A second signal after this long means "now". */
const IMPATIENT_AFTER_MS = 1000;
/** How long the last log lines may take to leave. */
const FLUSH_MS = 500;

/** The lines that say why are the last ones written: they leave first, unless nobody reads them. */
function exitFlushed(code: number): void {
  setTimeout(() => process.exit(code), FLUSH_MS);
  void logsWritten().then(() => process.exit(code));
}

interface Step {
  readonly name: string;
  readonly run: () => void | Promise<void>;
}

/** Listens for SIGINT, SIGTERM and uncaught errors from now on. */
export function createShutdown(options: ShutdownOptions): Shutdown {
  const log = options.log.with({ component: "shutdown" });
  const exit = options.exit ?? exitFlushed;
  const events: Pick<NodeJS.EventEmitter, "on" | "off"> = options.events ?? process;
  const clock = options.clock ?? systemClock;
  const setTimer = options.setTimer ?? systemTimer;
  const deadlineMs = options.deadlineMs ?? 10_000;
  const uncaught = options.metrics?.counter("uncaught_errors_total", "Errors nobody caught; each ends the process");
  const steps: Step[] = [];
  let running: Promise<void> | undefined;
  let signalledAtMs = 0;

  const runSteps = async (code: number): Promise<void> => {
    let current = "";
    let failed = false;
    let over = false;
    const cancel = setTimer(deadlineMs, () => {
      over = true;
      log.error(`not ended within ${deadlineMs} ms; exiting while step "${current}" still runs`);
      exit(1);
    });
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      current = step.name;
      try {
        await step.run();
      } catch (error) {
        failed = true;
        log.error(`shutdown step "${step.name}" failed`, { error });
      }
      if (over) return;
    }
    cancel();
    log.info("ended");
    exit(failed ? 1 : code);
  };
  const shutdown = (reason: string, code = 0): Promise<void> => {
    if (running === undefined) {
      log.info(`ending: ${reason}`);
      running = runSteps(code);
    }
    return running;
  };
  const onSignal = (signal: string) => {
    if (running !== undefined) {
      // A terminal sends Ctrl-C to the whole group, and a parent passes its own on: that is one wish said twice.
      if (clock.nowMs() - signalledAtMs < IMPATIENT_AFTER_MS) return;
      log.warn(`${signal} again: exiting at once`);
      exit(130);
      return;
    }
    signalledAtMs = clock.nowMs();
    void shutdown(signal);
  };
  const onUncaught = (error: unknown) => {
    uncaught?.inc();
    log.error("uncaught error, exiting", { error });
    exit(1);
  };

  for (const signal of SIGNALS) events.on(signal, onSignal);
  events.on("uncaughtException", onUncaught);
  events.on("unhandledRejection", onUncaught);
  return {
    onShutdown(name, run) {
      const step: Step = { name, run };
      steps.push(step);
      return () => {
        const index = steps.indexOf(step);
        if (index >= 0) steps.splice(index, 1);
      };
    },
    shutdown,
    get stopping() {
      return running !== undefined;
    },
    detach() {
      for (const signal of SIGNALS) events.off(signal, onSignal);
      events.off("uncaughtException", onUncaught);
      events.off("unhandledRejection", onUncaught);
    },
  };
}
