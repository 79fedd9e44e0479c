import { describe, expect, test } from "bun:test";
import { HeldRoute } from "../../src/agent/held-route.ts";
import { type RouteAlarm, RouteSource } from "../../src/agent/route-source.ts";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE, type PolicyChoice } from "../../src/core/policies.ts";
import { HEADER_BYTES, MSG_GET_ROUTE_REQUEST, MSG_UNWATCH_ROUTE_REQUEST } from "../../src/wire/frame.ts";
import { decodeGetRouteRequest, encodeGetRouteResponse, type RouteContentToSend } from "../../src/wire/route-codec.ts";
import { FakeTcpClient } from "./fake-tcp-client.ts";

class Rig {
  nowMs = 1000;
  readonly routes: string[] = [];
  readonly policies: PolicyChoice[] = [];
  readonly alarms: (RouteAlarm | undefined)[] = [];
  maxVanishShare = 0.5;
  readonly client = new FakeTcpClient();
  readonly source: RouteSource;

  constructor(options: { maxModules?: number; open?: boolean } = {}) {
    this.source = new RouteSource({
      responseTimeoutMs: () => 500,
      probeIntervalMs: () => 5000,
      maxVanishShare: () => this.maxVanishShare,
      maxModules: options.maxModules ?? 100,
      nowMs: () => this.nowMs,
      onRoute: (route) => {
        const { modid, cmdid, revision, policy } = route;
        const hosts = route.hosts.unpack();
        this.routes.push(`${modid}.${cmdid} at ${revision}: ${hosts.map(({ ip }) => ip).join(" ")}`);
        this.policies.push(policy);
      },
      onAlarm: (alarm) => this.alarms.push(alarm),
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
      return `${what} ${key.modid}.${key.cmdid}${key.revision === 0 ? "" : ` at ${key.revision}`}`;
    });
  }
  answer(modid: number, revision: number, hosts: readonly Host[] = [makeHost(9, 80)], meant = true): this {
    return this.hear({ modid, cmdid: 1, revision, hosts, meant });
  }
  unchanged(modid: number, revision: number): this {
    return this.hear({ modid, cmdid: 1, revision, hosts: [], unchanged: true });
  }
  hear(route: RouteContentToSend): this {
    const { frame } = encodeGetRouteResponse(route);
    this.source.onFrame(2, frame.subarray(HEADER_BYTES));
    return this;
  }
  reconnected(): this {
    this.source.onClose();
    this.client.frames();
    this.source.onOpen();
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
    expect(rig.sent()).toEqual(["ask 1.1 at 5"]);
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
    expect(rig.sent().sort()).toEqual(["ask 1.1 at 5", "ask 2.1", "ask 3.1"]);
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
    rig.source.resume(HeldRoute.of({ modid: 1, cmdid: 1, revision: 50, hosts: [makeHost(9, 80)], policy: NO_CHOICE }));
    rig.answer(1, 49).answer(1, 50);
    expect(rig.routes).toEqual(["1.1 at 50: 9"]);
    expect(rig.sent()).toEqual(["ask 1.1 at 50"]);
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

describe("another connection", () => {
  test("is asked with the revisions that are held, and what it says is unchanged goes on as it is", () => {
    const rig = new Rig().want(1, 2).answer(1, 5).answer(2, 6, []).reconnected();
    // Of an empty module there is nothing that need not be told again.
    expect(rig.sent()).toEqual(["ask 1.1 at 5", "ask 2.1"]);
    rig.routes.length = 0;
    rig.unchanged(1, 5).wait(501);
    expect(rig.routes).toEqual(["1.1 at 5: 9"]);
    expect(rig.source.counts).toMatchObject({ unchanged: 1, malformed: 0 });
  });

  test("is asked for a route of which hosts were left out without its revision, and one from the snapshot likewise", () => {
    const rig = new Rig().want(1).hear({ modid: 1, cmdid: 1, revision: 5, hosts: [makeHost(9, 80)], partial: true });
    expect(rig.routes).toEqual(["1.1 at 5: 9"]);
    const part = { modid: 2, cmdid: 1, revision: 5, hosts: [makeHost(9, 80)], policy: NO_CHOICE, partial: true };
    rig.source.resume(HeldRoute.of(part));
    rig.reconnected();
    expect(rig.sent()).toEqual(["ask 1.1", "ask 2.1"]);
  });

  test("that says unchanged of a revision that is not held, or of a module of which nothing is, is not believed", () => {
    const rig = new Rig().want(1, 2).answer(1, 5);
    rig.unchanged(1, 6).unchanged(2, 5);
    expect(rig.routes).toEqual(["1.1 at 5: 9"]);
    expect(rig.source.counts).toMatchObject({ unchanged: 0, malformed: 2 });
  });

  test("that lags, with an older route or with none of that name yet, changes nothing until it has caught up", () => {
    const rig = new Rig().want(1, 2).answer(1, 50).answer(2, 60).reconnected();
    rig.routes.length = 0;
    rig.answer(1, 40, [makeHost(8, 80)]).answer(2, 45, [], false);
    expect([rig.routes, rig.source.ahead, rig.source.keptModules]).toEqual([[], 2, 0]);
    rig.answer(1, 51, [makeHost(7, 80)]).answer(2, 60);
    expect([rig.routes, rig.source.ahead]).toEqual([["1.1 at 51: 7", "2.1 at 60: 9"], 0]);
    expect(rig.source.counts.stale).toBe(2);
  });

  test("that never knew a module the agent holds nothing of says nothing about the module's revision", () => {
    const rig = new Rig().want(1).answer(1, 900, [], false);
    expect(rig.routes).toEqual(["1.1 at 0: "]);
    // The right database, where the module has been for long.
    rig.reconnected().answer(1, 50);
    expect(rig.routes.at(-1)).toBe("1.1 at 50: 9");
    // There it is removed on purpose, and an instance that lags does not bring it back.
    rig.answer(1, 51, []).reconnected().answer(1, 50);
    expect(rig.routes.at(-1)).toBe("1.1 at 51: ");
  });
});

describe("hosts that are gone", () => {
  const hosts = (count: number): Host[] => Array.from({ length: count }, (_, i) => makeHost(i + 1, 80));

  test("on purpose are let go, all of them too", () => {
    const rig = new Rig().want(1).answer(1, 5, hosts(3)).answer(1, 6, []);
    expect(rig.routes.at(-1)).toBe("1.1 at 6: ");
    expect(rig.wait(250).alarms).toEqual([]);
  });

  test("and nobody says on purpose are kept, with one alarm that names how many, until somebody does", () => {
    const rig = new Rig().want(1, 2).answer(1, 5, hosts(3)).answer(2, 6, hosts(2));
    rig.routes.length = 0;
    rig.answer(1, 7, [], false).answer(2, 7, [], false).wait(250).wait(250);
    expect(rig.routes).toEqual([]);
    expect(rig.alarms).toEqual([
      {
        modules: 2,
        hosts: 5,
        first: [
          { modid: 1, cmdid: 1 },
          { modid: 2, cmdid: 1 },
        ],
      },
    ]);
    expect(rig.source.kept(1, 1)).toEqual({ told: 0, forMs: 500 });
    expect([rig.source.keptModules, rig.source.keptHosts, rig.source.counts.kept]).toEqual([2, 5, 2]);
    // Asked for again, without a revision: what is held is not what the server says.
    rig.sent();
    expect(rig.want(1).sent()).toEqual(["ask 1.1"]);
    rig.answer(1, 8, []).answer(2, 8, hosts(2)).wait(250);
    expect(rig.routes).toEqual(["1.1 at 8: ", "2.1 at 8: 1 2"]);
    expect([rig.alarms.length, rig.alarms[1], rig.source.kept(1, 1)]).toEqual([2, undefined, undefined]);
  });

  test("of all modules, said by a server that gives no revisions: those that went first come back", () => {
    const rig = new Rig();
    for (let modid = 0; modid < 10; modid++) rig.want(modid).answer(modid, 0, hosts(1), false);
    for (let modid = 0; modid < 10; modid++) rig.answer(modid, 0, [], false);
    const last = new Map(rig.routes.map((line) => line.split(" at 0: ") as [string, string]));
    expect([...last.values()]).toEqual(new Array(10).fill("1"));
    expect(rig.source.counts).toMatchObject({ kept: 5, takenBack: 5 });
    expect(rig.source.keptModules).toBe(10);
  });

  test("of one module of ten, said by such a server, are let go", () => {
    const rig = new Rig();
    for (let modid = 0; modid < 10; modid++) rig.want(modid).answer(modid, 0, hosts(1), false);
    rig.answer(4, 0, [], false);
    expect(rig.routes.at(-1)).toBe("4.1 at 0: ");
    expect(rig.source.keptModules).toBe(0);
  });

  test("come back with the revision they had: an instance that has the route as it was is not too old then", () => {
    const rig = new Rig().want(1, 2).answer(1, 5, hosts(10)).answer(2, 5, hosts(10));
    rig.answer(1, 7, hosts(5), false).answer(2, 7, hosts(4), false);
    expect(rig.routes.slice(2)).toEqual([
      "1.1 at 7: 1 2 3 4 5",
      `1.1 at 0: ${hosts(10)
        .map(({ ip }) => ip)
        .join(" ")}`,
    ]);
    rig.answer(1, 6, hosts(9));
    expect(rig.routes.at(-1)).toBe(
      `1.1 at 6: ${hosts(9)
        .map(({ ip }) => ip)
        .join(" ")}`,
    );
  });

  test("are asked for when what may be believed has changed, and let go when it is enough", () => {
    const rig = new Rig().want(1).answer(1, 0, hosts(3), false).answer(1, 0, hosts(1), false);
    rig.sent();
    rig.maxVanishShare = 1;
    rig.source.askKept();
    expect(rig.sent()).toEqual(["ask 1.1"]);
    rig.answer(1, 0, hosts(1), false);
    expect([rig.routes.at(-1), rig.source.keptModules]).toEqual(["1.1 at 0: 1", 0]);
  });

  test("of a module that is forgotten are kept no longer", () => {
    const rig = new Rig().want(1).answer(1, 5, hosts(3)).answer(1, 6, [], false).wait(250);
    rig.source.forget(1, 1);
    rig.wait(250);
    expect([rig.source.keptModules, rig.alarms.length, rig.alarms[1]]).toEqual([0, 2, undefined]);
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
    expect(rig.sent()).toEqual(["ask 1.1 at 5"]);
    rig.unchanged(1, 5).wait(4999);
    expect(rig.sent()).toEqual([]);
    rig.wait(1).wait(501);
    expect(rig.sent()).toEqual(["ask 1.1 at 5"]);
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
