// What a follower does not have: changes are made at the leader, and the log of changes, the leases and the access tokens
// are in its database. A caller is told where to go instead of being passed on: passing a write on would lend it the
// follower's rights, and would answer for a commit over a link that may be cut in between.
import type { HttpApp } from "../../platform/http-app.ts";
import { ProblemError } from "../../platform/http-problem.ts";

/** Thrown where a follower's store is asked for what only its leader has. */
export class KeptByLeader extends Error {
  override name = "KeptByLeader";

  constructor(readonly leaders: readonly string[]) {
    super(`this dns follows another one and changes nothing itself; ask ${leaders.join(" or ")}`);
  }
}

export function misdirected({ message, leaders }: KeptByLeader): ProblemError {
  return new ProblemError(421, message, { extra: { leaders } });
}

const ELSEWHERE = /^\/v1\/(changes|registrations|tokens)(\/|$)/;

/** Answers 421 to all that a follower does not have. Before access is checked: a leader's tokens are not known here. */
export function refuseElsewhere(app: HttpApp, leaders: readonly string[]): void {
  app.use("/v1/*", async (c, next) => {
    const reads = c.req.method === "GET" || c.req.method === "HEAD";
    if (!reads || ELSEWHERE.test(c.req.path)) throw misdirected(new KeptByLeader(leaders));
    await next();
  });
}
