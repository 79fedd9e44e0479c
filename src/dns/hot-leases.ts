// PUT /v1/registrations/{id} and its heartbeat as most callers send them: with a token that is known, in the spelling of
// the documentation, for a lease that may be renewed without waiting. Whatever is otherwise, and whatever is to be
// refused, goes the general way (api-registrations.ts), which explains it.
import type { Access } from "../auth/access.ts";
import { DEFAULT_WEIGHT, MAX_WEIGHT, MIN_WEIGHT } from "../core/assignment.ts";
import { isPort, parseIp } from "../core/endpoint.ts";
import { type LeaseTerms, MAX_LEASE_ID_LENGTH, MAX_TTL_MS, MIN_TTL_MS } from "../core/lease.ts";
import type { Principal } from "../core/principal.ts";
import type { HotCall, HotRequest, HotResult } from "../platform/http-hot.ts";
import type { LeaseService, RegisterResult } from "./lease-service.ts";

/** A registration has some 150 bytes; longer bodies say more than is read here. */
const MAX_BODY = 1_000;
const ID = /^[\x21-\x7e]+$/;
/** Zones in other characters are counted in bytes, the general way. */
const PLAIN_ZONE = /^[\x20-\x7e]{0,64}$/;

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= -0x8000_0000 && (value as number) <= 0xffff_ffff;
}

/** What a body says, if it is plain; undefined otherwise, and for whatever the general way refuses. */
export function plainTerms(id: string, value: unknown): LeaseTerms | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  if (id.length > MAX_LEASE_ID_LENGTH || !ID.test(id)) return undefined;
  let fields = 0;
  for (const _ in value) fields++;
  const given = value as Record<string, unknown>;
  const { modid, cmdid, ip, port, ttlSeconds, weight = DEFAULT_WEIGHT, zone = "", state = "up" } = given;
  const named = Number("weight" in given) + Number("zone" in given) + Number("state" in given);
  if (fields !== 5 + named || !isId(modid) || !isId(cmdid) || typeof ip !== "string") return undefined;
  const address = parseIp(ip);
  if (address === undefined || typeof port !== "number" || !isPort(port)) return undefined;
  if (typeof ttlSeconds !== "number" || typeof weight !== "number" || typeof zone !== "string") return undefined;
  const inRange =
    ttlSeconds >= MIN_TTL_MS / 1000 && ttlSeconds <= MAX_TTL_MS / 1000 && weight >= MIN_WEIGHT && weight <= MAX_WEIGHT;
  if (!inRange || !Number.isInteger(weight) || !PLAIN_ZONE.test(zone)) return undefined;
  if (state !== "up" && state !== "draining") return undefined;
  const ttlMs = Math.round(ttlSeconds * 1000);
  return { id, modid: modid | 0, cmdid: cmdid | 0, ip: address, port, weight, zone, state, ttlMs };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `refused`: how the general way explains that. */
export function hotLeases(
  access: Access,
  leases: LeaseService,
  refused: (result: RegisterResult & { ok: false }) => HotResult,
): readonly HotCall[] {
  const admitted = (call: HotRequest): Principal | undefined =>
    access.admit({ authorization: call.header("authorization"), address: call.address }, "register");

  const register = async (call: HotRequest, principal: Principal): Promise<HotResult> => {
    const { params, requestId } = call;
    const terms = plainTerms(params[0]!, parsed(await call.text()));
    if (terms === undefined || !principal.mayRegister(terms.modid, terms.cmdid)) return undefined;
    const result = await leases.register(terms, principal.mayRegister, { who: principal.name, requestId });
    return result.ok ? { body: `{"revision":${result.revision},"changed":${result.changed}}` } : refused(result);
  };

  return [
    {
      method: "PUT",
      path: "/v1/registrations/:id/heartbeat",
      answer(call) {
        const id = call.params[0]!;
        if (!leases.renewals.isKnown(id) || call.hasBody) return undefined;
        const principal = admitted(call);
        if (principal === undefined) return undefined;
        const ttlMs = leases.renewals.renewed(id, principal.mayRegister);
        return ttlMs === undefined ? undefined : { body: `{"ttlSeconds":${ttlMs / 1000}}` };
      },
    },
    {
      method: "PUT",
      path: "/v1/registrations/:id",
      answer(call) {
        const length = call.bodyBytes ?? Number.NaN;
        if (!(length > 0 && length <= MAX_BODY) || call.header("content-type") !== "application/json") return undefined;
        const principal = admitted(call);
        return principal === undefined ? undefined : register(call, principal);
      },
    },
  ];
}
