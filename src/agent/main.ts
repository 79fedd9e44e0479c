// The agent as a process: shards answer callers in threads of their own; this thread does everything else. It begins to
// serve with the routes of its snapshot and needs neither dns nor report service for that.
import { join } from "node:path";
import { formatModuleKey } from "../core/module-key.ts";
import { listenHttpFront } from "../net/http-front.ts";
import { connectTcp, type ServerAddress, type TcpClient } from "../net/tcp-client.ts";
import { systemClock } from "../platform/clock.ts";
import { watchConfig } from "../platform/config-watch.ts";
import { exposeEvents } from "../platform/event-counts.ts";
import { exposeFront, serveHttp } from "../platform/http-serve.ts";
import { exposeListenerSafety, guardListeners } from "../platform/listener-guard.ts";
import { whenNew } from "../platform/log.ts";
import { startProcess } from "../platform/process-start.ts";
import { projectPath } from "../platform/project-paths.ts";
import { startOrExit } from "../platform/start-or-exit.ts";
import { clientTlsPaths, listenerTls, serverTlsPaths } from "../platform/tls-material.ts";
import { exposeTls, TlsWatch } from "../platform/tls-watch.ts";
import { version } from "../platform/version.ts";
import { makeApp } from "./app.ts";
import { agentConfig } from "./config.ts";
import { callerAddress } from "./local-address.ts";
import { RegistrationFile } from "./registration-file.ts";
import { RegistrationKeeper } from "./registration-keeper.ts";
import { exposeRegistrations } from "./registration-metrics.ts";
import { RegistryClient } from "./registry-client.ts";
import { Resolver } from "./resolver.ts";
import { serveResolver } from "./resolver-server.ts";
import { ResponseRate } from "./response-rate.ts";
import { RouteBook } from "./route-book.ts";
import { RouteSnapshot } from "./route-snapshot.ts";
import { RouteSource } from "./route-source.ts";
import { shardSettings } from "./settings.ts";
import { SHARD_COUNTERS, SHARD_GAUGES } from "./shard-counters.ts";
import { ShardPool } from "./shard-pool.ts";
import { StatusReporter } from "./status-reporter.ts";

/**
 * Holds about 5,000 requests a shard: what comes while a thread waits for its turn on a busy machine. More room would only
 * make every answer later past saturation, until callers have given up on it; a quarter of it lost calls at half the load.
 */
const RECEIVE_BUFFER_BYTES = 2_097_152;
const HTTP_GRACE_MS = 1000;
const LAST_FLUSH_MS = 1000;
/** Hosts whose calls are counted, per shard; about 40 bytes of shared memory each, taken as they appear. */
const MAX_STATISTICS_ENTRIES = 1_000_000;
const BACKOFF = { baseMs: 50, maxMs: 2000 };
const SOURCE_TICK_MS = 250;
const REGISTRATION_TICK_MS = 100;

const { loaded, log, metrics, shutdown, ...started } = startProcess(agentConfig);
let { config } = started;
const clock = systemClock;

guardListeners("agent", config, log);
exposeListenerSafety(metrics, () => config);
const tls = await startOrExit(
  "agent",
  () => new TlsWatch({ paths: serverTlsPaths(config.tls), log, nowMs: () => clock.wallMs() }),
);
const clientTls = await startOrExit(
  "agent",
  () => new TlsWatch({ paths: clientTlsPaths(config.client_tls), log, nowMs: () => clock.wallMs() }),
);
exposeTls(metrics, [tls, clientTls]);

function parseAddresses(texts: readonly string[]): readonly ServerAddress[] {
  return texts.map((text) => {
    const colon = text.lastIndexOf(":");
    return { host: text.slice(0, colon), port: Number(text.slice(colon + 1)) };
  });
}

const snapshot = new RouteSnapshot(join(projectPath(config.data.dir), `agent-${config.udp.port}.routes`));
const book = new RouteBook(snapshot, log.with({ component: "snapshot" }));
await book.load();

