// Wrong requests at the three HTTP services as real processes, while a caller beside them works as always: JSON of every
// wrong shape, paths and queries of anything, bodies that are too long, and what is not quite HTTP. None of it may be
// answered with a fault of ours (5xx; 503 says "not now" on purpose) or in another form than problem+json. LARS_FUZZ_COUNT
// (a fiftieth of it here) and LARS_FUZZ_SEED as elsewhere.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "node:net";
import { type FuzzRandom, fuzzSeed, makeFuzzRandom, processFuzzCount } from "../support/fuzz-random.ts";
import { ADMIN_TOKEN, type Lars, type LarsProcess, startLars } from "../support/lars-processes.ts";
import { wrongJson } from "./json-shapes.ts";
import { Witness } from "./witness.ts";

// Real processes on a busy machine.
setDefaultTimeout(30_000);

const SEED = fuzzSeed();
const REQUESTS = Math.ceil(processFuzzCount() / 50);
const AT_ONCE = 8;
const MAY_GROW_BYTES = 256 * 1_048_576;

let lars: Lars;

beforeAll(async () => {
  lars = await startLars();
}, 30_000);
afterAll(() => lars.stop());

type Name = "dns" | "report" | "agent";
const processOf = (name: Name): LarsProcess => lars[name][0]!;

const HOST = { ip: "10.0.0.1", port: 80, weight: 5, zone: "eu", state: "up" };
const REPORT = { modid: 5, cmdid: 5, ip: "10.0.0.1", port: 80, retcode: 0, latencyUs: 7 };
const STATUS = {
  modid: 5,
  cmdid: 5,
  caller: "10.0.0.9",
  results: [{ ip: "10.0.0.1", port: 80, succ: 1, err: 2, overload: false }],
  ts: 1_767_225_600,
  instance: "5",
  seq: 7,
};
const BODIES: readonly [name: Name, method: string, path: string, valid: unknown][] = [
  ["dns", "PUT", "/v1/routes/5/5", { name: "n", hosts: [HOST, { ip: "10.0.0.2", port: 81 }] }],
  ["dns", "POST", "/v1/routes/5/5/hosts", HOST],
  ["dns", "PATCH", "/v1/routes/5/5/hosts/10.0.0.1:80", { weight: 5, zone: "eu", state: "up" }],
  ["dns", "DELETE", "/v1/routes/5/5/hosts/10.0.0.1:80", {}],
  ["dns", "PUT", "/v1/modules/5", { name: "n" }],
  ["dns", "PUT", "/v1/commands/5", { name: "n" }],
  [
    "dns",
    "POST",
    "/v1/import?dryRun=true",
    {
      format: "lars-routes",
      revision: 5,
      names: { modids: [{ id: 5, name: "n" }], cmdids: [] },
      routes: [{ modid: 5, cmdid: 5, name: "n", hosts: [HOST] }],
    },
  ],
  ["agent", "POST", "/v1/reports", REPORT],
  ["agent", "POST", "/v1/reports", [REPORT, { ...REPORT, retcode: -1 }]],
  ["report", "POST", "/v1/reports", STATUS],
  ["report", "POST", "/v1/reports", [STATUS, { ...STATUS, instance: undefined, seq: undefined }]],
];
const TYPES = [
  "application/json",
  "application/json; charset=latin1",
  "text/plain",
  "multipart/form-data",
  "json",
  "\t",
];

const READS: readonly [name: Name, path: string][] = [
  ["dns", "/v1/routes?modid=5&q=a&limit=2&after=1.1"],
  ["dns", "/v1/routes/5/5?wait=1ms&revision=1"],
  ["dns", "/v1/export"],
  ["dns", "/v1/changes?after=1&limit=2"],
  ["dns", "/v1/modules"],
  ["dns", "/v1/agents"],
  ["dns", "/openapi.json"],
  ["dns", "/docs"],
  ["agent", "/v1/hosts/5/5?hashKey=x"],
  ["agent", "/v1/routes/5/5"],
  ["report", "/v1/status?modid=5&cmdid=5&limit=2&after=1.2.3.4.5"],
];
const PIECES = [
  "%00",
  "%ff",
  "%2f",
  "%",
  "..",
  "//",
  "\u00e4",
  "-1",
  "4294967296",
  "1e5",
  "NaN",
  "[]",
  "a&b",
  "?",
  "=",
  ";",
  "x".repeat(3000),
];

