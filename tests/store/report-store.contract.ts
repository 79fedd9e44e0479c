// What every report store does. Run by sqlite.test.ts and mariadb.external.ts.
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Database } from "../../src/store/database.ts";
import type { RunningTotal, StatusRow, WindowCount } from "../../src/store/report-store.ts";
import { propertyRuns } from "../support/fuzz-random.ts";
import type { MakeDatabase, TestDatabase } from "./store-fixture.ts";

const A = "00000000000000aa";
const B = "00000000000000bb";

function window(options: Partial<WindowCount> = {}): WindowCount {
  return {
    modid: 1,
    cmdid: 2,
    ip: 0x0a000001,
    port: 80,
    caller: 0x7f000001,
    succ: 0,
    err: 0,
    overload: false,
    ts: 100,
    ...options,
  };
}

function total(seq: number, succ: number, err = 0, options: Partial<RunningTotal> = {}): RunningTotal {
  return { ...window({ succ, err }), instance: A, seq, ...options };
}

export function reportStoreContract(name: string, make: MakeDatabase, timeout = 20_000): void {
  describe(`${name}: report store`, () => {
    const opened: Database[] = [];
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((database) => database.close()));
    });

    async function fresh() {
      const database = await make();
      const clock = { now: 1_000_000 };
      const open = async (from: TestDatabase = database) => {
        const store = await from.open({ now: () => clock.now });
        opened.push(store);
        return store;
      };
      const store = await open();
      await store.migrate();
      return { database, store, reports: store.reports, open, clock };
    }

    async function counts(store: Database): Promise<[number, number]> {
      const rows = await store.reports.status({ limit: 10 });
      expect(rows).toHaveLength(1);
      return [rows[0]!.succ, rows[0]!.err];
    }

    test("window counts overwrite, as the C++ agents expect", async () => {
      const { reports, database } = await fresh();
      await reports.apply([], [window({ succ: 5, err: 1, ts: 100 })]);
      await reports.apply([], [window({ succ: 3, err: 2, ts: 101, overload: true })]);
      expect(await reports.status({ limit: 10 })).toEqual([window({ succ: 3, err: 2, ts: 101, overload: true })]);
      expect(await database.sql("SELECT modid, ip, caller, succ_cnt, overload FROM ServerCallStatus")).toEqual([
        [1, 0x0a000001, 0x7f000001, 3, "1"],
      ]);
    });

    test("running totals are added by their difference: a frame repeated, late or lost neither doubles nor loses a call", async () => {
      const { store, reports } = await fresh();
      await reports.apply([total(1, 10, 1)], []);
      await reports.apply([total(1, 10, 1)], []);
      expect(await counts(store)).toEqual([10, 1]);
      await reports.apply([total(4, 40, 4)], []);
      await reports.apply([total(3, 30, 3)], []);
      expect(await counts(store)).toEqual([40, 4]);
      await reports.apply([total(5, 40, 4, { ts: 200, overload: true })], []);
      expect(await store.reports.status({ limit: 10 })).toEqual([
        window({ succ: 40, err: 4, ts: 200, overload: true }),
      ]);
    });

    test("a late frame does not turn back the time or the verdict", async () => {
      const { reports } = await fresh();
      await reports.apply([total(2, 20, 0, { ts: 200, overload: true })], []);
      await reports.apply([total(1, 10, 0, { ts: 100 })], []);
      expect(await reports.status({ limit: 1 })).toEqual([window({ succ: 20, ts: 200, overload: true })]);
    });

    test("two instances of one caller, alternating or in one batch, add up", async () => {
      const { store, reports } = await fresh();
      await reports.apply([total(1, 10)], []);
      await reports.apply([total(1, 5, 1, { instance: B })], []);
      await reports.apply([total(2, 12)], []);
      await reports.apply([total(3, 20), total(2, 6, 2, { instance: B })], []);
      expect(await counts(store)).toEqual([26, 2]);
    });

    test("totals that wrap at 2^32 go on growing", async () => {
      const { store, reports } = await fresh();
      await reports.apply([total(1, 0xffff_fff0, 0xffff_ffff)], []);
      await reports.apply([total(2, 0x10, 0)], []);
      expect(await counts(store)).toEqual([0x1_0000_0010, 0x1_0000_0000]);
      await reports.apply([total(3, 0xffff_ffff, 0xffff_ffff)], []);
      await reports.apply([total(4, 0xffff_fffe, 0xffff_fffe)], []);
      expect(await counts(store)).toEqual([
        0x1_0000_0010 + 0xffff_ffef + 0xffff_ffff,
        0x1_0000_0000 + 0xffff_ffff + 0xffff_ffff,
      ]);
    });

    test("a report service that restarts goes on where the last one stopped", async () => {
      const { reports, open } = await fresh();
      await reports.apply([total(1, 10)], []);
      const restarted = await open();
      await restarted.reports.apply([total(1, 10)], []);
      await restarted.reports.apply([total(2, 25)], []);
      expect(await counts(restarted)).toEqual([25, 0]);
    });

    test("negative ids and high addresses are kept, and what follows a row is paged in SQL's order", async () => {
      const { reports } = await fresh();
      const rows = [
        window({ modid: -5, cmdid: -1, ip: 0xc0a80001 | 0, caller: 0xffffffff | 0 }),
        window({ modid: 1, cmdid: 2, ip: 1, caller: 1 }),
        window({ modid: 1, cmdid: 2, ip: 1, caller: 2 }),
        window({ modid: 1, cmdid: 2, ip: 0x80000000 | 0, port: 79 }),
        window({ modid: 1, cmdid: 2, ip: 0x80000000 | 0, port: 80 }),
        window({ modid: 1, cmdid: 3 }),
        window({ modid: 2, cmdid: 2 }),
      ];
      await reports.apply([], [...rows].reverse());
      const key = (row: StatusRow) => [row.modid, row.cmdid, row.ip >>> 0, row.port, row.caller >>> 0] as const;
      const paged: StatusRow[] = [];
      for (;;) {
        const last = paged.at(-1);
        const page = await reports.status({ limit: 2, after: last === undefined ? undefined : key(last) });
        paged.push(...page);
        if (page.length < 2) break;
      }
      expect(paged).toEqual(rows);
      expect(await reports.status({ modid: 1, cmdid: 3, limit: 9 })).toEqual([rows[5]!]);
      expect(await reports.status({ cmdid: 2, limit: 9 })).toHaveLength(5);
    });

    test("cursors of instances that fell silent are forgotten, the others are not", async () => {
      const { store, reports, clock, database } = await fresh();
      await reports.apply([total(1, 10), total(1, 7, 0, { instance: B, ip: 9 })], []);
      clock.now += 1000;
      await reports.apply([total(2, 11)], []);
      expect(await reports.pruneCursors(clock.now, 0)).toBe(1);
      expect(await reports.pruneCursors(clock.now, 0)).toBe(0);
      expect(await database.sql("SELECT instance FROM lars_agent_instance WHERE pruned_at_ms = 0")).toEqual([[A]]);
      expect(await database.sql("SELECT ip, succ FROM lars_call_cursor")).toEqual([[0x0a000001, 11]]);
      await reports.apply([total(3, 12)], []);
      expect((await store.reports.status({ limit: 9 })).map(({ succ }) => succ)).toEqual([7, 12]);
    });

    test("an instance that returns after its cursors were forgotten is counted from the first totals it tells, not twice", async () => {
      const { reports, clock, database } = await fresh();
      const succ = async () => (await reports.status({ limit: 9 })).map((row) => row.succ);
      await reports.apply([total(1, 1000, 10), total(1, 7, 0, { ip: 9 })], []);
      clock.now += 1000;
      await reports.pruneCursors(clock.now, 0);
      expect(await database.sql("SELECT COUNT(*) FROM lars_call_cursor")).toEqual([[0]]);
      await reports.apply([total(2, 1005, 10)], []);
      expect(await succ()).toEqual([7, 1000]);
      await reports.apply([total(3, 1006, 11), total(3, 8, 0, { ip: 9 })], []);
      await reports.apply([total(4, 9, 0, { ip: 9 })], []);
      expect(await succ()).toEqual([8, 1001]);
      // Forgotten altogether: a new instance for all anybody knows.
      clock.now += 1000;
      expect(await reports.pruneCursors(clock.now, clock.now)).toBe(0);
      expect(await database.sql("SELECT COUNT(*) FROM lars_agent_instance")).toEqual([[0]]);
      expect(await database.sql("SELECT COUNT(*) FROM lars_call_cursor")).toEqual([[0]]);
    });

    test("a window that waited through an outage does not replace one that came later, a live one does whatever its time", async () => {
      const { reports } = await fresh();
      await reports.apply([], [window({ succ: 5, ts: 200 }), window({ ip: 9, succ: 5, ts: 200 })]);
      await reports.apply(
        [],
        [
          window({ succ: 1, ts: 199, late: true }),
          window({ ip: 9, succ: 2, ts: 200, late: true }),
          window({ modid: 3, succ: 3, ts: 1, late: true }),
        ],
      );
      expect((await reports.status({ limit: 9 })).map(({ ip, succ }) => [ip, succ])).toEqual([
        [9, 2],
        [0x0a000001, 5],
        [0x0a000001, 3],
      ]);
      await reports.apply([], [window({ succ: 1, ts: 199 })]);
      expect((await reports.status({ limit: 9 }))[1]!.succ).toBe(1);
    });

    test(
      "several report services that count frames of the same agents at once count each call once",
      async () => {
        const { store, open } = await fresh();
        const stores = [store, await open(), await open()];
        const frames: RunningTotal[][] = Array.from({ length: 30 }, (_, i) =>
          ["0a", "0b", "0c"].flatMap((tail) =>
            Array.from({ length: 5 }, (_, ip) =>
              total(i + 1, (i + 1) * 10, i + 1, { instance: `00000000000000${tail}`, ip }),
            ),
          ),
        );
        await Promise.all(
          frames.flatMap((frame, i) => [
            stores[i % 3]!.reports.apply(frame, []),
            stores[(i + 1) % 3]!.reports.apply([...frame].reverse(), []),
          ]),
        );
        const rows = await store.reports.status({ limit: 100 });
        expect(rows.map(({ ip, succ, err }) => [ip, succ, err])).toEqual([0, 1, 2, 3, 4].map((ip) => [ip, 900, 90]));
      },
      timeout,
    );

    test(
      "a batch larger than a statement is stored whole",
      async () => {
        const { reports, database } = await fresh();
        const totals = Array.from({ length: 5_000 }, (_, i) =>
          total(1, i, 1, { modid: i % 700, ip: i, instance: i.toString(16).padStart(16, "0") }),
        );
        const windows = Array.from({ length: 3_000 }, (_, i) => window({ modid: 10_000, ip: i, succ: 1 }));
        await reports.apply(totals, windows);
        await reports.apply(
          totals.map((t) => ({ ...t, seq: 2, succ: t.succ + 2 })),
          windows,
        );
        expect(
          (
            await database.sql("SELECT COUNT(*), SUM(succ_cnt), SUM(err_cnt) FROM ServerCallStatus WHERE modid < 10000")
          )[0]!.map(Number),
        ).toEqual([5_000, (4_999 * 5_000) / 2 + 10_000, 5_000]);
        expect(
          (await database.sql("SELECT COUNT(*), SUM(succ_cnt) FROM ServerCallStatus WHERE modid = 10000"))[0]!.map(
            Number,
          ),
        ).toEqual([3_000, 3_000]);
      },
      timeout,
    );

    test(
      "whatever order frames arrive in, a host's count is the sum of the highest totals seen of each instance",
      async () => {
        const { reports, database, open } = await fresh();
        const frame = fc.record({
          instance: fc.constantFrom(A, B),
          ip: fc.integer({ min: 1, max: 3 }),
          seq: fc.integer({ min: 1, max: 12 }),
          restart: fc.boolean(),
        });
        // Totals are a function of (instance, host, seq) that never decreases, as an agent's are.
        const succOf = (instance: string, ip: number, seq: number) => seq * (instance === A ? 7 : 11) + ip;
        await fc.assert(
          fc.asyncProperty(fc.array(frame, { maxLength: 30 }), async (frames) => {
            await database.sql(
              "DELETE FROM ServerCallStatus",
              "DELETE FROM lars_call_cursor",
              "DELETE FROM lars_agent_instance",
            );
            const highest = new Map<string, [number, number]>();
            let target = reports;
            for (const { instance, ip, seq, restart } of frames) {
              if (restart) target = opened.length > 3 ? opened.at(-1)!.reports : (await open()).reports;
              const succ = succOf(instance, ip, seq);
              await target.apply([total(seq, succ, 0, { instance, ip })], []);
              if (seq > (highest.get(`${instance} ${ip}`)?.[0] ?? 0)) highest.set(`${instance} ${ip}`, [seq, succ]);
            }
            const expected = [1, 2, 3]
              .map((ip) => [A, B].map((instance) => highest.get(`${instance} ${ip}`)?.[1] ?? 0).reduce((a, b) => a + b))
              .filter((sum) => sum > 0);
            expect((await reports.status({ limit: 10 })).map(({ succ }) => succ)).toEqual(expected);
          }),
          { seed: 4242, numRuns: propertyRuns(40) },
        );
      },
      timeout * 2,
    );
  });
}
