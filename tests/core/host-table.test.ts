// The hosts of a route in numbers, and their states made one by one, against plain lists.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Host, makeHost, normalizeHosts, sameHosts } from "../../src/core/assignment.ts";
import { HostSubset, HostTable } from "../../src/core/host-table.ts";
import { PackedHosts } from "../../src/core/packed-hosts.ts";

const anyHost = fc
  .tuple(
    fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }),
    fc.integer({ min: 1, max: 65_535 }),
    fc.constantFrom(1, 100, 10_000),
    fc.constantFrom("", "a", "ä"),
  )
  .map(([ip, port, weight, zone]) => makeHost(ip, port, { weight, zone }));

function tableOf(hosts: readonly Host[]): HostTable {
  return new HostTable(PackedHosts.of(hosts), { windowMs: 30_000, sinceMs: 77 });
}

describe("packed hosts", () => {
  test("are the hosts they were made of, in their order, and equal to those and no others", () => {
    fc.assert(
      fc.property(fc.array(anyHost, { maxLength: 30 }), fc.array(anyHost, { maxLength: 3 }), (hosts, others) => {
        const packed = PackedHosts.of(hosts);
        expect([...packed]).toEqual(hosts);
        expect(packed.unpack()).toEqual(hosts);
        expect(packed.length).toBe(hosts.length);
        const arrived = PackedHosts.of(structuredClone(packed.toMessage()));
        expect(arrived.equals(packed) && arrived.equals(hosts)).toBe(true);
        expect(packed.equals(hosts)).toBe(true);
        expect(packed.equals(others)).toBe(sameHosts(hosts, others));
        for (const [i, host] of hosts.entries()) {
          expect(packed.indexOf(host.ip, host.port)).toBe(
            hosts.findIndex(({ ip, port }) => ip === host.ip && port === host.port),
          );
          const changed = hosts.with(i, { ...host, zone: "elsewhere" });
          expect(packed.equals(changed)).toBe(false);
          expect(packed.equals(hosts.with(i, { ...host, weight: host.weight + 1 }))).toBe(false);
        }
      }),
      { seed: 4 },
    );
  });

  test("are sorted when normalized, and not when two are exchanged or one is there twice", () => {
    fc.assert(
      fc.property(fc.array(anyHost, { minLength: 2, maxLength: 20 }), fc.nat(), (hosts, at) => {
        const sorted = normalizeHosts(hosts);
        expect(PackedHosts.of(sorted).isSorted).toBe(true);
        expect(PackedHosts.of([sorted[0]!, ...sorted]).isSorted).toBe(false);
        if (sorted.length < 2) return;
        const i = at % (sorted.length - 1);
        const exchanged = sorted.with(i, sorted[i + 1]!).with(i + 1, sorted[i]!);
        expect(PackedHosts.of(exchanged).isSorted).toBe(false);
      }),
      { seed: 6 },
    );
  });

  test("that are packed already are not packed again", () => {
    const packed = PackedHosts.of([makeHost(1, 80)]);
    expect(PackedHosts.of(packed)).toBe(packed);
    expect(PackedHosts.of([])).toBe(PackedHosts.NONE);
  });
});

describe("a host table", () => {
  test("finds every host of 1 to 100 and nobody else", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(anyHost, { maxLength: 100, selector: ({ ip, port }) => `${ip}:${port}` }),
        anyHost,
        (hosts, stranger) => {
          const table = tableOf(hosts);
          for (const [i, { ip, port }] of hosts.entries()) expect(table.indexOf(ip, port)).toBe(i);
          const isKnown = ({ ip, port }: Host): boolean => ip === stranger.ip && port === stranger.port;
          expect(table.indexOf(stranger.ip, stranger.port)).toBe(hosts.findIndex(isKnown));
          expect(table.states).toBe(0);
        },
      ),
      { seed: 5 },
    );
  });

  test("makes a host's state when it is first asked for, once, and gives a view without keeping it", () => {
    const table = tableOf([makeHost(1, 80), makeHost(2, 80, { weight: 7, zone: "a" }), makeHost(3, 80)]);
    expect([table.made(1), table.states]).toEqual([undefined, 0]);
    expect(table.view(1)).toMatchObject({ ip: 2, port: 80, weight: 7, zone: "a", sinceMs: 77 });
    expect(table.made(1)).toBeUndefined();
    const host = table.at(1);
    expect([table.at(1), table.made(1), table.view(1)].every((each) => each === host)).toBe(true);
    expect(table.states).toBe(1);
    expect([table.made(0), table.made(2)]).toEqual([undefined, undefined]);
  });

  test("a subset names the table's own hosts", () => {
    const table = tableOf([makeHost(1, 81), makeHost(2, 82, { weight: 7 }), makeHost(3, 83)]);
    const subset = new HostSubset(table, Int32Array.of(2, 1));
    expect(subset.length).toBe(2);
    expect(subset.at(0)).toBe(table.at(2));
    expect([subset.ipAt(1), subset.portAt(1), subset.weightAt(1)]).toEqual([2, 82, 7]);
    expect(table.made(1)).toBeUndefined();
  });
});
