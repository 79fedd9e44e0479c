// The sections that several processes share, so that the same key means, allows and costs the same everywhere.
import * as z from "zod";
import { type ConfigKey, type ConfigSection, key } from "./config-schema.ts";
import { LOG_LEVELS } from "./log.ts";

const hostSchema = z
  .string()
  .regex(/^[A-Za-z0-9._:-]{1,255}$/)
  .meta({ description: "an IP address or host name of this machine" });

const hostPortSchema = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,253}:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])$/)
  .meta({ description: "host:port (an IPv4 address or a name)" });

export function listenHost(what: string): ConfigKey<string> {
  return key(hostSchema, {
    doc: `Address to listen on for ${what}. 0.0.0.0 listens on every interface, for everybody who reaches this machine.`,
    default: "127.0.0.1",
  });
}

/** Port 0 lets the system choose a free one (tests do). */
export function listenPort(what: string, port: number): ConfigKey<number> {
  return key(z.int().min(0).max(65535), {
    doc: `Port to listen on for ${what}. 0 lets the system choose.`,
    default: port,
    unit: "port number",
  });
}

export function addressList(doc: string, addresses: string[]): ConfigKey<string[]> {
  return key(z.array(hostPortSchema).min(1).max(16), { doc, default: addresses });
}

const databaseUrlPattern = /^(sqlite:.+|mysql:\/\/[^\s]+\/[^\s/]+)$/;

/** While database.url has this value, the file lies in data.dir, wherever that is. */
export const DEFAULT_DATABASE_URL = "sqlite:./data/lars.db";

export const databaseSection = {
  doc: "Where routes, tokens and statistics are kept.",
  keys: {
    url: key(
      z.string().regex(databaseUrlPattern).meta({
        description: "sqlite:<file> or mysql://user:password@host:port/database (several hosts comma-separated)",
      }),
      {
        doc:
          "sqlite:<file> (one process of each kind on one machine) or mysql://user:password@host:port/database; several " +
          "hosts, comma-separated, are tried in turn. A relative file counts from the project's folder; while this is " +
          "left at its default, the file lies in data.dir.",
        default: DEFAULT_DATABASE_URL,
        secret: "url",
        env: "LARS_DATABASE_URL",
      },
    ),
    connect_timeout_ms: key(z.int().min(100).max(60_000), {
      doc: "How long to wait for a connection to the database before trying the next host.",
      default: 3000,
      unit: "ms",
      cost: "a dead database host is noticed later",
    }),
    query_timeout_ms: key(z.int().min(100).max(600_000), {
      doc: "How long to wait for the answer to one statement before the database counts as unavailable.",
      default: 10_000,
      unit: "ms",
      cost: "requests hang longer while the database does",
    }),
    pool_size: key(z.int().min(1).max(256), {
      doc: "Connections to a MySQL database kept at most. SQLite uses one, whatever this says.",
      default: 8,
      unit: "connections",
      cost: "one server-side thread and some memory at the database each",
    }),
  },
} as const satisfies ConfigSection;

export const authSection = {
  doc: "Who may call the HTTP API.",
  keys: {
    anonymous_read: key(z.union([z.literal("auto"), z.boolean()]), {
      doc: 'Whether reads need no token. "auto": only while http.host is a loopback address.',
      default: "auto",
      reload: true,
    }),
    admin_token: key(
      z
        .string()
        .max(256)
        .regex(/^[\x21-\x7e]*$/)
        .meta({ description: "empty, or up to 256 printable characters without spaces" }),
      {
        doc: "The first admin token. Empty: the process makes one when there is none, and prints it once. Choose a long random one.",
        default: "",
        secret: true,
        env: "LARS_ADMIN_TOKEN",
      },
    ),
  },
} as const satisfies ConfigSection;

export const logSection = {
  doc: "What the process says on its standard output.",
  keys: {
    level: key(z.enum(LOG_LEVELS), {
      doc: 'The least severe level that is written. "debug" writes a line per HTTP request.',
      default: "info",
      reload: true,
    }),
    format: key(z.enum(["json", "text"]), {
      doc: "json: one object a line, for machines. text: for people at a terminal.",
      default: "json",
    }),
  },
} as const satisfies ConfigSection;

export const dataSection = {
  doc: "Files the process keeps.",
  keys: {
    dir: key(z.string().min(1).max(4096), {
      doc: "Folder for the SQLite file and the agent's route snapshot. A relative path counts from the project's folder.",
      default: "./data",
      env: "LARS_DATA_DIR",
    }),
  },
} as const satisfies ConfigSection;
