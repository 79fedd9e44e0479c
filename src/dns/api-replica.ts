// The read that other dns processes live on: everything that changed after a revision, held back until there is
// something. A change reaches a follower as fast as the link carries it, and while nothing changes a follower costs a
// timer and a few bytes every other second.
import { createRoute, z } from "@hono/zod-openapi";
import { HOST_STATES } from "../core/assignment.ts";
import { jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { intParam, ipText, moduleParam } from "../platform/http-schemas.ts";
import { type ApiContext, parseDuration, unavailable } from "./api-context.ts";
import { ReplicaAnswers } from "./replica-answers.ts";

const MAX_WAIT_MS = 60_000;
const MAX_PAGE = 20_000;

const replicaOut = z
  .object({
    revision: z.int().openapi({ description: "What all pages bring a reader to; lower than `after`: ask elsewhere" }),
    digest: z.int().openapi({ description: "Of everything at that revision; tells another history apart" }),
    forgotten: z.int().optional().openapi({
      description:
        "Modules that were removed at this revision or before may be missing; whoever asks from before it compares `digest`",
    }),
    routes: z.array(
      z.object({
        modid: z.int(),
        cmdid: z.int(),
        revision: z.int(),
        name: z.string().optional(),
        policy: z.string().optional(),
        policyParameters: z.record(z.string(), z.number()).optional(),
        vanishedFrom: z
          .int()
          .optional()
          .openapi({ description: "Hosts it had before it was emptied in a way that nobody may have meant" }),
        hosts: z.array(
          z.object({
            ip: ipText,
            port: z.int(),
            weight: z.int(),
            zone: z.string(),
            state: z.enum(HOST_STATES),
            leased: z.boolean().optional(),
          }),
        ),
      }),
    ),
    names: z.array(z.object({ scope: z.enum(["modid", "cmdid"]), id: z.int(), name: z.string(), revision: z.int() })),
    next: z.string().optional().openapi({ description: "Pass as `from` for the rest; absent: this is the last page" }),
  })
  .openapi("Replica");

const replicaRoute = createRoute({
  method: "get",
  path: "/v1/replica",
  summary: "What changed after a revision, for other dns processes",
  description:
    "Removed routes are included, without hosts and name. With `wait` the answer is held back until something changed or the time is up. Pages may be of different revisions when the answer is long: ask again after the lowest of them.",
  request: {
    query: z.object({
      after: intParam(0, Number.MAX_SAFE_INTEGER).optional(),
      from: moduleParam.optional(),
      limit: intParam(1, MAX_PAGE).optional().openapi({ description: "Routes and hosts in a page, about" }),
      wait: z
        .string()
        .optional()
        .openapi({ example: "2s", description: `At most ${MAX_WAIT_MS / 1000}s` }),
    }),
  },
  responses: {
    200: { description: "A page of changes; empty when there are none", ...jsonContent(replicaOut) },
    ...problemResponses(400, 401, 503),
  },
});

export function addReplica(api: ApiContext): void {
  const { app, deps, replica } = api;
  const answers = new ReplicaAnswers(replica);
  deps.routes.onAdvance(() => deps.watch.notifyAdvance());
  deps.metrics.counterFrom("replica_events_total", "Answers to followers, and how many of them had to be made", () =>
    Object.entries(answers.counts).map(([event, value]) => ({ labels: { event }, value })),
  );

  app.openapi(replicaRoute, async (c) => {
    const { after = 0, from, limit = MAX_PAGE, wait } = c.req.valid("query");
    await api.awaitRoutes();
    if (wait !== undefined && from === undefined) await waitForAdvance(api, after, wait, c.req.raw.signal);
    // Encoded already, so that many followers cost one encoding; the document describes what the bytes are.
    return c.body(answers.page(after, from, limit) as Uint8Array<ArrayBuffer>, 200, {
      "content-type": "application/json",
      "cache-control": "no-store",
    }) as never;
  });
}

/** Returns when something changed after `revision`, when the time is up, or at once when it is not known here. */
async function waitForAdvance(api: ApiContext, revision: number, wait: string, signal: AbortSignal): Promise<void> {
  const { clock, watch, routes, maxAgeMs } = api.deps;
  const waitMs = parseDuration(wait);
  if (waitMs === undefined)
    throw new ProblemError(400, `wait is ${JSON.stringify(wait.slice(0, 64))}; expected a time like 2s or 500ms`);
  const deadlineMs = clock.nowMs() + Math.min(waitMs, MAX_WAIT_MS);
  // Given out by an instance that is ahead of this one: catch up, or let the caller look elsewhere.
  if (revision > api.replica.revision) await routes.refresh();
  while (api.replica.revision === revision && !signal.aborted) {
    const leftMs = deadlineMs - clock.nowMs();
    if (leftMs <= 0) return;
    const outcome = await watch.nextAdvance(Math.min(leftMs, maxAgeMs ?? leftMs), signal);
    if (outcome === "full") throw unavailable("too many callers wait for changes already; try again later or poll");
    if (maxAgeMs !== undefined) await routes.freshen(maxAgeMs);
  }
}
