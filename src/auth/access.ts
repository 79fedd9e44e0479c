// Who may do what over HTTP. A caller shows a token; what is stored is its SHA-256. Tokens are long and random, so one
// unsalted hash is enough (there is nothing to guess), and comparing hashes in constant time tells nothing about them.
// Portable: Web Crypto only.
import { type Principal, principalOf } from "../core/principal.ts";
import type { Clock } from "../platform/clock.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { StoreUnavailable, type TokenRecord, type TokenStore } from "../store/route-store.ts";

const LOOPBACK = /^(127(\.\d{1,3}){3}|localhost|::1)$/;
const CACHE_MS = 5000;
const ADMIN_TOKEN_ID = "admin";

async function sha256Hex(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Equal-length hex strings, in time that does not depend on where they differ. */
function equalHex(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

function randomToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return `lars_${btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "")}`;
}

/**
 * Makes the first admin token when the database has none, and returns it: the only time it can be seen. undefined: there
 * is one already, or another instance made it just now.
 * @throws StoreUnavailable
 */
export async function createFirstAdminToken(tokens: TokenStore, nowMs: number): Promise<string | undefined> {
  if ((await tokens.list()).some(({ role }) => role === "admin")) return undefined;
  const token = randomToken();
  const sha256 = await sha256Hex(token);
  const made = await tokens.insert({
    id: ADMIN_TOKEN_ID,
    name: "first admin",
    role: "admin",
    sha256,
    createdAtMs: nowMs,
    modules: [],
    lastUsedAtMs: undefined,
  });
  return made ? token : undefined;
}

/** What `auth.anonymous_read` comes to: "auto" allows it while only this machine can reach the HTTP server. */
export function readsNeedNoToken(anonymousRead: "auto" | boolean, httpHost: string): boolean {
  return anonymousRead === "auto" ? LOOPBACK.test(httpHost) : anonymousRead;
}

export class Access {
  readonly #tokens: TokenStore;
  readonly #configured: Promise<string> | undefined;
  readonly #clock: Clock;
  #known: readonly TokenRecord[] = [];
  #knownAtMs = Number.NEGATIVE_INFINITY;

  /** `configuredToken`: LARS_ADMIN_TOKEN, an admin's; "" for none. */
  constructor(tokens: TokenStore, configuredToken: string, clock: Clock) {
    this.#tokens = tokens;
    this.#configured = configuredToken === "" ? undefined : sha256Hex(configuredToken);
    this.#clock = clock;
  }

  /**
   * Who shows this `Authorization` header; undefined when nobody known does. While the database is away the tokens last
   * read go on to count.
   * @throws StoreUnavailable when no token could ever be read
   */
  async authenticate(authorization: string | undefined): Promise<Principal | undefined> {
    const shown = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(authorization ?? "")?.[1];
    if (shown === undefined) return undefined;
    const hash = await sha256Hex(shown);
    if (this.#configured !== undefined && equalHex(hash, await this.#configured))
      return principalOf("configured", "admin", "admin");
    for (const token of await this.#list()) {
      if (equalHex(hash, token.sha256)) return principalOf(token.id, token.name, token.role, token.modules);
    }
    return undefined;
  }

  /** @throws ProblemError 401 when nobody known shows this header; StoreUnavailable as `authenticate` */
  async require(authorization: string | undefined): Promise<Principal> {
    const principal = await this.authenticate(authorization);
    if (principal !== undefined) return principal;
    throw new ProblemError(401, "this needs an access token: send the header Authorization: Bearer <token>", {
      headers: { "www-authenticate": 'Bearer realm="lars"' },
    });
  }

  async #list(): Promise<readonly TokenRecord[]> {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#knownAtMs < CACHE_MS) return this.#known;
    try {
      this.#known = await this.#tokens.list();
      this.#knownAtMs = nowMs;
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || this.#knownAtMs === Number.NEGATIVE_INFINITY) throw error;
    }
    return this.#known;
  }
}
