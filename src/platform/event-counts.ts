// Counts that a component keeps as plain numbers (cheap to bump, easy to test) as one metric with a label.
import type { Metrics } from "./metrics-port.ts";

/** `lars_<process>_<name>{event="…"}` for every member of `counts`. */
export function exposeEvents(metrics: Metrics, name: string, help: string, counts: object): void {
  metrics.counterFrom(name, help, () =>
    Object.entries(counts as Record<string, number>).map(([event, value]) => ({ labels: { event }, value })),
  );
}
