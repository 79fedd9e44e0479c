// JSON bodies as proto3 JSON wants them: lowerCamelCase names, the proto's own snake_case accepted on input, unknown
// fields refused (schemas are strict objects). Names are mapped before validation, so a schema knows one spelling only.
//
// `jsonBody` puts this into an OpenAPI route; `readJson` is the same for handlers outside of one. Both bound the work:
// depth before recursion, and the number of errors told.
import * as z from "zod";
import { type InputError, ProblemError } from "./http-problem.ts";

export const JSON_TYPE_HINT = "send the body as JSON with the header Content-Type: application/json";

/** Deeper than any body we understand; keeps recursion from being an attack. */
const MAX_DEPTH = 32;
/** Told to the caller; an import may have a million. */
export const MAX_INPUT_ERRORS = 20;

const SNAKE = /^[a-z][a-z0-9]*(_[a-z0-9]+)+$/;

function camelName(name: string): string {
  return SNAKE.test(name) ? name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()) : name;
}

/**
 * Renames snake_case keys to lowerCamelCase, in place: `value` is freshly parsed and nobody else's. Returns what is
 * wrong instead of renaming when one object spells a key both ways, or when it is nested too deeply.
 */
export function camelKeys(value: unknown, path = "", depth = 0): InputError | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= MAX_DEPTH) return { path, message: `nested more than ${MAX_DEPTH} levels deep` };
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const item: unknown = value[i];
      if (typeof item !== "object" || item === null) continue;
      const wrong = camelKeys(item, `${path}[${i}]`, depth + 1);
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  }
  const object = value as Record<string, unknown>;
  for (const name of Object.keys(object)) {
    const child = object[name];
    const camel = name.includes("_") ? camelName(name) : name;
    const childPath = path === "" ? camel : `${path}.${camel}`;
    if (camel !== name) {
      if (Object.hasOwn(object, camel)) return { path: childPath, message: `given twice, as ${camel} and as ${name}` };
      delete object[name];
      object[camel] = child;
    }
    const wrong = camelKeys(child, childPath, depth + 1);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** `["hosts", 0, "port"]` as `hosts[0].port`. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? String(part) : `.${String(part)}`;
  }
  return text;
}

/** zod's issues as the errors of a problem: unknown fields one by one, unions by the branch that fits best. */
export function inputErrors(issues: readonly z.core.$ZodIssue[], base: readonly PropertyKey[] = []): InputError[] {
  const errors: InputError[] = [];
  for (const issue of issues) {
    if (errors.length > MAX_INPUT_ERRORS) break;
    const path = base.length === 0 ? issue.path : [...base, ...issue.path];
    if (issue.code === "unrecognized_keys") {
      for (const name of issue.keys.slice(0, MAX_INPUT_ERRORS + 1)) {
        errors.push({ path: formatPath([...path, name]), message: "unknown field" });
      }
    } else if (issue.code === "invalid_union" && issue.errors.length > 0) {
      const branch = bestBranch(issue.errors);
      if (branch === undefined) errors.push({ path: formatPath(path), message: issue.message });
      else errors.push(...inputErrors(branch, path));
    } else {
      // JSON has no undefined: an absent field is what zod calls that.
      const missing = issue.code === "invalid_type" && issue.message.endsWith("received undefined");
      const message = missing ? `missing; expected ${issue.expected}` : issue.message;
      errors.push({ path: formatPath(path), message });
    }
  }
  return errors;
}

/** The branch of a union whose complaint lies deepest is the one the caller meant; none when all fail at the top. */
function bestBranch(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] | undefined {
  let best: readonly z.core.$ZodIssue[] | undefined;
  let bestDepth = 0;
  for (const branch of branches) {
    const wrongType = branch.some((issue) => issue.path.length === 0 && issue.code !== "unrecognized_keys");
    const depth = wrongType ? 0 : 1 + Math.max(0, ...branch.map((issue) => issue.path.length));
    if (depth > bestDepth) {
      best = branch;
      bestDepth = depth;
    }
  }
  return best;
}

