// A full disk under SQLite and under the agent's snapshot, and the clock of every process set forward and back by an
// hour, on the embedded database: one of each process, as `bun run up` starts them.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { startLars, sumMetric, temporaryFolder } from "../support/lars-processes.ts";
import { SmallDisk } from "../support/small-disk.ts";
import { SteppedClock } from "../support/stepped-clock.ts";
import { FaultScene, LEASES } from "./fault-scene.ts";
import { fullLengthOnly, holdMs, keepFaultRow } from "./fault-table.ts";
import { reasonAgainst, unless } from "./permitted.ts";

const FULL_MS = holdMs(2000);
const STEPPED_MS = holdMs(2000);
const HOUR_S = 3600;

const noDisk = await reasonAgainst(async () => {
  const disk = await SmallDisk.mount(join(temporaryFolder("disk"), "disk"), 65_536);
  await disk.unmount();
});

describe.skipIf(noDisk !== undefined)(`a full disk${unless(noDisk)}`, () => {
  let disk: SmallDisk;
  let agentDisk: SmallDisk;
  let scene: FaultScene;

  beforeAll(async () => {
    const folder = temporaryFolder("faults");
    disk = await SmallDisk.mount(join(folder, "database"), 32 * 1_048_576);
    agentDisk = await SmallDisk.mount(join(folder, "agent"), 1_048_576);
    const lars = await startLars({
      databaseUrl: `sqlite:${join(disk.folder, "lars.db")}`,
      place: (name) => ({ command: name === "agent" ? agentDisk.command : disk.command }),
      env: { LARS_DATA_DIR: agentDisk.folder, LARS_AGENT__ROUTES__SNAPSHOT_INTERVAL_MS: "200" },
    });
    scene = new FaultScene(lars);
    await scene.prepare();
  }, 120_000);

  afterAll(async () => {
    await scene?.stop();
    await disk?.unmount();
    await agentDisk?.unmount();
  }, 120_000);

  test("of SQLite: writes are refused while it is full, no pick fails, nothing acknowledged is lost", async () => {
    let refused = 0;
    let filling = true;
    let others: Promise<void> | undefined;
    const row = await scene.run({
      name: "disk full for SQLite",
      holdMs: FULL_MS,
      async begin() {
        disk.fill();
        // What the log file has room for still fits: others write much more than the script does.
        others = (async () => {
          for (let turn = 0; filling; turn++) {
            const hosts = Array.from({ length: 1000 }, (_, i) => ({
              ip: "10.9.9.9",
              port: 1 + ((turn * 1000 + i) % 60_000),
            }));
            const response = await scene.lars.admin("PUT", "/v1/routes/9/9", { hosts });
            if (response.status === 503) refused++;
            else expect(response.status).toBe(200);
          }
        })();
        await eventually(() => expect(refused).toBeGreaterThan(0));
      },
      async end() {
        filling = false;
        await others;
        disk.clear();
      },
    });
    keepFaultRow("disks and clocks", row);
    expect(refused).toBeGreaterThan(0);
    expect(row.lost).toBe(0);
    expect(row.leasesKept).toBe(LEASES.count);
    expect(row.failed).toBe(0);
    expect(row.stored).toBe(row.reported);
  }, 120_000);

  test("of the agent's snapshot: no pick fails, and the last good snapshot stays until there is room", async () => {
    const [agent] = scene.lars.agent;
    const failures = async (): Promise<number> =>
      sumMetric(await agent!.metrics(), 'lars_agent_snapshot_events_total{event="saveFailures"}');
    const before = await failures();
    const snapshot = join(agentDisk.outside, `agent-${agent!.ports.udp}.routes`);
    const row = await scene.run({
      name: "disk full for the agent's snapshot",
      holdMs: FULL_MS,
      async begin() {
        // Again and again: the snapshot that is replaced gives its room back.
        await eventually(async () => {
          agentDisk.fill();
          expect(await failures()).toBeGreaterThan(before);
        });
      },
      async end() {
        expect(existsSync(snapshot)).toBe(true);
        expect(await Bun.file(snapshot).slice(0, 14).text()).toBe("lars-routes-1 ");
        agentDisk.clear();
      },
    });
    keepFaultRow("disks and clocks", row);
    expect(row.lost).toBe(0);
    expect(row.leasesKept).toBe(LEASES.count);
    expect(row.failed).toBe(0);
    expect(row.stored).toBe(row.reported);
    // There is room again: the agent can be killed and comes back with what it served.
    await eventually(async () => {
      const text = await Bun.file(snapshot).text();
      expect(text.length).toBeGreaterThan(100);
      const known = sumMetric(await agent!.metrics(), "lars_agent_known_routes");
      expect(text).toStartWith(`lars-routes-1 ${known} `);
    });
  }, 120_000);
});

const noClock = await reasonAgainst(() => new SteppedClock(join(temporaryFolder("clock"), "offset")));

describe.skipIf(noClock !== undefined)(`a clock that is set${unless(noClock)}`, () => {
  let clock: SteppedClock;
  let scene: FaultScene;

  beforeAll(async () => {
    clock = new SteppedClock(join(temporaryFolder("clock"), "offset"));
    scene = new FaultScene(await startLars({ env: clock.env }));
    await scene.prepare();
  }, 120_000);

  afterAll(async () => {
    await scene?.stop();
  }, 120_000);

  /** The clock that dns tells in its change log is the one that was set. */
  async function expectOffBy(seconds: number): Promise<void> {
    const response = await scene.lars.admin("PUT", "/v1/modules/77", { name: `off by ${seconds}` });
    const { revision } = (await response.json()) as { revision: number };
    const log = await (await scene.lars.admin("GET", `/v1/changes?after=${revision - 1}`)).json();
    const { at } = (log as { changes: { at: string }[] }).changes[0]!;
    expect(Math.abs(Date.parse(at) - Date.now() - seconds * 1000)).toBeLessThan(60_000);
  }

  for (const [name, seconds, define] of [
    ["forward by an hour and back", HOUR_S, test],
    ["back by an hour and forward", -HOUR_S, fullLengthOnly],
  ] as const) {
    define(
      `${name}: no pick fails, revisions increase, no write and no call is lost`,
      async () => {
        const row = await scene.run({
          name: `clock ${name}`,
          holdMs: STEPPED_MS,
          async begin() {
            clock.step(seconds);
            await expectOffBy(seconds);
          },
          end: () => clock.step(0),
        });
        keepFaultRow("disks and clocks", row);
        expect(row.lost).toBe(0);
        expect(row.leasesKept).toBe(LEASES.count);
        expect(row.failed).toBe(0);
        expect(row.unanswered).toBeLessThan(row.acknowledged / 2);
        expect(row.stored).toBe(row.reported);
      },
      120_000,
    );
  }
});
