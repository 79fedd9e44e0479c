// How a policy chooses among hosts that may be chosen. Who may be (ejection, zones, draining) is decided around it, by
// SteeredBalancer, alike for all policies; so a picker is small, and a new one is a file.
import type { SteeringParameters } from "./policies.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";

export interface Picker {
  /** The hosts to choose among from now on; weights as they stand. Called when either changes. Never empty at a pick. */
  rebuild(hosts: readonly SteeredHost[]): void;
  /** O(1) or O(log hosts), no allocation. There is at least one host. */
  pick(context: PickContext): SteeredHost;
}

/** A picker's second thoughts about a host whose share is still ramping up: draw again with the ramp's complement. */
export function heldBack(host: SteeredHost, context: PickContext): boolean {
  return context.nowMs < host.rampToMs && context.random() >= host.ramp(context.nowMs);
}

export type MakePicker = (parameters: SteeringParameters) => Picker;
