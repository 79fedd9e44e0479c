// One connection to one node: opened, asked what the node is good for, and set up as our statements need it.
import { type Connection, type ConnectionOptions, createConnection, type SslOptions } from "mysql2/promise";
import type { MysqlHost, MysqlTarget } from "../database-url.ts";
import { judgeNode, type NodeState, REFUSES, replicates, STATUS_QUERY, VARIABLES_QUERY } from "./node-state.ts";

/**
 * A connection that says nothing for so long is ended by the server, and what it had begun rolled back: an instance that
 * hangs, or is cut off without a sign, in the middle of a write holds the lock that all writers wait for no longer than
 * this. Within a transaction of ours statements follow each other in milliseconds.
 */
export const SILENCE_SECONDS = 4;

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

/**
 * On a Galera node, besides: a read or the beginning of a transaction waits until the node has applied everything that
 * was committed anywhere before. Without it, a process that moves to another node would look into the past there, and
 * take what it sees for a database restored from a backup.
 */
const GALERA_SETTINGS = "SET SESSION wsrep_sync_wait = 1, SESSION wsrep_dirty_reads = OFF";

/** The node answered, and cannot be worked with. */
export class NodeRefuses extends Error {
  override name = "NodeRefuses";
}

export interface ConnectOptions {
  readonly ssl: SslOptions | undefined;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
}

export function sslOptions(ca: string | undefined): SslOptions | undefined {
  return ca === undefined ? undefined : { ca, rejectUnauthorized: true, verifyIdentity: true };
}

async function named(connection: Connection, sql: string, timeout: number): Promise<Map<string, string>> {
  const [rows] = await connection.query({ sql, rowsAsArray: true, timeout });
  return new Map((rows as unknown as [string, string][]).map(([name, value]) => [name.toLowerCase(), String(value)]));
}

async function stateOf(connection: Connection, timeout: number): Promise<NodeState> {
  const variables = await named(connection, VARIABLES_QUERY, timeout);
  return judgeNode(variables, replicates(variables) ? await named(connection, STATUS_QUERY, timeout) : new Map());
}

/** @throws NodeRefuses when the node is there and does not serve; what the network or the server says otherwise */
export async function connectTo(
  { host, port }: MysqlHost,
  { user, password, database }: MysqlTarget,
  { ssl, connectTimeoutMs, queryTimeoutMs }: ConnectOptions,
): Promise<{ readonly connection: Connection; readonly state: NodeState }> {
  const options: ConnectionOptions = {
    host,
    port,
    user,
    password,
    database,
    charset: "utf8mb4",
    connectTimeout: connectTimeoutMs,
    // Beyond 2^53 a number arrives as text instead of rounded.
    supportBigNumbers: true,
    // mysql-session.ts sends what belongs together in one packet, and sees to it that nothing else gets in.
    multipleStatements: true,
    // Or every statement captures a stack, a fifth of what it costs; errors are known by their code and what they say.
    trace: false,
    ...(ssl === undefined ? {} : { ssl }),
  };
  const connection = await createConnection(options);
  connection.on("error", () => {});
  try {
    const state = await stateOf(connection, connectTimeoutMs);
    if (state.rank === REFUSES) throw new NodeRefuses(state.reason);
    for (const sql of sessionSettings(queryTimeoutMs)) await connection.query({ sql, timeout: connectTimeoutMs });
    if (state.replicates) await connection.query({ sql: GALERA_SETTINGS, timeout: connectTimeoutMs });
    return { connection, state };
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

/** mysql2 marks a connection whose socket has ended, sometimes before it tells. */
export function isClosed(connection: Connection): boolean {
  const { _closing, _fatalError, _protocolError } = (connection as unknown as { connection: Record<string, unknown> })
    .connection as { _closing?: unknown; _fatalError?: unknown; _protocolError?: unknown };
  return Boolean(_closing) || Boolean(_fatalError) || Boolean(_protocolError);
}

/** Ends a connection under whoever uses it: their statement fails as lost, where destroy() would leave it waiting. */
export function cut(connection: Connection): void {
  const { stream } = (connection as unknown as { connection: { stream: { destroy(): void } } }).connection;
  stream.destroy();
}
