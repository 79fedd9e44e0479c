// The hosts of a route in numbers, and their states made one by one, against plain lists.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { diffHosts, type Host, hostKey, makeHost, normalizeHosts, sameHosts } from "../../src/core/assignment.ts";
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

  test("differ from others by what a comparison of lists finds, and name where each host was", () => {
    const few = fc
      .uniqueArray(fc.integer({ min: -6, max: 6 }), { maxLength: 12 })
      .chain((ips) =>
        fc.tuple(
          ...ips.map((ip) =>
            fc
              .tuple(fc.constantFrom(1, 100), fc.constantFrom("", "a", "b"))
              .map(([weight, zone]) => makeHost(ip, 80, { weight, zone })),
          ),
        ),
      )
      .map(normalizeHosts);
    fc.assert(
      fc.property(few, few, (before, after) => {
        const [then, now] = [
          PackedHosts.of(before),
          PackedHosts.of(structuredClone(PackedHosts.of(after).toMessage())),
        ];
        const { from, joined, left, changed } = now.differenceFrom(then);
        const found = {
          added: joined.map((i) => now.host(i)),
          changed: changed.map((i) => now.host(i)),
          removed: left.map((i) => then.host(i)),
        };
        expect(found).toEqual(diffHosts(before, after) as typeof found);
        const places = after.map(({ ip }) => before.findIndex((host) => host.ip === ip));
        if (joined.length > 0 || left.length > 0) expect([...from!]).toEqual(places);
        else expect(from).toBeUndefined();
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  test("are sorted into what a normalized list is, the last of equal endpoints kept; positions are found in it", () => {
    fc.assert(
      fc.property(fc.array(anyHost, { maxLength: 30 }), anyHost, (hosts, stranger) => {
        const sorted = PackedHosts.of(hosts).sorted();
        const expected = normalizeHosts(hosts.toReversed());
        expect([...sorted]).toEqual(expected as Host[]);
        expect(sorted.sorted()).toBe(sorted);
        for (const { ip, port } of [...hosts, stranger]) {
          const upTo = expected.filter((host) => hostKey(host) <= hostKey({ ip, port })).length;
          expect(sorted.countUpTo(ip, port)).toBe(upTo);
        }
        for (const zone of ["", "a", "elsewhere"]) {
          expect([...sorted.marksOf(zone)]).toEqual(expected.map((host) => (host.zone === zone ? 1 : 0)));
        }
      }),
      { seed: 8 },
    );
  });

  test("of 64 and more travel as memory, zones by number, and arrive the same", () => {
    for (const size of [63, 64, 200]) {
      const hosts = Array.from({ length: size }, (_, i) => makeHost(i, 80, { zone: `zone ${i % 3}` }));
      const message = PackedHosts.of(hosts).toMessage();
      expect(message.numbers instanceof Int32Array).toBe(size >= 64);
      expect(PackedHosts.of(structuredClone(message)).unpack()).toEqual(hosts);
    }
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

  test("follows a route: hosts that stay keep their state, with their new weight and zone, and are found", () => {
    const subset = fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(subset, subset, subset, (before, after, called) => {
        const route = (ips: readonly number[], weight: number, zone: string): PackedHosts =>
          PackedHosts.of(ips.map((ip) => makeHost(ip, 80, { weight, zone }))).sorted();
        const then = new HostTable(route(before, 1, "a"), { windowMs: 30_000, sinceMs: 77 });
        const known = new Map(
          called.filter((ip) => before.includes(ip)).map((ip) => [ip, then.at(then.indexOf(ip, 80))]),
        );
        const next = route(after, 2, "b");
        const table = then.follow(next, next.differenceFrom(then.route));
        for (const ip of after) {
          const host = table.made(table.indexOf(ip, 80));
          expect(host).toBe(known.get(ip));
          if (host !== undefined) expect([host.ip, host.weight, host.zone]).toEqual([ip, 2, "b"]);
        }
        for (const ip of before) if (!after.includes(ip)) expect(table.indexOf(ip, 80)).toBe(-1);
        expect(table.states).toBe(after.filter((ip) => known.has(ip)).length);
      }),
      { seed: 9 },
    );
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