function wrongPath(random: FuzzRandom, path: string): string {
  let wrong = path;
  for (let times = random.int(1, 3); times > 0; times--) {
    const at = random.int(1, wrong.length);
    wrong = wrong.slice(0, at) + random.pick(PIECES) + wrong.slice(at + random.int(0, 3));
  }
  // A wait may be lengthened by chance.
  return wrong.replaceAll(/wait=\d+/g, "wait=1");
}

/** What is wrong with an answer; undefined: nothing. An answer to HEAD has no body. */
async function faultOf(response: Response, method = ""): Promise<string | undefined> {
  const { status } = response;
  const text = await response.text();
  if (status >= 500 && status !== 503) return `${status} ${text}`;
  if (status < 400) return undefined;
  const type = response.headers.get("content-type");
  if (type !== "application/problem+json") return `${status} as ${type}: ${text.slice(0, 200)}`;
  if (method === "HEAD") return text === "" ? undefined : `a body: ${text.slice(0, 200)}`;
  const problem = JSON.parse(text) as { status?: number; detail?: string; title?: string };
  if (problem.status !== status || !problem.detail || !problem.title) return `${status} with ${text.slice(0, 200)}`;
  if (/node_modules|\.ts:\d|\bat \w+ \(/.test(text)) return `${status} tells of the inside: ${text.slice(0, 200)}`;
  return undefined;
}

interface WrongRequest {
  readonly url: string;
  readonly init: RequestInit;
}

function wrongRequest(random: FuzzRandom): WrongRequest {
  const authorization =
    random.int(0, 9) === 0 ? random.pick(["", "Bearer", "Basic x", "Bearer \u00ff"]) : `Bearer ${ADMIN_TOKEN}`;
  if (random.int(0, 3) === 0) {
    const [name, path] = random.pick(READS);
    const method = random.pick(["GET", "GET", "HEAD", "DELETE", "OPTIONS", "POST"]);
    const headers = {
      authorization,
      "if-none-match": random.pick(["*", '"', 'W/"1"', "x".repeat(500)]),
      "last-event-id": random.pick(["-1", "1e3", "", "x"]),
      "x-request-id": random.pick(["ok-1", "x".repeat(200), "a b", "<script>"]),
    };
    return { url: processOf(name).url + wrongPath(random, path), init: { method, headers } };
  }
  const [name, method, path, valid] = random.pick(BODIES);
  const headers = {
    authorization,
    "content-type": random.int(0, 9) === 0 ? random.pick(TYPES) : "application/json",
    ...(random.int(0, 9) === 0 ? { "if-match": random.pick(["*", '"1"', ",,,", '"'.repeat(100)]) } : {}),
  };
  const at = random.int(0, 19) === 0 ? wrongPath(random, path) : path;
  return { url: processOf(name).url + at, init: { method, headers, body: wrongJson(random, valid) } };
}

test(
  `${REQUESTS} wrong requests are answered 4xx as problem+json and harm nobody (seed ${SEED})`,
  async () => {
    const witness = await Witness.begin(lars);
    const random = makeFuzzRandom(SEED);
    const statuses = new Map<number, number>();
    const faults: string[] = [];
    for (let sent = 0; sent < REQUESTS; sent += AT_ONCE) {
      await Promise.all(
        Array.from({ length: AT_ONCE }, async (_, i) => {
          const { url, init } = wrongRequest(random);
          const response = await fetch(url, { ...init, redirect: "manual" });
          statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
          const fault = await faultOf(response, init.method);
          if (fault !== undefined && faults.length < 10) {
            const body =
              init.body === undefined
                ? ""
                : Buffer.from(init.body as Uint8Array)
                    .toString("latin1")
                    .slice(0, 300);
            faults.push(`request ${sent + i}: ${init.method} ${url.slice(0, 300)} ${JSON.stringify(body)} -> ${fault}`);
          }
        }),
      );
    }
    expect(faults).toEqual([]);
    // Neither all let through nor all stopped at the same door.
    for (const status of [200, 204, 202, 400, 401, 404, 415, 422]) {
      expect([status, (statuses.get(status) ?? 0) > 0]).toEqual([status, true]);
    }
    await witness.stop();
    const measured = await witness.check(MAY_GROW_BYTES);
    if (REQUESTS > 2000) {
      process.stderr.write(
        `${REQUESTS} requests: ${JSON.stringify(Object.fromEntries([...statuses].sort()))}; ${measured}\n`,
      );
    }
  },
  60_000 + REQUESTS * 10,
);

describe("a body over the limit is 413 as problem+json, declared or not, and nothing of it is taken", () => {
  const padding = `"${"x".repeat(1_100_000)}"`;
  test.each([
    ["dns", "PUT", "/v1/routes/5/5"],
    ["agent", "POST", "/v1/reports"],
    ["report", "POST", "/v1/reports"],
  ] as const)("%s", async (name, method, path) => {
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/json" };
    const url = processOf(name).url + path;
    const declared = await fetch(url, { method, headers, body: padding });
    expect([declared.status, await faultOf(declared)]).toEqual([413, undefined]);
    const parts = [padding.slice(0, 500_000), padding.slice(500_000)];
    const stream = new ReadableStream({
      pull(controller) {
        const part = parts.shift();
        if (part === undefined) controller.close();
        else controller.enqueue(new TextEncoder().encode(part));
      },
    });
    const chunked = await fetch(url, { method, headers, body: stream });
    expect([chunked.status, await faultOf(chunked)]).toEqual([413, undefined]);
  });
});

describe("what is not quite HTTP ends its own connection or is answered 4xx", () => {
  /** The status answered, 0 when the connection was closed without one. */
  function statusOf(port: number, text: string): Promise<number> {
    return new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      let answer = "";
      socket.on("data", (chunk) => {
        answer += chunk.toString("latin1");
        if (answer.includes("\r\n")) socket.destroy();
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve(Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)));
      socket.end(Buffer.from(text, "latin1"));
    });
  }
  const post = "POST /v1/reports HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
  // 505 is about the protocol's version, and the server's own.
  const table: [title: string, text: string, allowed: readonly number[]][] = [
    ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [0, 400]],
    ["empty lines", "\r\n\r\n\r\n", [0, 400]],
    ["an unknown version", "GET /healthz HTTP/3.0\r\nhost: a\r\n\r\n", [400, 505]],
    ["an unknown method", "FOO /healthz HTTP/1.1\r\nhost: a\r\n\r\n", [0, 400, 405]],
    ["a method that could echo", "TRACE /healthz HTTP/1.1\r\nhost: a\r\n\r\n", [400, 405]],
    ["a path of 100 kB", `GET /${"x".repeat(100_000)} HTTP/1.1\r\nhost: a\r\n\r\n`, [400, 414, 431]],
    ["a header of 100 kB", `GET /healthz HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(100_000)}\r\n\r\n`, [431]],
    ["3000 headers", `GET /healthz HTTP/1.1\r\nhost: a\r\n${"a: b\r\n".repeat(3000)}\r\n`, [431]],
    ["a folded header", "GET /healthz HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", [400]],
    ["a header without a name", "GET /healthz HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n", [400]],
    ["a NUL in the path", "GET /healthz\0 HTTP/1.1\r\nhost: a\r\n\r\n", [400, 505]],
    ["raw bytes in the path", "GET /v1/\xff\xfe/1 HTTP/1.1\r\nhost: a\r\n\r\n", [400, 404]],
    ["a path that climbs", "GET /../../../etc/passwd HTTP/1.1\r\nhost: a\r\n\r\n", [400, 404]],
    ["a negative length", `${post}content-length: -5\r\n\r\nabc`, [400]],
    ["a length beyond numbers", `${post}content-length: 99999999999999999999\r\n\r\n`, [400, 413]],
    ["two lengths", `${post}content-length: 5\r\ncontent-length: 6\r\n\r\nabcde`, [400]],
    ["a length and chunks", `${post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, [400]],
    ["chunks that are none", `${post}transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n`, [400]],
    ["a body that never comes", `${post}content-length: 500\r\n\r\n{`, [0, 400, 401]],
  ];
  test.each(table)("%s", async (_title, text, allowed) => {
    for (const name of ["dns", "report", "agent"] as const) {
      const { pid, ports } = processOf(name);
      const status = await statusOf(ports.http, text);
      expect([name, status, allowed.includes(status)]).toEqual([name, status, true]);
      expect([name, (await fetch(`${processOf(name).url}/healthz`)).status, processOf(name).pid]).toEqual([
        name,
        200,
        pid,
      ]);
    }
  });
});
