import { describe, expect, test } from "bun:test";
import { RouteSource } from "../../src/agent/route-source.ts";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import { HEADER_BYTES, MSG_GET_ROUTE_REQUEST, MSG_UNWATCH_ROUTE_REQUEST } from "../../src/wire/frame.ts";
import { decodeGetRouteRequest, encodeGetRouteResponse } from "../../src/wire/route-codec.ts";
import { FakeTcpClient } from "./fake-tcp-client.ts";

class Rig {
  nowMs = 1000;
  readonly routes: string[] = [];
  readonly policies: PolicyChoice[] = [];
  readonly client = new FakeTcpClient();
  readonly source: RouteSource;

  constructor(options: { maxModules?: number; open?: boolean } = {}) {
    this.source = new RouteSource({
      responseTimeoutMs: () => 500,
      maxModules: options.maxModules ?? 100,
      nowMs: () => this.nowMs,
      onRoute: ({ modid, cmdid, revision, hosts, policy }) => {
        this.routes.push(`${modid}.${cmdid} at ${revision}: ${hosts.map(({ ip }) => ip).join(" ")}`);
        this.policies.push(policy);
      },
    });
    this.source.attach(this.client);
    if (options.open !== false) this.source.onOpen();
  }

  want(...modids: number[]): this {
    for (const modid of modids) this.source.want(modid, 1);
    return this;
  }
  /** What was sent since the last call: "ask 1.1", "unwatch 2.1". */
  sent(): string[] {
    return this.client.frames().map(({ msgid, body }) => {
      const key = { modid: 0, cmdid: 0, revision: 0 };
      expect(decodeGetRouteRequest(body, 0, body.length, key)).toBe(true);
      const what = { [MSG_GET_ROUTE_REQUEST]: "ask", [MSG_UNWATCH_ROUTE_REQUEST]: "unwatch" }[msgid];
      return `${what} ${key.modid}.${key.cmdid}`;
    });
  }
  answer(modid: number, revision: number, hosts: readonly Host[] = [makeHost(9, 80)]): this {
    const { frame } = encodeGetRouteResponse({ modid, cmdid: 1, revision, hosts });
    this.source.onFrame(2, frame.subarray(HEADER_BYTES));
    return this;
  }
  wait(ms: number): this {
    this.nowMs += ms;
    this.source.tick();
    return this;
  }
}

describe("asking", () => {
  test("a module is asked for once until it is answered, then again when wanted again", () => {
    const rig = new Rig().want(1, 1, 2, 1);
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1"]);
    rig.answer(1, 5).want(1, 2);
    expect(rig.sent()).toEqual(["ask 1.1"]);
    expect(rig.routes).toEqual(["1.1 at 5: 9"]);
  });

  test("while nobody is connected nothing is asked; when a connection opens everything wanted is, old and new", () => {
    const rig = new Rig({ open: false }).want(1, 2);
    expect(rig.sent()).toEqual([]);
    rig.source.onOpen();
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1"]);
    rig.answer(1, 5).source.onClose();
    rig.want(3);
    expect(rig.sent()).toEqual([]);
    rig.source.onOpen();
    expect(rig.sent().sort()).toEqual(["ask 1.1", "ask 2.1", "ask 3.1"]);
  });

  test("what a full connection does not take is asked for when it drains", () => {
    const rig = new Rig();
    rig.client.room = 2;
    rig.want(1, 2, 3, 4);
    // The second filled it: it counts as not taken and is asked for again.
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1"]);
    rig.client.room = Number.POSITIVE_INFINITY;
    rig.source.onDrain();
    expect(rig.sent()).toEqual(["ask 2.1", "ask 3.1", "ask 4.1"]);
    rig.source.onDrain();
    expect(rig.sent()).toEqual([]);
  });

  test("more modules than the bound are refused and counted; those wanted already are not", () => {
    const rig = new Rig({ maxModules: 2 }).want(1, 2, 3);
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1"]);
    expect([rig.source.size, rig.source.counts.refused]).toEqual([2, 1]);
    rig.source.forget(1, 1);
    rig.want(3);
    expect(rig.sent()).toEqual(["unwatch 1.1", "ask 3.1"]);
  });

  test("a module that is forgotten is unwatched, not asked for at the next connection, and its late answer is dropped", () => {
    const rig = new Rig().want(1, 2);
    rig.source.forget(1, 1);
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1", "unwatch 1.1"]);
    rig.answer(1, 5);
    expect([rig.routes.length, rig.source.counts.unasked]).toEqual([0, 1]);
    rig.source.onClose();
    rig.source.forget(2, 1);
    rig.source.onOpen();
    expect(rig.sent()).toEqual([]);
  });
});

