// A process that works with another node of its database than before goes on as if nothing had happened, so somebody has
// to be told: a line in the log and a count, for alerts on nodes that come and go.
import { exposeEvents } from "../platform/event-counts.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import type { NodeMove } from "./database.ts";

export function tellNodeMoves(log: Log, metrics: Metrics): (move: NodeMove) => void {
  const counts = { moves: 0 };
  exposeEvents(metrics, "database_events_total", "Moves to another node of the database", counts);
  return ({ from, to, reason }) => {
    counts.moves++;
    log.warn("working with another node of the database", { from, to, reason });
  };
}