const source = new RouteSource({
  responseTimeoutMs: () => config.dnsserver.response_timeout_ms,
  probeIntervalMs: () => config.dnsserver.probe_interval_ms,
  maxVanishShare: () => config.routes.max_vanish_share,
  maxModules: config.routes.max_modules + config.udp.shards * 16_384,
  nowMs: () => clock.nowMs(),
  onRoute: (route) => {
    book.put(route);
    pool.route(route.update());
  },
  onAlarm: (alarm) => {
    if (alarm === undefined) {
      log.info("no route is kept against the dns service any more");
      return;
    }
    log.error(
      "hosts vanished that the dns service does not say are meant to: they are kept and picked on. Revert the change at " +
        "the dns service, or confirm it (its log names it); for a dns service without this, raise routes.max_vanish_share",
      { ...alarm, first: alarm.first.map(formatModuleKey).join(" "), server: dnsClient.server },
    );
  },
});
for (const route of book.routes()) source.resume(route);

const pool = new ShardPool({
  shards: config.udp.shards,
  hostname: config.udp.host,
  port: config.udp.port,
  receiveBufferBytes: RECEIVE_BUFFER_BYTES,
  maxStatisticsEntries: MAX_STATISTICS_ENTRIES,
  settings: shardSettings(config),
  log: log.with({ component: "shards" }),
  routes: () => book.updates(),
  onWant: (modid, cmdid) => source.want(modid, cmdid),
  onForget: (modid, cmdid) => {
    source.forget(modid, cmdid);
    book.forget(modid, cmdid);
  },
});
await startOrExit("agent", () => pool.start());
shutdown.onShutdown("snapshot", () => book.save());

const dnsLog = log.with({ component: "dns-client" });
const dnsClient: TcpClient = connectTcp({
  addresses: () => parseAddresses(config.dnsserver.addresses),
  connectTimeoutMs: config.dnsserver.connect_timeout_ms,
  backoff: BACKOFF,
  random: Math.random,
  tls: config.dnsserver.tls ? () => clientTls.material : undefined,
  onOpen: () => source.onOpen(),
  onFrame: (msgid, body) => source.onFrame(msgid, body),
  onClose: () => source.onClose(),
  onDrain: () => source.onDrain(),
  log: whenNew((message) => dnsLog.info(message)),
});
source.attach(dnsClient);
shutdown.onShutdown("dns client", () => dnsClient.stop());

const [high, low] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
const reporter = new StatusReporter({
  statistics: () => pool.statistics(),
  caller: callerAddress(config.reporter.caller),
  instance: { high, low: low || 1 },
  resendIntervalMs: () => config.reporter.resend_interval_s * 1000,
  nowMs: () => clock.nowMs(),
  wallMs: () => clock.wallMs(),
});
const reportLog = log.with({ component: "report-client" });
const reportClient: TcpClient = connectTcp({
  addresses: () => parseAddresses(config.reporter.addresses),
  connectTimeoutMs: config.dnsserver.connect_timeout_ms,
  backoff: BACKOFF,
  random: Math.random,
  tls: config.reporter.tls ? () => clientTls.material : undefined,
  onOpen: () => reporter.onOpen(),
  onFrame: (msgid) => reporter.onFrame(msgid),
  onClose: () => reporter.onClose(),
  onDrain: () => reporter.onDrain(),
  log: whenNew((message) => reportLog.info(message)),
});
reporter.attach(reportClient);
shutdown.onShutdown("report client", async () => {
  // Started or cut off a moment ago: what was counted since is worth a moment, but callers wait for the next agent.
  if (!reporter.connected && reporter.hasUnsent()) {
    reportClient.reconnect("last statistics are to be sent");
    const deadlineMs = clock.nowMs() + LAST_FLUSH_MS;
    while (!reporter.connected && clock.nowMs() < deadlineMs) await Bun.sleep(20);
  }
  reporter.flush();
  // What is queued is written as the connection closes.
  reportClient.stop();
});
shutdown.onShutdown("shards", () => pool.stop());

