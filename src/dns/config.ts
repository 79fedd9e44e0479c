// Every key of the dns service's configuration.
import * as z from "zod";
import { defineConfig, key } from "../platform/config-schema.ts";
import {
  authSection,
  clientTlsSection,
  databaseSection,
  dataSection,
  listenHost,
  listenPort,
  logSection,
  securitySection,
  tlsSection,
} from "../platform/config-sections.ts";

const leaderUrl = z
  .string()
  .regex(/^https?:\/\/([A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:]{2,45}\])(:\d{1,5})?\/?$/)
  .refine((text) => URL.canParse(text))
  .meta({ description: "http://host:port or https://host:port of a dns service's HTTP" });

export const dnsConfig = defineConfig("dns", {
  tcp: {
    doc: "Protobuf over TCP, for agents.",
    keys: {
      host: listenHost("agents"),
      port: listenPort("agents", 7778),
      out_buffer_bytes: key(z.int().min(65_536).max(67_108_864), {
        doc: "Bytes waiting to be sent to one agent at most. What changes beyond that is remembered by module and sent as it is when the agent reads again.",
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
        cost: "140 to 500 bytes of memory each",
      }),
      max_watches: key(z.int().min(1).max(100_000_000), {
        doc:
          "Modules that all agents together watch, each counted once for every agent; requests for more are answered but " +
          "not kept up to date, and counted. As many such answers at most wait for agents that do not read.",
        default: 5_000_000,
        unit: "watches",
        cost: "140 to 500 bytes of memory each: 0.4 GB for 15,000 agents that watch the same 200 modules",
      }),
    },
  },
  http: {
    doc: "HTTP/JSON: the API and the console.",
    keys: { host: listenHost("HTTP"), port: listenPort("HTTP", 7780) },
  },
  tls: tlsSection("They are asked for over TCP, where agents have no tokens."),
  security: securitySection,
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
        cost:
          "such changes reach agents later; lowering it costs a scan of the whole table by one instance each time (0.3 s of " +
          "the database for a million hosts), for which a fifth of the time is taken at most",
      }),
      max_vanish_share: key(z.number().min(0).max(1), {
        doc:
          "When more than this share of all hosts (and at least 10) vanish at once by plain SQL, agents keep them until the " +
          "change is confirmed or reverted.",
        default: 0.5,
        unit: "share of hosts",
        reload: true,
        cost: "a table emptied by mistake may be believed; lowering it asks for a word on more changes",
      }),
      change_log_keep: key(z.int().min(100).max(10_000_000), {
        doc: "Entries of the change log that are kept; older ones are deleted.",
        default: 100_000,
        unit: "changes",
        reload: true,
        cost: "room in the database",
      }),
      removed_keep: key(z.int().min(1_000).max(10_000_000), {
        doc:
          "Removed modules that are remembered, so that readers who were away are told of just these; of the ones that were " +
          "removed before, readers learn by being given everything.",
        default: 100_000,
        unit: "modules",
        reload: true,
        cost: "21 to 43 bytes of memory and a row in the database each, which every start reads",
      }),
    },
  },
  follow: {
    doc: "Serve the routes of other dns services instead of a database's: for a zone that is to go on when its link is cut.",
    keys: {
      urls: key(z.array(leaderUrl).max(16), {
        doc:
          "HTTP addresses of the dns services to follow, tried in turn; of a name all IPv4 addresses. All must serve the " +
          "same database. Empty: this dns follows nobody and has its own database. Otherwise [database] is not used, " +
          "changes are refused with the address of the leader, and the routes are also kept in data.dir.",
        default: [],
      }),
      token: key(
        z
          .string()
          .max(512)
          .regex(/^[\x21-\x7e]*$/)
          .meta({ description: "empty, or up to 512 printable characters without spaces" }),
        {
          doc: "A reader's token at the leaders. Empty: they let anybody read.",
          default: "",
          secret: true,
          reload: true,
          env: "LARS_FOLLOW_TOKEN",
        },
      ),
      wait_ms: key(z.int().min(100).max(60_000), {
        doc: "How long a leader holds an answer back while nothing changes. A change is answered at once.",
        default: 2000,
        unit: "ms",
        reload: true,
        cost: "a link that is cut without a sign is noticed later; lowering it costs more requests",
      }),
      response_timeout_ms: key(z.int().min(50).max(60_000), {
        doc: "How long a leader may be silent beyond that, and between two pieces of an answer, before the next one is asked.",
        default: 1000,
        unit: "ms",
        reload: true,
        cost: "a link that is cut is noticed later; too low for the link's round trip, it is never up",
      }),
      snapshot_interval_ms: key(z.int().min(100).max(3_600_000), {
        doc: "How soon after a change the routes are written to data.dir; later when writing takes more than a twentieth of the time.",
        default: 1000,
        unit: "ms",
        reload: true,
        cost: "a follower that is restarted while the link is cut knows less; lowering it costs disk writes",
      }),
    },
  },
  client_tls: clientTlsSection,
  registrations: {
    doc: "Hosts that services register themselves, under leases.",
    keys: {
      max: key(z.int().min(1).max(10_000_000), {
        doc: "Registrations kept at most; further ones are refused with 503.",
        default: 1_000_000,
        unit: "registrations",
        reload: true,
        cost: "room in the database, and about 300 bytes of memory for each that heartbeats this instance",
      }),
    },
  },
  auth: authSection,
  log: logSection,
  data: dataSection,
});
