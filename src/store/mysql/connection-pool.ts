// A pool of connections to one of several nodes, in an order of preference. mysql2 has a pool, but a connection that
// breaks in use leaves its callers in line waiting for ever, and it knows one host only; what a pool must promise here is
// little enough to say it in full: every wait ends, every connection that failed is thrown away, the line has an end, and
// all connections lead to the node of node-choice.ts.
//
// When the process moves to another node, free connections to the old one are closed at once and those in use when they
// are given back: what runs is finished where it runs. A node that hangs keeps its connections open and says nothing; so
// while a statement takes long, the node is asked on a connection of its own, and if there is no answer all its
// connections are cut. Better nodes are asked now and then, on the occasion of a caller, so that a process that does
// nothing does not do this either.
import type { Connection, SslOptions } from "mysql2/promise";
import type { NodeMove } from "../database.ts";
import type { MysqlTarget } from "../database-url.ts";
import { StoreUnavailable } from "../route-store.ts";
import { isAnswer, saysNodeRefuses } from "./failure.ts";
import { NodeChoice } from "./node-choice.ts";
import { connectTo, cut, isClosed, SILENCE_SECONDS, sslOptions } from "./node-connection.ts";
import { type NodeState, REFUSES } from "./node-state.ts";

/** Callers that may wait for a connection; more are refused at once. */
const MAX_WAITING = 10_000;
/** A free connection that was silent for so long is not used again, lest the server end it at that moment. */
const MAX_FREE_MS = (SILENCE_SECONDS * 1000) / 2;
/** How often better nodes are asked; jittered, so that processes that moved together do not ask together. */
const PROBE_MS = 3_000;
/** How long a preferred node must have served before it is gone back to. */
const STEADY_MS = 10_000;
/** A statement that takes this long makes the pool ask whether the node is still there. */
const SUSPECT_MS = 1_000;

export interface PoolOptions {
  /** PEM: connections are encrypted, and the server's certificate must be signed by one of these CAs, for the host as written. */
  readonly tlsCa?: string | undefined;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
  readonly onMove?: ((move: NodeMove) => void) | undefined;
  readonly probeMs?: number;
  readonly steadyMs?: number;
  readonly suspectMs?: number;
}

interface Waiter {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class ConnectionPool {
  readonly #target: MysqlTarget;
  readonly #options: PoolOptions;
  readonly #choice: NodeChoice;
  readonly #ssl: SslOptions | undefined;
  /** The one that was used last comes last. */
  readonly #free: { readonly connection: Connection; readonly sinceMs: number }[] = [];
  /** Handed out, with the time since. */
  readonly #used = new Map<Connection, number>();
  readonly #nodeOf = new WeakMap<Connection, number>();
  readonly #states = new WeakMap<Connection, NodeState>();
  readonly #waiting = new Set<Waiter>();
  /** Connections that exist or are being made. */
  #open = 0;
  #closed = false;
  #drained: (() => void) | undefined;
  #election: Promise<number> | undefined;
  /** The last node that was used, and why it was left. */
  #last: number | undefined;
  #reason = "";
  #probeAtMs = 0;
  #watch: ReturnType<typeof setTimeout> | undefined;

  constructor(target: MysqlTarget, options: PoolOptions) {
    this.#target = target;
    this.#options = options;
    // One object for all connections: the driver parses the CAs once for it.
    this.#ssl = sslOptions(options.tlsCa);
    this.#choice = new NodeChoice(target.hosts.length, options.steadyMs ?? STEADY_MS);
  }

  /** host:port of the node in use; undefined: none is. */
  get node(): string | undefined {
    const { current } = this.#choice;
    return current === undefined ? undefined : this.#name(current);
  }

