import { describe, expect, test } from "bun:test";
import {
  insecureListeners,
  isLoopback,
  type ListenerSections,
  listenersOf,
} from "../../src/platform/listener-safety.ts";

const PLAIN = { cert_file: "", client_ca_file: "" };
const TLS = { cert_file: "a.crt", client_ca_file: "" };
const MUTUAL = { cert_file: "a.crt", client_ca_file: "ca.crt" };
const HERE = { host: "127.0.0.1", port: 1 };
const OUT = { host: "0.0.0.0", port: 2 };
const AUTO = { anonymous_read: "auto", anonymous_report: "auto" } as const;

/** What is complained about, in short: "tcp: encryption, callers". */
function complaints(config: ListenerSections): string[] {
  return insecureListeners(listenersOf(config)).map((line) => {
    const [name] = line.split(" ");
    const lacks = [
      ...(line.includes("without encryption") ? ["encryption"] : []),
      ...(line.includes("without knowing its callers") ? ["callers"] : []),
    ];
    return `${name}: ${lacks.join(", ")}`;
  });
}

test.each<[string, boolean]>([
  ["127.0.0.1", true],
  ["127.8.9.10", true],
  ["localhost", true],
  ["::1", true],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
  ["127.0.0.1.example.org", false],
  ["localhost.example.org", false],
  ["1127.0.0.1", false],
])("%s is loopback: %p", (host, is) => {
  expect(isLoopback(host)).toBe(is);
});

describe("which listeners are complained about", () => {
  test.each<[string, ListenerSections, string[]]>([
    ["all on loopback, nothing set", { tcp: HERE, http: HERE, udp: HERE, resolver: HERE, tls: PLAIN, auth: AUTO }, []],
    ["everybody may read on loopback", { tcp: HERE, http: HERE, tls: PLAIN, auth: { anonymous_read: true } }, []],
    ["tcp out, plain", { tcp: OUT, http: HERE, tls: PLAIN, auth: AUTO }, ["tcp: encryption, callers"]],
    ["tcp out, TLS without a client CA", { tcp: OUT, http: HERE, tls: TLS, auth: AUTO }, ["tcp: callers"]],
    ["tcp out, mutual TLS", { tcp: OUT, http: HERE, tls: MUTUAL, auth: AUTO }, []],
    [
      "a client CA without a certificate",
      { tcp: OUT, http: HERE, tls: { cert_file: "", client_ca_file: "x" }, auth: AUTO },
      ["tcp: encryption, callers"],
    ],
    ["http out, plain, with tokens", { tcp: HERE, http: OUT, tls: PLAIN, auth: AUTO }, ["http: encryption"]],
    ["http out, TLS, with tokens", { tcp: HERE, http: OUT, tls: TLS, auth: AUTO }, []],
    ["http out, TLS, anonymous reads off", { tcp: HERE, http: OUT, tls: TLS, auth: { anonymous_read: false } }, []],
    [
      "http out, TLS, everybody may read",
      { tcp: HERE, http: OUT, tls: TLS, auth: { anonymous_read: true } },
      ["http: callers"],
    ],
    [
      "http out, TLS, everybody may report",
      { tcp: HERE, http: OUT, tls: TLS, auth: { ...AUTO, anonymous_report: true } },
      ["http: callers"],
    ],
    [
      "http out, mutual TLS for tcp, everybody may read",
      { tcp: HERE, http: OUT, tls: MUTUAL, auth: { anonymous_read: true } },
      ["http: callers"],
    ],
    ["an agent's http out, TLS", { http: OUT, tls: TLS }, ["http: callers"]],
    ["an agent's http out, TLS with a client CA", { http: OUT, tls: MUTUAL }, []],
    [
      "an agent's udp and resolver out",
      { http: HERE, udp: OUT, resolver: OUT, tls: MUTUAL },
      ["udp: encryption, callers", "resolver: encryption, callers"],
    ],
    [
      "all out, plain",
      { tcp: OUT, http: OUT, tls: PLAIN, auth: AUTO },
      ["tcp: encryption, callers", "http: encryption"],
    ],
  ])("%s", (_, config, expected) => {
    expect(complaints(config)).toEqual(expected);
  });

  test("a complaint names listener, address, reason and the three ways out", () => {
    const [line] = insecureListeners(
      listenersOf({ tcp: { host: "10.0.0.1", port: 7778 }, http: HERE, tls: PLAIN, auth: AUTO }),
    );
    expect(line).toBe(
      "tcp would listen on 10.0.0.1:7778, which others than this machine reach, without encryption and without knowing its " +
        'callers; bind it to loopback (tcp.host = "127.0.0.1"), or set tls.cert_file and tls.key_file and ' +
        "tls.client_ca_file, or, where the network is trusted, set security.allow_insecure = true (LARS_ALLOW_INSECURE=true)",
    );
  });

  test("where a protocol has no encryption, that is said instead of a key", () => {
    const [line] = insecureListeners(listenersOf({ http: HERE, udp: OUT, tls: MUTUAL }));
    expect(line).toContain("(nothing can be set for it: its protocol has neither)");
    expect(line).not.toContain("tls.");
  });

  test("open HTTP is told which keys open it", () => {
    const auth = { anonymous_read: true, anonymous_report: true } as const;
    const [line] = insecureListeners(listenersOf({ http: OUT, tls: TLS, auth }));
    expect(line).toContain('or set auth.anonymous_read and auth.anonymous_report = "auto", or');
  });
});