const timers = [
  setInterval(() => {
    source.tick();
    reporter.tick();
  }, SOURCE_TICK_MS),
  setInterval(() => void book.save(), config.routes.snapshot_interval_ms),
];
let flushTimer = setTimeout(function flush() {
  reporter.flush();
  flushTimer = setTimeout(flush, config.reporter.flush_interval_ms);
}, config.reporter.flush_interval_ms);
shutdown.onShutdown("timers", () => {
  for (const timer of timers) clearInterval(timer);
  clearTimeout(flushTimer);
});

const registrationLog = log.with({ component: "registrations" });
const registryClient = new RegistryClient({
  addresses: () => config.registrations.addresses,
  token: () => config.registrations.token,
  timeoutMs: () => config.registrations.response_timeout_ms,
  tls: () => (config.registrations.tls ? clientTls.material : undefined),
  nowMs: () => clock.nowMs(),
  random: Math.random,
  onMove: whenNew((line) => registrationLog.info(line)),
});
const registrations = new RegistrationKeeper({
  call: (call, spec) => registryClient.call(call, spec),
  file: new RegistrationFile(join(projectPath(config.data.dir), `agent-${config.udp.port}.registrations`)),
  max: () => config.registrations.max,
  drainGraceMs: () => config.registrations.drain_grace_ms,
  forgetAfterMs: () => config.registrations.forget_after_s * 1000,
  log: registrationLog,
  nowMs: () => clock.nowMs(),
  random: Math.random,
});
await registrations.load();
const registrationTimer = setInterval(() => registrations.tick(), REGISTRATION_TICK_MS);
shutdown.onShutdown("registrations", async () => {
  clearInterval(registrationTimer);
  await registrations.save();
});
exposeRegistrations(metrics, registrations, registryClient);

const app = makeApp({
  pick: (modid, cmdid, keyHash) => pool.pick(modid, cmdid, keyHash),
  describe: (modid, cmdid) => pool.describe(modid, cmdid),
  report: (reports) => pool.report(reports),
  dnsConnected: () => source.connected,
  kept: (modid, cmdid) => source.kept(modid, cmdid),
  registrations: {
    keeper: registrations,
    max: () => config.registrations.max,
    drainGraceMs: () => config.registrations.drain_grace_ms,
    nowMs: () => clock.nowMs(),
  },
  log: log.with({ component: "http" }),
  metrics,
  clock,
  ready: () => {
    const waiting = pool.states().filter(({ ready }) => !ready);
    if (waiting.length > 0) return `shards ${waiting.map(({ index }) => index).join(", ")} are being restarted`;
    if (book.size === 0 && !source.connected) return "no dns service is connected and no route is known";
    return undefined;
  },
});
const http = await startOrExit("agent", () =>
  serveHttp({
    hostname: config.http.host,
    port: config.http.port,
    app,
    tls: listenerTls(tls.material),
    front: listenHttpFront,
  }),
);
shutdown.onShutdown("http", () => http.stop(HTTP_GRACE_MS));
exposeFront(metrics, http);

const resolver = new Resolver((modid, cmdid, limit) => pool.resolve(modid, cmdid, limit));
const answerRate = new ResponseRate(() => config.resolver.answers_per_second);
const resolverLog = log.with({ component: "resolver" });
const resolverServer = await startOrExit("agent", () =>
  serveResolver({
    hostname: config.resolver.host,
    port: config.resolver.port,
    resolver,
    rate: answerRate,
    nowMs: () => clock.nowMs(),
    onError: whenNew((message) => resolverLog.warn(message)),
  }),
);
shutdown.onShutdown("resolver", () => resolverServer.stop());

const perShard = (value: (state: ReturnType<ShardPool["states"]>[number]) => number) => () =>
  pool.states().map((state) => ({ labels: { shard: String(state.index) }, value: value(state) }));
