// The loop that keeps a follower in step: asks one leader, holds the question open until something changed, takes the
// answer, asks again. When that leader fails or is behind the next one is asked at once; only when all were asked in vain
// there is a pause, drawn at random so that the followers of a leader that comes back do not all come in one instant.
//
// After any failure the first question is one that is to be answered at once: a link that is whole proves it in a round
// trip, and one that is cut is given up after the silence alone. Nothing waits for this loop; readers are served from
// memory whatever it does.
import { type BackoffLimits, backoffDelay } from "../../core/backoff.ts";
import type { Clock, SetTimer } from "../../platform/clock.ts";
import { type Log, rateLimited } from "../../platform/log.ts";
import type { RouteDelta } from "../../store/route-store.ts";
import type { LeaderAddress } from "./leader-addresses.ts";
import type { Ask, LeaderTls } from "./leader-client.ts";
import type { LeaderMirror } from "./leader-mirror.ts";

export interface LeaderLinkOptions {
  readonly mirror: LeaderMirror;
  /** Looked up anew before each round of all of them. */
  readonly addresses: () => Promise<readonly LeaderAddress[]>;
  readonly ask: Ask;
  readonly token: () => string;
  readonly waitMs: () => number;
  readonly silenceMs: () => number;
  readonly tls: () => LeaderTls;
  readonly clock: Clock;
  readonly setTimer: SetTimer;
  readonly random: () => number;
  readonly log: Log;
  readonly onDelta: (delta: RouteDelta) => void;
  /** No leader was of any use in a whole round; `failure` says why. */
  readonly onFailedRound: () => void;
}

const BACKOFF: BackoffLimits = { baseMs: 50, maxMs: 1000 };
/** A leader that answers "nothing new" before its time is not asked faster than this. */
const LEAST_PAUSE_MS = 50;

export class LeaderLink {
  readonly #options: LeaderLinkOptions;
  readonly #stopped = new AbortController();
  readonly #log: Log;
  #running: Promise<void> | undefined;
  #addresses: readonly LeaderAddress[] = [];
  #at = 0;
  #failedRounds = 0;
  #connected: LeaderAddress | undefined;
  #lastConnected: string | undefined;
  #failure: string | undefined = "no leader was asked yet";
  #currentAtMs: number;
  #leaderRevision = 0;
  #saidBehind = false;
  #saidFailing = false;
  readonly counts = { answers: 0, advances: 0, compared: 0, behind: 0, failures: 0, switches: 0 };

  constructor(options: LeaderLinkOptions) {
    this.#options = options;
    this.#currentAtMs = options.clock.nowMs();
    this.#log = rateLimited(options.log, 5, options.clock);
  }

  /** The last question was answered with something to serve. */
  get connected(): boolean {
    return this.#connected !== undefined;
  }

  /** Why the last round of all leaders was in vain; undefined while connected. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Since what is served was known to be what a leader has, in milliseconds. */
  get lagMs(): number {
    return this.#options.clock.nowMs() - this.#currentAtMs;
  }

  /** What the leader that was asked last said it is at. */
  get leaderRevision(): number {
    return this.#leaderRevision;
  }

  /** What is known was saved so long ago. */
  startsBehind(ms: number): void {
    this.#currentAtMs -= Math.max(0, ms);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      if (this.#at >= this.#addresses.length) {
        this.#addresses = await this.#options.addresses();
        this.#at = 0;
      }
      const useful = await this.#askOne(this.#addresses[this.#at]!);
      if (useful || signal.aborted) continue;
      this.#connected = undefined;
      this.#at++;
      if (this.#at < this.#addresses.length) continue;
      this.#options.onFailedRound();
      await this.#pause(backoffDelay(this.#failedRounds++, BACKOFF, this.#options.random()));
    }
  }

  /** False: ask another. */
  async #askOne(address: LeaderAddress): Promise<boolean> {
    const { mirror, clock } = this.#options;
    const waitMs = this.#connected === address && mirror.atRest ? this.#options.waitMs() : 0;
    const askedAtMs = clock.nowMs();
    const answer = await this.#options.ask(address, mirror.request, {
      token: this.#options.token(),
      waitMs,
      silenceMs: this.#options.silenceMs(),
      tls: this.#options.tls(),
      signal: this.#stopped.signal,
    });
    if (this.#stopped.signal.aborted) return false;
    if (!answer.ok) {
      this.#fail(address, answer.why);
      return false;
    }
    this.counts.answers++;
    this.#leaderRevision = answer.page.revision;
    const taken = mirror.take(answer.page);
    if (taken.outcome === "behind") {
      this.#noteBehind(address, taken.revision);
      return false;
    }
    if (taken.outcome === "more") return true;
    this.#connect(address);
    if (taken.outcome === "advanced") {
      this.counts.advances++;
      if (taken.compared) this.#noteCompared(taken.delta);
      this.#options.onDelta(taken.delta);
    } else if (waitMs > 0 && clock.nowMs() - askedAtMs < waitMs / 2) {
      await this.#pause(LEAST_PAUSE_MS * (1 + this.#options.random()));
    }
    return true;
  }

  #connect(address: LeaderAddress): void {
    this.#currentAtMs = this.#options.clock.nowMs();
    this.#failure = undefined;
    this.#failedRounds = 0;
    this.#saidBehind = false;
    this.#saidFailing = false;
    if (this.#connected === address) return;
    this.#connected = address;
    const { base } = address;
    if (this.#lastConnected !== undefined && this.#lastConnected !== base) this.counts.switches++;
    this.#lastConnected = base;
    this.#log.info("following a leader", { leader: base, revision: this.#options.mirror.revision });
  }

  #fail({ base }: LeaderAddress, why: string): void {
    this.counts.failures++;
    this.#failure = `${base}: ${why}`;
    const { revision } = this.#options.mirror;
    if (this.#saidFailing) {
      this.#log.debug("a leader does not answer", { leader: base, why });
      return;
    }
    this.#saidFailing = true;
    this.#log.warn("a leader does not answer; what is known is served", { leader: base, why, revision });
  }

  #noteBehind({ base }: LeaderAddress, revision: number): void {
    this.counts.behind++;
    const served = this.#options.mirror.revision;
    this.#failure = `${base}: it is at revision ${revision}, and ${served} was served here`;
    if (this.#saidBehind) return;
    this.#saidBehind = true;
    this.#log.error(
      "the leader is older than what is served here: it lags, or its database was restored. It is waited for; any change there carries it past",
      { leader: base, revision, served },
    );
  }

  #noteCompared({ routes, names, revision }: RouteDelta): void {
    this.counts.compared++;
    this.#log.warn("the leader has another history than what is served: everything was compared", {
      revision,
      routes: routes.length,
      names: names.length,
    });
  }

  #pause(ms: number): Promise<void> {
    const { signal } = this.#stopped;
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.#options.setTimer(ms, done);
      signal.addEventListener("abort", done);
      if (signal.aborted) done();
    });
  }
}
