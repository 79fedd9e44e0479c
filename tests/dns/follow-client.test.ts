// One question to a leader, over real sockets: what silence, half an answer and a wrong one come to.
import { afterEach, expect, test } from "bun:test";
import { type AskOptions, askLeader } from "../../src/dns/follow/leader-client.ts";
import { TlsAuthority } from "../support/tls-authority.ts";
import { inPieces } from "./follow-rig.ts";

const EMPTY = { revision: 3, digest: 0, routes: [], names: [] };
let server: Bun.Server<undefined> | undefined;
afterEach(async () => {
  await server?.stop(true);
});

function leader(answer: (request: Request) => Response | Promise<Response>): string {
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  return `http://127.0.0.1:${server.port}`;
}

async function ask(base: string, options: Partial<AskOptions> = {}, host?: string) {
  return await askLeader(
    { leader: base, base, ...(host === undefined ? {} : { host }) },
    { after: 3, from: { modid: -1, cmdid: 2 } },
    {
      token: "",
      waitMs: 0,
      silenceMs: 2000,
      tls: { ca: undefined, cert: undefined, key: undefined },
      signal: new AbortController().signal,
      ...options,
    },
  );
}

test("it asks for what it wants with its token and the name it was given, and reads the answer", async () => {
  let seen: string[] = [];
  const base = leader((request) => {
    const url = new URL(request.url);
    seen = [url.pathname + url.search, request.headers.get("authorization") ?? "", request.headers.get("host") ?? ""];
    return Response.json(EMPTY);
  });
  expect(await ask(base, { token: "secret", waitMs: 2000 }, "dns.example:7780")).toEqual({ ok: true, page: EMPTY });
  expect(seen).toEqual(["/v1/replica?after=3&from=-1.2&wait=2000ms", "Bearer secret", "dns.example:7780"]);
});

test("a leader that says nothing is given up after the wait plus 150 ms, one that stops in the middle 150 ms after its last word", async () => {
  const never = leader(() => new Promise<Response>(() => {}));
  let startedMs = performance.now();
  expect(await ask(never, { waitMs: 100, silenceMs: 150 })).toEqual({ ok: false, why: "it was silent for 150 ms" });
  expect(performance.now() - startedMs).toBeWithin(230, 1000);
  await server?.stop(true);

  const half = leader(
    () => new Response(new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(100)) })),
  );
  startedMs = performance.now();
  expect(await ask(half, { silenceMs: 150 })).toEqual({ ok: false, why: "it was silent for 150 ms" });
  expect(performance.now() - startedMs).toBeWithin(130, 1000);
});

test("an answer in 8 pieces 75 ms apart takes longer than any silence allowed and is read all the same", async () => {
  const base = leader(() => new Response(inPieces(JSON.stringify(EMPTY), 75)));
  const startedMs = performance.now();
  expect(await ask(base, { silenceMs: 400 })).toEqual({ ok: true, page: EMPTY });
  expect(performance.now() - startedMs).toBeGreaterThan(400);
});

test("a refusal, a redirect, no JSON, another server's JSON, nobody there: each is a failure that says which, without the token", async () => {
  let response = (): Response => new Response();
  const base = leader(() => response());
  const whys: string[] = [];
  const note = async (at = base) => {
    const answer = await ask(at, { token: "secret-token" });
    whys.push(answer.ok ? "taken" : answer.why);
  };
  response = () => new Response("no", { status: 401 });
  await note();
  response = () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1:1/" } });
  await note();
  response = () => new Response("<html>");
  await note();
  response = () => Response.json({ hello: "world" });
  await note();
  response = () => new Response("no", { status: 404 });
  await note();
  await note("http://127.0.0.1:1");
  expect(whys[0]).toBe("it answered 401: follow.token must be a reader's token there");
  expect(whys[1]).toBe("it answered 302");
  expect(whys[2]).toMatch(/JSON/);
  expect(whys[3]).toMatch(/revision is undefined/);
  expect(whys[4]).toBe("it answered 404: it is no dns service, or one that is too old to be followed");
  expect(whys[5]).toMatch(/connect/i);
  expect(whys.join()).not.toContain("secret");
});

test("a leader with https is believed by its CA and by its name, and by nothing else", async () => {
  const authority = new TlsAuthority();
  const tls = (ca: string) => ({ tls: { ca, cert: undefined, key: undefined } });
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, tls: authority.issue(), fetch: () => Response.json(EMPTY) });
  const base = `https://127.0.0.1:${server.port}`;
  expect(await ask(base, tls(authority.ca))).toEqual({ ok: true, page: EMPTY });
  expect((await ask(base)).ok).toBe(false);
  expect((await ask(base, tls(new TlsAuthority().ca))).ok).toBe(false);
  await server.stop(true);
  const misnamed = authority.issue({ names: ["other.example"], addresses: ["10.9.9.9"] });
  server = Bun.serve({ hostname: "127.0.0.1", port: 0, tls: misnamed, fetch: () => Response.json(EMPTY) });
  expect((await ask(`https://127.0.0.1:${server.port}`, tls(authority.ca))).ok).toBe(false);
});

test("ending the question ends it at once", async () => {
  const base = leader(() => new Promise<Response>(() => {}));
  const ending = new AbortController();
  const asked = ask(base, { silenceMs: 60_000, signal: ending.signal });
  ending.abort();
  expect((await asked).ok).toBe(false);
});
