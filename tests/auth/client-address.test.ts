// Who counts as one caller when guesses are counted.
import { expect, test } from "bun:test";
import { callerKey } from "../../src/auth/client-address.ts";

test.each([
  ["10.1.2.3", "10.1.2.3"],
  ["::ffff:10.1.2.3", "10.1.2.3"],
  ["::FFFF:10.1.2.3", "10.1.2.3"],
  ["::ffff:a01:203", "10.1.2.3"],
  ["0:0:0:0:0:ffff:a01:203", "10.1.2.3"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::1", "2001:db8:1:2::/64"],
  ["2001:0DB8:0001:0002:ffff::", "2001:db8:1:2::/64"],
  ["2001:db8:1:3::1", "2001:db8:1:3::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["::", "0:0:0:0::/64"],
  ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
  [undefined, "unknown"],
  ["", "unknown"],
])("%p counts as %p", (address, key) => {
  expect(callerKey(address)).toBe(key);
});

test.each(["1:2:3", "1::2::3", "1:2:3:4:5:6:7:8:9", "g::1", "12345::", "1:2:3:4:5:6:7:8::", ":", "unix:/socket"])(
  "%p, which is no address, counts as itself",
  (text) => {
    expect(callerKey(text)).toBe(text);
  },
);

test("what a runtime hands in is kept to 64 characters", () => {
  expect(callerKey("x".repeat(1000))).toHaveLength(64);
  expect(callerKey(":".repeat(1000))).toHaveLength(64);
});
