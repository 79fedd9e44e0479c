// The dns service as a process: the database behind, agents over TCP and everybody else over HTTP in front.
//
// It listens before the database is reached and keeps trying: requests of agents are kept until the routes are loaded,
// HTTP reads get 503 meanwhile, and an orchestrator sees why in /readyz.
import { Access } from "../auth/access.ts";
import { needsNoToken } from "../auth/anonymous.ts";
import { createFirstAdminToken } from "../auth/first-token.ts";
import { listenHttpFront } from "../net/http-front.ts";
import { listenTcp } from "../net/tcp-server.ts";
import { systemClock, systemTimer } from "../platform/clock.ts";
import { watchConfig } from "../platform/config-watch.ts";
import { exposeEvents } from "../platform/event-counts.ts";
import { exposeFront, serveHttp } from "../platform/http-serve.ts";
import { exposeListenerSafety, guardListeners, mayReload } from "../platform/listener-guard.ts";
import { rateLimited } from "../platform/log.ts";
import { startProcess } from "../platform/process-start.ts";
import { databaseUrl } from "../platform/project-paths.ts";
import { startOrExit } from "../platform/start-or-exit.ts";
import { listenerTls, readCaFile, serverTlsPaths } from "../platform/tls-material.ts";
import { exposeTls, TlsWatch } from "../platform/tls-watch.ts";
import { version } from "../platform/version.ts";
import { databaseOptions } from "../store/database.ts";
import { tellNodeMoves } from "../store/node-moves.ts";
import { openDatabase } from "../store/open.ts";
import { openWhenReachable } from "../store/opening.ts";
import { makeApp } from "./app.ts";
import { dnsConfig } from "./config.ts";
import { followerFor } from "./follow/follow-config.ts";
import { exposeFollower } from "./follow/follower.ts";
import { exposeLeases } from "./lease-metrics.ts";
import { LeaseService } from "./lease-service.ts";
import { LeaseTime } from "./lease-time.ts";
import { OutageDismissal } from "./outage-dismissal.ts";
import { keepPolling } from "./polling.ts";
import { RoutePush } from "./route-push.ts";
import { RouteReplica } from "./route-replica.ts";
import { RouteService } from "./route-service.ts";
import { RouteWatch } from "./route-watch.ts";

const MAX_HTTP_WATCHES = 100_000;
const DISMISSAL_TICK_MS = 250;
const HTTP_GRACE_MS = 2000;

const { loaded, log, metrics, shutdown, ...started } = startProcess(dnsConfig);
let { config } = started;
const clock = systemClock;

guardListeners("dns", config, log);
exposeListenerSafety(metrics, () => config);
const tls = await startOrExit(
  "dns",
  () => new TlsWatch({ paths: serverTlsPaths(config.tls), log, nowMs: () => clock.wallMs() }),
);
const tcpTls = listenerTls(tls.material);
// HTTP asks for tokens, not for certificates.
const httpTls = tcpTls && { ...tcpTls, clientCa: undefined };

const following = await startOrExit("dns", () =>
  followerFor(
    () => config,
    log,
    () => routes.refresh(),
  ),
);
exposeTls(metrics, following === undefined ? [tls] : [tls, following.clientTls]);
if (following !== undefined) exposeFollower(metrics, following.follower);
const database =
  following?.follower ??
  (await startOrExit("dns", () =>
    openDatabase(databaseUrl(config), {
      ...databaseOptions(config.database, readCaFile("database.tls_ca_file", config.database.tls_ca_file)),
      onMove: tellNodeMoves(log, metrics),
    }),
  ));
shutdown.onShutdown("database", () => database.close());

const replica = new RouteReplica();
const routes = new RouteService({
  store: database.routes,
  replica,
  clock,
  log: log.with({ component: "routes" }),
  fullReloadIntervalMs: () => config.routes.full_reload_interval_s * 1000,
  maxVanishShare: () => config.routes.max_vanish_share,
  leaseMs: () => leases?.time.known(),
});
const leases =
  database.leases &&
  new LeaseService({
    store: database.leases,
    routes,
    time: new LeaseTime(database.leases, clock, crypto.randomUUID()),
    clock,
    log: log.with({ component: "leases" }),
    max: () => config.registrations.max,
  });
if (leases !== undefined) {
  exposeLeases(metrics, leases);
  shutdown.onShutdown("leases", () => leases.stop());
}
const watch = new RouteWatch(MAX_HTTP_WATCHES);
const push = new RoutePush({
  replica,
  loaded: () => routes.loaded,
  maxWatchesPerConnection: config.tcp.max_watches_per_connection,
  maxWatches: config.tcp.max_watches,
  defer: (work) => setImmediate(work),
  nowMs: () => clock.nowMs(),
  setTimer: systemTimer,
});
shutdown.onShutdown("push", () => push.stop());
if (following === undefined) {
  const dismissal = new OutageDismissal(push);
  const timer = setInterval(
    () => dismissal.tick(clock.nowMs(), routes.loaded && routes.failure !== undefined, routes.silentForMs),
    DISMISSAL_TICK_MS,
  );
  shutdown.onShutdown("dismissal of agents", () => clearInterval(timer));
}
routes.onChange((changed, touched) => {
  push.onChange(changed, touched);
  watch.notify(changed);
});

