// Every key of the dns service's configuration.
import * as z from "zod";
import { defineConfig, key } from "../platform/config-schema.ts";
import {
  authSection,
  databaseSection,
  dataSection,
  listenHost,
  listenPort,
  logSection,
} from "../platform/config-sections.ts";

export const dnsConfig = defineConfig("dns", {
  tcp: {
    doc: "Protobuf over TCP, for agents.",
    keys: {
      host: listenHost("agents"),
      port: listenPort("agents", 7778),
      out_buffer_bytes: key(z.int().min(65_536).max(67_108_864), {
        doc: "Bytes waiting to be sent to one agent before it counts as too slow and is disconnected; it then reconnects and asks anew.",
        default: 4_194_304,
        unit: "bytes",
        cost: "memory: this much for each slow agent",
      }),
      max_connections: key(z.int().min(1).max(100_000), {
        doc: "Agents connected at once; further ones are closed at once and counted.",
        default: 20_000,
        unit: "connections",
        cost: "a file descriptor and some memory each",
      }),
      max_watches_per_connection: key(z.int().min(1).max(10_000_000), {
        doc: "Modules one agent may watch; requests for more are answered but not kept up to date, and counted.",
        default: 100_000,
        unit: "modules",
        cost: "about 100 bytes of memory each",
      }),
    },
  },
  http: {
    doc: "HTTP/JSON: the API and the console.",
    keys: { host: listenHost("HTTP"), port: listenPort("HTTP", 7780) },
  },
  database: databaseSection,
  routes: {
    doc: "How changes are found in the database and how long their history is kept.",
    keys: {
      poll_interval_ms: key(z.int().min(20).max(10_000), {
        doc: "How often the database is asked whether a version moved: how late a change by another process or by SQL is seen.",
        default: 200,
        unit: "ms",
        reload: true,
        cost: "changes made elsewhere reach agents later; lowering it costs one small query each time",
      }),
      full_reload_interval_s: key(z.int().min(1).max(86_400), {
        doc: "How often the whole route table is compared, to find changes by SQL that moved no version (deletes by old tools).",
        default: 10,
        unit: "s",
        reload: true,
        cost: "such changes reach agents later; lowering it costs a scan of the whole table by one instance each time",
      }),
      change_log_keep: key(z.int().min(100).max(10_000_000), {
        doc: "Entries of the change log that are kept; older ones are deleted.",
        default: 100_000,
        unit: "changes",
        reload: true,
        cost: "room in the database",
      }),
    },
  },
  auth: authSection,
  log: logSection,
  data: dataSection,
});
