// An instance that has lost its database goes on answering, and gets older with every change made at another. Its agents
// do not see that: what it says is right, only not the newest. So after a while it closes their connections, once an
// outage, and they move on to another instance, or come back to this one when there is none better. C++ agents stay: they
// may not connect again.
import type { RoutePush } from "./route-push.ts";

/** A restart of the database or a fail-over is over by then. */
const PATIENCE_MS = 3000;
/**
 * A question that is not answered for so long counts as failed: where packets vanish, nobody says so until its time-out. With
 * PATIENCE_MS it is longer than a cluster needs to go on without a node that fell silent, which should cost no connection.
 */
const SILENT_MS = 4000;
/** Connections closed in one tick, so that a fleet does not arrive elsewhere in one moment. */
const PER_TICK = 500;

export class OutageDismissal {
  readonly #push: Pick<RoutePush, "dismiss">;
  #sinceMs: number | undefined;

  constructor(push: Pick<RoutePush, "dismiss">) {
    this.#push = push;
  }

  /**
   * To be called a few times a second. `failing`: the database did not answer when it was last asked. `silentForMs`: it
   * has owed an answer for so long.
   */
  tick(nowMs: number, failing: boolean, silentForMs = 0): void {
    if (!failing && silentForMs < SILENT_MS) {
      this.#sinceMs = undefined;
      return;
    }
    this.#sinceMs ??= nowMs;
    const dueMs = this.#sinceMs + PATIENCE_MS;
    // Who connected later knows what there is.
    if (nowMs >= dueMs) this.#push.dismiss(dueMs, PER_TICK);
  }
}
