import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HeldRoute } from "../../src/agent/held-route.ts";
import { RouteBook } from "../../src/agent/route-book.ts";
import { RouteSnapshot } from "../../src/agent/route-snapshot.ts";
import { makeHost } from "../../src/core/assignment.ts";
import { PackedHosts } from "../../src/core/packed-hosts.ts";
import { NO_CHOICE } from "../../src/core/policies.ts";
import { RecordingLog } from "../support/recording-log.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lars-snapshot-"));
  path = join(folder, "deep", "agent.routes");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const ROUTES = [
  {
    ...{ modid: 1, cmdid: 1, revision: 1_700_000_000 },
    hosts: [makeHost(-1, 65535, { weight: 7, zone: "eu-ä" })],
    policy: { name: "adaptive", parameters: { decay: 2.5 } },
  },
  { modid: -5, cmdid: 0, revision: 0, hosts: [makeHost(1, 1), makeHost(2, 2)], policy: NO_CHOICE },
] as const;
const HELD = ROUTES.map((route) => HeldRoute.of(route));

const unpacked = (routes: Iterable<HeldRoute>) =>
  Array.from(routes, ({ modid, cmdid, revision, hosts, policy }) => ({
    ...{ modid, cmdid, revision, policy },
    hosts: hosts.unpack(),
  }));

const bytesOf = async (file = path): Promise<Uint8Array> => new Uint8Array(await Bun.file(file).arrayBuffer());

describe("a snapshot", () => {
  test("is read back as it was written, in a folder that did not exist", async () => {
    await new RouteSnapshot(path).save(HELD);
    const load = await new RouteSnapshot(path).load();
    expect(load.outcome).toBe("loaded");
    expect(load.outcome === "loaded" && unpacked(load.routes)).toEqual([...ROUTES]);
    expect(readdirSync(join(folder, "deep"))).toEqual(["agent.routes"]);
  });

  test("of no routes is no routes, and none at all is missing", async () => {
    expect(await new RouteSnapshot(path).load()).toEqual({ outcome: "missing" });
    await new RouteSnapshot(path).save([]);
    expect(await new RouteSnapshot(path).load()).toEqual({ outcome: "loaded", routes: [] });
  });

  test("of 5,000 routes is made in stretches of 2,000 routes and hosts at most, and others have their turn in between", async () => {
    const route = HeldRoute.of({ ...ROUTES[1], hosts: Array.from({ length: 9 }, (_, i) => makeHost(i + 1, 80)) });
    let inThisTurn = 0;
    let most = 0;
    function* routes() {
      for (let i = 0; i < 5000; i++) {
        if (inThisTurn === 0) setImmediate(() => (inThisTurn = 0));
        most = Math.max(most, ++inThisTurn);
        yield route;
      }
    }
    await new RouteSnapshot(path).save(routes());
    expect(most).toBeLessThanOrEqual(201);
    const load = await new RouteSnapshot(path).load();
    expect(load.outcome === "loaded" && load.routes).toHaveLength(5000);
  });

  test("replaces the one before whole; one that cannot be written leaves the one before", async () => {
    const snapshot = new RouteSnapshot(path);
    await snapshot.save(HELD);
    await snapshot.save(HELD.slice(0, 1));
    const load = await snapshot.load();
    expect(load.outcome === "loaded" && load.routes).toHaveLength(1);
    // A folder where the new file is to be written beside the old.
    await Bun.write(join(folder, "deep", `agent.routes.${process.pid}.tmp`, "x"), "");
    await expect(snapshot.save(HELD)).rejects.toThrow();
    expect((await snapshot.load()).outcome).toBe("loaded");
  });

  test("that is cut off anywhere, or has any byte changed, is bad, said why, and put aside", async () => {
    await new RouteSnapshot(path).save(HELD);
    const good = await bytesOf();
    const damaged = [
      ...Array.from(good, (_, length) => good.slice(0, length)),
      ...Array.from(good, (byte, i) => good.with(i, byte ^ 1)),
      new Uint8Array([...good, 0]),
    ];
    for (const bytes of damaged) {
      await Bun.write(path, bytes);
      const load = await new RouteSnapshot(path).load();
      // The number of routes is written twice: as text, and as the routes themselves.
      expect([bytes.toHex(), load.outcome]).toEqual([bytes.toHex(), "bad"]);
      expect(load.outcome === "bad" && load.reason.length).toBeGreaterThan(10);
      expect(await Bun.file(path).exists()).toBe(false);
      expect(await bytesOf(`${path}.bad`)).toEqual(bytes);
    }
  });

  test("of another format is bad and its format is named", async () => {
    await Bun.write(path, "lars-routes-2 0 abc\n");
    expect(await new RouteSnapshot(path).load()).toEqual({
      outcome: "bad",
      reason: 'its format is "lars-routes-2", known is "lars-routes-1"',
    });
    await Bun.write(path, "x".repeat(1000));
    expect(await new RouteSnapshot(path).load()).toMatchObject({ outcome: "bad", reason: "it has no header line" });
  });
});

describe("the book of routes", () => {
  const book = (log = new RecordingLog()): RouteBook => new RouteBook(new RouteSnapshot(path), log);

  test("is written when something changed and not otherwise, and begins with what was written", async () => {
    const first = book();
    await first.save();
    expect(await Bun.file(path).exists()).toBe(false);
    for (const route of HELD) first.put(route);
    await first.save();
    first.put(HELD[0]!);
    await first.save();
    expect(first.counts).toEqual({ saves: 1, saveFailures: 0 });
    const second = book();
    await second.load();
    expect(second.size).toBe(2);
    expect(unpacked(second.routes())).toEqual([...ROUTES]);
    expect(Array.from(second.updates(), ({ hosts }) => PackedHosts.of(hosts).unpack())).toEqual(
      ROUTES.map(({ hosts }) => [...hosts]),
    );
    await second.save();
    expect(second.counts.saves).toBe(0);
    second.put(HeldRoute.of({ ...ROUTES[0], revision: 1_800_000_000, hosts: [] }));
    second.forget(-5, 0);
    expect(second.size).toBe(0);
    await second.save();
    const third = book();
    await third.load();
    expect(third.size).toBe(0);
  });

  test("that cannot be written says so, counts it and tries again", async () => {
    const log = new RecordingLog();
    const full = book(log);
    full.put(HELD[0]!);
    await Bun.write(join(folder, "deep"), "a file where the folder should be");
    await full.save();
    expect(log.texts).toEqual(["error the route snapshot was not written; the last one is kept"]);
    rmSync(join(folder, "deep"));
    await full.save();
    expect(full.counts).toEqual({ saves: 1, saveFailures: 1 });
  });

  test("a damaged snapshot is logged with its reason, and the agent begins without routes", async () => {
    const log = new RecordingLog();
    await Bun.write(path, "garbage");
    const empty = book(log);
    await empty.load();
    expect(empty.size).toBe(0);
    expect(log.lines).toMatchObject([{ level: "error", fields: { path, reason: "it has no header line" } }]);
  });
});
