import { expect, test } from "bun:test";
import fc from "fast-check";
import { endpointKey, formatEndpoint, formatIp, isPort, parseEndpoint, parseIp } from "../../src/core/endpoint.ts";

const ip = fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
const port = fc.integer({ min: 1, max: 65535 });

test("addresses are signed host-order integers: 192.168.0.1 is 0xC0A80001", () => {
  expect(parseIp("192.168.0.1")).toBe(0xc0a8_0001 | 0);
  expect(formatIp(0xc0a8_0001 | 0)).toBe("192.168.0.1");
  expect(parseIp("255.255.255.255")).toBe(-1);
  expect(parseIp("0.0.0.0")).toBe(0);
  expect(parseIp("127.255.255.255")).toBe(0x7fff_ffff);
  expect(parseIp("128.0.0.0")).toBe(-0x8000_0000);
});

test("what is not a dotted IPv4 address without leading zeros is refused", () => {
  const texts = ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.999", "01.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.4\n"];
  for (const text of [...texts, "1.2.3.-4", "a.b.c.d", "1..2.3", "::1", "1.2.3.0x4", "１.2.3.4", "localhost"]) {
    expect([text, parseIp(text)]).toEqual([text, undefined]);
  }
});

test("any endpoint is read back as it was written, and no two share a key", () => {
  fc.assert(
    fc.property(ip, port, ip, port, (ip1, port1, ip2, port2) => {
      expect(parseEndpoint(formatEndpoint({ ip: ip1, port: port1 }))).toEqual({ ip: ip1, port: port1 });
      expect(endpointKey(ip1, port1) === endpointKey(ip2, port2)).toBe(ip1 === ip2 && port1 === port2);
      expect(Number.isSafeInteger(endpointKey(ip1, port1))).toBe(true);
    }),
    { seed: 1 },
  );
});

test("a port is 1 to 65535, written without leading zeros", () => {
  for (const text of [
    "1.2.3.4",
    "1.2.3.4:",
    "1.2.3.4:0",
    "1.2.3.4:65536",
    "1.2.3.4:080",
    ":80",
    "1.2.3.4:8a",
    "1:80",
  ]) {
    expect([text, parseEndpoint(text)]).toEqual([text, undefined]);
  }
  expect(parseEndpoint("1.2.3.4:65535")).toEqual({ ip: 0x0102_0304, port: 65535 });
  expect([0, 1, 65535, 65536, 1.5, -1, Number.NaN].map(isPort)).toEqual([
    false,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});
