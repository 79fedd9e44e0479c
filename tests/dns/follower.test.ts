// A whole follower in process: store, service and application over a leader in process.
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Access } from "../../src/auth/access.ts";
import { makeApp } from "../../src/dns/app.ts";
import { exposeFollower, type Follower, openFollower } from "../../src/dns/follow/follower.ts";
import { FollowerSnapshot } from "../../src/dns/follow/follower-snapshot.ts";
import { KeptByLeader } from "../../src/dns/follow/kept-by-leader.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { RouteService } from "../../src/dns/route-service.ts";
import { RouteWatch } from "../../src/dns/route-watch.ts";
import { systemClock } from "../../src/platform/clock.ts";
import type { HttpApp } from "../../src/platform/http-app.ts";
import { createMetrics } from "../../src/platform/metrics.ts";
import { silentMetrics } from "../../src/platform/metrics-port.ts";
import { eventually } from "../support/eventually.ts";
import { parseMetrics } from "../support/lars-processes.ts";
import { expectProblem } from "../support/problems.ts";
import { RecordingLog } from "../support/recording-log.ts";
import { ADMIN, type AppRig } from "./app-rig.ts";
import { askThem, contents, hosts, leaderOn } from "./follow-rig.ts";

const folder = mkdtempSync(join(tmpdir(), "lars-follower-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const opened: Follower[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((follower) => follower.close()));
});

interface Zone {
  readonly follower: Follower;
  readonly routes: RouteService;
  readonly app: HttpApp;
  readonly log: RecordingLog;
  readonly leaders: Map<string, AppRig>;
}

let files = 0;

async function zoneOf(leader: AppRig | undefined, file = join(folder, `${files++}.routes`)): Promise<Zone> {
  const log = new RecordingLog();
  const leaders = new Map(leader === undefined ? [] : [["leader:7780", leader]]);
  const metrics = createMetrics("dns");
  const follower = openFollower({
    settings: () => ({
      urls: ["http://leader:7780"],
      token: "",
      wait_ms: 100,
      response_timeout_ms: 100,
      snapshot_interval_ms: 10,
    }),
    snapshotPath: file,
    ask: askThem(leaders),
    lookup: async () => [],
    tls: () => ({ ca: undefined, cert: undefined, key: undefined }),
    clock: systemClock,
    log,
    poll: () => routes.poll(),
  });
  opened.push(follower);
  exposeFollower(metrics, follower);
  const routes: RouteService = new RouteService({
    store: follower.routes,
    replica: new RouteReplica(),
    clock: systemClock,
    log,
    fullReloadIntervalMs: () => 10_000,
  });
  const access = new Access({
    tokens: follower.tokens,
    configuredToken: ADMIN,
    clock: systemClock,
    log,
    metrics: silentMetrics,
  });
  const app = makeApp({
    routes,
    watch: new RouteWatch(100),
    store: follower.routes,
    access,
    anonymousRead: () => true,
    leaders: ["http://leader:7780"],
    agents: () => [],
    log,
    metrics,
    clock: systemClock,
  });
  return { follower, routes, app, log, leaders };
}

const headers = { authorization: `Bearer ${ADMIN}` };

test("a follower of an empty leader is ready with nothing, and a route that is made there is read here with minRevision", async () => {
  const leader = await leaderOn();
  const zone = await zoneOf(leader);
  await zone.follower.migrate();
  await eventually(async () => expect((await zone.app.request("/readyz")).status).toBe(200));
  const revision = await leader.done("PUT", "/v1/routes/1/1", { name: "pay", hosts: hosts(1) });
  const read = await zone.app.request(`/v1/routes/1/1?minRevision=${revision}`);
  expect(await read.json()).toMatchObject({ revision, name: "pay", hosts: [{ ip: "10.0.0.1" }] });
});

test("it is not ready, and says whom it asked and why in vain, until a leader answered once; then it serves whatever the leader does", async () => {
  const zone = await zoneOf(undefined);
  const loading = zone.follower.migrate();
  await eventually(async () => {
    const { detail } = await expectProblem(await zone.app.request("/readyz"), 503);
    expect(detail).toContain("http://leader:7780: the link is cut");
  });
  await expectProblem(await zone.app.request("/v1/routes/1/1"), 503);
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  zone.leaders.set("leader:7780", leader);
  await loading;
  await eventually(() => expect(zone.routes.loaded).toBe(true));
  zone.leaders.clear();
  await eventually(() => expect(zone.follower.link.connected).toBe(false));
  expect((await zone.app.request("/readyz")).status).toBe(200);
  expect((await zone.app.request("/v1/routes/1/1")).status).toBe(200);
});

