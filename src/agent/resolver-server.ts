// The resolver's sockets: UDP and TCP on the same port, as askers that were told "truncated" expect it.

import { listenPrefixed, type PrefixedCounters, type PrefixedServer } from "../net/prefixed-server.ts";
import { bindUdp, type UdpCounters, type UdpSocket } from "../net/udp-socket.ts";
import type { Resolver } from "./resolver.ts";
import type { ResponseRate } from "./response-rate.ts";

export interface ResolverServerOptions {
  readonly hostname: string;
  /** 0: any one that is free for both. */
  readonly port: number;
  readonly resolver: Resolver;
  /** How many UDP answers an address may get. */
  readonly rate: Pick<ResponseRate, "judge">;
  readonly nowMs: () => number;
  readonly onError: (message: string) => void;
}

export interface ResolverServer {
  readonly port: number;
  /** Queries over UDP that found too many others waiting for their answers. */
  readonly overload: { readonly dropped: number };
  readonly udp: Readonly<UdpCounters>;
  readonly tcp: Readonly<PrefixedCounters>;
  connections(): number;
  stop(): void;
}

/** A burst of a thousand queries. More would keep this thread from its timers for longer than askers wait. */
const RECEIVE_BUFFER_BYTES = 1_048_576;
/** Well below what shards take from this thread: HTTP callers are to have room beside any flood of these. */
const MAX_UNANSWERED_UDP = 4096;
const MAX_CONNECTIONS = 256;
/** No real query is longer. */
const MAX_QUERY_BYTES = 4096;
/** Queries of one connection that may wait for their answers. */
const MAX_UNANSWERED = 32;
const IDLE_TIMEOUT_MS = 10_000;
/** A free UDP port may be taken as a TCP port. */
const PORT_ATTEMPTS = 10;

/** @throws Error when the address cannot be bound */
export async function serveResolver(options: ResolverServerOptions): Promise<ResolverServer> {
  const { hostname, resolver, rate, nowMs, onError } = options;
  const overload = { dropped: 0 };
  let unanswered = 0;
  const failed = (error: unknown): void => onError(`resolver: ${String(error)}`);

  const bind = (): Promise<UdpSocket> =>
    bindUdp({
      hostname,
      port: options.port,
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      onDatagram(datagram, port, address) {
        const verdict = rate.judge(address, nowMs());
        if (verdict === "drop") return;
        const reply = (bytes: Uint8Array | undefined): void => {
          if (bytes !== undefined) udp.queueReply(bytes, bytes.length, port, address);
        };
        if (verdict === "use-tcp") reply(resolver.askAgainOverTcp(datagram));
        else if (unanswered >= MAX_UNANSWERED_UDP) overload.dropped++;
        else {
          unanswered++;
          resolver
            .answer(datagram, "udp")
            .then(reply, failed)
            .finally(() => {
              unanswered--;
            });
        }
      },
      onError: failed,
    });
  const listen = (port: number): PrefixedServer =>
    listenPrefixed({
      hostname,
      port,
      maxConnections: MAX_CONNECTIONS,
      maxMessageBytes: MAX_QUERY_BYTES,
      maxUnanswered: MAX_UNANSWERED,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
      nowMs,
      answer: (message) => resolver.answer(message, "tcp"),
      onError: failed,
    });

  let udp = await bind();
  let tcp: PrefixedServer | undefined;
  for (let attempt = 1; tcp === undefined; attempt++) {
    try {
      tcp = listen(udp.port);
    } catch (error) {
      udp.close();
      if (options.port !== 0 || attempt === PORT_ATTEMPTS) throw error;
      udp = await bind();
    }
  }
  const listener = tcp;
  return {
    port: udp.port,
    overload,
    udp: udp.counters,
    tcp: listener.counters,
    connections: () => listener.connections,
    stop(): void {
      listener.stop();
      udp.close();
    },
  };
}
