// What the registrations of this agent are doing, for its /metrics.
import { exposeEvents } from "../platform/event-counts.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import type { RegistrationKeeper } from "./registration-keeper.ts";
import type { RegistryClient } from "./registry-client.ts";

export function exposeRegistrations(metrics: Metrics, keeper: RegistrationKeeper, client: RegistryClient): void {
  metrics.gaugeFrom("registrations", "Services registered through this agent, by state", () =>
    Object.entries(keeper.states()).map(([state, value]) => ({ labels: { state }, value })),
  );
  metrics.gaugeFrom("health_checks_running", "Health checks under way", () => keeper.rounds.running);
  metrics.gaugeFrom(
    "registry_calls_waiting",
    "Calls to the dns service that wait for their turn",
    () => client.waiting,
  );
  exposeEvents(metrics, "health_checks_total", "Health checks of registered services", keeper.rounds.counts);
  exposeEvents(metrics, "registration_events_total", "Registrations kept, saved and forgotten", keeper.counts);
  exposeEvents(
    metrics,
    "registry_calls_total",
    "Registrations at the dns service: what was asked and came",
    client.counts,
  );
}
