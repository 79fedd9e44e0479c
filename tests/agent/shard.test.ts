import { describe, expect, test } from "bun:test";
import { frameOf, writeHeader } from "../../src/wire/frame.ts";
import { getHostFrame, getRouteFrame, reportFrame, ShardRig } from "./shard-rig.ts";

describe("the first request for a module", () => {
  test("is answered with a host when the route comes in time", () => {
    const rig = new ShardRig().ask(7, 1, 1);
    expect(rig.replies()).toEqual([]);
    expect(rig.asked).toEqual(["1.1"]);
    rig.wait(50).route(1, 1, 10, 9);
    expect(rig.replies()).toEqual(["seq 7: host 9:80"]);
    expect([rig.read("waited"), rig.read("wait_timeouts"), rig.read("waiting")]).toEqual([1, 0, 0]);
  });

  test("is answered with retcode 3 when it does not come within resolve_timeout", () => {
    const rig = new ShardRig().ask(7, 1, 1).wait(99);
    expect(rig.replies()).toEqual([]);
    expect(rig.wait(1).replies()).toEqual(["seq 7: retcode 3"]);
    expect([rig.read("wait_timeouts"), rig.read("resolving"), rig.read("waiting")]).toEqual([1, 1, 0]);
  });

  test("is not given up, and nobody is turned away, before a thread that was held up has heard what came meanwhile", () => {
    const rig = new ShardRig().ask(7, 1, 1);
    rig.nowMs += 300;
    rig.modules.tick(rig.nowMs, rig.nowMs - 201);
    expect(rig.ask(8, 1, 1).replies()).toEqual([]);
    rig.route(1, 1, 10, 9);
    expect(rig.replies()).toEqual(["seq 7: host 9:80", "seq 8: host 9:80"]);
    expect(rig.read("wait_timeouts")).toBe(0);

    // Had nothing come: the next tick knows.
    rig.ask(9, 2, 2).nowMs += 300;
    rig.modules.tick(rig.nowMs, rig.nowMs - 201);
    expect(rig.replies()).toEqual([]);
    rig.modules.tick(rig.nowMs + 5, rig.nowMs);
    expect(rig.replies()).toEqual(["seq 9: retcode 3"]);
  });

  test("is answered with retcode 3 at once when the dns service says that there is no such module", () => {
    const rig = new ShardRig().ask(7, 1, 1).wait(5).route(1, 1, 10);
    expect(rig.replies()).toEqual(["seq 7: retcode 3"]);
    expect(rig.read("unknown_module")).toBe(1);
  });

  test("waits together with all others for that module, each gets its own answer and each is asked for once", () => {
    const rig = new ShardRig().ask(1, 1, 1).ask(2, 1, 1).ask(3, 2, 2).ask(4, 1, 1);
    expect(rig.asked).toEqual(["1.1", "2.2"]);
    rig.route(1, 1, 10, 8, 9);
    expect(rig.replies()).toEqual(["seq 1: host 8:80", "seq 2: host 9:80", "seq 4: host 8:80"]);
    expect(rig.wait(100).replies()).toEqual(["seq 3: retcode 3"]);
  });

  test("after one time-out nobody waits for that module again until an answer comes", () => {
    const rig = new ShardRig().ask(1, 1, 1).wait(100);
    rig.replies();
    expect(rig.ask(2, 1, 1).replies()).toEqual(["seq 2: retcode 3"]);
    expect(rig.wait(60_000).ask(3, 1, 1).replies()).toEqual(["seq 3: retcode 3"]);
    expect(rig.route(1, 1, 5, 9).ask(4, 1, 1).replies()).toEqual(["seq 4: host 9:80"]);
  });

  test("is answered at once when max_waiting others wait already", () => {
    const rig = new ShardRig({ maxWaiting: 2 }).ask(1, 1, 1).ask(2, 1, 1).ask(3, 1, 1);
    expect(rig.replies()).toEqual(["seq 3: retcode 3"]);
    expect([rig.read("waiting"), rig.read("waiting_full")]).toEqual([2, 1]);
    expect(rig.wait(100).replies()).toEqual(["seq 1: retcode 3", "seq 2: retcode 3"]);
    expect(rig.ask(4, 2, 2).read("waiting")).toBe(1);
  });

  test("is answered to the address it came from, whoever else asks meanwhile", () => {
    const rig = new ShardRig();
    rig.shard.handle(getHostFrame(1, 1, 1), rig.sink, 1111, "10.0.0.9", rig.nowMs);
    rig.ask(2, 1, 1).route(1, 1, 1, 9);
    expect(rig.replies()).toEqual(["seq 1: host 9:80 to 10.0.0.9:1111", "seq 2: host 9:80"]);
  });
});

