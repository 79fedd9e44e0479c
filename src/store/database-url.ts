// Where the database is, as one line of configuration: `sqlite:PATH` or `mysql://USER:PASSWORD@HOST:PORT/DATABASE`. The
// platform's URL parser takes neither several hosts nor a relative path, and quotes its input in its errors; a password
// must not reach a log that way, so messages here name the part that is wrong and never its text where that is secret.

export interface SqliteTarget {
  readonly dialect: "sqlite";
  readonly path: string;
}

export interface MysqlHost {
  readonly host: string;
  readonly port: number;
}

export interface MysqlTarget {
  readonly dialect: "mysql";
  readonly user: string;
  readonly password: string;
  /** At least one, in order of preference. */
  readonly hosts: readonly MysqlHost[];
  readonly database: string;
}

export type DatabaseTarget = SqliteTarget | MysqlTarget;

const FORMS = "allowed: sqlite:PATH or mysql://USER:PASSWORD@HOST[:PORT][,HOST[:PORT]…]/DATABASE";
const DEFAULT_PORT = 3306;

/** The URL is not one. The message names no secret. */
export class DatabaseUrlError extends Error {
  override name = "DatabaseUrlError";
}

function fail(what: string): never {
  throw new DatabaseUrlError(`database url: ${what}; ${FORMS}`);
}

function decode(part: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return fail(`the ${part} has a % that starts no percent-encoded character; write % as %25`);
  }
}

function parseHost(text: string): MysqlHost {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]@]+)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return fail("a host is malformed (in a user or password write @ as %40, / as %2F, : as %3A)");
  const port = match[2] === undefined ? DEFAULT_PORT : Number(match[2]);
  if (port < 1 || port > 65535) return fail(`a port is ${port}, which is not within 1 to 65535`);
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port };
}

function parseMysql(rest: string): MysqlTarget {
  const slash = rest.indexOf("/");
  if (slash < 0) return fail("a mysql url names no database");
  const authority = rest.slice(0, slash);
  const name = rest.slice(slash + 1);
  if (name.includes("?") || name.includes("#")) return fail("parameters after the database name are not known");
  if (name === "" || name.includes("/")) {
    return fail("a mysql url ends in one database name (in a user or password write / as %2F)");
  }
  const at = authority.lastIndexOf("@");
  if (at < 0) return fail("a mysql url names no user");
  const credentials = authority.slice(0, at);
  const colon = credentials.indexOf(":");
  const user = decode("user", colon < 0 ? credentials : credentials.slice(0, colon));
  if (user === "") return fail("a mysql url names no user");
  return {
    dialect: "mysql",
    user,
    password: colon < 0 ? "" : decode("password", credentials.slice(colon + 1)),
    hosts: authority
      .slice(at + 1)
      .split(",")
      .map(parseHost),
    database: decode("database name", name),
  };
}

/** @throws DatabaseUrlError when it is none of the two forms */
export function parseDatabaseUrl(url: string): DatabaseTarget {
  if (url.startsWith("sqlite:")) {
    const path = url.slice("sqlite:".length);
    if (path === "") return fail("sqlite: names no file");
    if (path === ":memory:") return fail("sqlite::memory: is not supported, several connections share the data");
    return { dialect: "sqlite", path };
  }
  if (url.startsWith("mysql://")) return parseMysql(url.slice("mysql://".length));
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1];
  return fail(scheme === undefined ? "it has no scheme" : `the scheme is ${scheme}`);
}

/** Where it is, for logs and error texts: no user, no password. */
export function describeTarget(target: DatabaseTarget): string {
  if (target.dialect === "sqlite") return `sqlite:${target.path}`;
  return `mysql://${target.hosts.map(({ host, port }) => `${host}:${port}`).join(",")}/${target.database}`;
}
