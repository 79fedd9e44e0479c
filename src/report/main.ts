// The report service as a process: agents' statistics over TCP and HTTP in, the database behind.
import { join } from "node:path";
import { Access } from "../auth/access.ts";
import { needsNoToken } from "../auth/anonymous.ts";
import { listenTcp } from "../net/tcp-server.ts";
import { systemClock } from "../platform/clock.ts";
import { watchConfig } from "../platform/config-watch.ts";
import { exposeEvents } from "../platform/event-counts.ts";
import { serveHttp } from "../platform/http-serve.ts";
import { exposeListenerSafety, guardListeners, mayReload } from "../platform/listener-guard.ts";
import { rateLimited } from "../platform/log.ts";
import { startProcess } from "../platform/process-start.ts";
import { databaseUrl, projectPath } from "../platform/project-paths.ts";
import { startOrExit } from "../platform/start-or-exit.ts";
import { listenerTls, readCaFile, serverTlsPaths } from "../platform/tls-material.ts";
import { exposeTls, TlsWatch } from "../platform/tls-watch.ts";
import { version } from "../platform/version.ts";
import { databaseOptions } from "../store/database.ts";
import { tellNodeMoves } from "../store/node-moves.ts";
import { openDatabase } from "../store/open.ts";
import { openWhenReachable } from "../store/opening.ts";
import { SqliteReportSpool } from "../store/sqlite/report-spool.ts";
import { makeApp } from "./app.ts";
import { reportConfig } from "./config.ts";
import { Intake } from "./intake.ts";
import { StatusFrames } from "./status-frames.ts";

/** Far more than agents of one report service; what bounds memory is that they are read from in turn. */
const MAX_CONNECTIONS = 20_000;
const HTTP_GRACE_MS = 2000;
const READ_ALL_MS = 1000;
/** That an agent waits for so long is said; shorter waits come and go under load. */
const LONG_WAIT_MS = 1000;
/** Of the whole shutdown's ten seconds. */
const FLUSH_MS = 7000;
const CURSOR_LIFETIME_MS = 30 * 86_400_000;
/** How long it is remembered that an agent's cursors were forgotten; a hundred bytes each. */
const INSTANCE_LIFETIME_MS = 400 * 86_400_000;
const PRUNE_INTERVAL_MS = 3_600_000;

const { loaded, log, metrics, shutdown, ...started } = startProcess(reportConfig);
let { config } = started;
const clock = systemClock;

guardListeners("report", config, log);
exposeListenerSafety(metrics, () => config);
const tls = await startOrExit(
  "report",
  () => new TlsWatch({ paths: serverTlsPaths(config.tls), log, nowMs: () => clock.wallMs() }),
);
const tcpTls = listenerTls(tls.material);
// HTTP asks for tokens, not for certificates.
const httpTls = tcpTls && { ...tcpTls, clientCa: undefined };
exposeTls(metrics, [tls]);

const database = await startOrExit("report", () =>
  openDatabase(databaseUrl(config), {
    ...databaseOptions(config.database, readCaFile("database.tls_ca_file", config.database.tls_ca_file)),
    onMove: tellNodeMoves(log, metrics),
  }),
);
shutdown.onShutdown("database", () => database.close());

const spool =
  config.spool.enabled && database.dialect !== "sqlite"
    ? new SqliteReportSpool(join(projectPath(config.data.dir), "report-spool.db"), config.spool.max_mb * 1_048_576)
    : undefined;
const intake = new Intake({
  store: database.reports,
  spool,
  clock,
  log: log.with({ component: "intake" }),
  random: Math.random,
  maxRows: config.queue.max_rows,
  batchRows: () => config.queue.batch_rows,
  batchTargetMs: () => config.queue.batch_target_ms,
  flushIntervalMs: () => config.queue.flush_interval_ms,
  writers: database.dialect === "sqlite" ? 1 : config.queue.writers,
});
intake.restore();
shutdown.onShutdown("spool", () => spool?.close());
shutdown.onShutdown("flush", async () => {
  const left = await intake.stop(FLUSH_MS);
  if (left > 0) throw new Error(`${left} rows could not be stored: ${intake.failure}; running agents send them again`);
});

const frames = new StatusFrames(intake, () => clock.nowMs());
const tcpLog = rateLimited(log.with({ component: "tcp" }), 5);
const tcp = await startOrExit("report", () =>
  listenTcp({
    hostname: config.tcp.host,
    port: config.tcp.port,
    maxConnections: MAX_CONNECTIONS,
    maxQueuedBytes: 65_536,
    tls: tcpTls,
    onOpen: (connection) => frames.onOpen(connection),
    onFrame: (connection, msgid, body) => frames.onFrame(connection, msgid, body),
    onDrain: () => {},
    onClose: (connection) => frames.onClose(connection),
    onDrop: (reason, detail) => tcpLog.warn("an agent's connection was refused or closed", { reason, detail }),
    onError: (error) => tcpLog.error("handling a frame failed", { error }),
  }),
);
shutdown.onShutdown("tcp", () => tcp.stop());
let isHeldBack = false;
const resuming = setInterval(() => {
  frames.tick();
  const { longestMs } = frames;
  if (!isHeldBack && longestMs > LONG_WAIT_MS) {
    isHeldBack = true;
    log.warn(
      "agents are not read from: what they told fills queue.max_rows, and the database does not store it in time",
      {
        agents: frames.paused,
        waiting: intake.size,
      },
    );
  } else if (isHeldBack && longestMs === 0) {
    isHeldBack = false;
    log.info("agents are read from again", { waiting: intake.size });
  }
}, 200);
shutdown.onShutdown("agents that wait", async () => {
  clearInterval(resuming);
  if (frames.paused === 0 && frames.heldBytes === 0) return;
  // One that has ended sends nothing again, so what it left in the system's buffers is read.
  frames.takeAll();
  const deadlineMs = clock.nowMs() + READ_ALL_MS;
  for (let before = -1; before !== tcp.counters.bytesIn && clock.nowMs() < deadlineMs; ) {
    before = tcp.counters.bytesIn;
    await Bun.sleep(50);
  }
});

