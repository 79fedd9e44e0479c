import { expect, test } from "bun:test";
import { databaseOptions } from "../../src/store/database.ts";

const section = { pool_size: 3, connect_timeout_ms: 100, query_timeout_ms: 200 };

test("the [database] section becomes options; a CA that is configured and could not be read is refused, not left out", () => {
  expect(databaseOptions({ ...section, tls_ca_file: "" })).toMatchObject({
    connections: 3,
    connectTimeoutMs: 100,
    queryTimeoutMs: 200,
    tlsCa: undefined,
  });
  expect(databaseOptions({ ...section, tls_ca_file: "ca.crt" }, "PEM").tlsCa).toBe("PEM");
  expect(() => databaseOptions({ ...section, tls_ca_file: "ca.crt" })).toThrow("cannot read files; unset it");
});
