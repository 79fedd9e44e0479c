// How many answers an address gets: time as the test says.
import { expect, test } from "bun:test";
import { type RateVerdict, ResponseRate } from "../../src/agent/response-rate.ts";

function count(rate: ResponseRate, address: string, queries: number, nowMs: number): Record<RateVerdict, number> {
  const verdicts = { answer: 0, "use-tcp": 0, drop: 0 };
  for (let i = 0; i < queries; i++) verdicts[rate.judge(address, nowMs)]++;
  return verdicts;
}

test("an address gets one second's worth at once; of the queries beyond, half are told to use TCP, half get nothing", () => {
  const rate = new ResponseRate(() => 10);
  expect(count(rate, "10.0.0.1", 30, 1000)).toEqual({ answer: 10, "use-tcp": 10, drop: 10 });
  expect(rate.counts).toEqual({ toldToUseTcp: 10, dropped: 10, forgotten: 0 });
  // Others are not held to account for it.
  expect(count(rate, "10.0.0.2", 10, 1000).answer).toBe(10);
  expect(count(rate, "10.0.0.1", 10, 1300).answer).toBe(3);
  expect(count(rate, "10.0.0.1", 100, 60_000).answer).toBe(10);
});

test("a rate that is configured anew counts at once", () => {
  let perSecond = 10;
  const rate = new ResponseRate(() => perSecond);
  expect(count(rate, "10.0.0.1", 20, 0).answer).toBe(10);
  perSecond = 2;
  expect(count(rate, "10.0.0.1", 20, 10_000).answer).toBe(2);
});

test("loopback is exempt, however it is written; what only looks like it is not", () => {
  const rate = new ResponseRate(() => 1);
  for (const address of ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]) {
    expect(count(rate, address, 50, 0)).toEqual({ answer: 50, "use-tcp": 0, drop: 0 });
  }
  for (const address of ["1127.0.0.1", "12.7.0.1", "::12", "::ffff:12.0.0.1"]) {
    expect(count(rate, address, 50, 0).answer).toBe(1);
  }
});

test("addresses are remembered up to a bound; the one unheard of for longest is forgotten first", () => {
  const rate = new ResponseRate(() => 1, 3);
  for (const address of ["a", "b", "c"]) rate.judge(address, 0);
  expect(rate.judge("a", 0)).toBe("use-tcp");
  expect(rate.judge("d", 0)).toBe("answer");
  expect(rate.addresses).toBe(3);
  expect(rate.counts.forgotten).toBe(1);
  expect(rate.judge("a", 0)).toBe("drop");
  expect(rate.judge("b", 0)).toBe("answer");
  for (let i = 0; i < 1000; i++) rate.judge(`10.0.${i >> 8}.${i & 255}`, 0);
  expect(rate.addresses).toBe(3);
});