for (const counter of SHARD_COUNTERS) {
  const ofWorkers = perShard(({ counters }) => counters.read(counter));
  // The main thread is as one more shard for what it is lent.
  const read = () => [...ofWorkers(), { labels: { shard: "main" }, value: pool.lentModules.counters.read(counter) }];
  if (SHARD_GAUGES.has(counter))
    metrics.gaugeFrom(`shard_${counter}`, `Of each shard: ${counter.replaceAll("_", " ")}`, read);
  else metrics.counterFrom(`shard_${counter}_total`, `Of each shard: ${counter.replaceAll("_", " ")}`, read);
}
exposeEvents(
  metrics,
  "lent_modules_total",
  "Modules that shards lent to the main thread for callers over HTTP, and why not or no more",
  pool.lentModules.counts,
);
metrics.counterFrom(
  "shard_restarts_total",
  "Workers that died and were restarted",
  perShard(({ restarts }) => restarts),
);
metrics.gaugeFrom(
  "shard_receive_buffer_bytes",
  "Socket receive buffer in effect",
  perShard((state) => state.receiveBufferBytes),
);
metrics.gaugeFrom("dns_connected", "1 while a dns service is connected", () => (source.connected ? 1 : 0));
metrics.gaugeFrom("report_connected", "1 while a report service is connected", () => (reporter.connected ? 1 : 0));
metrics.gaugeFrom("known_routes", "Modules with a route", () => book.size);
metrics.gaugeFrom(
  "kept_routes",
  "Modules whose hosts are kept although the dns service says they are gone",
  () => source.keptModules,
);
metrics.gaugeFrom(
  "kept_hosts",
  "Hosts that are kept although the dns service says they are gone",
  () => source.keptHosts,
);
metrics.gaugeFrom(
  "routes_ahead",
  "Modules of which the dns service connected to knows only an older route",
  () => source.ahead,
);
metrics.gaugeFrom("wanted_modules", "Modules asked for at the dns service", () => source.size);
exposeEvents(metrics, "route_source_events_total", "What came and went on the connection to dns", source.counts);
exposeEvents(metrics, "dns_client_events_total", "The connection to dns itself", dnsClient.counters);
exposeEvents(metrics, "status_reporter_events_total", "What was sent to report", reporter.counts);
exposeEvents(metrics, "report_client_events_total", "The connection to report itself", reportClient.counters);
exposeEvents(metrics, "resolver_answers_total", "DNS queries, by how they came and what came of them", resolver.counts);
exposeEvents(metrics, "resolver_limited_total", "DNS queries over UDP beyond the rate", answerRate.counts);
exposeEvents(
  metrics,
  "resolver_overload_total",
  "DNS queries over UDP beyond those that may wait",
  resolverServer.overload,
);
exposeEvents(metrics, "resolver_udp_total", "Datagrams of the DNS port", resolverServer.udp);
exposeEvents(metrics, "resolver_tcp_total", "Connections to the DNS port", resolverServer.tcp);
metrics.gaugeFrom("resolver_tcp_connections", "Open connections to the DNS port", () => resolverServer.connections());
exposeEvents(metrics, "snapshot_events_total", "Route snapshots written", book.counts);

const configWatch = watchConfig(loaded, {
  log,
  onChange: (change) => {
    const before = config;
    config = change.config;
    log.setLevel(config.log.level);
    pool.configure(shardSettings(config));
    const isSame = (a: readonly string[], b: readonly string[]): boolean => a.join() === b.join();
    if (!isSame(before.dnsserver.addresses, config.dnsserver.addresses)) dnsClient.addressesChanged();
    if (!isSame(before.reporter.addresses, config.reporter.addresses)) reportClient.addressesChanged();
    if (before.routes.max_vanish_share !== config.routes.max_vanish_share) source.askKept();
  },
});
shutdown.onShutdown("configuration", () => configWatch.stop());
tls.start((material) => http.renewTls(listenerTls(material)!));
clientTls.start();
for (const each of [tls, clientTls]) shutdown.onShutdown("tls", () => each.stop());

// The last step made is the first to end: callers are answered, and routes still come, until the services are drained.
shutdown.onShutdown("draining of registrations", async () => {
  if (config.registrations.on_stop === "drain") await registrations.drainAll();
});

log.info("agent listens", {
  version,
  http: http.url,
  udp: pool.states().map(({ port }) => `${config.udp.host}:${port}`),
  resolver: `${config.resolver.host}:${resolverServer.port}`,
  receiveBufferBytes: pool.states().map((state) => state.receiveBufferBytes),
  routes: book.size,
  pid: process.pid,
});
