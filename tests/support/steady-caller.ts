// A caller of the agent over UDP, as a service's process would be one: asks for a host, "calls" it, reports. Knows the
// wire from src/wire only; what calls to hosts come to is the test's to say.
import { formatIp } from "../../src/core/endpoint.ts";
import { formatModuleKey, type ModuleKey } from "../../src/core/module-key.ts";
import { shardOf } from "../../src/core/shard-map.ts";
import { raiseSocketBuffers } from "../../src/net/socket-options.ts";
import {
  HEADER_BYTES,
  MSG_API_GET_ROUTE_REQUEST,
  MSG_API_GET_ROUTE_RESPONSE,
  MSG_GET_HOST_REQUEST,
  MSG_REPORT_REQUEST,
  readInt32,
  sealFrame,
} from "../../src/wire/frame.ts";
import { decodeGetHostResponse, encodeGetHostRequest, makeGetHostResponse } from "../../src/wire/host-codec.ts";
import { encodeReportRequest } from "../../src/wire/report-codec.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest, type GetRouteResponse } from "../../src/wire/route-codec.ts";
import { OwnTime } from "./own-time.ts";

/** When this process had to wait for its turn, what it missed comes at once; the kernel's default holds 256 answers. */
const BUFFER_BYTES = 4 * 1_048_576;
/** Picks whose time is up are looked for this often. */
const SWEEP_MS = 5;

export interface SteadyCallerOptions {
  readonly port: number;
  readonly shards?: number;
  /** What a call to a host comes to: 0 succeeds. */
  readonly call?: (module: ModuleKey, endpoint: string) => number;
  /** Of the time in which this process runs. */
  readonly timeoutMs?: number;
  /** A pick was not answered in time, or without a host. */
  readonly onFailure?: (pick: Pick) => void;
  /** Answers to `askRoute`. */
  readonly onRoute?: (route: GetRouteResponse) => void;
}

export interface CallTally {
  succ: number;
  err: number;
}

interface Waiting {
  readonly startedMs: number;
  /** On {@link SteadyCaller.ownTime}. */
  readonly deadlineMs: number;
  settle(pick: Pick): void;
}

export type Pick = { readonly retcode: number; readonly endpoint: string; readonly ms: number } | "timeout";

export class SteadyCaller {
  /** "modid.cmdid ip:port" -> calls made. */
  readonly calls = new Map<string, CallTally>();
  readonly retcodes = new Map<number, number>();
  timeouts = 0;
  slowestMs = 0;
  readonly ownTime = new OwnTime(performance.now());
  #seq = 1;
  /** Oldest first, and all wait equally long. */
  readonly #waiting = new Map<number, Waiting>();
  readonly #sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
  readonly #response = makeGetHostResponse();
  readonly #out = new Uint8Array(256);

  private constructor(
    private readonly options: SteadyCallerOptions,
    private readonly socket: Bun.udp.Socket<"uint8array">,
  ) {}

  static async open(options: SteadyCallerOptions): Promise<SteadyCaller> {
    let caller: SteadyCaller | undefined;
    const socket = await Bun.udpSocket({
      hostname: "127.0.0.1",
      binaryType: "uint8array",
      socket: {
        data: (_socket, datagram) => caller?.receive(datagram),
        // An agent that is down refuses; the pick then times out.
        error: () => {},
      },
    });
    raiseSocketBuffers((socket as { fd?: number }).fd ?? -1, BUFFER_BYTES, BUFFER_BYTES);
    caller = new SteadyCaller(options, socket);
    return caller;
  }

  get failures(): number {
    let failed = this.timeouts;
    for (const [retcode, count] of this.retcodes) if (retcode !== 0) failed += count;
    return failed;
  }

  private receive(datagram: Uint8Array): void {
    if (datagram.length >= HEADER_BYTES && readInt32(datagram, 0) === MSG_API_GET_ROUTE_RESPONSE) {
      const route = decodeGetRouteResponse(datagram, HEADER_BYTES, datagram.length);
      if (route !== undefined) this.options.onRoute?.(route);
      return;
    }
    const response = this.#response;
    if (!decodeGetHostResponse(datagram, HEADER_BYTES, datagram.length, response)) return;
    const waiting = this.#waiting.get(response.seq);
    if (waiting === undefined) return;
    this.#waiting.delete(response.seq);
    waiting.settle({
      retcode: response.retcode,
      endpoint: `${formatIp(response.ip)}:${response.port}`,
      ms: performance.now() - waiting.startedMs,
    });
  }

