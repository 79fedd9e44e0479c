// What a process gets when it opens the database: the stores, and what its main program does with the connection itself.
import type { LeaseStore } from "./lease-store.ts";
import type { ReportStore } from "./report-store.ts";
import type { RouteStore, TokenStore } from "./route-store.ts";

export interface Database {
  readonly dialect: "mysql" | "sqlite";
  readonly routes: RouteStore;
  /** Absent: leases are not kept here. */
  readonly leases?: LeaseStore;
  readonly tokens: TokenStore;
  readonly reports: ReportStore;
  /** Brings the tables to what this program needs; an old Lars database is taken over in place. May run concurrently. */
  migrate(): Promise<void>;
  /** @throws StoreUnavailable when the database does not answer */
  ping(): Promise<void>;
  /** Waits for what is running, then closes. Afterwards every call throws StoreUnavailable. */
  close(): Promise<void>;
}

/** Hosts as host:port. */
export interface NodeMove {
  readonly from: string;
  readonly to: string;
  /** Why the one before was left. */
  readonly reason: string;
}

export interface DatabaseOptions {
  /** MySQL: connections in all. More serve more requests at once and cost the server memory. Default 8. */
  readonly connections?: number;
  /** MySQL: to one host, handshake included. Milliseconds, default 2000. */
  readonly connectTimeoutMs?: number;
  /** MySQL: one statement; also the wait for a free connection. Milliseconds, default 5000. */
  readonly queryTimeoutMs?: number;
  /** MySQL: one statement that looks at a whole table. Milliseconds, default 60000. */
  readonly scanTimeoutMs?: number;
  /** MySQL: PEM of the CAs that the server's certificate must be signed by. Absent: connections are not encrypted. */
  readonly tlsCa?: string | undefined;
  /** MySQL: the process works with another of the URL's hosts than before. */
  readonly onMove?: ((move: NodeMove) => void) | undefined;
  /** The wall clock in milliseconds, for when an agent was last heard of. */
  readonly now?: () => number;
}

/**
 * From the [database] section as dns and report have it. `tlsCa`: the text of its tls_ca_file.
 * @throws Error when that file is configured and its text is not there: nobody may take a plain connection for a safe one
 */
export function databaseOptions(
  section: {
    readonly pool_size: number;
    readonly connect_timeout_ms: number;
    readonly query_timeout_ms: number;
    readonly tls_ca_file: string;
  },
  tlsCa?: string,
): DatabaseOptions {
  if (section.tls_ca_file !== "" && tlsCa === undefined) {
    throw new Error(`database.tls_ca_file is ${section.tls_ca_file}, and this program cannot read files; unset it`);
  }
  return {
    tlsCa,
    connections: section.pool_size,
    connectTimeoutMs: section.connect_timeout_ms,
    queryTimeoutMs: section.query_timeout_ms,
  };
}
