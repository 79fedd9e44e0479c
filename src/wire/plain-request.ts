// The plainest form of an HTTP/1.1 request, read out of the text of a connection: what libraries send for a call that
// needs no escapes. Anything else (another method or version, an escape, a header that changes how the request is to be
// read, a body that is long, chunked or not plain ASCII, a line that is not well formed) is no plain request and is left
// to a real server, with all that follows on the connection. So this says no wherever there is a doubt: it never has to
// be as clever as a server, only never to understand what a server would understand otherwise.

/**
 * A request. The reader writes into one that it is given, best one for each connection: callers send the same headers
 * again and again, and those that are as before are compared instead of read.
 */
export interface PlainRequest {
  method: "GET" | "PUT" | "POST";
  /** Of letters, digits and `-._~:/`; no segment begins with a dot. */
  path: string;
  /** Of letters, digits and `-._~=&`; "": none. */
  query: string;
  /** "" where they were not given. */
  requestId: string;
  authorization: string;
  contentType: string;
  ifNoneMatch: string;
  /** ASCII; "": none. */
  body: string;
  /** All between the path and the body, of the last request that was read into this; "": none. */
  head: string;
  /** What `head` says of the body. */
  bodyLength: number;
}

export function makePlainRequest(): PlainRequest {
  return {
    method: "GET",
    path: "",
    query: "",
    requestId: "",
    authorization: "",
    contentType: "",
    ifNoneMatch: "",
    body: "",
    head: "",
    bodyLength: 0,
  };
}

/** The rest of it has not come yet. */
export const PARTIAL = 0;
/** Not plain. */
export const OTHER = -1;

/** Longer ones are not plain. */
export const MAX_PLAIN_HEAD = 8192;
export const MAX_PLAIN_BODY = 4096;

const VERSION = " HTTP/1.1\r\n";
const HEAD_END = "\r\n\r\n";

const TAB = 9;
const SPACE = 32;
const SLASH = 47;
const DOT = 46;
const COLON = 58;
const QUESTION = 63;

function charset(characters: string): Uint8Array {
  const set = new Uint8Array(256);
  for (const character of characters) set[character.charCodeAt(0)] = 1;
  return set;
}

const ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const IN_PATH = charset(`${ALPHANUMERIC}-._~:/`);
const IN_QUERY = charset(`${ALPHANUMERIC}-._~=&`);
/** RFC 9110, token. */
const IN_NAME = charset(`${ALPHANUMERIC}!#$%&'*+-.^_\`|~`);
/** Names and dotted addresses that are valid in any URL. Others may be too. */
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_]|-(?!-))*";
const PORT = "6553[0-5]|655[0-2]\\d|65[0-4]\\d\\d|6[0-4]\\d{3}|[1-5]\\d{4}|\\d{1,4}";
const HOST = new RegExp(`^(?:${OCTET}(?:\\.${OCTET}){3}|(?:${LABEL}\\.)*(?=[A-Za-z])${LABEL})(?::(?:${PORT}))?$`);
const LENGTH = /^(0|[1-9]\d{0,3})$/;

/** Those that say how a request is to be read; more than the ones below are known by their length. */
const NOT_PLAIN = new Set(["te", "trailer", "expect", "upgrade", "transfer-encoding", "proxy-connection"]);
const LONGEST_KNOWN = 17;

/**
 * Reads the request that begins at `start` of `text`, of which a character is a byte. Returns where the next one begins,
 * PARTIAL or OTHER; `into` is whole only after the first of these.
 */
export function readPlainRequest(text: string, start: number, into: PlainRequest): number {
  const pathStart = readMethod(text, start, into);
  if (pathStart <= 0) return pathStart;
  const pathEnd = endOfPath(text, pathStart);
  const targetEnd = pathEnd > 0 && text.charCodeAt(pathEnd) === QUESTION ? endOfQuery(text, pathEnd + 1) : pathEnd;
  let bodyStart: number;
  if (targetEnd > 0 && into.head !== "" && text.startsWith(into.head, targetEnd)) {
    bodyStart = targetEnd + into.head.length;
  } else {
    const headEnd = text.indexOf(HEAD_END, pathStart);
    if (headEnd < 0) return mayBecomeHead(text, start) ? PARTIAL : OTHER;
    if (targetEnd < 0 || headEnd - start > MAX_PLAIN_HEAD || !text.startsWith(VERSION, targetEnd)) return OTHER;
    into.head = "";
    into.bodyLength = readHeaders(text, targetEnd + VERSION.length, headEnd + 2, into);
    if (into.bodyLength < 0 || into.bodyLength > MAX_PLAIN_BODY) return OTHER;
    bodyStart = headEnd + HEAD_END.length;
    into.head = text.slice(targetEnd, bodyStart);
  }
  if (into.bodyLength > 0 && into.method === "GET") return OTHER;
  const end = bodyStart + into.bodyLength;
  if (text.length < end) return PARTIAL;
  for (let i = bodyStart; i < end; i++) if (text.charCodeAt(i) > 126) return OTHER;
  into.path = text.slice(pathStart, pathEnd);
  into.query = targetEnd === pathEnd ? "" : text.slice(pathEnd + 1, targetEnd);
  into.body = bodyStart === end ? "" : text.slice(bodyStart, end);
  return end;
}

