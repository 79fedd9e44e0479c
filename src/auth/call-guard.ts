// The one place where requests are let in: a service states for each of its calls what it needs, and nothing of a request
// is looked at, not its path's ids, query or body, before its caller was let in. A call that nobody stated is for admins,
// so forgetting one shuts it; tests/dns and tests/report compare the rules with /openapi.json.
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";
import { ANONYMOUS, type Need } from "../core/principal.ts";
import type { HttpBindings, HttpEnv } from "../platform/http-env.ts";
import type { Access } from "./access.ts";

/** "METHOD /path/{parameter}", as /openapi.json spells it -> what it needs. HEAD is as GET. */
export type CallRules = Readonly<Record<`${"GET" | "POST" | "PUT" | "PATCH" | "DELETE"} /v1/${string}`, Need>>;

export interface GuardOptions {
  readonly access: Access;
  readonly rules: CallRules;
  /** Whether no token is needed for that. */
  readonly anonymous: (need: Need) => boolean;
}

/** For `app.use("/v1/*", …)`. Leaves `principal` and `who` in the context. @throws as {@link Access.authorize} */
export function guardCalls({ access, rules, anonymous }: GuardOptions): MiddlewareHandler<HttpEnv> {
  const needs = new Map<string, Need>(Object.entries(rules));
  return async (c, next) => {
    const need = needOf(c, needs);
    const principal = anonymous(need)
      ? ANONYMOUS
      : await access.authorize(
          { authorization: c.req.header("authorization"), address: (c.env as HttpBindings | undefined)?.address },
          need,
        );
    c.set("principal", principal);
    c.set("who", principal.name);
    await next();
  };
}

function needOf(c: Context, needs: ReadonlyMap<string, Need>): Need {
  const method = c.req.method === "HEAD" ? "GET" : c.req.method;
  const path = matchedRoutes(c).findLast(({ path }) => !path.endsWith("*"))?.path;
  // That it is not there is no secret, but nothing answers a change without knowing whose it is.
  if (path === undefined) return method === "GET" ? "read" : "change";
  return needs.get(`${method} ${path.replace(/:(\w+)/g, "{$1}")}`) ?? "administer";
}
