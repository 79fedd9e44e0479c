// The examples are what a team copies into its programs, so they are run as they stand: against a whole Lars, whose
// statistics must agree with what each of them says it did, and the UDP ones against an agent that loses, delays and
// refuses, byte by byte.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { parseEndpoint } from "../../src/core/endpoint.ts";
import { parseModuleKey } from "../../src/core/module-key.ts";
import { HEADER_BYTES, MSG_GET_HOST_REQUEST, MSG_GET_HOST_RESPONSE, sealFrame } from "../../src/wire/frame.ts";
import {
  decodeGetHostRequest,
  encodeGetHostFailure,
  encodeGetHostRequest,
  encodeGetHostSuccess,
  makeGetHostRequest,
} from "../../src/wire/host-codec.ts";
import { encodeReportRequest } from "../../src/wire/report-codec.ts";
import { eventually } from "../support/eventually.ts";
import { freePorts, type Lars, PROJECT_ROOT, startLars } from "../support/lars-processes.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const PYTHON_UDP = ["python3", "examples/python/lars_udp.py"];
const PYTHON_HTTP = ["python3", "examples/python/lars_http.py"];
/** For programs that live a second: most of it is the compiler's start. */
const JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];
const JAVA_UDP = [...JAVA, "examples/java/LarsUdp.java"];
const JAVA_HTTP = [...JAVA, "examples/java/LarsHttp.java"];

interface Summary {
  readonly picks: number;
  readonly answers: Readonly<Record<string, number>>;
  readonly timeouts: number;
  readonly unreported: number;
  readonly hosts: Readonly<Record<string, { readonly ok: number; readonly failed: number }>>;
  readonly seconds: number;
}

