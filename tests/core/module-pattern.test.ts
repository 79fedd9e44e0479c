// Which modules a registrar's token names, and what each role may do with them.
import { expect, test } from "bun:test";
import {
  formatModulePattern,
  formatModulePatterns,
  matchesModule,
  parseModulePattern,
  parseModulePatterns,
} from "../../src/core/module-pattern.ts";
import { ANONYMOUS, principalOf, ROLES, rolesFor } from "../../src/core/principal.ts";

test.each([
  ["1.1", { modid: 1, cmdid: 1 }, "1.1"],
  ["1.*", { modid: 1, cmdid: undefined }, "1.*"],
  ["-1.*", { modid: -1, cmdid: undefined }, "-1.*"],
  ["4294967295.2", { modid: -1, cmdid: 2 }, "-1.2"],
  ["0.0", { modid: 0, cmdid: 0 }, "0.0"],
])("%p means %p and is written %p", (text, pattern, written) => {
  expect(parseModulePattern(text)).toEqual(pattern);
  expect(formatModulePattern(pattern)).toBe(written);
});

test.each([
  "",
  "1",
  ".",
  "*",
  "*.1",
  "*.*",
  "1.",
  "1.**",
  "1.1.1",
  " 1.1",
  "1.1 ",
  "01.1",
  "4294967296.1",
  "1.1*",
  "1,*",
])("%p names no modules", (text) => {
  expect(parseModulePattern(text)).toBeUndefined();
});

test("a list is written and read again; what is malformed in it allows nothing", () => {
  const patterns = [
    { modid: 1, cmdid: 1 },
    { modid: -2, cmdid: undefined },
  ];
  expect(formatModulePatterns(patterns)).toBe("1.1,-2.*");
  expect(parseModulePatterns("1.1,-2.*")).toEqual(patterns);
  expect(parseModulePatterns("")).toEqual([]);
  expect(parseModulePatterns("x,*.*,3.3,")).toEqual([{ modid: 3, cmdid: 3 }]);
});

test("a pattern with a cmdid means that module alone, one without means all of the modid", () => {
  const patterns = parseModulePatterns("1.1,2.*");
  const allowed = (modid: number, cmdid: number) => matchesModule(patterns, modid, cmdid);
  expect([allowed(1, 1), allowed(2, 1), allowed(2, -7)]).toEqual([true, true, true]);
  expect([allowed(1, 2), allowed(3, 1), allowed(0, 0)]).toEqual([false, false, false]);
  expect(matchesModule([], 0, 0)).toBe(false);
});

test.each([
  ["read", "reader registrar editor admin"],
  ["register", "registrar editor admin"],
  ["report", "registrar editor admin"],
  ["change", "editor admin"],
  ["administer", "admin"],
] as const)("what needs %p is open to %s", (need, roles) => {
  expect(rolesFor(need).join(" ")).toBe(roles);
});

test("hosts of any module are registered by editors and admins, of named modules by registrars, of none by the others", () => {
  const may = (role: (typeof ROLES)[number]) => {
    const principal = principalOf("t", "t", role, parseModulePatterns("1.*"));
    return [principal.mayRegister(1, 5), principal.mayRegister(2, 5)];
  };
  expect(ROLES.map(may)).toEqual([
    [false, false],
    [true, false],
    [true, true],
    [true, true],
  ]);
  expect(principalOf("t", "t", "registrar").mayRegister(0, 0)).toBe(false);
  expect(ANONYMOUS.mayRegister(1, 5)).toBe(false);
});
