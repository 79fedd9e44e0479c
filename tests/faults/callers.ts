// The test's end of caller-process.ts.
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";

export interface CallerOptions {
  /** The agent's first UDP port, on loopback. */
  readonly port: number;
  /** "modid.cmdid" of those called. */
  readonly modules: readonly string[];
  /** Of those whose hosts are asked for all the time. */
  readonly watched: readonly string[];
  readonly perSecond: number;
}

export interface CallerSummary {
  readonly picks: number;
  /** No answer within a second of the callers' own time, or one without a host. */
  readonly failed: number;
  readonly slowestMs: number;
  /** For how long the callers did not run though they had something to do, in all and at a time. */
  readonly heldUpMs: number;
  readonly longestHeldUpMs: number;
  /** How many picks came to what: "no answer", or a retcode (0 is a host). */
  readonly outcomes: Readonly<Record<string, number>>;
  /** On the clock of performance.timeOrigin + performance.now(). */
  readonly firstFailureMs: number | undefined;
  readonly lastFailureMs: number | undefined;
  /** "modid.cmdid ip:port" -> calls reported. */
  readonly calls: Readonly<Record<string, number>>;
}

export type ToCaller = { readonly type: "begin" } | { readonly type: "end" };

export type FromCaller =
  | { readonly type: "ready" }
  | { readonly type: "picks"; readonly answered: number; readonly failed: number; readonly atMs: number }
  /** The numbers of the writes that a module's route shows at the agent; told when they change. */
  | { readonly type: "shown"; readonly module: string; readonly writes: readonly number[]; readonly atMs: number }
  | { readonly type: "summary"; readonly summary: CallerSummary };

export interface Shown {
  readonly module: string;
  readonly writes: readonly number[];
  /** On this process's performance.now(). */
  readonly atMs: number;
}

export class Callers {
  readonly shown: Shown[] = [];
  answered = 0;
  failed = 0;
  #summary: CallerSummary | undefined;
  #ready = false;
  readonly #child: Bun.Subprocess;

  /** `command`: what to run it under, to be in another network. */
  constructor(options: CallerOptions, command: readonly string[] = []) {
    this.#child = Bun.spawn(
      [...command, process.execPath, join(import.meta.dir, "caller-process.ts"), JSON.stringify(options)],
      {
        stdin: "ignore",
        stdout: "inherit",
        stderr: "inherit",
        ipc: (message: FromCaller) => this.#take(message),
        serialization: "json",
      },
    );
  }

  #take(message: FromCaller): void {
    switch (message.type) {
      case "ready":
        this.#ready = true;
        break;
      case "picks":
        this.answered = message.answered;
        this.failed = message.failed;
        break;
      case "shown":
        this.shown.push({ ...message, atMs: message.atMs - performance.timeOrigin });
        break;
      case "summary":
        this.#summary = message.summary;
        break;
    }
  }

  async begin(): Promise<void> {
    await eventually(
      () => {
        if (!this.#ready) throw new Error(`the callers are not ready (exit code ${this.#child.exitCode})`);
      },
      { timeoutMs: 30_000 },
    );
    this.#child.send({ type: "begin" } satisfies ToCaller);
  }

  /** Ends the load, waits for picks under way. */
  async end(): Promise<CallerSummary> {
    this.#child.send({ type: "end" } satisfies ToCaller);
    const summary = await eventually(
      () => {
        if (this.#summary === undefined) throw new Error(`the callers did not end (exit ${this.#child.exitCode})`);
        return this.#summary;
      },
      { timeoutMs: 30_000 },
    );
    this.kill();
    await this.#child.exited;
    return summary;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
