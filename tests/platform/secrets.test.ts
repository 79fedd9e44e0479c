import { describe, expect, test } from "bun:test";
import { maskSecrets, maskUrl } from "../../src/platform/secrets.ts";

describe("secrets in text", () => {
  test.each([
    ["mysql://root:pw@h:3306/db", "mysql://root:***@h:3306/db"],
    ["connect to mysql://root:p@w:x@a,b/db failed", "connect to mysql://root:***@a,b/db failed"],
    ["two: amqp://a:1@h and http://b:2@h/p", "two: amqp://a:***@h and http://b:***@h/p"],
    ["Authorization: Bearer lars_abc-123.x", "Authorization: Bearer ***"],
    ["http://h:80/path and me@example.org", "http://h:80/path and me@example.org"],
    ["nothing", "nothing"],
  ])("%s is printed as %s", (text, printed) => {
    expect(maskSecrets(text)).toBe(printed);
  });

  test("masking takes time in proportion to the text", () => {
    const startedMs = performance.now();
    for (const text of [
      "a://".repeat(50_000),
      `a://b:${"c".repeat(200_000)}`,
      "bearer ".repeat(30_000),
      "a".repeat(200_000),
    ]) {
      maskSecrets(text.slice(0, 4096));
    }
    expect(performance.now() - startedMs).toBeLessThan(500);
  });
});

test.each([
  ["mysql://root:pw@h/db", "mysql://root:***@h/db"],
  ["mysql//root:pw@h/db", "mysql//root:***@h/db"],
  ["mysql://root:p/w@ h/db", "mysql://root:***@ h/db"],
  ["mysql://root@h/db", "mysql://root@h/db"],
  ["sqlite:./data/lars.db", "sqlite:./data/lars.db"],
])("the URL %s, malformed or not, is printed as %s", (url, printed) => {
  expect(maskUrl(url)).toBe(printed);
});
