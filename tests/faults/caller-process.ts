// Callers in a process of their own, so that what the test does beside cannot disturb them: picks and reports at a steady
// rate, and every few milliseconds the question which hosts a module has, to see when an agent learns of a change. Talks
// to its parent over IPC: see caller-protocol below.
import { parseModuleKey } from "../../src/core/module-key.ts";
import { SteadyCaller } from "../support/steady-caller.ts";
import type { CallerOptions, CallerSummary, FromCaller, ToCaller } from "./callers.ts";
import { markerOf } from "./marker.ts";

const options = JSON.parse(process.argv[2]!) as CallerOptions;
const LOOK_INTERVAL_MS = 20;
const TELL_INTERVAL_MS = 50;

const shown = new Map<string, string>();
const failuresMs: number[] = [];

function now(): number {
  return performance.timeOrigin + performance.now();
}

function tell(message: FromCaller): void {
  process.send?.(message);
}

const modules = options.modules.map((text) => parseModuleKey(text)!);
const watched = options.watched.map((text) => parseModuleKey(text)!);
const caller = await SteadyCaller.open({
  port: options.port,
  onFailure: () => failuresMs.push(now()),
  onRoute: ({ modid, cmdid, hosts }) => {
    const module = `${modid}.${cmdid}`;
    const writes = hosts.flatMap(({ ip }) => markerOf(ip) ?? []).sort((a, b) => a - b);
    const text = writes.join(",");
    if (shown.get(module) === text) return;
    shown.set(module, text);
    tell({ type: "shown", module, writes, atMs: now() });
  },
});
for (const module of modules) await caller.pick(module);

let stop: () => Promise<void> = async () => {};
const looking = setInterval(() => {
  for (const module of watched) caller.askRoute(module);
}, LOOK_INTERVAL_MS);
const telling = setInterval(() => {
  tell({ type: "picks", answered: caller.retcodes.get(0) ?? 0, failed: caller.failures, atMs: now() });
}, TELL_INTERVAL_MS);

function summary(): CallerSummary {
  return {
    picks: [...caller.retcodes.values()].reduce((sum, count) => sum + count, caller.timeouts),
    failed: caller.failures,
    slowestMs: caller.slowestMs,
    heldUpMs: caller.ownTime.heldUpMs,
    longestHeldUpMs: caller.ownTime.longestHeldUpMs,
    outcomes: { "no answer": caller.timeouts, ...Object.fromEntries(caller.retcodes) },
    firstFailureMs: failuresMs[0],
    lastFailureMs: failuresMs.at(-1),
    calls: Object.fromEntries([...caller.calls].map(([key, { succ, err }]) => [key, succ + err])),
  };
}

process.on("message", async (message: ToCaller) => {
  if (message.type === "begin") {
    stop = caller.steadily(modules, options.perSecond);
    return;
  }
  await stop();
  clearInterval(looking);
  clearInterval(telling);
  tell({ type: "summary", summary: summary() });
});
process.on("disconnect", () => process.exit(0));
tell({ type: "ready" });
