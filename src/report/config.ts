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
        doc: "Rows waiting at most. When full (the database is away), new rows are dropped and counted; running totals make up for it later.",
        default: 200_000,
        unit: "rows",
        cost: "about 300 bytes of memory each",
      }),
      flush_interval_ms: key(z.int().min(10).max(60_000), {
        doc: "How often waiting rows are written.",
        default: 200,
        unit: "ms",
        reload: true,
        cost: "statistics are older, and POST /v1/reports answers later; lowering it makes more, smaller transactions",
      }),
      batch_rows: key(z.int().min(1).max(10_000), {
        doc: "Rows in one transaction at most.",
        default: 1000,
        unit: "rows",
        reload: true,
        cost: "longer locks in the database",
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
