// A three-node Galera cluster under two dns and two report: one of its nodes killed and stopped, the one that takes the
// writes and another.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Galera, type GaleraNode, startGalera } from "../support/galera.ts";
import { startLars } from "../support/lars-processes.ts";
import { type Fault, FaultScene, LEASES } from "./fault-scene.ts";
import { fullLengthOnly, holdMs, keepFaultRow } from "./fault-table.ts";

const DATABASE = "lars_galera_faults";
const HOLD_MS = holdMs(4000);

let galera: Galera;
/** A node that was killed and comes back. */
let starting: Promise<void> | undefined;
let scene: FaultScene;

beforeAll(async () => {
  galera = await startGalera();
  const lars = await startLars({ databaseUrl: await galera.createDatabase(DATABASE), dns: 2, report: 2 });
  scene = new FaultScene(lars);
  await scene.prepare();
}, 120_000);

afterAll(async () => {
  await scene?.stop();
  await galera?.remove();
}, 120_000);

/** The node that our processes are connected to. */
async function writtenNode(): Promise<GaleraNode> {
  const counts = await Promise.all(
    galera.nodes.map(async (node) => {
      const rows = await node.sql(
        undefined,
        `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '${DATABASE}'`,
      );
      return Number(rows[0]![0]);
    }),
  );
  return galera.node(counts.indexOf(Math.max(...counts)));
}

async function otherNode(): Promise<GaleraNode> {
  const written = await writtenNode();
  return galera.nodes.find((node) => node !== written)!;
}

function killed(name: string, choose: () => Promise<GaleraNode>): Fault {
  let node: GaleraNode;
  return {
    name: `${name}: SIGKILL`,
    holdMs: HOLD_MS,
    async begin() {
      node = await choose();
      await node.kill();
    },
    // What heals is the rest; the node itself takes its time to come back.
    end() {
      starting = node.start();
      starting.catch(() => {});
    },
  };
}

function stopped(name: string, choose: () => Promise<GaleraNode>): Fault {
  let node: GaleraNode;
  return {
    name: `${name}: SIGSTOP`,
    holdMs: HOLD_MS,
    async begin() {
      node = await choose();
      node.pause();
    },
    end: () => node.resume(),
  };
}

async function harmless(fault: Fault): Promise<void> {
  await starting;
  await galera.heal();
  const row = await scene.run(fault);
  keepFaultRow("galera", row);
  expect(row.lost).toBe(0);
  expect(row.leasesKept).toBe(LEASES.count);
  expect(row.failed).toBe(0);
  expect(row.stored).toBe(row.reported);
}

fullLengthOnly("a node that takes no writes, killed: no pick fails, nothing acknowledged is lost", async () => {
  await harmless(killed("a node that takes no writes", otherNode));
});

fullLengthOnly("a node that takes no writes, stopped: no pick fails, nothing acknowledged is lost", async () => {
  await harmless(stopped("a node that takes no writes", otherNode));
});

fullLengthOnly("the node that takes the writes, stopped: no pick fails, nothing acknowledged is lost", async () => {
  await harmless(stopped("the node that takes the writes", writtenNode));
});

test("the node that takes the writes, killed: no pick fails, nothing acknowledged is lost", async () => {
  await harmless(killed("the node that takes the writes", writtenNode));
}, 180_000);
