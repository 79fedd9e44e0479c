// Every key of the report service's configuration.
import * as z from "zod";
import { defineConfig, key } from "../platform/config-schema.ts";
import {
  authSection,
  databaseSection,
  dataSection,
  listenHost,
  listenPort,
  logSection,
  securitySection,
  tlsSection,
} from "../platform/config-sections.ts";

export const reportConfig = defineConfig("report", {
  tcp: {
    doc: "Protobuf over TCP, for agents.",
    keys: { host: listenHost("agents"), port: listenPort("agents", 7779) },
  },
  http: {
    doc: "HTTP/JSON: statistics and reports.",
    keys: { host: listenHost("HTTP"), port: listenPort("HTTP", 7781) },
  },
  tls: tlsSection("They are asked for over TCP, where agents have no tokens."),
  security: securitySection,
  database: databaseSection,
  queue: {
    doc: "Reports wait in memory until they are written in batches; of each (module, host, agent) only the latest waits.",
    keys: {
      max_rows: key(z.int().min(100).max(10_000_000), {
        doc:
          "Rows waiting at most. Three quarters are for agents, who are not read from while those are taken (the database " +
          "is away or slow); the rest is for POST /v1/reports, which is answered with 503 when there is no room.",
        default: 200_000,
        unit: "rows",
        cost: "about 100 bytes of memory each",
      }),
      flush_interval_ms: key(z.int().min(10).max(60_000), {
        doc: "How often waiting rows are written.",
        default: 200,
        unit: "ms",
        reload: true,
        cost: "statistics are older, and POST /v1/reports answers later; lowering it makes more, smaller transactions",
      }),
      batch_rows: key(z.int().min(1).max(10_000), {
        doc: "Rows in one transaction at most. How many it is follows from batch_target_ms.",
        default: 5000,
        unit: "rows",
        reload: true,
        cost: "longer locks in the database, and about 1 KB of memory each while they are written",
      }),
      batch_target_ms: key(z.int().min(5).max(10_000), {
        doc: "What one transaction should take at most: batches grow while the database is faster, and shrink when it is slower.",
        default: 200,
        unit: "ms",
        reload: true,
        cost: "POST /v1/reports answers later under load; lowering it makes more, smaller transactions",
      }),
      writers: key(z.int().min(1).max(16), {
        doc: "Transactions at once, each with the rows of other agents. SQLite has one, whatever this says.",
        default: 2,
        unit: "transactions",
        cost: "a connection each, and processor time of the database that dns may miss",
      }),
    },
  },
  spool: {
    doc:
      "While the database is away, what waits is copied to report-spool.db in data.dir, so that what was acknowledged " +
      "outlives this process; it is stored when the database is back. With an SQLite database there is no spool: the one " +
      "file would be as much away as the other.",
    keys: {
      enabled: key(z.boolean(), {
        doc: "Whether there is one. Without it POST /v1/reports is refused (503) while the database is away.",
        default: true,
      }),
      max_mb: key(z.int().min(1).max(10_000), {
        doc: "The file's size at most; about 10,000 rows a MiB. When full, reports are not acknowledged, and counted.",
        default: 64,
        unit: "MiB",
        cost: "disk, and as much memory again for what is replayed after a restart",
      }),
    },
  },
  auth: {
    ...authSection,
    keys: {
      ...authSection.keys,
      anonymous_report: key(z.union([z.literal("auto"), z.boolean()]), {
        doc: "Whether POST /v1/reports needs no token (else: a registrar's, an editor's or an admin's). \"auto\": only while http.host is a loopback address.",
        default: "auto",
        reload: true,
      }),
    },
  },
  log: logSection,
  data: dataSection,
});