  /** Give it back with {@link release}, whatever happened to it. */
  async acquire(): Promise<Connection> {
    if (this.#closed) throw new StoreUnavailable("the database was closed");
    this.#probeNowAndThen();
    const free = this.#takeFree();
    if (free !== undefined) return this.#hand(free);
    if (this.#open < this.#options.connections) {
      this.#open++;
      try {
        return this.#hand(await this.#connect());
      } catch (error) {
        this.#forget();
        throw error;
      }
    }
    if (this.#waiting.size >= MAX_WAITING) {
      throw new StoreUnavailable(`${MAX_WAITING} callers wait for a database connection already`);
    }
    return new Promise((resolve, reject) => {
      const { connections, queryTimeoutMs } = this.#options;
      const timer = setTimeout(() => {
        this.#waiting.delete(waiter);
        reject(
          new StoreUnavailable(`none of ${connections} database connections became free within ${queryTimeoutMs} ms`),
        );
      }, queryTimeoutMs);
      const waiter: Waiter = { resolve, reject, timer };
      this.#waiting.add(waiter);
    });
  }

  /** `broken`: its state is not known to be clean; it is thrown away. `error`: what its work failed with. */
  release(connection: Connection, broken: boolean, error?: unknown): void {
    this.#used.delete(connection);
    const index = this.#nodeOf.get(connection)!;
    if (error !== undefined && saysNodeRefuses(error)) this.#lose(index, error);
    if (broken || this.#closed || isClosed(connection) || index !== this.#choice.current) {
      connection.destroy();
      this.#forget();
      return;
    }
    const waiter = this.#nextWaiter();
    if (waiter === undefined) this.#free.push({ connection, sinceMs: performance.now() });
    else waiter.resolve(this.#hand(connection));
  }

  /** Whether new work goes to the node that `connection` leads to. */
  leadsToCurrent(connection: Connection): boolean {
    return this.#nodeOf.get(connection) === this.#choice.current;
  }

  /** What the node that `connection` leads to said of itself when it was opened. */
  stateOf(connection: Connection): NodeState {
    return this.#states.get(connection)!;
  }

  /** Waits for connections in use to be given back. */
  async close(): Promise<void> {
    this.#closed = true;
    for (let waiter = this.#nextWaiter(); waiter !== undefined; waiter = this.#nextWaiter()) {
      waiter.reject(new StoreUnavailable("the database was closed"));
    }
    for (const { connection } of this.#free.splice(0)) {
      connection.destroy();
      this.#open--;
    }
    if (this.#open > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
    clearTimeout(this.#watch);
  }

  /** A connection of its own, outside the pool. The caller ends it. */
  async dedicated(): Promise<Connection> {
    return this.#connectToCurrent();
  }

  /**
   * The one that was used last, unless another is about to have been silent for too long: so a process that does little,
   * and now and then two things at once, does not open a second connection each time.
   */
  #takeFree(): Connection | undefined {
    const nowMs = performance.now();
    const silentSince = () => this.#free[0]?.sinceMs ?? nowMs;
    while (nowMs - silentSince() >= MAX_FREE_MS) {
      this.#free.shift()!.connection.destroy();
      this.#forget();
    }
    const free = nowMs - silentSince() >= MAX_FREE_MS / 2 ? this.#free.shift() : this.#free.pop();
    return free?.connection;
  }

  #hand(connection: Connection): Connection {
    this.#used.set(connection, performance.now());
    if (this.#watch === undefined && this.#target.hosts.length > 1) this.#watchLater();
    return connection;
  }

  #nextWaiter(): Waiter | undefined {
    for (const waiter of this.#waiting) {
      this.#waiting.delete(waiter);
      clearTimeout(waiter.timer);
      return waiter;
    }
    return undefined;
  }

  /** A connection is gone: whoever waits first may make another in its place. */
  #forget(): void {
    this.#open--;
    if (this.#closed) {
      if (this.#open === 0) this.#drained?.();
      return;
    }
    const waiter = this.#nextWaiter();
    if (waiter !== undefined) this.acquire().then(waiter.resolve, waiter.reject);
  }

  async #connect(): Promise<Connection> {
    const connection = await this.#connectToCurrent();
    // A connection that dies while nobody uses it says so here; one in use fails its statement and is released as broken.
    const drop = () => {
      const index = this.#free.findIndex((free) => free.connection === connection);
      if (index < 0) return;
      this.#free.splice(index, 1);
      connection.destroy();
      this.#forget();
    };
    connection.on("error", drop);
    connection.on("end", drop);
    return connection;
  }

  /** To the node in use, or the one that then is. */
  async #connectToCurrent(): Promise<Connection> {
    for (let attempt = 1; ; attempt++) {
      const index = this.#choice.current ?? (await this.#elect());
      try {
        const { connection, state } = await this.#connectTo(index);
        this.#nodeOf.set(connection, index);
        this.#states.set(connection, state);
        if (this.#target.hosts.length > 1) this.#choice.asked(index, state.rank, performance.now());
        return connection;
      } catch (error) {
        this.#lose(index, error);
        if (this.#target.hosts.length === 1 || attempt > this.#target.hosts.length)
          throw this.#nobody([error], [index]);
      }
    }
  }

  #connectTo(index: number): Promise<{ readonly connection: Connection; readonly state: NodeState }> {
    return connectTo(this.#target.hosts[index]!, this.#target, { ...this.#options, ssl: this.#ssl });
  }

  /** Finds the node to use. One search runs at a time; whoever comes meanwhile shares it. */
  #elect(): Promise<number> {
    this.#election ??= this.#search().finally(() => {
      this.#election = undefined;
    });
    return this.#election;
  }

