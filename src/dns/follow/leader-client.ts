// One question to a leader over HTTP. A link that is cut says nothing: no refusal, no reset, packets are gone. So there is
// a limit on silence, before the answer begins and between any two pieces of it, and none on the whole: a long answer
// over a slow link is fine as long as it moves.
import { formatModuleKey } from "../../core/module-key.ts";
import type { TlsMaterial } from "../../platform/tls-material.ts";
import { type ReadPage, readPage } from "../replica-document.ts";
import type { LeaderAddress } from "./leader-addresses.ts";
import type { ReplicaRequest } from "./leader-mirror.ts";

/** PEM texts. Without a CA the public ones are believed. */
export type LeaderTls = Pick<TlsMaterial, "ca" | "cert" | "key">;

export interface AskOptions {
  readonly token: string;
  /** How long the leader may hold the answer back; 0: not at all. */
  readonly waitMs: number;
  /** How long it may be silent beyond that. */
  readonly silenceMs: number;
  readonly tls: LeaderTls;
  /** Ends the question. */
  readonly signal: AbortSignal;
}

export type Ask = (address: LeaderAddress, request: ReplicaRequest, options: AskOptions) => Promise<ReadPage>;

/** A page has some two megabytes; one of a single route with very many hosts more. */
const MAX_ANSWER_BYTES = 64 * 1_048_576;

export const askLeader: Ask = async ({ base, host }, { after, from }, options) => {
  const { token, waitMs, silenceMs, tls, signal } = options;
  const query = new URLSearchParams({ after: String(after) });
  if (from !== undefined) query.set("from", formatModuleKey(from));
  if (waitMs > 0) query.set("wait", `${Math.round(waitMs)}ms`);
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), waitMs + silenceMs);
  const moved = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), silenceMs);
  };
  try {
    const response = await fetch(`${base}/v1/replica?${query}`, {
      headers: {
        accept: "application/json",
        ...(host === undefined ? {} : { host }),
        ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
      },
      redirect: "manual",
      signal: AbortSignal.any([signal, silence.signal]),
      ...(base.startsWith("https:") ? { tls: given(tls) } : {}),
    });
    moved();
    if (response.status !== 200) {
      await response.body?.cancel();
      return { ok: false, why: `it answered ${response.status}${meaningOf(response.status)}` };
    }
    const bytes = await read(response, moved);
    if (bytes === undefined) return { ok: false, why: `its answer is larger than ${MAX_ANSWER_BYTES} bytes` };
    return readPage(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (error) {
    if (silence.signal.aborted) return { ok: false, why: `it was silent for ${silenceMs} ms` };
    return { ok: false, why: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(timer);
  }
};

function given({ ca, cert, key }: LeaderTls): Bun.TLSOptions {
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function meaningOf(status: number): string {
  if (status === 401 || status === 403) return ": follow.token must be a reader's token there";
  if (status === 404) return ": it is no dns service, or one that is too old to be followed";
  return "";
}

async function read(response: Response, moved: () => void): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    moved();
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
