import { describe, expect, test } from "bun:test";
import { agentConfig } from "../../src/agent/config.ts";
import { dnsConfig } from "../../src/dns/config.ts";
import { parseConfig } from "../../src/platform/config-file.ts";
import type { ConfigSchema } from "../../src/platform/config-schema.ts";

const FILE = "conf/x.toml";

/** The error line of a configuration that must be refused. */
function refusal(schema: ConfigSchema, text: string, env: Record<string, string> = {}): string {
  const result = parseConfig(schema, { file: FILE, text, env });
  if (result.ok) throw new Error("was not refused");
  return result.message;
}

describe("a wrong configuration is refused with one line: where, key, given, allowed", () => {
  const rows: [title: string, schema: ConfigSchema, text: string, message: string][] = [
    [
      "text for a number",
      dnsConfig,
      '[tcp]\nport = "x"',
      'conf/x.toml: tcp.port is "x"; allowed: an integer from 0 to 65535',
    ],
    [
      "out of range",
      dnsConfig,
      "[http]\nport = 70000",
      "conf/x.toml: http.port is 70000; allowed: an integer from 0 to 65535",
    ],
    [
      "a fraction",
      agentConfig,
      "[udp]\nshards = 2.5",
      "conf/x.toml: udp.shards is 2.5; allowed: an integer from 1 to 64",
    ],
    [
      "too many shards",
      agentConfig,
      "[udp]\nshards = 65",
      "conf/x.toml: udp.shards is 65; allowed: an integer from 1 to 64",
    ],
    [
      "a share above 1",
      agentConfig,
      "[loadbalance]\nerr_rate = 1.5",
      "conf/x.toml: loadbalance.err_rate is 1.5; allowed: a number from 0 to 1",
    ],
    [
      "not a number at all",
      agentConfig,
      "[loadbalance]\nerr_rate = nan",
      "conf/x.toml: loadbalance.err_rate is NaN; allowed: a number from 0 to 1",
    ],
    [
      "one of several words",
      dnsConfig,
      '[log]\nlevel = "loud"',
      'conf/x.toml: log.level is "loud"; allowed: "debug", "info", "warn", "error"',
    ],
    [
      "a union",
      dnsConfig,
      '[auth]\nanonymous_read = "maybe"',
      'conf/x.toml: auth.anonymous_read is "maybe"; allowed: "auto" or true or false',
    ],
    [
      "a list item",
      agentConfig,
      '[dnsserver]\naddresses = ["a:1", "b"]',
      'conf/x.toml: dnsserver.addresses[1] is "b"; allowed: host:port (an IPv4 address or a name)',
    ],
    [
      "a port out of range in a list",
      agentConfig,
      '[dnsserver]\naddresses = ["a:65536"]',
      'conf/x.toml: dnsserver.addresses[0] is "a:65536"; allowed: host:port (an IPv4 address or a name)',
    ],
    [
      "an empty list",
      agentConfig,
      "[reporter]\naddresses = []",
      "conf/x.toml: reporter.addresses is []; allowed: a list of 1 to 16 items, each host:port (an IPv4 address or a name)",
    ],
    [
      "no list",
      agentConfig,
      '[reporter]\naddresses = "a:1"',
      'conf/x.toml: reporter.addresses is "a:1"; allowed: a list of 1 to 16 items, each host:port (an IPv4 address or a name)',
    ],
    [
      "a malformed address",
      agentConfig,
      '[reporter]\ncaller = "300.1.1.1"',
      'conf/x.toml: reporter.caller is "300.1.1.1"; allowed: empty, or an IPv4 address',
    ],
    ["a key spelt wrong", dnsConfig, "[tcp]\nprot = 1", "conf/x.toml: unknown key tcp.prot; did you mean tcp.port?"],
    [
      "a key of another section",
      agentConfig,
      "[udp]\nprobe_num = 1",
      "conf/x.toml: unknown key udp.probe_num; did you mean loadbalance.probe_num?",
    ],
    [
      "a key like none",
      agentConfig,
      "[udp]\nzzzzzzzzzz = 1",
      "conf/x.toml: unknown key udp.zzzzzzzzzz; known keys of [udp]: host, port, shards",
    ],
    [
      "a key with a line break",
      agentConfig,
      '[udp]\n"zzzz\\nzzzzzz" = 1',
      'conf/x.toml: unknown key udp."zzzz\\nzzzzzz"; known keys of [udp]: host, port, shards',
    ],
    ["a section spelt wrong", dnsConfig, "[tpc]\nport = 1", "conf/x.toml: unknown section [tpc]; did you mean [tcp]?"],
    [
      "a key outside of sections",
      dnsConfig,
      "port = 1",
      "conf/x.toml: key port stands outside of a section; it belongs under [tcp] or [http]",
    ],
    ["a value for a section", dnsConfig, "tcp = 5", "conf/x.toml: tcp is 5; allowed: a section of keys, [tcp]"],
    [
      "a section that is a prototype's name",
      dnsConfig,
      "[constructor]\na = 1",
      `conf/x.toml: unknown section [constructor]; known sections: ${Object.keys(dnsConfig.sections).join(", ")}`,
    ],
    [
      "a date",
      dnsConfig,
      "[tcp]\nport = 1979-05-27",
      "conf/x.toml: tcp.port is 1979-05-27; allowed: an integer from 0 to 65535",
    ],
    [
      "a table",
      dnsConfig,
      "[tcp.port]\na = 1",
      "conf/x.toml: tcp.port is a table; allowed: an integer from 0 to 65535",
    ],
    [
      "a key given twice",
      dnsConfig,
      "[tcp]\nport = 1\nport = 2",
      "conf/x.toml: not valid TOML at line 3: Cannot redefine key 'port'",
    ],
  ];
  test.each(rows)("%s", (_title, schema, text, message) => {
    expect(refusal(schema, text)).toBe(message);
  });

  test("text that is no TOML names the line", () => {
    expect(refusal(dnsConfig, "[tcp]\nport = 1\n\n[http\nport = 3\n")).toStartWith(
      "conf/x.toml: not valid TOML at line 4: ",
    );
  });

  test("a secret is never repeated, a URL loses its password", () => {
    expect(refusal(dnsConfig, '[auth]\nadmin_token = "hunter two"')).toBe(
      "conf/x.toml: auth.admin_token is a secret of 10 characters; allowed: empty, or up to 256 printable characters without spaces",
    );
    for (const url of [
      "mysql//root:hunter2@h/db",
      "mysql://root:hunter2@h",
      "mysql://root:hun/ter2@ h/db",
      "pg://a:hunter2@h/d",
    ]) {
      const message = refusal(dnsConfig, "", { LARS_DATABASE_URL: url });
      expect(message).toStartWith("LARS_DATABASE_URL: database.url is ");
      expect(message).not.toMatch(/hun/);
    }
  });

  test("a long value is cut, and the message stays one line", () => {
    const message = refusal(dnsConfig, `[tcp]\nport = "${"long\\n".repeat(500)}"`);
    expect(message.length).toBeLessThan(300);
    expect(message).not.toContain("\n");
  });
});

