// What the books are compared with is read over HTTP as admin. A read that is not answered within fifteen seconds is told of at
// once, also where it is tried again: no call of ours may wait for ever, whatever failed. One that is answered 503 is tried
// again for a while: a dns that was cut off has its connections to the database back some seconds after the link.
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN } from "../support/lars-processes.ts";

const TIMEOUT_MS = 15_000;
const BACK_WITHIN_MS = 20_000;

/** @throws when it is refused, not answered in time, or 503 for too long */
export async function readJson<T>(url: string, path: string): Promise<T> {
  let response = await answerOf(url, path);
  if (response.status === 503) {
    process.stdout.write(`  503, asked again: GET ${url}${path}: ${(await response.text()).slice(0, 300)}\n`);
    response = await eventually(
      async () => {
        const next = await answerOf(url, path);
        if (next.status === 503)
          throw new Error(`GET ${path}: still 503 after ${BACK_WITHIN_MS} ms: ${await next.text()}`);
        return next;
      },
      { timeoutMs: BACK_WITHIN_MS, intervalMs: 100 },
    );
  }
  if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

async function answerOf(url: string, path: string): Promise<Response> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, signal });
    return new Response(await response.arrayBuffer(), response);
  } catch (error) {
    if (!signal.aborted) throw error;
    process.stdout.write(`  no answer within ${TIMEOUT_MS} ms: GET ${url}${path}\n`);
    throw new Error(`GET ${url}${path} was not answered within ${TIMEOUT_MS} ms`, { cause: error });
  }
}
