// Which errors of a MySQL server or the way to it mean "not available, try later", which mean "once more from the
// start", and which are bugs that must not be hidden.
import { StoreUnavailable } from "../route-store.ts";

interface ErrorFacts {
  readonly errno: number;
  readonly code: string;
  readonly fatal: boolean;
}

/** Deadlock, lock wait time-out, and MariaDB's "record has changed since last read": nothing happened, try again. */
const REPEATABLE = new Set([1213, 1205, 1020]);

/** The server is there but does not serve us now, or not yet: starting, stopping, full, fenced, switched to read-only. */
const UNAVAILABLE = new Set([
  1040, 1042, 1043, 1044, 1045, 1047, 1049, 1053, 1077, 1079, 1080, 1129, 1130, 1152, 1153, 1158, 1159, 1160, 1161,
  1184, 1203, 1205, 1213, 1020, 1226, 1290, 1317, 1836, 1927, 1969, 2002, 2003, 2006, 2013, 3024, 3032, 3100, 3101,
  3159, 4031,
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

export function isDuplicateKey(error: unknown): boolean {
  return facts(rootError(error)).errno === 1062;
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
  const { errno, code, fatal } = facts(root);
  if (!fatal && !UNAVAILABLE.has(errno) && !NETWORK.has(code)) return root;
  const reason = (root as Error).message || code;
  return new StoreUnavailable(`the database ${where} does not serve: ${reason}`, { cause: root });
}
