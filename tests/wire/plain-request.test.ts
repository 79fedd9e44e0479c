// What is a plain request: whole texts, every way to cut them, and everything that is left to a server.
import { describe, expect, test } from "bun:test";
import { makePlainRequest, OTHER, PARTIAL, type PlainRequest, readPlainRequest } from "../../src/wire/plain-request.ts";

const GET = "GET /v1/hosts/1/2 HTTP/1.1\r\nHost: localhost:8880\r\nX-Request-Id: mine\r\nAccept: */*\r\n\r\n";
const BODY = '{"modid":1}';
const PUT =
  "PUT /v1/registrations/a:80 HTTP/1.1\r\nhost: 10.0.0.1:1\r\nAuthorization:  Bearer x \r\ncontent-type:application/json\r\n" +
  `Content-Length: ${BODY.length}\r\nConnection: Keep-Alive\r\n\r\n${BODY}`;

function read(text: string, start = 0) {
  const into = makePlainRequest();
  return { end: readPlainRequest(text, start, into), into };
}

/** What an owner reads. */
const fields = ({ head: _head, bodyLength: _length, ...rest }: PlainRequest) => rest;

test("a GET gives its path and the headers that are asked for, also after one that had others", () => {
  const into = makePlainRequest();
  expect(readPlainRequest(PUT, 0, into)).toBe(PUT.length);
  expect(fields(into)).toEqual({
    method: "PUT",
    path: "/v1/registrations/a:80",
    query: "",
    requestId: "",
    authorization: "Bearer x",
    contentType: "application/json",
    ifNoneMatch: "",
    body: BODY,
  });
  expect(readPlainRequest(GET, 0, into)).toBe(GET.length);
  expect(fields(into)).toEqual({
    method: "GET",
    path: "/v1/hosts/1/2",
    query: "",
    requestId: "mine",
    authorization: "",
    contentType: "",
    ifNoneMatch: "",
    body: "",
  });
});

test("a query is told apart from its path, and is none in the next request that has none", () => {
  const into = makePlainRequest();
  for (const query of ["hashKey=a.b-c_d~0", "", "a=1&b=2", "a"]) {
    const text = GET.replace("1/2", query === "" ? "1/2" : `1/2?${query}`);
    expect(readPlainRequest(text, 0, into)).toBe(text.length);
    expect([into.path, into.query]).toEqual(["/v1/hosts/1/2", query]);
  }
});

test("requests in a row are read one after the other, whatever follows", () => {
  const text = `${PUT}${GET}rubbish`;
  expect(read(text).end).toBe(PUT.length);
  expect(read(text, PUT.length).end).toBe(PUT.length + GET.length);
  expect(read(text, PUT.length + GET.length).end).toBe(OTHER);
});

test("headers as before are those of the request, and of the next that has others; a body is read each time", () => {
  const texts = [GET, GET, PUT, PUT.replace(BODY, '{"modid":2}'), GET.replace("mine", "yours"), PUT, GET, PUT];
  const into = makePlainRequest();
  for (const text of texts) {
    expect(readPlainRequest(text, 0, into)).toBe(text.length);
    const alone = read(text).into;
    expect(fields(into)).toEqual(fields(alone));
  }
});

test("headers as before do not make a request of what is none", () => {
  const into = makePlainRequest();
  const rest = PUT.slice(PUT.indexOf(" HTTP"));
  readPlainRequest(PUT, 0, into);
  for (const line of ["GET /v1/x", "PUT /v1/x?+", "PUT /v1/../x", "DELETE /v1/x", "PUT v1"]) {
    expect([line, readPlainRequest(line + rest, 0, into)]).toEqual([line, OTHER]);
  }
  expect(readPlainRequest(PUT.slice(0, -1), 0, into)).toBe(PARTIAL);
  expect(readPlainRequest(`${PUT.slice(0, -1)}\x80`, 0, into)).toBe(OTHER);
  expect(readPlainRequest(head("Connection: close"), 0, into)).toBe(OTHER);
  expect(readPlainRequest(PUT, 0, into)).toBe(PUT.length);
  expect(fields(into)).toEqual(fields(read(PUT).into));
});

test.each([GET, PUT])("cut anywhere it is not whole yet, and never something else: %j", (text) => {
  for (let length = 0; length < text.length; length++)
    expect([length, read(text.slice(0, length)).end]).toEqual([length, PARTIAL]);
});

const head = (line: string) => `GET /v1/hosts/1/2 HTTP/1.1\r\nHost: a\r\n${line}\r\n\r\n`;
const put = (lines: string, body = "") => `PUT /v1/x HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n${body}`;

