// Everything encrypted, with real processes: what must work, what must be refused, and a renewal that nobody notices.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { frameOf } from "../../src/wire/frame.ts";
import { eventually } from "../support/eventually.ts";
import {
  ADMIN_TOKEN,
  type Lars,
  makeLars,
  PROJECT_ROOT,
  type ProcessName,
  parseMetrics,
  temporaryFolder,
} from "../support/lars-processes.ts";
import { TlsAuthority, writeIssued } from "../support/tls-authority.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const folder = temporaryFolder("tls-e2e");
const servers = new TlsAuthority("servers");
const agents = new TlsAuthority("agents");
const caFile = join(folder, "servers.crt");
const agentCaFile = join(folder, "agents.crt");
writeFileSync(caFile, servers.ca);
writeFileSync(agentCaFile, agents.ca);
const server = writeIssued(folder, "server", servers.issue({ name: "first" }));
/** Files that no test renews. */
const lasting = writeIssued(folder, "lasting", servers.issue({ name: "lasting" }));
const agent = writeIssued(folder, "agent", agents.issue({ name: "agent", names: [], addresses: [] }));

const listening = (name: string, { cert, key } = server): Record<string, string> => ({
  [`LARS_${name}__TLS__CERT_FILE`]: cert,
  [`LARS_${name}__TLS__KEY_FILE`]: key,
});
const env: Record<string, string> = {
  ...listening("DNS"),
  ...listening("REPORT"),
  ...listening("AGENT"),
  LARS_DNS__TLS__CLIENT_CA_FILE: agentCaFile,
  LARS_REPORT__TLS__CLIENT_CA_FILE: agentCaFile,
  LARS_AGENT__DNSSERVER__TLS: "true",
  LARS_AGENT__REPORTER__TLS: "true",
  LARS_AGENT__CLIENT_TLS__CA_FILE: caFile,
  LARS_AGENT__CLIENT_TLS__CERT_FILE: agent.cert,
  LARS_AGENT__CLIENT_TLS__KEY_FILE: agent.key,
  LARS_CA_FILE: caFile,
};

let lars: Lars;
beforeAll(async () => {
  lars = await makeLars({ env });
  await Promise.all(lars.all.map((process) => process.start()));
});
afterAll(async () => {
  await lars.stop();
});

async function run(name: ProcessName, extra: Record<string, string>): Promise<{ code: number; err: string }> {
  const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, `src/${name}/main.ts`)], {
    env: { PATH: process.env.PATH ?? "", LARS_DATA_DIR: temporaryFolder("tls-refused"), ...extra },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const err = await new Response(child.stderr).text();
  return { code: await child.exited, err };
}

function shownBy(port: number, shown: { cert?: string; key?: string } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca: servers.ca, ...shown }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("a route change is pushed, hosts are picked and statistics arrive, all over TLS", async () => {
  expect((await lars.admin("PUT", "/v1/routes/7/3", { hosts: [{ ip: "10.0.0.1", port: 80 }] })).status).toBe(200);
  const [one] = lars.agent;
  const pick = () => one!.fetch("/v1/hosts/7/3");
  await eventually(async () => expect((await pick()).status).toBe(200));
  await lars.admin("PUT", "/v1/routes/7/3", { hosts: [{ ip: "10.0.0.2", port: 80 }] });
  await eventually(async () => expect(await (await pick()).json()).toMatchObject({ ip: "10.0.0.2" }));
  const report = await one!.fetch("/v1/reports", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ modid: 7, cmdid: 3, ip: "10.0.0.2", port: 80, retcode: 0 }),
  });
  expect(report.status).toBe(204);
  await eventually(async () => {
    const answer = await lars.report[0]!.fetch("/v1/status?modid=7&cmdid=3");
    expect(await answer.json()).toMatchObject({ status: [{ ip: "10.0.0.2", succ: 1 }] });
  });
});

test("plain HTTP is answered by none of the three, plain frames and clients without a certificate not by dns and report", async () => {
  for (const { ports } of lars.all) {
    await expect(fetch(`http://127.0.0.1:${ports.http}/healthz`)).rejects.toThrow();
  }
  for (const each of [lars.dns[0]!, lars.report[0]!]) {
    let received = 0;
    const closed = Promise.withResolvers<void>();
    await Bun.connect({
      hostname: "127.0.0.1",
      port: each.ports.tcp,
      socket: {
        open: (socket) => void socket.write(frameOf(1, new Uint8Array([8, 7, 16, 3]))),
        // An alert of TLS at most.
        data: (_socket, chunk) => {
          received += chunk.length;
        },
        close: () => closed.resolve(),
        error: () => {},
      },
    });
    await closed.promise;
    expect(received).toBeLessThanOrEqual(7);
    await new Promise<void>((resolve) => {
      const socket = connect({ host: "127.0.0.1", port: each.ports.tcp, ca: servers.ca });
      socket.on("error", () => {}).on("close", () => resolve());
    });
    await eventually(async () => {
      const metrics = await each.metrics();
      expect(metrics.get(`lars_${each.name}_tcp_events_total{event="handshakeFailures"}`)).toBe(2);
      expect(metrics.get(`lars_${each.name}_tcp_events_total{event="open"}`)).toBe(1);
    });
    expect(each.output).toContain("the peer does not speak TLS on this port");
    expect(each.output).toContain("the client showed no certificate, and one is demanded");
  }
});

