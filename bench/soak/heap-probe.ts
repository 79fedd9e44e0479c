// Preloaded into the processes of a long run (bench/soak/main.ts --heap FOLDER): what each thread's JavaScript heap really
// holds. Resident memory rises and falls with when the engine collects, and for an hour that looks like growth; what is
// left after a full collection does not. A thread collects when the folder's file `collect` says something new, and
// appends a line to a file of its own.
import { heapStats } from "bun:jsc";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isMainThread, threadId } from "node:worker_threads";

/** A line of a thread's file. */
export interface HeapLine {
  /** Of the thread, so far. */
  readonly atSeconds: number;
  readonly heapBytes: number;
  readonly objects: number;
  /** After a collection that was asked for. */
  readonly collected: boolean;
}

export const LOOK_MS = 2_000;
const folder = process.env.SOAK_HEAP_FOLDER;
const program = /src\/(agent|dns|report)\//.exec(process.argv[1] ?? "")?.[1];

if (folder !== undefined && (program !== undefined || !isMainThread)) {
  const file = join(folder, `${program ?? "agent"}-${isMainThread ? "main" : `shard-${threadId}`}.jsonl`);
  let asked = "";
  setInterval(() => {
    let asks = asked;
    try {
      asks = readFileSync(join(folder, "collect"), "utf8");
    } catch {
      // Nobody asked yet.
    }
    const collected = asks !== asked;
    asked = asks;
    if (collected) Bun.gc(true);
    const { heapSize, objectCount } = heapStats();
    const line: HeapLine = {
      atSeconds: Math.round(performance.now() / 1000),
      heapBytes: heapSize,
      objects: objectCount,
      collected,
    };
    appendFileSync(file, `${JSON.stringify(line)}\n`);
  }, LOOK_MS).unref();

  if (isMainThread) {
    // Workers are not given what the process preloads.
    const Plain = globalThis.Worker;
    globalThis.Worker = class extends Plain {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, { ...options, preload: [import.meta.path] } as WorkerOptions);
      }
    };
  }
}
