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
    doc: `Address to listen on for ${what}. 0.0.0.0 listens on every interface. Beyond loopback it must be safe: see [security].`,
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

export function addressList(doc: string, addresses: string[], { reload = false } = {}): ConfigKey<string[]> {
  return key(z.array(hostPortSchema).min(1).max(16), { doc, default: addresses, reload });
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
    tls_ca_file: key(z.string().max(4096), {
      doc:
        "PEM file of the CAs that the MySQL server's certificate must be signed by; it must be for the host as in the URL. " +
        "Empty: connections to the database are not encrypted. A relative path counts from the project's folder.",
      default: "",
      env: "LARS_DATABASE_CA_FILE",
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
      doc: "Folder for the SQLite file, the agent's route snapshot and the report service's spool. A relative path counts from the project's folder.",
      default: "./data",
      env: "LARS_DATA_DIR",
    }),
  },
} as const satisfies ConfigSection;

function file(doc: string, reload: string): ConfigKey<string> {
  return key(z.string().max(4096), { doc: `${doc} ${reload}`, default: "" });
}

const RENEWED = "The file is looked at every second and on SIGHUP: a renewed one counts for new connections.";

/** `knows`: what a client CA comes to in this process. */
export function tlsSection(knows: string) {
  return {
    doc: "Encryption of what this process listens on. Paths are of PEM files; relative ones count from the project's folder.",
    keys: {
      cert_file: file("The certificate, then the intermediate ones. Empty: no TLS.", RENEWED),
      key_file: file("Its private key, without a passphrase.", RENEWED),
      client_ca_file: file(`CAs whose certificates clients must show. ${knows} Empty: none is asked for.`, RENEWED),
    },
  } as const satisfies ConfigSection;
}

export const clientTlsSection = {
  doc: "What this process believes and shows where it connects to others with TLS. Paths as in [tls].",
  keys: {
    ca_file: file("CAs that servers' certificates must be signed by. Empty: the public ones.", RENEWED),
    cert_file: file("The certificate to show to servers that ask for one. Empty: none.", RENEWED),
    key_file: file("Its private key, without a passphrase.", RENEWED),
  },
} as const satisfies ConfigSection;

/** Of a section that says where to connect. */
export function overTls(whom: string): ConfigKey<boolean> {
  return key(z.boolean(), {
    doc: `Whether to speak TLS with ${whom}: its certificate must be for the host as written in addresses, and signed by a CA of client_tls.ca_file.`,
    default: false,
  });
}

export const securitySection = {
  doc: "What is refused unless it is allowed (docs/TLS.md).",
  keys: {
    allow_insecure: key(z.boolean(), {
      doc:
        "Whether to listen beyond loopback without encryption or without knowing the callers. Only in a network where " +
        "everybody may read and change everything.",
      default: false,
      env: "LARS_ALLOW_INSECURE",
    }),
  },
} as const satisfies ConfigSection;
