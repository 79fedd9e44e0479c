import { describe, expect, test } from "bun:test";
import { DatabaseUrlError, describeTarget, parseDatabaseUrl } from "../../src/store/database-url.ts";

describe("database url", () => {
  test("sqlite: names a file, relative or absolute", () => {
    expect(parseDatabaseUrl("sqlite:./data/lars.db")).toEqual({ dialect: "sqlite", path: "./data/lars.db" });
    expect(parseDatabaseUrl("sqlite:/var/lars #1.db")).toEqual({ dialect: "sqlite", path: "/var/lars #1.db" });
  });

  test("mysql: names user, password, hosts and database; the port is 3306 when it is not said", () => {
    expect(parseDatabaseUrl("mysql://lars:secret@db.example/lars_dns")).toEqual({
      dialect: "mysql",
      user: "lars",
      password: "secret",
      hosts: [{ host: "db.example", port: 3306 }],
      database: "lars_dns",
    });
  });

  test("several hosts are separated by commas, in order of preference", () => {
    const target = parseDatabaseUrl("mysql://u@a:1,b,[::1]:3307/d");
    expect(target).toMatchObject({
      password: "",
      hosts: [
        { host: "a", port: 1 },
        { host: "b", port: 3306 },
        { host: "::1", port: 3307 },
      ],
    });
  });

  test("user, password and database are percent-decoded", () => {
    expect(parseDatabaseUrl("mysql://u%40x:p%3A%2F%40%25%2C@h/d%2Fe")).toMatchObject({
      user: "u@x",
      password: "p:/@%,",
      database: "d/e",
    });
  });

  test("a description for logs has neither user nor password", () => {
    expect(describeTarget(parseDatabaseUrl("mysql://root:hunter2@a,b:4/d"))).toBe("mysql://a:3306,b:4/d");
    expect(describeTarget(parseDatabaseUrl("sqlite:x.db"))).toBe("sqlite:x.db");
  });

  for (const [url, complaint] of [
    ["postgres://root:hunter2@h/d", "the scheme is postgres"],
    ["root:hunter2@h/d", "the scheme is root"],
    ["./lars.db", "it has no scheme"],
    ["sqlite:", "names no file"],
    ["sqlite::memory:", "not supported"],
    ["mysql://root:hunter2@h", "names no database"],
    ["mysql://root:hunter2@h/", "one database name"],
    ["mysql://root:hunter2/x@h/d", "one database name"],
    ["mysql://root:hunter2@h/d?ssl=true", "parameters"],
    ["mysql://h/d", "names no user"],
    ["mysql://:hunter2@h/d", "names no user"],
    ["mysql://root:hunter2%@h/d", "the password has a %"],
    ["mysql://root:hunter2@h:0/d", "a port is 0"],
    ["mysql://root:hunter2@h:70000/d", "a port is 70000"],
    ["mysql://root:hunter2@h:x/d", "a host is malformed"],
    ["mysql://root:hunter2@h,,i/d", "a host is malformed"],
  ] as const) {
    test(`"${url}" is refused: ${complaint}; the password is not repeated`, () => {
      const parse = () => parseDatabaseUrl(url);
      expect(parse).toThrow(DatabaseUrlError);
      expect(parse).toThrow(complaint);
      expect(parse).toThrow("allowed: sqlite:PATH or mysql://");
      try {
        parse();
      } catch (error) {
        expect((error as Error).message).not.toContain("hunter2");
      }
    });
  }
});
