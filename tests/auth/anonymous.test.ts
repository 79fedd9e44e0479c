// Who needs no token. (What a token allows is tested where it is asked for: tests/dns, tests/report.)
import { expect, test } from "bun:test";
import { needsNoToken } from "../../src/auth/anonymous.ts";

test.each([
  ["auto", "127.0.0.1", true],
  ["auto", "127.9.9.9", true],
  ["auto", "localhost", true],
  ["auto", "::1", true],
  ["auto", "0.0.0.0", false],
  ["auto", "10.0.0.1", false],
  ["auto", "127.example.com", false],
  ["auto", "localhost.example.com", false],
  [true, "0.0.0.0", true],
  [false, "127.0.0.1", false],
] as const)("anonymous_read %p on %s: %p", (setting, host, expected) => {
  expect(needsNoToken(setting, host)).toBe(expected);
});