async function run(command: readonly string[], ...options: string[]): Promise<{ code: number; out: string }> {
  const program = command[0]!;
  if (Bun.which(program) === null) {
    throw new Error(`${program} is not installed: the examples need python3 (3.11 or later) and java (17 or later)`);
  }
  const child = Bun.spawn([...command, ...options], {
    cwd: PROJECT_ROOT,
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out: out + err };
}

async function summaryOf(command: readonly string[], ...options: string[]): Promise<Summary> {
  const { code, out } = await run(command, ...options, "--json");
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}:\n${out.slice(0, 2000)}`);
  return JSON.parse(out) as Summary;
}

describe("against a whole Lars", () => {
  let lars: Lars;
  beforeAll(async () => {
    lars = await startLars();
  }, 20_000);
  afterAll(async () => {
    await lars.stop();
  });

  const FAILING = "200.1.2.3:8080";
  const CALLS = 400;
  // One module a shard. -5 is 4294967291 to who spells ids unsigned; addresses from 128.0.0.0 up are negative on the wire.
  const ROUTES: Readonly<Record<string, readonly string[]>> = {
    "7.3": ["10.0.0.1:80", FAILING, "192.168.0.1:7777"],
    "-5.2": ["255.255.255.254:1", "127.0.0.1:65535"],
    "1.1": ["128.0.0.0:9000"],
  };

  test(`four examples make ${CALLS} calls each, and the report service counts what they count, host by host; a module nobody made is return code 3`, async () => {
    for (const [module, hosts] of Object.entries(ROUTES)) {
      const { modid, cmdid } = parseModuleKey(module)!;
      const body = { hosts: hosts.map((host) => ({ ip: host.split(":")[0], port: parseEndpoint(host)!.port })) };
      expect((await lars.admin("PUT", `/v1/routes/${modid}/${cmdid}`, body)).status).toBe(200);
      // What is not known yet is return code 3 too, on a machine so busy that it takes longer than callers are kept waiting.
      const known = async () => expect((await lars.agent[0]!.fetch(`/v1/routes/${modid}/${cmdid}`)).status).toBe(200);
      await lars.agent[0]!.fetch(`/v1/hosts/${modid}/${cmdid}`);
      await eventually(known, { timeoutMs: 20_000 });
    }
    const modules = join(lars.folder, "modules.txt");
    await Bun.write(modules, "# one a line\n7.3\n4294967291.2\n\n1.1\n99.99\n");
    const failing = join(lars.folder, "failing.txt");
    await Bun.write(failing, `7.3 ${FAILING}\n`);

    const { udp, http } = lars.agent[0]!.ports;
    const options = (port: number) => ["--agent", `127.0.0.1:${port}`, "--calls", String(CALLS)];
    const named = ["7.3", "-5.2", "1.1", "99.99"].flatMap((module) => ["--module", module]);
    const fromFiles = ["--module", `@${modules}`, "--fail", `@${failing}`];
    const summaries = await Promise.all([
      summaryOf(PYTHON_UDP, ...options(udp), ...named, "--fail", FAILING),
      summaryOf(PYTHON_HTTP, ...options(http), ...fromFiles),
      summaryOf(JAVA_UDP, ...options(udp), ...fromFiles),
      summaryOf(JAVA_HTTP, ...options(http), ...named, "--fail", FAILING),
    ]);

    const made = new Map<string, [ok: number, failed: number]>();
    for (const summary of summaries) {
      expect(summary).toMatchObject({
        picks: CALLS,
        answers: { "0": (3 * CALLS) / 4, "3": CALLS / 4 },
        timeouts: 0,
        unreported: 0,
      });
      expect(summary.seconds).toBeGreaterThan(0);
      for (const [key, { ok, failed }] of Object.entries(summary.hosts)) {
        const host = key.replace("4294967291.", "-5.");
        const [okBefore, failedBefore] = made.get(host) ?? [0, 0];
        made.set(host, [okBefore + ok, failedBefore + failed]);
      }
    }
    const expected = Object.entries(ROUTES).flatMap(([module, hosts]) => hosts.map((host) => `${module} ${host}`));
    expect([...made.keys()].sort()).toEqual(expected.sort());
    const [failedOk, failedFailed] = made.get(`7.3 ${FAILING}`)!;
    expect(failedOk).toBe(0);
    expect(failedFailed).toBeGreaterThan(0);
    // The failing host is taken out, so it gets less than a third of its module's calls, and only it fails.
    expect(failedFailed).toBeLessThan((4 * CALLS) / 4 / 3);
    expect([...made.values()].reduce((sum, [, failed]) => sum + failed, 0)).toBe(failedFailed);

    await eventually(async () => {
      const { status } = (await (await fetch(`${lars.report[0]!.url}/v1/status`)).json()) as {
        status: { modid: number; cmdid: number; ip: string; port: number; succ: number; err: number }[];
      };
      const told = status.map(({ modid, cmdid, ip, port, succ, err }) => [
        `${modid}.${cmdid} ${ip}:${port}`,
        succ,
        err,
      ]);
      expect(told.sort()).toEqual([...made].map(([host, counts]) => [host, ...counts]).sort());
    });
  }, 30_000);
});

describe("against an agent that makes trouble", () => {
  /** What each example is asked to do; modules on all three shards, one with a negative sum. */
  const MODULES = ["7.3", "-2.1", "1.1"];
  const HOST = { ip: 0xc8010203 | 0, port: 8080 };

  for (const [name, command] of [
    ["Python", PYTHON_UDP],
    ["Java", JAVA_UDP],
  ] as const) {
    test(`${name} over UDP asks again, takes only the answer to its question, and sends the bytes that we would`, async () => {
      const first = await freePorts(3);
      const received: { shard: number; datagram: Uint8Array }[] = [];
      const sockets = await Promise.all(
        [0, 1, 2].map((shard) =>
          Bun.udpSocket({
            hostname: "127.0.0.1",
            port: first + shard,
            socket: {
              data(socket, datagram, port, address) {
                received.push({ shard, datagram: datagram.slice() });
                for (const answer of troublesomeAnswers(datagram)) socket.send(answer, port, address);
              },
            },
          }),
        ),
      );
      const seen = new Map<string, number>();
      const seqs: number[] = [];
      function troublesomeAnswers(datagram: Uint8Array): Uint8Array[] {
        const request = makeGetHostRequest();
        const view = new DataView(datagram.buffer, datagram.byteOffset);
        if (view.getInt32(0, true) !== MSG_GET_HOST_REQUEST) return [];
        expect(decodeGetHostRequest(datagram, HEADER_BYTES, datagram.length, request)).toBe(true);
        const { seq, modid, cmdid } = request;
        seqs.push(seq);
        const key = `${modid}.${cmdid}`;
        const times = (seen.get(key) ?? 0) + 1;
        seen.set(key, times);
        const good = frame((out) => encodeGetHostSuccess(out, HEADER_BYTES, seq, modid, cmdid, HOST.ip, HOST.port));
        switch (key) {
          case "7.3": // lost once, then late answers to others, half a datagram and noise before the right one
            return times === 1
              ? []
              : [
                  frame((out) => encodeGetHostSuccess(out, HEADER_BYTES, (seq - 1) >>> 0, modid, cmdid, 1, 1)),
                  good.subarray(0, good.length - 3),
                  new Uint8Array([5, 0, 0]),
                  good,
                ];
          case "-2.1": // a field of a later protocol version in front
            return [
              frame((out) => {
                out.set([0x82, 0x08, 2, 65, 66], HEADER_BYTES); // field 128, two bytes
                return encodeGetHostSuccess(out, HEADER_BYTES + 5, seq, modid, cmdid, HOST.ip, HOST.port);
              }),
            ];
          default:
            return [frame((out) => encodeGetHostFailure(out, HEADER_BYTES, seq, modid, cmdid, 1))];
        }
      }
      try {
        const modules = MODULES.flatMap((module) => ["--module", module]);
        const agent = ["--agent", `127.0.0.1:${first}`, "--calls", "3", "--fail", "200.1.2.3:8080"];
        const summary = await summaryOf(command, ...agent, ...modules);
        expect(summary).toMatchObject({
          answers: { "0": 2, "1": 1 },
          timeouts: 0,
          hosts: { "7.3 200.1.2.3:8080": { ok: 0, failed: 1 }, "-2.1 200.1.2.3:8080": { ok: 0, failed: 1 } },
        });
        const [a, again, b, c] = seqs as [number, number, number, number];
        expect([again, b, c]).toEqual([a, (a + 1) >>> 0, (a + 2) >>> 0]);
        const question = (seq: number, modid: number, cmdid: number) =>
          frame((out) => encodeGetHostRequest(out, HEADER_BYTES, seq, modid, cmdid), MSG_GET_HOST_REQUEST);
        const failure = (modid: number, cmdid: number) =>
          frame(
            (out) => encodeReportRequest(out, HEADER_BYTES, { modid, cmdid, ...HOST, retcode: 1, latencyUs: 0 }),
            6,
          );
        expect(received.map(({ shard, datagram }) => [shard, datagram.toHex()])).toEqual(
          [
            { shard: 1, datagram: question(a, 7, 3) },
            { shard: 1, datagram: question(a, 7, 3) },
            { shard: 1, datagram: failure(7, 3) },
            { shard: 2, datagram: question(b, -2, 1) },
            { shard: 2, datagram: failure(-2, 1) },
            { shard: 2, datagram: question(c, 1, 1) },
          ].map(({ shard, datagram }) => [shard, datagram.toHex()]),
        );
      } finally {
        for (const socket of sockets) socket.close();
      }
    }, 20_000);
  }

  test("all four say so and end with 1 when no agent is there", async () => {
    const free = await freePorts(3);
    const options = ["--agent", `127.0.0.1:${free}`, "--calls", "1", "--module", "1.1"];
    const results = await Promise.all(
      [PYTHON_UDP, PYTHON_HTTP, JAVA_UDP, JAVA_HTTP].map((command) => run(command, ...options)),
    );
    for (const { code, out } of results) {
      expect(out).toContain(`no agent answered at 127.0.0.1:${free}`);
      expect(code).toBe(1);
    }
  }, 20_000);
});

function frame(write: (out: Uint8Array) => number, msgid = MSG_GET_HOST_RESPONSE): Uint8Array {
  const out = new Uint8Array(256);
  return out.slice(0, sealFrame(out, 0, msgid, write(out)));
}
