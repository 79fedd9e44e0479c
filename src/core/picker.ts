// How a policy chooses among hosts that may be chosen. Who may be (ejection, zones, draining) is decided around it, by
// SteeredBalancer, alike for all policies; so a picker is small, and a new one is a file.
import type { SteeringParameters } from "./policies.ts";
import type { PickContext, SteeredHost } from "./steered-host.ts";

/**
 * The hosts a picker chooses among. A host's state is made when `at` first names it, so a picker asks for those it draws
 * and, when it builds its tables, for numbers only.
 */
export interface HostSet {
  readonly length: number;
  at(index: number): SteeredHost;
  ipAt(index: number): number;
  portAt(index: number): number;
  weightAt(index: number): number;
}

export interface Picker {
  /** The hosts to choose among from now on; weights as they stand. Called when either changes. Never empty at a pick. */
  rebuild(hosts: HostSet): void;
  /** Other parameters count from the next pick on. Absent: it has none. */
  configure?(parameters: SteeringParameters): void;
  /** O(1) or O(log hosts), no allocation, but for tables that the first pick makes. There is at least one host. */
  pick(context: PickContext): SteeredHost;
  /** What it picks by is being made anew, a stretch at a pick or `goOn`. Absent: never. */
  readonly isUnfinished?: boolean;
  /** Another stretch, of 0.1 ms. */
  goOn?(): void;
}

export const NO_HOSTS: HostSet = {
  length: 0,
  at: () => {
    throw new Error("a pick among no hosts; the balancer must not ask for one");
  },
  ipAt: () => 0,
  portAt: () => 0,
  weightAt: () => 0,
};

/** A picker's second thoughts about a host whose share is still ramping up: draw again with the ramp's complement. */
export function heldBack(host: SteeredHost, context: PickContext): boolean {
  return context.nowMs < host.rampToMs && context.random() >= host.ramp(context.nowMs);
}

export type MakePicker = (parameters: SteeringParameters) => Picker;
