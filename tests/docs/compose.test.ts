// compose.yaml and the Dockerfile cannot be run by a test (there is no Docker where tests run), so what can drift in them
// is compared with the configuration: variables, values, ports, health checks and what is copied into the image.
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { agentConfig } from "../../src/agent/config.ts";
import { dnsConfig } from "../../src/dns/config.ts";
import { type ConfigSchema, defaultConfig } from "../../src/platform/config-schema.ts";
import { describeConfig } from "../../src/platform/config-text.ts";
import { resolveConfig } from "../../src/platform/config-values.ts";
import { reportConfig } from "../../src/report/config.ts";
import { parseDatabaseUrl } from "../../src/store/database-url.ts";
import { PROJECT_ROOT } from "../support/lars-processes.ts";

interface Service {
  readonly build?: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
}

const read = (file: string): Promise<string> => Bun.file(join(PROJECT_ROOT, file)).text();
const compose = Bun.YAML.parse(await read("compose.yaml")) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
};
const dockerfile = await read("Dockerfile");

const SCHEMAS: Readonly<Record<string, ConfigSchema>> = { dns: dnsConfig, report: reportConfig, agent: agentConfig };
const ours = Object.entries(compose.services).filter(([, { build }]) => build !== undefined);

function processOf(service: Service): string {
  return /^src\/(\w+)\/main\.ts$/.exec(service.command![0]!)![1]!;
}

/** "8888/udp" and the like, as the process listens by default. */
function defaultPorts(process: string): string[] {
  const config = defaultConfig(SCHEMAS[process]!) as Record<string, Record<string, number>>;
  const shards = config.udp?.shards ?? 0;
  return [
    ...["tcp", "http"].flatMap((section) => (config[section] === undefined ? [] : [`${config[section].port}/tcp`])),
    ...(config.resolver === undefined ? [] : ["tcp", "udp"].map((kind) => `${config.resolver!.port}/${kind}`)),
    ...Array.from({ length: shards }, (_, i) => `${config.udp!.port! + i}/udp`),
  ].sort();
}

function httpPort(process: string): number {
  return (defaultConfig(SCHEMAS[process]!) as Record<string, Record<string, number>>).http!.port!;
}

/** As compose fills in ${NAME:?text}. */
function filledIn(value: string): string {
  return value.replace(
    /\$\{(\w+):\?[^}]*\}/g,
    (_, name: string) => `${name.toLowerCase().replaceAll("_", "")}0123456789`,
  );
}

test("compose starts MySQL 8.4, two dns, a report and an agent", () => {
  expect(compose.services.mysql!.image).toBe("mysql:8.4");
  expect(ours.map(([, service]) => processOf(service)).sort()).toEqual(["agent", "dns", "dns", "report"]);
  for (const [, { command }] of ours) expect(existsSync(join(PROJECT_ROOT, command![0]!))).toBe(true);
});

test("every variable in compose is a key of its process's configuration, with a value that is allowed", () => {
  for (const [name, service] of ours) {
    const schema = SCHEMAS[processOf(service)]!;
    const known = new Set(describeConfig(schema).flatMap(({ env }) => env));
    expect({ name, unknown: Object.keys(service.environment).filter((key) => !known.has(key)) }).toEqual({
      name,
      unknown: [],
    });
    const env = Object.fromEntries(Object.entries(service.environment).map(([key, value]) => [key, filledIn(value)]));
    const resolved = resolveConfig(schema, { file: "compose.yaml", values: {}, env });
    expect({ name, resolved: resolved.ok || resolved.message }).toEqual({ name, resolved: true });
    if (!resolved.ok) continue;
    const config = resolved.config as Record<string, Record<string, unknown>>;
    expect([name, config.security!.allow_insecure]).toEqual([name, true]);
    for (const section of ["tcp", "http", "udp", "resolver"]) {
      if (config[section] !== undefined)
        expect([name, section, config[section].host]).toEqual([name, section, "0.0.0.0"]);
    }
  }
});

