// Links cut without a word (packets vanish) and cables pulled, between machines that are network namespaces: dns, report
// and the database on one each, the agent with its callers on another.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startLars } from "../support/lars-processes.ts";
import { type Mariadb, startMariadb } from "../support/mariadb.ts";
import { type Machine, Network } from "../support/network.ts";
import { type Fault, FaultScene, LEASES } from "./fault-scene.ts";
import { fullLengthOnly, holdMs, keepFaultRow } from "./fault-table.ts";
import { reasonAgainst, unless } from "./permitted.ts";

const CUT_MS = holdMs(2500);
/** Of a dns that is cut off while it holds the write lock. */
const MID_TRANSACTION_MS = holdMs(6500);
/** How long others may have to wait for that lock. */
const MAX_PAUSE_S = 5.9;

const refused = await reasonAgainst(async () => (await Network.open()).close());

describe.skipIf(refused !== undefined)(`links${unless(refused)}`, () => {
  let network: Network;
  let mariadb: Mariadb;
  let scene: FaultScene;
  const machines = new Map<string, Machine>();
  const at = (name: string): Machine => machines.get(name)!;

  beforeAll(async () => {
    network = await Network.open();
    for (const name of ["database", "dns-0", "dns-1", "report-0", "agent-0"]) {
      machines.set(name, await network.machine(name));
    }
    mariadb = await startMariadb({ placement: at("database") });
    const lars = await startLars({
      databaseUrl: await mariadb.createDatabase("lars_links"),
      dns: 2,
      place: (name, i) => at(`${name}-${i}`),
      env: { LARS_ALLOW_INSECURE: "true" },
    });
    scene = new FaultScene(lars, { callersCommand: at("agent-0").command });
    await scene.prepare();
  }, 180_000);

  afterAll(async () => {
    await scene?.stop();
    await mariadb?.remove();
    await network?.close();
  }, 60_000);

  async function usedDns(): Promise<Machine> {
    return at(`dns-${scene.lars.dns.indexOf(await scene.usedDns())}`);
  }

  function cut(name: string, pairs: () => Promise<readonly (readonly [Machine, Machine])[]>): Fault {
    let cuts: readonly (readonly [Machine, Machine])[] = [];
    return {
      name: `${name}: cut`,
      holdMs: CUT_MS,
      async begin() {
        cuts = await pairs();
        for (const [one, other] of cuts) await network.cut(one, other);
      },
      async end() {
        for (const [one, other] of cuts) await network.heal(one, other);
      },
    };
  }

  function unplugged(name: string, machine: () => Promise<Machine> | Machine): Fault {
    let victim: Machine;
    return {
      name: `${name}: cable pulled`,
      holdMs: CUT_MS,
      async begin() {
        victim = await machine();
        await network.unplug(victim);
      },
      end: () => network.plugIn(victim),
    };
  }

  async function harmless(fault: Fault): Promise<void> {
    const row = await scene.run(fault);
    keepFaultRow("links", row);
    expect(row.lost).toBe(0);
    expect(row.leasesKept).toBe(LEASES.count);
    expect(row.failed).toBe(0);
    expect(row.stored).toBe(row.reported);
  }

  test("the link between the agent and its dns, cut: the agent moves to the other", async () => {
    await harmless(cut("agent and its dns", async () => [[at("agent-0"), await usedDns()]]));
  }, 120_000);

  fullLengthOnly(
    "the links between the agent and every dns, cut: no pick fails, and the changes come when they heal",
    async () => {
      await harmless({
        ...cut("agent and every dns", async () => [
          [at("agent-0"), at("dns-0")],
          [at("agent-0"), at("dns-1")],
        ]),
        agentAlone: true,
      });
    },
  );

  fullLengthOnly("the agent's cable pulled: no pick fails on its machine, and no call is lost", async () => {
    await harmless({ ...unplugged("agent", () => at("agent-0")), agentAlone: true });
  });

  fullLengthOnly("the link between one dns and the database, cut: writes move to the other dns", async () => {
    await harmless(cut("the agent's dns and the database", async () => [[await usedDns(), at("database")]]));
  });

  test("a dns cut off from the database in the middle of its transactions does not keep the others from writing", async () => {
    const row = await scene.run({
      name: "a dns and the database, in mid-transaction: cut",
      holdMs: MID_TRANSACTION_MS,
      async begin() {
        // So many changes that some transaction is open at whatever moment (fetch makes 256 requests at a time).
        const [busy] = scene.lars.dns;
        const burst = Array.from({ length: 150 }, (_, i) =>
          scene.lars
            .admin("PUT", `/v1/routes/9/${1 + i}`, { hosts: [{ ip: "10.9.9.9", port: 1 + i }] }, busy)
            .then(({ status }) => status),
        );
        await Promise.race(burst);
        await network.cut(at("dns-0"), at("database"));
        void Promise.allSettled(burst);
      },
      end: () => network.heal(at("dns-0"), at("database")),
    });
    keepFaultRow("links", row);
    expect(row.lost).toBe(0);
    expect(row.leasesKept).toBe(LEASES.count);
    expect(row.failed).toBe(0);
    expect(row.pauseS).toBeLessThan(MAX_PAUSE_S);
  }, 120_000);

  fullLengthOnly("the database's cable pulled: no pick fails, no acknowledged write and no call is lost", async () => {
    await harmless(unplugged("database", () => at("database")));
  });
});
