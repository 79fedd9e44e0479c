// What the handlers of the dns service's API share: what they are given, who may call, and how a revision a caller
// knows of is waited for.

import type { Access } from "../auth/access.ts";
import { formatModuleKey, type ModuleKey } from "../core/module-key.ts";
import { exists, type Refusal, type RouteRecord } from "../core/route-change.ts";
import type { Clock } from "../platform/clock.ts";
import type { HttpApp } from "../platform/http-app.ts";
import { ProblemError } from "../platform/http-problem.ts";
import type { Log } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import type { RouteStore } from "../store/route-store.ts";
import type { CommitResult } from "./change-writer.ts";
import type { LeaseService } from "./lease-service.ts";
import type { AgentDescription } from "./route-push.ts";
import type { RouteReplica } from "./route-replica.ts";
import type { RouteService } from "./route-service.ts";
import type { RouteWatch } from "./route-watch.ts";

export interface DnsAppDeps {
  readonly routes: RouteService;
  readonly watch: RouteWatch;
  readonly store: RouteStore;
  /** Absent: no leases are kept here, and registrations are not offered. */
  readonly leases?: LeaseService;
  readonly access: Access;
  readonly anonymousRead: () => boolean;
  /** A follower's: whom to ask for what it does not have. Absent: it has everything. */
  readonly leaders?: readonly string[];
  /** Connected agents; none where there is no TCP service beside. */
  readonly agents: () => Iterable<AgentDescription>;
  /**
   * Without a poller beside (serverless): how old the replica may be when a request is served; it is polled then.
   * undefined: somebody polls.
   */
  readonly maxAgeMs?: number;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** How long a read waits for a revision that another instance committed. */
const REVISION_WAIT_MS = 5000;
const REVISION_POLL_MS = 20;

export class ApiContext {
  constructor(
    readonly deps: DnsAppDeps,
    readonly app: HttpApp,
  ) {}

  get replica(): RouteReplica {
    return this.deps.routes.replica;
  }

  /**
   * Makes sure that a read is served from routes that were loaded, recent enough, and not before `minRevision`.
   * @throws ProblemError 503
   */
  async awaitRoutes(minRevision = 0): Promise<void> {
    const { routes, maxAgeMs, clock } = this.deps;
    if (maxAgeMs !== undefined) await routes.freshen(maxAgeMs);
    if (!routes.loaded) {
      throw unavailable("the routes are not loaded yet: the database was not reached; try again");
    }
    if (this.replica.revision >= minRevision) return;
    const deadlineMs = clock.nowMs() + REVISION_WAIT_MS;
    for (;;) {
      await routes.refresh();
      if (this.replica.revision >= minRevision) return;
      if (clock.nowMs() >= deadlineMs) {
        throw unavailable(
          `this instance is at revision ${this.replica.revision} and has not seen ${minRevision}; try again`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, REVISION_POLL_MS));
    }
  }

  /** @throws ProblemError 404 when it has neither host nor name */
  existing(key: ModuleKey): RouteRecord {
    const route = this.replica.route(key.modid, key.cmdid);
    if (!exists(route)) throw noRoute(key);
    return route;
  }

  /** @throws ProblemError 404, 409, 412 as the change was refused */
  committed(result: CommitResult): { revision: number; changed: boolean } {
    if (result.ok) return { revision: result.revision, changed: result.changed };
    throw refusedChange(result);
  }
}

const REFUSAL_STATUS: Readonly<Record<Refusal["reason"], number>> = {
  "not-found": 404,
  exists: 409,
  "precondition-failed": 412,
  conflict: 409,
  forbidden: 403,
};

export function refusedChange({ reason, detail }: Refusal): ProblemError {
  return new ProblemError(REFUSAL_STATUS[reason], detail);
}

export function noRoute(key: ModuleKey): ProblemError {
  return new ProblemError(404, `there is no route ${formatModuleKey(key)}`);
}

export function unavailable(detail: string): ProblemError {
  return new ProblemError(503, detail, { headers: { "retry-after": "1" } });
}

/** "30s", "500ms", "1m" or plain seconds, in milliseconds; undefined when malformed. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,7})(ms|s|m)?$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * (match[2] === "ms" ? 1 : match[2] === "m" ? 60_000 : 1000);
}

/** The tags of an If-Match or If-None-Match header, unquoted, weak marks dropped; "*" as it stands. */
export function parseTags(header: string | undefined): readonly string[] | "*" | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === "*") return "*";
  return header.split(",").map((tag) =>
    tag
      .trim()
      .replace(/^W\//, "")
      .replace(/^"(.*)"$/, "$1"),
  );
}