describe("a known module", () => {
  test("answers at once, in the balancer's order, and shedding is retcode 1", () => {
    const rig = new ShardRig().route(1, 1, 5, 8, 9);
    expect(rig.ask(1, 1, 1).ask(2, 1, 1).replies()).toEqual(["seq 1: host 8:80", "seq 2: host 9:80"]);
    for (let i = 0; i < 15; i++) rig.report(1, 1, 8, 1).report(1, 1, 9, 1);
    expect(rig.ask(3, 1, 1).replies()).toEqual(["seq 3: retcode 1"]);
    expect([rig.read("picks"), rig.read("shed"), rig.read("reports")]).toEqual([2, 1, 30]);
  });

  test("with module numbers 0 and 0 is asked for with an empty body and answered", () => {
    const rig = new ShardRig().route(0, 0, 5, 8);
    expect(rig.datagram(frameOf(4, new Uint8Array(0))).replies()).toEqual(["seq 0: host 8:80"]);
  });
});

describe("reports", () => {
  test("are counted by host; one for a host that has left the route still counts", () => {
    const rig = new ShardRig().route(1, 1, 5, 8, 9).report(1, 1, 8, 0).report(1, 1, 9, -4);
    rig.route(1, 1, 6, 9).report(1, 1, 8, 0);
    expect(rig.totals(1, 1)).toEqual([
      { ip: 8, port: 80, succ: 2, err: 0, ejected: false },
      { ip: 9, port: 80, succ: 0, err: 1, ejected: false },
    ]);
    expect([rig.read("reports"), rig.read("reports_of_strangers")]).toEqual([3, 0]);
  });

  test("of hosts that were never in a known route are dropped and counted", () => {
    const rig = new ShardRig().route(1, 1, 5, 8).report(1, 1, 77, 0);
    expect(rig.totals(1, 1)).toEqual([]);
    expect(rig.read("reports_of_strangers")).toBe(1);
    expect(rig.asked).toEqual([]);
  });

  test("for a module that is not known yet wait for its route, as picks do, and are dropped when none comes", () => {
    const rig = new ShardRig().report(6, 6, 8, 0).report(6, 6, 77, 0).route(6, 6, 5, 8);
    expect(rig.totals(6, 6)).toEqual([{ ip: 8, port: 80, succ: 1, err: 0, ejected: false }]);
    expect([rig.read("reports"), rig.read("reports_of_strangers")]).toEqual([1, 1]);
    rig.report(9, 9, 8, 0).wait(100);
    expect(rig.read("reports_of_strangers")).toBe(2);
  });

  test("are not answered", () => {
    expect(new ShardRig().route(1, 1, 5, 8).report(1, 1, 8, 0).replies()).toEqual([]);
  });

  test("tell the statistics when a host is ejected", () => {
    const rig = new ShardRig().route(1, 1, 5, 8, 9);
    for (let i = 0; i < 15; i++) rig.report(1, 1, 8, 1);
    expect(rig.totals(1, 1)).toEqual([{ ip: 8, port: 80, succ: 0, err: 15, ejected: true }]);
  });
});

