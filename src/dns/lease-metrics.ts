// What is counted of leases, for Prometheus.
import { exposeEvents } from "../platform/event-counts.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import type { LeaseService } from "./lease-service.ts";

export function exposeLeases(metrics: Metrics, leases: LeaseService): void {
  const { renewals, time } = leases;
  exposeEvents(metrics, "lease_events_total", "Leases granted, ended, expired; expiry transactions", leases.counts);
  exposeEvents(metrics, "heartbeats_total", "Heartbeats by outcome", renewals.outcomes);
  exposeEvents(metrics, "lease_renewals_total", "Renewals: rows and batches written, failures", renewals.counts);
  metrics.gaugeFrom(
    "registrations",
    "Registrations, as the lease clock's owner counted them and this instance saw them change",
    () => leases.registrations,
  );
  metrics.gaugeFrom("leases_known", "Leases this instance remembers from their heartbeats", () => renewals.known);
  metrics.gaugeFrom("renewals_waiting", "Leases with a heartbeat that is not written yet", () => renewals.owed);
  metrics.gaugeFrom("lease_clock_ms", "The lease clock as last seen", () => time.clockMs);
  metrics.gaugeFrom("lease_clock_owner", "1 when this instance moves the lease clock", () => (time.isOwner ? 1 : 0));
}
