// Calls of the services' HTTP APIs for the command line: one place that knows addresses, the token and what a problem
// looks like. Services with TLS are asked at https URLs; LARS_CA_FILE names the CA that signed their certificates, where
// that is not a public one.
import { readFileSync } from "node:fs";

export interface ApiTarget {
  /** Without a slash at the end. */
  readonly url: string;
  readonly token?: string | undefined;
}

/** What a person at a terminal is told; ends the command with 1. */
export class CommandError extends Error {
  override name = "CommandError";

  /** `status`: of the answer, where there was one. */
  constructor(
    message: string,
    readonly status?: number,
  ) {
    super(message);
  }
}

export interface Answer {
  /** undefined when there is none. */
  readonly json: unknown;
  /** The ETag as it stands in the header. */
  readonly tag: string | undefined;
}

const TIMEOUT_MS = 70_000;

/**
 * The answer's JSON; undefined when it has none.
 * @throws CommandError when the service is not reached or answers with a problem
 */
export async function call(target: ApiTarget, method: string, path: string, body?: unknown): Promise<unknown> {
  return (await request(target, method, path, body)).json;
}

/** As {@link call}, with what a change needs that may not overwrite another's: the tag, and headers of one's own. */
export async function request(
  target: ApiTarget,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const url = `${target.url}${path}`;
  const ca = trustedCa();
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(ca === undefined ? {} : { tls: { ca } }),
      headers: {
        ...(target.token === undefined ? {} : { authorization: `Bearer ${target.token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
  } catch (error) {
    throw new CommandError(
      `${url} was not reached (${reason(error)}); is the service running, and is this its address?${hint(url, error)}`,
    );
  }
  const text = await response.text();
  if (response.ok) {
    const json = text === "" ? undefined : (JSON.parse(text) as unknown);
    return { json, tag: response.headers.get("etag") ?? undefined };
  }
  throw new CommandError(`${method} ${url}: ${response.status} ${problemText(text)}`, response.status);
}

/** The text of LARS_CA_FILE. */
function trustedCa(): string | undefined {
  const file = process.env.LARS_CA_FILE ?? "";
  if (file === "") return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new CommandError(
      `LARS_CA_FILE ${file} cannot be read (${reason(error)}); give a PEM file of CA certificates`,
    );
  }
}

/** A failed handshake has many causes of which the code names one; two of them are the caller's to mend. */
function hint(url: string, error: unknown): string {
  if (/ISSUER|SIGNED|VERIFY_LEAF/.test(reason(error))) {
    return " Its certificate is not signed by a CA that is trusted here: set LARS_CA_FILE to the PEM file of the CA that signed it.";
  }
  return url.startsWith("http:") ? " Where it speaks TLS, its URL begins with https." : "";
}

function reason(error: unknown): string {
  return (error as { code?: string }).code ?? (error instanceof Error ? error.message : String(error));
}

interface Problem {
  readonly detail?: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

function problemText(text: string): string {
  try {
    const { detail = text, errors = [] } = JSON.parse(text) as Problem;
    return [detail, ...errors.map(({ path, message }) => `  ${path}: ${message}`)].join("\n");
  } catch {
    return text.slice(0, 300);
  }
}
