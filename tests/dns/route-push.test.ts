import { describe, expect, test } from "bun:test";
import { type Host, makeHost } from "../../src/core/assignment.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { type AgentConnection, RoutePush } from "../../src/dns/route-push.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { HEADER_BYTES, MSG_UNWATCH_ROUTE_REQUEST, readInt32 } from "../../src/wire/frame.ts";
import { decodeGetRouteResponse, encodeGetRouteRequest, type GetRouteResponse } from "../../src/wire/route-codec.ts";

class FakeConnection implements AgentConnection {
  readonly remoteAddress = "10.0.0.9";
  readonly remotePort = 4711;
  writable = true;
  readonly frames: Uint8Array[] = [];
  /** Frames taken until it is full. */
  room = Number.POSITIVE_INFINITY;
  closed = false;

  constructor(readonly id: number) {}

  send(bytes: Uint8Array): boolean {
    expect(this.writable).toBe(true);
    this.frames.push(bytes);
    this.writable = --this.room > 0;
    return this.writable;
  }
  close(): void {
    this.closed = true;
  }
  routes(): GetRouteResponse[] {
    return this.frames.splice(0).map((frame) => {
      expect(readInt32(frame, 4)).toBe(frame.length - HEADER_BYTES);
      return decodeGetRouteResponse(frame, HEADER_BYTES, frame.length)!;
    });
  }
  /** "1.1@5: 1 2" or "1.1@5 unchanged" for each frame since the last call. */
  got(): string[] {
    return this.routes().map(({ modid, cmdid, revision, hosts, unchanged }) => {
      const ips = hosts.map(({ ip }) => ip).join(" ");
      return `${modid}.${cmdid}@${revision}${unchanged ? " unchanged" : `: ${ips}`}`;
    });
  }
}

class Rig {
  nowMs = 0;
  loaded = true;
  readonly replica = new RouteReplica();
  readonly push: RoutePush;
  #deferred: (() => void)[] = [];
  #connections = 0;