describe("answers", () => {
  test("a route older than the last one is ignored; the same again and one without a revision are taken", () => {
    const rig = new Rig().want(1).answer(1, 5).answer(1, 4).answer(1, 5, []).answer(1, 0).answer(1, 3);
    expect(rig.routes).toEqual(["1.1 at 5: 9", "1.1 at 5: ", "1.1 at 0: 9", "1.1 at 3: 9"]);
    expect(rig.source.counts.stale).toBe(1);
  });

  test("a route older than the snapshot's is ignored", () => {
    const rig = new Rig();
    rig.source.want(1, 1, 50);
    rig.answer(1, 49).answer(1, 50);
    expect(rig.routes).toEqual(["1.1 at 50: 9"]);
  });

  test("a policy comes with its route; what is not known of it is left out and counted", () => {
    const rig = new Rig().want(1).answer(1, 5);
    const newer = { name: "adaptive", parameters: { decay: 2, min_calls: 0 } } as const;
    const { frame } = encodeGetRouteResponse({
      modid: 1,
      cmdid: 1,
      revision: 6,
      hosts: [makeHost(9, 80)],
      policy: newer,
    });
    rig.source.onFrame(2, frame.subarray(HEADER_BYTES));
    expect(rig.policies).toEqual([NO_CHOICE, { name: "adaptive", parameters: { decay: 2 } }]);
    expect(rig.source.counts.ignoredPolicyParts).toBe(1);
  });

  test("what is no route, and a route all of whose hosts are unusable, changes nothing and is counted", () => {
    const rig = new Rig().want(1);
    rig.source.onFrame(2, new Uint8Array([0x08]));
    rig.source.onFrame(99, new Uint8Array(0));
    rig.answer(1, 5, [{ ...makeHost(1, 80), port: 0 }]);
    expect(rig.routes).toEqual([]);
    expect(rig.source.counts).toMatchObject({ malformed: 2, unknownFrames: 1 });
  });
});

describe("a server that does not answer", () => {
  test("is left after response_timeout; one that answers others meanwhile is given as long again", () => {
    const rig = new Rig().want(1, 2).wait(400).answer(2, 5).wait(400);
    expect(rig.client.reconnects).toEqual([]);
    expect(rig.wait(101).client.reconnects).toEqual(["no answer for 501 ms"]);
    expect(rig.source.counts.silences).toBe(1);
  });

  test("is asked now and then although nothing is wanted, and left when it does not answer that", () => {
    const rig = new Rig().want(1).answer(1, 5);
    rig.sent();
    rig.wait(4999);
    expect(rig.sent()).toEqual([]);
    rig.wait(1);
    expect(rig.sent()).toEqual(["ask 1.1"]);
    rig.answer(1, 5).wait(4999);
    expect(rig.sent()).toEqual([]);
    rig.wait(1).wait(501);
    expect(rig.sent()).toEqual(["ask 1.1"]);
    expect(rig.client.reconnects).toHaveLength(1);
  });

  test("is not judged while it is not connected, nor by a request of an earlier connection", () => {
    const rig = new Rig().want(1);
    rig.source.onClose();
    expect(rig.wait(10_000).client.reconnects).toEqual([]);
    rig.source.onOpen();
    expect(rig.wait(499).client.reconnects).toEqual([]);
    expect(rig.wait(2).client.reconnects).toHaveLength(1);
  });
});
