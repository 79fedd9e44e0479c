// What a shard counts about itself, in shared memory: the shard adds, the main thread reads when metrics are asked for.
// Doubles, because a 32-bit count of datagrams wraps within half a day.
import type { PickResult } from "../core/balancer.ts";

/** Append only; the position is the place in the shared array. */
export const SHARD_COUNTERS = [
  "picks",
  "shed",
  "unknown_module",
  "resolving",
  "reports",
  "reports_of_strangers",
  "route_requests",
  "datagrams",
  "dropped_too_short",
  "dropped_length_mismatch",
  "dropped_unknown_id",
  "dropped_malformed",
  "forwarded",
  "forward_dropped",
  "waited",
  "wait_timeouts",
  "waiting_full",
  "modules_full",
  "resolve_rate_limited",
  "statistics_full",
  "oversize_routes",
  "sent",
  "send_errors",
  "modules",
  "unknown_modules",
  "waiting",
  "dropped_by_socket",
] as const;

export type ShardCounter = (typeof SHARD_COUNTERS)[number];

/** These go up and down; the rest only grow. */
export const SHARD_GAUGES: ReadonlySet<ShardCounter> = new Set(["modules", "unknown_modules", "waiting"]);

export class ShardCounters {
  readonly values: Float64Array<SharedArrayBuffer>;

  constructor(values?: Float64Array<SharedArrayBuffer>) {
    this.values = values ?? new Float64Array(new SharedArrayBuffer(SHARD_COUNTERS.length * 8));
  }

  read(counter: ShardCounter): number {
    return this.values[SHARD_COUNTERS.indexOf(counter)]!;
  }
}

/** Place of a counter, looked up once at module load so that counting is one array write. */
export function counterIndex(counter: ShardCounter): number {
  return SHARD_COUNTERS.indexOf(counter);
}

const OF_PICK: Readonly<Record<PickResult["kind"], number>> = {
  host: counterIndex("picks"),
  shedding: counterIndex("shed"),
  resolving: counterIndex("resolving"),
  unknown: counterIndex("unknown_module"),
};

/** Where a pick is counted, by what came of it. */
export function pickCounter(picked: PickResult): number {
  return OF_PICK[picked.kind];
}
