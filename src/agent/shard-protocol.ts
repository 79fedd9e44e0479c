// What the agent's main thread and its shard workers say to each other, and shards among themselves. Picks and reports
// that come by UDP never take this way; routes, HTTP calls and control do.

import type { StatisticsBlock } from "../core/call-statistics.ts";
import type { Endpoint } from "../core/endpoint.ts";
import type { BalancerSettings } from "../core/make-balancer.ts";
import type { OpenUdp } from "../net/udp-batch.ts";
import type { UdpAddress } from "../net/udp-socket.ts";
import type { LogFields, LogLevel } from "../platform/log.ts";
import type { DescriptionPiece } from "./shard-description.ts";
import type { DoorbellState } from "./shard-doorbell.ts";
import type { CallsCounted, ModuleInHand } from "./shard-lending.ts";
import type { ModuleLimits, ResolveAnswer, RouteUpdate } from "./shard-modules.ts";

export interface ShardSettings {
  readonly limits: ModuleLimits;
  /** For modules that name no policy of their own. */
  readonly balancer: BalancerSettings;
}

export interface ShardStart {
  readonly type: "start";
  readonly index: number;
  readonly shards: number;
  readonly hostname: string;
  readonly port: number;
  readonly receiveBufferBytes: number;
  /** Bound already, to be read by system call; undefined where the shard is to bind one of Bun's. */
  readonly socket: OpenUdp | undefined;
  readonly doorbell: DoorbellState;
  readonly settings: ShardSettings;
  /** Statistics of a predecessor that died; its successor goes on counting in them. */
  readonly blocks: readonly StatisticsBlock[];
  readonly maxStatisticsEntries: number;
  readonly counters: Float64Array<SharedArrayBuffer>;
}

/** A report as HTTP callers give it. */
export interface CallReport {
  readonly modid: number;
  readonly cmdid: number;
  readonly ip: number;
  readonly port: number;
  readonly succeeded: boolean;
  readonly latencyUs: number;
}

export type ToShard =
  | ShardStart
  /** `socket`, `doorbell`: the sibling's. */
  | {
      readonly type: "peer";
      readonly shard: number;
      readonly port: MessagePort;
      readonly socket: OpenUdp | undefined;
      readonly doorbell: DoorbellState;
    }
  | { readonly type: "routes"; readonly routes: readonly RouteUpdate[] }
  | { readonly type: "configure"; readonly settings: ShardSettings }
  /** Picks (pick-batch.ts). */
  | Int32Array
  | {
      readonly type: "resolve";
      readonly id: number;
      readonly modid: number;
      readonly cmdid: number;
      readonly limit: number;
    }
  | { readonly type: "report"; readonly reports: readonly CallReport[] }
  /** Some hosts at a time; `after`: the last that was described. */
  | {
      readonly type: "describe";
      readonly id: number;
      readonly modid: number;
      readonly cmdid: number;
      readonly after: Endpoint | undefined;
    }
  /** The main thread would have the module (shard-lending.ts). */
  | { readonly type: "lend"; readonly modid: number; readonly cmdid: number }
  /** The main thread has it no more. `back`: what became of it there, where that is news. */
  | {
      readonly type: "returned";
      readonly modid: number;
      readonly cmdid: number;
      readonly back: ModuleInHand | undefined;
    }
  /** modid, cmdid, modid, …: lent ones that are in use. */
  | { readonly type: "used"; readonly modules: readonly number[] }
  /** Calls to hosts of lent modules. */
  | { readonly type: "counted"; readonly calls: readonly CallsCounted[] }
  | { readonly type: "stop" };

/** `ip`, `port`: only when picked. */
export type PickAnswer =
  | { readonly outcome: "host"; readonly ip: number; readonly port: number }
  | { readonly outcome: "shedding" | "resolving" | "unknown" };

export type FromShard =
  | { readonly type: "ready"; readonly port: number; readonly receiveBufferBytes: number }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "block"; readonly block: StatisticsBlock }
  | { readonly type: "want"; readonly modid: number; readonly cmdid: number }
  | { readonly type: "forget"; readonly modid: number; readonly cmdid: number }
  /** Answers to picks (pick-batch.ts). */
  | Int32Array
  /** The answer to "lend". `granted` undefined: UDP callers ask for it, or it has no route. */
  | {
      readonly type: "lent";
      readonly modid: number;
      readonly cmdid: number;
      readonly granted: ModuleInHand | undefined;
    }
  | { readonly type: "recall"; readonly modid: number; readonly cmdid: number }
  | { readonly type: "resolved"; readonly id: number; readonly answer: ResolveAnswer }
  | { readonly type: "described"; readonly id: number; readonly piece: DescriptionPiece | undefined }
  | { readonly type: "log"; readonly level: LogLevel; readonly message: string; readonly fields: LogFields }
  | { readonly type: "stopped" };

/** Between shards. Every batch is acknowledged by its size, so that the sender can bound what is under way. */
export interface PeerBatch {
  readonly requests: readonly PeerDatagram[];
  readonly replies: readonly PeerDatagram[];
  /** How many of the receiver's requests were taken up. */
  readonly taken: number;
}

export interface PeerDatagram {
  /** A request's: the shard it came from before, where that is not the sender. */
  readonly via?: number | undefined;
  readonly bytes: Uint8Array;
  readonly port: number;
  readonly address: UdpAddress;
}