test("the command line works with https and LARS_CA_FILE, and says what is missing without", async () => {
  const lists = async (extra: Record<string, string>): Promise<{ code: number; out: string; err: string }> => {
    const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/cli/main.ts"), "get", "7.3"], {
      env: { PATH: process.env.PATH ?? "", NO_COLOR: "1", LARS_ADMIN_TOKEN: ADMIN_TOKEN, ...extra },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, err] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    return { code: await child.exited, out, err };
  };
  const { url } = lars.dns[0]!;
  const [good, untrusted, noFile, plain] = await Promise.all([
    lists({ LARS_DNS_URL: url, LARS_CA_FILE: caFile }),
    lists({ LARS_DNS_URL: url }),
    lists({ LARS_DNS_URL: url, LARS_CA_FILE: join(folder, "none") }),
    lists({ LARS_DNS_URL: url.replace("https", "http") }),
  ]);
  expect([good.code, JSON.parse(good.out)]).toMatchObject([0, { modid: 7, hosts: [{ ip: "10.0.0.2" }] }]);
  expect([untrusted.code, untrusted.err]).toEqual([1, expect.stringContaining("set LARS_CA_FILE")]);
  expect([noFile.code, noFile.err]).toEqual([1, expect.stringContaining("cannot be read (ENOENT)")]);
  expect([plain.code, plain.err]).toEqual([
    1,
    expect.stringContaining("Where it speaks TLS, its URL begins with https"),
  ]);
});

// Side by side from here on: each of the others has processes of its own.

test.concurrent("a renewed certificate is shown by every port of all three within seconds; the agent keeps its connections", async () => {
  const clientCertificate = agents.issue({ names: [], addresses: [] });
  const connections = async (): Promise<(number | undefined)[]> => {
    const metrics = await lars.agent[0]!.metrics();
    return ["dns", "report"].flatMap((name) =>
      ["connects", "losses"].map((event) => metrics.get(`lars_agent_${name}_client_events_total{event="${event}"}`)),
    );
  };
  expect(await connections()).toEqual([1, 0, 1, 0]);
  const second = writeIssued(folder, "second", servers.issue({ name: "second", untilMs: Date.now() + 3_600_000 }));
  renameSync(second.cert, server.cert);
  renameSync(second.key, server.key);
  const ports = [...lars.all.map(({ ports: { http } }) => http), lars.dns[0]!.ports.tcp, lars.report[0]!.ports.tcp];
  await eventually(
    async () => {
      const shown = await Promise.all(ports.map((port) => shownBy(port, clientCertificate)));
      expect(shown).toEqual(ports.map(() => "second"));
    },
    { timeoutMs: 10_000, intervalMs: 100 },
  );
  expect((await lars.admin("PUT", "/v1/routes/7/3", { hosts: [{ ip: "10.0.0.3", port: 80 }] })).status).toBe(200);
  await eventually(async () =>
    expect(await (await lars.agent[0]!.fetch("/v1/hosts/7/3")).json()).toMatchObject({ ip: "10.0.0.3" }),
  );
  expect(await connections()).toEqual([1, 0, 1, 0]);
  for (const each of lars.all) {
    const metrics = await each.metrics();
    const left = metrics.get(`lars_${each.name}_tls_certificate_expiry_seconds{certificate="server"}`)!;
    expect([left > 3500, left <= 3600]).toEqual([true, true]);
    expect(metrics.get(`lars_${each.name}_tls_reloads_total{certificate="server",result="renewed"}`)).toBe(1);
    expect(each.output).toContain("TLS files were renewed");
  }
});

