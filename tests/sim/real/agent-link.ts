// A caller's side of the wire: one connected UDP socket to one port of the agent, as a deployed client has it. A call's
// number in the log is its `seq`, so that answers need no table of their own.
import type { ModuleKey } from "../../../src/core/module-key.ts";
import { raiseSocketBuffers } from "../../../src/net/socket-options.ts";
import {
  datagramFrame,
  HEADER_BYTES,
  MSG_API_GET_ROUTE_REQUEST,
  MSG_API_GET_ROUTE_RESPONSE,
  MSG_GET_HOST_REQUEST,
  MSG_GET_HOST_RESPONSE,
  MSG_REPORT_REQUEST,
  sealFrame,
} from "../../../src/wire/frame.ts";
import {
  decodeGetHostResponse,
  encodeGetHostRequest,
  type GetHostResponse,
  makeGetHostResponse,
} from "../../../src/wire/host-codec.ts";
import { encodeReportRequest, makeReportRequest } from "../../../src/wire/report-codec.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest } from "../../../src/wire/route-codec.ts";

/** The driver's pauses must not lose answers: the default holds 256 datagrams. */
const RECEIVE_BUFFER_BYTES = 1_048_576;
const SEND_BUFFER_BYTES = 262_144;
const OUT_BYTES = 512;

export interface LinkHandler {
  /** An answer to `pick`. The response is overwritten by the next one. */
  onPick(call: number, response: Readonly<GetHostResponse>): void;
  /** An answer to `askRoute`. */
  onRoute(module: ModuleKey, hosts: number): void;
}

export class AgentLink {
  /** Datagrams that the kernel did not take, or that were no answer to anything. */
  notSent = 0;
  notUnderstood = 0;
  readonly #out = new Uint8Array(OUT_BYTES);
  readonly #response = makeGetHostResponse();
  readonly #report = makeReportRequest();

  private constructor(
    private readonly socket: Bun.udp.ConnectedSocket<"uint8array">,
    private readonly handler: LinkHandler,
  ) {}

  static async open(port: number, handler: LinkHandler): Promise<AgentLink> {
    let link: AgentLink | undefined;
    const socket = await Bun.udpSocket({
      connect: { hostname: "127.0.0.1", port },
      binaryType: "uint8array",
      socket: {
        data: (_socket, datagram) => link?.receive(datagram),
        error: () => {
          // An agent that is gone refuses; its picks then get no answer, which is counted where they time out.
        },
      },
    });
    raiseSocketBuffers((socket as unknown as { fd?: number }).fd ?? -1, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES);
    link = new AgentLink(socket, handler);
    return link;
  }

  private receive(datagram: Uint8Array): void {
    const msgid = datagramFrame(datagram);
    if (msgid === MSG_GET_HOST_RESPONSE) {
      const response = this.#response;
      if (decodeGetHostResponse(datagram, HEADER_BYTES, datagram.length, response) && response.seq > 0) {
        this.handler.onPick(response.seq - 1, response);
        return;
      }
    } else if (msgid === MSG_API_GET_ROUTE_RESPONSE) {
      const route = decodeGetRouteResponse(datagram, HEADER_BYTES, datagram.length);
      if (route !== undefined) {
        this.handler.onRoute(route, route.hosts.length);
        return;
      }
    }
    this.notUnderstood++;
  }

  #send(msgid: number, end: number): void {
    try {
      if (this.socket.send(this.#out.subarray(0, sealFrame(this.#out, 0, msgid, end)))) return;
    } catch {
      // Refused by an agent that is gone.
    }
    this.notSent++;
  }

  /** Asks for a host; `call` from 0 up comes back with the answer. */
  pick(call: number, module: ModuleKey, hashKey: Uint8Array): void {
    const { modid, cmdid } = module;
    this.#send(MSG_GET_HOST_REQUEST, encodeGetHostRequest(this.#out, HEADER_BYTES, call + 1, modid, cmdid, hashKey));
  }

  /** Tells how a call went. `latencyUs` 0: the caller does not say. */
  report(module: ModuleKey, ip: number, port: number, succeeded: boolean, latencyUs: number): void {
    const report = this.#report;
    report.modid = module.modid;
    report.cmdid = module.cmdid;
    report.ip = ip;
    report.port = port;
    report.retcode = succeeded ? 0 : 1;
    report.latencyUs = latencyUs;
    this.#send(MSG_REPORT_REQUEST, encodeReportRequest(this.#out, HEADER_BYTES, report));
  }

  askRoute(module: ModuleKey): void {
    this.#send(MSG_API_GET_ROUTE_REQUEST, encodeGetRouteRequest(this.#out, HEADER_BYTES, module.modid, module.cmdid));
  }

  close(): void {
    this.socket.close();
  }
}