/** The 422 (body) or 400 (path, query, headers) for input a schema refuses. */
export function invalidInput(status: 400 | 422, where: string, all: readonly InputError[]): ProblemError {
  const errors = all.slice(0, MAX_INPUT_ERRORS);
  const first = errors[0];
  const at = first === undefined || first.path === "" ? "" : ` at ${first.path}`;
  const more = all.length > errors.length ? `; more than ${errors.length} errors, the first ones are listed` : "";
  const detail = `the ${where} is not valid${at}: ${first?.message ?? "see errors"}${more}`;
  return new ProblemError(status, detail, { extra: { errors } });
}

interface JsonRequest {
  readonly req: { header(name: string): string | undefined; text(): Promise<string> };
}

const JSON_TYPE = /^application\/([\w.-]+\+)?json\s*(;|$)/i;

/**
 * The request's JSON body, validated.
 * @throws ProblemError 415 when it is not declared as JSON, 400 when it is not JSON, 422 when the schema refuses it
 */
export async function readJson<S extends z.ZodType>(c: JsonRequest, schema: S): Promise<z.output<S>> {
  const type = c.req.header("content-type");
  if (type === undefined || !JSON_TYPE.test(type)) {
    throw new ProblemError(
      415,
      `Content-Type is ${type === undefined ? "missing" : JSON.stringify(type)}; ${JSON_TYPE_HINT}`,
    );
  }
  const text = await c.req.text();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProblemError(400, malformedJson(error));
  }
  const wrong = camelKeys(value);
  if (wrong !== undefined) throw invalidInput(422, "body", [wrong]);
  const result = schema.safeParse(value);
  if (!result.success) throw invalidInput(422, "body", inputErrors(result.error.issues));
  return result.data;
}

export function malformedJson(error?: unknown): string {
  const reason = error instanceof Error ? ` (${error.message.slice(0, 200)})` : "";
  return `the body is not well-formed JSON${reason}`;
}

/** A request body of an OpenAPI route; `c.req.valid("json")` has the schema's output type. */
export function jsonBody<S extends z.ZodType>(schema: S) {
  const mapped = z.preprocess((value, context) => {
    const wrong = camelKeys(value);
    if (wrong !== undefined)
      context.issues.push({ code: "custom", input: value, message: wrong.message, path: pathOf(wrong.path) });
    return value;
  }, schema);
  return { required: true as const, content: { "application/json": { schema: mapped } } };
}

function pathOf(path: string): PropertyKey[] {
  return path === "" ? [] : [path];
}

/** The content of a response: `200: { description: "…", ...jsonContent(schema) }`. Request bodies: {@link jsonBody}. */
export function jsonContent<S extends z.ZodType>(schema: S) {
  return { content: { "application/json": { schema } } };
}

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem", description: "What went wrong (RFC 9457)" });

const PROBLEM_MEANINGS: Readonly<Record<number, string>> = {
  400: "The path, the query or the JSON is malformed",
  401: "A token is needed",
  403: "The token does not allow this",
  404: "There is no such thing",
  409: "In conflict with what is there",
  412: "Changed since it was read",
  413: "The body is too large",
  415: "The body is not declared as JSON",
  422: "The body says something that is not allowed",
  429: "Too many wrong tokens came from this address",
  500: "A fault inside",
  503: "Not able to answer now",
};

/** The error answers of an OpenAPI route, for its `responses`. */
export function problemResponses<const Status extends number>(
  ...statuses: Status[]
): {
  [S in Status]: { description: string; content: { "application/problem+json": { schema: typeof problemSchema } } };
} {
  const responses: Record<number, unknown> = {};
  const all: number[] = [...statuses];
  // Whoever looks at tokens stops looking after too many wrong ones.
  if (all.includes(401)) all.push(429);
  for (const status of all) {
    responses[status] = {
      description: PROBLEM_MEANINGS[status] ?? "It went wrong",
      content: { "application/problem+json": { schema: problemSchema } },
    };
  }
  return responses as never;
}
