import { describe, expect, test } from "bun:test";
import { resolve } from "node:path";
import { agentConfig } from "../../src/agent/config.ts";
import { dnsConfig } from "../../src/dns/config.ts";
import { parseConfig } from "../../src/platform/config-file.ts";
import { type ConfigSchema, defaultConfig } from "../../src/platform/config-schema.ts";
import { describeConfig, printConfig, renderToml } from "../../src/platform/config-text.ts";
import { reportConfig } from "../../src/report/config.ts";
import { confDir, confFiles } from "../support/write-conf.ts";

const SCHEMAS: [string, ConfigSchema][] = [dnsConfig, reportConfig, agentConfig].map((schema) => [
  schema.process,
  schema,
]);

describe("conf/*.toml", () => {
  test.each([...confFiles()])(
    "%s is what the schema makes it; `bun run generate:conf` writes it",
    async (name, text) => {
      expect(await Bun.file(resolve(confDir, name)).text()).toBe(text);
    },
  );

  test.each(SCHEMAS)("%s: the generated file holds every key at its default", (_name, schema) => {
    const text = renderToml(schema);
    const values = Bun.TOML.parse(text) as Record<string, Record<string, unknown>>;
    expect(values).toEqual(defaultConfig(schema) as never);
    expect(parseConfig(schema, { file: "x", text, env: {} })).toEqual({ ok: true, config: defaultConfig(schema) });
  });

  test.each(SCHEMAS)(
    "%s: every key says what it means, what is allowed and whether a change needs a restart",
    (_name, schema) => {
      for (const row of describeConfig(schema)) {
        expect(row.doc.length, row.key).toBeGreaterThan(10);
        expect(row.allowed, row.key).not.toBe("any value");
        expect(row.env[0]).toBe(`LARS_${schema.process}__${row.key.replace(".", "__")}`.toUpperCase());
      }
      expect(
        renderToml(schema)
          .split("\n")
          .every((line) => line.length <= 120),
      ).toBe(true);
    },
  );
});

describe("the printed configuration", () => {
  test("masks secrets and the passwords of URLs, and nothing else", () => {
    const env = { LARS_DATABASE_URL: "mysql://root:hunter2@a:1,b:2/lars_dns", LARS_ADMIN_TOKEN: "0123456789abcdef" };
    const result = parseConfig(dnsConfig, { file: "x", text: "", env });
    if (!result.ok) throw new Error(result.message);
    const printed = printConfig(dnsConfig, result.config);
    expect(printed).toContain('url = "mysql://root:***@a:1,b:2/lars_dns"');
    expect(printed).toContain('admin_token = "***"');
    expect(printed).not.toMatch(/hunter2|0123456789abcdef/);
    expect(printed).toContain('[tcp]\nhost = "127.0.0.1"\nport = 7778\n');
  });

  test("without secrets it can be read back", () => {
    const config = defaultConfig(agentConfig);
    const result = parseConfig(agentConfig, { file: "x", text: printConfig(agentConfig, config), env: {} });
    expect(result).toEqual({ ok: true, config });
  });
});

describe("what scripts rely on", () => {
  test("default ports", () => {
    expect([defaultConfig(dnsConfig).tcp.port, defaultConfig(dnsConfig).http.port]).toEqual([7778, 7780]);
    expect([defaultConfig(reportConfig).tcp.port, defaultConfig(reportConfig).http.port]).toEqual([7779, 7781]);
    expect([defaultConfig(agentConfig).udp.port, defaultConfig(agentConfig).udp.shards]).toEqual([8888, 3]);
    expect(defaultConfig(agentConfig).http.port).toBe(8880);
  });

  test("[loadbalance] keeps the original's names and values; the policy is adaptive unless told otherwise", () => {
    expect(defaultConfig(agentConfig).loadbalance).toEqual({
      policy: "adaptive",
      probe_num: 10,
      init_succ_cnt: 180,
      init_err_cnt: 5,
      err_rate: 0.1,
      succ_rate: 0.5,
      contin_err_limit: 15,
      contin_succ_limit: 15,
      window_err_rate: 0.7,
      idle_timeout: 15,
      overload_timeout: 15,
      update_timeout: 15,
    });
  });
});
