import { expect, test } from "bun:test";
import { hashBytes } from "../../src/core/hash.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

test("the published vectors of MurmurHash3_x86_32 come out, every tail length included", () => {
  const vectors: [text: string, seed: number, hash: number][] = [
    ["", 0, 0],
    ["", 1, 0x514e28b7],
    ["", 0xffffffff, 0x81f16f39],
    ["a", 0x9747b28c, 0x7fa09ea6],
    ["aa", 0x9747b28c, 0x5d211726],
    ["aaa", 0x9747b28c, 0x283e0130],
    ["aaaa", 0x9747b28c, 0x5a97808a],
    ["Hello, world!", 0x9747b28c, 0x24884cba],
    ["The quick brown fox jumps over the lazy dog", 0x9747b28c, 0x2fa826cd],
  ];
  for (const [text, seed, hash] of vectors)
    expect([text, hashBytes(utf8(text), 0, utf8(text).length, seed)]).toEqual([text, hash]);
});

test("only the named bytes count, wherever in the buffer they lie", () => {
  const bytes = utf8("xxsession-4711yy");
  expect(hashBytes(bytes, 2, 12)).toBe(hashBytes(utf8("session-4711"), 0, 12));
  expect(hashBytes(bytes, 2, 12)).not.toBe(hashBytes(bytes, 2, 11));
});

test("keys that differ in the last digit spread over 16 buckets within a third of even", () => {
  const buckets = new Array<number>(16).fill(0);
  for (let i = 0; i < 16_000; i++) {
    const key = utf8(`user-${i}`);
    buckets[hashBytes(key, 0, key.length) & 15]!++;
  }
  for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(333);
});
