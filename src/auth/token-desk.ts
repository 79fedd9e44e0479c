// Where tokens are made, listed and taken back. The secret is returned once, by the call that makes it, and kept nowhere.
import type { ModulePattern } from "../core/module-pattern.ts";
import type { Role } from "../core/principal.ts";
import type { Clock } from "../platform/clock.ts";
import type { TokenRecord, TokenStore } from "../store/route-store.ts";
import type { KnownTokens } from "./known-tokens.ts";
import { randomToken, randomTokenId, sha256Hex } from "./token-secret.ts";
import type { TokenUses } from "./token-uses.ts";

/** Every instance holds all of them and reads them again every second while they are used. */
export const MAX_TOKENS = 5000;

export interface TokenDeskOptions {
  readonly tokens: TokenStore;
  readonly known: KnownTokens;
  readonly uses: TokenUses;
  readonly clock: Clock;
  /** The last admin's token cannot be taken back: there is no other way in. */
  readonly keepAdmin: boolean;
}

/** A token as it may be shown. */
export type TokenDescription = Omit<TokenRecord, "sha256">;

export class TokenDesk {
  readonly #options: TokenDeskOptions;

  constructor(options: TokenDeskOptions) {
    this.#options = options;
  }

  /**
   * "full": there are {@link MAX_TOKENS} already.
   * @throws StoreUnavailable
   */
  async create(
    name: string,
    role: Role,
    modules: readonly ModulePattern[],
  ): Promise<{ readonly secret: string; readonly description: TokenDescription } | "full"> {
    const { tokens, clock } = this.#options;
    if ((await tokens.list()).length >= MAX_TOKENS) return "full";
    const secret = randomToken();
    const sha256 = await sha256Hex(secret);
    for (;;) {
      const description = {
        id: randomTokenId(),
        name,
        role,
        modules,
        createdAtMs: clock.wallMs(),
        lastUsedAtMs: undefined,
      };
      if (await tokens.insert({ ...description, sha256 })) return { secret, description };
    }
  }

  /** @throws StoreUnavailable */
  async list(): Promise<readonly TokenDescription[]> {
    return (await this.#options.tokens.list()).map(({ sha256: _, lastUsedAtMs, ...token }) => {
      const lastUse = Math.max(lastUsedAtMs ?? 0, this.#options.uses.unwritten(token.id) ?? 0);
      return { ...token, lastUsedAtMs: lastUse === 0 ? undefined : lastUse };
    });
  }

  /**
   * Counts no more: here at once, at other instances within two seconds. "last-admin": refused.
   * @throws StoreUnavailable
   */
  async revoke(id: string): Promise<"removed" | "missing" | "last-admin"> {
    const outcome = await this.#options.tokens.remove(id, this.#options.keepAdmin);
    if (outcome === "removed") this.#options.known.forget(id);
    return outcome;
  }
}
