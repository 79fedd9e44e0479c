import { describe, expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { OutageDismissal } from "../../src/dns/outage-dismissal.ts";
import { type AgentConnection, RoutePush } from "../../src/dns/route-push.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { encodeGetRouteRequest } from "../../src/wire/route-codec.ts";

class Rig {
  nowMs = 0;
  readonly closed: number[] = [];
  readonly push: RoutePush;
  readonly dismissal: OutageDismissal;
  #connections = 0;

  constructor() {
    const replica = new RouteReplica();
    const route = { modid: 1, cmdid: 1, revision: 5, name: "", policy: NO_CHOICE, hosts: [makeHost(1, 80)] };
    replica.apply({ revision: 5, routes: [route], names: [] });
    this.push = new RoutePush({
      replica,
      loaded: () => true,
      maxWatchesPerConnection: 10,
      maxWatches: 1_000,
      defer: () => {},
      nowMs: () => this.nowMs,
    });
    this.dismissal = new OutageDismissal(this.push);
  }

  /** `held`: the revision it says to hold; C++ agents say none. */
  connect(held: number): number {
    const id = ++this.#connections;
    const connection: AgentConnection = {
      id,
      remoteAddress: "10.0.0.9",
      remotePort: 1,
      writable: true,
      send: () => true,
      close: () => {
        this.closed.push(id);
        this.push.onClose(connection);
      },
    };
    this.push.onOpen(connection);
    const body = new Uint8Array(32);
    this.push.onFrame(connection, 1, body.subarray(0, encodeGetRouteRequest(body, 0, 1, 1, held)));
    return id;
  }

  /** The database says nothing at all for so long. */
  silent(ms: number): this {
    for (let silentForMs = 250; silentForMs <= ms; silentForMs += 250) {
      this.nowMs += 250;
      this.dismissal.tick(this.nowMs, false, silentForMs);
    }
    return this;
  }

  /** `failing` for so long, ticked every 250 ms. */
  pass(ms: number, failing: boolean): this {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += 250;
      this.dismissal.tick(this.nowMs, failing);
    }
    return this;
  }
}

describe("agents of an instance that has lost its database", () => {
  test("stay for 3 s, then are let go", () => {
    const rig = new Rig();
    rig.connect(5);
    rig.pass(3000, true);
    expect(rig.closed).toEqual([]);
    rig.pass(250, true);
    expect(rig.closed).toEqual([1]);
  });

  test("that says nothing at all stay for 7 s, as long as a cluster may take to lose a node, then are let go", () => {
    const rig = new Rig();
    rig.connect(5);
    rig.silent(6_750).pass(250, false);
    expect(rig.closed).toEqual([]);
    rig.silent(7_000);
    expect(rig.closed).toEqual([1]);
  });

  test("whose silence becomes a failure are let go by the silence's beginning", () => {
    const rig = new Rig();
    rig.connect(5);
    rig.silent(5_000).pass(2_000, true);
    expect(rig.closed).toEqual([1]);
  });

  test("stay through interruptions that are shorter, however many", () => {
    const rig = new Rig();
    rig.connect(5);
    for (let i = 0; i < 10; i++) rig.pass(2500, true).pass(250, false);
    expect(rig.closed).toEqual([]);
  });

  test("that come back, or come from elsewhere, are let go once an outage", () => {
    const rig = new Rig();
    rig.connect(5);
    rig.pass(3250, true);
    rig.connect(5);
    rig.pass(60_000, true);
    expect(rig.closed).toEqual([1]);
    rig.pass(1000, false).pass(3250, true);
    expect(rig.closed).toEqual([1, 2]);
  });

  test("that never said a revision may be C++ agents, which may not connect again: they stay", () => {
    const rig = new Rig();
    rig.connect(0);
    rig.connect(5);
    rig.pass(10_000, true);
    expect(rig.closed).toEqual([2]);
    expect(rig.push.counts.dismissed).toBe(1);
  });

  test("are let go 500 at a time", () => {
    const rig = new Rig();
    for (let i = 0; i < 1200; i++) rig.connect(5);
    rig.pass(3000, true);
    const gone: number[] = [];
    for (let i = 0; i < 4; i++) gone.push(rig.pass(250, true).closed.length);
    expect(gone).toEqual([500, 1000, 1200, 1200]);
  });
});