describe("GetRoute of the API", () => {
  test("answers all hosts, none for an unknown module, and waits as a pick does", () => {
    const rig = new ShardRig().route(1, 1, 5, 8, 9);
    expect(rig.datagram(getRouteFrame(1, 1)).replies()).toEqual(["route 1.1: 8 9"]);
    rig.datagram(getRouteFrame(2, 2));
    expect(rig.replies()).toEqual([]);
    expect(rig.wait(100).replies()).toEqual(["route 2.2: "]);
    rig.datagram(getRouteFrame(3, 3)).route(3, 3, 6, 4);
    expect(rig.replies()).toEqual(["route 3.3: 4"]);
    expect(rig.read("route_requests")).toBe(3);
  });

  test("of more hosts than a datagram holds answers other ones each time, and every host in a few", () => {
    const ips = Array.from({ length: 9000 }, (_, i) => 0x0a00_0000 + i);
    const rig = new ShardRig({}, { entries: 20_000 }).route(1, 1, 5, ...ips);
    const seen = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const [text] = rig.datagram(getRouteFrame(1, 1)).replies();
      for (const ip of text!.slice("route 1.1: ".length).split(" ")) seen.add(ip);
    }
    expect(seen.size).toBe(ips.length);
    expect(rig.read("oversize_routes")).toBe(4);
  });
});

describe("a module of another shard", () => {
  test("is forwarded to its owner with the address of the caller, whatever is asked", () => {
    const rig = new ShardRig({}, { index: 0, shards: 3 });
    const frames = [getHostFrame(1, 1, 0), reportFrame(1, 1, 8, 80, 0), getRouteFrame(-1, 0)];
    for (const frame of frames) rig.datagram(frame);
    expect(rig.forwarded.map(({ shard }) => shard)).toEqual([1, 2, 2]);
    expect(rig.forwarded[0]).toEqual({ shard: 1, datagram: frames[0]!, port: 5555, address: "127.0.0.1" });
    expect([rig.read("forwarded"), rig.asked.length, rig.replies().length]).toEqual([3, 0, 0]);
  });
});

describe("what is no request", () => {
  test("is dropped, counted by its reason, and never answered", () => {
    const rig = new ShardRig();
    const glued = new Uint8Array([...getHostFrame(1, 1, 1), ...getHostFrame(2, 1, 1)]);
    const negativeId = new Uint8Array(8);
    writeHeader(negativeId, 0, -4, 0);
    const negativeLength = new Uint8Array(8);
    writeHeader(negativeLength, 0, 4, -1);
    const table: [bytes: Uint8Array, reason: Parameters<ShardRig["read"]>[0]][] = [
      [new Uint8Array(0), "dropped_too_short"],
      [new Uint8Array(7), "dropped_too_short"],
      [glued, "dropped_length_mismatch"],
      [getHostFrame(1, 1, 1).slice(0, -1), "dropped_length_mismatch"],
      [negativeLength, "dropped_length_mismatch"],
      [frameOf(0, new Uint8Array(0)), "dropped_unknown_id"],
      [frameOf(5, new Uint8Array(0)), "dropped_unknown_id"],
      [frameOf(64, new Uint8Array(3)), "dropped_unknown_id"],
      [negativeId, "dropped_unknown_id"],
      [frameOf(4, new Uint8Array([0x08])), "dropped_malformed"],
      [frameOf(6, new Uint8Array([0x1a, 0x05, 0x08])), "dropped_malformed"],
      [frameOf(7, new Uint8Array([0x0b])), "dropped_malformed"],
    ];
    for (const [bytes, reason] of table) {
      const before = rig.read(reason);
      rig.datagram(bytes);
      expect([bytes.toHex(), reason, rig.read(reason)]).toEqual([bytes.toHex(), reason, before + 1]);
    }
    expect(rig.read("datagrams")).toBe(table.length);
    expect(rig.wait(1000).replies()).toEqual([]);
    expect(rig.asked).toEqual([]);
  });
});
