// What an operator wants to know of any process: is it growing, since when is it up, which build is it, and does its
// event loop keep up. The loop's delay is how late a timer fires; the worst since the last export is told, since the mean
// hides the pause that made callers time out.
import type { Metrics } from "./metrics-port.ts";
import { version } from "./version.ts";

/** Set by the supervisor for what it starts. */
export const RESTARTS_VARIABLE = "LARS_RESTARTS";

const PROBE_INTERVAL_MS = 200;

/** Once a process. Its timer does not keep the process alive. */
export function addProcessMetrics(metrics: Metrics): void {
  let worstMs = 0;
  let dueMs = performance.now() + PROBE_INTERVAL_MS;
  const probe = setInterval(() => {
    const nowMs = performance.now();
    worstMs = Math.max(worstMs, nowMs - dueMs);
    dueMs = nowMs + PROBE_INTERVAL_MS;
  }, PROBE_INTERVAL_MS);
  probe.unref();

  metrics.gaugeFrom("resident_memory_bytes", "Memory of the process held in RAM", () => process.memoryUsage.rss());
  metrics.gaugeFrom("uptime_seconds", "Time since the process began", () => process.uptime());
  metrics.counterFrom("restarts_total", "Times the supervisor started this process again after it died", () =>
    Number(process.env[RESTARTS_VARIABLE] ?? 0),
  );
  metrics.gaugeFrom("event_loop_delay_seconds", "Longest delay of a timer since the last export", () => {
    // A loop that is blocked right now has not run the probe: count what is overdue.
    const delayMs = Math.max(worstMs, performance.now() - dueMs, 0);
    worstMs = 0;
    return delayMs / 1000;
  });
  metrics.gaugeFrom("build_info", "Always 1; the labels say what runs", () => [
    { labels: { version, bun: process.versions.bun ?? "none" }, value: 1 },
  ]);
}
