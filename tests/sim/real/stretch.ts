// A scenario's plan in other seconds: `stretch(scenario, 0.1)` does in 6 s what the scenario does in a minute. Only the
// plan is stretched (faults, route changes, its end); hosts are as fast, callers as frequent and policies as patient as
// before. So a stretched run shows that everything works; its figures are not those of the scenario.
import type { CallLog } from "../call-log.ts";
import type { Fault, HostSpec } from "../host-model.ts";
import type { Scenario } from "../scenario.ts";

function stretchFault(fault: Fault, factor: number): Fault {
  const span = {
    fromMs: fault.fromMs * factor,
    ...(fault.untilMs === undefined ? {} : { untilMs: fault.untilMs * factor }),
  };
  return fault.kind === "flap"
    ? { ...fault, ...span, periodMs: fault.periodMs * factor, downMs: fault.downMs * factor }
    : { ...fault, ...span };
}

export function stretch(scenario: Scenario, factor: number): Scenario {
  if (factor === 1) return scenario;
  const hosts = scenario.hosts.map(
    (host): HostSpec => ({ ...host, faults: (host.faults ?? []).map((fault) => stretchFault(fault, factor)) }),
  );
  return {
    ...scenario,
    durationMs: scenario.durationMs * factor,
    hosts,
    ...(scenario.routes === undefined
      ? {}
      : { routes: scenario.routes.map((change) => ({ ...change, atMs: change.atMs * factor })) }),
  };
}

/** Puts the calls of a stretched run to the scenario's own times, which its figures ask for. */
export function unstretch(log: CallLog, factor: number): void {
  if (factor === 1) return;
  for (let call = 0; call < log.length; call++) log.startMs[call]! /= factor;
}
