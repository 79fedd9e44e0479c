// Requests and answers of the dns service's HTTP API.
import { z } from "@hono/zod-openapi";
import { DEFAULT_WEIGHT, type Host, MAX_NAME_LENGTH } from "../core/assignment.ts";
import { formatIp, parseEndpoint } from "../core/endpoint.ts";
import {
  hostStateField,
  idField,
  idParam,
  ipField,
  ipText,
  portField,
  weightField,
  zoneField,
} from "../platform/http-schemas.ts";
import { checkPolicy, policyFields, policyOutFields } from "./api-policy.ts";

const utf8 = new TextEncoder();

export const nameField = z
  .string()
  .refine((text) => [...text].length <= MAX_NAME_LENGTH, { message: `expected at most ${MAX_NAME_LENGTH} characters` })
  .refine((text) => !utf8.encode(text).includes(0), { message: "expected no NUL character" })
  .openapi({ maxLength: MAX_NAME_LENGTH, example: "payments" });

export const moduleParams = z.object({ modid: idParam, cmdid: idParam });
export const hostParams = z.object({
  modid: idParam,
  cmdid: idParam,
  endpoint: z
    .string()
    .transform((text, context) => {
      const endpoint = parseEndpoint(text);
      if (endpoint !== undefined) return endpoint;
      context.issues.push({
        code: "custom",
        input: text,
        message: `expected ip:port, got ${JSON.stringify(text.slice(0, 64))}`,
      });
      return z.NEVER;
    })
    .openapi({ type: "string", example: "10.0.0.1:8000" }),
});

const hostFields = {
  ip: ipField,
  port: portField,
  weight: weightField.default(DEFAULT_WEIGHT),
  zone: zoneField.default(""),
  state: hostStateField.default("up"),
};

export const hostIn = z.strictObject(hostFields).openapi("HostInput");

/** In a whole list, which may have been read from here before: then its leased hosts say that they are. */
const listedHost = z
  .strictObject({
    ...hostFields,
    leased: z.boolean().optional().openapi({
      description:
        "As answers have it. Who is leased is not for a list to say: a host called leased that is not is left out",
    }),
  })
  .transform(({ leased, ...host }): Host => (leased === true ? { ...host, leased } : host))
  .openapi("ListedHost");

export const hostPatch = z
  .strictObject({ weight: weightField.optional(), zone: zoneField.optional(), state: hostStateField.optional() })
  .refine((patch) => Object.keys(patch).length > 0, { message: "expected at least one of weight, zone, state" })
  .openapi("HostPatch");

export const hostOut = z
  .object({
    ip: ipText,
    port: z.int(),
    weight: z.int(),
    zone: z.string(),
    state: hostStateField,
    leased: z.literal(true).optional().openapi({ description: "It is there because of a registration" }),
  })
  .openapi("Host");

export const MAX_HOSTS = 100_000;

export const routeIn = z
  .strictObject({ name: nameField.optional(), ...policyFields, hosts: z.array(listedHost).max(MAX_HOSTS) })
  .superRefine(checkPolicy)
  .openapi("RouteInput");

export const routeOut = z
  .object({
    modid: z.int(),
    cmdid: z.int(),
    name: z.string().optional().openapi({ description: "Its own name, or those of its modid and cmdid" }),
    ...policyOutFields,
    revision: z.int(),
    vanishedFrom: z.int().optional().openapi({
      description:
        "Hosts it had before so many of the whole table vanished at once that agents keep them: revert the change that did it, or confirm it",
    }),
    hosts: z.array(hostOut),
  })
  .openapi("Route");

export const routeListOut = z
  .object({
    revision: z.int(),
    routes: z.array(
      z.object({ modid: z.int(), cmdid: z.int(), name: z.string().optional(), revision: z.int(), hosts: z.int() }),
    ),
    next: z.string().optional().openapi({ description: "Pass as `after` for the rest; absent: this is the last page" }),
  })
  .openapi("RouteList");

export const writeOut = z.object({ revision: z.int(), changed: z.boolean() }).openapi("Written");

const nameOut = z.object({ id: z.int(), name: z.string() });

/** What an export holds and an import takes. `revision` says when it was exported and is ignored on import. */
export const exportDocument = z
  .strictObject({
    format: z.literal("lars-routes").default("lars-routes"),
    revision: z.int().optional(),
    names: z
      .strictObject({
        modids: z.array(z.strictObject({ id: idField, name: nameField })).default([]),
        cmdids: z.array(z.strictObject({ id: idField, name: nameField })).default([]),
      })
      .default({ modids: [], cmdids: [] }),
    routes: z.array(
      z
        .strictObject({
          modid: idField,
          cmdid: idField,
          name: nameField.optional(),
          ...policyFields,
          hosts: z.array(listedHost).max(MAX_HOSTS),
        })
        .superRefine(checkPolicy),
    ),
  })
  .openapi("Export");

export const exportOut = z
  .object({
    format: z.literal("lars-routes"),
    revision: z.int(),
    names: z.object({ modids: z.array(nameOut), cmdids: z.array(nameOut) }),
    routes: z.array(
      z.object({
        modid: z.int(),
        cmdid: z.int(),
        name: z.string().optional(),
        ...policyOutFields,
        hosts: z.array(hostOut),
      }),
    ),
  })
  .openapi("Exported");

export const importOut = z
  .object({
    revision: z.int(),
    changed: z.boolean(),
    dryRun: z.boolean(),
    routes: z.array(
      z.object({
        modid: z.int(),
        cmdid: z.int(),
        name: z.string().optional(),
        policy: z
          .object({ before: z.object(policyOutFields), after: z.object(policyOutFields) })
          .optional()
          .openapi({ description: "Where it changes" }),
        added: z.array(hostOut),
        changed: z.array(hostOut),
        removed: z.array(hostOut),
      }),
    ),
    names: z.array(z.object({ scope: z.enum(["modid", "cmdid"]), id: z.int(), before: z.string(), after: z.string() })),
  })
  .openapi("Imported");

export const namesOut = z.object({ modids: z.array(nameOut), cmdids: z.array(nameOut) }).openapi("Names");
export const nameIn = z.strictObject({ name: nameField }).openapi("NameInput");

export const agentsOut = z
  .object({
    agents: z.array(z.object({ address: z.string(), connectedSeconds: z.number(), modules: z.int(), behind: z.int() })),
  })
  .openapi("Agents");

export function hostJson(host: Host): z.infer<typeof hostOut> {
  const { ip, port, weight, zone, state, leased } = host;
  return { ip: formatIp(ip), port, weight, zone, state, ...(leased === true ? { leased } : {}) };
}
