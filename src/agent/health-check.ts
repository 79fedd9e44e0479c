// One check of a service that registered itself. TCP: it takes a connection. HTTP: it answers GET with 2xx or 3xx. The
// request goes to the registered address itself, over a connection of its own: a redirect is an answer and not followed,
// a proxy of the environment is not asked, and no more is read than the status needs.
import { formatIp } from "../core/endpoint.ts";
import { probeTcp } from "../net/tcp-probe.ts";

export interface HealthTarget {
  readonly ip: number;
  readonly port: number;
  /** undefined: TCP. */
  readonly path: string | undefined;
  readonly timeoutMs: number;
}

export type HealthResult = { readonly passed: true } | { readonly passed: false; readonly reason: string };

const PASSED: HealthResult = { passed: true };
const MAX_HEAD_BYTES = 8192;
const latin1 = new TextDecoder("latin1");

/** Never rejects. */
export async function checkHealth({ ip, port, path, timeoutMs }: HealthTarget): Promise<HealthResult> {
  const address = formatIp(ip);
  const what = path === undefined ? `TCP ${address}:${port}` : `GET http://${address}:${port}${path}`;
  const failed = (reason: string): HealthResult => ({ passed: false, reason: `${what}: ${reason}` });
  if (path === undefined) {
    const { connected, error } = await probeTcp({ ip: address, port, timeoutMs });
    return connected ? PASSED : failed(error ?? "the connection was closed");
  }
  const { bytes, error } = await probeTcp({
    ip: address,
    port,
    timeoutMs,
    request: Buffer.from(
      `GET ${path} HTTP/1.1\r\nHost: ${address}:${port}\r\nUser-Agent: lars-agent-check\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
    ),
    maxBytes: MAX_HEAD_BYTES,
    enough: (read) => statusOf(read) !== undefined,
  });
  const status = statusOf(bytes);
  if (status === undefined) return failed(error ?? "what it answered is not HTTP");
  if (status === NOT_HTTP) return failed("what it answered is not HTTP");
  return status >= 200 && status < 400 ? PASSED : failed(`status ${status}, expected 200 to 399`);
}

const NOT_HTTP = 0;

/** The final status; undefined: more is needed. Interim answers (1xx) come before it. */
function statusOf(bytes: Uint8Array): number | undefined {
  let text = latin1.decode(bytes);
  for (;;) {
    const line = text.indexOf("\r\n");
    if (line < 0) return text.length > 0 && !"HTTP/1.".startsWith(text.slice(0, 7)) ? NOT_HTTP : undefined;
    const match = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(text.slice(0, line));
    if (match === null) return NOT_HTTP;
    const status = Number(match[1]);
    if (status >= 200) return status;
    const next = text.indexOf("\r\n\r\n");
    if (next < 0) return undefined;
    text = text.slice(next + 4);
  }
}
