// A way to a database server that fails exactly when COMMIT passes: the moment at which nobody can tell from outside
// whether a transaction was made. It passes bytes on until it is armed; then the next COMMIT is handled as the mode says,
// and the client's connection ends.
import type { Socket } from "bun";

/**
 * before: the COMMIT never reaches the server, nor anything after it. answer: it does, and the answer is lost.
 * late: the client is cut off at once, and the server gets the COMMIT when {@link CuttingProxy.deliver} is called.
 */
export type CutMode = "before" | "answer" | "late";

/** By itself (3 is the protocol's "query"), or the last of several statements in one packet. */
const COMMITS = [Buffer.from("\x03COMMIT"), Buffer.from(";COMMIT")];

interface Pair {
  server: Socket<Pair> | undefined;
  client: Socket<Pair>;
  waiting: Buffer[];
  /** Nothing goes to the client any more. */
  cut: boolean;
}

export class CuttingProxy {
  readonly port: number;
  readonly #listener: { stop(force?: boolean): void; readonly port: number };
  #armed: CutMode | undefined;
  #held: { pair: Pair; bytes: Buffer } | undefined;
  #answer: ((text: string) => void) | undefined;
  /** COMMITs that were handled by the mode. */
  cuts = 0;

  constructor(target: number) {
    const proxy = this;
    this.#listener = Bun.listen<Pair>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(client) {
          const pair: Pair = { server: undefined, client, waiting: [], cut: false };
          client.data = pair;
          void Bun.connect<Pair>({
            hostname: "127.0.0.1",
            port: target,
            socket: {
              open(server) {
                server.data = pair;
                pair.server = server;
                for (const bytes of pair.waiting) server.write(bytes);
              },
              data: (_server, bytes) => proxy.#fromServer(pair, bytes),
              close: () => proxy.#ended(pair),
              error: () => proxy.#ended(pair),
            },
          }).catch(() => client.end());
        },
        data: (client, bytes) => proxy.#fromClient(client.data, Buffer.from(bytes)),
        close: (client) => {
          if (!client.data.cut) client.data.server?.end();
        },
      },
    });
    this.port = this.#listener.port;
  }

  arm(mode: CutMode): void {
    this.#armed = mode;
  }

  /** Sends the COMMIT that was held. Resolves with what the server answered: "ok", or its error's text. */
  async deliver(): Promise<string> {
    const held = this.#held;
    if (held === undefined) throw new Error("no COMMIT is held");
    const answer = new Promise<string>((resolve) => (this.#answer = resolve));
    held.pair.server!.write(held.bytes);
    const text = await answer;
    held.pair.server!.end();
    return text;
  }

  stop(): void {
    this.#listener.stop(true);
  }

  #fromClient(pair: Pair, bytes: Buffer): void {
    if (pair.cut) return;
    if (this.#armed !== undefined && COMMITS.some((text) => bytes.includes(text))) {
      const mode = this.#armed;
      this.#armed = undefined;
      this.cuts++;
      pair.cut = true;
      if (mode === "answer") pair.server!.write(bytes);
      else if (mode === "late") this.#held = { pair, bytes };
      else pair.server!.end();
      // In mode "answer" the client goes when the server has answered, so that the COMMIT has surely been made.
      if (mode !== "answer") pair.client.terminate();
      return;
    }
    if (pair.server === undefined) pair.waiting.push(bytes);
    else pair.server.write(bytes);
  }

  #fromServer(pair: Pair, bytes: Uint8Array): void {
    if (!pair.cut) {
      pair.client.write(bytes);
      return;
    }
    if (this.#held?.pair !== pair) {
      pair.server!.end();
      pair.client.terminate();
      return;
    }
    // A packet's header is four bytes; the first of its body is 0xff in an error, which its text follows.
    this.#answer?.(bytes[4] === 0xff ? Buffer.from(bytes.subarray(13)).toString() : "ok");
  }

  #ended(pair: Pair): void {
    if (this.#held?.pair === pair) this.#answer?.("the connection ended");
    pair.client.end();
  }
}
