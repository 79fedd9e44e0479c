// What the books are compared with is read over HTTP as admin. A read that is not answered within fifteen seconds is told of at
// once, also where it is tried again: no call of ours may wait for ever, whatever failed.
import { ADMIN_TOKEN } from "../support/lars-processes.ts";

const TIMEOUT_MS = 15_000;

/** @throws when it is refused, or not answered in time */
export async function readJson<T>(url: string, path: string): Promise<T> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` }, signal });
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  } catch (error) {
    if (!signal.aborted) throw error;
    process.stdout.write(`  no answer within ${TIMEOUT_MS} ms: GET ${url}${path}\n`);
    throw new Error(`GET ${url}${path} was not answered within ${TIMEOUT_MS} ms`, { cause: error });
  }
}
