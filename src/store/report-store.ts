// The port to the database that keeps call statistics: the original's ServerCallStatus, with wider counts, and a cursor
// per (agent instance, module, host) so that running totals can be added up exactly (core/call-totals.ts).
import type { Endpoint } from "../core/endpoint.ts";
import type { ModuleKey } from "../core/module-key.ts";

interface ReportedHost extends ModuleKey, Endpoint {
  /** The agent's IPv4, signed host-order int32. */
  readonly caller: number;
  readonly succ: number;
  readonly err: number;
  /** The agent holds the host ejected. */
  readonly overload: boolean;
  /** Unix seconds. */
  readonly ts: number;
}

/** From our agents: totals since `instance` (16 hex digits) began, modulo 2^32. */
export interface RunningTotal extends ReportedHost {
  readonly instance: string;
  readonly seq: number;
}

/** From C++ agents: the counters of their current window; they overwrite. */
export interface WindowCount extends ReportedHost {
  /** It waited through an outage: what is stored with a later `ts` came from elsewhere meanwhile, and stays. */
  readonly late?: boolean;
}

export interface StatusRow extends ModuleKey, Endpoint {
  readonly caller: number;
  readonly succ: number;
  readonly err: number;
  readonly overload: boolean;
  readonly ts: number;
}

export interface StatusFilter {
  readonly modid?: number | undefined;
  readonly cmdid?: number | undefined;
  readonly limit: number;
  /** Rows after this one, in (modid, cmdid, ip, port, caller) order: modid and cmdid signed, the others unsigned. */
  readonly after?: readonly [number, number, number, number, number] | undefined;
}

export interface ReportStore {
  /**
   * Applies a batch in one transaction. Each key occurs at most once per list. Repeating a batch changes nothing
   * (running totals) or nothing new (window counts), so a batch whose commit went unanswered may be sent again.
   * @throws StoreUnavailable when the database cannot be reached or does not answer in time
   */
  apply(totals: readonly RunningTotal[], windows: readonly WindowCount[]): Promise<void>;
  status(filter: StatusFilter): Promise<readonly StatusRow[]>;
  /**
   * Forgets the cursors of instances that have not reported since `beforeMs`, and that there were such instances when they
   * have not since `forgetBeforeMs`. Returns how many instances lost their cursors. One that reports again all the same is
   * counted from the first totals it tells of each host: its calls in between are missing, where without a memory of it
   * all its calls would be counted twice.
   */
  pruneCursors(beforeMs: number, forgetBeforeMs: number): Promise<number>;
}
