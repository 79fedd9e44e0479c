// A caller as deployed clients are: one connected UDP socket to one port of the agent, answers matched by their number.
// Connected means that an answer from another port is not seen.
import { raiseSocketBuffers } from "../../src/net/socket-options.ts";
import {
  frameOf,
  HEADER_BYTES,
  MSG_GET_HOST_REQUEST,
  MSG_GET_HOST_RESPONSE,
  MSG_REPORT_REQUEST,
  readInt32,
} from "../../src/wire/frame.ts";
import {
  decodeGetHostResponse,
  encodeGetHostRequest,
  getHostRequestBytes,
  makeGetHostResponse,
} from "../../src/wire/host-codec.ts";
import { encodeReportRequest, REPORT_REQUEST_BYTES } from "../../src/wire/report-codec.ts";

const BUFFER_BYTES = 4 * 1_048_576;

export interface Answer {
  readonly retcode: number;
  readonly ip: number;
  readonly port: number;
  /** From request to answer. */
  readonly ms: number;
}

interface Pending {
  readonly sentAtMs: number;
  resolve(answer: Answer): void;
}

export class UdpCaller {
  readonly #pending = new Map<number, Pending>();
  #seq = 0;
  /** Frames that are no answer to anything asked. */
  strays = 0;

  private constructor(private readonly socket: Bun.udp.ConnectedSocket<"uint8array">) {}

  static async connect(port: number): Promise<UdpCaller> {
    let caller: UdpCaller | undefined;
    const socket = await Bun.udpSocket({
      connect: { hostname: "127.0.0.1", port },
      binaryType: "uint8array",
      socket: {
        data: (_socket, datagram) => caller?.receive(datagram),
        error() {
          // The agent is gone or restarting: the request goes unanswered, and that is what the test sees.
        },
      },
    });
    // Answers to many requests at once come at once; the kernel's default holds 256.
    raiseSocketBuffers((socket as { fd?: number }).fd ?? -1, BUFFER_BYTES, BUFFER_BYTES);
    caller = new UdpCaller(socket);
    return caller;
  }

  private receive(datagram: Uint8Array): void {
    const answer = makeGetHostResponse();
    const isAnswer =
      readInt32(datagram, 0) === MSG_GET_HOST_RESPONSE &&
      decodeGetHostResponse(datagram, HEADER_BYTES, datagram.length, answer);
    const pending = isAnswer ? this.#pending.get(answer.seq) : undefined;
    if (pending === undefined) {
      this.strays++;
      return;
    }
    this.#pending.delete(answer.seq);
    const { retcode, ip, port } = answer;
    pending.resolve({ retcode, ip, port, ms: performance.now() - pending.sentAtMs });
  }

  /** Sends anything. False: the kernel did not take it. */
  send(datagram: Uint8Array): boolean {
    try {
      return this.socket.send(datagram);
    } catch {
      return false;
    }
  }

  /** @throws when no answer comes in time */
  async getHost(modid: number, cmdid: number, timeoutMs = 1000, hashKey = ""): Promise<Answer> {
    const seq = ++this.#seq;
    const key = new TextEncoder().encode(hashKey);
    const body = new Uint8Array(getHostRequestBytes(key));
    const end = encodeGetHostRequest(body, 0, seq, modid, cmdid, key);
    const frame = frameOf(MSG_GET_HOST_REQUEST, body.subarray(0, end));
    let timer: Timer | undefined;
    try {
      return await new Promise<Answer>((resolve, reject) => {
        timer = setTimeout(
          () => reject(new Error(`no answer for module ${modid}.${cmdid} in ${timeoutMs} ms`)),
          timeoutMs,
        );
        this.#pending.set(seq, { sentAtMs: performance.now(), resolve });
        this.send(frame);
      });
    } finally {
      clearTimeout(timer);
      this.#pending.delete(seq);
    }
  }

  report(modid: number, cmdid: number, ip: number, port: number, retcode = 0): boolean {
    const body = new Uint8Array(REPORT_REQUEST_BYTES);
    const end = encodeReportRequest(body, 0, { modid, cmdid, ip, port, retcode, latencyUs: 0 });
    return this.send(frameOf(MSG_REPORT_REQUEST, body.subarray(0, end)));
  }

  close(): void {
    this.socket.close();
  }
}
