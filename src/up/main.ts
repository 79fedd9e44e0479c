// `bun run up`: everything on one machine with one command, on an embedded SQLite file unless told otherwise. It prepares
// the database (tables, first admin token, demo routes when there is none), then runs dns, report and an agent as
// processes of their own, starts again what dies, and ends them all on Ctrl-C.
import { agentConfig } from "../agent/config.ts";
import { createFirstAdminToken } from "../auth/first-token.ts";
import { dnsConfig } from "../dns/config.ts";
import { spawnChild } from "../platform/child-process.ts";
import { readStartup } from "../platform/config-file.ts";
import { type ConfigOf, type ConfigSchema, type ConfigSection, defaultConfig } from "../platform/config-schema.ts";
import { guardListeners } from "../platform/listener-guard.ts";
import { createLog } from "../platform/log-output.ts";
import { PARENT_VARIABLE } from "../platform/parent-watch.ts";
import { RESTARTS_VARIABLE } from "../platform/process-metrics.ts";
import { databaseUrl, projectPath } from "../platform/project-paths.ts";
import { createShutdown } from "../platform/shutdown.ts";
import { supervise } from "../platform/supervise.ts";
import { readCaFile } from "../platform/tls-material.ts";
import { reportConfig } from "../report/config.ts";
import { type Database, databaseOptions } from "../store/database.ts";
import { openDatabase } from "../store/open.ts";
import { importDemoRoutes } from "./demo-routes.ts";

const READY_TIMEOUT_MS = 20_000;
const READY_POLL_MS = 50;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(message: string): never {
  process.stderr.write(`up: ${message}\n`);
  process.exit(1);
}

/** Children read their configuration themselves; here it is read to check it before anything starts, and for the URLs. */
function configOf<S extends Readonly<Record<string, ConfigSection>>>(
  schema: ConfigSchema<S>,
): ConfigOf<ConfigSchema<S>> {
  const startup = readStartup(schema, [], process.env);
  if (startup.kind === "run") return startup.loaded.config;
  process.stderr.write(`up: ${startup.kind === "refused" ? startup.message : startup.text}\n`);
  process.exit(2);
}

if (process.argv.length > 2) {
  process.stderr.write(
    "up: takes no arguments; configuration is in conf/*.toml and the environment (see the README)\n",
  );
  process.exit(2);
}
const dns = configOf(dnsConfig);
const report = configOf(reportConfig);
const agent = configOf(agentConfig);

const log = createLog({ process: "up", level: "warn", format: "text" });
// Here rather than in each child, which would be started again and again.
guardListeners("dns", dns, log);
guardListeners("report", report, log);
guardListeners("agent", agent, log);
const shutdown = createShutdown({ log, deadlineMs: 15_000 });
// The terminal was closed: nobody is there to press Ctrl-C any more.
process.on("SIGHUP", () => void shutdown.shutdown("SIGHUP"));

async function prepare(database: Database): Promise<string | undefined> {
  await database.migrate();
  await importDemoRoutes(database.routes, log);
  return dns.auth.admin_token === "" ? await createFirstAdminToken(database.tokens, Date.now()) : undefined;
}

const database = await Promise.resolve()
  .then(() => databaseOptions(dns.database, readCaFile("database.tls_ca_file", dns.database.tls_ca_file)))
  .then((options) => openDatabase(databaseUrl(dns), options))
  .catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
const token = await prepare(database).catch((error: unknown) =>
  fail(`the database is not usable: ${error instanceof Error ? error.message : String(error)}`),
);
await database.close();

