// Connections at the front: answers in order however the bytes come, everything that is not plain at the server behind
// with nothing lost, and a server that could not tell the difference.
import { afterEach, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { type FrontAnswer, type HttpFront, listenHttpFront } from "../../src/net/http-front.ts";
import type { PlainRequest } from "../../src/wire/plain-request.ts";
import { fuzzSeed, makeFuzzRandom } from "../support/fuzz-random.ts";
import { until } from "./until.ts";

type Answer = (
  request: PlainRequest,
  address: () => string,
) => FrontAnswer | Promise<FrontAnswer | undefined> | undefined;

let cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  cleanUps = [];
});

const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
const ok = (body: string): FrontAnswer => ({ head: HEAD, body });
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

interface Rig {
  readonly front: HttpFront;
  readonly callers: (string | undefined)[];
  readonly serverPort: number;
}

/** Plain requests below /front/ are answered by `answer`, all others by `serve`. */
function rig(answer: Answer, serve: (request: Request) => Response | Promise<Response>, idleTimeoutMs = 60_000): Rig {
  const callers: (string | undefined)[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch(request, own) {
      callers.push(front.callerAt(own.requestIP(request)?.port ?? -1));
      return serve(request);
    },
  });
  const front = listenHttpFront({
    hostname: "127.0.0.1",
    port: 0,
    serverPort: server.port!,
    answer: (request, address) => (request.path.startsWith("/front/") ? answer(request, address) : undefined),
    idleTimeoutMs,
  });
  cleanUps.push(
    () => server.stop(true),
    () => {
      void front.stop();
      front.terminate();
    },
  );
  return { front, callers, serverPort: server.port! };
}

class Client {
  text = "";
  isClosed = false;
  private constructor(readonly socket: Socket) {}

  static async open(port: number): Promise<Client> {
    const socket = connect(port, "127.0.0.1");
    const client = new Client(socket);
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      client.text += text;
    });
    socket.on("close", () => {
      client.isClosed = true;
    });
    socket.on("error", () => {});
    cleanUps.push(() => socket.destroy());
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.setNoDelay(true);
    return client;
  }

  /** The bodies that came, by Content-Length. */
  bodies(): string[] {
    const found: string[] = [];
    let rest = this.text;
    for (;;) {
      const head = /^HTTP\/1\.1 [\s\S]*?\r\n\r\n/.exec(rest)?.[0];
      if (head === undefined) return found;
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
      if (rest.length < head.length + length) return found;
      found.push(rest.slice(head.length, head.length + length));
      rest = rest.slice(head.length + length);
    }
  }
}

test("requests are answered in order, all in one piece or a byte at a time, and the server is not asked", async () => {
  const { front, callers } = rig(
    ({ path }) => ok(path),
    () => new Response("server"),
  );
  const text = get("/front/1") + get("/front/2") + get("/front/3");
  const whole = await Client.open(front.port);
  whole.socket.write(text);
  await until(() => expect(whole.bodies()).toEqual(["/front/1", "/front/2", "/front/3"]));
  expect(whole.text).toStartWith(`${HEAD}Content-Length: 8\r\n\r\n/front/1HTTP/1.1`);
  const slow = await Client.open(front.port);
  for (const byte of text) {
    slow.socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => expect(slow.bodies()).toEqual(["/front/1", "/front/2", "/front/3"]));
  expect([callers, front.counters.answered, front.counters.handedOn]).toEqual([[], 6, 0]);
});

test("the length of a body is told in bytes", async () => {
  const { front } = rig(
    () => ok("é€"),
    () => new Response("server"),
  );
  expect(await (await fetch(`http://127.0.0.1:${front.port}/front/`)).text()).toBe("é€");
});

test("with the first request that is not plain the connection is the server's, which is told whose it is", async () => {
  const { front, callers } = rig(
    ({ path }, address) => ok(`${path} of ${address()}`),
    (request) => new Response(new URL(request.url).pathname),
  );
  const client = await Client.open(front.port);
  client.socket.write(get("/front/1") + get("/front/2?%71") + get("/front/3"));
  await until(() => expect(client.bodies()).toEqual(["/front/1 of 127.0.0.1", "/front/2", "/front/3"]));
  client.socket.write(get("/front/4"));
  await until(() => expect(client.bodies().at(-1)).toBe("/front/4"));
  expect([callers, front.counters.handedOn]).toEqual([["127.0.0.1", "127.0.0.1", "127.0.0.1"], 1]);
  client.socket.end();
  await until(() => expect(front.connections).toBe(0));
});