describe("left to a server", () => {
  test.each([
    ["a query with an escape", GET.replace("1/2", "1/2?hashKey=%61")],
    ["a query with a plus", GET.replace("1/2", "1/2?hashKey=a+b")],
    ["a query with a question mark", GET.replace("1/2", "1/2?hashKey=a?")],
    ["a query with a slash", GET.replace("1/2", "1/2?hashKey=a/b")],
    ["a query of nothing", GET.replace("1/2", "1/2?")],
    ["a question mark for a path", GET.replace("/v1/hosts/1/2", "?a")],
    ["an escape", GET.replace("1/2", "1/%32")],
    ["a segment of dots", GET.replace("1/2", "1/../2")],
    ["a segment that begins with a dot", GET.replace("1/2", "1/.2")],
    ["a backslash", GET.replace("1/2", "1\\2")],
    ["a fragment", GET.replace("1/2", "1/2#a")],
    ["a whole URL", GET.replace("/v1", "http://a/v1")],
    ["the asterisk", GET.replace("/v1/hosts/1/2", "*")],
    ["another method", GET.replace("GET", "HEAD")],
    ["a method that begins like one", GET.replace("GET", "GETS")],
    ["a method in small letters", GET.replace("GET", "get")],
    ["HTTP/1.0", GET.replace("HTTP/1.1", "HTTP/1.0")],
    ["two spaces before the path", GET.replace("GET ", "GET  ")],
    ["two spaces before the version", GET.replace(" HTTP", "  HTTP")],
    ["an empty line before", `\r\n${GET}`],
    ["no Host", "GET /v1/x HTTP/1.1\r\nAccept: */*\r\n\r\n"],
    ["no header at all", "GET /v1/x HTTP/1.1\r\n\r\n"],
    ["two Hosts", head("Host: a")],
    ["a Host that is none", GET.replace("localhost:8880", "a/b")],
    ["a Host that is no address", GET.replace("localhost", "1.2.3.256")],
    ["a Host that ends in a number", GET.replace("localhost", "a.1")],
    ["a Host with an empty label", GET.replace("localhost", "a..b")],
    ["a Host with two dashes in a row", GET.replace("localhost", "xn--a")],
    ["a Host with a port of 65536", GET.replace("8880", "65536")],
    ["a Host that is an IPv6 address", GET.replace("localhost", "[::1]")],
    ["an empty Host", GET.replace("localhost:8880", "")],
    ["a name with a space", head("X-Request-Id : a")],
    ["a line without a colon", head("X-Request-Id")],
    ["a name that is empty", head(": a")],
    ["a folded line", head("Accept: a\r\n b")],
    ["a control character", head("Accept: a\0b")],
    ["a carriage return inside", head("Accept: a\rb")],
    ["a line feed inside", head("Accept: a\nb")],
    ["a character beyond ASCII", head("Accept: \xe9")],
    ["Connection: close", head("Connection: close")],
    ["an upgrade", head("Connection: upgrade\r\nUpgrade: websocket")],
    ["Upgrade alone", head("Upgrade: h2c")],
    ["Expect", put("Expect: 100-continue\r\nContent-Length: 0")],
    ["TE", head("TE: trailers")],
    ["Trailer", head("Trailer: a")],
    ["a chunked body", put("Transfer-Encoding: chunked", "0\r\n\r\n")],
    ["both lengths", put("Content-Length: 1\r\nTransfer-Encoding: chunked", "a")],
    ["two lengths", put("Content-Length: 1\r\nContent-Length: 1", "a")],
    ["a length with a sign", put("Content-Length: +1", "a")],
    ["a length with a zero before", put("Content-Length: 01", "a")],
    ["a length in two", put("Content-Length: 1, 1", "a")],
    ["an empty length", put("Content-Length:", "")],
    ["a body of more than 4,096", put("Content-Length: 4097", "a".repeat(4097))],
    ["a body beyond ASCII", put("Content-Length: 2", "\xc3\xa9")],
    ["a GET with a body", head("Content-Length: 1")],
    ["two request ids", head("X-Request-Id: a\r\nx-request-id: b")],
    ["two tokens", head("Authorization: Bearer a\r\nAuthorization: Bearer b")],
    ["more than 8,192 of headers", head(`X: ${"a".repeat(8192)}`)],
    ["more than 8,192 without an end", GET.slice(0, -2) + "a".repeat(8192)],
    ["line feeds alone", "GET /v1/x HTTP/1.1\nHost: a\n\n"],
    ["TLS", "\x16\x03\x01\x02\x00"],
    ["the beginning of something else", "GEX"],
    ["nothing of a path", "GET  "],
  ])("%s", (_what, text) => {
    expect(read(text).end).toBe(OTHER);
  });
});

test("a length of 4,096 is read, and a Content-Length of 0 is no body", () => {
  const text = put("Content-Length: 4096", "a".repeat(4096));
  expect(read(text).into.body.length).toBe(4096);
  expect(read(text).end).toBe(text.length);
  const none = put("Content-Length: 0");
  expect(read(none)).toMatchObject({ end: none.length, into: { body: "" } });
});