describe.concurrent("a process that may not start ends with 1 and says why", () => {
  test("files that are wrong: which key, which file, what is allowed", async () => {
    const none = join(folder, "none.pem");
    const [missing, mismatch, half] = await Promise.all([
      run("dns", { LARS_DNS__TLS__CERT_FILE: none, LARS_DNS__TLS__KEY_FILE: lasting.key }),
      run("report", { LARS_REPORT__TLS__CERT_FILE: lasting.cert, LARS_REPORT__TLS__KEY_FILE: agent.key }),
      run("agent", { LARS_AGENT__CLIENT_TLS__CERT_FILE: agent.cert }),
    ]);
    expect(missing).toEqual({
      code: 1,
      err: `dns: tls.cert_file ${none} cannot be read (ENOENT); give a PEM file that this process may read\n`,
    });
    expect([mismatch.code, mismatch.err]).toEqual([
      1,
      expect.stringContaining(`tls.key_file ${agent.key} is not the key`),
    ]);
    expect(half).toEqual({
      code: 1,
      err: "agent: client_tls.cert_file is set and client_tls.key_file is not; set both or none\n",
    });
  });

  test("beyond loopback without TLS or without knowing the callers: one line a listener", async () => {
    const everywhere = (name: string, sections: readonly string[]): Record<string, string> =>
      Object.fromEntries(sections.map((section) => [`LARS_${name}__${section}__HOST`, "0.0.0.0"]));
    const [dns, report, one] = await Promise.all([
      run("dns", everywhere("DNS", ["TCP", "HTTP"])),
      run("report", { ...everywhere("REPORT", ["TCP", "HTTP"]), ...listening("REPORT", lasting) }),
      run("agent", everywhere("AGENT", ["UDP", "HTTP", "RESOLVER"])),
    ]);
    /** The beginning of each line, up to the ways out. */
    const said = ({ code, err }: { code: number; err: string }) => [
      code,
      ...err
        .trimEnd()
        .split("\n")
        .map((line) => line.replace(", which others than this machine reach", "").replace(/;.*/, "")),
    ];
    const neither = "without encryption and without knowing its callers";
    expect(said(dns)).toEqual([
      1,
      `dns: tcp would listen on 0.0.0.0:7778, ${neither}`,
      "dns: http would listen on 0.0.0.0:7780, without encryption",
    ]);
    expect(said(report)).toEqual([1, "report: tcp would listen on 0.0.0.0:7779, without knowing its callers"]);
    expect(said(one)).toEqual([
      1,
      `agent: http would listen on 0.0.0.0:8880, ${neither}`,
      `agent: udp would listen on 0.0.0.0:8888, ${neither}`,
      `agent: resolver would listen on 0.0.0.0:8653, ${neither}`,
    ]);
  });
});

test.concurrent("with LARS_ALLOW_INSECURE it starts, warns of each listener and counts them; opening HTTP by a reload is refused without", async () => {
  const file = join(folder, "dns.toml");
  writeFileSync(file, "[auth]\nanonymous_read = false\n");
  const ports = lars.dns[0]!.ports;
  const base = {
    LARS_DATA_DIR: temporaryFolder("tls-allowed"),
    LARS_DNS__TCP__PORT: "0",
    LARS_DNS__HTTP__HOST: "0.0.0.0",
  };
  expect(ports.http).toBeGreaterThan(0);
  const start = (extra: Record<string, string>) => {
    const child = Bun.spawn([process.execPath, join(PROJECT_ROOT, "src/dns/main.ts"), "--config", file], {
      env: {
        PATH: process.env.PATH ?? "",
        ...base,
        LARS_DNS__HTTP__PORT: "0",
        LARS_ADMIN_TOKEN: ADMIN_TOKEN,
        ...extra,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    void (async () => {
      for await (const chunk of child.stdout) output += new TextDecoder().decode(chunk);
    })();
    return { child, text: () => output };
  };
  const allowed = start({ LARS_ALLOW_INSECURE: "true", LARS_DNS__TCP__HOST: "0.0.0.0" });
  const safe = start(listening("DNS", lasting));
  try {
    const urlOf = async ({ text }: { text: () => string }): Promise<string> =>
      await eventually(() => /"http":"([^"]+)"/.exec(text())![1]!.replace("0.0.0.0", "127.0.0.1"), {
        timeoutMs: 15_000,
      });
    const metrics = parseMetrics(await (await fetch(`${await urlOf(allowed)}/metrics`)).text());
    expect(metrics.get("lars_dns_insecure_listeners")).toBe(2);
    expect(allowed.text().match(/insecure, and allowed by security.allow_insecure/g)).toHaveLength(2);
    const url = await urlOf(safe);
    const read = async (): Promise<number> => (await fetch(`${url}/v1/routes`, { tls: { ca: servers.ca } })).status;
    expect(await read()).toBe(401);
    writeFileSync(file, "[auth]\nanonymous_read = true\n");
    await eventually(() => expect(safe.text()).toContain("[auth] not reloaded, the old one stays: http would listen"));
    expect(await read()).toBe(401);
  } finally {
    for (const { child } of [allowed, safe]) {
      child.kill();
      await child.exited;
    }
  }
});
