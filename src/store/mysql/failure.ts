// Which errors of a MySQL server or the way to it mean "not available, try later", which mean "once more from the
// start", and which are bugs that must not be hidden.
import { StoreUnavailable } from "../route-store.ts";
import { NodeRefuses } from "./node-connection.ts";

interface ErrorFacts {
  readonly errno: number;
  readonly code: string;
  readonly fatal: boolean;
}

/** Deadlock, lock wait time-out, and MariaDB's "record has changed since last read": nothing happened, try again. */
const REPEATABLE = new Set([1213, 1205, 1020]);

/** The node cannot be worked with, whatever the statement: not in its cluster, read-only, stopping. */
const NODE_REFUSES = new Set([1047, 1053, 1077, 1290, 1836]);

/** The server ended the connection: KILL, or an idle time-out. */
const KILLED = new Set([1927, 4031]);

/** Below are the operating system's. */
const FIRST_SERVER_ERROR = 1000;

/** The server says that a commit failed, not that nothing was committed. */
const ERROR_DURING_COMMIT = 1180;

/** The server is there but does not serve us now, or not yet: starting, stopping, full, fenced, switched to read-only. */
const UNAVAILABLE = new Set([
  1040, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1077, 1079, 1080, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161,
  1180, 1184, 1203, 1205, 1213, 1020, 1226, 1290, 1317, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 3024, 3032, 3100,
  3101, 3159, 4031,
]);

const NETWORK = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_SEQUENCE_TIMEOUT",
  "HANDSHAKE_NO_SSL_SUPPORT",
  "HANDSHAKE_SSL_ERROR",
]);

function facts(error: unknown): ErrorFacts {
  const { errno, code, fatal } = (error ?? {}) as { errno?: unknown; code?: unknown; fatal?: unknown };
  return {
    errno: typeof errno === "number" ? errno : 0,
    code: typeof code === "string" ? code : "",
    fatal: fatal === true,
  };
}

/** The server's error under whatever a library wrapped around it. */
export function rootError(error: unknown): unknown {
  let root = error;
  while (root instanceof Error && !(root instanceof StoreUnavailable) && root.cause instanceof Error) root = root.cause;
  return root;
}

export function isRepeatable(error: unknown): boolean {
  return REPEATABLE.has(facts(rootError(error)).errno);
}

/** Another node may serve; this one does not. */
export function saysNodeRefuses(error: unknown): boolean {
  const root = rootError(error);
  return root instanceof NodeRefuses || NODE_REFUSES.has(facts(root).errno);
}

/** The server said it: whatever is wrong, it is there. */
export function isAnswer(error: unknown): boolean {
  const root = rootError(error);
  const { errno, code } = facts(root);
  return root instanceof NodeRefuses || (errno >= FIRST_SERVER_ERROR && !NETWORK.has(code));
}

/** The node or the way to it failed under a statement; nothing is known against the statement. */
export function isNodeFailure(error: unknown): boolean {
  return saysNodeRefuses(error) || breaksConnection(error) || KILLED.has(facts(rootError(error)).errno);
}

export function isTimeout(error: unknown): boolean {
  return facts(rootError(error)).code === "PROTOCOL_SEQUENCE_TIMEOUT";
}

/**
 * A COMMIT that failed with `error` may have been made all the same: the answer was lost, or came from a node that was
 * leaving its cluster. A deadlock, which is also how a cluster refuses a transaction, is certain: nothing was made.
 */
export function leavesCommitOpen(error: unknown): boolean {
  if (isRepeatable(error)) return false;
  const { errno } = facts(rootError(error));
  return isNodeFailure(error) || errno === ERROR_DURING_COMMIT || UNAVAILABLE.has(errno);
}

export function isDuplicateKey(error: unknown): boolean {
  return facts(rootError(error)).errno === 1062;
}

export function isOutOfRange(error: unknown): boolean {
  return facts(rootError(error)).errno === 1690;
}

/** The connection it came from cannot be used any more, not even to roll back: what it runs may still be running. */
export function breaksConnection(error: unknown): boolean {
  const { code, fatal } = facts(rootError(error));
  return fatal || NETWORK.has(code);
}

/** What `error` is for our callers: StoreUnavailable, or itself when it is a bug. `where` names no secret. */
export function toStoreError(error: unknown, where: string): unknown {
  const root = rootError(error);
  if (root instanceof StoreUnavailable) return root;
  if (root instanceof NodeRefuses)
    return new StoreUnavailable(`the database ${where}: ${root.message}`, { cause: root });
  const { errno, code, fatal } = facts(root);
  if (!fatal && !UNAVAILABLE.has(errno) && !NETWORK.has(code)) return root;
  const reason = (root as Error).message || code;
  return new StoreUnavailable(`the database ${where} does not serve: ${reason}`, { cause: root });
}