  async #search(): Promise<number> {
    // Where there is no choice, the connection that is made next says what there is to say.
    if (this.#target.hosts.length === 1) return this.#takeOver(0, 0);
    const candidates = this.#choice.candidates();
    const errors: unknown[] = [];
    let best: { readonly index: number; readonly rank: 0 | 1 | 2 } | undefined;
    for (const index of candidates) {
      try {
        const { connection, state } = await this.#connectTo(index);
        connection.destroy();
        if (state.rank === REFUSES) continue;
        if (best === undefined || state.rank < best.rank) best = { index, rank: state.rank };
        if (state.rank === 0) break;
      } catch (error) {
        this.#choice.lose(index);
        errors.push(error);
      }
    }
    if (best === undefined) throw this.#nobody(errors, candidates);
    return this.#takeOver(best.index, best.rank);
  }

  #takeOver(index: number, rank: 0 | 1 | 2): number {
    this.#choice.take(index, rank, performance.now());
    this.#tellMove(index);
    return index;
  }

  #tellMove(to: number): void {
    const from = this.#last;
    this.#last = to;
    if (from === undefined || from === to) return;
    this.#options.onMove?.({ from: this.#name(from), to: this.#name(to), reason: this.#reason });
  }

  /** The node does not serve: its free connections go, and who comes next finds another. */
  #lose(index: number, error: unknown): void {
    if (this.#choice.current === index) this.#reason = messageOf(error);
    this.#choice.lose(index);
    this.#closeFree();
  }

  #closeFree(): void {
    for (const { connection } of this.#free.splice(0)) {
      connection.destroy();
      this.#forget();
    }
  }

  #name(index: number): string {
    const { host, port } = this.#target.hosts[index]!;
    return `${host}:${port}`;
  }

  #nobody(errors: readonly unknown[], order: readonly number[]): StoreUnavailable {
    const reasons = errors.map((error, i) => `${this.#name(order[i]!)}: ${messageOf(error)}`);
    return new StoreUnavailable(`no connection to the database (${reasons.join("; ")})`, { cause: errors.at(-1) });
  }

  /** What a node is good for now. Moves there if it is better than the one in use. */
  async #ask(index: number): Promise<{ readonly answered: boolean; readonly error?: unknown }> {
    try {
      const { connection, state } = await this.#connectTo(index);
      connection.destroy();
      if (this.#closed) return { answered: true };
      if (this.#choice.asked(index, state.rank, performance.now())) {
        this.#reason = "a better node serves again";
        this.#tellMove(index);
        this.#closeFree();
      }
      return { answered: true };
    } catch (error) {
      return { answered: isAnswer(error), error };
    }
  }

  #probeNowAndThen(): void {
    const nowMs = performance.now();
    if (nowMs < this.#probeAtMs) return;
    const better = this.#choice.better();
    if (better.length === 0) return;
    this.#probeAtMs = nowMs + (this.#options.probeMs ?? PROBE_MS) * (0.75 + Math.random() / 2);
    for (const index of better) {
      void this.#ask(index).then(({ error }) => {
        if (error !== undefined && index !== this.#choice.current) this.#choice.lose(index);
      });
    }
  }

  #watchLater(): void {
    const suspectMs = this.#options.suspectMs ?? SUSPECT_MS;
    this.#watch = setTimeout(() => {
      this.#watch = undefined;
      void this.#lookAtSlow(suspectMs).finally(() => {
        if (this.#used.size > 0 && this.#watch === undefined && !this.#closed) this.#watchLater();
      });
    }, suspectMs);
  }

  /** Asks the nodes on which something has been running for long, and leaves them if they say nothing or stand still. */
  async #lookAtSlow(suspectMs: number): Promise<void> {
    const longAgoMs = performance.now() - suspectMs;
    const slow = new Set<number>();
    for (const [connection, sinceMs] of this.#used) if (sinceMs <= longAgoMs) slow.add(this.#nodeOf.get(connection)!);
    await Promise.all(
      [...slow].map(async (index) => {
        const { answered, error } = await this.#ask(index);
        if (error !== undefined && (!answered || saysNodeRefuses(error))) {
          this.#lose(index, error);
          this.#cutAll(index, Number.POSITIVE_INFINITY);
        } else if (index === this.#choice.current && this.#choice.isSecondRate) {
          // It is there, but of a kind that may stand still: a donor does while its files are copied.
          await Promise.all(this.#choice.better().map((other) => this.#ask(other)));
          if (index !== this.#choice.current) this.#cutAll(index, longAgoMs);
        }
      }),
    );
  }

  /** Ends what has been running on a node since before then. Who waits for it is told, and goes elsewhere. */
  #cutAll(index: number, sinceBeforeMs: number): void {
    for (const [connection, sinceMs] of [...this.#used]) {
      if (this.#nodeOf.get(connection) === index && sinceMs <= sinceBeforeMs) cut(connection);
    }
  }
}

function messageOf(error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  return message || code || "no reason given";
}