const METHODS = ["GET", "PUT", "POST"] as const;

/** Where the path begins. */
function readMethod(text: string, start: number, into: PlainRequest): number {
  for (const method of METHODS) {
    if (!text.startsWith(method, start)) continue;
    const at = start + method.length;
    if (text.length < at + 2) return PARTIAL;
    if (text.charCodeAt(at) !== SPACE || text.charCodeAt(at + 1) !== SLASH) return OTHER;
    into.method = method;
    return at + 1;
  }
  return text.length - start < 4 && METHODS.some((method) => method.startsWith(text.slice(start))) ? PARTIAL : OTHER;
}

/** Lines that end as they should, and not too many. */
function mayBecomeHead(text: string, start: number): boolean {
  return text.length - start <= MAX_PLAIN_HEAD && !/(^|[^\r])\n/.test(text.slice(start));
}

function endOfPath(text: string, start: number): number {
  let before = 0;
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === SPACE || code === QUESTION) return i;
    if (IN_PATH[code] !== 1 || (code === DOT && before === SLASH)) return -1;
    before = code;
  }
  return -1;
}

function endOfQuery(text: string, start: number): number {
  let i = start;
  while (IN_QUERY[text.charCodeAt(i)] === 1) i++;
  return i > start && text.charCodeAt(i) === SPACE ? i : -1;
}

/** Reads the lines from `start` to `end`. Returns the length of the body; -1: not plain. */
function readHeaders(text: string, start: number, end: number, into: PlainRequest): number {
  into.requestId = "";
  into.authorization = "";
  into.contentType = "";
  into.ifNoneMatch = "";
  let length = -1;
  let hasHost = false;
  let i = start;
  while (i < end) {
    const nameStart = i;
    while (IN_NAME[text.charCodeAt(i)] === 1) i++;
    const nameEnd = i;
    if (nameEnd === nameStart || text.charCodeAt(i) !== COLON) return -1;
    i++;
    while (text.charCodeAt(i) === SPACE || text.charCodeAt(i) === TAB) i++;
    const valueStart = i;
    let valueEnd = i;
    for (;;) {
      const code = text.charCodeAt(i);
      if (code > SPACE && code < 127) valueEnd = i + 1;
      else if (code !== SPACE && code !== TAB) break;
      i++;
    }
    if (!text.startsWith("\r\n", i)) return -1;
    i += 2;
    if (nameEnd - nameStart > LONGEST_KNOWN) continue;
    switch (nameEnd - nameStart) {
      case 4:
      case 10:
      case 12:
      case 13:
      case 14: {
        const name = text.slice(nameStart, nameEnd).toLowerCase();
        const value = text.slice(valueStart, valueEnd);
        switch (name) {
          case "host":
            if (hasHost || !HOST.test(value)) return -1;
            hasHost = true;
            break;
          case "connection":
            if (value.toLowerCase() !== "keep-alive") return -1;
            break;
          case "content-length":
            if (length >= 0 || !LENGTH.test(value)) return -1;
            length = Number(value);
            break;
          case "x-request-id":
            if (into.requestId !== "" || value === "") return -1;
            into.requestId = value;
            break;
          case "content-type":
            if (into.contentType !== "" || value === "") return -1;
            into.contentType = value;
            break;
          case "authorization":
            if (into.authorization !== "" || value === "") return -1;
            into.authorization = value;
            break;
          case "if-none-match":
            if (into.ifNoneMatch !== "" || value === "") return -1;
            into.ifNoneMatch = value;
            break;
        }
        break;
      }
      case 2:
      case 6:
      case 7:
      case 16:
      case 17:
        if (NOT_PLAIN.has(text.slice(nameStart, nameEnd).toLowerCase())) return -1;
        break;
    }
  }
  return hasHost ? Math.max(length, 0) : -1;
}
