// GET /v1/routes/{modid}/{cmdid} without conditions, the call that whole fleets make: the answer is encoded once per
// state of the route and then only sent.
import { parseModuleId } from "../core/module-key.ts";
import { exists, type RouteRecord } from "../core/route-change.ts";
import type { HotGet } from "../platform/http-hot.ts";
import type { DnsAppDeps } from "./api-context.ts";

interface Encoded {
  /** A name may change while the record stays. */
  readonly tag: string;
  readonly etag: string;
  readonly body: string;
}

/** `json`: the route as the general way answers it. */
export function hotRoute(deps: DnsAppDeps, json: (route: RouteRecord) => unknown): HotGet {
  const encoded = new WeakMap<RouteRecord, Encoded>();
  const { routes } = deps;
  return {
    path: "/v1/routes/:modid/:cmdid",
    answer(c) {
      // Conditions, waits, tokens and everything that is refused go the general way.
      if (deps.maxAgeMs !== undefined || !routes.loaded || !deps.anonymousRead()) return undefined;
      const { url, headers } = c.req.raw;
      if (url.includes("?") || headers.has("if-none-match")) return undefined;
      const modid = parseModuleId(c.req.param("modid") ?? "");
      const cmdid = parseModuleId(c.req.param("cmdid") ?? "");
      if (modid === undefined || cmdid === undefined) return undefined;
      const route = routes.replica.route(modid, cmdid);
      const tag = routes.replica.tag(modid, cmdid);
      if (!exists(route) || tag === undefined) return undefined;
      let answer = encoded.get(route);
      if (answer?.tag !== tag) {
        answer = { tag, etag: `"${tag}"`, body: JSON.stringify(json(route)) };
        encoded.set(route, answer);
      }
      return answer;
    },
  };
}
