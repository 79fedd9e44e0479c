// The tokens of the database as this instance knows them: in memory, so that a request costs no query, and read again
// often enough that what another instance created or revoked counts here too.
//
// The list is read again in the background when a request finds it a second old, and waited for when it is two: that is
// how long a revoked token lives elsewhere. A token that is not in the list makes it be read again at once, so a new one
// counts everywhere at once; all who wait for that share one reading, and readings keep a distance, so nobody makes the
// database work by guessing. While the database is away, or slow, the list last read goes on to count.
import { type Clock, type SetTimer, systemTimer } from "../platform/clock.ts";
import { StoreUnavailable, type TokenRecord, type TokenStore } from "../store/route-store.ts";
import { equalHex } from "./token-secret.ts";

const REFRESH_AGE_MS = 1000;
const MAX_AGE_MS = 2000;
/** A database that takes longer counts as away. */
const MAX_WAIT_MS = 500;
/** The first list is worth a longer wait: without it nobody can be let in. */
const FIRST_WAIT_MS = 3000;
const READ_DISTANCE_MS = 100;
/** After a failure, requests are not kept waiting for another before this. */
const RETRY_MS = 1000;
/** A reading from another node of the database may not have seen a removal yet. */
const REMOVED_MEMORY_MS = 10_000;
/** 64 bits of a hash: an index finds by them, the comparison is over all. */
const PREFIX_LENGTH = 16;

export class KnownTokens {
  readonly #store: TokenStore;
  readonly #clock: Clock;
  readonly #setTimer: SetTimer;
  #byPrefix: ReadonlyMap<string, readonly TokenRecord[]> | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #failure: { readonly error: unknown; readonly atMs: number } | undefined;
  #reading: Promise<void> | undefined;
  #startedMs = Number.NEGATIVE_INFINITY;
  /** A reading that has not started yet. */
  #next: Promise<void> | undefined;
  /** Removed here: id -> when. */
  readonly #removed = new Map<string, number>();

  constructor(store: TokenStore, clock: Clock, setTimer: SetTimer = systemTimer) {
    this.#store = store;
    this.#clock = clock;
    this.#setTimer = setTimer;
  }

  find(hash: string): TokenRecord | undefined {
    const alike = this.#byPrefix?.get(hash.slice(0, PREFIX_LENGTH)) ?? [];
    return alike.find(({ id, sha256 }) => equalHex(sha256, hash) && !this.#removed.has(id));
  }

  /** {@link find} answers from a list that {@link freshen} would not read again. */
  isRecent(): boolean {
    return this.#clock.nowMs() - this.#readAtMs < REFRESH_AGE_MS;
  }

  /**
   * Resolves when {@link find} answers from a list that is recent, or the last there was while the database is away.
   * @throws StoreUnavailable when none could ever be read
   */
  async freshen(): Promise<void> {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#readAtMs < REFRESH_AGE_MS) return;
    if (this.#byPrefix === undefined) {
      await this.#within(this.#read(), FIRST_WAIT_MS);
      if (this.#byPrefix === undefined) {
        throw this.#failure?.error ?? new StoreUnavailable("the access tokens could not be read in time");
      }
      return;
    }
    if (this.#failure !== undefined && nowMs - this.#failure.atMs < RETRY_MS) return;
    const reading = this.#read();
    if (nowMs - this.#readAtMs < MAX_AGE_MS) return;
    await this.#within(reading, MAX_WAIT_MS - (nowMs - this.#startedMs));
  }

  /** Reads a list that is not older than this call. False when the database does not answer: who knows what is new. */
  async reread(): Promise<boolean> {
    const calledMs = this.#clock.nowMs();
    if (this.#failure !== undefined && calledMs - this.#failure.atMs < RETRY_MS) return false;
    this.#next ??= this.#readNext();
    await this.#within(this.#next, MAX_WAIT_MS);
    return this.#readAtMs >= calledMs;
  }

  /** Takes back what {@link find} would find, at once, whatever a reading that is under way will say. */
  forget(id: string): void {
    this.#removed.set(id, this.#clock.nowMs());
  }

  async #readNext(): Promise<void> {
    const waitMs = this.#startedMs + READ_DISTANCE_MS - this.#clock.nowMs();
    if (waitMs > 0) await new Promise<void>((resolve) => this.#setTimer(waitMs, resolve));
    // One that is under way began before somebody called, so it may have missed what the caller means.
    await this.#reading;
    this.#next = undefined;
    await this.#read();
  }

  /** Never rejects: what went wrong is kept. */
  #read(): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    const startedMs = this.#clock.nowMs();
    this.#startedMs = startedMs;
    this.#reading = this.#store.list().then(
      (tokens) => {
        this.#byPrefix = byPrefix(tokens);
        this.#readAtMs = startedMs;
        this.#failure = undefined;
        this.#reading = undefined;
        for (const [id, atMs] of this.#removed) if (startedMs - atMs > REMOVED_MEMORY_MS) this.#removed.delete(id);
      },
      (error: unknown) => {
        this.#failure = { error, atMs: this.#clock.nowMs() };
        this.#reading = undefined;
      },
    );
    return this.#reading;
  }

  async #within(work: Promise<void>, ms: number): Promise<void> {
    if (ms <= 0) return;
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      cancel = this.#setTimer(ms, resolve);
    });
    await Promise.race([work, late]);
    cancel();
  }
}

function byPrefix(tokens: readonly TokenRecord[]): ReadonlyMap<string, readonly TokenRecord[]> {
  const index = new Map<string, TokenRecord[]>();
  for (const token of tokens) {
    const prefix = token.sha256.slice(0, PREFIX_LENGTH);
    const alike = index.get(prefix);
    if (alike === undefined) index.set(prefix, [token]);
    else alike.push(token);
  }
  return index;
}
