// Two zones: in one the database, a dns and report; in the other a dns that follows the first, and an agent with its callers,
// which knows the follower only. Then the zones lose each other.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ADMIN_TOKEN, Lars, LarsProcess, makeLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { type Machine, Network } from "../support/network.ts";
import { type Fault, FaultScene, LEASES } from "./fault-scene.ts";
import { fullLengthOnly, holdMs, keepFaultRow } from "./fault-table.ts";
import { reasonAgainst, unless } from "./permitted.ts";

const CUT_MS = holdMs(2500);

const refused = await reasonAgainst(async () => (await Network.open()).close());

describe.skipIf(refused !== undefined)(`zones${unless(refused)}`, () => {
  let network: Network;
  let mariadb: Mariadb;
  let scene: FaultScene;
  let follower: LarsProcess;
  const machines = new Map<string, Machine>();
  const at = (name: string): Machine => machines.get(name)!;

  beforeAll(async () => {
    network = await Network.open();
    for (const name of ["database", "dns-0", "report-0", "dns-1", "agent-0"]) {
      machines.set(name, await network.machine(name));
    }
    mariadb = await startMariadb({ placement: at("database") });
    const made = await makeLars({
      databaseUrl: await mariadb.createDatabase("lars_zones"),
      dns: 2,
      place: (name, i) => at(`${name}-${i}`),
      env: { LARS_ALLOW_INSECURE: "true" },
    });
    const [leader, second] = made.dns as [LarsProcess, LarsProcess];
    const [planned] = made.agent as [LarsProcess];
    const followerEnv = { ...second.env, LARS_DNS__FOLLOW__URLS: leader.url, LARS_FOLLOW_TOKEN: ADMIN_TOKEN };
    follower = new LarsProcess("dns", second.ports, followerEnv, second.placement);
    const addresses = `${second.placement.address}:${second.ports.tcp}`;
    const agentEnv = { ...planned.env, LARS_AGENT__DNSSERVER__ADDRESSES: addresses };
    const agent = new LarsProcess("agent", planned.ports, agentEnv, planned.placement);
    const lars = new Lars(made.folder, made.databaseUrl, [leader], made.report, [agent]);
    await leader.start();
    for (const process of [follower, ...made.report, agent]) await process.start();
    scene = new FaultScene(lars, { callersCommand: at("agent-0").command });
    await scene.prepare();
  }, 180_000);

  afterAll(async () => {
    await follower?.stop();
    await scene?.stop();
    await mariadb?.remove();
    await network?.close();
  }, 60_000);

  async function harmless(fault: Fault): Promise<void> {
    const row = await scene.run(fault);
    keepFaultRow("zones", row);
    expect(row.lost).toBe(0);
    expect(row.leasesKept).toBe(LEASES.count);
    expect(row.failed).toBe(0);
    expect(row.unanswered).toBeLessThan(row.acknowledged / 2);
    expect(row.stored).toBe(row.reported);
  }

  test("zone and zone, cut: the follower serves its zone, changes and calls of the other come when it heals", async () => {
    const across = ["dns-0", "report-0", "database"].flatMap((here) =>
      ["dns-1", "agent-0"].map((there) => [at(here), at(there)] as const),
    );
    await harmless({
      name: "zone and zone: cut",
      holdMs: CUT_MS,
      agentAlone: true,
      async begin() {
        for (const [here, there] of across) await network.cut(here, there);
      },
      async end() {
        for (const [here, there] of across) await network.heal(here, there);
      },
    });
  }, 120_000);

  fullLengthOnly(
    "zone and zone, cut, and the follower killed and started meanwhile: the zone is served from what it kept",
    async () => {
      const across = ["dns-0", "report-0", "database"].flatMap((here) =>
        ["dns-1", "agent-0"].map((there) => [at(here), at(there)] as const),
      );
      const row = await scene.run({
        name: "zone and zone: cut, follower killed and started",
        holdMs: CUT_MS,
        agentAlone: true,
        async begin() {
          for (const [here, there] of across) await network.cut(here, there);
          await follower.kill();
          await follower.start();
          const response = await fetch(`${follower.url}/v1/routes/1/1`, {
            headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
          });
          expect(response.status).toBe(200);
        },
        async end() {
          for (const [here, there] of across) await network.heal(here, there);
        },
      });
      keepFaultRow("zones", row);
      expect(row.lost).toBe(0);
      expect(row.leasesKept).toBe(LEASES.count);
      expect(row.failed).toBe(0);
      expect(row.stored).toBe(row.reported);
    },
  );
});