test("who comes to the server by himself is nobody's caller", async () => {
  const { callers, serverPort } = rig(
    () => undefined,
    () => new Response(),
  );
  await fetch(`http://127.0.0.1:${serverPort}/`);
  expect(callers).toEqual([undefined]);
});

describe("answers that come later", () => {
  test("hold back what was asked after them, and only on their connection", async () => {
    const waiting: ((answer: FrontAnswer | undefined) => void)[] = [];
    const { front } = rig(
      ({ path }) => (path.endsWith("later") ? new Promise((resolve) => waiting.push(resolve)) : ok(path)),
      async (request) => new Response(`server ${await request.text()}`),
    );
    const [one, two] = [await Client.open(front.port), await Client.open(front.port)];
    one.socket.write(get("/front/later") + get("/front/1"));
    await until(() => waiting.length === 1);
    one.socket.write(get("/front/2"));
    two.socket.write(get("/front/3"));
    await until(() => expect(two.bodies()).toEqual(["/front/3"]));
    expect(one.text).toBe("");
    waiting[0]!(ok("late"));
    await until(() => expect(one.bodies()).toEqual(["late", "/front/1", "/front/2"]));
  });

  test("may be none: then the server has the request, its body and what follows", async () => {
    const { front } = rig(
      async () => undefined,
      async (request) => new Response(`server ${await request.text()}`),
    );
    const client = await Client.open(front.port);
    client.socket.write(`PUT /front/a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody${get("/front/b")}`);
    await until(() => expect(client.bodies()).toEqual(["server body", "server "]));
  });

  test("for a caller who has gone are dropped", async () => {
    let settle: (answer: FrontAnswer) => void = () => {};
    const { front } = rig(
      () => new Promise((resolve) => (settle = resolve)),
      () => new Response(),
    );
    const client = await Client.open(front.port);
    client.socket.write(get("/front/1"));
    await until(() => settle.length === 1);
    client.socket.destroy();
    await until(() => expect(front.connections).toBe(0));
    settle(ok("late"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(front.counters.answered).toBe(0);
  });
});

test("a caller that does not read gets 8 MB of answers when it does, and is not read from meanwhile", async () => {
  const body = "x".repeat(65_536);
  const { front } = rig(
    ({ path }) => ok(path + body),
    () => new Response(),
  );
  const client = await Client.open(front.port);
  client.socket.pause();
  for (let i = 0; i < 128; i++) client.socket.write(get(`/front/${i}`));
  await until(() => expect(front.counters.answered).toBeGreaterThan(10));
  client.socket.resume();
  await until(() => expect(client.bodies().length).toBe(128));
  expect(client.bodies().map((text) => text.slice(0, -body.length))).toEqual(
    Array.from({ length: 128 }, (_, i) => `/front/${i}`),
  );
});

test("16 MB pass to the server and back unchanged, also to a caller that reads slowly", async () => {
  const { front } = rig(
    () => undefined,
    async (request) => new Response(await request.arrayBuffer()),
  );
  const bytes = makeFuzzRandom(1).bytes(65_536);
  const body = new Uint8Array(16 * 1_048_576);
  for (let at = 0; at < body.length; at += bytes.length) body.set(bytes, at);
  const answer = await fetch(`http://127.0.0.1:${front.port}/up`, { method: "POST", body });
  const hash = new Bun.CryptoHasher("sha1");
  for await (const chunk of answer.body!) {
    hash.update(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(hash.digest("hex")).toBe(new Bun.CryptoHasher("sha1").update(body).digest("hex"));
});

test("a caller who goes away while the server is at his request ends that request", async () => {
  let aborted = false;
  let begun = false;
  const { front } = rig(
    () => undefined,
    (request) =>
      new Promise(() => {
        begun = true;
        request.signal.addEventListener("abort", () => {
          aborted = true;
        });
      }),
  );
  const client = await Client.open(front.port);
  client.socket.write(get("/wait"));
  await until(() => begun);
  client.socket.destroy();
  await until(() => aborted);
  await until(() => expect(front.connections).toBe(0));
});

test.each(["/front/1", "/behind"])(
  "a caller that says no more after asking for %s is answered, and then closed",
  async (path) => {
    const { front } = rig(
      () => ok("front"),
      () => new Response("server"),
    );
    const client = await Client.open(front.port);
    client.socket.end(get(path));
    await until(() => client.isClosed);
    expect(client.bodies()).toEqual([path === "/behind" ? "server" : "front"]);
    await until(() => expect(front.connections).toBe(0));
  },
);

test("a connection on which nothing comes is closed, one that waits for its answer is not", async () => {
  const { front } = rig(
    ({ path }) => (path === "/front/wait" ? new Promise(() => {}) : ok(path)),
    () => new Response(),
    50,
  );
  const [idle, waiting] = [await Client.open(front.port), await Client.open(front.port)];
  idle.socket.write(get("/front/1").slice(0, 10));
  waiting.socket.write(get("/front/wait"));
  await until(() => idle.isClosed);
  expect([waiting.isClosed, front.counters.idle]).toEqual([false, 1]);
});

test("stop closes what is not at the server, after the answer under way, and resolves when the rest has closed", async () => {
  let settle: (answer: FrontAnswer) => void = () => {};
  const { front } = rig(
    () => new Promise((resolve) => (settle = resolve)),
    () => new Response("server", { headers: { connection: "close" } }),
  );
  const [idle, answering, handedOn] = [
    await Client.open(front.port),
    await Client.open(front.port),
    await Client.open(front.port),
  ];
  answering.socket.write(get("/front/1"));
  handedOn.socket.write(get("/behind"));
  await until(() => handedOn.text.endsWith("server"));
  const stopped = front.stop();
  await until(() => idle.isClosed);
  expect(answering.isClosed).toBe(false);
  settle(ok("late"));
  await until(() => answering.isClosed);
  expect(answering.bodies()).toEqual(["late"]);
  handedOn.socket.destroy();
  await stopped;
});

test("a port that is taken is an error with its code", () => {
  const { front } = rig(
    () => undefined,
    () => new Response(),
  );
  const again = () =>
    listenHttpFront({
      hostname: "127.0.0.1",
      port: front.port,
      serverPort: 1,
      answer: () => undefined,
      idleTimeoutMs: 1000,
    });
  expect(again).toThrow(expect.objectContaining({ code: "EADDRINUSE" }));
});

describe("a request that the front answers is one that a server reads alike", () => {
  const seed = fuzzSeed();
  const random = makeFuzzRandom(seed);
  const pieces = [
    " ",
    "\r\n",
    "\n",
    "\r",
    ":",
    "/",
    ".",
    "..",
    "%20",
    "?",
    "#",
    "\t",
    "\0",
    "\xe9",
    "a",
    "Host: b\r\n",
  ];
  pieces.push(
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X-Request-Id: q\r\n",
    "GET ",
    "HTTP/1.0",
    "\\",
  );
  const bases = [
    'GET /front/hosts/1/2?k=a&b HTTP/1.1\r\nHost: a:1\r\nX-Request-Id: mine\r\nIf-None-Match: "1"\r\n\r\n',
    'PUT /front/a:80 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a":"b"}',
  ];
  const mutated = (): string => {
    let text: string = random.pick(bases);
    for (let edits = random.int(1, 3); edits > 0; edits--) {
      const at = random.int(0, text.length);
      text =
        text.slice(0, at) + (random.int(0, 1) === 0 ? random.pick(pieces) : "") + text.slice(at + random.int(0, 2));
    }
    return text;
  };

  test(`400 mutated requests, seed ${seed}`, async () => {
    const shown = (fields: readonly (string | null)[]): string => fields.map((field) => field ?? "").join("|");
    const { front } = rig(
      (r) =>
        ok(
          shown([
            r.method,
            r.query === "" ? r.path : `${r.path}?${r.query}`,
            r.requestId,
            r.authorization,
            r.contentType,
            r.ifNoneMatch,
            r.body,
          ]),
        ),
      () => new Response("server"),
    );
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        const names = ["x-request-id", "authorization", "content-type", "if-none-match"];
        const { pathname, search } = new URL(request.url);
        const given = names.map((name) => request.headers.get(name));
        return new Response(shown([request.method, pathname + search, ...given, await request.text()]));
      },
    });
    cleanUps.push(() => server.stop(true));
    let compared = 0;
    const compare = async (text: string): Promise<void> => {
      // What follows makes most of what was cut whole, and the end ends the rest.
      const sent = Buffer.from(`${text}\r\n\r\n`, "latin1");
      const client = await Client.open(front.port);
      client.socket.end(sent);
      await until(() => client.isClosed);
      const [answer = ""] = client.bodies();
      // Neither the server's nor that of a server that refuses.
      if (!answer.includes("|")) return;
      const direct = await Client.open(server.port!);
      direct.socket.write(sent);
      await until(() => direct.bodies().length > 0);
      expect([text, answer]).toEqual([text, direct.bodies()[0]!]);
      compared++;
    };
    for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 40 }, () => compare(mutated())));
    expect(compared).toBeGreaterThan(40);
  });
});