  constructor(maxWatchesPerConnection = 100, maxWatches = 100_000) {
    this.push = new RoutePush({
      replica: this.replica,
      loaded: () => this.loaded,
      maxWatchesPerConnection,
      maxWatches,
      defer: (work) => this.#deferred.push(work),
      nowMs: () => this.nowMs,
    });
  }
  connect(): FakeConnection {
    const connection = new FakeConnection(++this.#connections);
    this.push.onOpen(connection);
    return connection;
  }
  ask(connection: FakeConnection, modid: number, msgid = 1, held = 0): this {
    const body = new Uint8Array(32);
    this.push.onFrame(connection, msgid, body.subarray(0, encodeGetRouteRequest(body, 0, modid, 1, held)));
    return this;
  }
  /** As an agent that has the route at this revision. */
  resume(connection: FakeConnection, modid: number, held: number): this {
    return this.ask(connection, modid, 1, held);
  }
  change(modid: number, revision: number, ...hosts: (number | Host)[]): this {
    const list = hosts.map((host) => (typeof host === "number" ? makeHost(host, 80) : host));
    const routes = [{ modid, cmdid: 1, revision, name: "", policy: NO_CHOICE, hosts: list }];
    this.push.onChange(this.replica.apply({ revision, routes, names: [] }));
    return this;
  }
  /** One turn of the event loop. */
  turn(): this {
    for (const work of this.#deferred.splice(0)) work();
    return this;
  }
  get idle(): boolean {
    return this.#deferred.length === 0;
  }
}

describe("a request", () => {
  test("is answered with the route as it is; one for no module with no hosts, at the newest revision", () => {
    const rig = new Rig().change(1, 5, 8, 9);
    const agent = rig.connect();
    rig.ask(agent, 1).ask(agent, 2).turn();
    expect(agent.got()).toEqual(["1.1@5: 8 9", "2.1@5: "]);
    expect(rig.idle).toBe(true);
  });

  test("repeated a hundred times before the answer left is answered once; asked again later it is answered again", () => {
    const rig = new Rig().change(1, 5, 8);
    const agent = rig.connect();
    for (let i = 0; i < 100; i++) rig.ask(agent, 1);
    rig.turn();
    expect(agent.got()).toEqual(["1.1@5: 8"]);
    rig.ask(agent, 1).turn();
    expect(agent.got()).toHaveLength(1);
    expect(rig.push.counts.requests).toBe(101);
  });

  test('that comes before the routes were loaded is answered when they are, and not with "no such module"', () => {
    const rig = new Rig();
    rig.loaded = false;
    const agent = rig.connect();
    rig.ask(agent, 1).turn();
    expect(agent.got()).toEqual([]);
    rig.change(1, 5, 8).turn();
    expect(agent.got()).toEqual([]);
    rig.loaded = true;
    rig.push.onLoaded();
    rig.turn();
    expect(agent.got()).toEqual(["1.1@5: 8"]);
  });

  test("that is no request is counted and disturbs nothing", () => {
    const rig = new Rig().change(1, 5, 8);
    const agent = rig.connect();
    rig.push.onFrame(agent, 1, new Uint8Array([0x08]));
    rig.push.onFrame(agent, 99, new Uint8Array(0));
    rig.push.onFrame(new FakeConnection(77), 1, new Uint8Array(0));
    rig.ask(agent, 1).turn();
    expect(agent.got()).toEqual(["1.1@5: 8"]);
    expect(rig.push.counts).toMatchObject({ malformed: 1, unknownFrames: 1, requests: 1 });
  });

  test("of an empty body is one for module 0.0", () => {
    const rig = new Rig();
    const agent = rig.connect();
    rig.push.onFrame(agent, 1, new Uint8Array(0));
    rig.turn();
    expect(agent.got()).toEqual(["0.0@1: "]);
  });
});

describe("a request that names a revision", () => {
  test("is answered with `unchanged` when that is the route's, and with the route at any other, older or newer", () => {
    const rig = new Rig().change(1, 5, 8);
    const agent = rig.connect();
    rig.resume(agent, 1, 5).turn();
    expect(agent.got()).toEqual(["1.1@5 unchanged"]);
    for (const held of [4, 6]) rig.resume(agent, 1, held).turn();
    expect(agent.got()).toEqual(["1.1@5: 8", "1.1@5: 8"]);
    expect(rig.push.counts).toMatchObject({ frames: 3, unchanged: 1 });
  });

  test("subscribes all the same, and a change that comes before the answer is sent in its place", () => {
    const rig = new Rig().change(1, 5, 8);
    const agent = rig.connect();
    rig.resume(agent, 1, 5).change(1, 6, 9).turn();
    expect(agent.got()).toEqual(["1.1@6: 9"]);
    rig.change(1, 7, 8).resume(agent, 1, 6).turn();
    expect(agent.got()).toEqual(["1.1@7: 8"]);
  });

  test("of a route too large for one frame is answered with hosts: the agent has not seen all of them", () => {
    const rig = new Rig().change(1, 5, ...Array.from({ length: 12_000 }, (_, i) => makeHost(0x0a00_0000 + i, 8000)));
    const agent = rig.connect();
    rig.resume(agent, 1, 5).turn();
    expect(agent.routes()).toMatchObject([{ unchanged: false, partial: true }]);
    expect(rig.push.counts).toMatchObject({ unchanged: 0, oversize: 1 });
  });

  test("of a module that was never known here is answered with no hosts", () => {
    const rig = new Rig().change(2, 5, 8);
    const agent = rig.connect();
    rig.resume(agent, 1, 5).turn();
    expect(agent.got()).toEqual(["1.1@5: "]);
  });
});

describe("what is sent is meant", () => {
  test("unless so many hosts vanished at once that nobody may have meant it, or the module was never known here", () => {
    const rig = new Rig().change(1, 5, 8).change(2, 6);
    const agent = rig.connect();
    rig.ask(agent, 1).ask(agent, 2).ask(agent, 3).turn();
    expect(agent.routes().map(({ modid, meant }) => [modid, meant])).toEqual([
      [1, true],
      [2, true],
      [3, false],
    ]);
    const marked = { modid: 1, cmdid: 1, name: "", policy: NO_CHOICE, hosts: [], vanishedFrom: 1 };
    rig.push.onChange(rig.replica.apply({ revision: 7, routes: [{ ...marked, revision: 7 }], names: [] }));
    rig.turn();
    expect(agent.routes()).toMatchObject([{ modid: 1, revision: 7, hosts: [], meant: false }]);
  });
});

describe("a change", () => {
  test("goes to those who asked for the module and to nobody else", () => {
    const rig = new Rig().change(1, 5, 8).change(2, 6, 8);
    const [one, two, none] = [rig.connect(), rig.connect(), rig.connect()];
    rig.ask(one, 1).ask(two, 1).ask(two, 2).turn();
    for (const agent of [one, two]) agent.got();
    rig.change(1, 7, 9).turn();
    expect([one.got(), two.got(), none.got()]).toEqual([["1.1@7: 9"], ["1.1@7: 9"], []]);
    rig.change(2, 8, 9).turn();
    expect([one.got(), two.got()]).toEqual([[], ["2.1@8: 9"]]);
    expect(rig.push.counts.pushes).toBe(3);
  });

  test("of a module that did not exist when it was asked for is told when it is made", () => {
    const rig = new Rig();
    const agent = rig.connect();
    rig.ask(agent, 1).turn();
    rig.change(1, 5, 8).turn();
    expect(agent.got()).toEqual(["1.1@1: ", "1.1@5: 8"]);
  });

  test("is not told any more after unwatching, nor to a connection that closed", () => {
    const rig = new Rig().change(1, 5, 8);
    const [one, two] = [rig.connect(), rig.connect()];
    rig.ask(one, 1).ask(two, 1).turn();
    for (const agent of [one, two]) agent.got();
    rig.ask(one, 1, MSG_UNWATCH_ROUTE_REQUEST);
    rig.change(1, 6, 9);
    rig.push.onClose(two);
    rig.turn();
    expect([one.got(), two.got(), rig.push.watches, rig.push.agentCount]).toEqual([[], [], 0, 1]);
  });

  test("leaves out hosts that are draining or down; when none is left the module has no hosts", () => {
    const rig = new Rig().change(1, 5, 8, makeHost(9, 80, { state: "draining" }), makeHost(10, 80, { state: "down" }));
    const agent = rig.connect();
    rig.ask(agent, 1).turn();
    rig.change(1, 6, makeHost(9, 80, { state: "draining" })).turn();
    expect(agent.got()).toEqual(["1.1@5: 8", "1.1@6: "]);
  });
});

describe("an agent that reads slowly", () => {
  test("misses steps in between and gets the newest, once, when it reads", () => {
    const rig = new Rig().change(1, 1, 8).change(2, 2, 8);
    const [slow, quick] = [rig.connect(), rig.connect()];
    slow.room = 1;
    for (const agent of [slow, quick]) rig.ask(agent, 1).ask(agent, 2);
    rig.turn();
    expect(slow.got()).toEqual(["1.1@1: 8"]);
    for (let revision = 10; revision < 60; revision++)
      rig
        .change(1, revision, revision)
        .change(2, revision + 100, 1)
        .turn();
    expect(slow.got()).toEqual([]);
    expect([...rig.push.agents()][0]).toMatchObject({ modules: 2, behind: 2, address: "10.0.0.9:4711" });
    slow.room = 10;
    slow.writable = true;
    rig.push.onDrain(slow);
    rig.turn();
    expect(slow.got().sort()).toEqual(["1.1@59: 59", "2.1@159: 1"]);
    expect(quick.got()).toHaveLength(102);
  });

  test("does not hold up others", () => {
    const rig = new Rig().change(1, 1, 8);
    const [slow, quick] = [rig.connect(), rig.connect()];
    slow.room = 0;
    slow.writable = false;
    rig.ask(slow, 1).ask(quick, 1).turn();
    expect(quick.got()).toEqual(["1.1@1: 8"]);
    expect(rig.idle).toBe(true);
  });
});

describe("bounds", () => {
  test("an agent at its limit of watches is answered and not watched; what it watches it may ask for again", () => {
    const rig = new Rig(2).change(3, 1, 8);
    const agent = rig.connect();
    rig.ask(agent, 1).ask(agent, 2).turn().ask(agent, 3).ask(agent, 1).turn();
    expect(agent.got()).toEqual(["1.1@1: ", "2.1@1: ", "3.1@1: 8", "1.1@1: "]);
    expect([rig.push.watches, rig.push.counts.overLimit]).toEqual([2, 1]);
    rig.change(3, 2, 9).turn();
    expect(agent.got()).toEqual([]);
    rig.ask(agent, 1, MSG_UNWATCH_ROUTE_REQUEST).ask(agent, 3).turn();
    agent.got();
    rig.change(3, 3, 10).turn();
    expect(agent.got()).toEqual(["3.1@3: 10"]);
  });

  test("an agent over its limit that asks without end and reads nothing is owed no more than its limit", () => {
    const rig = new Rig(3);
    const agent = rig.connect();
    agent.writable = false;
    for (let modid = 0; modid < 1000; modid++) rig.ask(agent, modid);
    expect([...rig.push.agents()][0]).toMatchObject({ behind: 3, modules: 3 });
  });

  test("an agent over its limit with its backlog full of answers still hears of a change of what it watches", () => {
    const rig = new Rig(1).change(1, 1, 8).change(2, 1, 9);
    const agent = rig.connect();
    rig.ask(agent, 1).turn();
    agent.got();
    agent.writable = false;
    rig.ask(agent, 2).ask(agent, 3).change(1, 5, 7).turn();
    expect([rig.push.owed, rig.push.counts.unanswered]).toEqual([2, 1]);
    agent.writable = true;
    rig.push.onDrain(agent);
    rig.turn();
    expect([agent.got(), rig.push.owed]).toEqual([["2.1@1: 9", "1.1@5: 7"], 0]);
  });

  test("when all agents together watch 5 modules a further request is answered once and not kept up to date", () => {
    const rig = new Rig(4, 5);
    for (const modid of [1, 2, 3, 4, 5, 6]) rig.change(modid, 1, 8);
    const [first, second] = [rig.connect(), rig.connect()];
    rig.ask(first, 1).ask(first, 2).ask(first, 3).ask(second, 1).ask(second, 2).turn();
    rig.ask(second, 3).ask(second, 1).turn();
    expect(second.got()).toEqual(["1.1@1: 8", "2.1@1: 8", "3.1@1: 8", "1.1@1: 8"]);
    expect([rig.push.watches, rig.push.counts.overTotal, rig.push.counts.overLimit]).toEqual([5, 1, 0]);
    rig.change(3, 2, 9).turn();
    expect([first.got().at(-1), second.got()]).toEqual(["3.1@2: 9", []]);
    // There is room again when an agent leaves.
    rig.push.onClose(first);
    rig.ask(second, 3).turn().change(3, 3, 10).turn();
    expect(second.got()).toEqual(["3.1@2: 9", "3.1@3: 10"]);
    expect(rig.push.watches).toBe(3);
  });

  test("of agents that ask without end and read nothing no more answers wait than all may watch, besides what they watch", () => {
    const rig = new Rig(50, 100);
    const agents = Array.from({ length: 20 }, () => rig.connect());
    for (const agent of agents) {
      agent.writable = false;
      for (let modid = 0; modid < 200; modid++) rig.ask(agent, modid);
    }
    expect([rig.push.watches, rig.push.owed]).toEqual([100, 100]);
    for (let modid = 0; modid < 200; modid++) rig.change(modid, 2, 8);
    for (let i = 0; i < 100; i++) rig.turn();
    expect(rig.push.owed).toBe(100);
    for (const agent of agents) rig.push.onClose(agent);
    expect([rig.push.watches, rig.push.owed]).toEqual([0, 0]);
  });

  test("a change for a thousand agents is sent in slices, the loop runs in between, and everyone gets it once", () => {
    const rig = new Rig().change(1, 1, 8);
    const agents = Array.from({ length: 1000 }, () => rig.connect());
    for (const agent of agents) rig.ask(agent, 1);
    let turns = 0;
    for (; !rig.idle; turns++) {
      const before = rig.push.counts.frames;
      rig.turn();
      expect(rig.push.counts.frames - before).toBeLessThanOrEqual(256);
    }
    expect(turns).toBe(4);
    for (const agent of agents) expect(agent.got()).toEqual(["1.1@1: 8"]);
  });

  /** So many that watch module 1, which has one host. */
  function watching(rig: Rig, count: number): FakeConnection[] {
    const agents = Array.from({ length: count }, () => rig.connect());
    for (const agent of agents) rig.ask(agent, 1);
    while (!rig.idle) rig.turn();
    for (const agent of agents) agent.frames.length = 0;
    return agents;
  }

  test("the watchers of a change are marked 256 a turn, not all 3,000 before anything else is served", () => {
    const rig = new Rig().change(1, 1, 8);
    const agents = watching(rig, 3000);
    rig.change(1, 2, 9);
    expect(rig.push.counts.pushes).toBe(0);
    for (let before = 0; !rig.idle; before = rig.push.counts.pushes) {
      rig.turn();
      expect(rig.push.counts.pushes - before).toBeLessThanOrEqual(256);
    }
    for (const agent of agents) expect(agent.got()).toEqual(["1.1@2: 9"]);
  });

  test("a change in every turn, while the one before is still being marked, keeps the last state from nobody", () => {
    const rig = new Rig().change(1, 1, 8);
    const agents = watching(rig, 3000);
    for (let revision = 2; revision <= 30; revision++) rig.change(1, revision, revision).turn();
    // The last of the line were told something meanwhile.
    expect(agents.at(-1)!.frames.length).toBeGreaterThan(0);
    while (!rig.idle) rig.turn();
    for (const agent of agents) expect(agent.got().at(-1)).toBe("1.1@30: 30");
  });

  test("agents that leave or come while a change is being marked end nothing and miss nothing", () => {
    const rig = new Rig().change(1, 1, 8);
    const agents = watching(rig, 3000);
    rig.change(1, 2, 9).turn();
    for (const agent of agents.splice(500, 2000)) rig.push.onClose(agent);
    const late = rig.connect();
    rig.ask(late, 1);
    while (!rig.idle) rig.turn();
    for (const agent of [...agents, late]) expect(agent.got().at(-1)).toBe("1.1@2: 9");
  });

  test("of a route of 3,000 hosts no more than a megabyte and a frame is sent in a turn", () => {
    const rig = new Rig().change(1, 1, ...Array.from({ length: 3000 }, (_, i) => makeHost(0x0a00_0000 + i, 8000)));
    const agents = Array.from({ length: 200 }, () => rig.connect());
    for (const agent of agents) rig.ask(agent, 1);
    const sent = () => agents.reduce((sum, { frames }) => sum + frames.reduce((all, { length }) => all + length, 0), 0);
    for (let before = 0; !rig.idle; before = sent()) {
      rig.turn();
      expect(sent() - before).toBeLessThanOrEqual(1_048_576 + 65_535);
    }
    for (const agent of agents) expect(agent.frames).toHaveLength(1);
  });
});

describe("a route of more hosts than a frame holds", () => {
  test("is sent as many as fit, others to the next who asks, until all were told; and counted", () => {
    const many = Array.from({ length: 12_000 }, (_, i) => makeHost(0x0a00_0000 + i, 8000));
    const rig = new Rig().change(1, 1, ...many);
    const seen = new Set<number>();
    for (let i = 0; i < 4; i++) {
      const agent = rig.connect();
      rig.ask(agent, 1).turn();
      const frame = agent.frames[0]!;
      expect(frame.length).toBeLessThanOrEqual(65_535);
      for (const { ip } of decodeGetRouteResponse(frame, HEADER_BYTES, frame.length)!.hosts) seen.add(ip);
    }
    expect(seen.size).toBe(many.length);
    expect(rig.push.counts.oversize).toBe(4);
  });

  test.each([7000, 10_000, 16_384])(
    "%d hosts: each is in nearly as many answers as any other, and 200 answers are 32 frames at most",
    (count) => {
      const rig = new Rig().change(1, 1, ...Array.from({ length: count }, (_, i) => makeHost(0x0a00_0000 + i, 8000)));
      const agents = Array.from({ length: 200 }, () => rig.connect());
      for (const agent of agents) rig.ask(agent, 1);
      while (!rig.idle) rig.turn();
      const frames = agents.map((agent) => agent.frames[0]!);
      expect(new Set(frames).size).toBeLessThanOrEqual(32);
      const told = new Map<number, number>();
      for (const frame of frames) {
        const { hosts, partial } = decodeGetRouteResponse(frame, HEADER_BYTES, frame.length)!;
        expect(partial).toBe(true);
        for (const { ip } of hosts) told.set(ip, (told.get(ip) ?? 0) + 1);
      }
      expect(told.size).toBe(count);
      const times = [...told.values()];
      expect(Math.max(...times)).toBeLessThanOrEqual(1.25 * Math.min(...times));
    },
  );

  test("a change of it is told from the next answer on", () => {
    const hosts = Array.from({ length: 12_000 }, (_, i) => makeHost(0x0a00_0000 + i, 8000));
    const rig = new Rig().change(1, 1, ...hosts);
    const agent = rig.connect();
    rig.ask(agent, 1).turn();
    rig.change(1, 2, ...hosts.slice(0, 11_000)).turn();
    expect(agent.routes().map(({ revision }) => revision)).toEqual([1, 2]);
  });
});
