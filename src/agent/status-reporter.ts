// Sends the shards' call statistics to a report service, once a second what moved, as running totals. Totals make the
// sending careless in the best sense: nothing is queued while the service is away, nothing is kept for acknowledgement;
// the next frame that arrives carries everything. What was sent on a connection that broke may be lost, so a new
// connection starts with all totals, and all are sent again now and then.
//
// Nothing answers a frame, so a service that hangs looks like one that listens. Pings tell them apart: once any server has
// answered one, a server that does not is left. C++ servers never answer, and are not judged while only such are known.
import type { HostTotals, StatisticsReader } from "../core/call-statistics.ts";
import { endpointKey } from "../core/endpoint.ts";
import { type ModuleKey, ModuleMap } from "../core/module-key.ts";
import type { TcpClient } from "../net/tcp-client.ts";
import { HEADER_BYTES, MSG_PING, MSG_PONG, MSG_REPORT_STATUS_REQUEST, sealFrame, writeHeader } from "../wire/frame.ts";
import {
  encodeReportStatusRequest,
  MAX_RESULTS_PER_FRAME,
  makeReportStatusRequest,
  reportStatusBytes,
} from "../wire/status-codec.ts";

export interface StatusReporterOptions {
  readonly statistics: () => readonly StatisticsReader[];
  /** The agent's IPv4, signed int32. */
  readonly caller: number;
  /** Random, drawn once per start of the agent; not zero. */
  readonly instance: { readonly high: number; readonly low: number };
  readonly resendIntervalMs: () => number;
  readonly nowMs: () => number;
  readonly wallMs: () => number;
}

const PING_INTERVAL_MS = 3000;
/** A service whose database is slow stops reading for a while; to leave it for another one on that database helps nobody. */
const PONG_TIMEOUT_MS = 12_000;
const PING = new Uint8Array(HEADER_BYTES);
writeHeader(PING, 0, MSG_PING, 0);

interface Batch extends ModuleKey {
  readonly hosts: readonly HostTotals[];
}

export class StatusReporter {
  readonly #options: StatusReporterOptions;
  readonly #status = makeReportStatusRequest();
  #buffer = new Uint8Array(4096);
  #client: TcpClient | undefined;
  #connected = false;
  #seq = 0;
  #sentAllAtMs = Number.NEGATIVE_INFINITY;
  /** Taken from the statistics, and not given to the connection yet. Latest totals per module. */
  #unsent = new ModuleMap<Batch>();
  /** Some server has answered a ping, ever. */
  #serversAnswer = false;
  #pingedAtMs = Number.NEGATIVE_INFINITY;
  /** When the server was last known to be there: connected, or a pong. */
  #heardAtMs = Number.NEGATIVE_INFINITY;
  readonly counts = { frames: 0, results: 0, flushes: 0, pings: 0, silences: 0 };

  constructor(options: StatusReporterOptions) {
    this.#options = options;
    this.#status.caller = options.caller;
    this.#status.instanceHigh = options.instance.high;
    this.#status.instanceLow = options.instance.low;
  }

  attach(client: TcpClient): void {
    this.#client = client;
  }

  get connected(): boolean {
    return this.#connected;
  }

  onOpen(): void {
    this.#connected = true;
    this.#heardAtMs = this.#options.nowMs();
    this.#sentAllAtMs = Number.NEGATIVE_INFINITY;
    this.flush();
  }

  onClose(): void {
    this.#connected = false;
    this.#unsent = new ModuleMap();
  }

  onDrain(): void {
    this.#send();
  }

  onFrame(msgid: number): void {
    if (msgid !== MSG_PONG) return;
    this.#serversAnswer = true;
    this.#heardAtMs = this.#options.nowMs();
  }

  /** To be called a few times a second: notices a server that hangs. */
  tick(): void {
    if (!this.#connected) return;
    const nowMs = this.#options.nowMs();
    const silentMs = nowMs - this.#heardAtMs;
    if (this.#serversAnswer && silentMs > PONG_TIMEOUT_MS) {
      this.counts.silences++;
      this.#client?.reconnect(`no answer for ${Math.round(silentMs)} ms`);
      return;
    }
    if (nowMs - this.#pingedAtMs < PING_INTERVAL_MS) return;
    this.#pingedAtMs = nowMs;
    if (this.#client?.send(PING.slice()) ?? false) this.counts.pings++;
  }

  /** Whether any host's totals are not what was sent last. */
  hasUnsent(): boolean {
    return this.#options.statistics().some((reader) => reader.hasMoved());
  }

  /** Reads the statistics and sends what moved; with nobody connected it does nothing, and nothing is lost. */
  flush(): void {
    if (!this.#connected) return;
    this.counts.flushes++;
    const nowMs = this.#options.nowMs();
    const all = nowMs - this.#sentAllAtMs >= this.#options.resendIntervalMs();
    if (all) this.#sentAllAtMs = nowMs;
    for (const reader of this.#options.statistics()) {
      for (const [{ modid, cmdid }, hosts] of reader.take(all).entries()) {
        const waiting = this.#unsent.get(modid, cmdid);
        this.#unsent.set(modid, cmdid, {
          modid,
          cmdid,
          hosts: waiting === undefined ? hosts : newest(waiting.hosts, hosts),
        });
      }
    }
    this.#send();
  }

  #send(): void {
    for (const { modid, cmdid, hosts } of [...this.#unsent.values()]) {
      for (let from = 0; from < hosts.length; from += MAX_RESULTS_PER_FRAME) {
        // Full, or not taken: `onDrain` sends the module again, whole; what arrives twice counts once.
        if (!this.#sendFrame(modid, cmdid, hosts.slice(from, from + MAX_RESULTS_PER_FRAME))) return;
      }
      this.#unsent.delete(modid, cmdid);
    }
  }

  #sendFrame(modid: number, cmdid: number, hosts: readonly HostTotals[]): boolean {
    const status = this.#status;
    status.modid = modid;
    status.cmdid = cmdid;
    status.ts = Math.floor(this.#options.wallMs() / 1000);
    status.seq = ++this.#seq;
    status.resultCount = hosts.length;
    hosts.forEach(({ ip, port, succ, err, ejected }, i) => {
      status.results[i] = { ip, port, succ, err, overload: ejected };
    });
    const needed = HEADER_BYTES + reportStatusBytes(hosts.length);
    if (this.#buffer.length < needed) this.#buffer = new Uint8Array(needed);
    const end = encodeReportStatusRequest(this.#buffer, HEADER_BYTES, status, 0, hosts.length);
    sealFrame(this.#buffer, 0, MSG_REPORT_STATUS_REQUEST, end);
    if (!(this.#client?.send(this.#buffer.slice(0, end)) ?? false)) return false;
    this.counts.frames++;
    this.counts.results += hosts.length;
    return true;
  }
}

/** Both lists' hosts, the later totals where both have one. */
function newest(earlier: readonly HostTotals[], later: readonly HostTotals[]): readonly HostTotals[] {
  const told = new Set(later.map(({ ip, port }) => endpointKey(ip, port)));
  return [...earlier.filter(({ ip, port }) => !told.has(endpointKey(ip, port))), ...later];
}
