// How the first admin gets in when no LARS_ADMIN_TOKEN is configured.
import type { TokenStore } from "../store/route-store.ts";
import { randomToken, sha256Hex } from "./token-secret.ts";

const FIRST_ID = "admin";

/**
 * Makes the first admin token when the database has none, and returns it: the only time it can be seen. undefined: there
 * is one already, or another instance made it just now.
 * @throws StoreUnavailable
 */
export async function createFirstAdminToken(tokens: TokenStore, nowMs: number): Promise<string | undefined> {
  if ((await tokens.list()).some(({ role }) => role === "admin")) return undefined;
  const token = randomToken();
  const made = await tokens.insert({
    id: FIRST_ID,
    name: "first admin",
    role: "admin",
    sha256: await sha256Hex(token),
    createdAtMs: nowMs,
    modules: [],
    lastUsedAtMs: undefined,
  });
  return made ? token : undefined;
}