const access = new Access({
  tokens: database.tokens,
  configuredToken: config.auth.admin_token,
  clock,
  log: log.with({ component: "access" }),
  metrics,
});
shutdown.onShutdown("last uses of tokens", () => access.close());
let migrated = false;
const app = makeApp({
  store: database.reports,
  intake,
  access,
  anonymous: (need) =>
    (need === "read" && needsNoToken(config.auth.anonymous_read, config.http.host)) ||
    (need === "report" && needsNoToken(config.auth.anonymous_report, config.http.host)),
  log: log.with({ component: "http" }),
  metrics,
  clock,
  ready: () => (migrated ? undefined : "the database was not reached yet"),
});
const http = await startOrExit("report", () =>
  serveHttp({ hostname: config.http.host, port: config.http.port, app, tls: httpTls }),
);
shutdown.onShutdown("http", () => http.stop(HTTP_GRACE_MS));

exposeEvents(metrics, "intake_events_total", "Rows offered, coalesced, refused, stored", intake.counts);
exposeEvents(metrics, "frame_events_total", "Frames from agents", frames.counts);
exposeEvents(metrics, "tcp_events_total", "The TCP server's counts", tcp.counters);
metrics.gaugeFrom("waiting_rows", "Rows waiting for the database", () => intake.size);
metrics.gaugeFrom("batch_rows", "Rows of one transaction, as now chosen", () => intake.batches.rows);
metrics.gaugeFrom("batch_seconds", "What the last transaction took", () => intake.batches.lastMs / 1000);
metrics.counterFrom("batch_seconds_total", "What all transactions took", () => intake.batches.totalMs / 1000);
exposeEvents(
  metrics,
  "spool_events_total",
  "Rows copied to the spool and replayed, saves, failures",
  intake.spool.counts,
);
metrics.gaugeFrom("spool_rows", "Rows in the spool", () => intake.spool.rows);
metrics.gaugeFrom("spool_bytes", "Size of the spool's file", () => intake.spool.bytes);
metrics.gaugeFrom("spool_up", "1 when there is a spool and it serves", () =>
  intake.spool.exists && intake.spool.failure === undefined ? 1 : 0,
);
metrics.counterFrom(
  "spool_damaged_total",
  "Files that could not be read and were put aside",
  () => intake.spool.damaged,
);
metrics.counterFrom(
  "paused_seconds_total",
  "How long agents were not read from because too many rows waited, all of them together",
  () => frames.pausedMs / 1000,
);
metrics.gaugeFrom("agents", "Agents connected", () => tcp.counters.open);
metrics.gaugeFrom("paused_agents", "Agents not read from because too many rows wait", () => frames.paused);
metrics.gaugeFrom(
  "longest_pause_seconds",
  "How long the agent that waits longest has not been read from; 0: none waits",
  () => frames.longestMs / 1000,
);
metrics.gaugeFrom("held_bytes", "Memory of agents' frames that wait for room", () => frames.heldBytes);
metrics.gaugeFrom("database_up", "1 when the last write succeeded", () => (intake.failure === undefined ? 1 : 0));

const opening = openWhenReachable({ log, open: () => database.migrate() });
void opening.opened.then(() => {
  migrated = true;
  log.info("the database is ready", { database: database.dialect });
});
shutdown.onShutdown("opening", () => opening.stop());

const pruning = setInterval(() => {
  database.reports
    .pruneCursors(clock.wallMs() - CURSOR_LIFETIME_MS, clock.wallMs() - INSTANCE_LIFETIME_MS)
    .catch((error: unknown) => log.warn("pruning old agents' cursors failed; tried again later", { error }));
}, PRUNE_INTERVAL_MS);
shutdown.onShutdown("pruning", () => clearInterval(pruning));

const configWatch = watchConfig(loaded, {
  log,
  onChange: (change) => {
    config = mayReload(change.config, log) ? change.config : { ...change.config, auth: config.auth };
    log.setLevel(config.log.level);
  },
});
shutdown.onShutdown("configuration", () => configWatch.stop());
tls.start((material) => {
  const renewed = listenerTls(material)!;
  return tcp.renewTls(renewed) ?? http.renewTls({ ...renewed, clientCa: undefined });
});
shutdown.onShutdown("tls", () => tls.stop());

log.info("report service listens", {
  version,
  http: http.url,
  tcp: `${config.tcp.host}:${tcp.port}`,
  database: database.dialect,
  pid: process.pid,
});
