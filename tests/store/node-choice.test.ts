import { expect, test } from "bun:test";
import fc from "fast-check";
import { NodeChoice } from "../../src/store/mysql/node-choice.ts";
import { judgeNode, type NodeRank } from "../../src/store/mysql/node-state.ts";

const STEADY_MS = 10_000;

const GALERA = { wsrep_on: "ON", wsrep_ready: "ON", wsrep_cluster_status: "Primary", wsrep_local_state: "4" };

for (const [facts, rank, what] of [
  [{}, 0, "a plain server serves"],
  [{ wsrep_on: "OFF", wsrep_ready: "OFF", wsrep_cluster_status: "Disconnected" }, 0, "MariaDB without Galera serves"],
  [GALERA, 0, "a synced Galera node serves"],
  [{ ...GALERA, wsrep_local_state: "2" }, 1, "a donor may stand still"],
  [{ ...GALERA, wsrep_local_state: "3" }, 3, "a node that catches up refuses"],
  [{ ...GALERA, wsrep_local_state: "1" }, 3, "a joiner refuses"],
  [{ ...GALERA, wsrep_ready: "OFF" }, 3, "a node that is not ready refuses"],
  [{ ...GALERA, wsrep_cluster_status: "non-Primary" }, 3, "a node of the smaller part refuses"],
  [{ read_only: "ON" }, 2, "a replica takes reads"],
  [{ read_only: "1", super_read_only: "ON" }, 2, "a secondary takes reads"],
  [{ ...GALERA, read_only: "ON" }, 2, "a Galera node set to read-only takes reads"],
] as const) {
  test(`${what} (rank ${rank})`, () => {
    const map = new Map(Object.entries(facts));
    const state = judgeNode(map, map);
    expect(state.rank).toBe(rank);
    expect(state.reason === "").toBe(rank === 0);
  });
}

test("the first node is asked first; one that failed is asked last until it is found usable again", () => {
  const choice = new NodeChoice(3, STEADY_MS);
  expect(choice.candidates()).toEqual([0, 1, 2]);
  choice.lose(0);
  expect(choice.candidates()).toEqual([1, 2, 0]);
  choice.lose(1);
  expect(choice.candidates()).toEqual([2, 0, 1]);
  choice.asked(0, 0, 0);
  expect(choice.candidates()).toEqual([0, 2, 1]);
});

test("a preferred node is gone back to after 10 s of serving without a break, a better kind of node at once", () => {
  const choice = new NodeChoice(3, STEADY_MS);
  choice.take(0, 0, 0);
  choice.lose(0);
  choice.take(1, 0, 100);
  expect(choice.better()).toEqual([0]);
  expect(choice.asked(0, 0, 1_000)).toBe(false);
  choice.lose(0);
  expect(choice.current).toBe(1);
  expect(choice.asked(0, 0, 9_000)).toBe(false);
  expect(choice.asked(0, 0, 18_999)).toBe(false);
  expect(choice.asked(0, 0, 19_000)).toBe(true);
  expect(choice.current).toBe(0);
  // It becomes a donor: any other that serves fully is better, though less preferred.
  choice.asked(0, 1, 20_000);
  expect(choice.better()).toEqual([1, 2]);
  expect(choice.asked(2, 1, 20_001)).toBe(false);
  expect(choice.asked(2, 0, 20_002)).toBe(true);
  choice.lose(1);
  expect(choice.asked(1, 0, 20_003)).toBe(false);
  expect(choice.current).toBe(2);
});

test("a refusal of the node in use leaves none in use; of another, changes nothing", () => {
  const choice = new NodeChoice(2, STEADY_MS);
  choice.take(0, 0, 0);
  choice.asked(1, 3, 1);
  expect(choice.current).toBe(0);
  choice.asked(0, 3, 2);
  expect(choice.current).toBeUndefined();
  expect(choice.better()).toEqual([]);
});

test("whatever happens, instances that see the same nodes serve from then on meet on the first of them", () => {
  const event = fc.record({ node: fc.nat(2), rank: fc.constantFrom<NodeRank[]>(0, 1, 2, 3), afterMs: fc.nat(20_000) });
  fc.assert(
    fc.property(fc.array(fc.array(event, { maxLength: 20 }), { minLength: 2, maxLength: 2 }), (histories) => {
      const ends = histories.map((events) => {
        const choice = new NodeChoice(3, STEADY_MS);
        let nowMs = 0;
        const elect = () => {
          if (choice.current === undefined) choice.take(choice.candidates()[0]!, 0, nowMs);
        };
        for (const { node, rank, afterMs } of events) {
          nowMs += afterMs;
          choice.asked(node, rank, nowMs);
          elect();
        }
        // From now on all serve, and are asked as the pool asks.
        for (let i = 0; i < 20; i++) {
          nowMs += 3_000;
          elect();
          choice.asked(choice.current!, 0, nowMs);
          for (const node of choice.better()) choice.asked(node, 0, nowMs);
        }
        return choice.current;
      });
      expect(ends).toEqual([0, 0]);
    }),
  );
});
