// A pool of connections to the first reachable of several hosts. mysql2 has one, but a connection that breaks in use
// leaves its callers in line waiting for ever, and it knows one host only; what a pool must promise here is little
// enough to say it in full: every wait ends, every connection that failed is thrown away, the line has an end.
import { type Connection, type ConnectionOptions, createConnection, type SslOptions } from "mysql2/promise";
import type { MysqlHost, MysqlTarget } from "../database-url.ts";
import { StoreUnavailable } from "../route-store.ts";

/** Callers that may wait for a connection; more are refused at once. */
const MAX_WAITING = 10_000;
/**
 * A connection that says nothing for so long is ended by the server, and what it had begun rolled back: an instance that
 * hangs, or is cut off without a sign, in the middle of a write holds the lock that all writers wait for no longer than
 * this. Within a transaction of ours statements follow each other in milliseconds.
 */
const SILENCE_SECONDS = 4;
/** A free connection that was silent for so long is not used again, lest the server end it at that moment. */
const MAX_FREE_MS = (SILENCE_SECONDS * 1000) / 2;

/**
 * The session every statement of ours relies on, whatever the server's defaults: READ COMMITTED, so that a transaction
 * sees what others committed meanwhile and locks only rows it finds; strict mode, so that a value is never cut silently
 * (and backslashes escape, which the client's quoting relies on); a lock that is given up before the statement times
 * out, because after a time-out the connection is lost and after a lock time-out it is not.
 */
function sessionSettings(queryTimeoutMs: number): string[] {
  const lockSeconds = Math.max(1, Math.floor(queryTimeoutMs / 1000) - 1);
  return [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', SESSION autocommit = 1," +
      ` SESSION innodb_lock_wait_timeout = ${lockSeconds}, SESSION wait_timeout = ${SILENCE_SECONDS}`,
  ];
}

export interface PoolOptions {
  /** PEM: connections are encrypted, and the server's certificate must be signed by one of these CAs, for the host as written. */
  readonly tlsCa?: string | undefined;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
}

interface Waiter {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

export class ConnectionPool {
  readonly #target: MysqlTarget;
  readonly #options: PoolOptions;
  readonly #ssl: SslOptions | undefined;
  /** The one that was used last comes last, and is used next. */
  readonly #free: { readonly connection: Connection; readonly sinceMs: number }[] = [];
  readonly #waiting = new Set<Waiter>();
  /** Connections that exist or are being made. */
  #open = 0;
  #host = 0;
  #closed = false;
  #drained: (() => void) | undefined;

  constructor(target: MysqlTarget, options: PoolOptions) {
    this.#target = target;
    this.#options = options;
    // One object for all connections: the driver parses the CAs once for it.
    if (options.tlsCa !== undefined) this.#ssl = { ca: options.tlsCa, rejectUnauthorized: true, verifyIdentity: true };
  }

  /** Give it back with {@link release}, whatever happened to it. */
  async acquire(): Promise<Connection> {
    if (this.#closed) throw new StoreUnavailable("the database was closed");
    const free = this.#free.pop();
    if (free !== undefined) {
      if (performance.now() - free.sinceMs < MAX_FREE_MS) return free.connection;
      // The others have been silent for longer still.
      for (const { connection } of [free, ...this.#free.splice(0)]) {
        connection.destroy();
        this.#forget();
      }
    }
    if (this.#open < this.#options.connections) {
      this.#open++;
      try {
        return await this.#connect();
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

  /** `broken`: its state is not known to be clean; it is thrown away. */
  release(connection: Connection, broken: boolean): void {
    if (broken || this.#closed || isClosed(connection)) {
      connection.destroy();
      this.#forget();
      return;
    }
    const waiter = this.#nextWaiter();
    if (waiter === undefined) this.#free.push({ connection, sinceMs: performance.now() });
    else waiter.resolve(connection);
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
  }

  /** A connection of its own, outside the pool. The caller ends it. */
  async dedicated(): Promise<Connection> {
    return this.#connectFirst();
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
    const connection = await this.#connectFirst();
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

  async #connectFirst(): Promise<Connection> {
    const { hosts } = this.#target;
    const errors: unknown[] = [];
    const first = this.#host;
    for (let i = 0; i < hosts.length; i++) {
      const index = (first + i) % hosts.length;
      try {
        const connection = await this.#connectTo(hosts[index]!);
        this.#host = index;
        return connection;
      } catch (error) {
        errors.push(error);
      }
    }
    const reasons = errors.map((error, i) => {
      const { host, port } = hosts[(first + i) % hosts.length]!;
      const { code, message } = error as { code?: string; message?: string };
      return `${host}:${port}: ${message || code || "no reason given"}`;
    });
    throw new StoreUnavailable(`no connection to the database (${reasons.join("; ")})`, { cause: errors.at(-1) });
  }

  async #connectTo({ host, port }: MysqlHost): Promise<Connection> {
    const { user, password, database } = this.#target;
    const options: ConnectionOptions = {
      host,
      port,
      user,
      password,
      database,
      charset: "utf8mb4",
      connectTimeout: this.#options.connectTimeoutMs,
      // Beyond 2^53 a number arrives as text instead of rounded.
      supportBigNumbers: true,
      ...(this.#ssl === undefined ? {} : { ssl: this.#ssl }),
    };
    const connection = await createConnection(options);
    connection.on("error", () => {});
    try {
      const timeout = this.#options.queryTimeoutMs;
      for (const sql of sessionSettings(timeout)) await connection.query({ sql, timeout });
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return connection;
  }
}

/** mysql2 marks a connection whose socket has ended, sometimes before it tells. */
function isClosed(connection: Connection): boolean {
  const { _closing, _fatalError, _protocolError } = (connection as unknown as { connection: Record<string, unknown> })
    .connection as { _closing?: unknown; _fatalError?: unknown; _protocolError?: unknown };
  return Boolean(_closing) || Boolean(_fatalError) || Boolean(_protocolError);
}
