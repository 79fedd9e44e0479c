// GET /v1/replica, the read that followers live on.
import { expect, test } from "bun:test";
import { NO_CHOICE } from "../../src/core/policies.ts";
import type { RouteRecord } from "../../src/core/route-change.ts";
import { ReplicaAnswers } from "../../src/dns/replica-answers.ts";
import { pageJson, readPage } from "../../src/dns/replica-document.ts";
import { RouteReplica } from "../../src/dns/route-replica.ts";
import { eventually } from "../support/eventually.ts";
import { expectProblem } from "../support/problems.ts";
import { AppRig, loadedApp } from "./app-rig.ts";
import { host, hosts, pageOf } from "./follow-rig.ts";

function route(cmdid: number, revision: number, count = 1): RouteRecord {
  const some = Array.from({ length: count }, (_, i) => host(i + 1));
  return { modid: 1, cmdid, name: "", policy: NO_CHOICE, revision, hosts: some };
}

test("a change ends a wait at once, so does one of a name alone; without one the answer comes when the time is up, empty", async () => {
  const rig = await loadedApp();
  const revision = await rig.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const quiet = await rig.get(`/v1/replica?after=${revision}&wait=20ms`);
  expect(await quiet.json()).toMatchObject({ revision, routes: [], names: [] });

  const waiting = rig.get(`/v1/replica?after=${revision}&wait=30s`);
  await eventually(() => expect(rig.watch.size).toBe(1));
  const next = await rig.done("DELETE", "/v1/routes/1/1");
  expect(await (await waiting).json()).toMatchObject({
    revision: next,
    routes: [{ modid: 1, cmdid: 1, revision: next, hosts: [] }],
  });

  const forName = rig.get(`/v1/replica?after=${next}&wait=30s`);
  await eventually(() => expect(rig.watch.size).toBe(1));
  const named = await rig.done("PUT", "/v1/modules/1", { name: "payments" });
  expect(await (await forName).json()).toMatchObject({
    revision: named,
    routes: [],
    names: [{ scope: "modid", id: 1, name: "payments", revision: named }],
  });
  expect(rig.watch.size).toBe(0);
});

test("a revision that is not known here is answered at once with the one that is, after a look at the database", async () => {
  const rig = await loadedApp();
  const revision = await rig.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  const polls = rig.routes.counts.polls;
  const answer = await (await rig.get(`/v1/replica?after=${revision + 5}&wait=30s`)).json();
  expect(answer).toMatchObject({ revision, routes: [] });
  expect(rig.routes.counts.polls).toBe(polls + 1);
});

test("of 2 callers that may wait, a third gets 503; a caller that goes away makes room", async () => {
  const rig = await loadedApp({ maxWatches: 2 });
  const gone = new AbortController();
  const waiting = [rig.get("/v1/replica?wait=30s"), rig.get("/v1/replica?wait=30s", {}, gone.signal)];
  await eventually(() => expect(rig.watch.size).toBe(2));
  await expectProblem(await rig.get("/v1/replica?wait=30s"), 503);
  gone.abort();
  await eventually(() => expect(rig.watch.size).toBe(1));
  const third = rig.get("/v1/replica?wait=30s");
  await eventually(() => expect(rig.watch.size).toBe(2));
  await rig.done("PUT", "/v1/routes/1/1", { hosts: hosts(1) });
  expect((await third).status).toBe(200);
  await Promise.all(waiting);
});

test("it needs a reader's token where reads do, and routes that are loaded; a malformed wait or limit is 400", async () => {
  const closed = await loadedApp({ anonymousRead: false });
  await expectProblem(await closed.get("/v1/replica"), 401);
  closed.tokens.add("reader", "a-readers-token");
  expect((await closed.get("/v1/replica", { authorization: "Bearer a-readers-token" })).status).toBe(200);
  await expectProblem(await new AppRig().get("/v1/replica"), 503);
  const rig = await loadedApp();
  await expectProblem(await rig.get("/v1/replica?wait=soon"), 400);
  await expectProblem(await rig.get("/v1/replica?limit=0"), 400);
  await expectProblem(await rig.get("/v1/replica?from=1"), 400);
});

test("100 followers at one revision cost one encoding, also when there is nothing new; the next revision costs one more", () => {
  const replica = new RouteReplica();
  replica.apply({ revision: 5, routes: [route(1, 5)], names: [] });
  const answers = new ReplicaAnswers(replica);
  for (let i = 0; i < 100; i++) answers.page(5, undefined, 100);
  expect(answers.counts).toEqual({ answers: 100, encoded: 1 });
  replica.apply({ revision: 6, routes: [route(1, 6)], names: [] });
  for (let i = 0; i < 100; i++) answers.page(5, undefined, 100);
  expect(answers.counts).toEqual({ answers: 200, encoded: 2 });
});

