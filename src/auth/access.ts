// Who may do what over HTTP. A caller shows a token; here it becomes a principal with a role, or is refused: 401 not
// known, 403 known but not allowed, 429 too many wrong ones from that address, 503 nobody can say.
//
// The order of things matters. Whether an address may try at all is decided before its token is compared with anything,
// and an attempt is taken in the same turn as the comparison fails, so that a thousand guesses sent at once are no more
// than a thousand in a row. The same unknown token shown again while it is being looked for is one attempt, for that
// is what many connections of one new caller look like.
import { allows, type Need, type Principal, principalOf, type Role, rolesFor } from "../core/principal.ts";
import { type Clock, type SetTimer, systemTimer } from "../platform/clock.ts";
import { exposeEvents } from "../platform/event-counts.ts";
import { ProblemError } from "../platform/http-problem.ts";
import { type Log, rateLimited } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics-port.ts";
import type { TokenStore } from "../store/route-store.ts";
import { AttemptLimit } from "./attempt-limit.ts";
import { callerKey } from "./client-address.ts";
import { KnownTokens } from "./known-tokens.ts";
import { MAX_TOKENS, TokenDesk } from "./token-desk.ts";
import { equalHex, sha256Hex } from "./token-secret.ts";
import { TokenUses } from "./token-uses.ts";

export interface AccessOptions {
  readonly tokens: TokenStore;
  /** LARS_ADMIN_TOKEN, an admin's; "" for none. */
  readonly configuredToken: string;
  readonly clock: Clock;
  readonly setTimer?: SetTimer;
  /** SHA-256 in lower-case hex without a promise, where the runtime has it. It is what {@link Access.admit} needs. */
  readonly digest?: (text: string) => string;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** What of a request tells who calls. */
export interface Caller {
  /** The header. */
  readonly authorization: string | undefined;
  /** Of the connection; undefined where the runtime does not tell. */
  readonly address: string | undefined;
}

/** Ten wrong tokens at once, then ten a minute. */
const ATTEMPTS = { burst: 10, refillMs: 6000, maxCallers: 10_000 } as const;
const LOG_LINES_PER_SECOND = 1;
const CHALLENGE = { "www-authenticate": 'Bearer realm="lars"' };

const CONFIGURED = principalOf("configured", "admin", "admin");

function shownToken(authorization: string): string | undefined {
  return /^Bearer +([\x21-\x7e]{1,512})$/i.exec(authorization)?.[1];
}

const DOING: Readonly<Record<Need, string>> = {
  read: "reading",
  register: "registering hosts",
  change: "changing routes",
  report: "reporting how calls went",
  administer: "this call",
};

export class Access {
  readonly desk: TokenDesk;
  readonly #configuredHash: string | Promise<string> | undefined;
  readonly #digest: ((text: string) => string) | undefined;
  readonly #clock: Clock;
  /** Apart, so that the many lines of the one do not hold the other back. */
  readonly #refusedLog: Log;
  readonly #limitedLog: Log;
  readonly #known: KnownTokens;
  readonly #uses: TokenUses;
  readonly #limit = new AttemptLimit(ATTEMPTS);
  /** Unknown tokens that are being looked for: caller and hash -> what came of it. One a request at most. */
  readonly #searches = new Map<string, Promise<Principal | "unknown" | "unchecked">>();
  readonly counts = { ok: 0, refused: 0, limited: 0, forbidden: 0, unchecked: 0 };