describe("the environment", () => {
  function agentWith(env: Record<string, string>, text = "") {
    const result = parseConfig(agentConfig, { file: FILE, text, env });
    if (!result.ok) throw new Error(result.message);
    return result.config;
  }

  test("overrides any key, whatever the file says", () => {
    const config = agentWith(
      { LARS_AGENT__UDP__PORT: "18888", LARS_AGENT__LOADBALANCE__ERR_RATE: "0.25" },
      "[udp]\nport = 1000\nshards = 2",
    );
    expect(config.udp).toEqual({ host: "127.0.0.1", port: 18888, shards: 2 });
    expect(config.loadbalance.err_rate).toBe(0.25);
  });

  test("splits lists at commas, spaces around them ignored", () => {
    const config = agentWith({ LARS_AGENT__DNSSERVER__ADDRESSES: "a:1, b.example:2,10.0.0.1:3" });
    expect(config.dnsserver.addresses).toEqual(["a:1", "b.example:2", "10.0.0.1:3"]);
  });

  test("reads a key of several types as the one that fits", () => {
    for (const [text, value] of [
      ["auto", "auto"],
      ["true", true],
      ["false", false],
    ] as const) {
      const result = parseConfig(dnsConfig, { file: FILE, text: "", env: { LARS_DNS__AUTH__ANONYMOUS_READ: text } });
      expect(result.ok && result.config.auth.anonymous_read).toBe(value);
    }
  });

  test("text that only looks like a number stays text where text is wanted", () => {
    expect(agentWith({ LARS_AGENT__ZONE__NAME: "007" }).zone.name).toBe("007");
  });

  test("the explicit name wins over the short one, the short one over the file, an empty short one is not set", () => {
    const text = '[data]\ndir = "/file"';
    expect(agentWith({}, text).data.dir).toBe("/file");
    expect(agentWith({ LARS_DATA_DIR: "" }, text).data.dir).toBe("/file");
    expect(agentWith({ LARS_DATA_DIR: "/short" }, text).data.dir).toBe("/short");
    expect(agentWith({ LARS_DATA_DIR: "/short", LARS_AGENT__DATA__DIR: "/explicit" }, text).data.dir).toBe("/explicit");
  });

  const wrong: [string, string, string][] = [
    ["LARS_AGENT__UDP__PROT", "1", "LARS_AGENT__UDP__PROT: unknown variable; did you mean LARS_AGENT__UDP__PORT?"],
    ["LARS_AGENT__UDP__PORT", "many", 'LARS_AGENT__UDP__PORT: udp.port is "many"; allowed: an integer from 1 to 65472'],
    ["LARS_AGENT__UDP__PORT", "", 'LARS_AGENT__UDP__PORT: udp.port is ""; allowed: an integer from 1 to 65472'],
    [
      "LARS_AGNT__UDP__PORT",
      "1",
      "LARS_AGNT__UDP__PORT: unknown variable; it begins with LARS_DNS__, LARS_REPORT__, LARS_AGENT__ or is not ours",
    ],
    [
      "LARS_AGENT__DNSSERVER__ADDRESSES",
      "",
      "LARS_AGENT__DNSSERVER__ADDRESSES: dnsserver.addresses is []; allowed: a list of 1 to 16 items, each host:port (an IPv4 address or a name)",
    ],
  ];
  test.each(wrong)("%s=%s is refused", (name, value, message) => {
    expect(refusal(agentConfig, "", { [name]: value })).toBe(message);
  });

  test("other processes' variables are left to them", () => {
    expect(agentWith({ LARS_DNS__NO__SUCH: "1", PATH: "/bin", LARS_HOME: "x" }).udp.port).toBe(8888);
  });
});