/** The agent finds the dns and report of this `up` wherever they listen, unless it is told of others. */
function agentAddresses(): Record<string, string> {
  const defaults = defaultConfig(agentConfig);
  const local = (host: string, port: number): string => `${host === "0.0.0.0" ? "127.0.0.1" : host}:${port}`;
  const addresses: Record<string, string> = {};
  if (String(agent.dnsserver.addresses) === String(defaults.dnsserver.addresses)) {
    addresses.LARS_AGENT__DNSSERVER__ADDRESSES = local(dns.tcp.host, dns.tcp.port);
  }
  if (String(agent.reporter.addresses) === String(defaults.reporter.addresses)) {
    addresses.LARS_AGENT__REPORTER__ADDRESSES = local(report.tcp.host, report.tcp.port);
  }
  return addresses;
}

const starts = new Map<string, number>();

function childEnv(name: string): Record<string, string | undefined> {
  const restarts = starts.get(name) ?? 0;
  starts.set(name, restarts + 1);
  const prefix = `LARS_${name.toUpperCase()}__LOG__`;
  // On a terminal people read along: the essentials, as text. What the environment says goes before.
  const quiet = process.stdout.isTTY ? { [`${prefix}FORMAT`]: "text", [`${prefix}LEVEL`]: "warn" } : {};
  return {
    ...quiet,
    ...process.env,
    ...agentAddresses(),
    [PARENT_VARIABLE]: String(process.pid),
    [RESTARTS_VARIABLE]: String(restarts),
  };
}

const children = ["dns", "report", "agent"].map((name) =>
  supervise({
    name,
    log,
    start: () =>
      spawnChild([process.execPath, projectPath(`src/${name}/main.ts`)], { env: childEnv(name), detached: true }),
  }),
);
// The agent first: its last statistics go to report, and its last question to dns. (Steps run in reverse order.)
for (const child of children) shutdown.onShutdown("child", () => child.stop());

function urlOf(config: {
  readonly http: { readonly host: string; readonly port: number };
  readonly tls: { readonly cert_file: string };
}): string {
  return `${config.tls.cert_file === "" ? "http" : "https"}://${config.http.host}:${config.http.port}`;
}

const urls = { dns: urlOf(dns), report: urlOf(report), agent: urlOf(agent) };

async function awaitReady(): Promise<void> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  // An agent that demands certificates answers nobody here.
  const asked = Object.entries(urls).filter(([name]) => name !== "agent" || agent.tls.client_ca_file === "");
  for (const [name, url] of asked) {
    for (;;) {
      // Of our own children only whether they are ready is asked, so whose certificate they show does not matter.
      const ready = await fetch(`${url}/readyz`, { tls: { rejectUnauthorized: false } }).then(
        async (response) => (response.ok ? true : ((await response.json()) as { detail?: string }).detail),
        () => "it does not listen yet",
      );
      if (ready === true) break;
      if (shutdown.stopping) return;
      if (performance.now() > deadlineMs) {
        log.error(`${name} is not ready after ${READY_TIMEOUT_MS / 1000} s (${ready}); its own lines above say why`);
        return;
      }
      await Bun.sleep(READY_POLL_MS);
    }
  }
}

await awaitReady();
if (!shutdown.stopping) {
  say(`
Lars is up.
  dns     ${urls.dns}   routes and their administration (documentation: ${urls.dns}/docs)
          ${dns.tcp.host}:${dns.tcp.port}   for agents
  report  ${urls.report}   how calls went
  agent   ${urls.agent}   for callers over HTTP
          udp ${agent.udp.host}:${agent.udp.port}${agent.udp.shards > 1 ? `-${agent.udp.port + agent.udp.shards - 1}` : ""}   for callers over UDP
`);
  if (token !== undefined) {
    say(`Admin token (shown this once; the database keeps only its hash):\n  ${token}\n`);
  }
  say(`Try:
  curl ${urls.dns}/v1/routes
  curl ${urls.agent}/v1/hosts/1/1
  curl -X POST ${urls.agent}/v1/reports -H 'content-type: application/json' -d '{"modid":1,"cmdid":1,"ip":"127.0.0.1","port":9001,"retcode":0}'

Ctrl-C stops everything.`);
}