  constructor(options: AccessOptions) {
    const { tokens, configuredToken, clock, setTimer = systemTimer, digest, log, metrics } = options;
    this.#digest = digest;
    this.#configuredHash = configuredToken === "" ? undefined : (digest ?? sha256Hex)(configuredToken);
    this.#clock = clock;
    this.#refusedLog = rateLimited(log, LOG_LINES_PER_SECOND, clock);
    this.#limitedLog = rateLimited(log, LOG_LINES_PER_SECOND, clock);
    this.#known = new KnownTokens(tokens, clock, setTimer);
    this.#uses = new TokenUses(tokens, MAX_TOKENS, clock, setTimer);
    this.desk = new TokenDesk({
      tokens,
      known: this.#known,
      uses: this.#uses,
      clock,
      keepAdmin: this.#configuredHash === undefined,
    });
    exposeEvents(metrics, "auth_events_total", "Requests with a token, by what came of it", this.counts);
    exposeEvents(metrics, "token_use_events_total", "Last uses of tokens: written, dropped", this.#uses.counts);
    metrics.gaugeFrom("auth_limited_callers", "Addresses that showed wrong tokens lately", () => this.#limit.size);
  }

  /**
   * The caller, when its token allows what the call needs.
   * @throws ProblemError 401, 403, 429, 503; StoreUnavailable when no token could ever be read
   */
  async authorize(caller: Caller, need: Need): Promise<Principal> {
    const principal = await this.#authenticate(caller);
    if (allows(principal.role as Role, need)) return principal;
    this.counts.forbidden++;
    const roles = rolesFor(need).map((role) => (/^[aeiou]/.test(role) ? `an ${role}'s` : `a ${role}'s`));
    throw new ProblemError(
      403,
      `the token "${principal.name}" is a ${principal.role}'s; ${DOING[need]} needs ${roles.join(" or ")}`,
    );
  }

  /**
   * As {@link authorize}, without waiting; undefined when that is not possible or the caller is not let in, which
   * authorize explains.
   */
  admit({ authorization, address }: Caller, need: Need): Principal | undefined {
    const digest = this.#digest;
    const shown = authorization?.startsWith("Bearer ") === true ? shownToken(authorization) : undefined;
    if (digest === undefined || shown === undefined) return undefined;
    const hash = digest(shown);
    const caller = callerKey(address);
    if (this.#limit.waitMs(caller, this.#clock.nowMs()) > 0) return undefined;
    const isConfigured = typeof this.#configuredHash === "string" && equalHex(hash, this.#configuredHash);
    if (!isConfigured && !this.#known.isRecent()) return undefined;
    const principal = isConfigured ? CONFIGURED : this.#find(hash);
    if (principal === undefined || !allows(principal.role as Role, need)) return undefined;
    return this.#accept(caller, hash, principal);
  }

  /** Writes the last uses. */
  async close(): Promise<void> {
    await this.#uses.close();
  }

  async #authenticate({ authorization, address }: Caller): Promise<Principal> {
    const shown = shownToken(authorization ?? "");
    if (shown === undefined) {
      throw new ProblemError(401, "this needs an access token: send the header Authorization: Bearer <token>", {
        headers: CHALLENGE,
      });
    }
    const caller = callerKey(address);
    const hash = this.#digest === undefined ? await sha256Hex(shown) : this.#digest(shown);
    const configuredHash = await this.#configuredHash;
    this.#refuseWhileLimited(caller, hash);
    if (configuredHash !== undefined && equalHex(hash, configuredHash)) {
      return this.#accept(caller, hash, CONFIGURED);
    }
    await this.#known.freshen();
    // Others may have used the attempts up meanwhile; from here to the taking of one nothing waits.
    this.#refuseWhileLimited(caller, hash);
    const found = this.#find(hash) ?? (await this.#search(caller, hash));
    if (found !== "unknown" && found !== "unchecked") return this.#accept(caller, hash, found);
    this.#limit.disprove(caller, hash);
    if (found === "unchecked") {
      this.counts.unchecked++;
      throw new ProblemError(
        503,
        "this access token is not known here, and the database that might know it does not answer; try again",
        { headers: { "retry-after": "1" } },
      );
    }
    this.counts.refused++;
    this.#refusedLog.warn("an unknown access token was refused", { caller });
    throw new ProblemError(
      401,
      "this access token is not known: it was revoked or misspelt; send one that counts as Authorization: Bearer <token>",
      { headers: CHALLENGE },
    );
  }

  #find(hash: string): Principal | undefined {
    const token = this.#known.find(hash);
    return token && principalOf(token.id, token.name, token.role, token.modules);
  }

  /** Looks whether the token was made just now, elsewhere. Takes an attempt, and gives it back when it was. */
  #search(caller: string, hash: string): Promise<Principal | "unknown" | "unchecked"> {
    const pair = `${caller} ${hash}`;
    const running = this.#searches.get(pair);
    if (running !== undefined) return running;
    this.#limit.take(caller, this.#clock.nowMs());
    const search = (async () => {
      const isRead = await this.#known.reread();
      const found = this.#find(hash);
      if (found !== undefined) this.#limit.giveBack(caller, this.#clock.nowMs());
      return found ?? (isRead ? "unknown" : "unchecked");
    })().finally(() => this.#searches.delete(pair));
    this.#searches.set(pair, search);
    return search;
  }

  #accept(caller: string, hash: string, principal: Principal): Principal {
    this.counts.ok++;
    this.#limit.prove(caller, hash);
    if (principal.id !== "configured") this.#uses.note(principal.id);
    return principal;
  }

  #refuseWhileLimited(caller: string, hash: string): void {
    const waitMs = this.#limit.waitMs(caller, this.#clock.nowMs());
    if (waitMs === 0 || this.#limit.isProven(caller, hash)) return;
    this.counts.limited++;
    this.#limitedLog.warn("an address that showed too many wrong access tokens has to wait", { caller, waitMs });
    const seconds = Math.ceil(waitMs / 1000);
    throw new ProblemError(
      429,
      `too many wrong access tokens came from this address, so none is looked at now; try again in ${seconds} s`,
      { headers: { "retry-after": String(seconds) } },
    );
  }
}
