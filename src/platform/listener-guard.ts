// The first thing a process does with its configuration: nothing is opened before it is known to be safe where it will
// be reached. See listener-safety.ts for what that means.
import { insecureListeners, type ListenerSections, listenersOf } from "./listener-safety.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics-port.ts";

type Guarded = ListenerSections & { readonly security: { readonly allow_insecure: boolean } };

/** Prints `<process>: <why>` for each listener that is not safe and ends the process with 1, unless that is allowed. */
export function guardListeners(process_: string, config: Guarded, log: Log): void {
  const complaints = insecureListeners(listenersOf(config));
  if (complaints.length === 0) return;
  if (!config.security.allow_insecure) {
    for (const complaint of complaints) process.stderr.write(`${process_}: ${complaint}\n`);
    process.exit(1);
  }
  for (const complaint of complaints) log.warn(`insecure, and allowed by security.allow_insecure: ${complaint}`);
}

/**
 * Whether a reloaded configuration may be taken; says in the log why not. A key that opens a listener to everybody is as
 * good as a listener opened.
 */
export function mayReload(config: Guarded, log: Log): boolean {
  const complaints = insecureListeners(listenersOf(config));
  if (complaints.length === 0 || config.security.allow_insecure) return true;
  for (const complaint of complaints) log.error(`[auth] not reloaded, the old one stays: ${complaint}`);
  return false;
}

/** `insecure_listeners`: how many there are by `config()` as it is now. */
export function exposeListenerSafety(metrics: Metrics, config: () => ListenerSections): void {
  metrics.gaugeFrom(
    "insecure_listeners",
    "Listeners beyond loopback without encryption or without knowing their callers",
    () => insecureListeners(listenersOf(config())).length,
  );
}