test("every write is 421 before anything else, an admin's too, and so is a read of what the leader alone has; other reads are served", async () => {
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const zone = await zoneOf(leader);
  await zone.follower.migrate();
  await eventually(() => expect(zone.routes.loaded).toBe(true));
  const served: string[] = [];
  const document = (await (await zone.app.request("/openapi.json")).json()) as { paths: Record<string, object> };
  for (const [path, calls] of Object.entries(document.paths)) {
    for (const method of Object.keys(calls).map((name) => name.toUpperCase())) {
      const url = path.replaceAll(/\{[^}]+\}/g, "1");
      if (url.startsWith("/v1/watch")) continue;
      const response = await zone.app.request(url, { method, headers });
      if (response.status !== 421) served.push(`${method} ${path}`);
      else {
        const body = (await response.json()) as { leaders: unknown; title: string };
        expect(body).toMatchObject({ leaders: ["http://leader:7780"], title: "Misdirected Request" });
      }
    }
  }
  expect(served.filter((call) => call.includes("/v1/")).sort()).toEqual([
    "GET /v1/agents",
    "GET /v1/export",
    "GET /v1/modules",
    "GET /v1/replica",
    "GET /v1/routes",
    "GET /v1/routes/{modid}/{cmdid}",
  ]);
  // Below the application too.
  const change = { action: "remove-route", modid: 1, cmdid: 1 } as const;
  await expect(zone.routes.commit(change, { who: "x", requestId: "" })).rejects.toThrow(KeptByLeader);
  expect((await zone.app.request("/v1/routes/1/1")).status).toBe(200);
});

test("a follower of a follower has what the leader has", async () => {
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const near = await zoneOf(leader);
  await near.follower.migrate();
  await eventually(() => expect(near.routes.loaded).toBe(true));
  const far = await zoneOf({ get: async (path: string) => await near.app.request(path) } as unknown as AppRig);
  await far.follower.migrate();
  const revision = await leader.done("DELETE", "/v1/routes/1/1");
  await eventually(() => expect(far.routes.replica.revision).toBe(revision));
  expect(far.routes.replica.digest).toBe(leader.routes.replica.digest);
  expect(contents(far.routes.replica.routes())).toEqual([]);
  // What was read is not kept a second time.
  expect(await far.follower.routes.readSince(0)).toEqual({ revision, routes: [], names: [] });
});

test("started again without its leader it serves what it had, counts how long ago that was, and takes up where it was", async () => {
  const leader = await leaderOn();
  const file = join(folder, "again.routes");
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1, 2) });
  const first = await zoneOf(leader, file);
  await first.follower.migrate();
  await eventually(() => expect(first.routes.loaded).toBe(true));
  await Promise.all(opened.splice(0).map((follower) => follower.close()));

  const saved = await new FollowerSnapshot(file).load();
  if (saved.outcome !== "loaded") throw new Error(saved.outcome);
  await new FollowerSnapshot(file).save(saved.delta, systemClock.wallMs() - 60_000);
  const second = await zoneOf(undefined, file);
  await second.follower.migrate();
  await second.routes.poll();
  expect(contents(second.routes.replica.routes())).toEqual(contents(leader.routes.replica.routes()));
  const metrics = parseMetrics(await (await second.app.request("/metrics")).text());
  expect(metrics.get("lars_dns_follow_connected")).toBe(0);
  expect(metrics.get("lars_dns_follow_lag_seconds")).toBeWithin(60, 65);
  const revision = await leader.done("PUT", "/v1/routes/1/2", { hosts: hosts(3) });
  second.leaders.set("leader:7780", leader);
  await eventually(() => expect(second.routes.replica.revision).toBe(revision));
  expect(second.follower.link.counts).toMatchObject({ compared: 0, advances: 1 });
});

test("a file that is damaged is put aside with an error, and the follower starts from its leader", async () => {
  const file = join(folder, "bad.routes");
  writeFileSync(file, "what is this\n");
  const leader = await leaderOn();
  await leader.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const zone = await zoneOf(leader, file);
  await zone.follower.migrate();
  await eventually(() => expect(zone.routes.loaded).toBe(true));
  expect(zone.log.texts).toContain("error the routes of the last run are put aside");
});
