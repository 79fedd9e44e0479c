// Losses of reports are told from calls under way: a module's picks and reports in virtual time.
import { expect, test } from "bun:test";
import { ReportLosses } from "../../src/core/report-losses.ts";

/** Plays seconds of `rate` picks, each reported `latencyMs` later unless `lost(i)`. Returns the verdict of every second. */
function play(
  seconds: number,
  rate: number,
  latencyMs: (i: number) => number,
  lost: (i: number) => boolean,
): boolean[] {
  const losses = new ReportLosses();
  const verdicts: boolean[] = [];
  const reportsAt: number[] = [];
  for (let i = 0; i < seconds * rate; i++) {
    const nowMs = (i * 1000) / rate;
    while (reportsAt.length > 0 && reportsAt[0]! <= nowMs) {
      reportsAt.shift();
      losses.reported();
    }
    if (losses.isDue(nowMs)) losses.judge(nowMs, latencyMs(i));
    const lossy = losses.isLossy;
    if (i % rate === 0) verdicts.push(lossy);
    losses.picked();
    if (!lost(i)) reportsAt.push(nowMs + latencyMs(i));
  }
  return verdicts;
}

test("where every pick is reported nothing is lost, however long calls take and whenever that changes", () => {
  expect(
    play(
      40,
      200,
      () => 20,
      () => false,
    ),
  ).not.toContain(true);
  expect(
    play(
      40,
      200,
      () => 900,
      () => false,
    ),
  ).not.toContain(true);
  expect(
    play(
      40,
      200,
      (i) => (i < 2000 ? 20 : 400),
      () => false,
    ),
  ).not.toContain(true);
});

test("one report in twenty that never comes is noticed within ten seconds, and forgotten a minute after it stops", () => {
  const verdicts = play(
    120,
    200,
    () => 20,
    (i) => i < 30 * 200 && i % 20 === 0,
  );
  expect(verdicts.slice(10, 30)).not.toContain(false);
  expect(verdicts.slice(100)).not.toContain(true);
});

test("a few picks say nothing", () => {
  expect(
    play(
      60,
      2,
      () => 20,
      () => true,
    ),
  ).not.toContain(true);
});
