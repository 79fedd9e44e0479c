import { describe, expect, test } from "bun:test";
import { type OfferedRow, type TakenRow, WaitingRows } from "../../src/report/waiting-rows.ts";
import { makeFuzzRandom, propertyRuns } from "../support/fuzz-random.ts";
import { total, windowOf } from "./intake-rig.ts";

function brief({ ip, instance, caller, succ, seq }: TakenRow): string {
  return `${ip} of ${instance === "" ? `caller ${caller}` : Number.parseInt(instance, 16)}: ${succ} at ${seq}`;
}

describe("a row", () => {
  test("comes out as it went in, whatever its numbers: negative ids, high addresses, counts up to 2^32 - 1", () => {
    const row: OfferedRow = {
      modid: -5,
      cmdid: 0x7fff_ffff,
      ip: 0xc0a8_0001 | 0,
      port: 65535,
      caller: -1,
      succ: 0xffff_ffff,
      err: 0x8000_0000,
      overload: true,
      ts: 0xffff_fffe,
      instanceHigh: 0xffff_ffff,
      instanceLow: 0x8000_0001,
      seq: Number.MAX_SAFE_INTEGER,
    };
    const rows = new WaitingRows(1);
    rows.offer(row, true);
    const { instanceHigh: _high, instanceLow: _low, ...columns } = row;
    const taken = { ...columns, instance: "ffffffff80000001", late: false, number: 1, change: 1 };
    expect(rows.take(9)).toEqual([taken]);
    rows.putBack([taken]);
    expect(rows.offer(row, true)).toBe("stale");
    expect(rows.take(9)).toEqual([{ ...taken, late: true }]);
  });

  test("of a window and of a total never replace each other, even where the caller's number is the instance's", () => {
    const rows = new WaitingRows(1);
    rows.offer(total(8, 1, 1, 7), true);
    rows.offer({ ...windowOf(8, 2, 7) }, true);
    rows.offer({ ...total(8, 3, 1, 0), instanceHigh: 7, instanceLow: 0 }, true);
    expect(rows.take(9).map(brief)).toEqual(["8 of 7: 1 at 1", "8 of caller 7: 2 at 0", "8 of 30064771072: 3 at 1"]);
  });

  test("from the spool gives way to a window that waits and to totals that are newer, and finds room whatever waits", () => {
    const rows = new WaitingRows(1);
    rows.offer(total(1, 5, 5), true);
    rows.offer(total(2, 5, 5), true);
    rows.offer(windowOf(3, 5), true);
    const [first, second, third] = rows.take(3) as [TakenRow, TakenRow, TakenRow];
    rows.putBack([first, second, third]);
    for (const kept of [
      { ...first, succ: 4, seq: 4 },
      { ...second, succ: 6, seq: 6 },
      { ...third, succ: 4 },
    ]) {
      rows.restore(kept);
    }
    rows.restore({ ...third, ip: 4 });
    expect(rows.take(9).map(brief)).toEqual([
      "1 of 1: 5 at 5",
      "2 of 1: 6 at 6",
      "3 of caller 1: 5 at 0",
      "4 of caller 1: 5 at 0",
    ]);
  });
});

interface ModelRow {
  readonly key: string;
  text: string;
  seq: number;
  number: number;
  change: number;
}

test("random histories agree with a list that is searched from the beginning, in content, order, places and changes", () => {
  const SEED = 20_261_120;
  for (let history = 0; history < propertyRuns(30); history++) {
    const random = makeFuzzRandom(SEED + history);
    const rows = new WaitingRows(random.int(0, 0xffff_ffff));
    let model: ModelRow[] = [];
    let held: { taken: TakenRow[]; model: ModelRow[] } | undefined;
    let number = 0;
    let change = 0;
    const hosts = random.int(1, 2) === 1 ? 5 : 3000;
    for (let step = 0; step < (hosts === 5 ? 300 : 8000); step++) {
      const at = `seed ${SEED + history}, step ${step}`;
      const what = random.int(0, 40);
      if (what === 0 && held === undefined) {
        const most = random.int(1, hosts);
        held = { taken: rows.take(most), model: model.splice(0, most) };
        expect([at, held.taken.map(brief)]).toEqual([at, held.model.map(({ text }) => text)]);
      } else if (what === 1 && held !== undefined) {
        if (random.int(0, 1) === 1) {
          rows.putBack(held.taken);
          for (const row of held.model) {
            const newer = model.find(({ key }) => key === row.key);
            if (newer === undefined) continue;
            model = model.filter((other) => other !== newer);
            if (row.key.startsWith("window") || newer.seq >= row.seq) {
              Object.assign(row, { text: newer.text, seq: newer.seq, change: newer.change });
            }
          }
          model = [...held.model, ...model];
        }
        held = undefined;
      } else {
        const ip = random.int(1, hosts);
        const agent = random.int(1, 3);
        const isWindow = random.int(0, 3) === 0;
        const row = isWindow ? windowOf(ip, step, agent) : total(ip, step, random.int(1, step + 1), agent);
        const key = `${isWindow ? "window" : "total"} ${ip} ${agent}`;
        const text = `${ip} of ${isWindow ? `caller ${agent}` : agent}: ${step} at ${row.seq}`;
        const waiting = hosts === 5 ? model.find((other) => other.key === key) : undefined;
        const mayAdd = hosts === 3000 || random.int(0, 9) > 0;
        // A long list is searched too slowly: there, keys occur once.
        const once = hosts === 3000 ? { ...row, cmdid: step } : row;
        const offered = rows.offer(once, mayAdd);
        if (waiting === undefined) {
          expect([at, offered]).toEqual([at, mayAdd ? "added" : "full"]);
          if (mayAdd)
            model.push({
              key: `${key} ${once.cmdid}`.replace(/ 1$/, ""),
              text,
              seq: row.seq,
              number: ++number,
              change: ++change,
            });
        } else if (!isWindow && row.seq <= waiting.seq) {
          expect([at, offered]).toEqual([at, "stale"]);
        } else {
          expect([at, offered]).toEqual([at, "replaced"]);
          Object.assign(waiting, { text, seq: row.seq, change: ++change });
        }
      }
      expect([at, rows.size, rows.firstNumber]).toEqual([at, model.length, model[0]?.number]);
      if (hosts === 5) {
        const since = random.int(0, change);
        expect([at, rows.changedSince(since).map(brief)]).toEqual([
          at,
          model.filter((row) => row.change > since).map((row) => row.text),
        ]);
      }
    }
    expect(rows.take(1e6).map(brief)).toEqual(model.map(({ text }) => text));
  }
});