test("pages of about 10 records cut between routes, never within one, and are of the first one's revision while that is remembered", () => {
  const replica = new RouteReplica();
  const routes = [route(1, 2, 4), route(2, 2, 4), route(3, 2, 25), route(4, 2, 1), route(5, 2, 0)];
  replica.apply({ revision: 2, routes, names: [] });
  const answers = new ReplicaAnswers(replica);
  const read = (from: RouteRecord | undefined) => {
    const answer = readPage(JSON.parse(new TextDecoder().decode(answers.page(0, from, 10))));
    if (!answer.ok) throw new Error(answer.why);
    return answer.page;
  };
  const first = read(undefined);
  expect(first.routes.map(({ cmdid }) => cmdid)).toEqual([1, 2]);
  replica.apply({ revision: 3, routes: [route(4, 3, 2)], names: [] });
  const second = read(first.routes.at(-1));
  expect([second.revision, ...second.routes.map(({ cmdid }) => cmdid)]).toEqual([2, 3]);
  const third = read(second.routes.at(-1));
  expect([third.revision, ...third.routes.map(({ cmdid }) => cmdid)]).toEqual([2, 4, 5]);
  expect(third.next).toBeUndefined();
});

test("what changed after a revision is found alike in what is remembered and, 20,000 changes later, in the whole replica", () => {
  const replica = new RouteReplica();
  replica.apply({ revision: 0, routes: [route(1000, 50)], names: [] });
  for (let revision = 51; revision <= 20_000; revision++) {
    replica.apply({ revision, routes: [route(revision % 100, revision)], names: [] });
  }
  const changed = (after: number) => replica.changedSince(after).routes.map((found) => found.revision);
  expect(changed(19_990).sort()).toEqual([
    19_991, 19_992, 19_993, 19_994, 19_995, 19_996, 19_997, 19_998, 19_999, 20_000,
  ]);
  expect(changed(19_800)).toHaveLength(100);
  expect(changed(49)).toHaveLength(101);
  expect(changed(50)).toHaveLength(100);
});

test("a page is read as it was written: negative ids, policies, marks, leases, states and zones", () => {
  const page = {
    revision: 1_800_000_001,
    digest: 4_294_967_295,
    routes: [
      {
        modid: -1,
        cmdid: 2_147_483_647,
        revision: 1_800_000_000,
        name: 'quote " and ü',
        policy: { name: "consistent_hash" as const, parameters: {} },
        vanishedFrom: 12,
        hosts: [host(1, { leased: true, zone: "z", weight: 7 }), host(2, { state: "draining" })],
      },
    ],
    names: [{ scope: "cmdid" as const, id: -5, name: "", revision: 3 }],
    next: { modid: -1, cmdid: 2_147_483_647 },
  };
  expect(readPage(JSON.parse(JSON.stringify(pageJson(page))))).toEqual({ ok: true, page });
});

test("a field that a newer leader adds is skipped, a policy that is not known is left out; anything else that is wrong refuses the page and says what", async () => {
  const rig = await loadedApp();
  await rig.done("PUT", "/v1/routes/1/1", { name: "n", policy: "random", hosts: hosts(1) });
  const good = pageJson(await pageOf(rig, { after: 0 }));
  const [first] = good.routes;
  const with_ = (fields: object) => readPage({ ...good, routes: [{ ...first, ...fields }] });
  expect(with_({ colour: "red" })).toMatchObject({ ok: true });
  expect(with_({ policy: "of-the-future" })).toMatchObject({ ok: true, page: { routes: [{ policy: NO_CHOICE }] } });
  for (const [wrong, why] of [
    [with_({ modid: 2 ** 40 }), "modid is 1099511627776"],
    [with_({ revision: -1 }), "revision is -1"],
    [with_({ hosts: "none" }), "hosts is"],
    [with_({ hosts: [{ ...first!.hosts[0], ip: "10.0.0" }] }), "ip is"],
    [with_({ hosts: [{ ...first!.hosts[0], state: "asleep" }] }), "state is"],
    [readPage({ ...good, digest: undefined }), "digest is undefined"],
    [readPage({ ...good, next: "1" }), "next is"],
    [readPage([]), "the answer is no object"],
    [readPage(null), "the answer is no object"],
  ] as const) {
    expect(wrong).toEqual({ ok: false, why: expect.stringContaining(why) });
  }
});
