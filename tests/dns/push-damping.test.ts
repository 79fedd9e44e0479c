// What agents are told of a service that crashes and restarts in a circle, and what the record and HTTP say meanwhile.
import { expect, test } from "bun:test";
import { makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { RoutePush } from "../../src/dns/route-push.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { HEADER_BYTES } from "../../src/wire/frame.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest } from "../../src/wire/route-codec.ts";
import { ManualClock } from "../support/manual-clock.ts";

class Rig {
  readonly clock = new ManualClock();
  readonly replica = new RouteReplica();
  /** "second: hosts" of each frame to the agent. */
  readonly got: string[] = [];
  readonly push: RoutePush;
  readonly #connection = {
    ...{ id: 1, remoteAddress: "10.0.0.9", remotePort: 1, writable: true, close() {} },
    send: (frame: Uint8Array) => {
      const { hosts, unchanged } = decodeGetRouteResponse(frame, HEADER_BYTES, frame.length)!;
      const shown = unchanged === true ? "unchanged" : hosts.map(({ ip }) => ip).join(" ");
      this.got.push(`${this.clock.nowMs() / 1000}: ${shown}`);
      return true;
    },
  };
  #revision = 0;

  constructor() {
    this.push = new RoutePush({
      replica: this.replica,
      loaded: () => true,
      maxWatchesPerConnection: 10,
      maxWatches: 1_000,
      defer: (work) => work(),
      nowMs: () => this.clock.nowMs(),
      setTimer: (delayMs, run) => this.clock.setTimer(delayMs, run),
    });
    this.push.onOpen(this.#connection);
  }
  ask(held = 0): this {
    const body = new Uint8Array(40);
    this.push.onFrame(this.#connection, 1, body.subarray(0, encodeGetRouteRequest(body, 0, 1, 1, held)));
    return this;
  }
  /** 1 is an operator's host, the others are leased. */
  is(...ips: number[]): this {
    const hosts = ips.map((ip) => makeHost(ip, 80, ip === 1 ? {} : { leased: true }));
    const routes = [{ modid: 1, cmdid: 1, revision: ++this.#revision, name: "", policy: NO_CHOICE, hosts }];
    this.push.onChange(this.replica.apply({ revision: this.#revision, routes, names: [] }));
    return this;
  }
  after(ms: number): this {
    this.clock.advance(ms);
    return this;
  }
  get revision(): number {
    return this.#revision;
  }
}

test("20 crashes in 40 s are 5 pushes to the agent and one when it stays, while the record has every step", () => {
  const rig = new Rig().is(1, 2).ask();
  for (let i = 0; i < 20; i++) {
    rig.after(1_000).is(1);
    expect(rig.replica.route(1, 1)?.hosts.length).toBe(1);
    rig.after(1_000).is(1, 2);
    expect(rig.replica.route(1, 1)?.hosts.length).toBe(2);
  }
  expect(rig.got).toEqual(["0: 1 2", "1: 1", "2: 1 2", "3: 1", "4: 1 2", "5: 1"]);
  expect([rig.push.leftOut, rig.push.counts.spared, rig.push.counts.pushes]).toEqual([1, 35, 5]);
  rig.after(10_500);
  expect([rig.got.slice(6), rig.push.leftOut]).toEqual([["50: 1 2"], 0]);
});

test("an agent that asks while a host is left out is not told of it, nor that nothing changed; afterwards it may be", () => {
  const rig = new Rig().is(1, 2);
  for (let i = 0; i < 3; i++) rig.after(1_000).is(1).after(1_000).is(1, 2);
  rig.ask(rig.revision).ask(rig.revision);
  expect(rig.got).toEqual(["6: 1", "6: 1"]);
  rig.after(11_000).ask(rig.revision);
  expect(rig.got.slice(2)).toEqual(["16: 1 2", "17: unchanged"]);
});

test("the only host of a module is told of however often it comes back", () => {
  const rig = new Rig().is(2).ask();
  for (let i = 0; i < 5; i++) rig.after(1_000).is().after(1_000).is(2);
  expect(rig.got.at(-1)).toBe("10: 2");
  expect(rig.got).toHaveLength(11);
});

test("its timer ends with it, and there is none while nothing flaps", () => {
  const rig = new Rig().is(1, 2, 3);
  expect(rig.clock.pendingTimers).toBe(0);
  rig.is(1, 2);
  expect(rig.clock.pendingTimers).toBe(1);
  rig.after(61_000);
  expect(rig.clock.pendingTimers).toBe(0);
  rig.is(1);
  rig.push.stop();
  expect(rig.clock.pendingTimers).toBe(0);
});
