// Concurrent writers on two dns instances over one MariaDB, an agent and two watchers that move between them, while a dns
// is killed, the other is stopped and the database restarts: what everybody did and saw makes a history, which the checker judges.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { ADMIN_TOKEN, type Lars, startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { Callers } from "./callers.ts";
import { goesOn, holdMs, keepRow } from "./fault-table.ts";
import { type LoggedChange, violations, type Watcher } from "./history.ts";
import { BASE_HOSTS, RouteWriter, readChangeLog } from "./route-writer.ts";
import { WatchingAgent } from "./watching-agent.ts";

/** Of each of the four phases. */
const PHASE_MS = holdMs(1500);
const WRITERS = 8;
const MODULES = ["1.1", "1.2", "2.1", "2.2", "3.1"];

let mariadb: Mariadb;
let lars: Lars;

beforeAll(async () => {
  mariadb = await startMariadb();
  lars = await startLars({ databaseUrl: await mariadb.createDatabase("lars_history"), dns: 2 });
  const routes = MODULES.map((module) => {
    const [modid, cmdid] = module.split(".").map(Number);
    return { modid, cmdid, hosts: BASE_HOSTS };
  });
  const imported = await lars.admin("POST", "/v1/import", { routes });
  expect(imported.status).toBe(200);
  // The history begins where every instance has these routes.
  const { revision } = (await imported.json()) as { revision: number };
  for (const dns of lars.dns) {
    const listed = await lars.admin("GET", `/v1/routes?minRevision=${revision}`, undefined, dns);
    expect(await listed.json()).toMatchObject({ revision });
  }
}, 60_000);

afterAll(async () => {
  await lars?.stop();
  await mariadb?.remove();
}, 60_000);

/** After a write was acknowledged, any instance that is told its revision shows it: reads that did not. */
class ReadYourWrites {
  made = 0;
  readonly wrong: string[] = [];

  async check(module: string, revision: number, dns: string): Promise<void> {
    const path = `/v1/routes/${module.replace(".", "/")}?minRevision=${revision}`;
    const response = await fetch(`${dns}${path}`, {
      headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
      keepalive: false,
      signal: AbortSignal.timeout(2000),
    }).catch(() => undefined);
    // An instance that is down or without its database cannot answer, and says so.
    if (response === undefined || response.status === 503) return;
    const shown = (await response.json().catch(() => undefined)) as { revision?: number } | undefined;
    if (shown === undefined) return;
    this.made++;
    if (response.status !== 200 || (shown.revision ?? 0) < revision)
      this.wrong.push(`${path} at ${dns}: ${response.status}, revision ${shown.revision}`);
  }
}

test("8 writers on 2 dns instances: every acknowledged write is in the log once, in an order that fits the clock, and agents saw it", async () => {
  let nextId = 1;
  const [first, second] = lars.dns.map(({ url }) => url) as [string, string];
  const writers = Array.from(
    { length: WRITERS },
    (_, i) =>
      new RouteWriter({
        dns: i % 2 === 0 ? [first, second] : [second, first],
        modules: [...MODULES.slice(i % MODULES.length), ...MODULES.slice(0, i % MODULES.length)],
        perSecond: 40,
        nextId: () => nextId++,
      }),
  );
  const addresses = lars.dns.map(({ ports }) => ({ host: "127.0.0.1", port: ports.tcp }));
  const watching = ["watcher one", "watcher two"].map((name) => new WatchingAgent(name, addresses, MODULES));
  const callers = new Callers({ port: lars.agent[0]!.ports.udp, modules: MODULES, watched: MODULES, perSecond: 100 });
  const reads = new ReadYourWrites();
  let reading = true;
  let log: readonly LoggedChange[] = [];
  const readers = (async () => {
    for (let turn = 0; reading; turn++) {
      const last = writers[turn % WRITERS]!.writes.findLast(({ outcome }) => outcome.kind === "acknowledged");
      if (last?.outcome.kind === "acknowledged")
        await reads.check(last.module, last.outcome.revision, turn % 2 === 0 ? first : second);
      await goesOn(10);
    }
  })();
  try {
    await callers.begin();
    for (const writer of writers) writer.start();
    const phases: readonly (() => void | Promise<void>)[] = [
      () => lars.dns[0]!.kill(),
      async () => {
        await lars.dns[0]!.start();
        for (const agent of watching) agent.reconnect();
        lars.dns[1]!.signal("SIGSTOP");
      },
      async () => {
        lars.dns[1]!.signal("SIGCONT");
        await mariadb.kill();
        await mariadb.start();
      },
      () => {
        for (const agent of watching) agent.reconnect();
      },
    ];
    for (const phase of phases) {
      await phase();
      await goesOn(PHASE_MS);
    }
    for (const writer of writers) await writer.stop();
    reading = false;
    await readers;
    const revisions = new Map<number, number>();
    let shown: Watcher = { name: "agent", sightings: [] };
    await eventually(
      async () => {
        log = await readChangeLog(second, 0);
        for (const { revision, writes } of log) for (const { id } of writes) revisions.set(id, revision);
        const sightings = callers.shown.flatMap(({ module, writes }) => {
          const revision = Math.max(0, ...writes.map((id) => revisions.get(id) ?? 0));
          return revision === 0 ? [] : [{ module, revision }];
        });
        shown = { name: "agent", sightings };
        for (const module of MODULES) {
          const last = log.findLast(({ writes }) => writes.some((write) => write.module === module))!.revision;
          for (const agent of watching) expect(agent.held(module)).toBe(last);
          expect(sightings.findLast((sighting) => sighting.module === module)?.revision).toBe(last);
        }
      },
      { timeoutMs: 20_000, intervalMs: 100 },
    );
    const writes = writers.flatMap((writer) => writer.writes);
    const watchers = [shown, ...watching.flatMap((agent) => agent.watchers())];
    expect(violations({ writes, log, watchers })).toEqual([]);
    expect(reads.wrong).toEqual([]);
    expect(callers.failed).toBe(0);
    const count = (kind: string): number => writes.filter(({ outcome }) => outcome.kind === kind).length;
    const happened = new Set(log.flatMap((entry) => entry.writes.map(({ id }) => id)));
    keepRow("history", {
      "phases of, s": PHASE_MS / 1000,
      writers: WRITERS,
      "writes acknowledged": count("acknowledged"),
      "without an answer": count("unknown"),
      "of these happened": writes.filter(({ id, outcome }) => outcome.kind === "unknown" && happened.has(id)).length,
      refused: count("refused"),
      "log entries": log.length,
      "revisions seen": watchers.reduce((sum, { sightings }) => sum + sightings.length, 0),
      "connections of watchers": watching.reduce((sum, { connections }) => sum + connections, 0),
      "older answers left out": watching.reduce((sum, { stale }) => sum + stale, 0),
      "reads with minRevision": reads.made,
      violations: 0,
    });
    // A history in which nothing happened proves nothing.
    expect(count("acknowledged")).toBeGreaterThan(100);
    expect(count("unknown")).toBeGreaterThan(0);
    expect(reads.made).toBeGreaterThan(20);
  } finally {
    reading = false;
    await readers;
    for (const writer of writers) await writer.stop();
    for (const agent of watching) agent.stop();
    callers.kill();
  }
}, 240_000);