test("processes in compose are told services that exist, at the ports those listen on", () => {
  const mysql = compose.services.mysql!.environment;
  for (const [, service] of ours) {
    const { LARS_DATABASE_URL, LARS_AGENT__DNSSERVER__ADDRESSES, LARS_AGENT__REPORTER__ADDRESSES } =
      service.environment;
    if (processOf(service) === "agent") {
      const addresses = `${LARS_AGENT__DNSSERVER__ADDRESSES},${LARS_AGENT__REPORTER__ADDRESSES}`.split(",");
      const listening = ours.flatMap(([name, other]) => {
        const { tcp } = defaultConfig(SCHEMAS[processOf(other)]!) as { tcp?: { port: number } };
        return tcp === undefined ? [] : [`${name}:${tcp.port}`];
      });
      expect(addresses.sort()).toEqual(listening.sort());
    } else {
      expect(parseDatabaseUrl(filledIn(LARS_DATABASE_URL!))).toEqual({
        dialect: "mysql",
        user: mysql.MYSQL_USER!,
        password: filledIn(mysql.MYSQL_PASSWORD!),
        hosts: [{ host: "mysql", port: 3306 }],
        database: mysql.MYSQL_DATABASE!,
      });
    }
  }
});

test("compose publishes the default ports, on loopback, and every process but the second dns publishes all of its own", () => {
  for (const [name, service] of ours) {
    const published = (service.ports ?? []).flatMap((text) => {
      const match = /^127\.0\.0\.1:([\d-]+):([\d-]+)(?:\/(tcp|udp))?$/.exec(text);
      if (match === null) throw new Error(`${name} publishes ${text}; expected 127.0.0.1:PORT:PORT`);
      expect(match[1]).toBe(match[2]!);
      const [from, to = from] = match[2]!.split("-").map(Number) as [number, number?];
      return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${match[3] ?? "tcp"}`);
    });
    expect({ name, published: published.sort() }).toEqual({
      name,
      published: name === "dns-2" ? [] : defaultPorts(processOf(service)),
    });
  }
});

test("every service has a health check; those of our processes ask their own /readyz", () => {
  for (const [name, service] of ours) {
    expect([name, service.healthcheck.test.join(" ")]).toEqual([
      name,
      `CMD bun -e process.exit((await fetch('http://127.0.0.1:${httpPort(processOf(service))}/readyz')).ok ? 0 : 1)`,
    ]);
  }
  expect(compose.services.mysql!.healthcheck.test.join(" ")).toContain("mysqladmin ping");
});

test("volumes that services mount are declared, and the image's data folder is the one that is kept", () => {
  const mounted = Object.values(compose.services).flatMap(({ volumes }) => volumes ?? []);
  expect(mounted.map((text) => text.split(":")[0]!).sort()).toEqual(Object.keys(compose.volumes).sort());
  expect(dockerfile).toContain("LARS_DATA_DIR=/data");
  expect(compose.services.agent!.volumes).toEqual(["agent-data:/data"]);
});

test("the Dockerfile exposes every default port, copies what exists, and is not run as root", async () => {
  const exposed = [...dockerfile.matchAll(/^EXPOSE (.*)$/gm)].flatMap((match) => match[1]!.split(" "));
  expect(exposed.sort()).toEqual(Object.keys(SCHEMAS).flatMap(defaultPorts).sort());
  const copied = [...dockerfile.matchAll(/^COPY (.*) \S+$/gm)].flatMap((match) => match[1]!.split(" "));
  const letIn = (await read(".dockerignore"))
    .split("\n")
    .filter((line) => line.startsWith("!"))
    .map((line) => line.slice(1));
  expect(copied.sort()).toEqual(letIn.sort());
  expect(copied.filter((path) => !existsSync(join(PROJECT_ROOT, path)))).toEqual([]);
  expect(dockerfile).toMatch(/^USER bun$/m);
  const { bun } = (JSON.parse(await read("package.json")) as { devDependencies: { bun: string } }).devDependencies;
  expect(dockerfile).toContain(`FROM oven/bun:${bun}\n`);
});