  #sweep(): void {
    this.ownTime.tick(performance.now());
    for (const [seq, { deadlineMs, settle }] of this.#waiting) {
      if (deadlineMs > this.ownTime.ms) return;
      this.#waiting.delete(seq);
      this.timeouts++;
      settle("timeout");
    }
  }

  #send(end: number, module: ModuleKey): void {
    const port = this.options.port + shardOf(module.modid, module.cmdid, this.options.shards ?? 3);
    try {
      this.socket.send(this.#out.subarray(0, end), port, "127.0.0.1");
    } catch {
      // Refused by an agent that is down: as lost as any datagram.
    }
  }

  /** Asks for a host. */
  pick(module: ModuleKey): Promise<Pick> {
    const seq = this.#seq++;
    const end = encodeGetHostRequest(this.#out, HEADER_BYTES, seq, module.modid, module.cmdid);
    return new Promise((resolve) => {
      const deadlineMs = this.ownTime.ms + (this.options.timeoutMs ?? 1000);
      this.#waiting.set(seq, { startedMs: performance.now(), deadlineMs, settle: resolve });
      this.#send(sealFrame(this.#out, 0, MSG_GET_HOST_REQUEST, end), module);
    });
  }

  /** Asks which hosts a module has; the answer, if there is one, goes to `onRoute`. */
  askRoute(module: ModuleKey): void {
    const end = encodeGetRouteRequest(this.#out, HEADER_BYTES, module.modid, module.cmdid);
    this.#send(sealFrame(this.#out, 0, MSG_API_GET_ROUTE_REQUEST, end), module);
  }

  report(module: ModuleKey, endpoint: string, retcode: number): void {
    const [host, port] = endpoint.split(":") as [string, string];
    const ip = host.split(".").reduce((value, octet) => (value << 8) | Number(octet), 0);
    const report = { ...module, ip, port: Number(port), retcode, latencyUs: 0 };
    const end = encodeReportRequest(this.#out, HEADER_BYTES, report);
    this.#send(sealFrame(this.#out, 0, MSG_REPORT_REQUEST, end), module);
  }

  /** One pick and, when it gave a host, the call and its report. */
  async once(module: ModuleKey): Promise<Pick> {
    const pick = await this.pick(module);
    if (pick === "timeout") {
      this.options.onFailure?.(pick);
      return pick;
    }
    this.retcodes.set(pick.retcode, (this.retcodes.get(pick.retcode) ?? 0) + 1);
    this.slowestMs = Math.max(this.slowestMs, pick.ms);
    if (pick.retcode !== 0) {
      this.options.onFailure?.(pick);
      return pick;
    }
    const retcode = this.options.call?.(module, pick.endpoint) ?? 0;
    const key = `${formatModuleKey(module)} ${pick.endpoint}`;
    const tally = this.calls.get(key) ?? { succ: 0, err: 0 };
    this.calls.set(key, tally);
    if (retcode === 0) tally.succ++;
    else tally.err++;
    this.report(module, pick.endpoint, retcode);
    return pick;
  }

  /** Calls the modules in turn, `perSecond` of them, until the returned function is called. It resolves when all ended. */
  steadily(modules: readonly ModuleKey[], perSecond: number): () => Promise<void> {
    let next = 0;
    let due = 0;
    const startedAtMs = performance.now();
    const underWay = new Set<Promise<unknown>>();
    const timer = setInterval(() => {
      const wanted = ((performance.now() - startedAtMs) / 1000) * perSecond;
      while (due < wanted) {
        due++;
        const call = this.once(modules[next++ % modules.length]!).finally(() => underWay.delete(call));
        underWay.add(call);
      }
    }, 5);
    return async () => {
      clearInterval(timer);
      await Promise.all(underWay);
    };
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.socket.close();
  }
}