const tcpLog = rateLimited(log.with({ component: "tcp" }), 5);
const tcp = await startOrExit("dns", () =>
  listenTcp({
    hostname: config.tcp.host,
    port: config.tcp.port,
    maxConnections: config.tcp.max_connections,
    maxQueuedBytes: config.tcp.out_buffer_bytes,
    tls: tcpTls,
    onOpen: (connection) => push.onOpen(connection),
    onFrame: (connection, msgid, body) => push.onFrame(connection, msgid, body),
    onDrain: (connection) => push.onDrain(connection),
    onClose: (connection) => push.onClose(connection),
    onDrop: (reason, detail) => tcpLog.warn("an agent's connection was refused or closed", { reason, detail }),
    onError: (error) => tcpLog.error("handling a frame failed", { error }),
  }),
);
shutdown.onShutdown("tcp", () => tcp.stop());

const access = new Access({
  tokens: database.tokens,
  configuredToken: config.auth.admin_token,
  clock,
  digest: (text) => Bun.SHA256.hash(text, "hex"),
  log: log.with({ component: "access" }),
  metrics,
});
shutdown.onShutdown("last uses of tokens", () => access.close());
const app = makeApp({
  routes,
  watch,
  store: database.routes,
  ...(leases === undefined ? {} : { leases }),
  access,
  anonymousRead: () => needsNoToken(config.auth.anonymous_read, config.http.host),
  ...(following === undefined ? {} : { leaders: config.follow.urls }),
  agents: () => push.agents(),
  log: log.with({ component: "http" }),
  metrics,
  clock,
});
const http = await startOrExit("dns", () =>
  serveHttp({ hostname: config.http.host, port: config.http.port, app, tls: httpTls, front: listenHttpFront }),
);
shutdown.onShutdown("http", () => http.stop(HTTP_GRACE_MS));
exposeFront(metrics, http);

exposeEvents(metrics, "route_events_total", "Polls, transactions, commits and adoptions", routes.counts);
exposeEvents(
  metrics,
  "look_events_total",
  "Comparisons of the whole table with what old tools may have done",
  routes.looks.counts,
);
metrics.gaugeFrom("look_seconds", "How long this instance's last comparison took", () => routes.looks.tookMs / 1000);
exposeEvents(metrics, "push_events_total", "Frames from and to agents", push.counts);
metrics.gaugeFrom("routes", "Modules that exist", () => replica.size);
metrics.gaugeFrom(
  "removed_routes",
  "Removed modules whose removal is remembered for readers that were away",
  () => replica.removedCount,
);
metrics.gaugeFrom("hosts", "Hosts of all modules", () => replica.hostCount);
metrics.gaugeFrom(
  "vanished_routes",
  "Routes that lost their hosts in a change by plain SQL so large that agents keep them until it is confirmed or reverted",
  () => replica.vanishedCount,
);
metrics.gaugeFrom("revision", "Revision of the last change that was taken", () => replica.revision);
metrics.gaugeFrom("database_up", "1 when the last poll of the database succeeded", () =>
  routes.failure === undefined ? 1 : 0,
);
metrics.gaugeFrom("bad_rows", "Rows of RouteData that cannot mean a host", () => routes.badRows);
metrics.gaugeFrom("waiting_changes", "Changes waiting for a transaction", () => routes.waiting);
metrics.gaugeFrom("watches", "Pairs of a watcher and a module", () => [
  { labels: { by: "tcp" }, value: push.watches },
  { labels: { by: "http" }, value: watch.size },
]);
metrics.gaugeFrom("owed_routes", "Answers and changes that wait until their agents read", () => push.owed);
metrics.gaugeFrom(
  "damped_hosts",
  "Leased hosts left out of what agents are told because they flap",
  () => push.leftOut,
);
metrics.gaugeFrom("agents", "Agents connected", () => tcp.counters.open);
exposeEvents(metrics, "tcp_events_total", "The TCP server's counts", tcp.counters);

const opening = openWhenReachable({
  log,
  open: async () => {
    await database.migrate();
    const token =
      config.auth.admin_token === "" ? await createFirstAdminToken(database.tokens, clock.wallMs()) : undefined;
    // To the terminal and not into the log: a log is kept and copied, a token is shown once.
    if (token !== undefined) process.stderr.write(`admin token (shown once): ${token}\n`);
    await routes.refresh();
    if (!routes.loaded) throw new Error(routes.failure);
  },
});
let polling: ReturnType<typeof keepPolling> | undefined;
void opening.opened.then(() => {
  push.onLoaded();
  leases?.start(systemTimer);
  log.info("routes loaded", { revision: replica.revision, modules: replica.size, hosts: replica.hostCount });
  polling = keepPolling({
    poll: async () => {
      await routes.refresh();
      await routes.forgetRemoved(config.routes.removed_keep);
    },
    intervalMs: () => config.routes.poll_interval_ms,
    prune: () => database.routes.prune(config.routes.change_log_keep),
    log,
  });
});
shutdown.onShutdown("polling", async () => {
  opening.stop();
  await polling?.stop();
});

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
shutdown.onShutdown("tls", () => {
  tls.stop();
  following?.clientTls.stop();
});

log.info("dns service listens", {
  version,
  http: http.url,
  tcp: `${config.tcp.host}:${tcp.port}`,
  database: database.dialect,
  pid: process.pid,
});
