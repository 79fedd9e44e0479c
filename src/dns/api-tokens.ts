// Access tokens: made, listed, taken back, by admins. The secret is in one answer, the one that makes it; neither a list
// nor a log has it. Answers are not to be stored by anything between.
import { createRoute, z } from "@hono/zod-openapi";
import type { TokenDescription } from "../auth/token-desk.ts";
import { formatModulePattern, type ModulePattern, parseModulePattern } from "../core/module-pattern.ts";
import { ROLES } from "../core/principal.ts";
import { jsonBody, jsonContent, problemResponses } from "../platform/http-json.ts";
import { ProblemError } from "../platform/http-problem.ts";
import type { ApiContext } from "./api-context.ts";

const MAX_NAME_LENGTH = 100;
const MAX_MODULES = 64;
/** In the change log they mean somebody else. */
const TAKEN_NAMES: readonly string[] = ["admin", "anonymous", "sql", "system"];
/** C0, DEL and C1: a name is a word in log lines and tables. */
const CONTROL = /\p{Cc}/u;

const moduleField = z
  .string()
  .transform((text, context): ModulePattern => {
    const pattern = parseModulePattern(text);
    if (pattern !== undefined) return pattern;
    const got = JSON.stringify(text.slice(0, 64));
    context.issues.push({ code: "custom", input: text, message: `expected modid.cmdid or modid.*, got ${got}` });
    return z.NEVER;
  })
  .openapi({ type: "string", example: "1.*" });

const tokenIn = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(MAX_NAME_LENGTH)
      .refine((name) => !CONTROL.test(name) && name.trim() === name, {
        message: "expected no control characters, and no space at either end",
      })
      .refine((name) => !TAKEN_NAMES.includes(name), {
        message: `expected another name: ${TAKEN_NAMES.join(", ")} mean somebody else in the change log`,
      })
      .openapi({ example: "payments-agent", description: "Who it is for; stands in the change log and in logs" }),
    role: z.enum(ROLES),
    modules: z
      .array(moduleField)
      .max(MAX_MODULES)
      .default([])
      .openapi({ description: "What a registrar may register hosts of; for other roles none" }),
  })
  .superRefine(({ role, modules }, context) => {
    if (role === "registrar" && modules.length === 0) {
      context.addIssue({
        code: "custom",
        path: ["modules"],
        message: "expected at least one: a registrar is limited to them",
      });
    }
    if (role !== "registrar" && modules.length > 0) {
      context.addIssue({
        code: "custom",
        path: ["modules"],
        message: `expected none: a ${role} is not limited to modules`,
      });
    }
  })
  .openapi("TokenRequest");

const tokenOut = z
  .object({
    id: z.string(),
    name: z.string(),
    role: z.enum(ROLES),
    modules: z.array(z.string()),
    createdAt: z.string().openapi({ format: "date-time" }),
    lastUsedAt: z
      .string()
      .optional()
      .openapi({ format: "date-time", description: "A minute behind at most; absent: never" }),
  })
  .openapi("Token");

const NO_STORE = { "cache-control": "no-store" } as const;

const createToken = createRoute({
  method: "post",
  path: "/v1/tokens",
  summary: "Makes an access token",
  description: "`token` in the answer is the secret. It is shown this once; what is kept is its hash.",
  request: { body: jsonBody(tokenIn) },
  responses: {
    201: { description: "Made", ...jsonContent(tokenOut.extend({ token: z.string() }).openapi("NewToken")) },
    ...problemResponses(400, 401, 403, 409, 413, 415, 422, 503),
  },
});

const listTokens = createRoute({
  method: "get",
  path: "/v1/tokens",
  summary: "The access tokens, without their secrets",
  responses: {
    200: { description: "All tokens", ...jsonContent(z.object({ tokens: z.array(tokenOut) }).openapi("TokenList")) },
    ...problemResponses(401, 403, 503),
  },
});

const deleteToken = createRoute({
  method: "delete",
  path: "/v1/tokens/{id}",
  summary: "Revokes an access token",
  description: "It counts no more at this instance at once, at others within two seconds.",
  request: { params: z.object({ id: z.string().max(64) }) },
  responses: { 204: { description: "Revoked" }, ...problemResponses(401, 403, 404, 409, 503) },
});

function tokenJson({ modules, createdAtMs, lastUsedAtMs, ...token }: TokenDescription): z.infer<typeof tokenOut> {
  return {
    ...token,
    modules: modules.map(formatModulePattern),
    createdAt: new Date(createdAtMs).toISOString(),
    ...(lastUsedAtMs === undefined ? {} : { lastUsedAt: new Date(lastUsedAtMs).toISOString() }),
  };
}

export function addTokens({ app, deps }: ApiContext): void {
  const { desk } = deps.access;

  app.openapi(createToken, async (c) => {
    const { name, role, modules } = c.req.valid("json");
    const made = await desk.create(name, role, modules);
    if (made === "full") throw new ProblemError(409, "there are too many access tokens; revoke some that nobody uses");
    const { id, ...shown } = tokenJson(made.description);
    c.get("log").info("an access token was made", { who: c.get("who"), by: c.get("principal").id, id, ...shown });
    return c.json({ id, ...shown, token: made.secret }, 201, NO_STORE);
  });

  app.openapi(listTokens, async (c) => c.json({ tokens: (await desk.list()).map(tokenJson) }, 200, NO_STORE));

  app.openapi(deleteToken, async (c) => {
    const { id } = c.req.valid("param");
    const outcome = await desk.revoke(id);
    if (outcome === "missing")
      throw new ProblemError(404, "there is no access token of this id; GET /v1/tokens lists them");
    if (outcome === "last-admin") {
      throw new ProblemError(
        409,
        "this is the last admin's token, and without one nobody could make another; make another first, or configure LARS_ADMIN_TOKEN",
      );
    }
    c.get("log").info("an access token was revoked", { who: c.get("who"), by: c.get("principal").id, id });
    return c.body(null, 204, NO_STORE);
  });
}
