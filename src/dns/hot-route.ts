// GET /v1/routes/{modid}/{cmdid} without conditions, the call that whole fleets make: the answer is encoded once per
// state of the route and then only sent. Where reads need a token, one that is known at once costs a hash and no more.
import { parseModuleId } from "../core/module-key.ts";
import { exists, type RouteRecord } from "../core/route-change.ts";
import type { HotCall, HotRequest } from "../platform/http-hot.ts";
import type { DnsAppDeps } from "./api-context.ts";

interface Encoded {
  /** A name may change while the record stays. */
  readonly shownRevision: number;
  readonly etag: string;
  readonly body: string;
  readonly bytes: number;
}

/** One strong tag, or none: lists, weak ones and `*` are the general way's. */
function isPlainTag(text: string | undefined): boolean {
  return text === undefined || /^"\d+"$/.test(text);
}

/** `json`: the route as the general way answers it. */
export function hotRoute(deps: DnsAppDeps, json: (route: RouteRecord) => unknown): HotCall {
  const encoded = new WeakMap<RouteRecord, Encoded>();
  const { routes, access } = deps;
  const isAdmitted = (call: HotRequest): boolean =>
    access.admit({ authorization: call.header("authorization"), address: call.address }, "read") !== undefined;
  return {
    method: "GET",
    path: "/v1/routes/:modid/:cmdid",
    answer(call) {
      const { params } = call;
      const known = call.header("if-none-match");
      // Conditions, waits, tokens that must be looked up and everything that is refused go the general way.
      if (deps.maxAgeMs !== undefined || !routes.loaded || !isPlainTag(known)) return undefined;
      const modid = parseModuleId(params[0]!);
      const cmdid = parseModuleId(params[1]!);
      if (modid === undefined || cmdid === undefined) return undefined;
      const route = routes.replica.route(modid, cmdid);
      if (!exists(route)) return undefined;
      if (!deps.anonymousRead() && !isAdmitted(call)) return undefined;
      const shownRevision = routes.replica.shownRevision(route);
      let answer = encoded.get(route);
      if (answer?.shownRevision !== shownRevision) {
        const body = JSON.stringify(json(route));
        answer = { shownRevision, etag: `"${shownRevision}"`, body, bytes: new TextEncoder().encode(body).length };
        encoded.set(route, answer);
      }
      return known === answer.etag ? { body: undefined, etag: known } : answer;
    },
  };
}
